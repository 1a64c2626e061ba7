"""The paper's table: SiT, and Patch Forcing by three samplers, at equal cost, by network."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pf_core.charts import Chart, Panel, Series, written
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import moments
from pf_core.evaluation.paired import FASTER, arithmetic, distance, how, images_of_row, named
from pf_core.evaluation.prompted import BASELINE
from pf_core.evaluation.studies.common import (
    SPLIT,
    Claim,
    baseline_of,
    drawing,
    holds,
    needs_both,
    percent,
    side,
    study,
    twin_of,
)
from pf_core.evaluation.work import UNWATCHED, Work, mean_pace
from pf_core.models import checkpoint, parameter_count
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve

PLAIN, PARALLEL = "SiT, Euler", "Euler"
ROWS = {PARALLEL: "euler", "dual-loop": "dual_loop", "look-ahead": "look_ahead"}  # with their default settings
PAPER = {  # FID, ImageNet-256, fixed compute
    "B/2, 130M": {PLAIN: 33.0, PARALLEL: 27.9, "dual-loop": 26.0, "look-ahead": 24.2},
    "L/2, 458M": {PLAIN: 18.8, PARALLEL: 14.7, "dual-loop": 13.9, "look-ahead": 13.0},
    "XL/2, 675M": {PLAIN: 17.2, PARALLEL: 12.9, "dual-loop": 11.5, "look-ahead": 9.8},
}
SHIPPED = "shipped"
ONE_TRAINING = "Each network is one training, whose chance no interval holds."


def _paper() -> Chart:
    """FID, and what it changes against Euler of the same network and against SiT, in percent."""

    def change(base: str, labels: list[str]) -> list[Series]:
        return [
            Series(label, list(PAPER), [100 * (row[label] / row[base] - 1) for row in PAPER.values()], kind="bars")
            for label in labels
        ]

    fid = [Series(label, list(PAPER), [row[label] for row in PAPER.values()], kind="bars") for label in (PLAIN, *ROWS)]
    panels = [
        [Panel("FID at equal compute", "network", "FID", fid)],
        [Panel("Against SiT", "network", "change, %", change(PLAIN, list(ROWS)), zero=True)],
        [Panel("Against Euler", "network", "change, %", change(PARALLEL, list(ROWS)[1:]), zero=True)],
    ]
    return Chart("The paper's table: ImageNet-256", panels)


def _chart(result: dict[str, Any]) -> Chart:
    networks = result["networks"]

    def bars(key: str, factor: float = 1) -> list[Series]:
        series = []
        for label in (PLAIN, *ROWS):
            found = [(net["label"], row[key]) for net in networks for row in net["rows"]
                     if row["label"] == label and key in row]  # fmt: skip
            if found:
                series.append(Series.measured(label, *zip(*found, strict=True), factor, kind="bars"))
        return series

    panels = [[Panel("Distance to real images", "network, parameters", "Frechet distance", bars("frechet"))]]
    for key, base in (("over_sit", "SiT"), ("over_euler", "Euler of the same network")):
        if series := bars(key, 100):
            panels.append(
                [
                    Panel(
                        f"Against {base}, paired by seed",
                        "network, parameters",
                        "change of Frechet distance, %",
                        series,
                        zero=True,
                    )
                ]
            )
    note = (
        f"{result['images']} images a bar at {result['nfe']} NFE, the same seeds; bars are 95% intervals. "
        f"{ONE_TRAINING} Networks of different data or judges cannot be compared by distance, only by change."
    )
    return Chart("SiT and Patch Forcing by network, at equal cost", panels, note)


def _changes(net: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is told of a network: every sampler against the one before it in the paper's order."""
    rows = {row["label"]: row for row in net["rows"]}
    sit = rows[PARALLEL].get("over_sit")
    changes = {f"Euler against SiT{_unlike(net)}": sit} if sit else {}
    return changes | {f"{label} against Euler": rows[label]["over_euler"] for label in list(ROWS)[1:]}


