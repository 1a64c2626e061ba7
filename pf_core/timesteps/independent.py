from torch import Generator, Tensor

from pf_core.timesteps import common


def independent(b: int, n: int, rng: Generator) -> Tensor:
    """Independent per patch (naive Diffusion Forcing).

    (b, n): t_i ~ U[0, 1]. The mean gathers near 1/2 and the maximum near 1: states that inference never starts from.
    """
    return common.uniform((b, n), rng)
