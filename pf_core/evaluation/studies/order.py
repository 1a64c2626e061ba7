"""Adaptivity or order? Steps of second order at equal cost, in all patches at once and in the adaptive samplers."""

from typing import Annotated, Any

from pf_core.data import DATASETS
from pf_core.evaluation.evaluate import reference
from pf_core.evaluation.studies.equal_cost import features_of, measured, named
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
    least: Annotated[int, Knob(1, 64, "leave out smaller budgets of NFE")] = 1,
) -> dict[str, Any]:
    """Second order against first at equal cost.

    Every row draws the same seeds with the most steps that fit its budget. Reported: the Frechet distance to real
    images, and its differences from Euler, Heun and multistep of the same budget; negative is better. Intervals are
    95%, bootstrap over images, which are paired by seed in the differences.
    """
    real = reference(DATASETS["shapes"].fn(**bundle.training.get("recipe", {}).get("data_settings", {})))
    samplers, rows = PARALLEL + ADAPTIVE * bundle.predicts_difficulty, []
    for budget in (b for b in BUDGETS if b >= least):
        specs = [resolve(SampleSpec(bundle.name, *sampler, nfe=budget), bundle) for sampler in samplers]
        features = [features_of(bundle, spec, images) for spec in specs]
        against = {name: own for (name, _), own in zip(PARALLEL, features, strict=False)}
        rows += [
            {"budget": budget} | named(spec) | measured(own, real, **against)
            for spec, own in zip(specs, features, strict=True)
        ]
    return {"images": images, "rows": rows}
