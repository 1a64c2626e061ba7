"""What do networks train on, and what does inference show them? Laws of t against the timestep maps of samplers."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from pf_core.charts import Chart, Map, Panel, Series
from pf_core.data.splits import seeds_of
from pf_core.evaluation import metrics
from pf_core.evaluation.metrics import Resampled
from pf_core.evaluation.studies.common import SPLIT, Claim, drawing, number, side, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.registry import Knob
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import Run, SampleSpec
from pf_core.timesteps import TIMESTEPS, density

LAWS: dict[str, tuple[str, dict[str, float]]] = {  # label -> timestep sampler and settings
    "LTG": ("ltg", {}),
    "truncated Gaussian": ("truncated_gaussian", {}),
    "SRM, s = 1": ("srm", {"sharpness": 1.0}),
    "SRM, s = 4": ("srm", {"sharpness": 4.0}),
    "SRM, s = 10": ("srm", {"sharpness": 10.0}),
    "independent": ("independent", {}),
    "one t an image": ("uniform", {}),
    "one t, drawn as LTG's": ("ltg_shared", {}),
    "dual timestep": ("dual_timestep", {}),
}
MAXIMUM = ("ltg", "truncated_gaussian")  # laws of the maximum
MEAN = ("srm",)  # laws of the mean
VISITING = {"Euler": "euler", "dual-loop": "dual_loop", "look-ahead": "look_ahead"}
INFERENCE = "inference"
SUMMARY = ("mean", "maximum", "spread")  # of a map of t: what the distance sees; spread: standard deviation
NEAR, GIVEN = 0.05, (0.25, 0.5, 0.75)  # maps whose maximum is that near to these
FEWEST = 20  # of such maps
_BINS, _CELLS = 16, 32  # of densities, and a side of the 2-D histograms
_DRAWS = 4000  # maps of t a law
_COMPARED = 1000  # of them, for distances


def _specs(bundle: Bundle, nfe: int) -> dict[str, SampleSpec]:
    return {
        label: SampleSpec(bundle.name, sampler, nfe=nfe)
        for label, sampler in VISITING.items()
        if bundle.predicts_difficulty or not SAMPLERS[sampler].fn.needs_difficulty
    }


def _forwards(bundle: Bundle, images: int, nfe: int, **_) -> int:
    return drawing(bundle, _specs(bundle, nfe).values(), images)


def _paper() -> Chart:
    """Fig. 4, from the formulas of its densities."""
    maxima = [
        Series(f"t max: loc {loc:g}, scale {scale:g}", curve.t.tolist(), curve.density.tolist(), kind="area")
        for (loc, scale), curve in density.maxima()
    ]
    below = [
        Series(f"std {part.std:g}", part.curve.t.tolist(), part.curve.density.tolist()) for part in density.below(0.75)
    ]
    panels = [
        Panel("Density of t max", "t max", "density", maxima),
        Panel("t given t max = 0.75", "t", "density", below),
    ]
    return Chart("The paper's Fig. 4: LTG, from its formulas", [panels])


def _chart(result: dict[str, Any]) -> Chart:
    laws, first = result["laws"], next(iter(result["laws"]))
    shown = [first, *(label for label in ("truncated Gaussian", "SRM, s = 1") if label in laws)]
    maps = [(label, laws[label]["against_maximum"]) for label in dict.fromkeys(shown)][:3]
    maps.append((f"{INFERENCE}: {', '.join(result['visited'])}", result["inference"]["against_maximum"]))
    most = max(max(map(max, cells)) for _, cells in maps)

    def joint(label: str, cells: list[list[float]]) -> Panel:
        ends = (1e-3, most)
        return Panel(
            label, "largest t of the image", "t of a patch", map=Map(cells, (0, 1), (0, 1), "% of patches", ends, True)
        )

    middle = [(k + 0.5) / _BINS for k in range(_BINS)]
    everyone = laws | {INFERENCE: result["inference"]}

    def densities(key: str) -> list[Series]:
        return [
            Series(label, middle, _dig(numbers, key), dashed=label == INFERENCE)
            for label, numbers in everyone.items()
            if _dig(numbers, key)
        ]

    gaps = [
        Series.measured(label, result["visited"], [law["gap"][name] for name in result["visited"]], kind="bars")
        for label, law in laws.items()
    ]
    below = [
        Panel("Mean t of an image", "mean t", "density", densities("mean")),
        Panel("Largest t of an image", "largest t", "density", densities("maximum")),
        Panel("t of a patch, largest t near 0.5", "t", "density", densities("given.0.5")),
        Panel("Distance to what the sampler visits", "", "energy distance", gaps),
    ]
    note = (
        f"{_DRAWS:,} maps of t of each law; every forward pass of {result['images']} images a sampler at "
        f"{result['nfe']} NFE. Distance between (mean, maximum, spread) of the maps; bars are 95% intervals, bootstrap "
        "over maps and images."
    )
    return Chart(f"Training's t and inference's, {result['checkpoint']}", [[joint(*of) for of in maps], below], note)


def _dig(numbers: Mapping[str, Any], key: str) -> list[float] | None:
    name, _, rest = key.partition(".")
    return numbers[name].get(rest) if rest else numbers[name]


def _verdict(result: dict[str, Any]) -> str:
    """Every law of the maximum against every law of the mean."""
    laws = result["laws"]
    of_mean = [label for label, law in laws.items() if law["controls"] == "mean"]
    of_maximum = [law for law in laws.values() if law["controls"] == "maximum"]
    nearer = [side(minus) < 0 for law in of_maximum for minus in law["minus"].values()]
    holds = "Holds here" if all(nearer) else "Holds here in part" if any(nearer) else "Does not appear here"
    told = ", ".join(f"{label} {number(law['gap']['all'], 3)}" for label, law in laws.items())
    own, other = next(iter(laws)), min(of_mean, key=lambda label: laws[label]["gap"]["all"]["value"])
    largest = " and ".join(f"{number(laws[label]['apart']['maximum'], 2)} for {label}" for label in (own, other))
    return (
        f"{holds}: energy distance between a law's maps of t and those that {', '.join(result['visited'])} visit: "
        f"{told}; the largest t of an image alone is off by {largest}."
    )


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    claim=Claim(
        "Controlling maximum information better matches inference than controlling only the mean.", "Fig. 3", _paper()
    ),
    quick={"images": 8},
)
def timestep_laws(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(2, 100, "images that each sampler draws")] = 20,
    nfe: Annotated[int, Knob(2, 1000, "network evaluations an image, for every sampler")] = 64,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """The laws of t that networks train on, against the maps of t that inference visits.

    Laws: the network's own first, then LTG, truncated Gaussian, SRM with sharpness 1, 4, 10, independent, one t an
    image, one t drawn as a patch of LTG is, two times an image (Self-Flow), all for the network's number of patches.
    Inference: the t of every forward pass of Euler, dual-loop and look-ahead with their own settings, outer, inner and
    probe. Reported of each law and of inference: densities of the
    image's `mean` and `maximum`, 2-D histograms of a patch's t against them (percent of patches, rows: t), and of t
    `given` a maximum within 0.05 of 0.25, 0.5, 0.75 where there are such. The train-test `gap`: the energy distance
    2 E|A - B| - E|A - A'| - E|B - B'| between the law's A and inference's B, where a map of t is the point (mean,
    maximum, spread), spread being its patches' standard deviation; 0 if and only if those are spread alike. `apart`:
    Wasserstein distances of the three, in units of t. `minus`: gap minus that of each SRM, laws of the mean alone.
    Intervals are 95%, bootstrap over maps and images; of `apart` over maps alone.
    """
    visits = {
        label: work.piece(
            {"study": "timestep_laws", "network": bundle.hash, "sampler": label, "images": images, "nfe": nfe}
            | {"split": split},
            lambda spec=spec: {"maps": _visited(bundle, spec, images, split)},
            drawing(bundle, [spec], images),
        )["maps"]
        for label, spec in _specs(bundle, nfe).items()
    }
    maps = {label: np.array(of) for label, of in visits.items()}  # (images, passes, N)
    every = np.concatenate(list(maps.values()), 1)
    seen = {label: summary(of) for label, of in (maps | {"all": every}).items()}
    result: dict[str, Any] = {"images": images, "nfe": nfe, "split": split, "visited": list(maps)}
    drawn = {
        label: TIMESTEPS[name].fn(_DRAWS, bundle.grid.n, torch.Generator().manual_seed(0), **settings).per_patch.numpy()
        for label, (name, settings) in _laws(bundle).items()
    }
    gaps = {label: _gaps(summary(t[:_COMPARED]), seen) for label, t in drawn.items()}
    laws = _laws(bundle)
    of_mean = [label for label, (name, _) in laws.items() if name in MEAN]
    result["laws"] = {
        label: {
            "timesteps": name,
            "settings": settings,
            "controls": "maximum" if name in MAXIMUM else "mean" if name in MEAN else "",
            "gap": {to: gap.measured() for to, gap in gaps[label].items()},
            "minus": {other: (gaps[label]["all"] - gaps[other]["all"]).measured() for other in of_mean},
            "apart": _apart(summary(drawn[label][:_COMPARED]), seen["all"]),
            **_spread(drawn[label]),
        }
        for label, (name, settings) in laws.items()
    }
    return result | {"inference": _spread(every.reshape(-1, bundle.grid.n))}


def _laws(bundle: Bundle) -> dict[str, tuple[str, dict[str, Any]]]:
    """label -> timestep sampler and all its settings; the network's own first, where its record says which."""
    laws = {label: (name, TIMESTEPS[name].settings(given)) for label, (name, given) in LAWS.items()}
    config = bundle.training.get("recipe", {}).get("config", {})
    if "timesteps" not in config:
        return laws
    name = config["timesteps"]
    own = (name, TIMESTEPS[name].settings(config.get("timestep_settings", {})))
    same = next((label for label, law in laws.items() if law == own), None)
    knobs = TIMESTEPS[name].knobs
    changed = ", ".join(f"{k} {v:g}" for k, v in own[1].items() if v != knobs[k].default)
    alike = next((label for label, law in laws.items() if law[0] == name and name not in MEAN), name)
    label = f"its own: {same or ', '.join(filter(None, (alike, changed)))}"
    return {label: own} | {other: law for other, law in laws.items() if other != same}


