"""Samplers and settings compared on the same seeds: Frechet distances, and their differences with paired intervals.

Pairing is what makes a few hundred images enough: two runs from one seed draw nearly the same image, so that most of
what a distance owes to chance is in both.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from pf_core.data.splits import seeds_of
from pf_core.evaluation.evaluate import captioned, draw, judge_of, references, shards
from pf_core.evaluation.metrics import Resampled, interval_of_mean, moments, moments_distance
from pf_core.evaluation.work import Work
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve

FAST = {"precision": "bf16", "compile": True}  # parts of a SampleSpec
FASTER = Knob(help="bf16 and compiled in all rows alike: sooner, rounded otherwise")


def how(fast: bool) -> dict[str, Any]:
    """What FASTER adds to each row's SampleSpec."""
    return FAST if fast else {}


def arithmetic(fast: bool) -> str:
    """What a result says of it."""
    return "bf16, compiled" if fast else "fp32"


def paired(
    bundle: Bundle,
    specs: Sequence[SampleSpec],
    bases: Sequence[int | None],
    images: int,
    *,
    split: str = "evaluation",
    judge: Path | None = None,
    folder: Path | None = None,
    work: Work | None = None,
) -> list[dict[str, Any]]:
    """One row a spec, all on the same `images` seeds of a split: sampler, settings, steps, nfe, cfg_scale; accuracy of
    the class asked for (None for a network without labels), frechet, and `minus_base`, the row's distance minus that of
    row bases[i], negative where it is better (absent where that is None). All with 95% intervals, bootstrap over
    images, paired. folder: keeps what is drawn, so that a stopped comparison goes on; work: has one, and is told of
    it. Raises InputError."""
    judge = judge or judge_of(bundle)
    real = moments(references(bundle, split, judge, work.pause if work else lambda: None))
    drawn = [images_of_row(bundle, spec, images, split, judge, folder, work) for spec in specs]
    apart = [distance(judged["features"], real) for judged in drawn]
    return [
        named(resolve(spec, bundle))
        | {"accuracy": accuracy(judged), "frechet": own.measured()}
        | ({} if base is None else {"minus_base": (own - apart[base]).measured()})
        for spec, judged, own, base in zip(specs, drawn, apart, bases, strict=True)
    ]


def images_of_row(
    bundle: Bundle,
    spec: SampleSpec,
    images: int,
    split: str,
    judge: Path,
    folder: Path | None = None,
    work: Work | None = None,
) -> dict[str, np.ndarray]:
    """What the judge saw in each image of a spec: {"features" (M, D), "asked" (M, choices), "labels" (M,)}, and the
    "seconds" of an image, by shard. folder, work: see `paired`."""
    return _joined(list(_judged(bundle, spec, images, split, judge, work or Work(folder))))


def images_of_rows(
    rows: Sequence[tuple[Bundle, SampleSpec]], images: int, split: str, judge: Path, work: Work
) -> list[dict[str, np.ndarray]]:  # fmt: skip
    """The same of several, a shard of each in turn: what else the machine does slows all alike, and their seconds
    compare."""
    turns = zip(*(_judged(bundle, spec, images, split, judge, work) for bundle, spec in rows), strict=True)
    return [_joined(parts) for parts in zip(*turns, strict=True)]


def _judged(
    bundle: Bundle, spec: SampleSpec, images: int, split: str, judge: Path, work: Work
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The shards of a spec, drawn or read back, and judged."""
    parts = captioned(bundle, shards(spec, seeds_of(split).first(images), labelled(bundle)), split)
    with nullcontext(work.folder) if work.folder else tempfile.TemporaryDirectory() as where:
        for part in draw(bundle, parts, Path(where), judge, work.pause):
            work.found(part["shard"], part["read"])
            work.did(part["forwards"] * len(part["labels"]))
            yield part


def _joined(judged: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    first = judged[0]["heads"][0]
    return {
        name: np.concatenate([part[key] for part in judged])
        for name, key in (("features", "features"), ("asked", first), ("labels", "labels"))
    } | {"seconds": np.array([part["seconds"] / len(part["labels"]) for part in judged])}


def distance(features: np.ndarray, real: tuple) -> Resampled:
    """The Frechet distance of features (M, D) to real ones' moments; two of the same seeds differ paired."""
    return Resampled.of(lambda i: moments_distance(moments(features[i]), real), len(features))


def named(spec: SampleSpec) -> dict[str, Any]:
    """What a row says of a resolved spec."""
    return {
        "sampler": spec.sampler,
        "settings": spec.settings,
        "steps": spec.steps,
        "nfe": spec.nfe,
        "cfg_scale": spec.cfg_scale,
    }


def accuracy(judged: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """{"value", "interval"}, 0 to 1: the share of `images_of_row`'s images that show the class asked for; None where
    none was."""
    classed = judged["labels"] >= 0
    return interval_of_mean((judged["asked"].argmax(1) == judged["labels"])[classed]) if classed.any() else None
