from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, pairwise
from typing import Annotated

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.samplers.common import (
    Choose,
    Order,
    Past,
    advance,
    at,
    begin_guidance,
    by_difficulty,
    denoise_ranking,
    mixed,
    others,
    sampler,
    time_of,
    warming_up,
)
from pf_core.types import Denoise, PatchTime, Prediction, Step


def probes(ts: Tensor, **_) -> int:
    """Steps of a grid ts (S + 1, ...) that probe: those after the warm-up of some image."""
    one = warming_up(ts[:-1]).reshape(len(ts) - 1, -1).all(1)
    return int((~one).sum())


@sampler(nfe=lambda ts, **_: len(ts) - 1 + probes(ts), needs_difficulty=True, ranks=probes)
def look_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches called easy", label="Easy patches, p")] = 0.4,
    ratio: Annotated[
        float, Knob(1.0, 5.0, "easy patches look ahead to min(1, ratio * t)", label="Look-ahead ratio")
    ] = 1.4,
    order: Order = 1,
) -> Iterator[Step]:
    """Look-ahead (easy patches probe the future as context for hard ones).

    Easy patches jump ahead, a second forward sees that mixed state, then everyone steps from where they were: easy
    patches with the first velocity, hard ones with the second. 2 NFE a step, 1 while t <= 0.05 (the earliest patch's).
    """
    rank, first = by_difficulty(p, grid), partial(denoise_ranking, denoise)
    return looking_ahead(denoise, x, grid, ts, rank, ratio, Past.of(order, past), first)


def looking_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    choose: Choose,
    ratio: float,
    past: Past | None,
    denoise_first: Callable[[Tensor, PatchTime, Tensor | None], Prediction] | None = None,
) -> Iterator[Step]:
    """Look-ahead, for any rule that chooses which patches are easy. denoise_first: the pass that ranks, (x, t, images)
    as in `denoise_ranking`."""
    nfe, denoise_first = count(1), denoise_first or (lambda x, t, _: denoise(x, t))
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t, dt = at(t0, x, grid), at(t1 - t0, x, grid)
        warm = warming_up(t0)
        prediction = denoise_first(x, time_of(t0, x, grid), others(warm))
        begin_guidance(past, prediction, warm)
        if warm.all():
            yield Step("outer", k, x, t, prediction, None, last := next(nfe))
            x, _ = advance(x, t, prediction.v_cond, dt, grid, past)
            continue
        easy, threshold = choose(prediction, t, others(warm))
        yield Step("outer", k, x, t, prediction, easy, last := next(nfe), threshold)
        jump = torch.where(easy, (ratio * t).clamp(max=1) - t, 0)
        x_ahead, t_ahead = advance(x, t, prediction.v_cond, jump, grid)
        ahead = denoise(x_ahead, mixed(t_ahead, easy, ts))
        yield Step("probe", k, x_ahead, t_ahead, ahead, easy, last := next(nfe), threshold)
        v = torch.where(grid.to_pixels(easy), prediction.v, ahead.v)
        if warm.any():  # on grids per patch, where images differ
            v[warm] = prediction.v_cond[warm]
        x, _ = advance(x, t, v, dt, grid, past)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, last)