def _unlike(net: dict[str, Any]) -> str:
    """What tells that a network and its SiT were not trained alike; "" where both saw as many images."""
    ours, plain = net.get("trained_on"), (net.get("baseline") or {}).get("trained_on")
    told = (f"{count:,}" if count else "unknown" for count in (ours, plain))
    return "" if ours == plain else f" (not trained alike: images {', '.join(told)})"


def _holds(result: dict[str, Any]) -> str:
    """Of networks of different sizes: does every sampler win on each? Of one that was not trained as its SiT, what is
    against that does not count."""
    if why := _one_size(result):
        return f"Cannot be told here: {why}"
    told = [each for net in result["networks"] for each in _changes(net).items()]
    changes = [change for what, change in told if "not trained" not in what]
    return holds(sum(side(change) < 0 for change in changes), len(changes))


def _papers() -> str:
    changes = {size: 100 * (row["look-ahead"] / row[PARALLEL] - 1) for size, row in PAPER.items()}
    return written(", ".join(f"{change:.0f}% at {size}" for size, change in changes.items()))


def _brief(result: dict[str, Any]) -> str:
    own = next(net for net in result["networks"] if net["network"] == result["checkpoint"])
    change = percent(_changes(own)["look-ahead against Euler"])
    found = "Cannot be told here, of one size" if _one_size(result) else _holds(result)
    return f"{found}: look-ahead changes Euler's distance by {change} on {own['network']}; paper: {_papers()}."


def _verdict(result: dict[str, Any]) -> str:
    told = [
        f"{net['network']}: " + ", ".join(f"{what} {percent(change)}" for what, change in _changes(net).items())
        for net in result["networks"]
    ]
    ours = f"{_holds(result)}. At {result['nfe']} NFE: {'; '.join(told)}"
    return f"{ours}. {ONE_TRAINING} In the paper look-ahead changes Euler's by {_papers()}."


def _one_size(result: dict[str, Any]) -> str:
    """Why these networks say nothing of scale; "" where they do, or have no size."""
    counts = [net["parameters"] for net in result["networks"] if net.get("parameters")]
    if len(counts) == 1:
        return "one network says nothing of scale"
    near = counts and max(counts) < 2 * min(counts)
    return "of nearly one size, these networks say nothing of scale" if near else ""


def _forwards(bundle: Bundle, **settings: Any) -> int:
    return sum(count for _, count in _passes(bundle, **settings))


def _pace(bundle: Bundle, timed: Callable[[Bundle], float], **settings: Any) -> float:
    """Networks of all sizes are drawn with: each counts by its passes."""
    return mean_pace(_passes(bundle, **settings), timed)


def _passes(bundle: Bundle, images: int, nfe: int, beside: str, baseline: str, **_: Any) -> list[tuple[Bundle, int]]:
    """Every network and the forward passes of an image that its rows take."""
    counts: dict[str, tuple[Bundle, int]] = {}
    for of in _networks(bundle, beside, baseline):
        for _, net, spec in _rows(*of, nfe):
            before = counts.get(net.hash, (net, 0))[1]
            counts[net.hash] = net, before + drawing(net, [spec], images)
    return list(counts.values())


