"""A small residual MLP for the plane: two coordinates, two times in; two velocities, two log-variances out."""

import math

import torch
from torch import Tensor, nn

from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.types import PatchTime, Prediction


class MLP(nn.Module):
    """Predicts a velocity and the log-variance of its own error for points of the plane, made to be trained live.

    Calling it: x (B, 1, 1, 2), t a PatchTime, y ignored (there are no classes) -> Prediction with v and logvar, both
    (B, 1, 1, 2): a coordinate is a patch. At the start v = 0 and logvar = 0. `frequencies` waves of each time, of
    1/2, 1, 3/2 ... turns over [0, 1], go in beside the times themselves. Raises InputError for a size below 1 (0 waves
    are allowed).

    The defaults are the cheapest that measured well: 2,000 steps of batch 1024 with AdamW, lr 1e-2 and lambda 1.
    """

    grid, channels = PatchGrid(1, 2, 1), 1

    def __init__(self, width: int = 48, depth: int = 3, frequencies: int = 2):
        super().__init__()
        if min(width, depth) < 1 or frequencies < 0:
            raise InputError(f"An MLP needs a width and depth of at least 1, not {width} and {depth}.")
        self.config = {"width": width, "depth": depth, "frequencies": frequencies}
        n = self.grid.n
        self.register_buffer("turns", math.pi * torch.arange(1, frequencies + 1), persistent=False)
        self.input = nn.Linear(2 * n + 2 * n * frequencies, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.output = nn.Linear(width, 2 * n)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: PatchTime, y: Tensor | None = None) -> Prediction:
        times = t.per_patch
        angles = (times[:, :, None] * self.turns).flatten(1)
        h = torch.cat([x.flatten(1), 2 * times - 1, angles.cos(), angles.sin()], 1)
        h = nn.functional.silu(self.input(h))
        for block in self.blocks:
            h = h + nn.functional.silu(block(h))
        v, logvar = (half.reshape(x.shape) for half in self.output(h).chunk(2, 1))
        return Prediction(v, logvar, v, logvar)


def build(seed: int = 0, **sizes: int) -> MLP:
    """An MLP with initial weights that depend on `seed` (and the sizes) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP(**sizes)
