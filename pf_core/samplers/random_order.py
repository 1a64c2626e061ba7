from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.samplers.common import Order, Past, at_random, sampler
from pf_core.samplers.dual_loop import two_speeds
from pf_core.types import Denoise, Step


@sampler(nfe=lambda ts, n_inner, **_: n_inner * (len(ts) - 1))
def random_order(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches that go first", label="Patches that go first, p")] = 0.4,
    n_inner: Annotated[int, Knob(1, 8, "forward passes in each outer step", label="Inner steps")] = 4,
    order: Order = 1,
) -> Iterator[Step]:
    """Random order (dual-loop with the patches that go first drawn at random).

    The control of Fig. 6: as many patches run ahead, but not the easy ones. n_inner NFE a step.
    """
    return two_speeds(denoise, x, grid, ts, at_random(p, grid, rng), n_inner, Past.of(order, past))
