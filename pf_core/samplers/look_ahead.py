from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, pairwise
from math import inf

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.samplers.common import (
    Choose,
    EasyShare,
    Order,
    Past,
    Ratio,
    advance,
    at,
    begin_guidance,
    by_difficulty,
    denoise_ranking,
    earliest,
    mixed,
    others,
    sampler,
    time_of,
    warming_up,
)
from pf_core.types import Denoise, PatchTime, Prediction, Step


def probes(ts: Tensor, until: float = inf, **_) -> int:
    """Steps of a grid ts (S + 1, ...) that probe: those in which some image has warmed up and is not yet at `until`."""
    one = _alone(ts[:-1], until).reshape(len(ts) - 1, -1).all(1)
    return int((~one).sum())


def _alone(t: Tensor, until: float) -> Tensor:
    """Does an image step from t without a probe? t (..., B, N) -> (..., B); shared t, () or (S,), as it is."""
    return warming_up(t) | (earliest(t) >= until)


@sampler(nfe=lambda ts, **_: len(ts) - 1 + probes(ts), needs_difficulty=True, ranks=probes)
def look_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: EasyShare = 0.4,
    ratio: Ratio = 1.4,
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
    until: float = inf,
) -> Iterator[Step]:
    """Look-ahead, for any rule that chooses which patches are easy. denoise_first: the pass that ranks, (x, t, images)
    as in `denoise_ranking`. until: from this t on nobody looks ahead."""
    nfe, denoise_first = count(1), denoise_first or (lambda x, t, _: denoise(x, t))
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t, dt = at(t0, x, grid), at(t1 - t0, x, grid)
        warm, alone = warming_up(t0), _alone(t0, until)
        prediction = denoise_first(x, time_of(t0, x, grid), others(alone))
        begin_guidance(past, prediction, warm)
        if alone.all():
            yield Step("outer", k, x, t, prediction, None, last := next(nfe))
            x, _ = advance(x, t, first_velocity(prediction, warm), dt, grid, past)
            continue
        easy, threshold = choose(prediction, t, others(alone))
        yield Step("outer", k, x, t, prediction, easy, last := next(nfe), threshold)
        jump = torch.where(easy, (ratio * t).clamp(max=1) - t, 0)
        x_ahead, t_ahead = advance(x, t, prediction.v_cond, jump, grid)
        ahead = denoise(x_ahead, mixed(t_ahead, easy, ts))
        yield Step("probe", k, x_ahead, t_ahead, ahead, easy, last := next(nfe), threshold)
        v = torch.where(grid.to_pixels(easy), prediction.v, ahead.v)
        if alone.any():  # on grids per patch, where images differ
            v[alone] = first_velocity(prediction, warm)[alone]
        x, _ = advance(x, t, v, dt, grid, past)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, last)


def first_velocity(prediction: Prediction, unguided: Tensor) -> Tensor:
    """(B, C, H, W): of the images, () or (B,) bool, that go unguided and of the others."""
    if unguided.all() or not unguided.any():
        return prediction.v_cond if unguided.all() else prediction.v
    return torch.where(unguided[:, None, None, None].to(prediction.v.device), prediction.v_cond, prediction.v)
