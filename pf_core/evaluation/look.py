"""One look of a network at a picture under any map of times: what it sees, what it guesses, how far off it thinks it
is, and how far off it really is. One forward pass, no sampling."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pf_core import flow
from pf_core.data import DATASETS
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError
from pf_core.evaluation.metrics import spearman
from pf_core.models.checkpoint import Bundle
from pf_core.models.oracle import Oracle
from pf_core.types import PatchTime

FIT = 1.5  # a mean predicted square within this factor of the true one is called right


class Look(NamedTuple):
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
        """What the numbers say."""
        rms = self.error.square().mean().sqrt().item()
        if self.sigma is None:
            return f"This network predicts no difficulty; its true velocity error is {rms:.2f} RMS."
        ranks = "There is nothing to rank" if self.rank is None else f"Spearman {self.rank:.2f}: {_ranked(self.rank)}"
        fits = "about right" if 1 / FIT <= self.ratio <= FIT else "too sure" if self.ratio < 1 else "too cautious"
        return (
            f"{ranks}. On average it predicts {_short(self.ratio)} times the squared error that is really there "
            f"({rms:.2f} RMS): {fits}."
        )


@torch.inference_mode()
def look(bundle: Bundle, x1: Tensor, t: Tensor, *, label: str | int | None = None, seed: int = 0) -> Look:
    """x1 (C, H, W), a picture in the network's space, noised with the seed's noise to the times t (N,) in [0, 1].

    label: what to condition on, None for the null class. Guidance stays out: its extrapolated log-variance is no
    calibrated number. Raises InputError for a picture or times that do not fit the network.
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
    seen = flow.evaluate_at(bundle.model, x0.to(device), x1[None].to(device), times, cond, grid)
    error = seen.error[0].sqrt().cpu()
    sigma = seen.difficulty[0].sqrt().cpu() if bundle.predicts_difficulty else None
    rank, ratio = (None, None) if sigma is None else compared(sigma, error)
    return Look(x0[0], x1, seen.xt[0].cpu(), seen.x1_hat[0].float().cpu(), t, error, sigma, rank, ratio)


def compared(sigma: Tensor, error: Tensor) -> tuple[float | None, float]:
    """(rank, ratio) of predicted and true error, (N,) each; see Look."""
    flat = any(float(a.max() - a.min()) == 0 for a in (sigma, error))
    rank = None if flat else spearman(np.asarray(sigma), np.asarray(error))
    squares = [float(a.double().square().mean()) for a in (sigma, error)]
    return rank, squares[0] / max(squares[1], 1e-30)


class Item(NamedTuple):
    """A picture for a network: (C, H, W) in its space; its class's name; a sentence that says where it is from."""

    x1: Tensor
    label: str | None
    about: str


class _Shelf(NamedTuple):
    """The part of a network's data set that is looked at: `count` items from `first` on; kind: what they are to it."""

    name: str
    data: Any
    first: int
    count: int
    kind: str


def _shelf(bundle: Bundle) -> _Shelf:
    training: dict[str, Any] = bundle.training
    recipe = training.get("recipe", {})
    entry = DATASETS[recipe.get("dataset", next(iter(DATASETS)))]
    data = entry.fn(**recipe.get("data_settings", {}))
    if isinstance(bundle.model, Oracle):
        count = training.get("images", len(data))
        return _Shelf(entry.name, data, 0, count, f"one of the {count:,} that {bundle.name} knows")
    endless = len(data) >= HELD_OUT and not getattr(data, "count", 0)
    held = 2**20 if endless else getattr(data, "held", 0)
    if held:
        return _Shelf(entry.name, data, HELD_OUT, held, "never trained on")
    return _Shelf(entry.name, data, 0, len(data), "trained on")


def data_count(bundle: Bundle) -> int:
    """How many pictures `data_picture` knows."""
    return _shelf(bundle).count


def data_picture(bundle: Bundle, index: int) -> Item:
    """The index-th picture of the network's own data set, of the part that it never trained on where there is one; of
    an oracle, of those that it knows. Raises InputError where there is none."""
    name, data, first, count, kind = _shelf(bundle)
    if not 0 <= index < count:
        raise InputError(f"Choose an image of {name} from 0 to {count - 1}, not {index}.")
    sample = data.batch([first + index])
    x1 = bundle.codec.encode(sample.images.to(bundle.device))[0].cpu()
    about = f"Image {index} of {name}, {kind}."
    try:
        found = bundle.conditioner.of_data(sample.labels, data.names)
    except InputError:
        return Item(x1, None, f"{about} {bundle.name} has no class {data.names[int(sample.labels[0])]!r}, as this is.")
    return Item(x1, bundle.conditioner.asked(int(found[0])), about)


def knows(bundle: Bundle, x1: Tensor) -> bool:
    """False for a picture that an oracle does not hold: it will be sure, and wrong."""
    if not isinstance(bundle.model, Oracle):
        return True
    return bool(((bundle.model.images.cpu() - x1).flatten(1).abs().amax(1) < 1e-4).any())


def _ranked(rank: float) -> str:
    if rank >= 0.6:
        return "the patches it calls hard are those where it errs most"
    if rank >= 0.3:
        return "the patches it calls hard tend to be those where it errs most"
    if rank > -0.3:
        return "here, what it calls hard says little of where it errs"
    return "here it errs most where it thinks it is easy"


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if 0.01 <= ratio < 1000 else f"{ratio:.1e}"
