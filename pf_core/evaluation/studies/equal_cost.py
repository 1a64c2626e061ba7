"""Equal steps or equal cost? What more passes a step gain, and what longer steps cost."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor, nn

from pf_core.charts import Chart, Panel, Series, cut_far, written
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import moments
from pf_core.evaluation.paired import FASTER, arithmetic, distance, how, images_of_row, named
from pf_core.evaluation.studies.common import SPLIT, Claim, holds, needs_both, number, side, study, whole_numbers
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.types import PatchTime, Prediction

RATIOS, SHARES = (1.2, 1.4, 2.0, 3.0), (0.2, 0.6, 0.8)  # of look-ahead; the other one of the two at its default
OTHERS = "dual_loop", "random_order"  # at look-ahead's cost, in fewer outer steps still
_STEPS, _COST = "minus_euler_of_equal_steps", "minus_euler_of_equal_cost"
CAPPED = 0.97  # training with LTG times hardly ever shows a patch beyond


def _label(row: dict[str, Any], cost: int) -> str:
    """A row's sampler, and in what it differs from the others at that cost."""
    sampler, settings = SAMPLERS[row["sampler"]], row["settings"]
    parts = [sampler.title]
    if row["sampler"] != "look_ahead":
        parts += [f"{row['steps']} step{'s' * (row['steps'] != 1)}"]
        parts += [f"{row['nfe']} NFE"] if row["nfe"] not in (cost, row["steps"]) else []
    elif "t_at_most" in row:
        parts += [f"t \u2264 {row['t_at_most']}"]
    else:
        changed = {k: settings[k] for k in ("p", "ratio") if settings[k] != sampler.knobs[k].default}
        parts += [f"{k} {v:g}" for k, v in (changed or {"ratio": settings["ratio"]}).items()]
    return ", ".join(parts)


