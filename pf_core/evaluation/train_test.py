"""The train-test gap: how far the maps of t that a network trains on are from those that inference shows it.

A map of t is looked at as the point (mean, maximum, spread), spread being the standard deviation of its patches. The
gap is the energy distance 2 E|A - B| - E|A - A'| - E|B - B'| of the law's points A to inference's B, 0 if and only if
they are spread alike.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from torch import Tensor

from pf_core.charts import Chart, Map, Panel, Series, written
from pf_core.evaluation import metrics
from pf_core.evaluation.metrics import Resampled
from pf_core.models.checkpoint import Bundle
from pf_core.patches import PatchGrid
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.sampling.schedule import schedule
from pf_core.timesteps import TIMESTEPS

SUMMARY = ("mean", "maximum", "spread")  # of a map of t: what the distance sees
NEAR, GIVEN = 0.05, (0.25, 0.5, 0.75)  # maps whose maximum is that near to these
FEWEST = 20  # of such maps
BINS, _CELLS = 16, 32  # of densities, and a side of the 2-D histograms
_ACROSS, _UP = 20, 12  # hexagons from centre to centre along the edges of the same, which makes them nearly regular
_FAINTEST = 1e-3  # percent of patches: the lower end of the colour scale
DRAWS = 4000  # maps of t a law
COMPARED = 1000  # of them, for distances
SHOWN = 8  # maps beside each other
VISITING = {"Euler": "euler", "dual-loop": "dual_loop", "look-ahead": "look_ahead"}  # what inference is
NFE = 64  # of a run that is looked at


class Beside(NamedTuple):
    """A law of t beside what inference visits. law, visited: (SHOWN, N) maps of t, drawn one after the other, and in
    the order of inference; gap: {"value", "interval"}; apart: the same of each of SUMMARY, in units of t; sentence: the
    numbers in words."""

    law: Tensor
    visited: Tensor
    gap: dict[str, Any]
    apart: dict[str, Any]
    sentence: str
    chart: Chart


def visits(bundle: Bundle, nfe: int) -> dict[str, SampleSpec]:
    """Of each sampler of VISITING that a network can run, a run with its own settings."""
    return {
        label: SampleSpec(bundle.name, sampler, nfe=nfe)
        for label, sampler in VISITING.items()
        if bundle.predicts_difficulty or not SAMPLERS[sampler].fn.needs_difficulty
    }


def own_law(bundle: Bundle) -> tuple[str, dict[str, Any]] | None:
    """The timestep sampler that a network was trained with and all its settings, where its record says so."""
    config = bundle.training.get("recipe", {}).get("config", {})
    if "timesteps" not in config:
        return None
    name = config["timesteps"]
    return name, TIMESTEPS[name].settings(config.get("timestep_settings", {}))


def draw(name: str, n: int, settings: Mapping[str, Any] = {}) -> np.ndarray:
    """(DRAWS, n) maps of t from the timestep sampler `name`, always the same. Raises InputError."""
    entry = TIMESTEPS[name]
    t = entry.fn(DRAWS, n, torch.Generator().manual_seed(0), **entry.settings(settings)).per_patch
    return t.numpy()


def scheduled(bundle: Bundle, spec: SampleSpec) -> np.ndarray:
    """(1, passes, N): the times that a run would show a network, without running it: how many patches stand where is
    the sampler's doing alone; which of them they are is drawn at random. Raises InputError."""
    spec = resolve(spec, bundle)
    grid = PatchGrid(bundle.grid.rows, bundle.grid.cols, 1)
    return schedule(spec.sampler, spec.steps, spec.settings, grid).t[None, :-1].double().numpy()


