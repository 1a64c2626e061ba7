"""Does predicted uncertainty track the error? Patch by patch against the truth, repeated predictions and the oracle."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core import flow
from pf_core.charts import Chart, Map, Panel, Series
from pf_core.data import DATASETS
from pf_core.data.splits import seeds_of
from pf_core.evaluation.metrics import Resampled, pearson, spearman, with_intervals
from pf_core.evaluation.studies.common import (
    SPLIT,
    Claim,
    correlates,
    in_space,
    kinds,
    look_at,
    looked_at,
    needs_difficulty,
    number,
    of_both_kinds,
    oracles,
    study,
)
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle, data_of, data_settings
from pf_core.models.oracle import Oracle, from_dataset
from pf_core.registry import Knob

TIMES = (0.2, 0.5, 0.6, 0.8)
MAPPED = (0.2, 0.5, 0.8)
CURVES = (0.2, 0.6)  # whose sparsification is drawn
PAPER = {0.2: 0.11, 0.6: 0.52}  # Pearson R of predicted uncertainty and loss, over patches
BINS = 10  # of the reliability curve, as many patches in each
REMOVED = np.arange(0, 1, 0.05)  # shares of the patches left out
FEW = 1000  # images of a data set that its exact denoiser is asked about, in every pass about all
_PART = 50  # images a pass
_AGAIN = 0x9E3779B1  # repeat k of an image's noise has the seed with k times this in its 32 bits

_CORRELATIONS = {  # key -> name of the bars; Spearman where R is not said
    "spearman": "Spearman",
    "spearman_hard": "hard regions",
    "pearson": "Pearson R",
    "paper": "R in the paper",
    "repeated_spearman": "repeated predictions",
    "exact_spearman": "exact error",
}
_RATIOS = {
    "predicted_over_true": "predicted / true",
    "repeated_over_predicted": "repeated / predicted",
    "predicted_over_exact": "predicted / exact",
}
_REGIONS = {"region_sigma": "predicted sigma", "region_error": "true RMS error"}


def _bars(at: dict[str, Any], names: dict[str, str]) -> list[Series]:
    """One series a t."""
    series = []
    for t, numbers in at.items():
        of = {name: numbers[key] for key, name in names.items() if key in numbers}
        if of:
            series.append(Series.measured(f"t = {t}", of, list(of.values()), kind="bars"))
    return series


def _paper_at() -> dict[str, Any]:
    return {str(t): {"paper": {"value": r, "interval": [r, r]}} for t, r in PAPER.items()}


def _paper() -> Chart:
    bars = _bars(_paper_at(), {"paper": "Pearson R"})
    panel = Panel("Predicted uncertainty against validation loss", "", "over patches", bars)
    return Chart("The paper's finding 2: ImageNet", [[panel]])


def _chart(result: dict[str, Any]) -> Chart:
    at = {t: numbers | _paper_at().get(t, {}) for t, numbers in result["t"].items()}
    reliability = [
        Series.measured(f"t = {t}", n["reliability"]["predicted"], n["reliability"]["true"]) for t, n in at.items()
    ]
    sparsification = []
    for t in map(str, CURVES):
        curves = at[t]["sparsification_curve"]
        sparsification += [
            Series.measured(f"t = {t}", curves["removed"], curves["by_predicted"]),
            Series(f"ideal order, t = {t}", curves["removed"], curves["ideal"], dashed=True),
        ]
    numbers = [
        Panel("Predicted and true squared error", "", "correlation over patches", _bars(at, _CORRELATIONS), zero=True),
        Panel("Reliability", "predicted sigma", "true RMS error", reliability, diagonal="error as predicted"),
        Panel("Without the patches called hardest", "share left out", "error of the others / of all", sparsification),
        Panel("Means of squared errors", "", "ratio", _bars(at, _RATIOS)),
        Panel("Easy over hard regions", "", "ratio", _bars(at, _REGIONS)),
    ]
    most = max(max(map(max, n["map"].values())) for n in at.values() if "map" in n)
    maps = [_map(t, n["map"], max(most, 1e-6), result["rows"]) for t, n in at.items() if "map" in n]
    numbers = [panel for panel in numbers if panel.series]
    kind = "images that it was trained on" if result.get("trained_on_them") else "held-out images"
    note = (
        f"{result['images']} {kind}, {result['repeats']} predictions of each at every t, one t for all "
        "patches; 95% intervals by bootstrap over images. Repeated predictions: their variance, against predicted. "
        "Maps: the first image."
    )
    return Chart(f"Uncertainty tracks the error? {result['checkpoint']}", [numbers[:2], numbers[2:], maps], note)


def _map(t: str, of: dict[str, list[float]], most: float, rows: int) -> Panel:
    """Two maps of one image in one: predicted sigma, then the true error."""
    sides = [np.reshape(of[name], (rows, -1))[::-1] for name in ("sigma", "error")]
    shown = Map(np.concatenate(sides, 1).round(4).tolist(), (0, 2), (0, 1), "velocity error", (0, most))
    return Panel(f"t = {t}: predicted sigma | true RMS error", "", "", map=shown, marks={"": 1})


def _brief(result: dict[str, Any]) -> str:
    ranks = ", ".join(number(n["spearman"], 2) for n in result["t"].values())
    times, found = ", ".join(result["t"]), correlates(result["t"])
    return f"{found}: Spearman of predicted with true squared error {ranks} at t = {times}."


def _verdict(result: dict[str, Any]) -> str:
    at = result["t"]
    ranks = ", ".join(f"{number(n['spearman'], 2)} at t {t}" for t, n in at.items())
    pearsons = ", ".join(f"{number(at[str(t)]['pearson'], 2)} at t {t} (paper: {r})" for t, r in PAPER.items())
    order = ", ".join(f"{number(at[str(t)]['sparsification'], 2)}" for t in CURVES)
    exact = ", ".join(f"{number(n['exact_spearman'], 2)}" for n in at.values() if "exact_spearman" in n)
    hard = ", ".join(f"{number(n['spearman_hard'], 2)}" for n in at.values() if "spearman_hard" in n)
    repeated = ", ".join(f"{number(n['repeated_over_predicted'], 2)}" for n in at.values())
    return (
        f"{correlates(at)}: Spearman of predicted with true squared error over patches {ranks}; Pearson R {pearsons}; "
        f"leaving out the hardest patches reaches {order} of the ideal order's gain at t "
        f"{' and '.join(map(str, CURVES))}"
        + (f"; within hard regions Spearman is {hard}" if hard else "")
        + f"; repeated predictions vary {repeated} times as much as predicted, where the paper has both match"
        + (f"; the exact squared error's own Spearman is {exact}." if exact else ".")
    )


def _forwards(bundle: Bundle, images: int, repeats: int, **_) -> int:
    return min(images, _known(bundle) or images) * repeats * len(TIMES)


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_difficulty,
    claim=Claim(
        "Predicted uncertainty correlates with reconstruction error and identifies regions that require more "
        "refinement.",
        "Finding 2; its R is quoted at second hand",
        _paper(),
    ),
    quick={"images": 80, "repeats": 5},
)
def uncertainty_tracks_error(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "held-out images")] = 500,
    repeats: Annotated[int, Knob(2, 64, "predictions of an image at a t, each from noise of its own")] = 8,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Predicted against true squared error, patch by patch.

    Held-out images (those of training where an oracle knows these) at t = 0.2, 0.5, 0.6, 0.8, the same for all patches.
    Of predicted variance and true squared velocity error a patch: `spearman` and `pearson` over all patches of all
    images, the latter as the paper's R; `spearman_hard` over patches of hard regions alone; `predicted_over_true`,
    means; `reliability`, the RMS error of ten equal groups by predicted sigma; `sparsification`, what the mean error of
    the others falls by when those called hardest are left out, as a share of what it falls by in the ideal order (1:
    ideal, 0: random), and its curves; `region_sigma` and `region_error`, easy over hard regions. Of one-step
    predictions repeated from `repeats` noises: their variance a patch, over (1 - t)^2, against the mean predicted
    variance (`repeated_spearman`, `repeated_over_predicted`). For a network trained on a finite data set, against what
    the oracle says of each state, exact variance plus the network's squared distance from the exact velocity:
    `predicted_spearman_exact`, `predicted_over_exact`, and `exact_spearman`, of that with the true error: as far as any
    head could come. Intervals are 95%, bootstrap over images. Raises InputError for a network that predicts no
    difficulty.
    """
    needs_difficulty(bundle)
    oracle, known = _oracle(bundle)
    sample, *tensors = looked_at(bundle, images, split, known)
    tensors.append(oracles(bundle, data_of(bundle), sample))
    seeds = list(seeds_of(split).first(len(tensors[0])))
    easy, hard = kinds(sample, data_of(bundle), bundle.grid)
    result = {"images": len(seeds), "repeats": repeats, "split": split, "rows": bundle.grid.rows, "t": {}}
    result |= {"trained_on_them": True} if oracle else {}
    for t in TIMES:
        key = {"study": "uncertainty_tracks_error", "network": bundle.hash, "t": t}
        key |= {name: result[name] for name in ("images", "repeats", "split")}

        def make(t: float = t) -> dict[str, Any]:
            values = _values(bundle, oracle, tensors, seeds, t, repeats, work.pause)
            return _numbers(values, easy, hard) | ({"map": _first(values)} if t in MAPPED else {})

        result["t"][str(t)] = work.piece(key, make, len(seeds) * repeats)
    return result


