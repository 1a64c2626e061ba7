"""How far do the knobs reach, and does another rule draw better? Response surfaces at one cost, and fresh seeds."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from pf_core.charts import Chart, Panel, Series
from pf_core.errors import InputError
from pf_core.evaluation import judges, metrics
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import Resampled, moments
from pf_core.evaluation.paired import FAST, FASTER, arithmetic, distance, how, images_of_row, named
from pf_core.evaluation.studies.common import look_at, looked_at, needs_both, number, side, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve


@dataclass(frozen=True)
class Surface:
    """A sampler's distance over one knob, a curve for each value of another one; the rest at their defaults."""

    title: str
    sampler: str
    across: str
    values: tuple
    by: str
    curves: tuple

    def settings(self) -> Iterator[dict[str, Any]]:
        for value in self.curves:
            for place in self.values:
                yield {self.by: value, self.across: place}


_SHARES = (0.2, 0.4, 0.7)
EULER, MULTISTEP, LOOK_AHEAD, DUAL_LOOP = "euler", "multistep", "look_ahead", "dual_loop"
RULED = "ruled_look_ahead"
SURFACES = (
    Surface("Look-ahead: how far, how many", LOOK_AHEAD, "ratio", (1.2, 1.4, 2.0, 3.0), "p", _SHARES),
    Surface("Dual-loop: how finely, how many", DUAL_LOOP, "n_inner", (2, 4, 8), "p", _SHARES),
    Surface("Look-ahead: when it starts, and order", RULED, "warm_up", (0.0, 0.05, 0.2), "order", (1, 2)),
    Surface("Dual-loop: how finely, and order", DUAL_LOOP, "n_inner", (2, 4, 8), "order", (1, 2)),
)
RULES = {  # what a rule changes of look-ahead with its default settings
    "ratio falls from 2": {"fade": True, "ratio": 2.0},
    "ratio falls from 3": {"fade": True, "ratio": 3.0},
    "probe every 2nd step": {"every": 2},
    "no probe from t 0.3": {"until": 0.3},
    "no probe from t 0.5": {"until": 0.5},
    "no probe from t 0.4, p 0.6, ratio 2": {"until": 0.4, "p": 0.6, "ratio": 2.0},
    "second velocity if surer": {"surer": True},
}
LEVELS, TIMES = (0.2, 0.4, 0.6), (0.1, 0.3, 0.5, 0.7, 0.9)  # absolute levels: these shares of all patches at all times
_PART = 50  # images a pass
FRESH = 7  # rows that are measured again: four samplers as they are, the best knobs of each order, the best rule


def _level_name(share: float) -> str:
    return f"absolute level, {share:.0%} under it"


def _specs(bundle: Bundle, nfe: int, levels: Sequence[float], **more: Any) -> dict[str, SampleSpec]:
    """Every row once, by `_key`, that the budget is enough for. levels: see LEVELS."""
    rules = [*RULES.values(), *({"level": level} for level in levels)]
    every: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in (EULER, MULTISTEP, LOOK_AHEAD, DUAL_LOOP)]
    every += [(surface.sampler, settings) for surface in SURFACES for settings in surface.settings()]
    every += [(RULED, settings) for settings in rules]
    specs = {}
    for sampler, settings in every:
        try:
            spec = resolve(SampleSpec(bundle.name, sampler, settings, nfe=nfe), bundle)
        except InputError:  # one step takes more than the whole budget
            continue
        specs.setdefault(_key(spec), SampleSpec(bundle.name, sampler, spec.settings, nfe=nfe, **more))
    return specs


def _key(spec: SampleSpec) -> str:
    return json.dumps([spec.sampler, spec.settings], sort_keys=True)


def _of(bundle: Bundle, sampler: str, settings: dict[str, Any], nfe: int) -> str | None:
    """The key of a row; None where the budget is too small."""
    try:
        return _key(resolve(SampleSpec(bundle.name, sampler, settings, nfe=nfe), bundle))
    except InputError:
        return None


def _forwards(bundle: Bundle, images: int, fresh: int, nfe: int, **_) -> int:
    rows = sum(resolve(spec, bundle).nfe for spec in _specs(bundle, nfe, LEVELS).values())  # levels cost the same
    return images * (rows + len(TIMES)) + FRESH * fresh * nfe


_AXES = {"ratio": "ratio of the look ahead", "warm_up": "warm-up, t before it starts", "n_inner": "inner steps"}


