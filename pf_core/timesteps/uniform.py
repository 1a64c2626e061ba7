from torch import Generator, Tensor

from pf_core.timesteps import common


def uniform(b: int, n: int, rng: Generator) -> Tensor:
    """Uniform, one t a sample (SiT).

    (b, n): t ~ U[0, 1], shared by all patches of a sample.
    """
    return common.uniform((b, 1), rng).expand(b, n)
