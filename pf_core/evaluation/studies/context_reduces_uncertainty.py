"""Does context make the network surer? Predicted log-variance of the hard patches, plain and with more context."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from scipy.stats import gaussian_kde
from torch import Tensor

from pf_core.charts import Chart, Panel, Series, written
from pf_core.evaluation.metrics import with_intervals
from pf_core.evaluation.studies.common import (
    SPLIT,
    Claim,
    holds,
    look_at,
    look_with_context,
    looked_at,
    needs_difficulty,
    number,
    percent,
    side,
    study,
)
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.samplers.common import easiest

TIMES = (0.1, 0.2, 0.3)
KINDS = {
    "plain": "all patches at t",
    "own": "more context, by the network's own velocity",
    "true": "more context, true data (control)",
}
LOW = 0.05  # "low" log-variance: below what this share of the plain ones lies under
_POINTS = 100  # of a density
_PAPER_AT = (-1.75, -1.5, -1.25, -1.0, -0.75, -0.6, -0.5, -0.4, -0.25, 0.0, 0.25)
_PAPER = {  # densities of the paper's figure at these log-variances, read off by eye: t -> plain, with more context
    0.1: (
        (0, 0, 0, 0, 0.01, 0.1, 1.1, 3.5, 2.2, 0.35, 0.02),
        (0, 0.02, 0.03, 0.15, 0.65, 1.05, 1.4, 1.8, 1.5, 0.35, 0.02),
    ),
    0.2: (
        (0, 0, 0.01, 0.04, 0.3, 1.7, 2.2, 1.9, 1.25, 0.25, 0.03),
        (0.02, 0.06, 0.15, 0.33, 0.8, 1.25, 1.36, 1.3, 1, 0.25, 0.05),
    ),
    0.3: (
        (0, 0, 0.01, 0.05, 0.4, 1.45, 1.73, 1.72, 1.25, 0.33, 0.05),
        (0.06, 0.17, 0.33, 0.38, 0.47, 0.8, 1.08, 1.2, 1.05, 0.4, 0.07),
    ),
}
_PART = 50  # images a pass


def _chart(result: dict[str, Any]) -> Chart:
    at = result["t"]

    def densities(t: str) -> Panel:
        x = at[t]["density"]["at"]
        series = [
            Series(name, x, at[t]["density"][kind], kind="line" if kind == "true" else "area", dashed=kind == "true")
            for kind, name in KINDS.items()
        ]
        return Panel(f"t = {t}", "predicted log-variance", "density", series)

    def over_t(key: str, factor: float = 1) -> list[Series]:
        return [
            Series.measured(
                KINDS[kind], [f"t {t}" for t in at], [n[kind][key] for n in at.values()], factor, kind="bars"
            )
            for kind in ("own", "true")
        ]

    below = [
        Panel("Shift of the mean", "", "change of log-variance", over_t("shift"), zero=True),
        Panel(f"Below the plain ones' lowest {100 * LOW:.0f}%", "", "% of hard patches", over_t("low", 100)),
        Panel("True squared error", "", "change of the error, %", over_t("error", 100), zero=True),
    ]
    note = (
        f"Hard {100 * (1 - result['p']):.0f}% of the patches of {result['images']} held-out images; more context: the "
        f"easy ones stand at {result['ratio']:g} t. Bars are 95% intervals, bootstrap over images."
    )
    return Chart(f"Context reduces uncertainty? {result['checkpoint']}", [[densities(t) for t in at], below], note)


def _paper() -> Chart:
    panels = [
        Panel(
            f"t = {t}",
            "predicted log-variance",
            "density",
            [
                Series(name, _PAPER_AT, curve, kind="area")
                for name, curve in zip(("normal sampling", "more context"), pair, strict=True)
            ],
        )
        for t, pair in _PAPER.items()
    ]
    note = "Read off the paper's figure by eye, at a few points."
    return Chart("The paper's finding 3: ImageNet", [panels], note)


def _brief(result: dict[str, Any]) -> str:
    own = [n["own"] for n in result["t"].values()]
    shifts = written(", ".join(f"{n['shift']['value']:.2f}" for n in own))
    errors, times = ", ".join(percent(n["error"]) for n in own), ", ".join(result["t"])
    return f"{_found(result)} hard patches' log-variance moves by {shifts}, their error by {errors} at t {times}."


def _found(result: dict[str, Any]) -> str:
    """At how many t the network is surer and the true error does not rise: else the hard patches are not easier to
    resolve. Surer everywhere holds in part, whatever the error does."""
    at = {t: n["own"] for t, n in result["t"].items()}
    surer = [t for t, n in at.items() if side(n["shift"]) < 0]
    worse = [t for t in surer if side(at[t]["error"]) > 0]
    if not worse:
        return f"{holds(len(surer), len(at))}:"
    found = "Holds here in part" if len(surer) == len(at) else holds(len(surer) - len(worse), len(at))
    where = "every t" if len(worse) == len(at) else f"t {', '.join(worse)}"
    return f"{found}: surer, but the true error rises at {where};"


def _verdict(result: dict[str, Any]) -> str:
    at = {t: n["own"] for t, n in result["t"].items()}
    lower = sum(side(n["shift"]) < 0 for n in at.values())
    shifts = ", ".join(f"{number(n['shift'], 3)} at t {t}" for t, n in at.items())
    tails = ", ".join(percent(n["low"]) for n in at.values())
    errors = ", ".join(percent(n["error"]) for n in at.values())
    mean = {0: "the mean does not move", len(at): "the mean moves"}.get(lower, "the mean moves at some t alone")
    return (
        f"{_found(result)} {mean} to lower log-variance; with the easy patches at {result['ratio']:g} t the hard "
        f"ones' moves by {shifts}, and {tails} lie where the plain ones' lowest {100 * LOW:.0f}% lay, while "
        f"their true squared error changes by {errors}."
    )


@study(
    forwards=lambda bundle, images, **_: images * len(TIMES) * len(KINDS),
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_difficulty,
    claim=Claim(
        "Providing additional context lowers uncertainty in ambiguous regions, making them easier to resolve.",
        "Finding 3",
        _paper(),
    ),
    quick={"images": 200},
)
def context_reduces_uncertainty(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "held-out images")] = 500,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches called easy")] = 0.4,
    ratio: Annotated[float, Knob(1.0, 10.0, "more context: easy patches stand at min(1, ratio * t)")] = 2.0,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Predicted log-variance of the hard patches, plain and with more context.

    Held-out images at one t = 0.1, 0.2, 0.3 for all patches; then the easy patches, by predicted difficulty, stand at
    ratio * t, by the network's own velocity ("own"), and, as a control, by true data ("true"). A patch's log-variance
    is the logarithm of its difficulty. Reported for the hard patches, the same ones in all three: `density` of
    log-variance (Gaussian kernels), `mean`, `shift` of the mean against plain, `low`, the share below the plain ones'
    5% quantile (5% if nothing moves), `lower`, the share of patches whose log-variance falls, and `error`, the relative
    change of their true squared velocity error: whether the network is surer with reason. Intervals are 95%, bootstrap
    over images. Raises InputError for a network that predicts no difficulty.
    """
    needs_difficulty(bundle)
    _, *tensors = looked_at(bundle, images, split)
    result = {"images": len(tensors[0]), "p": p, "ratio": ratio, "split": split, "t": {}}
    for t in TIMES:
        key = {"study": "context_reduces_uncertainty", "network": bundle.hash, "t": t}
        key |= {name: result[name] for name in ("images", "p", "ratio", "split")}
        make = lambda t=t: _numbers(*_hard(bundle, tensors, t, min(1.0, ratio * t), p, work.pause))  # noqa: E731
        result["t"][str(t)] = work.piece(key, make, len(tensors[0]) * len(KINDS))
    return result


