from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.samplers.common import advance, at, sampler, time_of
from pf_core.types import Denoise, Step


@sampler(nfe=lambda ts: len(ts) - 1)
def euler(denoise: Denoise, x: Tensor, grid: PatchGrid, ts: Tensor, rng: list[torch.Generator]) -> Iterator[Step]:
    """Euler (all patches in parallel).

    x += dt v for all patches alike. 1 NFE a step (paper, "parallel").
    """
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t = at(t0, x, grid)
        prediction = denoise(x, time_of(t0, x, grid))
        yield Step("outer", k, x, t, prediction, None, nfe=k + 1)
        x, _ = advance(x, t, prediction.v, at(t1 - t0, x, grid), grid)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, nfe=k + 1)
