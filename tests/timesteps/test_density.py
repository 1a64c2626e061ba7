"""The densities that "How it works" draws: each integrates to 1 and is what the registered sampler draws."""

import math

import pytest
import torch

from pf_core.timesteps import TIMESTEPS, density

BINS, DRAWN = 20, 200_000
pairs = pytest.mark.parametrize("pair", density.LOCATIONS)
cases = pytest.mark.parametrize(("t_max", "std"), [(m, s) for m in density.MAXIMA for s in density.WIDTHS])


def integral(fn, low, high, points=20_001):
    t = torch.linspace(low, high, points, dtype=torch.float64)
    return torch.trapezoid(fn(t), t).item()


def drawn(b, n, **settings):
    """t (b, n) of the registered sampler; one with scale 0 has t_max = sigmoid(loc) in every image."""
    return TIMESTEPS["ltg"].fn(b, n, torch.Generator().manual_seed(1), **settings).per_patch.double()


def bins_agree(t, fn, low, high):
    """Each bin's share of the draws lies within five standard errors of the integral over that bin."""
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64)
    shares = torch.histogram(t.flatten(), edges).hist / t.numel()
    expected = torch.tensor([integral(fn, a, b, 401) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    error = (expected * (1 - expected) / t.numel()).sqrt() + 1e-6
    assert ((shares - expected).abs() < 5 * error).all(), (shares, expected)


@pairs
def test_the_density_of_the_maximum_integrates_to_one(pair):
    assert integral(lambda t: density.of_maximum(t, *pair), 0, 1) == pytest.approx(1, abs=1e-4)


@pairs
def test_the_density_of_the_maximum_is_the_samplers(pair):
    loc, scale = pair
    t_max = drawn(DRAWN, 1, loc=loc, scale=scale, std=0.0)  # no width: every t is t_max
    bins_agree(t_max, lambda t: density.of_maximum(t, loc, scale), 0, 1)


@cases
def test_the_density_below_a_maximum_integrates_to_one(t_max, std):
    assert integral(lambda t: density.below_maximum(t, t_max, std), 0, t_max) == pytest.approx(1, abs=1e-4)


@cases
def test_the_density_below_a_maximum_is_the_samplers(t_max, std):
    t = drawn(1, DRAWN, loc=math.log(t_max / (1 - t_max)), scale=0.0, std=std)
    assert t.max() <= t_max + 1e-6
    bins_agree(t.clamp(max=t_max), lambda each: density.below_maximum(each, t_max, std), 0, t_max)
    assert t.mean().item() == pytest.approx(density.mean_below(t_max, std), abs=0.002)


def test_nothing_lies_outside():
    t = torch.tensor([-0.1, 0.51, 1.0, 1.2])
    assert density.below_maximum(t, 0.5, 0.2).tolist() == [0, 0, 0, 0]
    assert density.of_maximum(torch.tensor([-0.1, 0.0, 1.0, 2.0]), 0.7, 1.0).tolist() == [0, 0, 0, 0]


def test_from_half_of_the_maximum_up_all_widths_are_one_law():
    narrow, *_, wide = density.below(0.1)
    assert narrow.width == wide.width == 0.05 and torch.equal(narrow.curve.density, wide.curve.density)
    assert wide.redrawn == pytest.approx(0.0455, abs=1e-4)
