"""Evaluation of a network's images by the judge of its data set: in shards, resumable, with bootstrap intervals.

Nothing here depends on a data set: a judge's header names its heads, the first of which is the class."""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pf_core import bounded, files
from pf_core.data import DATASETS
from pf_core.data.splits import REAL, images_of, references_of, seeds_of, take
from pf_core.errors import InputError
from pf_core.evaluation import judges
from pf_core.evaluation.kept import code_of, is_kept, kept
from pf_core.evaluation.metrics import bootstrap, interval_of_mean, moments, moments_distance, precision_recall
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import Trajectory, follow

SHARD = 50  # images a shard: the most that is lost when an evaluation is stopped
REFERENCES = 5000  # real images that the Frechet distance compares with


def shards(spec: SampleSpec, seeds: Sequence[int], classes: int) -> list[SampleSpec]:
    """One image a seed, cut into recipes of SHARD images. A seed decides its class too: seed modulo classes. For a
    network of prompts see `captioned`."""
    parts = [list(seeds[i : i + SHARD]) for i in range(0, len(seeds), SHARD)]
    return [replace(spec, seeds=part, labels=[s % classes if classes else None for s in part]) for part in parts]


def judge_of(bundle: Bundle) -> Path:
    """The file of the judge of classes of a network's data set. Raises InputError if there is none; for a network of
    prompts it says what measures those."""
    dataset, settings = checkpoint.data_settings(bundle)
    try:
        if len(set(bundle.shape[1:])) > 1:
            height, width = bundle.shape[1:]
            raise InputError(f"Judges of classes know square images; {bundle.name} draws {width}x{height}.")
        return judges.find(dataset, settings, bundle.shape[-1])
    except InputError as e:
        raise InputError(f"{e}{_instead(bundle, dataset)}") from None


def _instead(bundle: Bundle, dataset: str) -> str:
    """What measures pictures that have no judge of classes; of prompts the study that reads what they ask for."""
    if bundle.conditioner.takes != "prompt":
        named = judges.KINDS["classes"].check(DATASETS[dataset].fn)  # then one can be trained, as the error says
        return "" if named else _WITHOUT
    for kind, study in _READ_BY.items():
        if judges.KINDS[kind].check(DATASETS[dataset].fn):
            command = shlex.join(["python", "-m", "pf_core", "study", study, "--checkpoint", bundle.name])
            return f" How well its pictures show what prompts ask for is measured by `{command}`."
    return ""


_WITHOUT = (
    " FID needs none (`python -m pf_core evaluate --reference NPZ --inception FILE`), nor does `study probe_gain`, "
    "which tells whether easy patches help hard ones."
)
_READ_BY = {"reader": "text_rendering", "scenes": "composition"}  # kind of judge -> study


def captioned(bundle: Bundle, parts: list[SampleSpec], split: str) -> list[SampleSpec]:
    """The same recipes, but for a network of prompts: there seed i of a split asks for the caption of its image i,
    which no training sees. Raises InputError."""
    if bundle.conditioner.takes != "prompt":
        return parts
    data, seeds = checkpoint.data_of(bundle), seeds_of(split)
    return [replace(p, labels=_captions(bundle, data, split, [s - seeds.start for s in p.seeds])) for p in parts]


def _captions(bundle: Bundle, data: Any, split: str, places: list[int]) -> list[str | None]:
    """As a recipe asks for them. A finite set's are used again where it has too few."""
    images = images_of(data, split)
    count = len(take(data, images, max(places) + 1))
    indices = [images.start + place % count for place in places]
    if not hasattr(data, "captions_of"):
        return bundle.conditioner.asked_of(data.batch(indices), data.names)
    return bundle.conditioner.asked_of(SimpleNamespace(captions=data.captions_of(indices)))  # nothing is drawn


