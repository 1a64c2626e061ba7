"""Distances between sets of images and the uncertainty of numbers: plain functions of arrays."""

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import rankdata


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|mean difference|^2 + tr(Ca + Cb - 2 sqrt(Ca Cb)) of two sets of features (M, D), (K, D)."""
    return moments_distance(moments(a), moments(b))


def moments(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean (D,), covariance (D, D))."""
    return a.mean(0), np.cov(a, rowvar=False)


def moments_distance(a: tuple, b: tuple) -> float:
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    # the square root's trace: Ca Cb is similar to a symmetric matrix of roots, so its eigenvalues are real and >= 0
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * trace)


def precision_recall(generated: np.ndarray, real: np.ndarray, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Improved precision and recall: for every generated feature whether it lies within the k-th-neighbour ball of a
    real one, (M,) bool, and for every real feature whether it lies in a generated one's, (K,) bool."""
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(points: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    radii = cKDTree(centres).query(centres, k + 1)[0][:, -1]
    covered = np.zeros(len(points), bool)
    for i in range(0, len(points), 256):
        part = points[i : i + 256]
        squares = (part**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * part @ centres.T
        covered[i : i + 256] = (squares <= radii**2).any(1)
    return covered


def bootstrap(
    statistic: Callable[[np.ndarray], float], count: int, repeats: int = 200, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of statistic(indices) over resamples, with replacement, of `count` items.

    Percentiles of the resamples' deviation from their own mean, about the statistic of all items: resampling repeats
    items, which pushes distances between sets up, and that push is no part of the uncertainty.
    """
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rng.integers(0, count, count)) for _ in range(repeats)])
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values - values.mean(), [tail, 100 - tail]) + statistic(np.arange(count))
    return float(low), float(high)


def interval_of_mean(values: np.ndarray, **options) -> dict[str, float | list[float]]:
    """{"value", "interval"}: the mean of (M,) values and its bootstrap interval, which no mean of them can leave."""
    values = np.asarray(values, float)
    ends = np.clip(bootstrap(lambda i: values[i].mean(), len(values), **options), values.min(), values.max())
    return {"value": float(values.mean()), "interval": ends.tolist()}


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two (M,) arrays."""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
