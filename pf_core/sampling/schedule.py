"""What a sampler does with the times of patches (paper, Fig. 6): a run of the real sampler on a toy network."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.samplers import entry_of, uniform_grid
from pf_core.types import PatchTime, Prediction, Step

SIDE = 3  # patches in a row and in a column
GRID = PatchGrid(SIDE, SIDE, 1)
LEVELS = 12  # times at which the toy network has difficulties of their own
SEED = 5
SHARES = (0.2, 0.4, 0.6, 0.8)  # p: of nine patches 2, 4, 5 and 7 lie under these quantiles


class ToyNetwork:
    """One pixel a patch, velocity 0, difficulties drawn at random: other ones at each of `levels` times. What is easy
    changes from step to step, as in a run; nothing else of a network shows in a schedule."""

    def __init__(self, grid: PatchGrid, levels: int = LEVELS, seed: int = SEED):
        rng = torch.Generator().manual_seed(seed)
        self.grid, self.difficulty = grid, 0.1 + torch.rand(levels, grid.n, generator=rng)

    def __call__(self, x: Tensor, t: PatchTime) -> Prediction:
        level = (t.per_patch.amin(1) * len(self.difficulty)).round().long().clamp(max=len(self.difficulty) - 1)
        logvar = self.grid.to_pixels(self.difficulty[level].log())
        return Prediction(torch.zeros_like(x), logvar, torch.zeros_like(x), logvar)


class Schedule(NamedTuple):
    """A run of `steps` outer steps, F forward passes (nfe[-1] of them) and the state after the last.

    t: (F + 1, N), the times that each pass saw, then those of the result; easy: (F + 1, N) bool, which patches go first
    (none where a sampler ranks nothing); phase, outer, nfe: F + 1 each, as in Step.
    """

    steps: int
    t: Tensor
    easy: Tensor
    phase: list[str]
    outer: list[int]
    nfe: list[int]


def schedule(sampler: str, steps: int, settings: Mapping[str, Any] = {}, grid: PatchGrid = GRID) -> Schedule:
    """A sampler on the toy network, of patches of one pixel. Raises InputError for a wrong name or setting."""
    entry = entry_of(sampler)
    settings = entry.settings(settings)
    if "refresh" in settings:  # which changes what patches see, not their times
        settings["refresh"] = "every"
    x, rng = torch.zeros(1, 1, grid.height, grid.width), [torch.Generator().manual_seed(SEED)]
    run: list[Step] = list(entry.fn(ToyNetwork(grid), x, grid, uniform_grid(steps), rng, **settings))
    nobody = torch.zeros(1, grid.n, dtype=torch.bool)
    return Schedule(
        steps,
        torch.cat([step.t for step in run]).float(),
        torch.cat([nobody if step.easy is None else step.easy for step in run]),
        [step.phase for step in run],
        [step.outer for step in run],
        [step.nfe for step in run],
    )


def schedules(runs: tuple[tuple[str, int], ...], p: float) -> dict[str, Schedule]:
    """Sampler -> its schedule, for (sampler, outer steps) each; p: the share of easy patches where it has that knob."""
    return {name: schedule(name, steps, {"p": p} if "p" in entry_of(name).knobs else {}) for name, steps in runs}
