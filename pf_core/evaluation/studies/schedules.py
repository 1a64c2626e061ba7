"""Which schedule draws best at equal cost? Fig. 6: all patches alike, in random order, by difficulty, looking ahead."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pf_core.charts import Chart, Map, Panel, Series, on_one_scale
from pf_core.evaluation import prompted
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import Resampled, coverage, moments
from pf_core.evaluation.paired import FASTER, accuracy, arithmetic, distance, how, images_of_rows, named
from pf_core.evaluation.studies.common import (
    SPLIT,
    Claim,
    baseline_of,
    drawing,
    holds,
    needs_judge,
    number,
    side,
    study,
    whole_numbers,
)
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.samplers import entry_of, steps_for
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.sampling.schedule import schedule

PLAIN, PARALLEL, RANDOM, RANDOM_AHEAD = "SiT, Euler", "Euler", "random order", "random look-ahead"
ROWS = {  # label -> sampler and settings; each as many steps as the budget allows
    PARALLEL: ("euler", {}),
    RANDOM: ("random_order", {}),
    "dual-loop": ("dual_loop", {}),
    "look-ahead": ("look_ahead", {}),
    "look-ahead, ratio 2": ("look_ahead", {"ratio": 2.0}),
    RANDOM_AHEAD: ("random_look_ahead", {}),
    "multistep": ("multistep", {}),
}
AHEAD = "look-ahead", "look-ahead, ratio 2"
CONTROLS = {RANDOM: "dual-loop", RANDOM_AHEAD: "look-ahead"}  # the same with the easy set drawn at random
PAPER = {PLAIN: 41.0, RANDOM: 33.2, PARALLEL: 31.4, "dual-loop": 29.3, "look-ahead": 27.8}  # FID-10k; see _paper
MAPPED, MAPPED_NFE = (PARALLEL, RANDOM, "dual-loop", "look-ahead"), 12  # whose times nine patches show
LINE = 215  # letters of a verdict in one line, at most
NEAREST = 3  # of coverage: a real image is covered within the distance to its third neighbour


def _budgets(text: str) -> list[int]:
    return whole_numbers("budgets", text, 2, 1000)


def _forwards(bundle: Bundle, images: int, budgets: str, baseline: str, **_) -> int:
    specs = [spec for budget in _budgets(budgets) for *_, spec in _rows(bundle, None, budget)]
    return drawing(bundle, specs, images) + images * sum(_budgets(budgets)) * bool(baseline_of(bundle, baseline))


def _paper() -> Chart:
    bars = Series("FID-10k", list(PAPER), list(PAPER.values()), kind="bars")
    panel = Panel("Equal NFE", "schedule", "FID-10k", [bars])
    return Chart("The paper's Fig. 6: B/2, ImageNet", [[panel]], "Read off the paper's figure by eye.")


def _chart(result: dict[str, Any]) -> Chart:
    def curves(key: str, labels: list[str], factor: float = 1) -> list[Series]:
        series = []
        for label in labels:
            rows = [row for row in result["rows"] if row["label"] == label and row.get(key)]
            x, values = [row["budget"] for row in rows], [row[key] for row in rows]
            if rows:
                series.append(Series.measured(label, x, values, factor, dashed=label in CONTROLS))
        return series

    def seconds(label: str) -> Series:
        rows = [row for row in result["rows"] if row["label"] == label]
        return Series(
            label, [r["budget"] for r in rows], [r["seconds_per_image"] for r in rows], dashed=label in CONTROLS
        )

    labels = list(dict.fromkeys(row["label"] for row in result["rows"]))

    def pair(up: str, key: str, left_out: tuple[str, ...], title: str, **options) -> list[Panel]:
        """Of an adaptive sampler each, beside its control; all in one panel would hide each other."""
        ahead = [label for label in labels if "look-ahead" in label]
        parts = {"Without looking ahead": [label for label in labels if label not in ahead],
                 "Looking ahead": [label for label in labels if label in (PARALLEL, *ahead)]}  # fmt: skip
        drawn = {name: curves(key, [each for each in part if each not in left_out]) for name, part in parts.items()}
        return on_one_scale([
            Panel(f"{name}: {title}", "NFE", up, series, log_x=True, **options)
            for name, series in drawn.items() if series
        ])  # fmt: skip

    distances = pair("Frechet distance", "frechet", (), "distance to real images")
    apart = pair("difference of Frechet distance", "minus_euler", (PLAIN, PARALLEL), "against Euler",
                 zero=True)  # fmt: skip
    others = [
        Panel("Class asked for", "NFE", "accuracy, %", curves("accuracy", labels, 100), log_x=True),
        Panel("Real images reached", "NFE", "coverage, %", curves("coverage", labels, 100), log_x=True),
        Panel("Wall time", "NFE", "seconds an image", [seconds(label) for label in labels], log_x=True),
    ]
    maps = [_map(label) for label in MAPPED if label in labels]
    turns = ", the rows in turns," if result.get("turns") else ", row after row,"
    note = (
        f"{result['images']} images a point, the same seeds in all; 95% intervals, bootstrap over images; wall time "
        f"of the fastest batch{turns} beside whatever else ran. Below: the times of nine patches, pass by pass, in "
        f"{MAPPED_NFE} NFE."
    )
    return Chart(f"Schedules at equal cost, {result['checkpoint']}", [distances, apart, others, maps], note)


def _map(label: str) -> Panel:
    """Fig. 6: which times a schedule takes nine patches through, as it is for any network."""
    sampler, given = ROWS[label]
    settings = entry_of(sampler).settings(given)
    t = schedule(sampler, steps_for(sampler, MAPPED_NFE, settings), settings).t[:-1].T  # (patches, passes)
    rows, passes = t.shape
    shown = Map(t.tolist(), (0, passes), (0, rows), "t", (0, 1), time=True)
    return Panel(f"Schedule: {label}", "pass", "patch", map=shown, spare=label == PARALLEL)


def _by_budget(result: dict[str, Any]) -> dict[int, dict[str, dict[str, Any]]]:
    """NFE -> label -> its row."""
    budgets = dict.fromkeys(row["budget"] for row in result["rows"])
    return {nfe: {row["label"]: row for row in result["rows"] if row["budget"] == nfe} for nfe in budgets}


def _brief(result: dict[str, Any]) -> str:
    by_budget = _by_budget(result)
    if not _adaptive(by_budget):
        nfe, rows = max(by_budget.items())
        told = [f"{label} {number(row['minus_euler'])}" for label, row in rows.items() if label != PARALLEL]
        return f"At {nfe} NFE, Frechet distance minus Euler's: {', '.join(told)}."
    nfe, rows = min(by_budget.items())
    apart = [each for label in CONTROLS.values() if label in rows and (each := _ordered(rows[label]))]
    found = f"{_found(by_budget)}."
    told = (
        f" At {nfe} NFE minus random order {', '.join(number(each, digits) for each in apart)}." for digits in (1, 0)
    )
    return next((found + numbers for numbers in told if apart and len(found + numbers) <= LINE), found)


def _adaptive(by_budget: Mapping[int, Mapping[str, dict[str, Any]]]) -> list[tuple[str, int, dict[str, Any]]]:
    """(label, NFE, row) of each adaptive sampler."""
    labels = CONTROLS.values()
    return [(label, nfe, rows[label]) for label in labels for nfe, rows in by_budget.items() if label in rows]


def _found(by_budget: Mapping[int, Mapping[str, dict[str, Any]]]) -> str:
    """Where an adaptive sampler is below random order, as the page has it, and where above; and what the patches that
    look ahead owe to being easy. The first results did not pair them."""
    told = [(label, nfe, _ordered(row)) for label, nfe, row in _adaptive(by_budget) if _ordered(row)]
    if not told:
        return "Cannot be told here: no random order was drawn"
    below, above = ([of for of in told if side(of[-1]) == sign] for sign in (-1, 1))
    if not below + above:
        budgets = ", ".join(map(str, dict.fromkeys(nfe for _, nfe, _ in told)))
        return f"{holds(0, len(told))}: no adaptive sampler is told from random order, at {budgets} NFE"
    where = [f"{_where(of)} {word} random order" for of, word in ((below, "below"), (above, "above")) if of]
    where[1:] = [each.replace("random order", "it") for each in where[1:]]
    left = {label for label, *_ in _adaptive(by_budget)} - {label for label, *_ in told}
    unpaired = f" ({', '.join(left)} was not paired with it)" if left else ""
    return f"{holds(len(below), len(told))}: {', '.join(where)}{unpaired}{_luckier(by_budget)}"


def _ordered(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """An adaptive row's distance minus that of random order; dual-loop's control is just that."""
    return row.get("minus_random_order") or (row.get("minus_random") if row["label"] == CONTROLS[RANDOM] else None)


def _controlled(row: Mapping[str, Any]) -> bool:
    """Is it look-ahead beside the same by patches drawn at random?"""
    return row["label"] == CONTROLS[RANDOM_AHEAD] and "minus_random" in row


def _luckier(by_budget: Mapping[int, Mapping[str, dict[str, Any]]]) -> str:
    """Where looking ahead by patches drawn at random is better than by the easy ones, or worse."""
    ahead = [of for of in _adaptive(by_budget) if _controlled(of[-1])]
    words = []
    for sign, word in ((1, "beats"), (-1, "loses to")):
        if at := [str(nfe) for _, nfe, row in ahead if side(row["minus_random"]) == sign]:
            words.append(f"{word} look-ahead at {'every' if len(at) == len(by_budget) > 1 else ', '.join(at)}")
    return f"; random look-ahead {', '.join(words)} NFE" if words else ""


def _where(found: list[tuple[str, int, dict[str, Any]]]) -> str:
    at = {label: ", ".join(str(nfe) for of, nfe, _ in found if of == label) for label, *_ in found}
    return " and ".join(f"{label} at {budgets}" for label, budgets in at.items()) + " NFE"


def _random_order(by_budget: Mapping[int, Mapping[str, dict[str, Any]]]) -> str:
    """Random order against Euler, which the page says is worse."""
    sides = {nfe: side(rows[RANDOM]["minus_euler"]) for nfe, rows in by_budget.items() if RANDOM in rows}
    words = {1: "worse than Euler", -1: "better", 0: "not told from it"}
    at = {of: ", ".join(str(nfe) for nfe, each in sides.items() if each == of) for of in words}
    told = ", ".join(f"{words[of]} at {budgets} NFE" for of, budgets in at.items() if budgets)
    return told and f" Random order, on the page worse than Euler, is {told}."


def _verdict(result: dict[str, Any]) -> str:
    """Of every budget: the schedules of the page against Euler."""
    by_budget = _by_budget(result)
    found = f"{_found(by_budget)}. " if _adaptive(by_budget) else ""
    unlike = prompted.unlike(result, "SiT")
    unlike = unlike and f" {unlike}."
    told = ". ".join(_told(nfe, rows) for nfe, rows in by_budget.items())
    return f"{found}Distance minus Euler's. {told}.{_random_order(by_budget)}{unlike}"


def _told(nfe: int, rows: Mapping[str, dict[str, Any]]) -> str:
    others = [row for row in rows.values() if row["label"] != PARALLEL]
    shown = [row for row in others if row["label"] in (*PAPER, RANDOM_AHEAD)] or others
    words = [
        f"{row['label']} {number(row['minus_euler'])}"
        + (f", minus random order {number(ordered)}" if (ordered := _ordered(row)) else "")
        + (f", minus random look-ahead {number(row['minus_random'])}" if _controlled(row) else "")
        for row in shown
    ]
    return f"At {nfe} NFE (Euler's {rows[PARALLEL]['frechet']['value']:.0f}): {'; '.join(words)}"


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_judge,
    judged=True,
    claim=Claim("Adaptive schedules outperform random ordering under fixed compute.", "Fig. 6", _paper()),
    quick={"images": 50, "budgets": "16,32"},
)
def schedules(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a point")] = 300,
    budgets: Annotated[str, Knob(help="network evaluations an image, with commas between")] = "16,32,64,128",
    baseline: Annotated[str, prompted.BASELINE] = "",
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Schedules at equal cost.

    All rows draw the same seeds, each with the most steps that fit the budget (look-ahead 64: 33 steps). Reported:
    Frechet distance to real images, accuracy of the class asked for, coverage of real images (share that lie within a
    generated one's third-neighbour ball), seconds an image in the fastest batch, a batch of each row in turn; distance
    minus that of Euler of the same budget, of look-ahead minus that of random order, and, of dual-loop and look-ahead,
    minus that of their control, whose easy set is drawn at random (dual-loop's is random order): negative where better.
    Intervals are 95%, bootstrap over images, paired by seed in the differences.
    """
    plain = baseline_of(bundle, baseline)
    judge = judge_of(bundle)
    real = references(bundle, split, judge, work.pause)
    rows = []
    for budget in _budgets(budgets):
        labels, nets, specs = zip(*_rows(bundle, plain, budget, **how(fast)), strict=True)
        drawn = images_of_rows(list(zip(nets, specs, strict=True)), images, split, judge, work)
        resolved = map(resolve, specs, nets)
        rows += _measured(list(zip(labels, resolved, drawn, strict=True)), real, budget)
    twin = plain and plain.name
    result = {"images": images, "split": split, "baseline": twin, "arithmetic": arithmetic(fast), "rows": rows}
    return result | {"turns": True} | (prompted.beside(bundle, plain) if plain else {})


