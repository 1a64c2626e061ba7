"""Does predicted difficulty match the true error? Patch by patch, on held-out images."""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core.charts import Chart, Panel, Series
from pf_core.errors import InputError
from pf_core.evaluation.metrics import spearman, with_intervals
from pf_core.evaluation.studies.common import (
    SPLIT,
    correlates,
    kinds,
    look_at,
    looked_at,
    needs_difficulty,
    number,
    of_both_kinds,
    study,
)
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle, data_of
from pf_core.registry import Knob

TIMES = (0.2, 0.5, 0.8)
_PART = 50  # images a pass


def _chart(result: dict[str, Any]) -> Chart:
    def panel(title: str, up: str, key: str, **options) -> Panel | None:
        at = {t: numbers for t, numbers in result["t"].items() if key in numbers}
        series = [Series.measured("predicted difficulty", at, [n[key] for n in at.values()], kind="bars")]
        return Panel(title, "t", up, series, **options) if at else None

    panels = [
        panel("Rank correlation with the true squared error", "Spearman", "spearman"),
        panel("Calibration", "predicted / true squared error", "predicted_over_true"),
        panel("Background against hard patches", "ratio of mean sigma", "background_over_hard_sigma"),
    ]
    note = f"{result['images']} held-out images; bars are 95% intervals, bootstrap over images."
    return Chart(f"Predicted difficulty, {result['checkpoint']}", [[p for p in panels if p]], note)


def _brief(result: dict[str, Any]) -> str:
    told = ", ".join(f"{number(n['spearman'], 2)} at t {t}" for t, n in result["t"].items())
    return f"{correlates(result['t'])}: Spearman correlation over patches {told}."


def _verdict(result: dict[str, Any]) -> str:
    ratios = ", ".join(number(n["predicted_over_true"], 2) for n in result["t"].values())
    return f"{_brief(result)} Predicted is {ratios} times the true squared error."


@study(
    forwards=lambda bundle, images, **_: images * len(TIMES),
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_difficulty,
    quick={"images": 100},
)
def difficulty(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "held-out images")] = 500,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Predicted difficulty against the true error.

    At t = 0.2, 0.5, 0.8, the same for all patches: Spearman correlation of predicted and true squared error a patch;
    mean predicted over mean true squared error; and mean sigma of background patches over mean sigma of hard patches,
    where the data set marks them and most images have patches of both (background: easy regions only; hard: at least
    half object and outline, or outline and texture). Intervals are 95%, bootstrap over images. Raises InputError for a
    network that predicts no difficulty.
    """
    needs_difficulty(bundle)
    data = data_of(bundle)
    if getattr(data, "held", 2) < 2:
        raise InputError(f"{bundle.name} was trained on pictures of which none, or only one, was held out.")
    sample, x0, x1, y = looked_at(bundle, images, split)
    easy, hard = kinds(sample, data, bundle.grid)
    result = {"images": len(x0), "split": split, "t": {}}
    for t in TIMES:
        key = {"study": "difficulty", "network": bundle.hash, "t": t, "split": split}
        of = work.by_parts(key, (x0, x1, y), _PART, lambda *part, t=t: _errors(bundle, *part, t), 1)
        result["t"][str(t)] = _numbers(of["predicted"], of["true"], easy, hard)
    return result


@torch.inference_mode()
def _errors(bundle: Bundle, x0: Tensor, x1: Tensor, y: Tensor, t: float) -> dict[str, np.ndarray]:
    """(B, N) each: predicted difficulty and true mean squared velocity error."""
    look = look_at(bundle, x0, x1, y, t)
    return {"predicted": look.difficulty.cpu().numpy(), "true": look.error.cpu().numpy()}


def _numbers(
    predicted: np.ndarray, true: np.ndarray, easy: np.ndarray | None, hard: np.ndarray | None
) -> dict[str, Any]:
    sigma = np.sqrt(predicted)
    statistics = {
        "spearman": lambda i: spearman(predicted[i].ravel(), true[i].ravel()),
        "predicted_over_true": lambda i: predicted[i].mean() / true[i].mean(),
    }
    if of_both_kinds(easy, hard):
        statistics["background_over_hard_sigma"] = lambda i: sigma[i][easy[i]].mean() / sigma[i][hard[i]].mean()
    return with_intervals(statistics, len(predicted))
