from typing import Annotated

import torch
from torch import Generator

from pf_core.registry import Knob
from pf_core.timesteps import common
from pf_core.types import PatchTime


def logit_normal(
    b: int,
    n: int,
    rng: Generator,
    *,
    loc: Annotated[float, Knob(-3, 3, "mean of logit(t)", label="Middle (loc)")] = 0.0,
    scale: Annotated[float, Knob(0.05, 3, "standard deviation of logit(t)", label="Width (scale)")] = 1.0,
) -> PatchTime:
    """Logit-normal, one t a sample (SD3).

    (b, n): t = sigmoid(loc + scale * N(0, 1)), shared by all patches of a sample.
    """
    return PatchTime.shared(torch.sigmoid(loc + scale * common.normal((b, 1), rng))[:, 0], n)