@study(
    forwards=_forwards,
    pace=_pace,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_both,
    judged=True,
    claim=Claim(
        "These improvements persist across model scales, from B/2 to XL/2, suggesting that the benefits of "
        "heterogeneous timesteps generalize beyond a specific model capacity.",
        "Results, the table",
        _paper(),
    ),
    quick={"images": 50, "nfe": 32, "beside": ""},
)
def table(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row")] = 300,
    nfe: Annotated[int, Knob(4, 1000, "network evaluations an image, for every sampler")] = 64,
    beside: Annotated[
        str, Knob(help="other networks, with commas between; shipped: all of those; empty: none")
    ] = SHIPPED,
    baseline: Annotated[str, BASELINE] = "",
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """The paper's table, by network.

    Of the network and of those beside it: the Frechet distance to real images of Euler, dual-loop and look-ahead with
    their default settings and of SiT, each with the most steps that fit the budget and on the same seeds; its change
    from Euler of the same network and from SiT, as a share of theirs. SiT: `baseline`, or the shipped network without
    a difficulty head that learned from the same data at the same size; none where there is none. Intervals are 95%,
    bootstrap over images, paired by seed in the changes.
    """
    needs_both(bundle)
    options = {"images": images, "nfe": nfe, "split": split, "fast": fast, "work": work}
    return {
        "images": images,
        "nfe": nfe,
        "split": split,
        "arithmetic": arithmetic(fast),
        "networks": [_measured(net, twin, **options) for net, twin in _networks(bundle, beside, baseline)],
    }


def _networks(bundle: Bundle, beside: str, baseline: str) -> list[tuple[Bundle, Bundle | None]]:
    """(network, its twin) of the network and of those beside it, by size. Raises InputError for a baseline of other
    data."""
    plain = baseline_of(bundle, baseline)
    names = checkpoint.files_here() if beside == SHIPPED else [n.strip() for n in beside.split(",") if n.strip()]
    others = [checkpoint.load(name, bundle.device) for name in names if name != bundle.name]
    found = [(net, twin_of(net)) for net in others if net.hash != bundle.hash and _measurable(net, beside == SHIPPED)]
    return sorted([(bundle, plain), *found], key=lambda of: _parameters(of[0]))


def _parameters(net: Bundle) -> int:
    """0 for an exact denoiser."""
    config = getattr(net.model, "config", None)
    return parameter_count(config) if config else 0


def _measurable(net: Bundle, lenient: bool) -> bool:
    """Does it rank patches, and is there a judge of its data? Of a shipped one that does not, False; else raises
    InputError."""
    try:
        needs_both(net)
    except InputError:
        if not lenient:
            raise
        return False
    return True


def _rows(net: Bundle, twin: Bundle | None, nfe: int, **more: Any) -> Iterator[tuple[str, Bundle, SampleSpec]]:
    if twin:
        yield PLAIN, twin, SampleSpec(twin.name, "euler", nfe=nfe, **more)
    for label, sampler in ROWS.items():
        yield label, net, SampleSpec(net.name, sampler, nfe=nfe, **more)


def _measured(
    net: Bundle, twin: Bundle | None, images: int, nfe: int, split: str, fast: bool, work: Work
) -> dict[str, Any]:  # fmt: skip
    judge, config = judge_of(net), getattr(net.model, "config", None)
    real = moments(references(net, split, judge, work.pause))
    specs = {label: (of, spec) for label, of, spec in _rows(net, twin, nfe, **how(fast))}
    apart = {
        label: distance(images_of_row(of, spec, images, split, judge, work=work)["features"], real)
        for label, (of, spec) in specs.items()
    }
    rows = []
    for label, (of, spec) in specs.items():
        row = {"label": label, "network": of.name, **named(resolve(spec, of)), "frechet": apart[label].measured()}
        if label != PLAIN and twin:
            row["over_sit"] = apart[label].over(apart[PLAIN]).measured()
        if label not in (PLAIN, PARALLEL):
            row["over_euler"] = apart[label].over(apart[PARALLEL]).measured()
        rows.append(row)
    count = _parameters(net)
    return {
        "network": net.name,
        "hash": net.hash,
        "label": f"{net.name}, {count / 1e6:.1f}M" if count else f"{net.name}, exact",
        "parameters": count,
        "depth": config and config.depth,
        "width": config and config.hidden_size,
        "patches": net.grid.n,
        "trained_on": net.trained_on,
        "data": list(checkpoint.data_settings(net)),
        "baseline": twin and {"network": twin.name, "hash": twin.hash, "trained_on": twin.trained_on},
        "judge": judge.stem,
        "rows": rows,
    }
