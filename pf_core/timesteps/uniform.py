from torch import Generator

from pf_core.timesteps import common
from pf_core.types import PatchTime


def uniform(b: int, n: int, rng: Generator) -> PatchTime:
    """Uniform, one t a sample (SiT).

    (b, n): t ~ U[0, 1], shared by all patches of a sample.
    """
    return PatchTime.shared(common.uniform((b, 1), rng)[:, 0], n)