def beside(name: str, settings: Mapping[str, Any], visited: np.ndarray, sampler: str) -> Beside:
    """The law `name` with these settings beside visited (images, passes, N) maps of t of a sampler, named in words.
    Raises InputError for a wrong name or setting."""
    drawn, seen = draw(name, visited.shape[-1], settings), visited.reshape(-1, visited.shape[-1])
    law = summary(drawn[:COMPARED])
    gap = distances(law, {sampler: summary(visited)})[sampler].measured()
    off = apart(law, summary(visited))
    passes = np.linspace(0, visited.shape[1] - 1, SHOWN).round().astype(int)
    label = TIMESTEPS[name].title
    (low, high), far = gap["interval"], {part: f"{numbers['value']:.2f}" for part, numbers in off.items()}
    alone = "; interval of the law's draws alone" if len(visited) == 1 else ""
    measured = written(f"{gap['value']:.3f} ({low:.3f} to {high:.3f}{alone})")
    sentence = (
        f"Train-test gap {measured}, 0 if both are alike: the mean t of an image is "
        f"off by {far['mean']}, its largest t by {far['maximum']}, the spread of its patches by {far['spread']}."
    )
    chart = _chart(label, sampler, spread(drawn), spread(seen))
    maps = torch.from_numpy(drawn[:SHOWN]), torch.from_numpy(visited[0, passes])
    return Beside(*maps, gap, off, sentence, chart)


def _chart(law: str, sampler: str, drawn: Mapping[str, Any], seen: Mapping[str, Any]) -> Chart:
    both = {f"training: {law}": drawn, f"inference: {sampler}": seen}
    joints = [
        Panel(label, "largest t of the image", "t of a patch", map=shown)
        for label, shown in maps_of(both, "maximum").items()
    ]
    middle = [(k + 0.5) / BINS for k in range(BINS)]
    densities = [
        Panel(
            f"{what} t of an image",
            f"{what.lower()} t",
            "density",
            [Series(label, middle, of[key], kind="area") for label, of in both.items()],
        )
        for what, key in (("Mean", "mean"), ("Largest", "maximum"))
    ]
    return Chart("", [[*densities, *joints]])


def maps_of(spreads: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, Map]:
    """{label: what `spread` said} -> of each a patch's t against the image's `key`, "mean" or "maximum", with the
    densities of both at its sides, all on one colour scale: in hexagons, or in the squares of results older than they
    are."""
    hexagonal = all("hexagons" in of for of in spreads.values())
    squares = {label: of[f"against_{key}"] for label, of in spreads.items()}
    shown = {label: of["hexagons"][key] for label, of in spreads.items()} if hexagonal else squares
    most = max(max(map(max, rows)) for rows in shown.values())

    def side(label: str, axis: int) -> list[float]:
        return (np.sum(squares[label], axis) * _CELLS / 100).round(4).tolist()

    return {
        label: Map(
            rows, (0, 1), (0, 1), "% of patches", (_FAINTEST, most), True,
            hexagonal=hexagonal, above=side(label, 0), beside=side(label, 1),
        )
        for label, rows in shown.items()
    }  # fmt: skip


def summary(t: np.ndarray) -> np.ndarray:
    """(..., N) maps of t -> (..., 3): mean, maximum, standard deviation."""
    return np.stack([t.mean(-1), t.max(-1), t.std(-1)], -1)


def distances(law: np.ndarray, visited: Mapping[str, np.ndarray]) -> dict[str, Resampled]:
    """The energy distance of a law's points (L, 3) to each sampler's, (images, passes, 3); resampled over the law's
    points and over images. The same images are drawn for all laws, so that gaps differ paired."""
    within = cdist(law, law)
    tables = {
        to: (np.stack([cdist(law, image).mean(1) for image in of], 1), _between(of)) for to, of in visited.items()
    }

    def gaps(a: np.ndarray, b: np.ndarray) -> list[float]:
        """a, b: weights of the law's points and of images; they sum to 1."""
        own = a @ within @ a
        return [2 * a @ across @ b - own - b @ among @ b for across, among in tables.values()]

    def weights(count: int) -> np.ndarray:
        return np.bincount(rng.integers(0, count, count), minlength=count) / count

    count = len(next(iter(visited.values())))
    rng = np.random.default_rng(0)
    even = gaps(np.full(len(law), 1 / len(law)), np.full(count, 1 / count))
    values = np.array([gaps(weights(len(law)), weights(count)) for _ in range(metrics.REPEATS)])
    return {to: Resampled(float(even[k]), values[:, k]) for k, to in enumerate(tables)}


