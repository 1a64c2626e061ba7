"""Drawing from a `torch.Generator` on its own device: the few laws that the timestep samplers share."""

import torch
from torch import Generator, Tensor


def uniform(shape: tuple[int, ...], rng: Generator) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)


def normal(shape: tuple[int, ...], rng: Generator) -> Tensor:
    return torch.randn(shape, generator=rng, device=rng.device)


def symmetric_beta(a: float, shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Beta(a, a) as a ratio of Gamma draws: torch's own Beta takes no generator, its Gamma kernel does."""
    alpha = torch.full((2, *shape), float(a), dtype=torch.float64, device=rng.device)
    first, second = torch._standard_gamma(alpha, generator=rng)
    return (first / (first + second)).float()


def below_maximum(t_max: Tensor, n: int, std: float, rng: Generator) -> Tensor:
    """(B, n) times from the lower half of a Gaussian at t_max (B, 1), std at most t_max / 2; negative ones are redrawn
    from U[0, t_max]."""
    shape = (t_max.shape[0], n)
    t = t_max - normal(shape, rng).abs() * torch.clamp(t_max / 2, max=std)
    return torch.where(t < 0, uniform(shape, rng) * t_max, t)
