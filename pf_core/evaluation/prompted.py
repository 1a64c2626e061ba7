"""Networks of prompts, compared: each draws the same prompts from the same seeds, by each sampler at equal cost and
with each guidance, and a judge reads what came out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pf_core.charts import Panel, Series
from pf_core.data.splits import seeds_of
from pf_core.errors import InputError
from pf_core.evaluation import judges
from pf_core.evaluation.evaluate import SHARD, ended
from pf_core.evaluation.metrics import Resampled, unpaired
from pf_core.evaluation.paired import arithmetic, how, named
from pf_core.evaluation.work import Work
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob, number
from pf_core.sampling.run import Run, SampleSpec, resolve

PLAIN = "flow matching, Euler"  # of the network with one time for all patches
PARALLEL = "Euler"
SAMPLERS = {PARALLEL: "euler", "dual-loop": "dual_loop", "look-ahead": "look_ahead"}  # with their default settings
LOWER = ("edits",)  # statistics of which less is better
BASES = {"minus_plain": PLAIN, "minus_euler": PARALLEL}
NFE = Knob(4, 1000, "network evaluations an image, for every sampler")
GUIDANCE = Knob(help="guidance scales, with commas between")
BASELINE = Knob(help="a network with one time for all patches, of Euler; empty: a twin")


def judge_for(bundle: Bundle, kind: str) -> Path:
    """The file of the judge of a kind (see judges.KINDS) that reads a network's pictures. Raises InputError for a
    network without prompts, and where there is no judge."""
    if bundle.conditioner.takes != "prompt":
        raise InputError(f"{bundle.name} takes no prompts: this is measured on networks that do.")
    dataset, settings = checkpoint.data_settings(bundle)
    return judges.find(dataset, settings, bundle.image_size[0], kind)


def guidances(text: str) -> list[float]:
    """ "1,2,4" -> guidance scales, each once, in order. Raises InputError."""
    scales = sorted({number("guidance", part.strip(), 0, 50) for part in text.split(",") if part.strip()})
    if not scales:
        raise InputError("guidance is empty: give scales with commas between, such as 1,2,4.")
    return scales


def rows(
    bundle: Bundle, twin: Bundle | None, nfe: int, scales: Sequence[float], fast: bool = False
) -> Iterator[tuple[str, Bundle, SampleSpec]]:
    """(label, network, recipe): for each guidance the twin's Euler, then the network by each sampler; each has the most
    steps that fit `nfe`. fast: all in bf16 and compiled."""
    for scale in scales:
        if twin:
            yield PLAIN, twin, SampleSpec(twin.name, "euler", nfe=nfe, cfg_scale=scale, **how(fast))
        for label, sampler in SAMPLERS.items():
            if label == PARALLEL or bundle.predicts_difficulty:
                yield label, bundle, SampleSpec(bundle.name, sampler, nfe=nfe, cfg_scale=scale, **how(fast))


def passes(bundle: Bundle, twin: Bundle | None, nfe: int, scales: Sequence[float], images: int) -> int:
    """Forward passes of an image that all rows take: two an evaluation where it is guided."""
    return images * sum(_passes(of, spec) for _, of, spec in rows(bundle, twin, nfe, scales))


def _passes(bundle: Bundle, spec: SampleSpec) -> int:
    return resolve(spec, bundle).nfe * (1 if spec.cfg_scale == 1 else 2)


def readings(
    bundle: Bundle, spec: SampleSpec, prompts: Sequence[str], judge: Path, split: str, work: Work
) -> list[Any]:
    """What the judge reads in the picture of each prompt, prompt i drawn from seed i of the split."""
    reader, _ = judges.load(judge)
    seeds, found = list(seeds_of(split).first(len(prompts))), []
    for start in range(0, len(prompts), SHARD):
        part = slice(start, start + SHARD)
        run = Run(bundle, replace(spec, seeds=seeds[part], labels=list(prompts[part])))
        kept = work.piece(
            {"recipe": run.spec.to_dict(), "judge": judges.digest(judge)},
            lambda run=run: {"read": [reader.packed(one) for one in reader.read(drawn(run, bundle, work.pause))]},
            _passes(bundle, spec) * len(run.spec.seeds),
        )
        found += [reader.unpacked(one) for one in kept["read"]]
    return found


def real_readings(pictures: Callable[[slice], Tensor], count: int, judge: Path, work: Work) -> list[Any]:
    """What the judge reads in real pictures of the prompts; pictures(part) are those of prompts part.start ..."""
    reader, _ = judges.load(judge)
    found = []
    for start in range(0, count, SHARD):
        found += reader.read(pictures(slice(start, min(start + SHARD, count))))
        work.pause()
    return found


def drawn(run: Run, bundle: Bundle, pause: Callable[[], None]) -> Tensor:
    """A run's pictures, (B, 3, H, W). pause: see `ended`."""
    return bundle.codec.decode(ended(run, bundle, pause).x1)


