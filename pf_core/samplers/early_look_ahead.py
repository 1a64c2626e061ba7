from collections.abc import Iterator
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.samplers.common import EasyShare, Order, Past, Ratio, by_difficulty, denoise_ranking, sampler
from pf_core.samplers.look_ahead import looking_ahead, probes
from pf_core.types import Denoise, Step


@sampler(nfe=lambda ts, until, **_: len(ts) - 1 + probes(ts, until), needs_difficulty=True, ranks=probes)
def early_look_ahead(
    denoise: Denoise,
    x: Tensor,
    grid: PatchGrid,
    ts: Tensor,
    rng: list[torch.Generator],
    past: Past | None = None,
    *,
    p: EasyShare = 0.4,
    ratio: Ratio = 1.4,
    until: Annotated[float, Knob(0.0, 1.0, "nobody looks ahead from this t on")] = 0.5,
    order: Order = 1,
) -> Iterator[Step]:
    """Early look-ahead (easy patches probe the future while t is small).

    Look-ahead that skips the probe from t = `until` on, where it pays least; what it saves buys more steps. 2 NFE a
    step from t 0.05 to `until`, else 1.
    """
    rank, first = by_difficulty(p, grid), partial(denoise_ranking, denoise)
    return looking_ahead(denoise, x, grid, ts, rank, ratio, Past.of(order, past), first, until)
