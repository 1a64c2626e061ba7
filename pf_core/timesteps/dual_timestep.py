from typing import Annotated

from torch import Generator

from pf_core.registry import Knob
from pf_core.timesteps import common
from pf_core.types import PatchTime


def dual_timestep(
    b: int,
    n: int,
    rng: Generator,
    *,
    share: Annotated[float, Knob(0.0, 1.0, "share of patches at the second time", label="Patches at s")] = 0.25,
) -> PatchTime:
    """Two times a sample (Self-Flow's dual timestep).

    (b, n): t, s ~ U[0, 1] (our reading: its law of a single time is not in our sources), in no order; round(share * n)
    patches, drawn at random, are at s and all others at t. So a patch sees U[0, 1], as with one t a sample.
    """
    both = common.uniform((b, 2), rng)
    second = common.uniform((b, n), rng).argsort(1).argsort(1) < round(share * n)
    return PatchTime(both, second.long(), n)
