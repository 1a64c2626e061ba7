"""The plane as a toy: a point is an image of 1 x 1 x 2, its two coordinates are two patches with a time each.

Data sets like any other (item i comes from (seed, i) alone), an exact Model for each, and a distance between samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from pf_core.errors import InputError
from pf_core.flow import LOGVAR_RANGE, Source
from pf_core.models.oracle import NORMAL, Oracle
from pf_core.patches import PatchGrid
from pf_core.registry import Knob, Registry
from pf_core.toy.points import check_points
from pf_core.types import PatchTime, Prediction

GRID = PatchGrid(1, 2, 1)
SHIFTED = Source(mean=(((-2.1, -0.2),),), std=0.35)  # the paper's Fig. 5


class GaussianMixture(nn.Module):
    """Exact velocity and exact variance of each velocity component for a mixture of Gaussians in the plane.

    With T = diag(t), x = T x1 + (1 - T) x0 and u = x1 - x0 are jointly Gaussian in each component k:
        Cov(x) = T S_k T + s^2 (1 - T)^2,    Cov(u, x) = S_k T - s^2 (1 - T),    Cov(u) = S_k + s^2,
    so E[u|x, k] and Var[u|x, k] are a regression, and the components mix by their posterior weights. Nothing is divided
    by 1 - t: a coordinate at t = 1 is known data, E[u] = x1 - m, Var[u] = s^2, exactly and with no floor (Cov(x) has an
    inverse for every t in [0, 1]^2, as the covariances and s are positive).

    means (K, 2), covariances (K, 2, 2), weights (K,) (equal if None). Calling it: x (B, 1, 1, 2), t a PatchTime, cond
    ignored -> Prediction with v (B, 1, 1, 2) and logvar (B, 1, 1, 2), one a coordinate, in x's dtype. Works in float64.
    """

    grid, channels = GRID, 1

    def __init__(self, means, covariances, weights=None, source: Source = SHIFTED):
        super().__init__()
        means = torch.as_tensor(means, dtype=torch.float64)
        covariances = torch.as_tensor(covariances, dtype=torch.float64)
        weights = torch.ones(len(means)) if weights is None else torch.as_tensor(weights)
        k = len(means)
        if (means.shape, covariances.shape, weights.shape) != ((k, 2), (k, 2, 2), (k,)):
            raise InputError("A mixture in the plane needs K means of 2, K covariances of 2 x 2 and K weights.")
        if (covariances != covariances.mT).any() or (torch.linalg.eigvalsh(covariances) <= 0).any():
            raise InputError("The covariances of a mixture must be symmetric and positive definite.")
        if not (weights > 0).all():
            raise InputError("The weights of a mixture must be positive.")
        if not source.std > 0:
            raise InputError(f"The source's standard deviation must be positive, not {source.std}.")
        self.source = source
        self.register_buffer("means", means)
        self.register_buffer("covariances", covariances)
        self.register_buffer("log_weights", weights.double().log().log_softmax(0))

    def forward(self, x: Tensor, t: PatchTime, cond: Tensor | None = None) -> Prediction:
        device = torch.device("cpu") if x.device.type == "mps" else x.device  # mps has no float64
        v, var = self._moments(x.flatten(1).to(device, torch.float64), t.per_patch.to(device, torch.float64))
        v, logvar = v.view_as(x).to(x), var.log().clamp(*LOGVAR_RANGE).view_as(x).to(x)
        return Prediction(v, logvar, v, logvar)

    def _moments(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x, t (B, 2) -> E[u|x], Var[u|x], both (B, 2)."""
        mu, cov, log_weights = (b.to(x) for b in (self.means, self.covariances, self.log_weights))
        m = torch.as_tensor(self.source.mean, dtype=x.dtype, device=x.device).expand(1, 1, 2).flatten()
        s2, rest = self.source.std**2, (1 - t).diag_embed()[:, None]  # (B, 1, 2, 2)
        column = t[:, None, None, :]
        cov_x = column.mT * cov * column + s2 * rest * rest  # (B, K, 2, 2)
        cov_ux = cov * column - s2 * rest
        inverse, det = _inverse(cov_x)
        residual = x[:, None] - t[:, None] * mu - (1 - t)[:, None] * m  # (B, K, 2)

        gain = cov_ux @ inverse
        v = mu - m + (gain @ residual[..., None])[..., 0]  # E[u|x, k]
        var = cov.diagonal(dim1=-2, dim2=-1) + s2 - (gain * cov_ux).sum(-1)  # Var[u|x, k]
        square = (residual[..., None, :] @ inverse @ residual[..., None])[..., 0, 0]
        w = (log_weights - 0.5 * (square + det.log())).softmax(1)[..., None]
        mean = (w * v).sum(1)
        return mean, (w * (var.clamp(min=0) + (v - mean[:, None]).square())).sum(1)


