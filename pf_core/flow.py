"""Flow matching with a time per patch: x_t = t x1 + (1 - t) x0, u = x1 - x0, and the difficulty head's NLL."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.registry import number
from pf_core.types import Model, PatchTime, Prediction

LOGVAR_RANGE = (-30.0, 20.0)  # exp() stays finite in fp32
LAMBDA = 0.01  # weight of the NLL in the paper's total loss


@dataclass(frozen=True)
class Source:
    """The distribution of x0, N(mean, std^2 I); mean is a number or a tuple that broadcasts to (C, H, W).

    Raises InputError for a mean or std that is no finite number.
    """

    mean: float | list | tuple = 0.0
    std: float = 1.0

    def __post_init__(self):
        try:
            mean = torch.as_tensor(self.mean, dtype=torch.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"A source's mean is a number or nested lists of numbers, not {self.mean!r:.60}."
            ) from None
        if not mean.isfinite().all():
            raise InputError("A source's mean must be finite.")
        object.__setattr__(self, "mean", _tuples(self.mean))
        object.__setattr__(self, "std", number("a source's std", self.std, 0))

    def shift(self, noise: Tensor) -> Tensor:
        """Standard normal (B, C, H, W) -> this source."""
        mean = torch.as_tensor(self.mean, dtype=noise.dtype, device=noise.device)
        return mean + self.std * noise

    def draw(self, seeds: list[int], shape: tuple[int, int, int]) -> Tensor:
        """x0 (B, C, H, W) on the CPU, image i from seeds[i] alone, whatever the batch it stands in."""
        return self.shift(torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]))


def _tuples(mean: float | list | tuple) -> float | tuple:
    """As JSON gives it, lists -> as it was, tuples."""
    return tuple(_tuples(m) for m in mean) if isinstance(mean, list | tuple) else mean


STANDARD_NORMAL = Source()


def interpolate(x0: Tensor, x1: Tensor, t: Tensor, grid: PatchGrid) -> Tensor:
    """x_t, (B, C, H, W), for noise x0, data x1 and a time per patch t (B, N) in [0, 1]."""
    t = grid.to_pixels(t)
    return t * x1 + (1 - t) * x0


def velocity(x0: Tensor, x1: Tensor) -> Tensor:
    """The target u = x1 - x0."""
    return x1 - x0


def predict_x1(x: Tensor, v: Tensor, t: Tensor, grid: PatchGrid) -> Tensor:
    """One-step prediction x1_hat = x_t + (1 - t) v; t: (B, N)."""
    return x + (1 - grid.to_pixels(t)) * v


def difficulty(logvar: Tensor, grid: PatchGrid) -> Tensor:
    """(B, 1, H, W) log-variance -> (B, N) mean over each patch of exp(logvar): a variance of the velocity error."""
    return grid.to_patches(logvar.float().clamp(*LOGVAR_RANGE).exp())


def gaussian_nll(u: Tensor, v: Tensor, logvar: Tensor, stop_gradient: bool = True) -> Tensor:
    """-log N(u | sg(v), exp(logvar)) for every scalar, (B, C, H, W); logvar (B, 1, H, W) is shared by the channels.

    No gradient reaches v from here (the paper's stop-gradient); the shared trunk still feels it through logvar. With
    `stop_gradient` off the sg is removed, to show what it is good for.
    """
    logvar, v = logvar.clamp(*LOGVAR_RANGE), v.detach() if stop_gradient else v
    return 0.5 * (math.log(2 * math.pi) + logvar + (u - v) ** 2 * torch.exp(-logvar))


class Losses(NamedTuple):
    """Scalars. total = mse + lambda * nll; nll is None for a network without the difficulty head."""

    total: Tensor
    mse: Tensor
    nll: Tensor | None


def loss(prediction: Prediction, u: Tensor, lam: float = LAMBDA, stop_gradient: bool = True) -> Losses:
    """mean (u - v)^2 + lam * mean NLL, both means over every scalar of (B, C, H, W)."""
    mse = (u - prediction.v.float()).pow(2).mean()
    if prediction.logvar is None:
        return Losses(mse, mse.detach(), None)
    nll = gaussian_nll(u, prediction.v.float(), prediction.logvar.float(), stop_gradient).mean()
    return Losses(mse + lam * nll, mse.detach(), nll.detach())


class Look(NamedTuple):
    """One forward pass on noised data: xt, u (B, C, H, W), state and target velocity; t; what the network said."""

    xt: Tensor
    u: Tensor
    t: PatchTime
    prediction: Prediction
    grid: PatchGrid

    @property
    def error(self) -> Tensor:
        """(B, N) mean over each patch of the squared velocity error (u - v)^2."""
        return self.grid.to_patches((self.u - self.prediction.v.float()) ** 2)

    @property
    def difficulty(self) -> Tensor | None:
        """(B, N) what the network takes `error` to be, a variance; None where it predicts none."""
        logvar = self.prediction.logvar
        return None if logvar is None else difficulty(logvar, self.grid)

    @property
    def x1_hat(self) -> Tensor:
        """(B, C, H, W) one-step prediction."""
        return predict_x1(self.xt, self.prediction.v, self.t.per_patch, self.grid)


def evaluate_at(model: Model, x0: Tensor, x1: Tensor, t: PatchTime, cond: Tensor, grid: PatchGrid) -> Look:
    """Noise x1 with x0 (B, C, H, W) to the times t, and let the network look at that once."""
    xt = interpolate(x0, x1, t.per_patch, grid)
    return Look(xt, velocity(x0, x1), t, model(xt, t, cond), grid)
