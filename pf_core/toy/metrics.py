"""How right a network for the plane is: against the exact model, and its points against the data."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pf_core.toy.data import mean_distance
from pf_core.toy.experiment import Paths, ToyState, ask, visited


@dataclass(frozen=True)
class Calibration:
    """By flow time, (T,) each: means over the states visited then of predicted and exact variance, and of the
    squared error of the velocity. A perfect head predicts exact variance plus that error."""

    t: np.ndarray
    predicted: np.ndarray
    exact: np.ndarray
    error: np.ndarray


def calibration(state: ToyState, paths: Paths) -> Calibration:
    """Of states visited by parallel steps (`visited`)."""
    exact, error = [], []
    for x, t in zip(paths.x[:-1], paths.t[:-1], strict=True):
        v, logvar = ask(state.exact, x, t)
        exact.append(logvar.exp().mean().item())
        error.append((ask(state.model, x, t)[0] - v).square().mean().item())
    t = paths.t[:-1].mean((1, 2)).numpy()
    return Calibration(t, paths.variance.mean(1).numpy(), np.array(exact), np.array(error))


def distances(state: ToyState, ends: Tensor, sets: int = 4) -> tuple[float, float]:
    """Energy distance of generated points (M, 2) from the data, and that of two true samples of the same size.

    Both are means over `sets` true samples, as one pair's distance varies much.
    """
    true = true_sets(state, len(ends), sets)
    own = np.mean([inner for _, inner in true.sets])
    far = 2 * np.mean([mean_distance(ends, part) for part, _ in true.sets]) - own - mean_distance(ends, ends)
    return float(far), true.floor


class TrueSets(NamedTuple):
    """True samples (M, 2) with the mean distance inside each, and the mean energy distance between neighbours."""

    sets: list[tuple[Tensor, float]]
    floor: float


def true_sets(state: ToyState, m: int, sets: int) -> TrueSets:
    """`sets` true samples of m points each; kept, as they cost more than what is measured against them."""
    if ("true", m, sets) not in state.kept:
        parts = [state.truth(m, first=i * m) for i in range(sets)]
        inner = [mean_distance(part, part) for part in parts]
        across = [mean_distance(a, b) for a, b in zip(parts, parts[1:] + parts[:1], strict=True)]
        floor = float(2 * np.mean(across) - 2 * np.mean(inner))
        state.kept["true", m, sets] = TrueSets(list(zip(parts, inner, strict=True)), floor)
    return state.kept["true", m, sets]


def measure(state: ToyState, count: int = 2000, steps: int = 50) -> dict[str, float]:
    """How right the network is, on the states that Euler visits: against the exact model, coordinate by coordinate.

    logvar_correlation: Pearson, of predicted with exact log-variance. variance_relative_error: mean |predicted - exact|
    variance over the mean exact one; velocity_relative_error: the velocity's mean squared error over the same.
    energy_distance of the ends from the data, and its floor (see `distances`).
    """
    paths = visited(state, count, steps)
    x, t = paths.x[:-1].reshape(-1, 2), paths.t[:-1].reshape(-1, 2)
    v, logvar = ask(state.exact, x, t)
    exact, predicted = logvar.double().flatten(), paths.logvar.double().flatten()
    error = (ask(state.model, x, t)[0] - v).double().square().mean()
    distance, floor = distances(state, paths.x[-1])
    return {
        "logvar_correlation": torch.corrcoef(torch.stack([predicted, exact]))[0, 1].item(),
        "variance_relative_error": ((predicted.exp() - exact.exp()).abs().mean() / exact.exp().mean()).item(),
        "velocity_relative_error": (error / exact.exp().mean()).item(),
        "energy_distance": distance,
        "energy_distance_floor": floor,
    }
