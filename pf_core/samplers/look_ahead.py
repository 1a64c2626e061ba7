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
    by_difficulty,
    denoise_ranking,
    mixed,
    sampler,
    time_of,
    warming_up,
)
from pf_core.types import Denoise, Prediction, Step


def probes(ts: Tensor, **_) -> int:
    """Steps of a grid ts (S + 1, ...) that probe: those after the warm-up."""
    return int((~throughout(warming_up(ts[:-1]))).sum())


def throughout(of: Tensor) -> Tensor:
    """(S,) bool, or (S, B) of grids that differ by image -> (S,): is it so of all images?"""
    return of.reshape(len(of), -1).all(1)


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
    return looking_ahead(denoise, x, grid, ts, rank, lambda t: ratio * t, Past.of(order, past), first)


def looking_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    choose: Choose,
    target: Callable[[Tensor], Tensor],
    past: Past | None,
    denoise_first: Denoise | None = None,
    plain: Callable[[int, Tensor], Tensor] | None = None,
    warm: Callable[[Tensor], Tensor] = warming_up,
    trusted: Callable[[Prediction, Prediction], Tensor] | None = None,
) -> Iterator[Step]:
    """Look-ahead, for any rule that chooses which patches are easy.

    target(t): the time (B, N) that they look ahead to. plain(step, time of the grid): do images take the step without
    a probe? warm(time of the grid): with the unguided velocity too? Both bool, () or (B,). trusted(first, second
    prediction): (B, N) bool, hard patches that take the second velocity; None: all. denoise_first: the pass that ranks.
    """
    nfe, denoise_first = count(1), denoise_first or denoise
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t, dt = at(t0, x, grid), at(t1 - t0, x, grid)
        unguided = warm(t0)
        alone = unguided | plain(k, t0) if plain else unguided
        if alone.all():
            prediction = denoise(x, time_of(t0, x, grid))
            yield Step("outer", k, x, t, prediction, None, last := next(nfe))
            x, _ = advance(x, t, _first_velocity(prediction, unguided), dt, grid, past)
            continue
        prediction = denoise_first(x, time_of(t0, x, grid))
        easy, threshold = choose(prediction, t)
        yield Step("outer", k, x, t, prediction, easy, last := next(nfe), threshold)
        jump = torch.where(easy, target(t).clamp(max=1) - t, 0)
        x_ahead, t_ahead = advance(x, t, prediction.v_cond, jump, grid)
        ahead = denoise(x_ahead, mixed(t_ahead, easy, ts))
        yield Step("probe", k, x_ahead, t_ahead, ahead, easy, last := next(nfe), threshold)
        first = easy if trusted is None else easy | ~trusted(prediction, ahead)
        v = torch.where(grid.to_pixels(first), prediction.v, ahead.v)
        if alone.any():  # on grids per patch, where images differ
            v[alone] = _first_velocity(prediction, unguided)[alone]
        x, _ = advance(x, t, v, dt, grid, past)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, last)


def _first_velocity(prediction: Prediction, unguided: Tensor) -> Tensor:
    """(B, C, H, W): of the images, () or (B,) bool, that go unguided and of the others."""
    if unguided.all() or not unguided.any():
        return prediction.v_cond if unguided.all() else prediction.v
    return torch.where(unguided[:, None, None, None].to(prediction.v.device), prediction.v_cond, prediction.v)