def _visited(bundle: Bundle, spec: SampleSpec, images: int, split: str) -> list[list[list[float]]]:
    """(images, passes, N): t of every forward pass."""
    seeds, classes = list(seeds_of(split).first(images)), labelled(bundle)
    labels = [seed % classes if classes else None for seed in seeds]
    spec = SampleSpec(spec.checkpoint, spec.sampler, spec.settings, nfe=spec.nfe, seeds=seeds, labels=labels)
    maps = [step.t.double().cpu() for step in Run(bundle, spec) if step.phase != "final"]
    return torch.stack(maps, 1).numpy().round(5).tolist()


def summary(t: np.ndarray) -> np.ndarray:
    """(..., N) maps of t -> (..., 3): mean, maximum, standard deviation."""
    return np.stack([t.mean(-1), t.max(-1), t.std(-1)], -1)


def _gaps(law: np.ndarray, visited: Mapping[str, np.ndarray]) -> dict[str, Resampled]:
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


def _apart(law: np.ndarray, visited: np.ndarray) -> dict[str, Any]:
    flat = visited.reshape(-1, len(SUMMARY))
    measured = {}
    for k, name in enumerate(SUMMARY):
        law_only = Resampled.of(lambda i, k=k: wasserstein_distance(law[i, k], flat[:, k]), len(law))
        measured[name] = law_only.measured()
    return measured


def _spread(t: np.ndarray) -> dict[str, Any]:
    """Densities of maps t (M, N): of their mean and maximum, of t against both, and of t given the maximum."""
    mean, maximum = t.mean(1), t.max(1)
    given = {}
    for about in GIVEN:
        near = np.abs(maximum - about) <= NEAR
        if near.sum() >= FEWEST:
            given[str(about)] = _density(t[near].ravel())
    return {
        "mean": _density(mean),
        "maximum": _density(maximum),
        "against_mean": _joint(mean, t),
        "against_maximum": _joint(maximum, t),
        "given": given,
    }


def _density(values: np.ndarray) -> list[float]:
    return np.histogram(values, _BINS, (0, 1), density=True)[0].round(4).tolist()


def _joint(of_image: np.ndarray, t: np.ndarray) -> list[list[float]]:
    """Percent of all patches in each cell; rows: t of a patch, columns: of_image (M,)."""
    counts, *_ = np.histogram2d(t.ravel(), of_image.repeat(t.shape[1]), _CELLS, ((0, 1), (0, 1)))
    return (100 * counts / t.size).round(4).tolist()