def draw(
    bundle: Bundle,
    parts: list[SampleSpec],
    folder: Path,
    judge: Path | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """Each shard, drawn or read back from `folder`, as a dict: the judge's features and, under each name in `heads`,
    its probabilities; the classes asked for (labels, -1: none), nfe, steps, forwards, token_forwards (see Run),
    seconds, its file's name (shard) and whether it was read. pause: called after every pass, and may raise. Raises
    InputError if there is no judge for the network."""
    path_of_judge = judge or judge_of(bundle)
    judge_network, _ = judges.load(path_of_judge)
    for part in parts:
        run = Run(bundle, part)
        path = folder / f"{_key(run.spec, path_of_judge)}.safetensors"
        done = known = _read(path)
        if done is None:
            trajectory = ended(run, bundle, pause)
            verdict = judge_network.judge(bundle.codec.decode(trajectory.x1))
            tensors = {**verdict.probabilities, "features": verdict.features}
            facts = {
                "seconds": trajectory.seconds,
                "forwards": run.forwards,
                "token_forwards": run.token_forwards,
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
            | {"labels": np.array([class_of(bundle, a) for a in run.spec.labels])}
            | {"heads": list(judge_network.choices), "shard": path.name, "read": known is not None}
        )


def ended(run: Run, bundle: Bundle, pause: Callable[[], None] = lambda: None) -> Trajectory:
    """A run that was made to its end, of which only that is kept: x1 (B, C, H, W) and seconds. pause: called after
    every pass, and may raise."""
    trajectory = Trajectory(bundle.grid, run.spec.to_dict(), run.x0)
    for _ in follow(run, trajectory):
        trajectory.frames.clear()
        pause()
    return trajectory


def class_of(bundle: Bundle, asked: str | None) -> int:
    """The data set's, and so the judge's, number of a class that a network was asked for, by its name; -1 for none.
    Raises InputError for a class that the data set lacks."""
    if asked is None or bundle.conditioner.takes == "prompt":
        return -1
    if not bundle.conditioner.names:
        return bundle.conditioner.index(asked)
    names = list(checkpoint.data_of(bundle).names)
    if asked not in names:
        raise InputError(f"The judge knows no class {asked!r}: its classes are {', '.join(names)}.")
    return names.index(asked)


_CODE = (  # what a drawn picture, and what a judge says of it, come from
    "evaluation/judges", "flow.py", "guidance.py", "models", "patches.py", "samplers", "sampling", "timesteps",
    "types.py",
)  # fmt: skip


def _key(spec: SampleSpec, judge: Path) -> str:
    """A shard's name: another one where the recipe, the judge or the code that draws and judges is another."""
    key = json.dumps(spec.to_dict(), sort_keys=True) + judges.digest(judge) + code_of(*_CODE)
    return hashlib.sha256(key.encode()).hexdigest()[:20]


def _read(path: Path) -> tuple[dict, dict] | None:
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, json.loads(f.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def summarise(parts: list[dict[str, Any]], real: np.ndarray) -> dict[str, Any]:
    """All numbers of an evaluation against the features of real images (see `references`); each measured one as
    {"value", "interval"}: 95%, bootstrap over images, and over shards for the median wall time an image."""
    heads = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]["heads"]}
    features, labels = (np.concatenate([p[k] for p in parts]) for k in ("features", "labels"))
    facts = {k: parts[0][k] for k in ("nfe", "steps", "forwards")}
    if parts[0].get("token_forwards") is not None:  # each part's are a mean over its images
        weights = [len(p["labels"]) for p in parts]
        facts["token_forwards"] = float(np.average([p["token_forwards"] for p in parts], weights=weights))
    seconds = np.array([p["seconds"] / len(p["labels"]) for p in parts])
    return facts | compare(heads, features, labels, real) | {"seconds_per_image": _median(seconds)}