@torch.inference_mode()
def _hard(
    bundle: Bundle, tensors: list[Tensor], t: float, context: float, p: float, pause: Callable[[], None]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """By kind, log-variance and true squared error of each patch, (B, N); and which patches are hard, (B, N) bool.
    pause: called after every pass, and may raise."""
    logvar: dict[str, list] = {kind: [] for kind in KINDS}
    error: dict[str, list] = {kind: [] for kind in KINDS}
    hard = []
    for x0, x1, y in zip(*(part.split(_PART) for part in tensors), strict=True):
        plain = look_at(bundle, x0, x1, y, t)
        easy, _ = easiest(plain.difficulty, p, bundle.grid)
        for kind in KINDS:
            pause()
            look = plain if kind == "plain" else look_with_context(bundle, plain, y, easy, context, kind == "true")
            logvar[kind].append(look.difficulty.log().cpu().numpy())
            error[kind].append(look.error.cpu().numpy())
        hard.append(~easy.cpu().numpy())
        pause()
    whole = ({kind: np.concatenate(parts) for kind, parts in values.items()} for values in (logvar, error))
    return *whole, np.concatenate(hard)


def _numbers(logvar: dict[str, np.ndarray], error: dict[str, np.ndarray], hard: np.ndarray) -> dict[str, Any]:
    edge = np.quantile(logvar["plain"][hard], LOW)
    count = hard.sum(1)

    def mean(values: np.ndarray):
        sums = (values * hard).sum(1)
        return lambda i: sums[i].sum() / count[i].sum()

    numbers: dict[str, Any] = {"density": _densities({kind: values[hard] for kind, values in logvar.items()})}
    for kind, values in logvar.items():
        statistics = {"mean": mean(values), "low": mean(values < edge)}
        if kind != "plain":
            errors, plain = mean(error[kind]), mean(error["plain"])
            statistics |= {
                "shift": mean(values - logvar["plain"]),
                "lower": mean(values < logvar["plain"]),
                "error": lambda i, errors=errors, plain=plain: errors(i) / plain(i) - 1,
            }
        numbers[kind] = with_intervals(statistics, len(hard))
    return numbers


def _densities(values: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """ "at", log-variances from the least to the largest usual one, and the density there of each kind's values."""
    ends = np.quantile(np.concatenate(list(values.values())), [0.002, 0.998])
    margin = 0.15 * max(ends[1] - ends[0], 1e-3)
    at = np.linspace(ends[0] - margin, ends[1] + margin, _POINTS)
    densities = {}
    for kind, of in values.items():
        if np.ptp(of) > 1e-6:
            densities[kind] = gaussian_kde(of)(at).round(5).tolist()
        else:  # all alike: one bin holds them
            shares, _ = np.histogram(of, np.append(at, at[-1] + at[1] - at[0]))
            densities[kind] = (shares / len(of) / (at[1] - at[0])).round(5).tolist()
    return {"at": at.round(5).tolist()} | densities