def _chart(result: dict[str, Any]) -> Chart:
    def surface(of: dict[str, Any]) -> Panel:
        series = []
        for value in dict.fromkeys(row["by"] for row in of["rows"]):
            rows = [row for row in of["rows"] if row["by"] == value]
            places, minus = [row["across"] for row in rows], [row["minus_euler"] for row in rows]
            series.append(Series.measured(f"{of['by']} {value:g}", places, minus))
        across = _AXES.get(of["across"], of["across"])
        return Panel(of["title"], across, "Frechet distance minus Euler's", series, zero=True)

    def bars(title: str, rows: list[dict[str, Any]], keys: dict[str, str]) -> Panel:
        series = [
            Series.measured(
                what, [r["label"] for r in rows if key in r], [r[key] for r in rows if key in r], kind="bars"
            )
            for key, what in keys.items()
        ]
        return Panel(title, "difference of Frechet distance", "", series, zero=True, lying=True)

    panels = [surface(of) for of in result["surfaces"]]
    keys = {"minus_euler": "minus Euler", "minus_look_ahead": "minus look-ahead"}
    rules = bars("Other rules, on the seeds to choose by", result["rules"], keys)
    fresh = bars("The best, on fresh seeds", result["fresh"], keys)
    note = (
        f"All at {result['nfe']} NFE, the same seeds; {result['images']} images a point to choose by, "
        f"{result['fresh_images']} fresh ones. With 95% intervals, paired by seed; below zero is better."
    )
    return Chart(
        f"Knobs and rules at one cost, {result['checkpoint']}", [panels[:2], panels[2:], [rules], [fresh]], note
    )


def _brief(result: dict[str, Any]) -> str:
    rule = next(row for row in result["fresh"] if row["role"] == "rule")
    versus = " and ".join(
        f"minus {other} {number(rule[key])}" for key, other in _RIVALS.items() if key != "minus_euler"
    )
    return f"{_wins(result)}, at {result['nfe']} NFE on fresh seeds: {rule['label']}: {versus}."


_OTHERS = ("euler", "multistep", "look_ahead", "tuned")  # roles that each is compared with
_RIVALS = {"minus_euler": "Euler", "minus_look_ahead": "look-ahead", "minus_tuned": "the surest knobs"}
_SECOND = (("euler", "Euler"), ("multistep", "multistep"), ("tuned", "those"))  # that the best of second order meets


def _wins(result: dict[str, Any]) -> str:
    return "A rule wins and is worth a sampler of its own" if result["wins"] else "No other rule wins"