def _known(bundle: Bundle) -> int:
    """How many images a network was trained on, where an exact denoiser can be asked about all of them; else 0."""
    count = data_settings(bundle)[1].get("count", 0)
    return count if 0 < count <= FEW and bundle.conditioner.takes != "prompt" else 0


def _oracle(bundle: Bundle) -> tuple[Oracle | None, int]:
    """The exact denoiser of the images that a network was trained on, where they are few, and their number."""
    if not (count := _known(bundle)):
        return None, 0
    name, settings = data_settings(bundle)
    data = in_space(bundle, DATASETS[name].fn(**settings))
    return from_dataset(data, count, bundle.grid, bundle.source), count


@torch.inference_mode()
def _values(
    bundle: Bundle,
    oracle: Oracle | None,
    tensors: list[Tensor],
    seeds: list[int],
    t: float,
    repeats: int,
    pause: Callable[[], None],
) -> dict[str, np.ndarray]:
    """(B, N) each: predicted variance and true squared error; the mean predicted variance of all repeats, and the
    variance of their one-step predictions, as a velocity's; with an oracle the exact squared error.
    tensors: x0, x1, the network's conditions and the oracle's; pause: called after every pass, and may raise."""
    values: dict[str, list] = {name: [] for name in ("predicted", "error", "mean", "repeated", "exact")}
    for x0, x1, y, asked, own in zip(*(part.split(_PART) for part in (*tensors, torch.tensor(seeds))), strict=True):
        looks = [look_at(bundle, x0, x1, y, t)]
        for k in range(1, repeats):
            again = bundle.source.draw([seed ^ (k * _AGAIN % 2**32) for seed in own.tolist()], bundle.shape)
            pause()
            looks.append(look_at(bundle, again, x1, y, t))
        pause()
        values["predicted"].append(looks[0].difficulty)
        values["error"].append(looks[0].error)
        values["mean"].append(torch.stack([look.difficulty for look in looks]).mean(0))
        spread = torch.stack([look.x1_hat for look in looks]).var(0)
        values["repeated"].append(bundle.grid.to_patches(spread) / (1 - t) ** 2)
        if oracle:
            values["exact"].append(_exact(oracle, looks[0], asked))
    return {name: torch.cat(parts).cpu().numpy() for name, parts in values.items() if parts}


