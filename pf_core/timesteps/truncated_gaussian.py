from typing import Annotated

from torch import Generator

from pf_core.registry import Knob
from pf_core.timesteps import common
from pf_core.types import PatchTime


def truncated_gaussian(
    b: int,
    n: int,
    rng: Generator,
    *,
    std: Annotated[float, Knob(0.0, 1.0, "spread below the maximum", label="Spread (std)")] = 0.2,
) -> PatchTime:
    """Truncated Gaussian below a uniform maximum.

    (b, n): t_max ~ U[0, 1], t_i from the lower half of a Gaussian at t_max.
    """
    return PatchTime.dense(common.below_maximum(common.uniform((b, 1), rng), n, std, rng))
