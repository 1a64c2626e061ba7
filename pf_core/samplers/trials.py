"""Samplers on trial: rules that studies measure. One that wins becomes a sampler of its own."""

from collections.abc import Iterator
from itertools import count, pairwise
from typing import Annotated

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.samplers.common import (
    WARM_UP,
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
    difficulty,
    earliest,
    mixed,
    others,
    sampler,
    time_of,
    warming_up,
)
from pf_core.samplers.look_ahead import first_velocity
from pf_core.types import Denoise, Prediction, Step


def _alone(ts: Tensor, first: int = 0, *, warm_up: float, until: float, every: int, **_) -> Tensor:
    """(S,) or (S, B) bool: steps of the times ts (S, ...), numbered from `first`, that images take without a probe."""
    numbers = first + torch.arange(len(ts))
    late = earliest(ts) >= until
    skipped = (numbers % every != 0).reshape(-1, *[1] * (late.ndim - 1))
    return warming_up(ts, warm_up) | late | skipped


def _ruled_probes(ts: Tensor, **rules) -> int:
    return int((~_alone(ts[:-1], **rules).reshape(len(ts) - 1, -1).all(1)).sum())


@sampler(nfe=lambda ts, **rules: len(ts) - 1 + _ruled_probes(ts, **rules), needs_difficulty=True, ranks=_ruled_probes)
def ruled_look_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    first: int = 0,
    *,
    p: EasyShare = 0.4,
    level: Annotated[float, Knob(0.0, 1e9, "easy: difficulty under this, whatever the share; 0: by share")] = 0.0,
    ratio: Ratio = 1.4,
    fade: Annotated[bool, Knob(help="the ratio falls to 1 as t rises: 1 + (ratio - 1) (1 - t)")] = False,
    warm_up: Annotated[float, Knob(0.0, 1.0, "no probe while t <= this; steps there are unguided")] = WARM_UP,
    until: Annotated[float, Knob(0.0, 1.0, "no probe from this t on")] = 1.0,
    every: Annotated[int, Knob(1, 8, "a probe every so many steps")] = 1,
    surer: Annotated[bool, Knob(help="a hard patch takes the second velocity only where its difficulty fell")] = False,
    order: Order = 1,
) -> Iterator[Step]:
    """Look-ahead by other rules (which patches probe, how far, when, and who follows).

    With its default settings it is look_ahead. 1 NFE a step without a probe, 2 with one.
    """
    nfe, past, choose = count(1), Past.of(order, past), _under(level, grid) if level else by_difficulty(p, grid)
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t, dt = at(t0, x, grid), at(t1 - t0, x, grid)
        unguided = warming_up(t0, warm_up)
        alone = _alone(t0[None], first + k, warm_up=warm_up, until=until, every=every)[0]
        prediction = denoise_ranking(denoise, x, time_of(t0, x, grid), others(alone))
        begin_guidance(past, prediction, unguided)
        if alone.all():
            yield Step("outer", k, x, t, prediction, None, last := next(nfe))
            x, _ = advance(x, t, first_velocity(prediction, unguided), dt, grid, past)
            continue
        easy, threshold = choose(prediction, t, others(alone))
        yield Step("outer", k, x, t, prediction, easy, last := next(nfe), threshold)
        x_ahead, t_ahead = advance(x, t, prediction.v_cond, _jump(t, easy, ratio, fade), grid)
        ahead = denoise(x_ahead, mixed(t_ahead, easy, ts))
        yield Step("probe", k, x_ahead, t_ahead, ahead, easy, last := next(nfe), threshold)
        stays = easy | (difficulty(ahead, grid) >= difficulty(prediction, grid)) if surer else easy
        v = torch.where(grid.to_pixels(stays), prediction.v, ahead.v)
        v[alone] = first_velocity(prediction, unguided)[alone]  # on grids per patch, where images differ
        x, _ = advance(x, t, v, dt, grid, past)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, last)


def _jump(t: Tensor, easy: Tensor, ratio: float, fade: bool) -> Tensor:
    """(B, N): how far easy patches at t look ahead."""
    target = ((1 + (ratio - 1) * (1 - t) if fade else ratio) * t).clamp(max=1)
    return torch.where(easy, target - t, 0)


def _under(level: float, grid: PatchGrid) -> Choose:
    """Every patch whose difficulty lies under a level, and that is not at t = 1 already."""

    def choose(prediction: Prediction, t: Tensor, _: Tensor | None = None) -> tuple[Tensor, Tensor]:
        score = difficulty(prediction, grid)
        return (score < level) & (t < 1), score.new_full((len(score),), level)

    return choose
