"""What samplers share: moving x and t together, the past of patches, ranking them, counting evaluations."""

import inspect
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from pf_core import flow
from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.types import Denoise, PatchTime, Prediction

# prediction, t, the images that need it, (B,) bool or None: all -> easy (B, N), threshold (B,)
Choose = Callable[[Prediction, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
WARM_UP = 0.05  # look-ahead takes plain steps while t <= this
GROWTH = 8  # a step longer than so many of the last one is Euler's: an extrapolation that far is noise

EasyShare = Annotated[float, Knob(0.05, 0.95, "share of patches called easy", label="Easy patches, p")]
Ratio = Annotated[float, Knob(1.0, 5.0, "easy patches look ahead to min(1, ratio * t)", label="Look-ahead ratio")]
Order = Annotated[int, Knob(1, 2, "order of the steps: 1 Euler's, 2 with each patch's last velocity, at no more NFE")]

Refresh = Annotated[
    str,
    Knob(
        help="inner passes of all patches, where hard ones alone move: every, exact; once, after the easy moved; none",
        choices=("every", "once", "none"),
    ),
]


def sampler(nfe: Callable, needs_difficulty: bool = False, ranks: Callable | None = None) -> Callable:
    """Decorator: `nfe(ts, **knobs)` counts evaluations on a time grid; `needs_difficulty` if it ranks patches, which
    takes a pass by `denoise_ranking`: one a step, or as many as `ranks(ts, **knobs)` says.

    A sampler with a parameter `past` `remembers`: a run hands it one Past through all its stretches. One with `first`
    is `numbered`: it, `nfe` and `ranks` are told which of the run's steps the grid's first one is.
    """

    def mark(fn: Callable) -> Callable:
        fn.nfe, fn.needs_difficulty = nfe, needs_difficulty
        fn.ranks = ranks or (lambda ts, **_: (len(ts) - 1) * needs_difficulty)
        fn.remembers, fn.numbered = ("past" in (takes := inspect.signature(fn).parameters)), "first" in takes
        return fn

    return mark


class Past:
    """Each patch's last committed velocity v (B, C, H, W) and the length of its step dt (B, N), in units of t.

    dt is 0 where nothing is known: before the first step, after a pause, after an edit. unguided: () or (B,) bool, the
    images whose last velocity left guidance out, as look-ahead's warm-up does.
    """

    def __init__(self):
        self.v = self.dt = self.unguided = None

    @classmethod
    def of(cls, order: int, past: "Past | None") -> "Past | None":
        """What `advance` takes for steps of this order: nothing for Euler's."""
        return None if order == 1 else past or cls()

    def second_order(self, v: Tensor, dt: Tensor, grid: PatchGrid, moving: Tensor | None) -> Tensor:
        """The two-step Adams-Bashforth velocity v + dt / (2 dt_last) (v - v_last), v itself where dt_last is 0; then v,
        dt are the last ones, of all patches or of the `moving` (B, N) ones."""
        if self.v is None:
            self.v, self.dt = v, torch.zeros_like(dt)
        known = (self.dt > 0) & (dt <= GROWTH * self.dt)
        weight = torch.where(known, dt / (2 * self.dt.where(known, 1)), 0)
        middle = v + grid.to_pixels(weight) * (v - self.v)
        if moving is not None:
            v, dt = torch.where(grid.to_pixels(moving), v, self.v), torch.where(moving, dt, self.dt)
        self.v, self.dt = v, dt
        return middle

    def forget(self, patches: Tensor) -> None:
        """Patches (B, N) bool, or whole images (B, 1), begin anew."""
        if self.dt is not None:
            self.dt = self.dt.masked_fill(patches, 0)


def advance(
    x: Tensor,
    t: Tensor,
    v: Tensor,
    dt: Tensor,
    grid: PatchGrid,
    past: Past | None = None,
    moving: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Move x (B, C, H, W) along v, and t (B, N) with it, by dt (B, N): the one place where they move.

    With a `past` the step is of second order, and remembered there. moving: (B, N) bool, patches whose step this is,
    where the others have taken theirs already (None: all; one that has dt = 0 then pauses).
    """
    if past is not None:
        v = past.second_order(v, dt, grid, moving)
    return x + grid.to_pixels(dt) * v, t + dt


def begin_guidance(past: Past | None, prediction: Prediction, unguided: Tensor) -> None:
    """Before a step whose velocities are the prediction's, without guidance for the images `unguided`, () or (B,) bool:
    those that leave such steps for guided ones begin anew, as the two velocities differ by more than time."""
    if past is None:
        return
    if past.unguided is not None and (leaving := past.unguided & ~unguided).any():
        guided = (prediction.v != prediction.v_cond).flatten(1).any(1)
        past.forget((leaving.to(guided.device) & guided)[:, None])
    past.unguided = unguided


def at(t: Tensor, x: Tensor, grid: PatchGrid) -> Tensor:
    """One time of the grid, shared () or per patch (B, N) -> (B, N), of x's type and on its device."""
    return t.to(x).expand(x.shape[0], grid.n)


def time_of(t: Tensor, x: Tensor, grid: PatchGrid) -> PatchTime:
    """One time of the grid as a network takes it: shared () by all patches, or per patch (B, N)."""
    return PatchTime.shared(t.to(x).expand(x.shape[0]), grid.n) if t.ndim == 0 else PatchTime.dense(t.to(x))


def mixed(t: Tensor, easy: Tensor, ts: Tensor) -> PatchTime:
    """Times t (B, N) after easy patches went ahead: two a sample where the grid `ts` is shared, else one a patch."""
    return PatchTime.grouped(t, easy, 2) if ts.ndim == 1 else PatchTime.dense(t)


def warming_up(t: Tensor, until: float = WARM_UP) -> Tensor:
    """Is an image's earliest patch still at t <= until? t (..., B, N) -> (..., B); shared t, () or (S,), as it is."""
    return earliest(t) <= until


def earliest(t: Tensor) -> Tensor:
    """An image's lowest t (..., B, N) -> (..., B); shared t, () or (S,), as it is."""
    return t.amin(-1) if t.ndim > 1 else t


def denoise_ranking(denoise: Denoise, x: Tensor, t: PatchTime, images: Tensor | None = None) -> Prediction:
    """A pass that ranks patches: a network that tells difficulty only when asked is asked, for all images or those of
    `images`, () or (B,) bool, if there are any."""
    ranked = getattr(denoise, "ranked", None)
    return denoise(x, t) if ranked is None or (images is not None and not images.any()) else ranked(x, t, images)


def others(images: Tensor) -> Tensor | None:
    """() or (B,) bool -> those that are not meant, None where these are all."""
    return ~images if images.any() else None


def difficulty(prediction: Prediction, grid: PatchGrid) -> Tensor:
    """(B, N), of the log-variance that decides (the guided one). Raises InputError where a network has none."""
    if prediction.difficulty is not None:
        return prediction.difficulty
    if prediction.logvar is None:
        raise InputError("This network predicts no difficulty, which this sampler needs: choose another of the two.")
    return flow.difficulty(prediction.logvar, grid)


def easiest(score: Tensor, p: float, grid: PatchGrid, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The patches whose score (B, N) lies strictly under its per-image quantile p: (easy (B, N) bool, threshold (B,)).

    The quantile is over PIXELS, each patch's value standing patch_size^2 times, in float64 with linear
    interpolation. A flat map has no easy patch. Patches that are at t = 1 already, t (B, N), are not ranked: the
    quantile is of the others, NaN where there are none.
    """
    if score.device.type == "mps":  # which has no float64
        easy, threshold = easiest(score.cpu(), p, grid, None if t is None else t.cpu())
        return easy.to(score.device), threshold.to(score)
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


def by_difficulty(p: float, grid: PatchGrid) -> Choose:
    """The easiest share p of an image's patches."""
    return lambda prediction, t, _=None: easiest(difficulty(prediction, grid), p, grid, t)


def at_random(p: float, grid: PatchGrid, rng: list[torch.Generator]) -> Choose:
    """As many patches, drawn at random anew every time, each image's from its own generator: only where it needs them,
    as what it draws next must not depend on the images beside it."""

    def draw(prediction: Prediction, t: Tensor, images: Tensor | None = None) -> tuple[Tensor, None]:
        idle = () if images is None else (~images).nonzero().flatten().tolist()
        none = torch.zeros(grid.n)
        score = torch.stack([none if i in idle else torch.rand(grid.n, generator=g) for i, g in enumerate(rng)])
        return easiest(score.to(t.device), p, grid, t)[0], None

    return draw
