from typing import Annotated

import torch
from torch import Generator

from pf_core.registry import Knob
from pf_core.timesteps import common
from pf_core.types import PatchTime


def gaussian(
    b: int,
    n: int,
    rng: Generator,
    *,
    std: Annotated[float, Knob(0.0, 1.0, "largest spread around the mean", label="Spread (std)")] = 0.2,
) -> PatchTime:
    """Gaussian around a uniform mean.

    (b, n): m ~ U[0, 1], t_i ~ N(m, min(std, min(m, 1 - m) / 2)^2), clamped to [0, 1].
    """
    mean = common.uniform((b, 1), rng)
    spread = torch.minimum(mean, 1 - mean).div(2).clamp(max=std)
    return PatchTime.dense((mean + spread * common.normal((b, n), rng)).clamp(0, 1))
