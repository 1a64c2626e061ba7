"""What a timestep sampler draws, for looking at: a few maps, and how mean and maximum are spread."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pf_core.timesteps import TIMESTEPS

BINS = 24  # of the histograms over [0, 1]
COUNTED = 4096


class Draws(NamedTuple):
    """maps: (shown, N) times in [0, 1]; mean, largest: (BINS,) share of COUNTED samples whose mean, or largest, t lies
    in each of BINS equal parts of [0, 1]; each sums to 1."""

    maps: Tensor
    mean: Tensor
    largest: Tensor


def draws(name: str, n: int, settings: Mapping[str, Any] = {}, shown: int = 8, seed: int = 0) -> Draws:
    """Draw from the timestep sampler `name` for images of n patches. Raises InputError for a wrong name or setting."""
    entry = TIMESTEPS[name]
    rng = torch.Generator().manual_seed(seed)
    t = entry.fn(max(COUNTED, shown), n, rng, **entry.settings(settings)).per_patch
    return Draws(t[:shown].clone(), _spread(t.mean(1)), _spread(t.amax(1)))


def _spread(values: Tensor) -> Tensor:
    """(B,) values in [0, 1] -> (BINS,) shares."""
    return torch.histc(values.float(), BINS, 0, 1) / len(values)