def _by_cost(result: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """The rows, by the NFE of look-ahead that they are beside."""
    costs = dict.fromkeys(_cost_of(row, result) for row in result["rows"])
    return {cost: [row for row in result["rows"] if _cost_of(row, result) == cost] for cost in costs}


def _cost_of(row: dict[str, Any], result: dict[str, Any]) -> int:
    return row.get("cost") or max(row["nfe"] for row in result["rows"])  # the first results are of one cost


def _chart(result: dict[str, Any]) -> Chart:
    ways = {_STEPS: "minus Euler in as many outer steps", _COST: "minus Euler at equal cost"}

    def panel(cost: int, rows: list[dict[str, Any]]) -> Panel:
        rows = [row for row in rows if any(any(row[way]["interval"]) for way in ways)]  # all but that Euler itself
        names = [_label(row, cost) for row in rows]
        series = [Series.measured(name, names, [row[way] for row in rows], kind="bars") for way, name in ways.items()]
        title = f"Equal cost, {cost} NFE"
        full = Panel(title, "difference of distance", "", series, zero=True, lying=True)
        return cut_far(full, [_label(row, cost) for row in rows if row["sampler"] == "look_ahead"])

    panels = [[panel(cost, rows)] for cost, rows in _by_cost(result).items()]
    look_ahead = SAMPLERS["look_ahead"].knobs
    note = (
        f"{result['images']} images a row, the same seeds; 95% intervals. Below zero Euler is worse. "
        f"Look-ahead has p {look_ahead['p'].default:g} and ratio {look_ahead['ratio'].default:g} where not said; "
        f"t \u2264 {CAPPED}: its network is told no later t, as training hardly shows it patches beyond."
        + " Bars far beyond look-ahead's are cut, with their numbers."
        * any(each.ends for (each,) in panels)
    )
    return Chart(f"Equal steps or equal cost, {result['checkpoint']}", panels, note)


def _verdict(result: dict[str, Any]) -> str:
    told = _told(result, lambda row: f"{number(row[_STEPS])} and {number(row[_COST])}{_dearer(row, result)}")
    return f"{_found(result)}: minus Euler in as many outer steps, and minus Euler at equal cost, {told}."


def _brief(result: dict[str, Any]) -> str:
    told = _told(result, lambda row: f"{_short(row[_STEPS])} and {_short(row[_COST])}")
    return f"{_found(result)}: distance minus Euler's at equal steps and cost, {told}."


def _short(apart: dict[str, Any]) -> str:
    return written(f"{apart['value']:.1f}") + " (tie)" * (not side(apart))


def _dearer(row: dict[str, Any], result: dict[str, Any]) -> str:
    """Where "equal cost" is not quite that: the first results had one Euler for all rows beside a look-ahead."""
    beside = row.get("beside", _cost_of(row, result))
    return "" if beside == row["nfe"] else f" ({row['nfe']} NFE against {beside})"


def _told(result: dict[str, Any], words: Callable[[dict[str, Any]], str]) -> str:
    parts = (
        f"{_nfe(rows)} NFE: {', '.join(f'{name} {words(row)}' for name, row in rows.items())}"
        for rows in map(_adaptive, _by_cost(result).values())
    )
    return "; ".join(parts)


def _nfe(rows: dict[str, dict[str, Any]]) -> str:
    """What they take: another sampler's steps may not come out at just look-ahead's cost."""
    return " and ".join(dict.fromkeys(str(row["nfe"]) for row in rows.values()))


def _adaptive(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows that adapt, with their samplers' defaults: the first of each with the ratio 1.4."""
    first = {row["sampler"]: row for row in reversed(rows) if row["settings"].get("ratio", 1.4) == 1.4}
    return {name.replace("_", "-"): first[name] for name in ("look_ahead", "dual_loop") if name in first}


def _found(result: dict[str, Any]) -> str:
    """Whether adapting gains more than its longer outer steps alone do."""
    rows = [row for group in _by_cost(result).values() for row in _adaptive(group).values()]
    return holds(sum(side(row[_STEPS]) < 0 and side(row[_COST]) < 0 for row in rows), len(rows))


def _counts(text: str) -> list[int]:
    return whole_numbers("steps", text, 2, 500)


def _forwards(bundle: Bundle, images: int, steps: str, **_) -> int:
    heads = [SampleSpec(bundle.name, "look_ahead", steps=count) for count in _counts(steps)]
    once = sum(resolve(ahead, bundle).nfe for ahead in heads)  # the last row's capped network makes one more
    return images * (once + sum(resolve(row, bundle).nfe for ahead in heads for row in _rows(bundle, ahead)))


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    claim=Claim(
        "Instead of following a single global schedule, the model can allocate compute spatially based on predicted "
        "uncertainty.",
        "Adaptive sampling; is it more than longer steps?",
    ),
    check=needs_both,
    judged=True,
    quick={"images": 50, "steps": "8"},
)
def equal_cost(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row")] = 300,
    steps: Annotated[str, Knob(help="outer steps of look-ahead, with commas between")] = "9,33",
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Adaptive samplers against Euler with as many steps, and at equal cost.

    All rows draw the same seeds. Reported: the Frechet distance to real images, and its difference from Euler with as
    many outer steps (at less cost) and from Euler at equal cost (in more steps); negative is better. Intervals are 95%,
    bootstrap over images, paired by seed in the differences. In the last row the network gets t of at most 0.97,
    because it was not trained with the patches at t = 1 that a probe makes.
    """
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge, work.pause))
    rows = []
    for count in _counts(steps):
        ahead = SampleSpec(bundle.name, "look_ahead", steps=count, **how(fast))
        rows += _measured(bundle, ahead, images, split, judge, real, work)
    return {"images": images, "split": split, "arithmetic": arithmetic(fast), "rows": rows}


def _measured(
    bundle: Bundle, ahead: SampleSpec, images: int, split: str, judge: Path, real: tuple, work: Work
) -> list[dict[str, Any]]:
    """All rows beside look-ahead in its number of steps."""
    rows, cost = list(_rows(bundle, ahead)), resolve(ahead, bundle).nfe
    capped = bundle.but(model=_Capped(bundle.model))
    runs = [*((bundle, row) for row in rows), (capped, ahead)]
    drawn = [images_of_row(of, row, images, split, judge, work=_work_of(of, work)) for of, row in runs]
    apart = [distance(judged["features"], real) for judged in drawn]
    plain = {row.steps: own for row, own in zip(rows, apart, strict=False) if row.sampler == "euler"}
    beside = [cost if row.sampler == "euler" else resolve(row, bundle).nfe for row in rows] + [cost]
    names = [named(resolve(row, bundle)) for row in rows] + [named(resolve(ahead, bundle)) | {"t_at_most": CAPPED}]
    return [
        {"cost": cost, "beside": nfe, **name, "frechet": own.measured()}
        | {_STEPS: (own - plain[name["steps"]]).measured(), _COST: (own - plain[nfe]).measured()}
        for name, own, nfe in zip(names, apart, beside, strict=True)
    ]


def _rows(bundle: Bundle, ahead: SampleSpec) -> Iterator[SampleSpec]:
    """Euler with every row's number of steps and at their cost, look-ahead's settings, and the others that fit."""
    budget, others = resolve(ahead, bundle).nfe, []
    for sampler in OTHERS:
        with suppress(InputError):  # not one step of it costs so little
            others.append(resolve(replace(ahead, sampler=sampler, steps=None, nfe=budget), bundle))
    for steps in sorted({ahead.steps, budget, *(n for other in others for n in (other.steps, other.nfe))}):
        yield replace(ahead, sampler="euler", steps=steps)
    yield from (replace(ahead, settings={"ratio": ratio}) for ratio in RATIOS)
    yield from (replace(ahead, settings={"p": p}) for p in SHARES)
    yield from (replace(ahead, sampler=other.sampler, steps=other.steps) for other in others)


def _work_of(bundle: Bundle, work: Work) -> Work:
    """The capped network's images must not be taken for those of the network that it wraps."""
    return work.unkept() if isinstance(bundle.model, _Capped) else work


class _Capped(nn.Module):
    """A network whose input t is clamped to at most CAPPED."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.grid, self.channels = model, model.grid, model.channels

    def forward(self, x: Tensor, t: PatchTime, y: Tensor) -> Prediction:
        return self.model(x, PatchTime(t.levels.clamp(max=CAPPED), t.index, t.n), y)
