"""Difficulty without a head: the posterior variance of the velocity, from the network's own Jacobian.

Noise is Gaussian, so Tweedie's formula, differentiated once more, gives for an exact velocity and any map of times

    Var[u_p | x] = (std^2 / t_p) d x1_hat_p / d x_p = (std^2 / t_p) (1 + (1 - t_p) d v_p / d x_p),

u the velocity, p a pixel, t_p its patch's time, std the noise's. Only the diagonal is needed: Hutchinson's estimate
z_p (J z)_p, z random signs, one forward-mode derivative a probe. So every flow network can drive adaptive samplers.
"""

import copy
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.func import jvp, vmap

from pf_core.flow import LOGVAR_RANGE
from pf_core.models.layers import Attention
from pf_core.models.text import CrossAttention
from pf_core.types import Model, PatchTime, Prediction

MOST_PROBES = 64
_ONE_AT_A_TIME = threading.Lock()  # torch keeps the level of forward derivatives for all threads together


class Divergence:
    """A Model like `model`, whose pass can be asked to rank patches: `ranked(x, t, cond)`.

    The estimate is averaged over a patch and over `probes` draws of signs, each over the whole image (signs on a part
    of the patches each, which keeps neighbours apart, measured worse: a patch's own pixels are coupled most). rng: one
    generator an image, for the signs. A ranking pass is counted as 1 + 2 `probes` network evaluations.
    """

    def __init__(self, model: Model, std: float, probes: int, rng: Sequence[Generator]):
        self.model, self.grid, self.channels = model, model.grid, model.channels
        self.probes, self.cost, self._std, self._rng = probes, 1 + 2 * probes, std, rng
        self._plain = with_plain_attention(model)

    def __call__(self, x: Tensor, t: PatchTime, cond: Any) -> Prediction:
        v = self.model(x, t, cond).v
        return Prediction(v, None, v, None)

    def ranked(self, x: Tensor, t: PatchTime, cond: Any, images: Tensor | None = None) -> Prediction:
        """The same with `difficulty` (B, N), the estimated variance as it came out: noisy, maybe negative, NaN at
        t = 0, where nothing is known; `logvar` shows it, clamped to LOGVAR_RANGE. images (B,) bool: for these alone,
        NaN for the others, which draw no signs: an image's signs must not depend on what is beside it."""
        v, slopes = self._slopes(x, t, cond, images)
        difficulty = self._variance(slopes.mean(0), t)
        if images is not None:
            difficulty[~images.to(x.device)] = torch.nan
        low, high = (torch.tensor(end).exp() for end in LOGVAR_RANGE)
        logvar = self.grid.to_pixels(difficulty.clamp(low, high).log())
        return Prediction(v, logvar, v, logvar, difficulty)

    def estimates(self, x: Tensor, t: PatchTime, cond: Any) -> Tensor:
        """(P, B, N), as `ranked` would estimate the difficulty by each of the probes alone."""
        return torch.stack([self._variance(one, t) for one in self._slopes(x, t, cond)[1]])

    def _variance(self, slopes: Tensor, t: PatchTime) -> Tensor:
        """(B, N) from d v_p / d x_p, (B, C, H, W)."""
        time = t.per_patch
        return torch.where(time > 0, self._std**2 / time * (1 + (1 - time) * self.grid.to_patches(slopes)), torch.nan)

    def _slopes(self, x: Tensor, t: PatchTime, cond: Any, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """v (B, C, H, W), and what each probe estimates d v_p / d x_p to be, (P, B, C, H, W)."""
        size, drawing = (self.probes, *x.shape[1:]), [True] * len(self._rng) if images is None else images.tolist()
        none = torch.zeros(size, dtype=torch.long)
        each = [torch.randint(0, 2, size, generator=g) if d else none for g, d in zip(self._rng, drawing, strict=True)]
        signs = torch.stack(each, 1).to(x) * 2 - 1

        def along(z: Tensor) -> tuple[Tensor, Tensor]:
            return jvp(lambda y: self._plain(y, t, cond).v, (x,), (z,))

        with _ONE_AT_A_TIME:
            v, moved = vmap(along, out_dims=(None, 0))(signs)  # the pass itself is computed once
        return v, signs * moved


def with_plain_attention(model: Model) -> Model:
    """The same network on the same weights, its attention in plain products: torch's fused one has no forward-mode
    derivative on a CPU."""
    if not isinstance(model, nn.Module) or not any(isinstance(m, Attention) for m in model.modules()):
        return model
    shared = {id(part): part for part in (*model.parameters(), *model.buffers())}
    plain = copy.deepcopy(model, shared)
    for module in plain.modules():
        if isinstance(module, Attention | CrossAttention):
            module.fused = False
    return plain
