"""Adaptivity or order? Second-order steps at equal cost, for all patches at once and in the adaptive samplers."""

from typing import Annotated, Any

from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import moments
from pf_core.evaluation.paired import distance, images_of_row, named
from pf_core.evaluation.studies.common import SPLIT
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve

BUDGETS = (8, 16, 32, 64)  # NFE
PARALLEL = [("euler", {}), ("heun", {}), ("multistep", {})]
ADAPTIVE = [(name, {"order": order}) for name in ("dual_loop", "look_ahead") for order in (1, 2)]


def order(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row")] = 300,
    most: Annotated[int, Knob(8, 64, "leave out larger budgets of NFE")] = 64,
    split: Annotated[str, SPLIT] = "evaluation",
) -> dict[str, Any]:
    """Second order against first at equal cost.

    All rows draw the same seeds with the most steps that fit the budget. Reported: the Frechet distance to real images,
    and its differences from Euler, Heun and multistep of the same budget; negative is better. Intervals are 95%,
    bootstrap over images, paired by seed in the differences.
    """
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge))
    samplers, rows = PARALLEL + ADAPTIVE * bundle.predicts_difficulty, []
    for budget in (b for b in BUDGETS if b <= most):
        specs = [resolve(SampleSpec(bundle.name, *sampler, nfe=budget), bundle) for sampler in samplers]
        apart = [distance(images_of_row(bundle, spec, images, split, judge)["features"], real) for spec in specs]
        for spec, own in zip(specs, apart, strict=True):
            differences = {
                f"minus_{name}": (own - base).measured() for (name, _), base in zip(PARALLEL, apart, strict=False)
            }
            rows.append({"budget": budget} | named(spec) | {"frechet": own.measured()} | differences)
    return {"images": images, "split": split, "rows": rows}
