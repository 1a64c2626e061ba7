"""The oracle: the exact denoiser of a finite data set under any per-patch t map, itself a Model.

With x0 ~ N(m, s^2 I) and x1 one of M equally likely images, a state x = t x1 + (1 - t) x0 has image j behind it with

    w_j ~ exp(- sum over patches p of |x_p - t_p x1_jp - (1 - t_p) m_p|^2 / (2 (1 - t_p)^2 s^2)),

and for t < 1 velocity and variance are E[u|x] = (E[x1|x] - x) / (1 - t) and Var[u|x] = Var[x1|x] / (1 - t)^2.

Patches at t = 1 would divide by nothing. So that they need no case of their own, data count as known up to a Gaussian
error of standard deviation FLOOR: x = t x1 + (1 - t) x0 + FLOOR n. All formulas below are exact for that, at every t:

    scale^2 = (1 - t)^2 s^2 + FLOOR^2                  replaces (1 - t)^2 s^2 in the weights,
    gain    = (1 - t) s^2 / scale^2                    replaces 1 / (1 - t); 0 at t = 1,
    E[u|x]   = (1 + gain t) E[x1|x] - gain (x - (1 - t) m) - m,
    Var[u|x] = (1 + gain t)^2 Var[x1|x] + s^2 FLOOR^2 / scale^2.

At t = 1 a patch is known data: it picks the images that hold it, its x0 is anyone's guess: E[u] = x1 - m, Var[u] = s^2.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pf_core.errors import InputError
from pf_core.flow import LOGVAR_RANGE, Source
from pf_core.patches import PatchGrid
from pf_core.types import PatchTime, Prediction

NORMAL = Source()
FLOOR = 1e-5  # far above the rounding of an fp32 state (1e-7), far below a grey level (8e-3) and any sampler's 1 - t
_CELLS = 2**22  # posterior weights worked on at a time: 32 MB


class _Tables(NamedTuple):
    """What the formulas need of the images. In float64: near t = 1 weights are small differences of huge squares."""

    images: Tensor  # (M, C*H*W)
    norms: Tensor  # (M, N) |x1_p|^2
    squares: Tensor  # (M, H*W) mean over channels of x1^2
    labels: Tensor  # (M,)
    mean: Tensor  # broadcasts to (C, H, W): the source's


class Oracle(nn.Module):
    """Exact velocity and variance for `images` (M, C, H, W) with `labels` (M,) in 0 .. num_classes - 1.

    Calling it: x (B, C, H, W), t a PatchTime, cond (B,) class indices or None -> Prediction with v (B, C, H, W) and
    logvar (B, 1, H, W), in x's dtype, on its device; inside all is float64. A class leaves only its own images in play,
    the null class (index num_classes, or cond None) all of them. Raises InputError for a class without images.
    """

    def __init__(self, images: Tensor, labels: Tensor, grid: PatchGrid, num_classes: int, source: Source = NORMAL):
        super().__init__()
        _check(images, labels, grid, num_classes, source)
        self.grid, self.channels, self.num_classes, self.source = grid, images.shape[1], num_classes, source
        self.register_buffer("images", images.detach().clone())
        self.register_buffer("labels", labels.detach().clone().long())
        self._known = set(self.labels.tolist()) | {num_classes}
        self._tables: _Tables | None = None

    def forward(self, x: Tensor, t: PatchTime, cond: Tensor | None = None) -> Prediction:
        tables, parts = self._prepare(x, t, cond)
        moments = [self._moments(tables, self._posterior(tables, *part), *part[:2]) for part in parts]
        v, var = (torch.cat(m) for m in zip(*moments, strict=True))
        low, high = LOGVAR_RANGE
        v, logvar = v.to(x), var.clamp(math.exp(low), math.exp(high)).log().to(x)
        return Prediction(v, logvar, v, logvar)

    def weights(self, x: Tensor, t: PatchTime, cond: Tensor | None = None) -> Tensor:
        """(B, M) float64: how likely each image is, given the state; a row sums to 1."""
        tables, parts = self._prepare(x, t, cond)
        return torch.cat([self._posterior(tables, *part) for part in parts]).to(x.device)

    def _prepare(self, x: Tensor, t: PatchTime, cond: Tensor | None) -> tuple[_Tables, list[tuple[Tensor, ...]]]:
        """The tables, and (x, t per patch, class) in float64 in parts of at most _CELLS weights."""
        if cond is None:
            cond = torch.full((len(x),), self.num_classes)
        for asked in set(cond.tolist()) - self._known:
            raise InputError(
                f"None of the oracle's {len(self.images)} images is of class {asked}: give it more images."
            )
        tables = self._on(torch.device("cpu") if x.device.type == "mps" else x.device)  # mps has no float64
        whole = (x.to(tables.images), t.per_patch.to(tables.images), cond.to(tables.labels))
        rows = max(1, _CELLS // len(self.images))
        return tables, list(zip(*(part.split(rows) for part in whole), strict=True))

    def _on(self, device: torch.device) -> _Tables:
        if self._tables is None or self._tables.images.device != device:
            x1, k = self.images.to(device, torch.float64), self.grid.patch_size
            squares = x1.square()
            norms = self.grid.to_patches(squares) * (k * k * self.channels)
            mean = torch.as_tensor(self.source.mean, dtype=torch.float64, device=device)
            self._tables = _Tables(x1.flatten(1), norms, squares.mean(1).flatten(1), self.labels.to(device), mean)
        return self._tables

    def _scale2(self, t: Tensor) -> Tensor:
        return ((1 - t) * self.source.std).square() + FLOOR**2

    def _posterior(self, tables: _Tables, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """x (B, C, H, W), t (B, N), cond (B,) -> weights (B, M)."""
        scale2 = self._scale2(t)
        residual = x - (1 - self.grid.to_pixels(t)) * tables.mean
        pull = self.grid.to_pixels(t / scale2) * residual
        # -|residual - t x1|^2 / (2 scale^2), multiplied out, less what all images share
        logits = pull.flatten(1) @ tables.images.T - (t * t / (2 * scale2)) @ tables.norms.T
        other = (cond[:, None] != tables.labels) & (cond[:, None] != self.num_classes)
        return logits.masked_fill(other, -math.inf).softmax(1)

    def _moments(self, tables: _Tables, w: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """E[u|x] (B, C, H, W) and the channel mean of Var[u|x] (B, 1, H, W) under weights w (B, M)."""
        x1 = (w @ tables.images).view_as(x)
        spread = (w @ tables.squares).view_as(x[:, :1]) - x1.square().mean(1, keepdim=True)
        t, s2 = self.grid.to_pixels(t), self.source.std**2
        scale2 = self._scale2(t)
        gain = (1 - t) * s2 / scale2
        v = (1 + gain * t) * x1 - gain * (x - (1 - t) * tables.mean) - tables.mean
        return v, (1 + gain * t).square() * spread.clamp(min=0) + s2 * FLOOR**2 / scale2


def _check(images: Tensor, labels: Tensor, grid: PatchGrid, num_classes: int, source: Source) -> None:
    if images.ndim != 4 or len(images) == 0 or not images.is_floating_point():
        raise InputError(f"The oracle needs at least one image, as floats (M, C, H, W), not {tuple(images.shape)}.")
    if tuple(images.shape[2:]) != (grid.height, grid.width):
        raise InputError(
            f"Images of {images.shape[2]}x{images.shape[3]} do not fit a grid of {grid.height}x{grid.width}."
        )
    if not images.isfinite().all():
        raise InputError("The oracle's images hold NaN or infinite values.")
    if labels.shape != images.shape[:1] or ((labels < 0) | (labels > num_classes)).any():
        raise InputError(f"The oracle needs one label an image, from 0 to {num_classes}.")
    if not source.std > 0:
        raise InputError(f"The source's standard deviation must be positive, not {source.std}.")


def from_dataset(data, count: int, grid: PatchGrid, source: Source = NORMAL) -> Oracle:
    """The oracle of images 0 .. count - 1 of a data set. Raises InputError if there are not that many."""
    if not 1 <= count <= len(data):
        raise InputError(f"The oracle needs from 1 to {len(data)} images of this data set, not {count}.")
    sample = data.batch(range(count))
    return Oracle(sample.images, sample.labels, grid, len(data.names), source)
