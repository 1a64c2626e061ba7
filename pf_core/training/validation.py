"""Validation and samples during training. Nothing here uses the training's random numbers."""

from typing import Any

from PIL import Image
from torch import nn

from pf_core import files, flow
from pf_core.data.splits import VALIDATION
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import build_codec, previewing, to_uint8
from pf_core.models.conditioning import Conditioner, conditioner_for
from pf_core.sampling.export import film_strip
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import record
from pf_core.training.config import TrainRecipe
from pf_core.training.loop import held_out
from pf_core.training.run_dir import RunFolder

SHEET, SHEET_NFE = 16, 32  # images of the sheet, sampled with Euler
STRIP, STRIP_NFE = 4, 9  # images of the strip, with their maps; look-ahead takes an odd NFE
BINS = 10


def validate(model: nn.Module, data, source: flow.Source, images: int = 64) -> dict[str, Any]:
    """{"validation": velocity MSE at each of loop.SEGMENTS} and, for a network that predicts difficulty,
    "calibration": one entry a segment (see `calibration`), from the same forward passes."""
    metrics: dict[str, Any] = {"validation": [], "calibration": []}
    for t, look in held_out(model, data, images, source):
        metrics["validation"].append(flow.loss(look.prediction, look.u).mse.item())
        if look.difficulty is not None:
            metrics["calibration"].append({"t": t} | calibration(look))
    return {k: v for k, v in metrics.items() if v}


def calibration(look: flow.Look, bins: int = BINS) -> dict[str, list[float]]:
    """Patches sorted by predicted difficulty and split into `bins` equal parts: each part's mean predicted difficulty
    and mean real squared error of the velocity, both variances. They are equal for a calibrated network."""
    predicted, real = look.difficulty.flatten().cpu(), look.error.flatten().cpu()
    order = predicted.argsort()
    return {
        name: [float(f"{part.mean():.4g}") for part in values[order].tensor_split(bins) if len(part)]
        for name, values in (("predicted", predicted), ("real", real))
    }


def draw_samples(folder: RunFolder, recipe: TrainRecipe, data: Any, model: nn.Module, step: int) -> None:
    """With fixed seeds and the classes in turn, or captions of held-out images: a sheet of sixteen images, and a
    recorded run of four with its maps."""
    bundle = Bundle(
        f"runs/{folder.name}",
        model,
        previewing(build_codec(recipe.codec, recipe.codec_settings)),
        conditioner_for(model, data),
        recipe.config.source,
    )
    labels = _labels(bundle.conditioner, data, SHEET)
    _sheet(folder, bundle, labels, step)
    sampler = "look_ahead" if bundle.predicts_difficulty else "euler"
    seeds = list(range(STRIP))
    spec = SampleSpec(bundle.name, sampler, nfe=STRIP_NFE, labels=labels[:STRIP], seeds=seeds)
    run = record(Run(bundle, spec))
    run.save(folder.sample(step, ".safetensors"))
    with files.replacing(folder.sample(step, "-strip.png")) as temporary:
        film_strip(run, bundle.codec, most=STRIP).save(temporary)


def _sheet(folder: RunFolder, bundle: Bundle, labels: list, step: int) -> None:
    *_, final = Run(bundle, SampleSpec(bundle.name, "euler", nfe=SHEET_NFE, labels=labels, seeds=list(range(SHEET))))
    tiles = to_uint8(bundle.codec.decode(final.x)).cpu()
    sheet = tiles.unflatten(0, (2, SHEET // 2)).permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    with files.replacing(folder.sample(step)) as temporary:
        Image.fromarray(sheet.numpy()).save(temporary)


def _labels(conditioner: Conditioner, data: Any, images: int) -> list[int | str | None]:
    if conditioner.takes == "prompt":
        return conditioner.asked_of(data.batch(VALIDATION.first(images)), data.names)
    classes = conditioner.num_classes
    return [i % classes if classes else None for i in range(images)]


def smooth(values: list[float], keep: float = 0.9) -> list[float]:
    """Exponential moving average, corrected for its start as in TensorBoard; keep in [0, 1)."""
    out, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out


def column(entries: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one quantity in the entries of a metrics.jsonl."""
    points = [(e["step"], e[name]) for e in entries if isinstance(e.get(name), int | float)]
    return [s for s, _ in points], [v for _, v in points]
