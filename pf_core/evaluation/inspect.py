"""What the page "How it works" shows, computed: one held-out image, its noise, timestep maps, and networks' glimpses.

Nothing is sampled here: every picture is one forward pass on a state made from the image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pf_core import flow
from pf_core.data import DATASETS
from pf_core.data.splits import HELD_OUT
from pf_core.models.checkpoint import Bundle
from pf_core.patches import PatchGrid
from pf_core.timesteps import TIMESTEPS
from pf_core.timesteps.preview import Draws, draws
from pf_core.types import PatchTime

DATASET, ITEM, NOISE_SEED = "shapes", HELD_OUT + 38, 7
TIMES = [round(0.1 * k, 1) for k in range(1, 10)]
LEAN = 0.15  # how far left and right of a leaning map are from its middle


@dataclass(frozen=True)
class Picture:
    """x0, x1: (1, C, H, W), noise and held-out image; label: its class's index and name."""

    x0: Tensor
    x1: Tensor
    label: int
    name: str


def picture(bundle: Bundle) -> Picture:
    """The page's image in a network's space."""
    data = DATASETS[DATASET].fn()
    sample = data.batch([ITEM])
    x1 = bundle.codec.encode(sample.images)
    x0 = bundle.source.draw([NOISE_SEED], tuple(x1.shape[1:]))
    label = int(sample.labels[0])
    return Picture(x0, x1, label, data.names[label])


def all_draws(n: int, shown: int) -> dict[str, Draws]:
    """For each registered timestep sampler, what it draws for n patches."""
    return {name: draws(name, n, shown=shown) for name in TIMESTEPS}


def flat(grid: PatchGrid) -> PatchTime:
    """Of (K, N): all patches at one time, for each of TIMES."""
    return PatchTime.shared(torch.tensor(TIMES), grid.n)


def leaning(grid: PatchGrid) -> PatchTime:
    """Of (K, N): the left of the image behind, the right ahead by LEAN, around each of TIMES; clamped to [0, 1]."""
    across = torch.linspace(-LEAN, LEAN, grid.cols).repeat(grid.rows)
    return PatchTime.dense((torch.tensor(TIMES)[:, None] + across).clamp(0, 1))


@dataclass(frozen=True)
class Glimpse:
    """One forward pass at each of K maps. x1_hat: (K, C, H, W); sigma: (K, N), None without a difficulty head; error:
    (K, N), the true root mean square error of the velocity in each patch."""

    x1_hat: Tensor
    sigma: Tensor | None
    error: Tensor


@torch.inference_mode()
def glimpse(bundle: Bundle, seen: Picture, t: PatchTime) -> Glimpse:
    """What a network says of the picture at K timestep maps."""
    k = len(t.levels)
    x0, x1 = (v.expand(k, *v.shape[1:]).to(bundle.device) for v in (seen.x0, seen.x1))
    cond = bundle.conditioner.encode([seen.name if bundle.conditioner.names else seen.label] * k, bundle.device)
    look = flow.evaluate_at(bundle.model, x0, x1, t.map(lambda v: v.to(bundle.device)), cond, bundle.grid)
    sigma = None if look.difficulty is None else look.difficulty.sqrt()
    return Glimpse(look.x1_hat, sigma, look.error.sqrt())
