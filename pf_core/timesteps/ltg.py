from typing import Annotated

import torch
from torch import Generator

from pf_core.registry import Knob
from pf_core.timesteps import common
from pf_core.types import PatchTime


def ltg(
    b: int,
    n: int,
    rng: Generator,
    *,
    loc: Annotated[
        float, Knob(-3, 3, "mean of logit(t_max): 0.7 for classes, 0.5 for text", label="Middle (loc)")
    ] = 0.7,
    scale: Annotated[float, Knob(0.05, 3, "standard deviation of logit(t_max)", label="Width (scale)")] = 1.0,
    std: Annotated[
        float, Knob(0.0, 1.0, "spread below t_max; from 0.5 up all are the same law", label="Spread (std)")
    ] = 0.6,
) -> PatchTime:
    """Logit-Normal Truncated Gaussian (Patch Forcing's own).

    (b, n): t_max = sigmoid(loc + scale * N(0, 1)), t_i = t_max - |N(0, 1)| * min(std, t_max / 2); the 4.55% (at the
    default std) that fall below 0 are redrawn from U[0, t_max]. No patch is ever cleaner than t_max.
    """
    t_max = torch.sigmoid(loc + scale * common.normal((b, 1), rng))
    return PatchTime.dense(common.below_maximum(t_max, n, std, rng))
