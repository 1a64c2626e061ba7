from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.samplers.common import Order, Past, at_random, sampler
from pf_core.samplers.look_ahead import looking_ahead, probes
from pf_core.types import Denoise, Step


@sampler(nfe=lambda ts, **_: len(ts) - 1 + probes(ts))
def random_look_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches that look ahead", label="Patches that look ahead, p")] = 0.4,
    ratio: Annotated[float, Knob(1.0, 5.0, "they look ahead to min(1, ratio * t)", label="Look-ahead ratio")] = 1.4,
    order: Order = 1,
) -> Iterator[Step]:
    """Random look-ahead (any patches probe the future as context for the others).

    Look-ahead with the patches that look ahead drawn at random: its control, as random_order is dual-loop's. It needs
    no difficulty. NFE as look-ahead.
    """
    chosen = at_random(p, grid, rng)
    return looking_ahead(denoise, x, grid, ts, chosen, ratio, Past.of(order, past))
