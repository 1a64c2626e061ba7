"""Adaptivity or order? Second-order steps at equal cost, for all patches at once and in the adaptive samplers."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pf_core.charts import Chart, Panel, Series, on_one_scale
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import Resampled, moments
from pf_core.evaluation.paired import FASTER, arithmetic, distance, how, images_of_row, named
from pf_core.evaluation.studies.common import SPLIT, drawing, needs_judge, number, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.samplers import entry_of
from pf_core.sampling.run import SampleSpec, resolve

BUDGETS = (8, 16, 32, 64)  # NFE
PARALLEL = [("euler", {}), ("heun", {}), ("multistep", {})]
SAME_STEPS = {1: "euler", 2: "multistep"}  # an adaptive sampler's order -> its steps without the adapting
LOOK_AHEAD, RANDOM_AHEAD = "look_ahead", "random_look_ahead"
ADAPTIVE = [(name, {"order": order}) for name in ("dual_loop", LOOK_AHEAD, RANDOM_AHEAD) for order in (1, 2)]


def _label(row: dict[str, Any]) -> str:
    second = {1: "", 2: ", second order"}.get(row["settings"].get("order"), "")
    name = row["sampler"].replace("random_", "random ").replace("_", "-")
    return (name.capitalize() if name in ("euler", "heun") else name) + second


def _order(row: dict[str, Any]) -> int:
    """Of a row's steps: an adaptive sampler's, as it is set; of the others Euler's alone are of first order."""
    return row["settings"].get("order") or (1 if row["sampler"] == "euler" else 2)


def _chart(result: dict[str, Any]) -> Chart:
    """A row for each measure; its panels by order, as all samplers in one would hide each other."""

    def panel(title: str, up: str, key: str, chosen: Callable[[dict[str, Any]], bool], **options) -> Panel:
        series = []
        measured = [row for row in result["rows"] if any(row.get(key, {}).get("interval", ())) and chosen(row)]
        for label in dict.fromkeys(map(_label, measured)):
            rows = [row for row in measured if _label(row) == label]
            series.append(Series.measured(label, [r["budget"] for r in rows], [r[key] for r in rows]))
        return Panel(title, "NFE", up, series, log_x=True, **options)

    def by_order(title: str, up: str, key: str, **options) -> list[Panel]:
        orders = {1: "first order", 2: "second order"}
        pair = [panel(f"{title}: {name}", up, key, lambda row, n=n: _order(row) == n, **options)
                for n, name in orders.items()]  # fmt: skip
        return on_one_scale([each for each in pair if each.series])

    apart = "difference of Frechet distance"
    ahead, dual = (
        panel(f"{what} beside as many steps without", apart, "minus_same_steps", lambda row, of=of: of in _label(row),
              zero=True)
        for what, of in (("Looking ahead", "look-ahead"), ("Dual-loop", "dual-loop"))
    )  # fmt: skip
    rows = [
        by_order("Distance to real images", "Frechet distance", "frechet", log_y=True),
        by_order("Against Euler", apart, "minus_euler", zero=True),
        [each for each in (ahead, dual) if each.series],
    ]
    note = (
        f"{result['images']} images a point, the same seeds, by which differences are paired; with 95% intervals. "
        "Below zero is better."
    )
    return Chart(f"Second order at equal cost, {result['checkpoint']}", [row for row in rows if row], note)


def _verdict(result: dict[str, Any]) -> str:
    """Of adaptive samplers of second order, where they were compared with as many steps."""
    told = "; ".join(
        f"{_label(row)} at {row['budget']} NFE {number(row['minus_euler'])} and {number(row['minus_same_steps'])}"
        for row in result["rows"]
        if row["settings"].get("order") == 2 and "minus_same_steps" in row
    )
    return _brief(result) + (f" Minus Euler, and minus multistep in as many steps: {told}." if told else "")


def _brief(result: dict[str, Any]) -> str:
    rows = [row for row in result["rows"] if row["sampler"] == "multistep"]
    told = ", ".join(f"{number(row['minus_euler'])} at {row['budget']} NFE" for row in rows)
    return f"Multistep minus Euler: {told}."


def _forwards(bundle: Bundle, images: int, most: int, **_) -> int:
    rows = [spec for _, specs in _specs(bundle, most) for spec in specs]
    return drawing(bundle, [*rows, *(plain for spec in rows if (plain := _same_steps(bundle, spec)))], images)


def _is_control(one: SampleSpec, ahead: SampleSpec) -> bool:
    """Is it look-ahead with the patches that look ahead drawn at random?"""
    return one.sampler == RANDOM_AHEAD and one.settings["order"] == ahead.settings["order"]


def _same_steps(bundle: Bundle, spec: SampleSpec) -> SampleSpec | None:
    """As many steps of the same order without the adapting, of an adaptive sampler's resolved recipe."""
    order = spec.settings.get("order")
    more = {"precision": spec.precision, "compile": spec.compile}
    plain = order and SampleSpec(bundle.name, SAME_STEPS[order], steps=spec.steps, **more)
    return plain and resolve(plain, bundle)


def _specs(bundle: Bundle, most: int, **more: Any) -> Iterator[tuple[int, list[SampleSpec]]]:
    """(budget, its rows)"""
    samplers = [
        of for of in PARALLEL + ADAPTIVE if bundle.predicts_difficulty or not entry_of(of[0]).fn.needs_difficulty
    ]
    for budget in (b for b in BUDGETS if b <= most):
        yield budget, [resolve(SampleSpec(bundle.name, *of, nfe=budget, **more), bundle) for of in samplers]


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_judge,
    judged=True,
    quick={"images": 50, "most": 16},
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
    its differences from Euler, Heun and multistep of the same budget and, of an adaptive sampler, from as many steps of
    the same order in which all patches go alike (`minus_same_steps`): what its further passes add; of look-ahead
    also from the same with the patches that look ahead drawn at random (`minus_random`). Negative is better. Intervals
    are 95%, bootstrap over images, paired by seed in the differences.
    """
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge, work.pause))
    rows = []

    def apart(spec: SampleSpec) -> Resampled:
        return distance(images_of_row(bundle, spec, images, split, judge, work=work)["features"], real)

    for budget, specs in _specs(bundle, most, **how(fast)):
        found = [apart(spec) for spec in specs]
        for spec, own in zip(specs, found, strict=True):
            bases = {name: base for (name, _), base in zip(PARALLEL, found, strict=False)}
            if spec.sampler == LOOK_AHEAD:
                bases["random"] = next(f for s, f in zip(specs, found, strict=True) if _is_control(s, spec))
            if plain := _same_steps(bundle, spec):
                bases["same_steps"] = apart(plain)
            differences = {f"minus_{name}": (own - base).measured() for name, base in bases.items()}
            rows.append({"budget": budget} | named(spec) | {"frechet": own.measured()} | differences)
    return {"images": images, "split": split, "arithmetic": arithmetic(fast), "rows": rows}
