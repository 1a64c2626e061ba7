"""What do networks train on, and what does inference show them? Laws of t against the timestep maps of samplers."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import torch

from pf_core.charts import Chart, Panel, Series
from pf_core.data.splits import seeds_of
from pf_core.evaluation.metrics import Resampled
from pf_core.evaluation.studies.common import SPLIT, Claim, drawing, holds, number, side, study
from pf_core.evaluation.train_test import (
    BINS,
    COMPARED,
    DRAWS,
    GIVEN,
    apart,
    distances,
    draw,
    maps_of,
    own_law,
    spread,
    summary,
    visits,
)
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.registry import Knob
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
INFERENCE = "inference"
MAPPED = ("LTG", "truncated Gaussian", "SRM, s = 1", "SRM, s = 4", "SRM, s = 10", "independent")  # Fig. 3's
ON_A_PHONE = ("truncated Gaussian", "SRM, s = 1")  # of these, beside the network's own
_ACROSS = 4  # panels


def _forwards(bundle: Bundle, images: int, nfe: int, **_) -> int:
    return drawing(bundle, visits(bundle, nfe).values(), images)


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
    drawn = {label: law for label, law in laws.items() if label in (first, *MAPPED)}
    drawn[f"{INFERENCE}: {', '.join(result['visited'])}"] = result["inference"]
    kept = (*list(drawn)[:1], *ON_A_PHONE, list(drawn)[-1])

    def joint(key: str, x: str) -> list[Panel]:
        return [
            Panel(label, x, "t of a patch", map=shown, spare=key == "mean" or label not in kept)
            for label, shown in maps_of(drawn, key).items()
        ]

    middle = [(k + 0.5) / BINS for k in range(BINS)]
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
    given = [Panel(f"t given largest t near {about}", "t", "density", densities(f"given {about}")) for about in GIVEN]
    below = [
        Panel("Mean t of an image", "mean t", "density", densities("mean")),
        Panel("Largest t of an image", "largest t", "density", densities("maximum")),
        Panel("Distance to what the sampler visits", "", "energy distance", gaps),
    ]
    note = (
        f"{DRAWS:,} maps of t of each law; every forward pass of {result['images']} images a sampler at "
        f"{result['nfe']} NFE. Distance between (mean, maximum, spread) of the maps; bars are 95% intervals, bootstrap "
        "over maps and images."
    )
    maps = [joint("maximum", "largest t of the image"), joint("mean", "mean t of the image")]
    rows = [*maps, below, [panel for panel in given if panel.series]]
    return Chart(f"Training's t and inference's, {result['checkpoint']}", rows, note).narrowed(_ACROSS)


def _dig(numbers: Mapping[str, Any], key: str) -> list[float] | None:
    name, _, rest = key.partition(" ")
    return numbers[name].get(rest) if rest else numbers[name]


def _brief(result: dict[str, Any]) -> str:
    """LTG beside the best law of the mean, as the claim has them; then the best of the maximum, and the network's own,
    where these are others."""
    laws, own = result["laws"], next(iter(result["laws"]))
    gaps = {label: law["gap"]["all"] for label, law in laws.items()}

    def nearest(controls: str) -> str:
        return min((label for label, law in laws.items() if law["controls"] == controls), key=_value(gaps))

    ltg, mean, maximum = "LTG" if "LTG" in laws else own, nearest("mean"), nearest("maximum")
    best = f"of the best law of the mean ({mean.removeprefix('its own: ')}) {number(gaps[mean], 3)}"
    words = f"{_holds(result)}: train-test gap of LTG {number(gaps[ltg], 3)}, {best}"
    words += f"; {maximum} {number(gaps[maximum], 3)}" if maximum not in (ltg, own) else ""
    return words + (f"; its own law {number(gaps[own], 3)}." if own not in (ltg, mean) else ".")


def _value(gaps: Mapping[str, Any]) -> Callable[[str], float]:
    return lambda label: gaps[label]["value"]


def _holds(result: dict[str, Any]) -> str:
    """Every law of the maximum against every law of the mean."""
    nearer = [
        side(minus) < 0
        for law in result["laws"].values()
        if law["controls"] == "maximum"
        for minus in law["minus"].values()
    ]
    return holds(sum(nearer), len(nearer))


def _verdict(result: dict[str, Any]) -> str:
    laws = result["laws"]
    of_mean = [label for label, law in laws.items() if law["controls"] == "mean"]
    told = ", ".join(f"{label} {number(law['gap']['all'], 3)}" for label, law in laws.items())
    own, other = next(iter(laws)), min(of_mean, key=lambda label: laws[label]["gap"]["all"]["value"])
    largest = " and ".join(f"{number(laws[label]['apart']['maximum'], 2)} for {label}" for label in (own, other))
    return (
        f"{_holds(result)}: {_nearer(laws)}. Energy distance between a law's maps of t and those that "
        f"{', '.join(result['visited'])} visit: {told}; the largest t of an image alone is off by {largest}."
    )


def _nearer(laws: dict[str, Any]) -> str:
    """Of how many laws of the mean each law of the maximum is nearer to inference, and which."""
    told = []
    for label, law in laws.items():
        if law["controls"] == "maximum":
            beaten = [other for other, minus in law["minus"].items() if side(minus) < 0]
            which = f" ({'; '.join(beaten)})" if beaten else ""
            told.append(f"{label.removeprefix('its own: ')} than {len(beaten)} of {len(law['minus'])}{which}")
    return f"nearer to inference than laws of the mean are: {'; '.join(told)}"


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    claim=Claim(
        "Controlling maximum information better matches inference than controlling only the mean.",
        "Fig. 3 and 4",
        _paper(),
    ),
    quick={"images": 8},
)
def timestep_laws(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(2, 1000, "images that each sampler draws")] = 20,
    nfe: Annotated[int, Knob(2, 1000, "network evaluations an image, for every sampler")] = 64,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """The laws of t that networks train on, against the maps of t that inference visits.

    Laws: the network's own first, then LTG, truncated Gaussian, SRM with sharpness 1, 4, 10, independent, one t an
    image, one t drawn as a patch of LTG is, two times an image (Self-Flow), all for the network's number of patches.
    Inference: the t of every forward pass of Euler, dual-loop and look-ahead with their own settings, outer, inner and
    probe. Reported of each law and of inference: densities of the image's `mean` and `maximum`, 2-D histograms of a
    patch's t against them (percent of patches, rows: t; `hexagons`: the same in the figure's hexagons), and of t
    `given` a maximum within 0.05 of 0.25, 0.5, 0.75 where there are such. The train-test `gap`: the energy distance
    2 E|A - B| - E|A - A'| - E|B - B'| between the law's A and inference's B, where a map of t is the point (mean,
    maximum, spread), spread being its patches' standard deviation; 0 if and only if those are spread alike. `apart`:
    Wasserstein distances of the three, in units of t. `minus`: gap minus that of each SRM, laws of the mean alone.
    Intervals are 95%, bootstrap over maps and images; of `apart` over maps alone.
    """
    visited = {
        label: work.arrays(
            {"study": "timestep_laws", "network": bundle.hash, "sampler": label, "images": images, "nfe": nfe}
            | {"split": split},
            lambda spec=spec: {"maps": _visited(bundle, spec, images, split, work.pause)},
            drawing(bundle, [spec], images),
        )["maps"]
        for label, spec in visits(bundle, nfe).items()
    }
    every = np.concatenate(list(visited.values()), 1)
    seen = {label: summary(of) for label, of in (visited | {"all": every}).items()}
    result: dict[str, Any] = {"images": images, "nfe": nfe, "split": split, "visited": list(visited)}
    drawn = {label: draw(name, bundle.grid.n, settings) for label, (name, settings) in _laws(bundle).items()}
    gaps = {label: distances(summary(t[:COMPARED]), seen) for label, t in drawn.items()}
    laws = _laws(bundle)
    of_mean = [label for label, (name, _) in laws.items() if name in MEAN]
    result["laws"] = {
        label: {
            "timesteps": name,
            "settings": settings,
            "controls": "maximum" if name in MAXIMUM else "mean" if name in MEAN else "",
            "gap": {to: _distance(gap) for to, gap in gaps[label].items()},
            "minus": {other: (gaps[label]["all"] - gaps[other]["all"]).measured() for other in of_mean},
            "apart": apart(summary(drawn[label][:COMPARED]), seen["all"]),
            **spread(drawn[label]),
        }
        for label, (name, settings) in laws.items()
    }
    return result | {"inference": spread(every.reshape(-1, bundle.grid.n))}


def _distance(gap: Resampled) -> dict[str, Any]:
    """{"value", "interval"} of what is never negative."""
    measured = gap.measured()
    return {"value": max(measured["value"], 0.0), "interval": [max(end, 0.0) for end in measured["interval"]]}


def _laws(bundle: Bundle) -> dict[str, tuple[str, dict[str, Any]]]:
    """label -> timestep sampler and all its settings; the network's own first, where its record says which."""
    laws = {label: (name, TIMESTEPS[name].settings(given)) for label, (name, given) in LAWS.items()}
    own = own_law(bundle)
    if own is None:
        return laws
    name = own[0]
    same = next((label for label, law in laws.items() if law == own), None)
    knobs = TIMESTEPS[name].knobs
    changed = ", ".join(f"{k} {v:g}" for k, v in own[1].items() if v != knobs[k].default)
    alike = next((label for label, law in laws.items() if law[0] == name and name not in MEAN), name)
    label = f"its own: {same or ', '.join(filter(None, (alike, changed)))}"
    return {label: own} | {other: law for other, law in laws.items() if other != same}


def _visited(bundle: Bundle, spec: SampleSpec, images: int, split: str, pause: Callable[[], None]) -> np.ndarray:
    """(images, passes, N): t of every forward pass. pause: called after each, and may raise."""
    seeds, classes = list(seeds_of(split).first(images)), labelled(bundle)
    labels = [seed % classes if classes else None for seed in seeds]
    spec = SampleSpec(spec.checkpoint, spec.sampler, spec.settings, nfe=spec.nfe, seeds=seeds, labels=labels)
    maps = []
    for step in Run(bundle, spec):
        if step.phase != "final":
            maps.append(step.t.double().cpu())
        pause()
    return torch.stack(maps, 1).numpy().round(5)
