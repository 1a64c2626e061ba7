"""Samplers on trial: controls and rules that studies measure. A rule that wins becomes a sampler of its own."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.samplers.common import (
    WARM_UP,
    Choose,
    Order,
    Past,
    at_random,
    by_difficulty,
    denoise_ranking,
    difficulty,
    earliest,
    sampler,
    warming_up,
)
from pf_core.samplers.look_ahead import looking_ahead, probes, throughout
from pf_core.types import Denoise, Prediction, Step


@sampler(nfe=lambda ts, **_: len(ts) - 1 + probes(ts))
def random_look_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches that look ahead")] = 0.4,
    ratio: Annotated[float, Knob(1.0, 5.0, "they look ahead to min(1, ratio * t)")] = 1.4,
    order: Order = 1,
) -> Iterator[Step]:
    """Random look-ahead (look-ahead with the patches that probe drawn at random).

    The control of look-ahead, as random_order is dual-loop's. NFE as look-ahead.
    """
    chosen = at_random(p, grid, rng)
    return looking_ahead(denoise, x, grid, ts, chosen, lambda t: ratio * t, Past.of(order, past))


def _alone(ts: Tensor, steps: range | None = None, *, warm_up: float, until: float, every: int, **_) -> Tensor:
    """(S,) or (S, B) bool: steps of the times ts (S, ...), numbered by `steps`, that images take without a probe."""
    numbers = torch.tensor(list(range(len(ts)) if steps is None else steps))
    late = earliest(ts) >= until
    skipped = (numbers % every != 0).reshape(-1, *[1] * (late.ndim - 1))
    return warming_up(ts, warm_up) | late | skipped


def _ruled_probes(ts: Tensor, **rules) -> int:
    return int((~throughout(_alone(ts[:-1], **rules))).sum())


@sampler(nfe=lambda ts, **rules: len(ts) - 1 + _ruled_probes(ts, **rules), needs_difficulty=True, ranks=_ruled_probes)
def ruled_look_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches called easy")] = 0.4,
    level: Annotated[float, Knob(0.0, 1e9, "easy: difficulty under this, whatever the share; 0: by share")] = 0.0,
    ratio: Annotated[float, Knob(1.0, 5.0, "easy patches look ahead to min(1, ratio * t)")] = 1.4,
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
    return looking_ahead(
        denoise,
        x,
        grid,
        ts,
        _under(level, grid) if level else by_difficulty(p, grid),
        (lambda t: (1 + (ratio - 1) * (1 - t)) * t) if fade else (lambda t: ratio * t),
        Past.of(order, past),
        partial(denoise_ranking, denoise),
        lambda k, t0: _alone(t0[None], range(k, k + 1), warm_up=warm_up, until=until, every=every)[0],
        lambda t0: warming_up(t0, warm_up),
        (lambda first, ahead: difficulty(ahead, grid) < difficulty(first, grid)) if surer else None,
    )


def _under(level: float, grid: PatchGrid) -> Choose:
    """Every patch whose difficulty lies under a level, and that is not at t = 1 already."""

    def choose(prediction: Prediction, t: Tensor) -> tuple[Tensor, Tensor]:
        score = difficulty(prediction, grid)
        return (score < level) & (t < 1), score.new_full((len(score),), level)

    return choose
