"""Equal steps or equal cost? What look-ahead's second forward gives, and what its longer steps take away."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from torch import Tensor, nn

from pf_core.data import DATASETS
from pf_core.evaluation.evaluate import draw, reference, shards
from pf_core.evaluation.metrics import bootstrap, moments, moments_distance
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.types import PatchTime, Prediction

RATIOS, SHARES = (1.2, 1.4, 2.0, 3.0), (0.2, 0.6, 0.8)  # of look-ahead; the other one of the two at its default
CAPPED = 0.97  # training with LTG times hardly ever shows a patch beyond


def equal_cost(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row")] = 300,
    steps: Annotated[int, Knob(2, 500, "outer steps of look-ahead")] = 8,
) -> dict[str, Any]:
    """Look-ahead against Euler at equal steps and at equal cost.

    Every row draws the same seeds. Reported: the Frechet distance to real images, and its difference from Euler with
    as many steps (half the cost) and from Euler at equal cost (twice the steps); negative is better. Intervals are
    95%, bootstrap over images, which are paired by seed in the differences. In the last row the network is told t at
    most 0.97, as patches that a probe puts at t = 1 are something that it was not trained on.
    """
    ahead = SampleSpec(bundle.name, "look_ahead", steps=steps)
    plain = SampleSpec(bundle.name, "euler", steps=steps)
    rows = [plain, replace(plain, steps=resolve(ahead, bundle).nfe)]
    rows += [replace(ahead, settings={"ratio": ratio}) for ratio in RATIOS]
    rows += [replace(ahead, settings={"p": p}) for p in SHARES]
    recipe = bundle.training.get("recipe", {})
    real = reference(DATASETS["shapes"].fn(**recipe.get("data_settings", {})))
    features = [features_of(bundle, row, images) for row in rows]
    features.append(features_of(replace(bundle, model=_Capped(bundle.model)), ahead, images))
    names = [named(resolve(row, bundle)) for row in rows] + [named(resolve(ahead, bundle)) | {"t_at_most": CAPPED}]
    against = {"euler_of_equal_steps": features[0], "euler_of_equal_cost": features[1]}
    numbers = [measured(own, real, **against) for own in features]
    return {"images": images, "rows": [a | b for a, b in zip(names, numbers, strict=True)]}


class _Capped(nn.Module):
    """A network that hears of no t beyond CAPPED."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.grid, self.channels = model, model.grid, model.channels

    def forward(self, x: Tensor, t: PatchTime, y: Tensor) -> Prediction:
        return self.model(x, PatchTime(t.levels.clamp(max=CAPPED), t.index, t.n), y)


def named(spec: SampleSpec) -> dict[str, Any]:
    return {"sampler": spec.sampler, "settings": spec.settings, "steps": spec.steps, "nfe": spec.nfe}


def features_of(bundle: Bundle, spec: SampleSpec, images: int) -> np.ndarray:
    """(images, D) judged features, image i of seed i."""
    with tempfile.TemporaryDirectory() as folder:
        parts = shards(spec, range(images), bundle.conditioner.num_classes)
        return np.concatenate([part["features"] for part in draw(bundle, parts, Path(folder))])


def measured(own: np.ndarray, real: tuple, **others: np.ndarray) -> dict[str, Any]:
    """The Frechet distance of judged features (B, D) to real images, and its differences from that of `others`."""

    def frechet(features: np.ndarray, i: np.ndarray) -> float:
        return moments_distance(moments(features[i]), real)

    statistics = {"frechet": lambda i: frechet(own, i)}
    for name, other in others.items():
        statistics[f"minus_{name}"] = lambda i, other=other: frechet(own, i) - frechet(other, i)
    every = np.arange(len(own))
    return {name: {"value": of(every), "interval": list(bootstrap(of, len(every)))} for name, of in statistics.items()}
