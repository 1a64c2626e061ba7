"""Does a network know which of its images are bad? The tenth with most predicted variance is dropped, and compared."""

import base64
import io
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from PIL import Image
from scipy.stats import rankdata
from torch import Tensor

from pf_core.charts import Chart, Panel, Series
from pf_core.data.splits import seeds_of
from pf_core.evaluation import judges
from pf_core.evaluation.evaluate import class_of, judge_of, references, shards
from pf_core.evaluation.metrics import Resampled, moments, moments_distance
from pf_core.evaluation.paired import FASTER, arithmetic, how
from pf_core.evaluation.studies.common import SPLIT, needs_both, number, percent, side, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.models.codecs import to_uint8
from pf_core.registry import Knob
from pf_core.samplers import SAMPLERS
from pf_core.sampling.bulk import Uncertainty
from pf_core.sampling.run import Run, SampleSpec, resolve

TENTHS = 10
DRAWS = 4  # of the tenth that is dropped at random; their mean is compared with
SHOWN = 8  # images at either end of the order
ALL, CERTAIN, BY_CLASS, RANDOM = "all", "most certain", "most certain of each class", "at random"


def _chart(result: dict[str, Any]) -> Chart:
    rows = {row["label"]: row for row in result["rows"]}
    against = {label: row["minus_random"] for label, row in rows.items() if "minus_random" in row}

    def bars(title: str, up: str, measured: dict[str, dict], factor: float = 1, **options) -> Panel:
        series = Series.measured("images", list(measured), list(measured.values()), factor, kind="bars")
        return Panel(title, options.pop("x", ""), up, [series], **options)

    panels = [
        bars("Distance to real images", "Frechet distance", {label: row["frechet"] for label, row in rows.items()}),
        bars("Against a tenth dropped at random", "difference of Frechet distance", against, zero=True),
    ]
    if result["tenths"]:
        tenths = {str(k): tenth for k, tenth in enumerate(result["tenths"], 1)}
        panels.append(
            bars("Class asked for, most certain tenth first", "accuracy, %", tenths, 100, x="tenth of the images")
        )
    shown = Panel("The most certain images above, the least certain below", "", "", picture=result["picture"])
    drawn = SAMPLERS[result["sampler"]].label.partition(" (")[0]
    note = (
        f"{result['images']} images by {drawn}, {result['nfe']} NFE; {result['kept']} are kept of each but "
        "all. Bars are 95% intervals, bootstrap over images; the differences are paired. Below zero dropping helps."
    )
    return Chart(f"Dropping the least certain, {result['checkpoint']}", [panels, [shown]], note)


def _brief(result: dict[str, Any]) -> str:
    less = next(row["minus_random"] for row in result["rows"] if row["label"] == CERTAIN)
    return (
        f"Dropping the least certain tenth {_helps(less)}: distance {number(less)} against a tenth dropped at random."
    )


def _helps(less: dict[str, Any]) -> str:
    return {-1: "helps", 0: "makes no difference beyond chance", 1: "does harm"}[side(less)]


def _verdict(result: dict[str, Any]) -> str:
    rows = {row["label"]: row for row in result["rows"]}
    by_class = rows[BY_CLASS]["minus_random"]
    told = (
        f"{_brief(result)[:-1]}, whose distance is {number(rows[RANDOM]['frechet'])}; dropping the least certain of "
        f"each class {_helps(by_class)}: {number(by_class)}."
    )
    if not result["dropped"]:
        return told
    often = {-1: "less often", 0: "as often within chance", 1: "more often"}[side(result["dropped_minus_kept"])]
    return (
        f"{told} The dropped tenth shows the class asked for {often}: {percent(result['dropped'])}, the others "
        f"{percent(rows[CERTAIN]['accuracy'])}."
    )


def _spec(bundle: Bundle, sampler: str, nfe: int, fast: bool) -> SampleSpec:
    return resolve(SampleSpec(bundle.name, sampler, nfe=nfe, **how(fast)), bundle)


