"""How good what a network draws is, by a judge: sharded, resumable, every number with its bootstrap interval."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pf_core import files
from pf_core.checkpoint import Bundle
from pf_core.data.shapes import shapes
from pf_core.judges import shapes as judges
from pf_core.metrics import bootstrap, interval_of_mean, moments, moments_distance, precision_recall
from pf_core.sample import Run, SampleSpec
from pf_core.trajectory import Trajectory, follow

SHARD = 50  # images a shard: what is lost at most when an evaluation is stopped
REFERENCES = 5000  # real images that the Frechet distance compares with


def shards(spec: SampleSpec, count: int, first_seed: int, classes: int) -> list[SampleSpec]:
    """The images asked for, classes in turn, cut into recipes of SHARD images."""
    seeds = range(first_seed, first_seed + count)
    parts = [list(seeds[i : i + SHARD]) for i in range(0, count, SHARD)]
    return [replace(spec, seeds=part, labels=[s % classes if classes else None for s in part]) for part in parts]


def draw(bundle: Bundle, parts: list[SampleSpec], folder: Path) -> Iterator[dict[str, Any]]:
    """Each shard's images, drawn or read back from `folder`, one dict a shard: x1, labels, nfe, forwards, seconds."""
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
            | {"labels": np.array([bundle.conditioner.index(a) for a in run.spec.labels])}
        )


def _key(spec: SampleSpec) -> str:
    return hashlib.sha256(json.dumps(spec.to_dict(), sort_keys=True).encode()).hexdigest()[:20]


def _read(path: Path) -> tuple[dict, dict] | None:
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, json.loads(f.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def summarise(parts: list[dict[str, Any]], data: shapes) -> dict[str, Any]:
    """All numbers of an evaluation; each measured one as {"value", "interval"} (95%, bootstrap over images)."""
    shape, features, labels = (np.concatenate([p[k] for p in parts]) for k in ("shape", "features", "labels"))
    texture = np.concatenate([p["texture"] for p in parts])
    facts = {k: parts[0][k] for k in ("nfe", "steps")}
    facts["forwards"] = parts[0]["forwards"]
    seconds = np.array([p["seconds"] / len(p["labels"]) for p in parts])
    per_image = {"value": float(np.median(seconds)), "interval": [float(seconds.min()), float(seconds.max())]}
    return facts | compare(shape, texture, features, labels, data) | {"seconds_per_image": per_image}


def compare(
    shape: np.ndarray, texture: np.ndarray, features: np.ndarray, labels: np.ndarray, data: shapes
) -> dict[str, Any]:
    """Judged images against real ones."""
    real = _real_features(data.size, data.variety, data.series)
    reference, count = moments(real), len(features)
    low, high = bootstrap(lambda i: moments_distance(moments(features[i]), reference), count)
    precision, recall = precision_recall(features, real[: max(count, 100)])
    classed = labels < shape.shape[1]
    return {
        "images": count,
        "accuracy": interval_of_mean((shape.argmax(1) == labels)[classed]) if classed.any() else None,
        "texture_confidence": interval_of_mean(texture.max(1)),
        "frechet": {"value": moments_distance(moments(features), reference), "interval": [low, high]},
        "precision": interval_of_mean(precision),
        "recall": interval_of_mean(recall),
    }


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
