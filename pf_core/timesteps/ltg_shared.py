from torch import Generator

from pf_core.timesteps.ltg import ltg
from pf_core.types import PatchTime


def ltg_shared(b: int, n: int, rng: Generator) -> PatchTime:
    """One t a sample, drawn as a patch of LTG is.

    (b, n): t is what LTG with its default settings gives one patch, shared by all. The control that tells whether LTG
    gains by times that differ within an image, or by which times it draws.
    """
    return PatchTime.shared(ltg(b, 1, rng).per_patch[:, 0], n)