def _forwards(bundle: Bundle, images: int, nfe: int, sampler: str, fast: bool, **_) -> int:
    return (images + 2 * SHOWN) * _spec(bundle, sampler, nfe, fast).nfe


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_both,
    judged=True,
    quick={"images": 50, "nfe": 16},
)
def certainty(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(40, 100_000, "images")] = 300,
    nfe: Annotated[int, Knob(4, 1000, "network evaluations an image")] = 64,
    sampler: Annotated[str, Knob(help="what draws them", choices=tuple(SAMPLERS))] = "euler",
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Dropping the least certain tenth of the images.

    Images are ranked by the variance that the network predicted along their paths, as `generate --rank-by-certainty`
    ranks them. Reported: the Frechet distance of the most certain nine tenths, over all and within each class (so that
    no class loses more than others), and its difference from nine tenths kept at random, as a distance depends on the
    number of images; negative is better. And how often the class asked for is right, in each set, in the dropped tenth
    and by tenths. Intervals are 95%, bootstrap over images, which are ranked anew in every resample, and paired.
    """
    spec = _spec(bundle, sampler, nfe, fast)
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge, work.pause))
    parts = shards(spec, seeds_of(split).first(images), labelled(bundle))
    judged = [_judged(Run(bundle, part), judge, work) for part in parts]
    uncertainty, features, chosen, asked = (
        np.concatenate([np.array(part[key]) for part in judged])
        for key in ("uncertainty", "features", "chosen", "asked")
    )
    kept = images - max(1, round(images / TENTHS))
    orders = {CERTAIN: uncertainty, BY_CLASS: _within(uncertainty, asked)}
    right = (chosen == asked) if (asked >= 0).all() else None
    order = np.argsort(uncertainty, kind="stable")
    ends = [*order[:SHOWN], *order[::-1][:SHOWN]]
    parted = np.split(uncertainty[order], [kept])
    return {
        "images": images,
        "kept": kept,
        "split": split,
        "arithmetic": arithmetic(fast),
        "sampler": sampler,
        "steps": spec.steps,
        "nfe": spec.nfe,
        "rows": _rows(features, right, orders, kept, real),
        **_of_dropped(right, uncertainty, kept),
        "uncertainty": dict(zip(("kept", "dropped"), (float(part.mean()) for part in parted), strict=True)),
        "picture": _picture(Run(bundle, _only(parts, ends, spec)), work),
    }


def _judged(run: Run, judge: Any, work: Work) -> dict[str, list]:
    """Of each image of a run: its uncertainty, the judge's features, the class it shows and the one asked for (-1:
    none)."""

    def make() -> dict[str, list]:
        network, uncertainty = judges.load(judge)[0], Uncertainty(run.bundle.grid)
        seen = network.judge(run.bundle.codec.decode(_ended(run, work, uncertainty)))
        chosen = seen.probabilities[next(iter(network.choices))].argmax(1)
        return {
            "uncertainty": uncertainty.total.tolist(),
            "features": seen.features.tolist(),
            "chosen": chosen.tolist(),
            "asked": [class_of(run.bundle, label) for label in run.spec.labels],
        }

    what = {"certainty": run.spec.to_dict(), "judge": judges.digest(judge)}
    return work.piece(what, make, run.spec.nfe * len(run.spec.seeds))


def _ended(run: Run, work: Work, uncertainty: Uncertainty | None = None) -> Tensor:
    """The run's x1 (B, C, H, W). Raises Stopped."""
    for step in run:
        if uncertainty is not None:
            uncertainty.add(step)
        work.pause()
    return step.x.float()


def _within(uncertainty: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(M,) each image's place among those of its class: in (0, 1]."""
    places = np.zeros(len(uncertainty))
    for label in np.unique(asked):
        own = asked == label
        places[own] = rankdata(uncertainty[own]) / own.sum()
    return places


def _rows(
    features: np.ndarray, right: np.ndarray | None, orders: dict[str, np.ndarray], kept: int, real: tuple
) -> list[dict[str, Any]]:
    """What is said of each set: frechet, accuracy (None without classes), minus_random of what is ranked."""
    labels = [ALL, *orders, RANDOM]

    def sets(i: np.ndarray) -> list[list[np.ndarray]]:
        """The images of each set, of the images i; several where chance drops."""
        rng = np.random.default_rng(0)
        ranked = [[i[np.argsort(order[i], kind="stable")[:kept]]] for order in orders.values()]
        return [[i], *ranked, [i[rng.permutation(len(i))[:kept]] for _ in range(DRAWS)]]

    def frechet(i: np.ndarray) -> list[float]:
        return [np.mean([moments_distance(moments(features[s]), real) for s in each]) for each in sets(i)]

    def accuracy(i: np.ndarray) -> list[float]:
        return [np.mean([right[s].mean() for s in each]) for each in sets(i)]

    apart = dict(zip(labels, Resampled.of_each(frechet, len(features)), strict=True))
    rights = [None] * len(labels) if right is None else Resampled.of_each(accuracy, len(features))
    return [
        {"label": label, "frechet": own.measured(), "accuracy": hits and _share(hits)}
        | ({"minus_random": (own - apart[RANDOM]).measured()} if label in orders else {})
        for (label, own), hits in zip(apart.items(), rights, strict=True)
    ]


def _of_dropped(right: np.ndarray | None, uncertainty: np.ndarray, kept: int) -> dict[str, Any]:
    """How often the least certain images, and each tenth, show the class asked for; None without classes."""
    if right is None:
        return {"dropped": None, "dropped_minus_kept": None, "tenths": None}

    def shares(i: np.ndarray) -> list[float]:
        hits = right[i[np.argsort(uncertainty[i], kind="stable")]]
        return [hits[kept:].mean(), hits[:kept].mean(), *(part.mean() for part in np.array_split(hits, TENTHS))]

    dropped, others, *tenths = Resampled.of_each(shares, len(right))
    return {
        "dropped": _share(dropped),
        "dropped_minus_kept": (dropped - others).measured(),
        "tenths": [_share(tenth) for tenth in tenths],
    }


def _share(measured: Resampled) -> dict[str, Any]:
    """{"value", "interval"} of a share, which lies between 0 and 1."""
    told = measured.measured()
    return told | {"interval": np.clip(told["interval"], 0, 1).tolist()}


def _only(parts: list[SampleSpec], places: list[int], spec: SampleSpec) -> SampleSpec:
    """The recipe of some images of several recipes."""
    seeds, labels = ([value for part in parts for value in getattr(part, key)] for key in ("seeds", "labels"))
    return replace(spec, seeds=[seeds[k] for k in places], labels=[labels[k] for k in places])


def _picture(run: Run, work: Work) -> str:
    """A run's images in two rows, as a data URI; they are drawn again, as nothing else needs all images kept."""

    def make() -> dict[str, str]:
        tiles = to_uint8(run.bundle.codec.decode(_ended(run, work))).cpu().numpy()
        rows = np.concatenate([np.concatenate(list(row), 1) for row in np.split(tiles, 2)])
        made = io.BytesIO()
        Image.fromarray(rows).save(made, "WEBP", quality=85)
        return {"picture": "data:image/webp;base64," + base64.b64encode(made.getvalue()).decode()}

    return work.piece({"picture": run.spec.to_dict()}, make, run.spec.nfe * len(run.spec.seeds))["picture"]