def _between(visited: np.ndarray) -> np.ndarray:
    """(images, passes, 3) -> (images, images) mean distance of two images' points."""
    if np.ptp(visited, 0).max() == 0:  # all images alike, as Euler's
        return np.full((len(visited),) * 2, cdist(visited[0], visited[0]).mean())
    return np.array([[cdist(a, b).mean() for b in visited] for a in visited])


def apart(law: np.ndarray, visited: np.ndarray) -> dict[str, Any]:
    """How far a law's points (L, 3) are from inference's (images, passes, 3), of each of SUMMARY alone: the Wasserstein
    distance in units of t, {"value", "interval"}, resampled over the law's points."""
    flat = visited.reshape(-1, len(SUMMARY))
    measured = {}
    for k, name in enumerate(SUMMARY):
        law_only = Resampled.of(lambda i, k=k: wasserstein_distance(law[i, k], flat[:, k]), len(law))
        measured[name] = law_only.measured()
    return measured


def spread(t: np.ndarray) -> dict[str, Any]:
    """Densities of maps t (M, N): of their mean and maximum, of t against both in squares and in hexagons, and of t
    given the maximum."""
    mean, maximum = t.mean(1), t.max(1)
    given = {}
    for about in GIVEN:
        near = np.abs(maximum - about) <= NEAR
        if near.sum() >= FEWEST:
            given[str(about)] = density_of(t[near].ravel())
    return {
        "mean": density_of(mean),
        "maximum": density_of(maximum),
        "against_mean": joint(mean, t),
        "against_maximum": joint(maximum, t),
        "hexagons": {"mean": hexagons(mean, t), "maximum": hexagons(maximum, t)},
        "given": given,
    }


def density_of(values: np.ndarray) -> list[float]:
    """Density of values in [0, 1], any shape, in BINS bins."""
    return np.histogram(values, BINS, (0, 1), density=True)[0].round(4).tolist()


def joint(of_image: np.ndarray, t: np.ndarray) -> list[list[float]]:
    """Percent of all patches in each cell; rows: t of a patch, columns: of_image (M,)."""
    counts, *_ = np.histogram2d(t.ravel(), of_image.repeat(t.shape[1]), _CELLS, ((0, 1), (0, 1)))
    return (100 * counts / t.size).round(4).tolist()


def hexagons(of_image: np.ndarray, t: np.ndarray) -> list[list[float]]:
    """Percent of all patches in each hexagon of a Map, rows by t of a patch, columns by of_image (M,)."""
    x, y = of_image.repeat(t.shape[1]).astype(float) * _ACROSS, t.ravel().astype(float) * _UP
    inner_x, inner_y = np.minimum(x.astype(int), _ACROSS - 1), np.minimum(y.astype(int), _UP - 1)
    outer_x, outer_y = x.round().astype(int), y.round().astype(int)
    to_inner = (x - inner_x - 0.5) ** 2 + 3 * (y - inner_y - 0.5) ** 2
    inner = to_inner < (x - outer_x) ** 2 + 3 * (y - outer_y) ** 2  # the nearer of the two centres that may be nearest
    places = np.where(inner, 2 * inner_y + 1, 2 * outer_y), np.where(inner, inner_x, outer_x)
    counts = np.zeros((2 * _UP + 1, _ACROSS + 1))
    np.add.at(counts, places, 1)
    rows = (100 * counts / t.size).round(4).tolist()
    return [row[: _ACROSS + 1 - number % 2] for number, row in enumerate(rows)]