def _rows(bundle: Bundle, plain: Bundle | None, budget: int, **more: Any) -> Iterator[tuple[str, Bundle, SampleSpec]]:
    if plain:
        yield PLAIN, plain, SampleSpec(plain.name, "euler", nfe=budget, **more)
    for label, (sampler, settings) in ROWS.items():
        if bundle.predicts_difficulty or not entry_of(sampler).fn.needs_difficulty:
            yield label, bundle, SampleSpec(bundle.name, sampler, settings, nfe=budget, **more)


def _measured(drawn: list[tuple], real: Any, budget: int) -> Iterator[dict[str, Any]]:
    moment = moments(real)
    apart: dict[str, Resampled] = {label: distance(judged["features"], moment) for label, _, judged in drawn}
    controls = {sampler: control for control, sampler in CONTROLS.items()}
    for label, spec, judged in drawn:
        yield {
            "label": label,
            "budget": budget,
            **named(spec),
            "checkpoint": spec.checkpoint,
            "frechet": apart[label].measured(),
            "minus_euler": (apart[label] - apart[PARALLEL]).measured(),
            **({"minus_random_order": (apart[label] - apart[RANDOM]).measured()} if label in AHEAD else {}),
            **({"minus_random": (apart[label] - apart[controls[label]]).measured()} if label in controls else {}),
            "accuracy": accuracy(judged),
            "coverage": coverage(real[: max(len(judged["labels"]), 100)], judged["features"], NEAREST),
            "seconds_per_image": float(min(judged["seconds"])),  # of the shards: the least that other work slowed down
        }
