"""Adaptivity or order? Second-order steps at equal cost, for all patches at once and in the adaptive samplers."""

from collections.abc import Iterator
from typing import Annotated, Any

from pf_core.charts import Chart, Panel, Series
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import moments
from pf_core.evaluation.paired import FASTER, arithmetic, distance, how, images_of_row, named
from pf_core.evaluation.studies.common import SPLIT, drawing, needs_judge, number, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve

BUDGETS = (8, 16, 32, 64)  # NFE
PARALLEL = [("euler", {}), ("heun", {}), ("multistep", {})]
ADAPTIVE = [(name, {"order": order}) for name in ("dual_loop", "look_ahead") for order in (1, 2)]


def _label(row: dict[str, Any]) -> str:
    second = {1: "", 2: ", second order"}.get(row["settings"].get("order"), "")
    return row["sampler"].replace("_", "-") + second


def _chart(result: dict[str, Any]) -> Chart:
    labels = list(dict.fromkeys(map(_label, result["rows"])))

    def panel(title: str, up: str, key: str, **options) -> Panel:
        series = []
        for label in labels:
            rows = [row for row in result["rows"] if _label(row) == label]
            series.append(Series.measured(label, [r["budget"] for r in rows], [r[key] for r in rows]))
        return Panel(title, "NFE", up, series, log_x=True, **options)

    panels = [
        panel("Distance to real images", "Frechet distance", "frechet", log_y=True),
        panel("Against Euler, paired by seed", "difference", "minus_euler", zero=True),
    ]
    note = f"{result['images']} images a point, the same seeds; bands are 95% intervals. Below zero is better."
    return Chart(f"Second order at equal cost, {result['checkpoint']}", [panels], note)


def _verdict(result: dict[str, Any]) -> str:
    rows = [row for row in result["rows"] if row["sampler"] == "multistep"]
    told = ", ".join(f"{number(row['minus_euler'])} at {row['budget']} NFE" for row in rows)
    return f"Multistep minus Euler: {told}."


def _forwards(bundle: Bundle, images: int, most: int, **_) -> int:
    return drawing(bundle, [spec for _, specs in _specs(bundle, most) for spec in specs], images)


def _specs(bundle: Bundle, most: int, **more: Any) -> Iterator[tuple[int, list[SampleSpec]]]:
    """(budget, its rows)"""
    samplers = PARALLEL + ADAPTIVE * bundle.predicts_difficulty
    for budget in (b for b in BUDGETS if b <= most):
        yield budget, [resolve(SampleSpec(bundle.name, *of, nfe=budget, **more), bundle) for of in samplers]


@study(
    forwards=_forwards, chart=_chart, verdict=_verdict, check=needs_judge, judged=True, quick={"images": 50, "most": 16}
)
def order(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row")] = 300,
    most: Annotated[int, Knob(8, 64, "leave out larger budgets of NFE")] = 64,
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Second order against first at equal cost.

    All rows draw the same seeds with the most steps that fit the budget. Reported: the Frechet distance to real images,
    and its differences from Euler, Heun and multistep of the same budget; negative is better. Intervals are 95%,
    bootstrap over images, paired by seed in the differences.
    """
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge, work.pause))
    rows = []
    for budget, specs in _specs(bundle, most, **how(fast)):
        drawn = [images_of_row(bundle, spec, images, split, judge, work=work) for spec in specs]
        apart = [distance(judged["features"], real) for judged in drawn]
        for spec, own in zip(specs, apart, strict=True):
            differences = {
                f"minus_{name}": (own - base).measured() for (name, _), base in zip(PARALLEL, apart, strict=False)
            }
            rows.append({"budget": budget} | named(spec) | {"frechet": own.measured()} | differences)
    return {"images": images, "split": split, "arithmetic": arithmetic(fast), "rows": rows}
