"""Is training with a time per patch worth it by itself? SiT and Patch Forcing by the same sampler, Euler."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pf_core.charts import Chart, Panel, Series, written
from pf_core.errors import InputError
from pf_core.evaluation import prompted
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import coverage, moments
from pf_core.evaluation.paired import FASTER, accuracy, arithmetic, distance, how, images_of_row, named
from pf_core.evaluation.studies.common import (
    SPLIT,
    Claim,
    baseline_of,
    drawing,
    holds,
    needs_both,
    number,
    percent,
    side,
    study,
    whole_numbers,
)
from pf_core.evaluation.studies.schedules import NEAREST
from pf_core.evaluation.studies.table import ONE_TRAINING, PAPER, PARALLEL, PLAIN
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve

SIT, PATCH_FORCING = "SiT", "Patch Forcing"


def _paper() -> Chart:
    fid = [
        Series(name, list(PAPER), [row[label] for row in PAPER.values()], kind="bars")
        for name, label in ((SIT, PLAIN), (PATCH_FORCING, PARALLEL))
    ]
    return Chart("The paper's table, Euler: ImageNet-256", [[Panel("FID at equal compute", "network", "FID", fid)]])


def _chart(result: dict[str, Any]) -> Chart:
    def bars(key: str, names: tuple[str, ...] = (SIT, PATCH_FORCING), factor: float = 1) -> list[Series]:
        series = []
        for name in names:
            rows = [row for row in result["rows"] if row["label"] == name and row.get(key)]
            if rows:
                nfe = [f"{row['budget']} NFE" for row in rows]
                series.append(Series.measured(name, nfe, [row[key] for row in rows], factor, kind="bars"))
        return series

    panels = [
        Panel("Distance to real images", "", "Frechet distance", bars("frechet")),
        Panel(
            "Patch Forcing against SiT",
            "",
            "change of Frechet distance, %",
            bars("over_sit", (PATCH_FORCING,), 100),
            zero=True,
        ),
        Panel("Class asked for", "", "accuracy, %", bars("accuracy", factor=100)),
        Panel("Real images reached", "", "coverage, %", bars("coverage", factor=100)),
    ]
    panels = [panel for panel in panels if panel.series]
    note = (
        f"{result['images']} images a bar by Euler, the same seeds; bars are 95% intervals, bootstrap over images, "
        f"paired by seed in the change. SiT: {result['baseline']}. {ONE_TRAINING}"
    )
    return Chart(f"The same sampler, {result['checkpoint']}", [panels[:2], panels[2:]], note)


def _ours(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if row["label"] == PATCH_FORCING]


def _found(result: dict[str, Any]) -> str:
    rows = _ours(result)
    return holds(sum(side(row["over_sit"]) < 0 for row in rows), len(rows))


def _brief(result: dict[str, Any]) -> str:
    told = ", ".join(f"{percent(row['over_sit'])} at {row['budget']} NFE" for row in _ours(result))
    return f"{_found(result)}: by Euler Patch Forcing changes SiT's distance by {told}."


def _verdict(result: dict[str, Any]) -> str:
    plain = {row["budget"]: row for row in result["rows"] if row["label"] == SIT}
    told = "; ".join(
        f"at {row['budget']} NFE {number(row['frechet'], 0)} against {number(plain[row['budget']]['frechet'], 0)} of "
        f"{result['baseline']}, {percent(row['over_sit'])}"
        for row in _ours(result)
    )
    unlike = prompted.unlike(result, SIT)
    paper = ", ".join(f"{100 * (row[PARALLEL] / row[PLAIN] - 1):.0f}% at {size}" for size, row in PAPER.items())
    words = f"{_found(result)}: Frechet distance by Euler {told}. {ONE_TRAINING} In the paper {written(paper)}."
    return f"{words} {unlike}." if unlike else words


def _budgets(text: str) -> list[int]:
    return whole_numbers("budgets", text, 1, 1000)


def _pair(bundle: Bundle, baseline: str) -> dict[str, Bundle]:
    """The plain network and the one that is looked at. Raises InputError where there is no plain one."""
    if not (plain := baseline_of(bundle, baseline)):
        raise InputError(f"No network here is {bundle.name} with one time for all patches: name one with baseline.")
    return {SIT: plain, PATCH_FORCING: bundle}


def _specs(pair: Mapping[str, Bundle], budgets: str, **more: Any) -> Iterator[tuple[int, str, Bundle, SampleSpec]]:
    """(NFE, label, network, recipe) of each row."""
    for budget in _budgets(budgets):
        for label, net in pair.items():
            yield budget, label, net, SampleSpec(net.name, "euler", nfe=budget, **more)


def _forwards(bundle: Bundle, images: int, budgets: str, baseline: str, **_) -> int:
    return sum(drawing(net, [spec], images) for *_, net, spec in _specs(_pair(bundle, baseline), budgets))


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_both,
    judged=True,
    claim=Claim(
        "Even with standard parallel Euler sampling at inference, Patch Forcing outperforms the SiT baseline, "
        "indicating that heterogeneous timesteps contribute significantly to the observed gains.",
        "Results",
        _paper(),
    ),
    quick={"images": 50, "budgets": "16"},
)
def parallel_euler(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row")] = 300,
    budgets: Annotated[str, Knob(help="network evaluations an image, with commas between")] = "16,64",
    baseline: Annotated[str, prompted.BASELINE] = "",
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """SiT and Patch Forcing by the same sampler.

    Both draw the same seeds by Euler in as many steps as the budget has evaluations. Reported: Frechet distance to real
    images and its change from SiT's as a share of it, accuracy of the class asked for, coverage of real images as in
    `schedules`. Intervals are 95%, bootstrap over images, paired by seed in the change. SiT: `baseline`, or the shipped
    network without a difficulty head that learned from the same data at the same size. Raises InputError where there is
    none, for a network without a difficulty head, and for one of whose data there is no judge.
    """
    needs_both(bundle)
    pair = _pair(bundle, baseline)
    judge = judge_of(bundle)
    real = references(bundle, split, judge, work.pause)
    moment = moments(real)
    rows = []
    for budget, label, net, spec in _specs(pair, budgets, **how(fast)):
        judged = images_of_row(net, spec, images, split, judge, work=work)
        apart = distance(judged["features"], moment)
        row = {"label": label, "budget": budget, "network": net.name, **named(resolve(spec, net))}
        row |= {"frechet": apart.measured(), "accuracy": accuracy(judged)}
        row["coverage"] = coverage(real[: max(images, 100)], judged["features"], NEAREST)
        if label == SIT:
            plain = apart
        else:
            row["over_sit"] = apart.over(plain).measured()
        rows.append(row)
    result = {"images": images, "split": split, "baseline": pair[SIT].name, "arithmetic": arithmetic(fast)}
    return result | prompted.beside(bundle, pair[SIT]) | {"rows": rows}
