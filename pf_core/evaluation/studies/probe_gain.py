"""Does looking ahead help the hard patches? Their velocity error without a probe, with the sampler's, and with a true
one."""

import copy
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core import flow
from pf_core.charts import Chart, Panel, Series
from pf_core.evaluation.metrics import with_intervals
from pf_core.evaluation.studies.common import SPLIT, Claim, holds, looked_at, needs_difficulty, percent, side, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import build_codec
from pf_core.models.conditioning import conditioner_of
from pf_core.registry import Knob
from pf_core.samplers.common import advance, difficulty, easiest
from pf_core.training.loop import TrainStep
from pf_core.types import PatchTime

TIMES = (0.1, 0.2, 0.3, 0.5, 0.8)
RATIOS = (1.4, 2.0, 3.0)  # the look-ahead sampler's own, and bolder ones
_LATE = 0.5  # from here on a look ahead at ratio 2 ends at t = 1
_PASSES, _PART = 1 + 2 * len(RATIOS), 50  # of an image at a t; images a pass
COMPASS_TIMES, COMPASS_IMAGES = TIMES[:3], 160  # the compass looks early, where look-ahead is decided

KINDS = {"own": "to the network's own state", "true": "to the true state"}


def _chart(result: dict[str, Any]) -> Chart:
    def panel(t: str, gains: dict[str, Any]) -> Panel:
        series = [
            Series.measured(title, RATIOS, [gains[f"{kind} {ratio:g}"] for ratio in RATIOS], 100, dashed=kind == "true")
            for kind, title in KINDS.items()
        ]
        return Panel(f"t = {t}", "ratio of the look ahead", "change of hard patches' error, %", series, zero=True)

    panels = [panel(t, gains) for t, gains in result["t"].items()]
    note = (
        "Change of the hard patches' squared velocity error when the easy ones stand ahead; "
        f"{result['images']} held-out images, with 95% intervals. Below zero context helps."
    )
    return Chart(f"What a look ahead gains, {result['checkpoint']}", [panels[:3], panels[3:]], note)


def _brief(result: dict[str, Any]) -> str:
    return f"{_early(result)}."


def _verdict(result: dict[str, Any]) -> str:
    late = {t: n["own 2"] for t, n in result["t"].items() if float(t) >= _LATE}
    later = f"; later, where it puts the easy ones at t 1, by {_at(late)}" if late else ""
    return f"{_early(result)}{later}."


def _early(result: dict[str, Any]) -> str:
    """What is told of the times at which the method looks for the effect."""
    early = {t: n["own 2"] for t, n in result["t"].items() if float(t) < _LATE}
    found = holds(sum(side(gain) < 0 for gain in early.values()), len(early))
    return f"{found}: the network's own look ahead at ratio 2 changes the hard patches' error by {_at(early)}"


def _at(gains: dict[str, Any]) -> str:
    return ", ".join(f"{percent(gain)} at t {t}" for t, gain in gains.items())


def _forwards(bundle: Bundle, images: int, **_) -> int:
    return images * len(TIMES) * _PASSES


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_difficulty,
    claim=Claim("Easy regions move ahead in time and provide context for harder regions.", "Fig. 2"),
    quick={"images": 100},
)
def probe_gain(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "held-out images")] = 500,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches called easy")] = 0.4,
    split: Annotated[str, SPLIT] = "evaluation",
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """What a look-ahead probe does to the error of the hard patches.

    Held-out images at one t for all patches. The easy patches are then moved to min(1, ratio * t), once by the
    network's own velocity, as look-ahead does ("own"), and once to their true state ("true"). Reported: the relative
    change of the hard patches' mean squared velocity error against the forward pass without a probe; negative where
    context helps. Intervals are 95%, bootstrap over images. The "own" probe adds no information to the state: it could
    not help a perfect network, but can help an imperfect one. split: "evaluation" for published numbers, "search" for
    choosing settings by them.
    """
    return measure(bundle, TIMES, images, p, split, work)


