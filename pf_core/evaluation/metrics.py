"""Distances between sets of images and the uncertainty of numbers: plain functions of arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pf_core.errors import InputError

REPEATS = 200  # resamples of a bootstrap, unless told otherwise


def moments(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean (D,), covariance (D, D)) of features (M, D). Raises InputError where they are not finite."""
    if not np.isfinite(a).all():
        raise InputError("Some pictures have no finite numbers: the network, or its settings, drew nothing to judge.")
    return a.mean(0), np.cov(a, rowvar=False)


def moments_distance(a: tuple, b: tuple) -> float:
    """Frechet distance of two sets of features, from their `moments`:
    |mean difference|^2 + tr(Ca + Cb - 2 sqrt(Ca Cb))."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    # the square root's trace: Ca Cb is similar to a symmetric matrix of roots, so its eigenvalues are real and >= 0
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * trace)


def precision_recall(generated: np.ndarray, real: np.ndarray, k: int = 3) -> tuple[dict, dict]:
    """Improved precision and recall, each {"value", "interval"}: the share of generated features (M, D) that lie within
    the k-th-neighbour ball of a real one (K, D), and of real ones that lie in a generated one's."""
    return coverage(generated, real, k), coverage(real, generated, k)


def coverage(points: np.ndarray, centres: np.ndarray, k: int = 3, repeats: int = 200) -> dict[str, float | list[float]]:
    """{"value", "interval"}: the share of points in some centre's k-th-neighbour ball, with its 95% interval.

    Both sets are chance, and drawing with replacement would put a centre's own copies among its neighbours. So the
    interval is of random halves of both sets without replacement (a delete-half jackknife, whose spread is that of
    the whole), about the share of all.
    """
    squares, between = _squares(centres, centres), _squares(points, centres)
    rng = np.random.default_rng(0)

    def share(i: np.ndarray, j: np.ndarray) -> float:
        nearest = min(k, len(j) - 1)
        radii = np.partition(squares[np.ix_(j, j)], nearest, axis=1)[:, nearest]  # of the centre itself: 0
        return float((between[np.ix_(i, j)] <= radii).any(1).mean())

    def half(count: int) -> np.ndarray:
        return rng.permutation(count)[: (count + 1) // 2]

    value = share(np.arange(len(points)), np.arange(len(centres)))
    values = np.array([share(half(len(points)), half(len(centres))) for _ in range(repeats)])
    ends = np.percentile(values - values.mean(), [2.5, 97.5]) + value
    return {"value": value, "interval": ends.clip(0, 1).tolist()}


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M, K) squared distances, in float32: (M, D) of few thousand would else take gigabytes."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return squares.clip(0).astype(np.float32)


def bootstrap(
    statistic: Callable[[np.ndarray], float], count: int, repeats: int | None = None, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of statistic(indices) over resamples, with replacement, of `count` items.

    Percentiles of the resamples' deviation from their own mean, about the statistic of all items: resampling repeats
    items, which pushes distances between sets up, and that push is no part of the uncertainty.
    """
    return Resampled.of(statistic, count, repeats, seed).interval(level)


@dataclass(frozen=True)
class Resampled:
    """A statistic of all items, and of resamples of them (R,), which are the same for all statistics of as many items:
    the difference of two is paired. For bootstraps of what is dear: each statistic is computed once."""

    value: float
    values: np.ndarray

    @classmethod
    def of(
        cls, statistic: Callable[[np.ndarray], float], count: int, repeats: int | None = None, seed: int = 0
    ) -> "Resampled":
        return cls.of_each(lambda i: [statistic(i)], count, repeats, seed)[0]

    @classmethod
    def of_each(
        cls,
        statistic: Callable[[np.ndarray], Sequence[float]],
        count: int,
        repeats: int | None = None,
        seed: int = 0,
    ) -> "list[Resampled]":
        """Of a statistic of several numbers, as the points of a curve: one each."""
        rng = np.random.default_rng(seed)
        values = np.array([statistic(rng.integers(0, count, count)) for _ in range(repeats or REPEATS)])
        return [cls(float(v), values[:, k]) for k, v in enumerate(statistic(np.arange(count)))]

    def __sub__(self, other: "Resampled") -> "Resampled":
        return Resampled(self.value - other.value, self.values - other.values)

    def over(self, base: "Resampled") -> "Resampled":
        """The change from a base, as a share of it: -0.1 is ten percent less. Both about their own values, as in
        `bootstrap`: a base that resampling pushes up would make every share too small."""
        return Resampled(self.value / base.value - 1, self._about_value() / base._about_value() - 1)

    def _about_value(self) -> np.ndarray:
        return self.values - self.values.mean() + self.value

    @classmethod
    def mean(cls, of: "Sequence[Resampled]") -> "Resampled":
        """Of several statistics of the same items."""
        return cls(float(np.mean([each.value for each in of])), np.mean([each.values for each in of], 0))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """See `bootstrap`."""
        tail = 100 * (1 - level) / 2
        low, high = np.percentile(self._about_value(), [tail, 100 - tail])
        return float(low), float(high)

    def within(self) -> dict[str, Any]:
        """`measured` of a mean or a share, with an interval that no resample leaves: none of a share is below 0."""
        ends = np.clip(self.interval(), self.values.min(), self.values.max())
        return {"value": self.value, "interval": ends.tolist()}

    def of_share(self, items: int) -> dict[str, Any]:
        """`within` of a share of so many items. Where all or none of them count, resamples say nothing, and the
        interval is the exact one (Clopper and Pearson). An item with several pictures counts once."""
        if self.value not in (0, 1) or not items:
            return self.within()
        open_side = 1 - 0.025 ** (1 / items)
        return {"value": self.value, "interval": [0.0, open_side] if self.value == 0 else [1 - open_side, 1.0]}

    def measured(self) -> dict[str, Any]:
        """{"value", "interval"}, 95%."""
        return {"value": self.value, "interval": list(self.interval())}


def unpaired(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The difference of two {"value", "interval"} whose resamples are not kept: as far as both could be apart."""
    (low, high), (least, most) = one["interval"], other["interval"]
    return {"value": one["value"] - other["value"], "interval": [low - most, high - least]}


def with_intervals(statistics: Mapping[str, Callable[[np.ndarray], float]], count: int) -> dict[str, dict]:
    """name -> {"value", "interval"}: each a function of the indices of images, 95% by bootstrap over `count` of them;
    all resample the same images, so that differences are paired."""
    return {name: Resampled.of(of, count).measured() for name, of in statistics.items()}


def interval_of_mean(values: np.ndarray, **options) -> dict[str, float | list[float]]:
    """{"value", "interval"}: the mean of (M,) values and its bootstrap interval, which no mean of them can leave."""
    values = np.asarray(values, float)
    ends = np.clip(bootstrap(lambda i: values[i].mean(), len(values), **options), values.min(), values.max())
    return {"value": float(values.mean()), "interval": ends.tolist()}


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two (M,) arrays; 0 where one is flat, which says nothing of the other."""
    flat = any(np.ptp(v) == 0 for v in (a, b))
    return 0.0 if flat else float(np.corrcoef(a, b)[0, 1])


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two (M,) arrays; 0 where one is flat."""
    return pearson(rankdata(a), rankdata(b))
