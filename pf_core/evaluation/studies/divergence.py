"""Difficulty read off a velocity's Jacobian: does it say what a head says, and does it drive the adaptive samplers?"""

import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from torch import Generator

from pf_core import flow
from pf_core.charts import Chart, Panel, Series
from pf_core.data.splits import seeds_of
from pf_core.evaluation.metrics import spearman, with_intervals
from pf_core.evaluation.paired import paired
from pf_core.evaluation.studies.common import SPLIT, drawing, looked_at, needs_judge, number, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.models.divergence import MOST_PROBES, Divergence
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec
from pf_core.types import PatchTime

TIMES = (0.1, 0.2, 0.3, 0.5, 0.8)
_PART = 20  # images a pass
_ASIDE = {"sampler": "look_ahead"}, {"sampler": "look_ahead", "settings": {"ratio": 2.0}}, {"sampler": "dual_loop"}

_PAIRS = {
    "divergence_with_error": "Jacobian's with true error",
    "head_with_error": "head's with true error",
    "divergence_with_head": "Jacobian's with head's",
    "halves": "one half of the probes with the other",
}


def _chart(result: dict[str, Any]) -> Chart:
    t = [float(t) for t in result["t"]]

    def curve(key: str, name: str, factor: float = 1) -> list[Series]:
        values = [numbers[key] for numbers in result["t"].values() if key in numbers]
        return [Series.measured(name, t, values, factor)] if values else []

    one = "Jacobian's difficulty"
    panels = [
        Panel("Rank correlation of difficulties", "t", "Spearman", [s for k in _PAIRS for s in curve(k, _PAIRS[k])]),
        Panel("Calibration", "t", "mean difficulty / true squared error", curve("divergence_over_error", one)),
        Panel("Estimates below zero", "t", "% of patches", curve("negative", one, 100)),
    ]
    note = f"{result['images']} held-out images, {result['probes']} probes a patch; with 95% intervals."
    return Chart(f"Difficulty without a head, {result['checkpoint']}", [panels], note)


def _verdict(result: dict[str, Any]) -> str:
    told = ", ".join(f"{number(n['divergence_with_error'], 2)} at t {t}" for t, n in result["t"].items())
    words = f"Spearman of the Jacobian's difficulty with the true squared error: {told}.{_samplers(result)}"
    off = [t for t, n in result["t"].items() if "halves" in n and _off(n)]
    if not off:
        return words
    return (
        f"{words} At t {', '.join(off)} most patches get a variance below zero, and two halves of the probes agree on "
        "their order: there it is the network's own Jacobian that is off, and more probes do not help."
    )


def _brief(result: dict[str, Any]) -> str:
    first, last = (list(result["t"].items())[k] for k in (0, -1))
    ranks = " to ".join(f"{number(n['divergence_with_error'], 2)} at t {t}" for t, n in (first, last))
    off = [t for t, n in result["t"].items() if "halves" in n and _off(n)]
    below = f"; most patches get a variance below zero at t {', '.join(off)}" if off else ""
    return f"Spearman of the Jacobian's difficulty with the true squared error: {ranks}{below}."


def _samplers(result: dict[str, Any]) -> str:
    """What the samplers that are ranked by it are worth beside Euler; "" where nothing was drawn."""
    rows = [row for row in result.get("rows", ()) if row["difficulty"] == "divergence"]
    if not rows:
        return ""
    apart = ", ".join(f"{_label(row)} {number(row['minus_base'])} in {row['steps']} steps" for row in rows)
    euler = result["rows"][0]
    return (
        f" Ranked by it, at {euler['nfe']} network evaluations of which a ranking pass is {1 + 2 * result['probes']}, "
        f"the Frechet distance minus Euler's {number(euler['frechet'])}: {apart}."
    )


def _label(row: dict[str, Any]) -> str:
    ratio = row["settings"].get("ratio")
    return row["sampler"].replace("_", "-") + ("" if ratio is None else f" (ratio {ratio:g})")


def _off(numbers: dict[str, Any]) -> bool:
    """Whether the probes agree on what cannot be."""
    return numbers["halves"]["interval"][0] > 0.5 and numbers["negative"]["interval"][0] > 0.5


def _forwards(bundle: Bundle, images: int, probes: int, drawn: int, nfe: int, **_) -> int:
    drawings = drawing(bundle, _specs(bundle, nfe, probes), drawn) if drawn else 0
    return images * len(TIMES) * (2 + 2 * probes) + drawings


