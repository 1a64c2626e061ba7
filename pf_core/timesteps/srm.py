from typing import Annotated

import torch
from torch import Generator, Tensor

from pf_core.registry import Knob
from pf_core.timesteps import common
from pf_core.types import PatchTime


def srm(
    b: int,
    n: int,
    rng: Generator,
    *,
    sharpness: Annotated[float, Knob(0.1, 100, "higher: patches closer to their mean (paper: 1, 4, 10)")] = 1.0,
) -> PatchTime:
    """Uniform mean t-bar (Spatial Reasoning Models).

    (b, n): the MEAN is U[0, 1]; patches follow by recursive halving of their sum, then a shuffle.
    """
    total = common.uniform((b, 1), rng) * n
    cells = _halve(total, n, sharpness, rng)[:, 0]
    order = common.uniform((b, n), rng).argsort(dim=1)
    return PatchTime.dense(cells.gather(1, order).clamp(0, 1))


def _halve(total: Tensor, d: int, sharpness: float, rng: Generator) -> Tensor:
    """(B, G) sums of groups of d cells -> (B, G, d) cells in [0, 1] with those sums."""
    if d == 1:
        return total[..., None]
    h = d // 2
    low, high = (total - (d - h)).clamp(min=0), total.clamp(max=h)
    a = (d - 1 - d % 2) ** 1.05 * sharpness
    first = low + (high - low) * common.symmetric_beta(a, total.shape, rng)
    if d % 2 == 0:  # both halves alike: one call for the two
        both = torch.stack([first, total - first], dim=-1)
        return _halve(both.flatten(1), h, sharpness, rng).unflatten(1, both.shape[1:]).flatten(2)
    return torch.cat([_halve(first, h, sharpness, rng), _halve(total - first, d - h, sharpness, rng)], dim=-1)