def _inverse(a: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse and determinant of symmetric (..., 2, 2); written out, as batches of tiny LAPACK calls are slow."""
    p, q, r = a[..., 0, 0], a[..., 0, 1], a[..., 1, 1]
    det = p * r - q * q
    return torch.stack([r, -q, -q, p], -1).view_as(a) / det[..., None, None], det


@dataclass(frozen=True)
class Points:
    """images (B, 1, 1, 2): points of the plane; labels (B,): all 0, the null class, as these sets have no classes."""

    images: Tensor

    @property
    def labels(self) -> Tensor:
        return torch.zeros(len(self.images), dtype=torch.long)


_toy = dataclass(frozen=True, kw_only=True)  # its annotated fields are its knobs


@_toy
class Toy:
    """A data set in the plane. `seed`: which endless series of points; `source` is the one that it is shown with;
    `exact()` its Model without a network."""

    seed: int = 0  # no knob: whoever trains on it has a seed of their own to give

    names = []  # no classes
    channels = 1
    grid = GRID
    source = NORMAL
    exact_points = 2000  # that the oracle of a set without a formula knows

    def __len__(self) -> int:
        return 2**31  # as good as endless

    def batch(self, indices: range | Sequence[int], labels: Tensor | None = None) -> Points:
        """The points of these indices; `labels` is ignored, as there are no classes."""
        points = self._place(_uniforms(self.seed, indices))
        return Points(torch.from_numpy(points.astype(np.float32)).view(-1, 1, 1, 2))

    def exact(self, source: Source | None = None) -> nn.Module:
        """The exact Model: here the oracle of the first `exact_points` points."""
        images = self.batch(range(self.exact_points)).images
        return Oracle(images, torch.zeros(len(images)), GRID, 0, source or self.source)

    def _place(self, u: np.ndarray) -> np.ndarray:
        """(B, 4) uniform numbers in [0, 1) -> (B, 2) points."""
        raise NotImplementedError


class _Mixture(Toy):
    """Equally likely Gaussians: attributes `means` (K, 2) and `covariances` (K, 2, 2)."""

    def exact(self, source: Source | None = None) -> nn.Module:
        return GaussianMixture(self.means, self.covariances, source=source or self.source)

    def _place(self, u: np.ndarray) -> np.ndarray:
        k = _choice(u[:, 0], len(self.means))
        return self.means[k] + np.einsum("bij,bj->bi", self._roots[k], _normals(u[:, 2:]))

    @cached_property
    def _roots(self) -> np.ndarray:
        return np.linalg.cholesky(self.covariances)


@_toy
class TwoModes(_Mixture):
    """Two modes (the paper's Fig. 5).

    One tall, one wide Gaussian on the right; the source is a small one on the left.
    """

    name = "two_modes"
    source = SHIFTED
    means = np.array([[2.0, 1.2], [2.3, -0.5]])
    covariances = np.array([[[0.12, -0.03], [-0.03, 0.40]], [[0.20, 0.10], [0.10, 0.15]]])


@_toy
class EightGaussians(_Mixture):
    """Eight Gaussians.

    Their means stand on a circle of radius 2.
    """

    name = "eight_gaussians"
    std: Annotated[float, Knob(0.02, 0.6, "standard deviation of each")] = 0.15

    @property
    def means(self) -> np.ndarray:
        return 2 * _circle(np.arange(8) / 8)

    @property
    def covariances(self) -> np.ndarray:
        return np.tile(self.std**2 * np.eye(2), (8, 1, 1))


@_toy
class Moons(Toy):
    """Two moons.

    Two half circles, one reaching into the other.
    """

    name = "moons"
    noise: Annotated[float, Knob(0.0, 0.5, "blur of the arcs")] = 0.08

    def _place(self, u: np.ndarray) -> np.ndarray:
        side = np.where(u[:, 0] < 0.5, 1, -1)
        arc = (_circle(u[:, 1] / 2) - [0.5, 0.25]) * side[:, None]
        return 1.5 * arc + self.noise * _normals(u[:, 2:])


@_toy
class Spirals(Toy):
    """Two spirals.

    Two arms around the centre, one the other turned by half a turn.
    """

    name = "spirals"
    turns: Annotated[float, Knob(0.5, 3.0, "windings of each arm")] = 1.5
    noise: Annotated[float, Knob(0.0, 0.5, "blur of the arms")] = 0.06

    def _place(self, u: np.ndarray) -> np.ndarray:
        out = np.sqrt(0.02 + 0.98 * u[:, 1])  # even along the arm, as its length grows like the square
        arm = 2.3 * out[:, None] * _circle(self.turns * out + 0.5 * (u[:, 0] < 0.5))
        return arm + self.noise * _normals(u[:, 2:])


@_toy
class Checkerboard(Toy):
    """Checkerboard.

    The dark squares of a board of 4 x 4, side 1, evenly filled.
    """

    name = "checkerboard"

    def _place(self, u: np.ndarray) -> np.ndarray:
        cell = _choice(u[:, 0], 8)
        row, column = cell // 2, 2 * (cell % 2) + cell // 2 % 2
        return np.stack([column + u[:, 2], row + u[:, 3]], 1) - 2


@_toy
class Letters(Toy):
    """Letters, P and F.

    Straight and bent strokes, evenly inked.
    """

    name = "letters"
    width: Annotated[float, Knob(0.0, 0.5, "breadth of the strokes")] = 0.2

    def _place(self, u: np.ndarray) -> np.ndarray:
        start, end = _strokes()
        length = np.linalg.norm(end - start, axis=1).cumsum()
        at = u[:, 0] * length[-1]
        k = np.minimum(np.searchsorted(length, at, side="right"), len(length) - 1)
        blot = self.width / 2 * np.sqrt(u[:, 2:3]) * _circle(u[:, 3])  # uniform in a disc
        return start[k] + u[:, 1:2] * (end - start)[k] + blot


class DrawnPoints(Toy):
    """Given points, drawn by hand or read from a file.

    array: (M, 2), 2 to point_sets.MAX_POINTS points. Item i is one of them, picked by (seed, i). Raises InputError.
    """

    def __init__(self, array, *, seed: int = 0):
        super().__init__(seed=seed)
        object.__setattr__(self, "array", check_points(array))

    def exact(self, source: Source | None = None) -> nn.Module:
        """The oracle of all the points."""
        images = self.array.view(-1, 1, 1, 2)
        return Oracle(images, torch.zeros(len(images)), GRID, 0, source or self.source)

    def _place(self, u: np.ndarray) -> np.ndarray:
        return self.array.numpy()[_choice(u[:, 0], len(self.array))]


# DrawnPoints is left out: it is made from an array, not from knobs.
TOYS = Registry("toy data set", [TwoModes, EightGaussians, Moons, Spirals, Checkerboard, Letters])


def _uniforms(seed: int, indices: Sequence[int]) -> np.ndarray:
    """(B, 4) uniform numbers in [0, 1), row i from (seed, index) alone.

    A counter-based generator gives four words a count: the index is the count, so a run of neighbours is one call.
    """
    if len(indices) == 0:
        return np.empty((0, 4))
    words = [np.random.Philox(key=[seed, 0], counter=a).random_raw(4 * count) for a, count in _runs(indices)]
    return (np.concatenate(words).reshape(-1, 4) >> np.uint64(11)) * 2.0**-53


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """(first, count) of every stretch of neighbours; a range, as training asks for, is one without being looked at."""
    if isinstance(indices, range) and indices.step == 1:
        return [(indices.start, len(indices))]
    index = np.asarray(indices, dtype=np.int64)
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    return [(int(run[0]), len(run)) for run in np.split(index, cuts)]


def _choice(u: np.ndarray, k: int) -> np.ndarray:
    """One uniform number each -> an index below k."""
    return np.minimum((u * k).astype(np.int64), k - 1)


def _circle(turn: np.ndarray) -> np.ndarray:
    """(B,) turns -> (B, 2) on the unit circle."""
    return np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], 1)


def _normals(u: np.ndarray) -> np.ndarray:
    """(B, 2) uniform -> (B, 2) standard normal (Box and Muller)."""
    return np.sqrt(-2 * np.log1p(-u[:, :1])) * _circle(u[:, 1])


def _strokes() -> tuple[np.ndarray, np.ndarray]:
    """The starts and ends (S, 2) of the straight pieces of a P and an F, x to the right, y up."""
    bowl = [-1.15, 0.75] + 0.75 * _circle(np.linspace(0.25, -0.25, 13))
    lines = [[(-1.9, -1.5), (-1.9, 1.5)], [(-1.9, 1.5), *bowl, (-1.9, 0)]]
    lines += [[(0.5, -1.5), (0.5, 1.5)], [(0.5, 1.5), (1.9, 1.5)], [(0.5, 0.1), (1.6, 0.1)]]
    pieces = [np.array(line, dtype=float) for line in lines]
    return np.concatenate([p[:-1] for p in pieces]), np.concatenate([p[1:] for p in pieces])


def mean_distance(a: Tensor, b: Tensor, chunk: int = 1024) -> float:
    """E|A - B| over all pairs of a (M, 2) and b (K, 2); `chunk` rows of a at a time."""
    a, b = a.double(), b.double()
    sums = [torch.cdist(part, b, compute_mode="donot_use_mm_for_euclid_dist").sum() for part in a.split(chunk)]
    return (torch.stack(sums).sum() / (len(a) * len(b))).item()
