"""What samplers share: moving x and t together, ranking patches, counting evaluations."""

from collections.abc import Callable

import torch
from torch import Tensor

from pf_core import flow
from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.types import PatchTime, Prediction

WARM_UP = 0.05  # look-ahead takes plain steps while t <= this


def sampler(nfe: Callable, needs_difficulty: bool = False) -> Callable:
    """Decorator: `nfe(ts, **knobs)` counts evaluations on a time grid; `needs_difficulty` if it ranks patches."""

    def mark(fn: Callable) -> Callable:
        fn.nfe, fn.needs_difficulty = nfe, needs_difficulty
        return fn

    return mark


def advance(x: Tensor, t: Tensor, v: Tensor, dt: Tensor, grid: PatchGrid) -> tuple[Tensor, Tensor]:
    """Move x (B, C, H, W) along v, and t (B, N) with it, by dt (B, N): the one place where they move."""
    return x + grid.to_pixels(dt) * v, t + dt


def at(t: Tensor, x: Tensor, grid: PatchGrid) -> Tensor:
    """One time of the grid, shared () or per patch (B, N) -> (B, N), of x's type and on its device."""
    return t.to(x).expand(x.shape[0], grid.n)


def mixed(t: Tensor, easy: Tensor, ts: Tensor) -> PatchTime:
    """Times t (B, N) after easy patches went ahead: two a sample where the grid `ts` is shared, else one a patch."""
    return PatchTime.grouped(t, easy, 2) if ts.ndim == 1 else PatchTime.dense(t)


def warming_up(t: Tensor) -> Tensor:
    """Is an image's earliest patch still at t <= WARM_UP? t (..., B, N) -> (..., B); shared t, () or (S,), as it is."""
    return (t.amin(-1) if t.ndim > 1 else t) <= WARM_UP


def difficulty(prediction: Prediction, grid: PatchGrid) -> Tensor:
    """(B, N), of the log-variance that decides (the guided one). Raises InputError where a network has none."""
    if prediction.logvar is None:
        raise InputError("This network predicts no difficulty, which this sampler needs: choose another of the two.")
    return flow.difficulty(prediction.logvar, grid)


def easiest(score: Tensor, p: float, grid: PatchGrid, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The patches whose score (B, N) lies strictly under its per-image quantile p: (easy (B, N) bool, threshold (B,)).

    The quantile is over PIXELS, each patch's value standing patch_size^2 times, in float64 with linear
    interpolation. A flat map has no easy patch. Patches that are at t = 1 already, t (B, N), are not ranked: the
    quantile is of the others, NaN where there are none.
    """
    score, copies = score.double(), grid.patch_size**2
    if t is not None:
        score = score.masked_fill(t == 1, torch.nan)
    last = (score.isfinite().sum(1, keepdim=True) * copies - 1).clamp(min=0)  # (B, 1): the last ranked pixel
    place = p * last.double()
    low = place.long()
    ordered = score.sort(dim=1).values  # NaN come last
    below, above = (ordered.gather(1, i // copies) for i in (low, (low + 1).minimum(last)))
    threshold = below + (place - low) * (above - below)
    return score < threshold, threshold[:, 0]
