"""Classifier-free guidance, written once: (network, condition, scale, interval) -> a Denoise function."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.types import Model, PatchTime, Prediction

KEEPS_NOTHING = "This network keeps no keys and values between passes: choose refresh every."


class guide:  # noqa: N801 (reads as the function it is used as)
    """denoise = guide(model, cond, null, scale, interval); denoise(x, t) -> Prediction.

    v = v_null + scale * (v_cond - v_null), and logvar extrapolated alike, wherever a patch's t lies in `interval`
    (lo, hi), ends included; elsewhere the conditional prediction. scale 1 is off and costs one forward, any other two.
    `forwards` counts network forwards so far: each call is one network evaluation (NFE), a guided one is two forwards.
    `tokens` counts them by the share of the patches that passed, the mean over images (see `keeping`, `again`).
    """

    def __init__(
        self, model: Model, cond: Any, null: Any = None, scale: float = 1.0, interval: tuple[float, float] = (0.0, 1.0)
    ):
        self.model, self.cond, self.null = model, cond, null
        self.scale, self.interval = scale, interval
        self.begin()

    def begin(self) -> None:
        """A run begins: nothing is counted yet, and nothing kept."""
        self.forwards, self.extra, self.tokens, self._context = 0, 0, 0.0, None

    @property
    def _guided(self) -> bool:
        return self.scale != 1.0 and self.null is not None

    def __call__(self, x: Tensor, t: PatchTime) -> Prediction:
        return self._pass(self.model, x, t)

    def keeping(self, x: Tensor, t: PatchTime) -> Prediction:
        """A call that keeps what every patch leaves for `again`. Raises InputError for a network that cannot."""
        if not hasattr(self.model, "with_context"):
            raise InputError(KEEPS_NOTHING)
        self._context = self.model.new_context()
        return self._pass(partial(self.model.with_context, context=self._context), x, t)

    def again(self, x: Tensor, t: PatchTime, moving: Tensor) -> Prediction:
        """A call of which only the `moving` (B, N) bool patches pass, after `keeping`: an approximation, as the keys
        and values of the others are those of their last pass. Their part of the prediction is that pass's too."""
        return self._pass(partial(self.model.with_context, context=self._context), x, t, moving)

    def _pass(self, model: Any, x: Tensor, t: PatchTime, moving: Tensor | None = None) -> Prediction:
        passes = 1 + self._guided
        self.forwards += passes
        self.tokens += passes * (1.0 if moving is None else float(moving.float().mean()))
        if not self._guided:
            return model(x, t, self.cond, **_of(moving))
        twice = _of(None if moving is None else torch.cat([moving, moving]))
        both = model(
            torch.cat([x, x]), t.map(lambda part: torch.cat([part, part])), torch.cat([self.cond, self.null]), **twice
        )
        return _extrapolate(both, self._weight(t), self.model.grid)

    def ranked(self, x: Tensor, t: PatchTime, images: Tensor | None = None) -> Prediction:
        """(x, t) -> Prediction, of the pass that decides which patches are easy. A network that says so only when asked
        (Divergence) is asked for its conditional velocity's, of the `images` (B,) bool or all; `extra` counts the
        evaluations that this took beyond one a pass."""
        rank = getattr(self.model, "ranked", None)
        if rank is None:
            return self(x, t)
        prediction = rank(x, t, self.cond, images=images)
        self.forwards, self.extra = self.forwards + self.model.cost, self.extra + self.model.cost - 1
        self.tokens += self.model.cost + self._guided
        if not self._guided:
            return prediction
        self.forwards += 1
        null = self.model(x, t, self.null)
        both = Prediction(torch.cat([prediction.v, null.v]), None, prediction.v, None)
        return _extrapolate(both, self._weight(t), self.model.grid)._replace(
            logvar=prediction.logvar, logvar_cond=prediction.logvar, difficulty=prediction.difficulty
        )

    def _weight(self, t: PatchTime) -> Tensor:
        """(B, N) the scale of each patch."""
        low, high = self.interval
        t = t.per_patch
        return torch.where((t >= low - _ROUNDING) & (t <= high + _ROUNDING), self.scale, 1.0)


_ROUNDING = 1e-6  # of t: a patch that ran ahead is at t0 + dt in float32, which is not quite t1


def _of(moving: Tensor | None) -> dict[str, Tensor]:
    return {} if moving is None else {"moving": moving}


def _extrapolate(both: Prediction, weight: Tensor, grid: PatchGrid) -> Prediction:
    """both: a CFG pair as one batch, conditional half first; weight (B, N) is the scale of each patch."""
    weight = grid.to_pixels(weight)

    def extrapolate(pair: Tensor) -> tuple[Tensor, Tensor]:
        cond, null = pair.chunk(2)
        return torch.where(weight == 1, cond, null + weight * (cond - null)), cond

    v, v_cond = extrapolate(both.v)
    logvar, logvar_cond = (None, None) if both.logvar is None else extrapolate(both.logvar)
    return Prediction(v, logvar, v_cond, logvar_cond)
