"""How far ahead should easy patches stand? The hard region's loss against the timestep of its context."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core.charts import Chart, Panel, Series
from pf_core.evaluation.metrics import Resampled
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
from pf_core.samplers.common import difficulty, easiest

TIMES = (0.1, 0.2, 0.3)
KINDS = {"own": "context predicted by the network", "true": "context from true data (control)"}
PAPER = (2.0, 2.5)  # where the paper's loss is least: context timestep / t
_LEVEL = "context at t, no look ahead"
_PAPER_NAME = "the paper's minimum, 2 to 2.5 t"
_PAPER_LOSS = {  # of the paper's figure, read off by eye: context timestep -> loss of the uncertain region
    0.1: {0.1: 0.845, 0.2: 0.822, 0.25: 0.816, 0.3: 0.823, 0.4: 0.851, 0.5: 0.885, 0.7: 0.975, 0.85: 1.003, 1.0: 1.006},
    0.2: {0.2: 0.858, 0.3: 0.835, 0.4: 0.817, 0.45: 0.815, 0.5: 0.825, 0.6: 0.855, 0.8: 0.91, 1.0: 0.96},
    0.3: {0.3: 0.963, 0.4: 0.946, 0.5: 0.932, 0.6: 0.922, 0.7: 0.929, 0.8: 0.948, 0.9: 0.973, 1.0: 0.998},
}
_CHANGE = "change of the hard region's loss, %"
_PART = 50  # images of a piece of work, and of a pass


def contexts(t: float, spacing: float) -> list[float]:
    """Timesteps of the context, from t itself, which is no look ahead, to 1."""
    steps = int((1 - t) / spacing - 1e-6)
    return [round(t + k * spacing, 4) for k in range(steps + 1)] + [1.0]


def _forwards(bundle: Bundle, images: int, spacing: float, **_) -> int:
    return sum(images * _passes(t, spacing) for t in TIMES)


def _passes(t: float, spacing: float) -> int:
    return 1 + len(KINDS) * (len(contexts(t, spacing)) - 1)


def _paper_line() -> Series:
    middle, low, high = ([r * t for t in TIMES] for r in (sum(PAPER) / 2, *PAPER))
    return Series(_PAPER_NAME, list(TIMES), middle, low, high)


def _paper() -> Chart:
    curves = [
        Series(f"t = {t}", list(loss), [100 * (value / loss[t] - 1) for value in loss.values()])
        for t, loss in _PAPER_LOSS.items()
    ]
    panel = Panel("Against that with no context ahead", "context timestep", _CHANGE, curves, zero=True)
    return Chart("The paper's finding 1: ImageNet", [[panel]], "Read off the paper's figure by eye, at a few points.")


def _chart(result: dict[str, Any]) -> Chart:
    at = result["t"]

    def curve(t: str, kind: str) -> Panel:
        measured = at[t][kind]
        series = Series.measured(KINDS[kind], at[t]["contexts"], measured["change"], 100, dashed=kind == "true")
        title = f"t = {t}, {'own context' if kind == 'own' else 'true context'}"
        marks = {"2 t": 2 * float(t)}
        return Panel(title, "context timestep", _CHANGE, [series], zero=True, marks=marks)

    best = Series.measured(KINDS["own"], [float(t) for t in at], [n["own"]["best"] for n in at.values()], kind="points")
    where = Panel("Where the loss is least", "t", "context timestep", [best, _paper_line()], diagonal=_LEVEL)
    bars = [
        Series.measured(name, [f"t {t}" for t in at], [n[kind]["gain"] for n in at.values()], 100, kind="bars")
        for kind, name in KINDS.items()
    ]
    gains = Panel("Gain there, chosen on other images", "", _CHANGE, bars, zero=True)
    rows = [[*(curve(t, "own") for t in at), where], [*(curve(t, "true") for t in at), gains]]
    note = (
        f"Loss: squared velocity error of the hard {100 * (1 - result['p']):.0f}% of the patches, against that with "
        f"the easy ones at t, too; {result['images']} held-out images, 95% intervals by bootstrap over them."
    )
    return Chart(f"Context helps? {result['checkpoint']}", rows, note)


def _brief(result: dict[str, Any]) -> str:
    gains = ", ".join(percent(n["own"]["gain"]) for n in result["t"].values())
    chosen = f"at the context that other images find best, t = {_times(result)}"
    return f"{_holds(result)}: the hard region's loss changes by {gains} {chosen}."


def _times(result: dict[str, Any]) -> str:
    return ", ".join(result["t"])


def _holds(result: dict[str, Any]) -> str:
    own = [n["own"] for n in result["t"].values()]
    return holds(sum(n["between_the_ends"] and side(n["gain"]) < 0 for n in own), len(own))


def _verdict(result: dict[str, Any]) -> str:
    at = {t: n["own"] for t, n in result["t"].items()}
    inside = [t for t, n in at.items() if n["between_the_ends"]]
    excluded = {0: "at no t", len(at): "at every t"}.get(len(inside), f"at t {', '.join(inside)}")
    where = ", ".join(f"{number(n['best'], 2)} at t {t}" for t, n in at.items())
    gains = ", ".join(percent(n["gain"]) for n in at.values())
    true = ", ".join(percent(n["true"]["gain"]) for n in result["t"].values())
    return (
        f"{_holds(result)}: the hard region's loss is least with the context at {where} (between the ends t and 1 "
        f"{excluded}; ratio {number(result['ratio'])}, the paper's {PAPER[0]:g} to {PAPER[1]:g}). At the context that "
        f"is best on the other half of the images it changes by {gains}; with true context by {true}."
    )


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_difficulty,
    claim=Claim(
        "Advancing confident patches provides cleaner context, improving predictions in more challenging regions.",
        "Finding 1",
        _paper(),
    ),
    quick={"images": 60, "spacing": 0.1},
)
def context_helps(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "held-out images")] = 500,
    spacing: Annotated[float, Knob(0.02, 0.5, "between the context's timesteps")] = 0.05,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches called easy")] = 0.4,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """The hard region's loss against its context's timestep.

    Held-out images at one t = 0.1, 0.2, 0.3 for all patches. The easy patches, by predicted difficulty, are then moved
    to a context timestep from t to 1: along the network's own velocity, which is its one-step prediction ("own"), and,
    as a control, to their true state ("true"). Reported: `loss`, the hard patches' mean squared velocity error;
    `change` of it against no move; `best`, the context timestep where it is least, with the percentiles of resampled
    images, and whether they lie `between_the_ends` t and 1; `gain`, the change at the best timestep, which is chosen on
    one half of the images and measured on the other, both ways round; `ratio`, best / t, and its mean over t: what
    look-ahead's ratio should be. Intervals are 95%, bootstrap over images. Raises InputError for a network that
    predicts no difficulty.
    """
    needs_difficulty(bundle)
    _, *tensors = looked_at(bundle, images, split)
    parts = list(zip(*(part.split(_PART) for part in tensors), strict=True))
    result: dict[str, Any] = {"images": len(tensors[0]), "p": p, "split": split, "t": {}}
    ratios = []
    for t in TIMES:
        there = contexts(t, spacing)
        key = {"study": "context_helps", "network": bundle.hash, "t": t, "contexts": there, "p": p, "split": split}
        pieces = [
            work.piece(
                key | {"first": k * _PART, "images": len(part[0])},
                lambda part=part, t=t, there=there: _errors(bundle, *part, t, there, p, work.pause),
                len(part[0]) * _passes(t, spacing),
            )
            for k, part in enumerate(parts)
        ]
        errors = {name: np.concatenate([np.array(piece[name]) for piece in pieces], -1) for name in pieces[0]}
        count = errors.pop("count")
        result["t"][str(t)] = {"contexts": there}
        for kind, sums in errors.items():
            best, ratio = _best(sums, np.array(there), t)
            result["t"][str(t)][kind] = _numbers(sums, count) | {
                "best": best,
                "ratio": _percentiles(ratio),
                "between_the_ends": t < best["interval"][0] and best["interval"][1] < 1,
            }
            if kind == "own":
                ratios.append(ratio)
    return result | {"ratio": _percentiles(Resampled.mean(ratios))}


@torch.inference_mode()
def _errors(
    bundle: Bundle,
    x0: Tensor,
    x1: Tensor,
    y: Tensor,
    t: float,
    there: list[float],
    p: float,
    pause: Callable[[], None],
) -> dict[str, list]:
    """Sums of squared velocity errors over the hard patches of each image, (contexts, B), by kind of context, and how
    many patches those are, (B,). pause: called after every pass, and may raise."""
    plain = look_at(bundle, x0, x1, y, t)
    easy, _ = easiest(difficulty(plain.prediction, bundle.grid), p, bundle.grid)

    def hard(look: Any) -> list[float]:
        pause()
        return (look.error * ~easy).sum(1).tolist()

    unmoved = hard(plain)
    looks = {
        kind: [hard(look_with_context(bundle, plain, y, easy, s, kind == "true")) for s in there[1:]] for kind in KINDS
    }
    return {kind: [unmoved, *rows] for kind, rows in looks.items()} | {"count": (~easy).sum(1).tolist()}


def _numbers(sums: np.ndarray, count: np.ndarray) -> dict[str, Any]:
    """Of sums (contexts, B) of errors over `count` (B,) patches."""

    def measured(over: np.ndarray, less: float) -> list[dict[str, Any]]:
        curve = Resampled.of_each(lambda i: sums[:, i].sum(1) / over[i].sum() - less, len(count))
        return [point.measured() for point in curve]

    return {"loss": measured(count, 0), "change": measured(sums[0], 1), "gain": _gain(sums)}


def _gain(sums: np.ndarray) -> dict[str, Any]:
    """The change at the best context, chosen on the other half of the images: the least of many measured losses is a
    little too good to be true on the images that chose it."""
    halves = np.arange(sums.shape[1]) % 2
    chosen = [sums[:, halves != half].sum(1).argmin() for half in range(2)]
    at_best = np.where(halves == 0, sums[chosen[0]], sums[chosen[1]])
    return Resampled.of(lambda i: at_best[i].sum() / sums[0, i].sum() - 1, len(halves)).measured()


def _best(sums: np.ndarray, there: np.ndarray, t: float) -> tuple[dict[str, Any], Resampled]:
    """The context timestep whose loss is least, and its ratio to t."""
    best = Resampled.of(lambda i: there[sums[:, i].sum(1).argmin()], sums.shape[1])
    return _percentiles(best), Resampled(best.value / t, best.values / t)


def _percentiles(resampled: Resampled) -> dict[str, Any]:
    """{"value", "interval"}: of a place on a grid, which a shift about the value would take off it."""
    ends = np.percentile(resampled.values, [2.5, 97.5])
    return {
        "value": float(resampled.value),
        "interval": [float(min(ends[0], resampled.value)), float(max(ends[1], resampled.value))],
    }
