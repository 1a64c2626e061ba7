"""One look at a picture: one forward pass on a noised image under any map of times, with no sampling.

`inspect_picture` compares predicted and true error on any picture; the functions below it compute what the page "How it
works" shows of one held-out image, for several maps at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pf_core import flow
from pf_core.data import DATASETS
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError
from pf_core.evaluation.metrics import spearman
from pf_core.models.checkpoint import Bundle, data_settings
from pf_core.models.codecs import states_of
from pf_core.models.conditioning import Prompts
from pf_core.models.oracle import Oracle
from pf_core.patches import PatchGrid
from pf_core.timesteps import TIMESTEPS
from pf_core.timesteps.preview import Draws, draws
from pf_core.types import PatchTime

ITEM, NOISE_SEED = HELD_OUT + 38, 7
TIMES = [round(0.1 * k, 1) for k in range(1, 10)]
LEAN = 0.15  # difference in t between the edge and the middle of a leaning map
FIT = 1.5  # a mean predicted squared error within this factor of the true one counts as right


class Inspection(NamedTuple):
    """x0, x1, xt, x1_hat: (C, H, W) in the network's space; t, error, sigma: (N,) row by row.

    error: true RMS error of the velocity in each patch. sigma: the standard deviation that the network predicts for it,
    None where it predicts no difficulty. rank: Spearman correlation of the two, None where there is nothing to rank.
    ratio: mean predicted squared error over mean true squared error.
    """

    x0: Tensor
    x1: Tensor
    xt: Tensor
    x1_hat: Tensor
    t: Tensor
    error: Tensor
    sigma: Tensor | None
    rank: float | None
    ratio: float | None

    def sentence(self) -> str:
        """The numbers in words."""
        rms = self.error.square().mean().sqrt().item()
        if self.sigma is None:
            return f"This network predicts no difficulty; its true velocity error is {rms:.2f} RMS."
        ranks = (
            "The errors cannot be ranked" if self.rank is None else f"Spearman {self.rank:.2f}: {_ranked(self.rank)}"
        )
        fits = "about right" if 1 / FIT <= self.ratio <= FIT else "too sure" if self.ratio < 1 else "too cautious"
        return (
            f"{ranks}. On average it predicts {_short(self.ratio)} times the true squared error "
            f"({rms:.2f} RMS): {fits}."
        )


@torch.inference_mode()
def inspect_picture(
    bundle: Bundle, x1: Tensor, t: Tensor, *, label: str | int | None = None, seed: int = 0
) -> Inspection:
    """x1 (C, H, W), a picture in the network's space, noised with the seed's noise to the times t (N,) in [0, 1].

    label: what to condition on, None for the null class. Without guidance, as an extrapolated log-variance is not
    calibrated. Raises InputError for a picture or times that do not fit the network.
    """
    grid, device = bundle.grid, bundle.device
    x1, t = torch.as_tensor(x1).float(), torch.as_tensor(t).float()
    if tuple(x1.shape) != bundle.shape or not torch.isfinite(x1).all():
        raise InputError(
            f"The picture must hold finite numbers of {bundle.name}'s shape {bundle.shape}, not {tuple(x1.shape)}."
        )
    if t.shape != (grid.n,) or not ((t >= 0) & (t <= 1)).all():  # NaN is neither
        raise InputError(f"Give a time in [0, 1] for each of {grid.n} patches.")
    x0 = bundle.source.draw([seed], bundle.shape)
    cond, times = bundle.conditioner.encode([label], device), PatchTime.dense(t[None].to(device))
    evaluation = flow.evaluate_at(bundle.model, x0.to(device), x1[None].to(device), times, cond, grid)
    error = evaluation.error[0].sqrt().cpu()
    sigma = evaluation.difficulty[0].sqrt().cpu() if bundle.predicts_difficulty else None
    rank, ratio = (None, None) if sigma is None else compared(sigma, error)
    return Inspection(
        x0[0], x1, evaluation.xt[0].cpu(), evaluation.x1_hat[0].float().cpu(), t, error, sigma, rank, ratio
    )


def compared(sigma: Tensor, error: Tensor) -> tuple[float | None, float]:
    """(rank, ratio) of predicted and true error, (N,) each; see Inspection."""
    flat = any(float(a.max() - a.min()) == 0 for a in (sigma, error))
    rank = None if flat else spearman(np.asarray(sigma), np.asarray(error))
    squares = [float(a.double().square().mean()) for a in (sigma, error)]
    return rank, squares[0] / max(squares[1], 1e-30)


class Item(NamedTuple):
    """A picture for a network: (C, H, W) in its space; its class's name; a sentence that says where it is from."""

    x1: Tensor
    label: str | None
    about: str


class _Part(NamedTuple):
    """The part of a network's data set that is shown: `count` items from `first` on; kind: how they relate to it."""

    name: str
    data: Any
    first: int
    count: int
    kind: str


def _shown_part(bundle: Bundle) -> _Part:
    name, settings = data_settings(bundle)
    entry = DATASETS[name]
    data = entry.fn(**settings)
    if isinstance(bundle.model, Oracle):
        count = bundle.training.get("images", len(data))
        return _Part(entry.name, data, 0, count, f"one of the {count:,} images of {bundle.name}")
    endless = len(data) >= HELD_OUT and not getattr(data, "count", 0)
    held = 2**20 if endless else getattr(data, "held", 0)
    if held:
        return _Part(entry.name, data, HELD_OUT, held, "never trained on")
    return _Part(entry.name, data, 0, len(data), "trained on")


