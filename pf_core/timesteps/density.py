"""The densities behind LTG in closed form (paper, Fig. 4): of t_max, and of a patch's t below a given t_max."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOCATIONS = ((0.0, 1.0), (0.5, 1.0), (0.7, 1.0))  # (loc, scale) of logit(t_max)
MAXIMA = (0.1, 0.25, 0.5, 0.75, 0.99)
WIDTHS = (0.1, 0.2, 0.3, 0.6)
POINTS = 121  # of a curve


class Curve(NamedTuple):
    """A density at the times t, (POINTS,) each, in 1 / (unit of t)."""

    t: Tensor
    density: Tensor


class Below(NamedTuple):
    """p(t | t_max) for one width std: the curve over [0, t_max]; width, what the Gaussian's standard deviation really
    is; redrawn, the share of patches that fell below 0; mean, of t."""

    std: float
    curve: Curve
    width: float
    redrawn: float
    mean: float


def of_maximum(t: Tensor, loc: float, scale: float) -> Tensor:
    """The logit-normal density of t_max = sigmoid(loc + scale N(0, 1)) at t, any shape; 0 outside (0, 1)."""
    inside = (t > 0) & (t < 1)
    t = torch.where(inside, t, 0.5)
    z = (torch.logit(t) - loc) / scale
    return torch.where(inside, _normal(z) / (scale * t * (1 - t)), 0)


def below_maximum(t: Tensor, t_max: float, std: float) -> Tensor:
    """The density of t_i = t_max - |N(0, 1)| width at t, any shape, width = min(std, t_max / 2), with the share below 0
    spread evenly over [0, t_max]; 0 outside of that. std > 0, 0 < t_max <= 1."""
    width = width_of(t_max, std)
    density = 2 * _normal((t_max - t) / width) / width + redrawn(t_max, std) / t_max
    return torch.where((t >= 0) & (t <= t_max), density, 0)


def width_of(t_max: float, std: float) -> float:
    """At most t_max / 2: so wide Gaussians are the same law."""
    return min(std, t_max / 2)


def redrawn(t_max: float, std: float) -> float:
    """The share of patches whose t falls below 0 and is drawn again: P(|N(0, 1)| > t_max / width)."""
    return math.erfc(t_max / width_of(t_max, std) / math.sqrt(2))


def mean_below(t_max: float, std: float) -> float:
    """The mean of t given t_max."""
    width = width_of(t_max, std)
    kept = t_max - width * math.sqrt(2 / math.pi) * (1 - math.exp(-((t_max / width) ** 2) / 2))
    return kept - t_max * redrawn(t_max, std) / 2  # those redrawn have mean t_max / 2, not t_max


def maxima() -> list[tuple[tuple[float, float], Curve]]:
    """The density of t_max for each (loc, scale) of LOCATIONS."""
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    return [(pair, Curve(t, of_maximum(t, *pair))) for pair in LOCATIONS]


def below(t_max: float) -> list[Below]:
    """p(t | t_max) for each of WIDTHS."""
    t = torch.linspace(0, t_max, POINTS, dtype=torch.float64)
    return [
        Below(
            std,
            Curve(t, below_maximum(t, t_max, std)),
            width_of(t_max, std),
            redrawn(t_max, std),
            mean_below(t_max, std),
        )
        for std in WIDTHS
    ]


def _normal(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