@dataclass(frozen=True)
class Row:
    """One label at one guidance: what is told of it, which may be a statistic's own words for its interval, and its
    statistics, name -> resampled over the same prompts."""

    label: str
    scale: float
    about: dict[str, Any]
    statistics: Mapping[str, Resampled]


def compared(done: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as numbers: each statistic {"value", "interval"}, and the differences from the bases of the same
    guidance (BASES), paired by prompt and seed."""
    by_name = {(row.label, row.scale): row for row in done}
    told = []
    for row in done:
        numbers = {name: each.within() for name, each in row.statistics.items()}
        for key, base in BASES.items():
            other = by_name.get((base, row.scale))
            if other and base != row.label and not (key == "minus_euler" and row.label == PLAIN):
                numbers[key] = {n: (each - other.statistics[n]).measured() for n, each in row.statistics.items()}
        told.append({"label": row.label, **numbers, **row.about})
    return told


def at_best(done: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Key of BASES -> label -> statistic -> its difference from the base, each at the guidance that serves itself best,
    paired by prompt and seed."""
    names = done[0].statistics if done else ()
    labels = dict.fromkeys(row.label for row in done)
    own = {label: [row.statistics for row in done if row.label == label] for label in labels}
    top = {
        (label, name): _best(name)((each[name] for each in own[label]), key=lambda of: of.value)
        for label in labels
        for name in names
    }
    return {
        key: {
            label: {name: (top[label, name] - top[base, name]).measured() for name in names}
            for label in labels
            if label not in (base, PLAIN)
        }
        for key, base in BASES.items()
        if base in labels
    }


def compare(
    bundle: Bundle,
    twin: Bundle | None,
    kind: str,
    prompts: Sequence[str],
    pictures: Callable[[slice], Tensor],
    told: Callable[[list[Any]], tuple[dict[str, Any], Mapping[str, Resampled]]],
    *,
    nfe: int,
    guidance: str,
    split: str,
    fast: bool,
    work: Work,
) -> tuple[list[Any], dict[str, Any]]:
    """What the judge of a kind reads in real pictures of the prompts, and a study's result so far: images, nfe, split,
    baseline, judge, arithmetic, rows, at_best and, with a twin, both networks' images of training. pictures: see
    `real_readings`; told(readings) -> what is told of a row, and its statistics. Raises InputError."""
    judge = judge_for(bundle, kind)
    real = real_readings(pictures, len(prompts), judge, work)
    done = []
    for label, of, spec in rows(bundle, twin, nfe, guidances(guidance), fast):
        found, statistics = told(readings(of, spec, prompts, judge, split, work))
        done.append(Row(label, spec.cfg_scale, about(of, spec) | found, statistics))
    result = {"images": len(prompts), "nfe": nfe, "split": split, "baseline": twin and twin.name}
    result |= judges.named(judge) | (beside(bundle, twin) if twin else {})
    return real, result | {"arithmetic": arithmetic(fast), "rows": compared(done), "at_best": at_best(done)}


def beside(bundle: Bundle, plain: Bundle) -> dict[str, Any]:
    """What a result says of the two networks that it compares."""
    return {"baseline_hash": plain.hash, "trained_on": [bundle.trained_on, plain.trained_on]}


def about(of: Bundle, spec: SampleSpec) -> dict[str, Any]:
    """What a row says of its network and recipe: network, sampler, settings, steps, nfe, cfg_scale."""
    return {"network": of.name, **named(resolve(spec, of))}


def best(rows: Sequence[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Of each label the row with the guidance that serves it best."""
    labels = dict.fromkeys(row["label"] for row in rows)
    return [_best(by)((r for r in rows if r["label"] == label), key=lambda r: r[by]["value"]) for label in labels]


def at_the_edge(rows: Sequence[dict[str, Any]], by: str) -> str:
    """A sentence, where the largest guidance of several serves every label best: a larger one might serve better."""
    scales, chosen = {row["cfg_scale"] for row in rows}, {row["cfg_scale"] for row in best(rows, by)}
    return f" Guidance {max(scales):g} is the largest measured." if len(scales) > 1 and chosen == {max(scales)} else ""


def _best(statistic: str) -> Callable:
    return min if statistic in LOWER else max


def against(
    result: Mapping[str, Any], by: str, key: str | None = None
) -> tuple[str, dict[str, Any], dict[str, dict[str, Any]]]:
    """(the base, what is told of it, sampler -> difference from it), each at its own best guidance. The base is that of
    `key` (see BASES); None: flow matching, or Euler where no twin was measured. The statistic is `by`."""
    told = {row["label"]: row for row in best(result["rows"], by)}
    key = key or ("minus_plain" if PLAIN in told else "minus_euler")
    base, known = BASES[key], result.get("at_best", {}).get(key, {})
    ours = {
        label: known[label][by] if label in known else _apart(row, told[base], key, by)
        for label, row in told.items()
        if label not in (PLAIN, base)
    }
    return base, told[base][by], ours


def _apart(row: dict[str, Any], base: dict[str, Any], key: str, by: str) -> dict[str, Any]:
    """The difference, of results that lack `at_best`: nothing is paired where two guidances differ."""
    return row[key][by] if row["cfg_scale"] == base["cfg_scale"] else unpaired(row[by], base[by])


def unlike(result: Mapping[str, Any], other: str = "flow matching") -> str:
    """How much longer one of the two networks was trained than the other, in words; "" where both saw as much, or where
    nothing tells."""
    ours, plain = result.get("trained_on", (0, 0))
    if ours == plain or None in (ours, plain):
        return ""
    return f"Not trained alike, on {ours:,} images against {other}'s {plain:,} images"


def over_guidance(rows: Sequence[dict[str, Any]], key: str, title: str, up: str, base: str | None = None) -> Panel:
    """Percent, `up` says of what, over the guidance scale, a line a label; base: of BASES, to give differences from."""
    series = []
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label and (base is None or base in row)]
        if own:
            values = [(row[base] if base else row)[key] for row in own]
            series.append(Series.measured(label, [row["cfg_scale"] for row in own], values, 100))
    return Panel(title, "guidance scale", up, series, zero=base is not None)


def in_bars(
    rows: Sequence[dict[str, Any]], title: str, x: str, values: Callable[[dict[str, Any]], Mapping], up: str
) -> Panel:
    """Percent, `up` says of what, by name, bars a label; values(row): name -> {"value", "interval"} or None."""
    series = []
    for row in rows:
        known = {str(name): value for name, value in values(row).items() if value}
        series.append(Series.measured(row["label"], list(known), list(known.values()), 100, kind="bars"))
    return Panel(title, x, up, series)
