"""How good what a network draws is, by a judge: sharded, resumable, every number with its bootstrap interval."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pf_core import files
from pf_core.data.shapes import SHAPES, shapes
from pf_core.errors import InputError
from pf_core.evaluation.judges import shapes as judges
from pf_core.evaluation.metrics import bootstrap, interval_of_mean, moments, moments_distance, precision_recall
from pf_core.models.checkpoint import Bundle
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import Trajectory, follow

SHARD = 50  # images a shard: what is lost at most when an evaluation is stopped
REFERENCES = 5000  # real images that the Frechet distance compares with


def shards(spec: SampleSpec, seeds: Sequence[int], classes: int) -> list[SampleSpec]:
    """One image a seed, cut into recipes of SHARD images. A seed decides its class too: seed modulo classes."""
    parts = [list(seeds[i : i + SHARD]) for i in range(0, len(seeds), SHARD)]
    return [replace(spec, seeds=part, labels=[s % classes if classes else None for s in part]) for part in parts]


def draw(bundle: Bundle, parts: list[SampleSpec], folder: Path) -> Iterator[dict[str, Any]]:
    """Each shard, drawn or read back from `folder`, as a dict: what the judge saw (shape, texture, features), the
    classes asked for (labels, -1: none), nfe, steps, forwards, seconds. Raises InputError for a network that draws
    what the judge does not know."""
    check(bundle)
    judge, _ = judges.load()
    for part in parts:
        run = Run(bundle, part)
        path = folder / f"{_key(run.spec)}.safetensors"
        if (done := _read(path)) is None:
            trajectory = Trajectory(bundle.grid, run.spec.to_dict(), run.x0)
            for _ in follow(run, trajectory):
                trajectory.frames.clear()  # only the end is judged
            seen = judge.judge(bundle.codec.decode(trajectory.x1))
            tensors = {"shape": seen.shape, "texture": seen.texture, "features": seen.features}
            facts = {
                "seconds": trajectory.seconds,
                "forwards": run.forwards,
                "nfe": run.spec.nfe,
                "steps": run.spec.steps,
            }
            with files.replacing(path) as temporary:
                save_file(tensors, temporary, metadata={"facts": json.dumps(facts)})
            done = tensors, facts
        tensors, facts = done
        yield (
            {k: v.numpy() for k, v in tensors.items()}
            | facts
            | {"labels": np.array([_judged(bundle, a) for a in run.spec.labels])}
        )


def _judged(bundle: Bundle, asked: str | None) -> int:
    """The judge's number of a class that a network was asked for, by its name; -1 for none. Raises InputError."""
    if asked is None or not bundle.conditioner.names:
        return -1 if asked is None else bundle.conditioner.index(asked)
    if asked not in SHAPES:
        raise InputError(f"The judge knows no class {asked!r}: its classes are {', '.join(SHAPES)}.")
    return SHAPES.index(asked)


def check(bundle: Bundle) -> None:
    """Raises InputError for a network that draws what the judge does not know."""
    dataset = bundle.training.get("recipe", {}).get("dataset", "shapes")
    if dataset != "shapes" or bundle.shape != (3, 32, 32):
        size = "x".join(map(str, bundle.shape))
        raise InputError(f"The judge knows `shapes` of 3x32x32; {bundle.name} draws {dataset} of {size}.")


def _key(spec: SampleSpec) -> str:
    return hashlib.sha256(json.dumps(spec.to_dict(), sort_keys=True).encode()).hexdigest()[:20]


def _read(path: Path) -> tuple[dict, dict] | None:
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, json.loads(f.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def summarise(parts: list[dict[str, Any]], data: shapes) -> dict[str, Any]:
    """All numbers of an evaluation; each measured one as {"value", "interval"}: 95%, bootstrap over images, and over
    shards for the median wall time an image."""
    shape, features, labels = (np.concatenate([p[k] for p in parts]) for k in ("shape", "features", "labels"))
    texture = np.concatenate([p["texture"] for p in parts])
    facts = {k: parts[0][k] for k in ("nfe", "steps")}
    facts["forwards"] = parts[0]["forwards"]
    seconds = np.array([p["seconds"] / len(p["labels"]) for p in parts])
    return facts | compare(shape, texture, features, labels, data) | {"seconds_per_image": _median(seconds)}


def _median(values: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap(lambda i: np.median(values[i]), len(values))
    return {"value": float(np.median(values)), "interval": [max(low, 0.0), high]}


def compare(
    shape: np.ndarray, texture: np.ndarray, features: np.ndarray, labels: np.ndarray, data: shapes
) -> dict[str, Any]:
    """Judged images against real ones; precision and recall of the first REFERENCES, as they compare all pairs.
    Their intervals resample both sets, which older files did not: `resampled` says so."""
    real = _real_features(data.size, data.variety, data.series)
    reference, count, classed = moments(real), len(features), labels >= 0
    low, high = bootstrap(lambda i: moments_distance(moments(features[i]), reference), count)
    precision, recall = precision_recall(features[:REFERENCES], real[: max(count, 100)])
    return {
        "images": count,
        "accuracy": interval_of_mean((shape.argmax(1) == labels)[classed]) if classed.any() else None,
        "texture_confidence": interval_of_mean(texture.max(1)),
        "frechet": {"value": moments_distance(moments(features), reference), "interval": [low, high]},
        "precision": precision,
        "recall": recall,
        "resampled": "both sets",
    }


def reference(data: shapes) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of held-out real images in the judge's features."""
    return moments(_real_features(data.size, data.variety, data.series))


@cache
def _real_features(size: int, variety: float, series: int) -> np.ndarray:
    """(REFERENCES, 64) features of held-out real images, computed once a process."""
    data = shapes(size=size, variety=variety, series=series)
    return (
        judges.load()[0].judge(data.batch(range(judges.HELD_OUT, judges.HELD_OUT + REFERENCES)).images).features.numpy()
    )


def real_against_real(count: int, data: shapes, first: int = judges.HELD_OUT + 10 * REFERENCES) -> dict[str, Any]:
    """The same numbers for real images that nothing was fitted to: the best that a generator can reach."""
    judge, _ = judges.load()
    sample = data.batch(range(first, first + count))
    seen = judge.judge(sample.images)
    return compare(seen.shape.numpy(), seen.texture.numpy(), seen.features.numpy(), sample.labels.numpy(), data)


def write(path: str | Path, result: dict[str, Any]) -> None:
    with files.replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1))
