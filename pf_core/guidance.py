"""Classifier-free guidance, written once: (network, condition, scale, interval) -> a Denoise function."""

from typing import Any

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.types import Model, PatchTime, Prediction


class guide:  # noqa: N801 (reads as the function it is used as)
    """denoise = guide(model, cond, null, scale, interval); denoise(x, t) -> Prediction.

    v = v_null + scale * (v_cond - v_null), and logvar extrapolated alike, wherever a patch's t lies in `interval`
    (lo, hi), ends included; elsewhere the conditional prediction. scale 1 is off and costs one forward, any other two.
    `forwards` counts network forwards so far: each call is one network evaluation (NFE), a guided one is two forwards.
    """

    def __init__(
        self, model: Model, cond: Any, null: Any = None, scale: float = 1.0, interval: tuple[float, float] = (0.0, 1.0)
    ):
        self.model, self.cond, self.null = model, cond, null
        self.scale, self.interval, self.forwards, self.extra = scale, interval, 0, 0

    @property
    def _guided(self) -> bool:
        return self.scale != 1.0 and self.null is not None

    def __call__(self, x: Tensor, t: PatchTime) -> Prediction:
        if not self._guided:
            self.forwards += 1
            return self.model(x, t, self.cond)
        self.forwards += 2
        both = self.model(
            torch.cat([x, x]), t.map(lambda part: torch.cat([part, part])), torch.cat([self.cond, self.null])
        )
        return _extrapolate(both, self._weight(t), self.model.grid)

    def ranked(self, x: Tensor, t: PatchTime) -> Prediction:
        """(x, t) -> Prediction, of the pass that decides which patches are easy. A network that says so only when asked
        (Divergence) is asked for its conditional velocity's; `extra` counts the evaluations that this took beyond one
        a pass."""
        rank = getattr(self.model, "ranked", None)
        if rank is None:
            return self(x, t)
        prediction = rank(x, t, self.cond)
        self.forwards, self.extra = self.forwards + self.model.cost, self.extra + self.model.cost - 1
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
        return torch.where((t >= low) & (t <= high), self.scale, 1.0)


def _extrapolate(both: Prediction, weight: Tensor, grid: PatchGrid) -> Prediction:
    """both: a CFG pair as one batch, conditional half first; weight (B, N) is the scale of each patch."""
    weight = grid.to_pixels(weight)

    def extrapolate(pair: Tensor) -> tuple[Tensor, Tensor]:
        cond, null = pair.chunk(2)
        return torch.where(weight == 1, cond, null + weight * (cond - null)), cond

    v, v_cond = extrapolate(both.v)
    logvar, logvar_cond = (None, None) if both.logvar is None else extrapolate(both.logvar)
    return Prediction(v, logvar, v_cond, logvar_cond)
