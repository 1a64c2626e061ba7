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
    EasyShare,
    Order,
    Past,
    Refresh,
    advance,
    at,
    by_difficulty,
    denoise_ranking,
    mixed,
    sampler,
    time_of,
)
from pf_core.types import Denoise, PatchTime, Prediction, Step


@sampler(nfe=lambda ts, n_inner, **_: n_inner * (len(ts) - 1), needs_difficulty=True)
def dual_loop(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: EasyShare = 0.4,
    n_inner: Annotated[int, Knob(1, 8, "forward passes in each outer step", label="Inner steps")] = 4,
    order: Order = 1,
    refresh: Refresh = "every",
) -> Iterator[Step]:
    """Dual-loop (easy patches take the whole step, hard ones many small).

    Easy patches lead as cleaner context while hard ones follow in n_inner parts. n_inner NFE a step. With `refresh`
    once or none hard patches see the keys and values that easy ones left: an approximation, of fewer token-forwards.
    """
    rank, first = by_difficulty(p, grid), partial(denoise_ranking, denoise)
    return two_speeds(denoise, x, grid, ts, rank, n_inner, Past.of(order, past), first, refresh)


def two_speeds(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    choose: Choose,
    n_inner: int,
    past: Past | None,
    denoise_first: Denoise | None = None,
    refresh: str = "every",
) -> Iterator[Step]:
    """The dual loop, for any rule that chooses which patches go first; of second order where it has a past.

    An easy patch's last step is its whole one, a hard patch's its last inner one. denoise_first: of an outer
    step's first pass, where that ranks patches. refresh: see Refresh.
    """
    nfe, denoise_first = count(1), denoise_first or denoise
    if refresh != "every":
        denoise_first = denoise.keeping
    for k, (t0, t1) in enumerate(pairwise(ts)):
        t, dt = at(t0, x, grid), at(t1 - t0, x, grid)
        prediction = denoise_first(x, time_of(t0, x, grid))
        easy, threshold = choose(prediction, t)
        yield Step("outer", k, x, t, prediction, easy, last := next(nfe), threshold)
        x, t = advance(x, t, prediction.v, torch.where(easy, dt, dt / n_inner), grid, past)
        for inner in range(n_inner - 1):
            prediction = _inner(denoise, refresh, inner)(x, mixed(t, easy, ts), ~easy)
            yield Step("inner", k, x, t, prediction, easy, last := next(nfe), threshold)
            x, t = advance(x, t, prediction.v, torch.where(easy, 0, dt / n_inner), grid, past, ~easy)
    yield Step("final", k, x, at(ts[-1], x, grid), None, None, last)


def _inner(denoise: Denoise, refresh: str, inner: int) -> Callable[[Tensor, PatchTime, Tensor], Prediction]:
    """(x, t, moving) -> Prediction: the pass of an outer step's inner-th pass after its first."""
    if refresh == "every":
        return lambda x, t, _: denoise(x, t)
    return (lambda x, t, _: denoise.keeping(x, t)) if refresh == "once" and inner == 0 else denoise.again
