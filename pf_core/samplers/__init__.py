"""Inference samplers: generators of Step, `name(denoise, x, grid, ts, rng, *, knobs)`.

ts: (S + 1,) increasing times, 0 -> 1, on the CPU; rng: one generator an image. After every outer step all patches share
one t again. A consumer that stops iterating stops the sampler between two forward passes.

ts may also be (S + 1, B, N), every patch with a grid of its own that never falls: a patch may pause (dt = 0) or sit at
t = 1 all along. Then patches are on their own grids after every outer step; all else holds. A stretch of a grid will do
too: samplers go from ts[0] to ts[-1], wherever these lie. A sampler of second order takes one more, `past`, which a run
hands through all its stretches as it does rng; one whose rule counts steps takes `first`, the number of a stretch's
first step.
"""

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.registry import Entry, Registry
from pf_core.samplers.dual_loop import dual_loop
from pf_core.samplers.early_look_ahead import early_look_ahead
from pf_core.samplers.euler import euler
from pf_core.samplers.heun import heun
from pf_core.samplers.look_ahead import look_ahead
from pf_core.samplers.multistep import multistep
from pf_core.samplers.random_look_ahead import random_look_ahead
from pf_core.samplers.random_order import random_order
from pf_core.samplers.trials import ruled_look_ahead

SAMPLERS = Registry(
    "sampler",
    [euler, heun, multistep, random_order, dual_loop, look_ahead, early_look_ahead, random_look_ahead],
)
TRIALS = Registry("sampler on trial", [ruled_look_ahead])  # recipes may name them, no list does
MAX_NFE = 1000


def entry_of(name: str) -> Entry:
    """A sampler of a recipe, by name: a listed one, or one on trial. Raises InputError."""
    return TRIALS[name] if isinstance(name, str) and name in TRIALS else SAMPLERS[name]


def uniform_grid(steps: int) -> Tensor:
    """(steps + 1,) times from 0 to 1, float64."""
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def nfe_of(name: str, ts: Tensor, settings: dict, ranking: int = 1, first: int = 0) -> int:
    """Network evaluations of a sampler on a time grid; `ranking`: those of a pass that ranks patches; `first`: which of
    the run's steps the grid's first one is."""
    fn = entry_of(name).fn
    settings = {**settings, "first": first} if fn.numbered else settings
    return fn.nfe(ts, **settings) + (ranking - 1) * fn.ranks(ts, **settings)


def steps_for(name: str, budget: int, settings: dict, ranking: int = 1) -> int:
    """The largest number of steps on a uniform grid whose NFE fits the budget. InputError if not even one does."""
    fits = 0
    while fits < budget and nfe_of(name, uniform_grid(fits + 1), settings, ranking) <= budget:
        fits += 1
    if fits == 0:
        need = nfe_of(name, uniform_grid(1), settings, ranking)
        raise InputError(
            f"{budget} NFE are too few: one step of {name} takes {need}. Raise --nfe or choose another sampler."
        )
    return fits