def compass(bundle: Bundle, images: int | None = None, split: str = "search", p: float = 0.4) -> dict[str, Any]:
    """A cheap probe_gain, to follow along a training: t = 0.1, 0.2, 0.3 only, few images, from the search split."""
    return measure(bundle, COMPASS_TIMES, images or COMPASS_IMAGES, p, split)


def compass_forwards(images: int) -> int:
    """Forward passes of an image that the compass takes."""
    return images * len(COMPASS_TIMES) * _PASSES


def along(at: TrainStep, recipe: Any, names: Sequence[str]) -> dict[str, Any]:
    """The compass of a training (its TrainRecipe, its class names) after a step, as a line of its metrics: number of
    images seen, and the gain with the averaged ("ema") and with the last weights."""
    last = copy.deepcopy(at.trainer.ema)  # not the trainer's own, which may be compiled for the batches of training
    last.load_state_dict(at.trainer.model.state_dict())
    names = names if last.config.num_classes else []
    about, codec = {"recipe": recipe.to_dict()}, build_codec(recipe.codec, recipe.codec_settings)
    gains = {
        name: compass(
            Bundle(name, model.eval(), codec, conditioner_of(model.config, names), recipe.config.source, about)
        )
        for name, model in (("ema", at.trainer.ema), ("last", last))
    }
    return {"images": at.step * recipe.config.batch_size, "compass": gains}


def measure(
    bundle: Bundle, times: Sequence[float], images: int, p: float, split: str, work: Work | None = None
) -> dict[str, Any]:
    """The gain at these times; see probe_gain. Raises InputError for a network that predicts no difficulty."""
    needs_difficulty(bundle)
    _, *tensors = looked_at(bundle, images, split)
    gains, work = {}, work or Work()
    for t in times:
        key = {"study": "probe_gain", "network": bundle.hash, "t": t, "ratios": RATIOS, "p": p, "split": split}
        errors = work.by_parts(
            key, tensors, _PART, lambda *part, t=t: _errors(bundle, *part, t, p, work.pause), _PASSES
        )
        gains[str(t)] = _changes(errors)
    return {"images": len(tensors[0]), "p": p, "split": split, "t": gains}


@torch.inference_mode()
def _errors(
    bundle: Bundle, x0: Tensor, x1: Tensor, y: Tensor, t: float, p: float, pause: Callable[[], None]
) -> dict[str, np.ndarray]:
    """Sums of squared velocity errors over the hard patches of each image, (B,), by kind of probe. pause: called after
    every pass, and may raise."""
    grid = bundle.grid
    x0, x1, y = (part.to(bundle.device) for part in (x0, x1, y))
    times = torch.full((len(x0), grid.n), t, device=x0.device)
    plain = flow.evaluate_at(bundle.model, x0, x1, PatchTime.shared(times[:, 0], grid.n), y, grid)
    easy, _ = easiest(difficulty(plain.prediction, grid), p, grid)

    def error(look: flow.Look) -> np.ndarray:
        pause()
        return (look.error * ~easy).sum(1).cpu().numpy()

    errors = {"plain": error(plain)}
    for ratio in RATIOS:
        ahead = torch.where(easy, min(1.0, ratio * t), t)
        context = PatchTime.grouped(ahead, easy, 2)
        jumped, _ = advance(plain.xt, times, plain.prediction.v, ahead - times, grid)
        own = plain._replace(xt=jumped, t=context, prediction=bundle.model(jumped, context, y))
        errors[f"own {ratio:g}"] = error(own)
        errors[f"true {ratio:g}"] = error(flow.evaluate_at(bundle.model, x0, x1, context, y, grid))
    return errors


def _changes(errors: dict[str, np.ndarray]) -> dict[str, Any]:
    plain = errors.pop("plain")

    def change(error: np.ndarray):
        return lambda i: error[i].sum() / plain[i].sum() - 1

    return with_intervals({name: change(error) for name, error in errors.items()}, len(plain))