@study(forwards=_forwards, chart=_chart, verdict=_verdict, brief=_brief, quick={"images": 40, "probes": 2})
def divergence(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "held-out images")] = 200,
    probes: Annotated[int, Knob(1, MOST_PROBES, "draws of signs")] = 4,
    drawn: Annotated[int, Knob(0, 100_000, "images a sampler draws; 0: none")] = 0,
    nfe: Annotated[int, Knob(2, 1000, "network evaluations an image, for every sampler")] = 64,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Difficulty without a head.

    At t = 0.1, 0.2, 0.3, 0.5, 0.8, the same for all patches: Spearman correlation over patches of the Jacobian's
    difficulty with the true squared error and, where the network has a head, with the head's, and of the head's with
    the error; of two halves of the probes with each other (noise of the probes lowers it, an error of the network's own
    Jacobian does not); mean difficulty over mean true squared error; the share of patches whose estimate is negative;
    and how many plain passes a ranking pass takes (on a CPU in the process's own time). drawn > 0: Frechet distances of
    the samplers that rank, ranked by it (and by the head), at an equal count of network evaluations, a ranking pass
    being 1 + 2 probes of them; and their differences from Euler. Intervals are 95%, bootstrap over images, paired by
    seed in the differences.
    """
    if drawn:
        needs_judge(bundle)  # said before anything is measured
    _, x0, x1, y = looked_at(bundle, images, split)
    result: dict[str, Any] = {"images": len(x0), "probes": probes, "split": split, "t": {}}
    seeds = list(seeds_of(split).first(len(x0)))
    for t in TIMES:
        key = {"study": "divergence", "network": bundle.hash, "t": t, "probes": probes, "split": split}
        tensors = x0, x1, y, torch.tensor(seeds)
        numbers = work.by_parts(
            key, tensors, _PART, lambda *part, t=t: _look(bundle, *part, t, probes, work.pause), 2 + 2 * probes
        )
        plain, ranked = numbers.pop("seconds").sum(0)
        result["t"][str(t)] = _numbers(numbers) | {"passes": round(ranked / plain, 1)}
    if drawn:
        result["rows"] = _rows(bundle, drawn, nfe, probes, split, work)
    return result


@torch.inference_mode()
def _look(bundle: Bundle, x0, x1, y, seeds, t: float, probes: int, pause: Callable[[], None]) -> dict[str, np.ndarray]:
    """(B, N) each: difficulty by the Jacobian, by two halves of the probes, the head's where there is one, true squared
    error; "seconds" (1, 2) of a plain and of a ranking pass. pause: called after each, and may raise."""
    x0, x1, y = (part.to(bundle.device) for part in (x0, x1, y))
    times = PatchTime.shared(torch.full((len(x0),), t, device=x0.device), bundle.grid.n)
    rng = [Generator().manual_seed(int(s)) for s in seeds]
    model = Divergence(bundle.model, bundle.source.std, probes, rng)
    clock = time.process_time if bundle.device.type == "cpu" else time.perf_counter  # others may use the same cores
    began = clock()
    look = flow.evaluate_at(bundle.model, x0, x1, times, y, bundle.grid)
    seconds = [clock() - began]
    pause()
    began = clock()
    estimates = model.estimates(look.xt, times, y)
    seconds.append(clock() - began)
    pause()
    values = {"divergence": estimates.mean(0), "error": look.error}
    if probes > 1:
        values |= {"half": estimates[::2].mean(0), "other": estimates[1::2].mean(0)}
    if look.difficulty is not None:
        values["head"] = look.difficulty
    return {name: tensor.cpu().numpy() for name, tensor in values.items()} | {"seconds": np.array([seconds])}


def _numbers(values: dict[str, np.ndarray]) -> dict[str, Any]:
    def correlation(a: str, b: str):
        return lambda i: spearman(values[a][i].ravel(), values[b][i].ravel())

    statistics = {
        "divergence_with_error": correlation("divergence", "error"),
        "divergence_over_error": lambda i: values["divergence"][i].mean() / values["error"][i].mean(),
        "negative": lambda i: (values["divergence"][i] < 0).mean(),
    }
    if "other" in values:
        statistics["halves"] = correlation("half", "other")
    if "head" in values:
        statistics |= {
            "head_with_error": correlation("head", "error"),
            "divergence_with_head": correlation("divergence", "head"),
        }
    return with_intervals(statistics, len(values["error"]))


def _specs(bundle: Bundle, nfe: int, probes: int) -> list[SampleSpec]:
    by = [{"difficulty": "divergence", "probes": probes}] + [{}] * bundle.predicts_difficulty
    adaptive = [SampleSpec(bundle.name, nfe=nfe, **kind, **how) for how in by for kind in _ASIDE]
    return [SampleSpec(bundle.name, "euler", nfe=nfe), *adaptive]


def _rows(bundle: Bundle, drawn: int, nfe: int, probes: int, split: str, work: Work) -> list[dict[str, Any]]:
    specs = _specs(bundle, nfe, probes)
    rows = paired(bundle, specs, [None] + [0] * (len(specs) - 1), drawn, split=split, work=work)
    return [row | {"difficulty": spec.difficulty} for row, spec in zip(rows, specs, strict=True)]