def _median(values: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap(lambda i: np.median(values[i]), len(values))
    return {"value": float(np.median(values)), "interval": [max(low, 0.0), high]}


def compare(heads: dict[str, np.ndarray], features: np.ndarray, labels: np.ndarray, real: np.ndarray) -> dict[str, Any]:
    """Judged images (M of them) against real ones' features (REFERENCES, D).

    heads: probabilities (M, choices) by name, the first of the class; labels (M,), -1 where none was asked for.
    Accuracy of the class asked for; of every head its confidence, the mean of the largest probability; the Frechet
    distance; precision and recall of the first REFERENCES, as they compare all pairs. Their intervals resample both
    sets, which older files did not: `resampled` says so.
    """
    reference, count, classed = moments(real), len(features), labels >= 0
    low, high = bootstrap(lambda i: moments_distance(moments(features[i]), reference), count)
    precision, recall = precision_recall(features[:REFERENCES], real[: max(count, 100)])
    asked = next(iter(heads.values()))
    return {
        "images": count,
        "accuracy": interval_of_mean((asked.argmax(1) == labels)[classed]) if classed.any() else None,
        **{f"{name}_confidence": interval_of_mean(values.max(1)) for name, values in heads.items()},
        "frechet": {"value": moments_distance(moments(features), reference), "interval": [low, high]},
        "precision": precision,
        "recall": recall,
        "resampled": "both sets",
    }


def references(
    bundle: Bundle, split: str = "evaluation", judge: Path | None = None, pause: Callable[[], None] = lambda: None
) -> np.ndarray:
    """(REFERENCES, D) judge's features of real images of the network's data set, never trained on. pause: called now
    and then, and may raise."""
    dataset, settings = checkpoint.data_settings(bundle)
    return real_features(judge or judge_of(bundle), dataset, settings, split, pause)


def references_known(bundle: Bundle, split: str = "evaluation") -> bool:
    """Whether `references` only read what was computed before. Raises InputError where there is no judge."""
    dataset, settings = checkpoint.data_settings(bundle)
    digest, settings = judges.digest(judge_of(bundle)), json.dumps(settings, sort_keys=True)
    return all(is_kept(_named(digest, dataset, settings, images)) for images in _parts(split))


def real_features(
    judge: Path,
    dataset: str,
    settings: dict[str, Any],
    split: str = "evaluation",
    pause: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """The same of a data set; computed once, and then read (kept.py)."""
    of = judge, judge.stat().st_mtime_ns, dataset, json.dumps(settings, sort_keys=True)
    parts = []
    for images in _parts(split):
        parts.append(_real_features(*of, images))
        pause()
    return np.concatenate(parts)


def _parts(split: str) -> list[range]:
    """The images of the references, so many as are judged between two pauses."""
    return [
        references_of(split).first(end)[start:]
        for start in range(0, REFERENCES, _AT_ONCE)
        for end in [min(start + _AT_ONCE, REFERENCES)]
    ]


_AT_ONCE = 250  # real images judged between two pauses


@lru_cache(maxsize=8 * REFERENCES // _AT_ONCE)
def _real_features(judge: Path, modified: int, dataset: str, settings: str, images: range) -> np.ndarray:
    def compute() -> np.ndarray:
        data, judge_network = DATASETS[dataset].fn(**json.loads(settings)), judges.load(judge)[0]
        return judge_network.judge(data.batch(images).images).features.numpy()

    return kept(_named(judges.digest(judge), dataset, settings, images), compute)


def _named(judge: str, dataset: str, settings: str, images: range) -> dict[str, Any]:
    """All that features of real images hang on; judge: its digest."""
    return {"judge": judge, "dataset": dataset, "settings": settings, "images": str(images)}


def real_against_real(
    count: int, dataset: str = "shapes", settings: dict[str, Any] = {}, first: int = REAL.start
) -> dict[str, Any]:
    """The same numbers for real images that nothing was fitted to: the best possible result."""
    settings = DATASETS[dataset].settings(settings)
    path = judges.find(dataset, settings)
    data, judge = DATASETS[dataset].fn(**settings), judges.load(path)[0]
    images, labels, seen = range(first, first + count), [], []
    for k in range(0, count, _AT_ONCE):
        sample = data.batch(images[k : k + _AT_ONCE])
        labels.append(sample.labels.numpy())
        seen.append(judge.judge(sample.images))
    heads = {name: np.concatenate([v.probabilities[name].numpy() for v in seen]) for name in seen[0].probabilities}
    features = np.concatenate([v.features.numpy() for v in seen])
    return compare(heads, features, np.concatenate(labels), real_features(path, dataset, settings))


def read_results(path: str | Path) -> dict[str, dict[str, Any]]:
    """File name -> result: the JSON files of a folder, or the lines of a JSONL file, each with the entry "file". Raises
    InputError."""
    path = Path(path)
    if path.is_dir():
        return {file.name: _result(file) for file in sorted(path.glob("*.json"))}
    try:
        results = [bounded.parse_json(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {result.pop("file"): result for result in results}
    except OSError as e:
        raise InputError(f"Cannot read {path}: {e.strerror or e}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} holds no results: each line must be a JSON object with the entry file.") from None


def _result(path: Path) -> Any:
    try:
        return bounded.read_json(path)
    except (ValueError, OSError) as e:
        raise InputError(f"{path} cannot be read ({e}): repair it or remove it.") from None
