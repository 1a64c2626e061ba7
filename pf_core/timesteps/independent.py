from torch import Generator

from pf_core.timesteps import common
from pf_core.types import PatchTime


def independent(b: int, n: int, rng: Generator) -> PatchTime:
    """Independent per patch (naive Diffusion Forcing).

    (b, n): t_i ~ U[0, 1]. The mean gathers near 1/2 and the maximum near 1: states that inference never starts from.
    """
    return PatchTime.dense(common.uniform((b, n), rng))