def _verdict(result: dict[str, Any]) -> str:
    rows = {row["role"]: row for row in result["fresh"]}
    rule, tuned = rows["rule"], rows["tuned"]
    versus = ", ".join(f"minus {other} {number(rule[key])}" for key, other in _RIVALS.items())
    best = f"Best knobs of first order: {tuned['label']}, minus Euler {number(tuned['minus_euler'])}"
    if second := rows.get("second"):
        versus_plain = [f"minus {name} {number(second[f'minus_{role}'])}" for role, name in _SECOND if role in rows]
        best += f"; of second: {second['label']}, {', '.join(versus_plain)}"
    return f"{_wins(result)}, at {result['nfe']} NFE on fresh seeds: {rule['label']}: {versus}. {best}."


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    check=needs_both,
    judged=True,
    quick={"images": 20, "fresh": 20, "nfe": 16},
)
def knobs(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row, to choose by")] = 100,
    fresh: Annotated[int, Knob(20, 100_000, "images a row of the best, from seeds that chose nothing")] = 300,
    nfe: Annotated[int, Knob(4, 1000, "network evaluations an image, for every row")] = 32,
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Knobs and other rules at one cost.

    On the search split: the Frechet distance minus Euler's over p, ratio, n_inner, warm-up and order, and of other
    rules of look-ahead: easy by an absolute level of difficulty (those under which 20, 40, 60% of all patches at t 0.1
    to 0.9 lie) instead of a share; a ratio that falls to 1 as t rises; no probe in every second step or from a t on;
    the second velocity only where a patch's difficulty fell. Then, on fresh seeds and against other real images: the
    surest of the surfaces (whose interval ends lowest), one of first order as all rules are and one of second, and the
    surest rule, beside Euler, multistep, look-ahead and dual-loop. `wins`: the rule lies below Euler, look-ahead and
    the knobs of first order, each beyond a 95% interval, bootstrap over images, paired by seed.
    Raises InputError for a network without a difficulty head or a judge of its data.
    """
    needs_both(bundle)
    levels = work.piece(
        {"study": "knobs", "levels": LEVELS, "times": TIMES, "network": bundle.hash, "images": images},
        lambda: {"levels": _levels(bundle, images, work.pause)},
        images * len(TIMES),
    )["levels"]
    specs = _specs(bundle, nfe, levels, **how(fast))
    apart = _apart(bundle, specs, images, "search", work)
    euler, ahead = (_of(bundle, sampler, {}, nfe) for sampler in (EULER, LOOK_AHEAD))

    def row(key: str) -> dict[str, Any]:
        return named(resolve(specs[key], bundle)) | {"minus_euler": (apart[key] - apart[euler]).measured()}

    surfaces = []
    for surface in SURFACES:
        keys = [(settings, _of(bundle, surface.sampler, settings, nfe)) for settings in surface.settings()]
        rows = [
            row(key) | {"across": given[surface.across], "by": given[surface.by], "key": key}
            for given, key in keys
            if key
        ]
        about = {name: getattr(surface, name) for name in ("title", "sampler", "across", "by")}
        surfaces.append(about | {"rows": rows})
    changes = RULES | {_level_name(share): {"level": level} for share, level in zip(LEVELS, levels, strict=True)}
    rules = []
    for label, settings in changes.items():
        if key := _of(bundle, RULED, settings, nfe):
            minus = {"minus_look_ahead": (apart[key] - apart[ahead]).measured()}
            rules.append({"label": label, "changes": settings} | row(key) | minus | {"key": key})
    best = {"rule": _surest(rules, "minus_look_ahead")}
    for role, order in (("tuned", 1), ("second", 2)):
        rows = [row for surface in surfaces for row in surface["rows"] if row["settings"]["order"] == order]
        surest = _surest(rows, "minus_euler")
        best[role] = surest | {"label": _words(specs[surest["key"]])}
    plain = {role: key for role in (EULER, MULTISTEP, LOOK_AHEAD, DUAL_LOOP) if (key := _of(bundle, role, {}, nfe))}
    roles = plain | {role: row["key"] for role, row in best.items()}
    again = _fresh(bundle, {role: specs[key] for role, key in roles.items()}, fresh, nfe, work)
    labels = {EULER: "Euler", **{role: role.replace("_", "-") for role in plain if role != EULER}}
    labels |= {role: row["label"] for role, row in best.items()}
    rows = [{"role": role, "label": labels[role]} | of for role, of in again.items()]
    below = [side(again["rule"][f"minus_{other}"]) < 0 for other in ("euler", "look_ahead", "tuned")]
    return {
        "images": images,
        "fresh_images": fresh,
        "nfe": nfe,
        "split": "search",
        "arithmetic": arithmetic(fast),
        "levels": dict(zip(map(str, LEVELS), levels, strict=True)),
        "euler": {"frechet": apart[euler].measured()},
        "surfaces": [of | {"rows": _without_keys(of["rows"])} for of in surfaces],
        "rules": _without_keys(rules),
        "fresh": rows,
        "wins": all(below),
    }


def _without_keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "key"} for row in rows]


def _surest(rows: list[dict[str, Any]], minus: str) -> dict[str, Any]:
    """The row whose difference has the lowest upper end: the lowest difference of many is luck."""
    return min(rows, key=lambda row: row[minus]["interval"][1])


def _words(spec: SampleSpec) -> str:
    """The sampler and the settings that its surfaces vary."""
    varied = {name for surface in SURFACES if surface.sampler == spec.sampler for name in (surface.across, surface.by)}
    settings = [f"{name.replace('_', '-')} {value:g}" for name, value in spec.settings.items() if name in varied]
    return ", ".join([spec.sampler.removeprefix("ruled_").replace("_", "-"), *settings])


def _apart(
    bundle: Bundle, specs: dict[str, SampleSpec], images: int, split: str, work: Work
) -> dict[str, Resampled]:  # fmt: skip
    """The distance of each row, kept with its resamples: those are dear too."""
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge, work.pause))

    def measured(spec: SampleSpec) -> dict[str, Any]:
        drawn = images_of_row(bundle, spec, images, split, judge, work=work)
        own = distance(drawn["features"], real)
        return {"value": own.value, "values": own.values.tolist()}

    apart = {}
    for key, spec in specs.items():
        done = work.done
        about = {"distance": key, "nfe": spec.nfe, "images": images, "split": split, "network": bundle.hash}
        about |= {"judge": judges.digest(judge), "resamples": metrics.REPEATS}
        about |= {name: value for name, value in FAST.items() if getattr(spec, name) == value}
        row = work.piece(about, lambda spec=spec: measured(spec))
        if work.done == done:  # it was kept
            work.did(images * resolve(spec, bundle).nfe)
        apart[key] = Resampled(row["value"], np.array(row["values"]))
    return apart


def _fresh(bundle: Bundle, specs: dict[str, SampleSpec], images: int, nfe: int, work: Work) -> dict[str, Any]:
    """Of each role: its row, with differences from _OTHERS."""
    once = {_key(resolve(spec, bundle)): spec for spec in specs.values()}
    apart = _apart(bundle, once, images, "evaluation", work)
    work.did(FRESH * images * nfe - images * sum(resolve(spec, bundle).nfe for spec in once.values()))
    of = {role: apart[_key(resolve(spec, bundle))] for role, spec in specs.items()}
    return {
        role: named(resolve(specs[role], bundle))
        | {"frechet": own.measured()}
        | {f"minus_{other}": (own - of[other]).measured() for other in _OTHERS if other in of}
        for role, own in of.items()
    }


@torch.inference_mode()
def _levels(bundle: Bundle, images: int, pause: Callable[[], None]) -> list[float]:
    """Difficulties under which LEVELS of all patches at all of TIMES lie, on images of the search split. pause: called
    after every pass, and may raise."""
    _, *tensors = looked_at(bundle, images, "search")
    found = []
    for t in TIMES:
        for part in zip(*(tensor.split(_PART) for tensor in tensors), strict=True):
            found.append(look_at(bundle, *part, t).difficulty)
            pause()
    return np.quantile(torch.cat(found).double().cpu().numpy(), LEVELS).tolist()  # torch's takes 16 M at most
