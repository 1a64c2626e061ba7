"""Does looking ahead help the hard patches? Their velocity error without a probe, with one, and with a true one."""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core import flow
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.evaluation.metrics import bootstrap
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.samplers.common import advance, difficulty, easiest
from pf_core.training.loop import HELD_OUT
from pf_core.types import PatchTime

TIMES = (0.1, 0.2, 0.3, 0.5, 0.8)
RATIOS = (1.4, 2.0, 3.0)  # the look-ahead sampler's own, and bolder ones


def probe_gain(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "held-out images")] = 500,
    p: Annotated[float, Knob(0.05, 0.95, "share of patches called easy")] = 0.4,
) -> dict[str, Any]:
    """What a look-ahead probe does to the error of the hard patches.

    Held-out images at one t for all patches; the easy ones then stand at min(1, ratio * t), once as look-ahead puts
    them there (by the network's own velocity) and once as they truly would be. Reported: the relative change of the
    hard patches' mean squared velocity error against the forward without a probe, negative where context helps.
    Intervals are 95%, bootstrap over images. The easy patches of a probe of its own tell a network nothing that its
    state did not hold: a perfect one could only lose by it, an imperfect one may gain.
    """
    if not bundle.predicts_difficulty:
        raise InputError(f"{bundle.name} predicts no difficulty: it cannot say which patches are easy.")
    recipe = bundle.training.get("recipe", {})
    data = DATASETS[recipe.get("dataset", "shapes")].fn(**recipe.get("data_settings", {}))
    sample = data.batch(range(HELD_OUT, HELD_OUT + images))
    x0 = bundle.source.draw(list(range(images)), bundle.shape)
    y = bundle.conditioner.of_data(sample.labels, data.names)
    parts = list(zip(x0.split(100), sample.images.split(100), y.split(100), strict=True))
    found = {}
    for t in TIMES:
        errors = [_errors(bundle, *part, t, p) for part in parts]
        found[str(t)] = _changes({name: np.concatenate([e[name] for e in errors]) for name in errors[0]})
    return {"images": images, "p": p, "t": found}


@torch.inference_mode()
def _errors(bundle: Bundle, x0: Tensor, x1: Tensor, y: Tensor, t: float, p: float) -> dict[str, np.ndarray]:
    """Sum of squared velocity errors over the hard patches of each image, (B,), by what the network saw."""
    grid = bundle.grid
    x0, x1, y = (part.to(bundle.device) for part in (x0, x1, y))
    u, times = flow.velocity(x0, x1), torch.full((len(x0), grid.n), t, device=x0.device)
    x = flow.interpolate(x0, x1, times, grid)
    plain = bundle.model(x, PatchTime.shared(times[:, 0], grid.n), y)
    easy, _ = easiest(difficulty(plain, grid), p, grid)

    def error(v: Tensor) -> np.ndarray:
        return (grid.to_patches((u - v) ** 2) * ~easy).sum(1).cpu().numpy()

    found = {"plain": error(plain.v)}
    for ratio in RATIOS:
        ahead = torch.where(easy, min(1.0, ratio * t), t)
        seen = PatchTime.grouped(ahead, easy, 2)
        jumped, _ = advance(x, times, plain.v, ahead - times, grid)
        found[f"own {ratio:g}"] = error(bundle.model(jumped, seen, y).v)
        found[f"true {ratio:g}"] = error(bundle.model(flow.interpolate(x0, x1, ahead, grid), seen, y).v)
    return found


def _changes(errors: dict[str, np.ndarray]) -> dict[str, Any]:
    plain = errors.pop("plain")
    every = np.arange(len(plain))
    found = {}
    for name, error in errors.items():

        def change(i: np.ndarray, error: np.ndarray = error) -> float:
            return error[i].sum() / plain[i].sum() - 1

        found[name] = {"value": float(change(every)), "interval": list(bootstrap(change, len(every)))}
    return found