def _exact(oracle: Oracle, look: flow.Look, y: Tensor) -> Tensor:
    """(B, N) E[(u - v)^2 | x_t], v the network's: exact variance plus its squared distance from the exact velocity."""
    exact = oracle.to(look.xt.device)(look.xt, look.t, y)
    apart = oracle.grid.to_patches((exact.v - look.prediction.v) ** 2)
    return flow.difficulty(exact.logvar, oracle.grid) + apart


def _first(values: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Predicted sigma and true RMS error of the first image's patches, (N,) each."""
    return {
        name: np.sqrt(values[key][0]).round(5).tolist() for name, key in (("sigma", "predicted"), ("error", "error"))
    }


def _numbers(values: dict[str, np.ndarray], easy: np.ndarray | None, hard: np.ndarray | None) -> dict[str, Any]:
    predicted, error = values["predicted"], values["error"]

    def rank(a: str, b: str):
        return lambda i: spearman(values[a][i].ravel(), values[b][i].ravel())

    def over(a: str, b: str):
        return lambda i: values[a][i].mean() / values[b][i].mean()

    statistics = {
        "spearman": rank("predicted", "error"),
        "pearson": lambda i: pearson(predicted[i].ravel(), error[i].ravel()),
        "predicted_over_true": over("predicted", "error"),
        "sparsification": lambda i: _reached(error[i].ravel(), predicted[i].ravel()),
        "repeated_spearman": rank("mean", "repeated"),
        "repeated_over_predicted": over("repeated", "mean"),
    }
    if "exact" in values:
        statistics |= {
            "exact_spearman": rank("exact", "error"),
            "predicted_spearman_exact": rank("predicted", "exact"),
            "predicted_over_exact": over("predicted", "exact"),
        }
    if of_both_kinds(easy, hard):
        statistics |= {
            "spearman_hard": lambda i: spearman(predicted[i][hard[i]], error[i][hard[i]]),
            "region_sigma": lambda i: np.sqrt(predicted[i][easy[i]].mean() / predicted[i][hard[i]].mean()),
            "region_error": lambda i: np.sqrt(error[i][easy[i]].mean() / error[i][hard[i]].mean()),
        }
    numbers: dict[str, Any] = with_intervals(statistics, len(error))
    return numbers | {"reliability": _reliability(predicted, error), "sparsification_curve": _curve(error, predicted)}


def _reliability(predicted: np.ndarray, error: np.ndarray) -> dict[str, Any]:
    """Groups of patches by predicted variance: "predicted" sigma (root mean variance) and "true" RMS error of each."""
    inner = np.quantile(predicted, np.linspace(0, 1, BINS + 1)[1:-1])
    group = np.searchsorted(inner, predicted, side="right")
    member = group[:, None, :] == np.arange(BINS)[:, None]  # (B, BINS, N)
    count, sums = member.sum(2), (member * error[:, None]).sum(2)
    kept = np.flatnonzero(count.sum(0))
    mean = (member * predicted[:, None]).sum((0, 2))[kept] / count.sum(0)[kept]

    whole = sums.sum(0) / np.maximum(count.sum(0), 1)  # where a resample holds none of a group

    def rms(i: np.ndarray) -> np.ndarray:
        there = count[i].sum(0)
        return np.sqrt(np.where(there, sums[i].sum(0) / np.maximum(there, 1), whole))[kept]

    true = [group.measured() for group in Resampled.of_each(rms, len(error))]
    return {"predicted": np.sqrt(mean).tolist(), "true": true}


def _remaining(error: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Mean of `error` (M,) over the patches that remain when the REMOVED share with the largest `by` is left out, as a
    share of the mean of all."""
    ordered = np.cumsum(error[np.argsort(by, kind="stable")].astype(float))
    count = np.maximum(np.round((1 - REMOVED) * len(error)).astype(int), 1)
    return ordered[count - 1] / count / (ordered[-1] / len(error))


def _reached(error: np.ndarray, by: np.ndarray) -> float:
    """The gain of leaving out by `by`, over a random order, as a share of the ideal order's."""
    ideal = (1 - _remaining(error, error)).sum()
    return float((1 - _remaining(error, by)).sum() / ideal) if ideal > 1e-9 else 1.0


def _curve(error: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    curve = Resampled.of_each(lambda i: _remaining(error[i].ravel(), predicted[i].ravel()), len(error))
    return {
        "removed": REMOVED.round(2).tolist(),
        "by_predicted": [point.measured() for point in curve],
        "ideal": _remaining(error.ravel(), error.ravel()).tolist(),
    }
