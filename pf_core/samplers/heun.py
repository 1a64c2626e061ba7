from collections.abc import Iterator
from itertools import count, pairwise

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.samplers.common import advance, at, sampler, time_of
from pf_core.types import Denoise, Step


def _nfe(ts: Tensor) -> int:
    two = (ts[1:] < 1).reshape(len(ts) - 1, -1).any(1)
    return len(two) + int(two.sum())


@sampler(nfe=_nfe)
def heun(denoise: Denoise, x: Tensor, grid: PatchGrid, ts: Tensor, rng: list[torch.Generator]) -> Iterator[Step]:
    """Heun (second order, all patches in parallel).

    A trial Euler step, a second forward there, and the step again with the mean velocity. 2 NFE a step; a step to
    t = 1, the last one, is plain Euler, as no network knows the velocity there.
    """
    nfe = count(1)
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t, dt = at(t0, x, grid), at(t1 - t0, x, grid)
        prediction = denoise(x, time_of(t0, x, grid))
        yield Step("outer", k, x, t, prediction, None, last := next(nfe))
        v = prediction.v
        if (t1 < 1).any():
            x_trial, _ = advance(x, t, v, dt, grid)
            t_trial = at(t1, x, grid)
            ahead = denoise(x_trial, time_of(t1, x, grid))
            yield Step("probe", k, x_trial, t_trial, ahead, None, last := next(nfe))
            v = torch.where(grid.to_pixels(t_trial < 1), (v + ahead.v) / 2, v)
        x, _ = advance(x, t, v, dt, grid)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, last)
