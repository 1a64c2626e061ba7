from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.samplers.common import Past, advance, at, sampler, time_of
from pf_core.types import Denoise, Step


@sampler(nfe=lambda ts: len(ts) - 1)
def multistep(
    denoise: Denoise, x: Tensor, grid: PatchGrid, ts: Tensor, rng: list[torch.Generator], past: Past | None = None
) -> Iterator[Step]:
    """Multistep (second order from each patch's last velocity, all patches in parallel).

    x += dt (v + dt / (2 dt_last) (v - v_last)): two-step Adams-Bashforth, each patch with its own v_last and dt_last;
    Euler where there is none. 1 NFE a step.
    """
    past = past or Past()
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t, dt = at(t0, x, grid), at(t1 - t0, x, grid)
        prediction = denoise(x, time_of(t0, x, grid))
        yield Step("outer", k, x, t, prediction, None, nfe=k + 1)
        x, _ = advance(x, t, prediction.v, dt, grid, past)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, nfe=k + 1)
