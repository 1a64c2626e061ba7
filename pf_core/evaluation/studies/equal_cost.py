"""Equal steps or equal cost? What look-ahead's second forward pass gains, and what its longer steps cost."""

from dataclasses import replace
from typing import Annotated, Any

from torch import Tensor, nn

from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import moments
from pf_core.evaluation.paired import distance, images_of_row, named
from pf_core.evaluation.studies.common import SPLIT
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
    split: Annotated[str, SPLIT] = "evaluation",
) -> dict[str, Any]:
    """Look-ahead against Euler at equal steps and at equal cost.

    All rows draw the same seeds. Reported: the Frechet distance to real images, and its difference from Euler with as
    many steps (half the cost) and from Euler at equal cost (twice the steps); negative is better. Intervals are 95%,
    bootstrap over images, paired by seed in the differences. In the last row the network gets t of at most 0.97,
    because it was not trained with the patches at t = 1 that a probe makes.
    """
    ahead = SampleSpec(bundle.name, "look_ahead", steps=steps)
    plain = SampleSpec(bundle.name, "euler", steps=steps)
    rows = [plain, replace(plain, steps=resolve(ahead, bundle).nfe)]
    rows += [replace(ahead, settings={"ratio": ratio}) for ratio in RATIOS]
    rows += [replace(ahead, settings={"p": p}) for p in SHARES]
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge))
    capped = replace(bundle, model=_Capped(bundle.model))
    runs = [*((bundle, row) for row in rows), (capped, ahead)]
    apart = [distance(images_of_row(of, row, images, split, judge)["features"], real) for of, row in runs]
    names = [named(resolve(row, bundle)) for row in rows] + [named(resolve(ahead, bundle)) | {"t_at_most": CAPPED}]
    measured = [
        {
            "frechet": own.measured(),
            "minus_euler_of_equal_steps": (own - apart[0]).measured(),
            "minus_euler_of_equal_cost": (own - apart[1]).measured(),
        }
        for own in apart
    ]
    return {"images": images, "split": split, "rows": [a | b for a, b in zip(names, measured, strict=True)]}


class _Capped(nn.Module):
    """A network whose input t is clamped to at most CAPPED."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.grid, self.channels = model, model.grid, model.channels

    def forward(self, x: Tensor, t: PatchTime, y: Tensor) -> Prediction:
        return self.model(x, PatchTime(t.levels.clamp(max=CAPPED), t.index, t.n), y)