def data_count(bundle: Bundle) -> int:
    """How many pictures `data_picture` can give."""
    return _shown_part(bundle).count


def data_picture(bundle: Bundle, index: int) -> Item:
    """The index-th picture of the network's own data set, held out if there are such; of an oracle, one of its
    own. Raises InputError if there is none."""
    name, data, first, count, kind = _shown_part(bundle)
    if not 0 <= index < count:
        raise InputError(f"Choose an image of {name} from 0 to {count - 1}, not {index}.")
    sample = data.batch([first + index])
    x1 = states_of(bundle.codec, data, sample.images.to(bundle.device))[0].cpu()
    about = f"Image {index} of {name}, {kind}."
    try:
        (label,) = bundle.conditioner.asked_of(sample, data.names)
    except InputError:
        return Item(
            x1,
            None,
            f"{about} {bundle.name} has no class {data.names[int(sample.labels[0])]!r}, the class of this image.",
        )
    return Item(x1, label, about)


def knows(bundle: Bundle, x1: Tensor) -> bool:
    """False for a picture that an oracle does not hold: its prediction is sure and wrong."""
    if not isinstance(bundle.model, Oracle):
        return True
    return bool(((bundle.model.images.cpu() - x1).flatten(1).abs().amax(1) < 1e-4).any())


def _ranked(rank: float) -> str:
    if rank >= 0.6:
        return "it errs most in the patches that it calls hard"
    if rank >= 0.3:
        return "it tends to err most in the patches that it calls hard"
    if rank > -0.3:
        return "its difficulty says little about where its errors are"
    return "it errs most in patches that it calls easy"


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if 0.01 <= ratio < 1000 else f"{ratio:.1e}"


# the page "How it works"


@dataclass(frozen=True)
class Picture:
    """x0, x1: (1, C, H, W), noise and held-out image; sample: the image as its data set has it, which calls its classes
    `names`; about: what it shows, its class or its caption."""

    x0: Tensor
    x1: Tensor
    sample: Any
    names: Sequence[str]
    about: str


def picture(bundle: Bundle) -> Picture:
    """The page's image in a network's space: of its own data set if that is endless, else of the first one."""
    name, settings = data_settings(bundle)
    if "count" not in settings:  # people's pictures, which may be gone, or few
        name, settings = next(iter(DATASETS)), {}
    data = DATASETS[name].fn(**(settings | {"count": 0}))
    sample = data.batch([ITEM])
    x1 = states_of(bundle.codec, data, sample.images)
    x0 = bundle.source.draw([NOISE_SEED], tuple(x1.shape[1:]))
    caption = _asked(bundle, sample, data.names) if bundle.conditioner.takes == Prompts.takes else None
    return Picture(x0, x1, sample, data.names, caption or data.names[int(sample.labels[0])])


def _asked(bundle: Bundle, sample: Any, names: Sequence[str]) -> str | None:
    """What a network is asked for to get an image; None where it lacks its class, or the image has no caption."""
    try:
        return bundle.conditioner.asked_of(sample, names)[0]
    except InputError:
        return None


def all_draws(n: int, shown: int) -> dict[str, Draws]:
    """For each registered timestep sampler, its draws for n patches."""
    return {name: draws(name, n, shown=shown) for name in TIMESTEPS}


def flat(grid: PatchGrid) -> PatchTime:
    """(K, N): all patches share one time, each of TIMES in turn."""
    return PatchTime.shared(torch.tensor(TIMES), grid.n)


def leaning(grid: PatchGrid) -> PatchTime:
    """(K, N): t rises from left to right, by LEAN on each side of each of TIMES, clamped to [0, 1]."""
    across = torch.linspace(-LEAN, LEAN, grid.cols).repeat(grid.rows)
    return PatchTime.dense((torch.tensor(TIMES)[:, None] + across).clamp(0, 1))


@dataclass(frozen=True)
class MapEvaluations:
    """One forward pass at each of K maps. x1_hat: (K, C, H, W); sigma: (K, N), None without a difficulty head; error:
    (K, N), the true root mean square error of the velocity in each patch."""

    x1_hat: Tensor
    sigma: Tensor | None
    error: Tensor


@torch.inference_mode()
def evaluate_maps(bundle: Bundle, picture: Picture, t: PatchTime) -> MapEvaluations:
    """Evaluate a network on the picture at each of K timestep maps."""
    k = len(t.levels)
    x0, x1 = (v.expand(k, *v.shape[1:]).to(bundle.device) for v in (picture.x0, picture.x1))
    asked = _asked(bundle, picture.sample, picture.names)
    cond = bundle.conditioner.encode([asked] * k, bundle.device)
    look = flow.evaluate_at(bundle.model, x0, x1, t.map(lambda v: v.to(bundle.device)), cond, bundle.grid)
    sigma = None if look.difficulty is None else look.difficulty.sqrt()
    return MapEvaluations(look.x1_hat, sigma, look.error.sqrt())
