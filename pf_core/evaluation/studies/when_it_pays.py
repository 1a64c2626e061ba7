"""When does adaptive sampling pay? The probe's gain and look-ahead's difference from Euler, along saved trainings."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch

from pf_core import files
from pf_core.charts import Chart, Panel, Series
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import judge_of
from pf_core.evaluation.paired import FASTER, arithmetic, how, paired
from pf_core.evaluation.studies.common import SPLIT, Claim, holds, percent, side, study
from pf_core.evaluation.studies.probe_gain import compass, compass_forwards
from pf_core.evaluation.work import Work, key, mean_pace
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.training.run_dir import RunFolder

ROWS = (  # each against the first; all have the same budget of network evaluations
    ("euler", {}),
    ("random_order", {}),
    ("dual_loop", {}),
    ("look_ahead", {"ratio": 1.4}),
    ("look_ahead", {"ratio": 2.0}),
)
SCALES = (1.5, 2.0)  # of guidance, with the first sampler: does it lower the distance?

_NONE = "No training here has a network with difficulty that a judge knows."
_BY_CHANCE = 0.025  # of 95% intervals, those wholly below zero where nothing differs
TIME = "0.2"  # of the probe's gain along a run: the middle one of those measured
RANDOM = ("random_order", {})
_ACROSS = 4  # panels
DRAWN = ("dual_loop", {}), ("look_ahead", {"ratio": 1.4}), ("look_ahead", {"ratio": 2.0})


def _chart(result: dict[str, Any]) -> Chart:
    """Along each training of several networks, in a column of its own; then all trainings' ends."""
    runs = result["runs"]
    longer = [run for run in runs if len(run["points"]) > 1]
    share, error, seen = "change of Frechet distance, %", "change of hard patches' error, %", "thousands of images seen"
    drawn = RANDOM, *DRAWN
    against = f"against Euler, {result['nfe']} NFE"
    rows = [
        [Panel(f"{run['run']}: a look ahead at ratio 2, t = {TIME}", seen, error,
               [_gain_curve(run, kind) for kind in ("own", "true")], zero=True) for run in longer],
        [Panel(f"{run['run']}: {against}", seen, share,
               [_lead_curve(run, *sampler) for sampler in drawn], zero=True) for run in longer],
        [Panel(f"Each training's end: {against}", "", share,
               [_leads_by_run(runs, *sampler) for sampler in drawn], zero=True)],
        [Panel("Each training's end: look ahead at ratio 2", "", error,
               [_gains_by_run(runs, t) for t in _times(runs)], zero=True)],
    ]  # fmt: skip
    note = (
        "Below zero a sampler pays; random order, which adapts to nothing, is the control. With 95% intervals, paired "
        "by seed in the differences."
    )
    full = [[replace(panel, series=[s for s in panel.series if s]) for panel in row] for row in rows]
    rows = [panels for row in full if (panels := [panel for panel in row if panel.series])]
    return Chart("When adaptive sampling pays", rows or full[2:3], note).narrowed(_ACROSS)


def _gain_curve(run: dict[str, Any], kind: str) -> Series | None:
    points = [p for p in run["points"] if p["gain"]]
    values = [p["gain"]["t"][TIME][f"{kind} 2"] for p in points]
    name, x = f"{kind} context", [p["images"] / 1000 for p in points]
    return Series.measured(name, x, values, 100, dashed=kind == "true") if points else None


def _times(runs: list[dict]) -> list[str]:
    """Where the gain was measured."""
    return list(
        dict.fromkeys(t for run in runs for point in run["points"] if point["gain"] for t in point["gain"]["t"])
    )


def _gains_by_run(runs: list[dict], t: str) -> Series | None:
    ends = {run["run"]: run["points"][-1]["gain"] for run in runs if run["points"]}
    found = {name: gain["t"][t]["own 2"] for name, gain in ends.items() if gain}
    return Series.measured(f"t = {t}", list(found), list(found.values()), 100, kind="bars") if found else None


def _leads(run: dict[str, Any], sampler: str, settings: dict[str, Any]) -> list[tuple[dict, dict]]:
    """(point, its difference as a share of Euler's distance) of the points that have this row."""
    found = []
    for point in run["points"]:
        rows = point["samplers"].get("rows", [])
        for row in rows:
            fits = row["sampler"] == sampler and settings.items() <= row["settings"].items() and row["cfg_scale"] == 1
            if fits and "minus_base" in row:
                base, apart = rows[0]["frechet"]["value"], row["minus_base"]
                share = {"value": apart["value"] / base, "interval": [v / base for v in apart["interval"]]}
                found.append((point, share))
    return found


def _lead_curve(run: dict[str, Any], sampler: str, settings: dict[str, Any]) -> Series | None:
    leads = _leads(run, sampler, settings)
    x, shares = [p["images"] / 1000 for p, _ in leads], [share for _, share in leads]
    name, control = _words(sampler, settings), (sampler, settings) == RANDOM
    return Series.measured(name, x, shares, 100, dashed=control) if leads else None


def _last(runs: list[dict], sampler: str, settings: dict[str, Any]) -> dict[str, dict]:
    """Of each run that has this row, by name: its last network's difference from Euler."""
    return {run["run"]: leads[-1][1] for run in runs if (leads := _leads(run, sampler, settings))}


def _leads_by_run(runs: list[dict], sampler: str, settings: dict[str, Any]) -> Series | None:
    last = _last(runs, sampler, settings)
    name = _words(sampler, settings)
    return Series.measured(name, list(last), list(last.values()), 100, kind="bars") if last else None


def _words(sampler: str, settings: dict[str, Any]) -> str:
    return sampler.replace("_", " " if sampler == RANDOM[0] else "-") + "".join(
        f", {k} {v:g}" for k, v in settings.items()
    )


def _verdict(result: dict[str, Any]) -> str:
    told = [words for sampler in DRAWN if (words := _told(result["runs"], *sampler))]
    told += [f"as a control, {words}" for words in [_told(result["runs"], *RANDOM)] if words]
    return f"{_whether(result)}; {'; '.join(told)}." if told else _NONE


def _brief(result: dict[str, Any]) -> str:
    runs = result["runs"]
    leads = [(sampler, run["run"], *lead) for sampler in DRAWN for run in runs for lead in _leads(run, *sampler)]
    if not leads:
        return _NONE
    sampler, run, point, most = min(leads, key=lambda lead: lead[-1]["interval"][1])
    best = f"{_words(*sampler)}, {percent(most)}, {run} after {point['images']:,} images"
    return f"{_whether(result)}; the surest gain: {best}."


def _whether(result: dict[str, Any]) -> str:
    """In how many comparisons an adaptive sampler is better and worse than Euler, and in how many chance alone would
    have it so. No more better ones than those, or than worse ones, are no finding. Random order adapts to nothing: it
    is told, not counted."""
    sides = [side(share) for run in result["runs"] for sampler in DRAWN for _, share in _leads(run, *sampler)]
    better, worse, chance = sides.count(-1), sides.count(1), math.ceil(_BY_CHANCE * len(sides))
    found = holds(better if better > max(chance, worse) else 0, len(sides))
    seldom = ", or seldom" if chance < better <= worse else ""
    counted = f"{better} better and {worse} worse of {len(sides)} (by chance {chance} each)"
    return f"{found}{seldom}: {counted}, against Euler at {result['nfe']} NFE"


def _told(runs: list[dict], sampler: str, settings: dict[str, Any]) -> str:
    """On how many networks a sampler is better, and worse, beyond chance; and where it gains surest: whose
    interval ends lowest, as the lowest of many is luck."""
    leads = [(run["run"], *lead) for run in runs for lead in _leads(run, sampler, settings)]
    if not leads:
        return ""
    sides = [side(share) for *_, share in leads]
    run, point, most = min(leads, key=lambda lead: lead[-1]["interval"][1])
    counted = f"better on {sides.count(-1)} of {len(leads)} networks, worse on {sides.count(1)}"
    best = f"its surest gain is {percent(most)} of the distance, {run} after {point['images']:,} images"
    return f"{_words(sampler, settings)} is {counted}; {best}"


def _planned(runs: list[Path], device: str = "cpu", **options: Any) -> list[tuple[Bundle, int]]:
    """Of each run with networks its last one, and the forward passes of an image that all its networks take; options:
    the study's. Raises InputError where there is no run."""
    chosen = [_spread(_networks(folder), options["snapshots"]) for folder in _found(runs)]
    last = [(checkpoint.load(str(kept[-1]), device), len(kept)) for kept in chosen if kept]
    return [(bundle, count * _passes(bundle, options)) for bundle, count in last]


def _passes(bundle: Bundle, options: dict[str, Any]) -> int:
    gain = compass_forwards(options["probed"]) if bundle.predicts_difficulty else 0
    try:
        judge_of(bundle)
    except InputError:
        return gain
    specs = [resolve(spec, bundle) for spec in _specs(bundle, options["nfe"], options["guided"], options["fast"])]
    return gain + options["images"] * sum(spec.nfe * (1 if spec.cfg_scale == 1 else 2) for spec in specs)


def _forwards(runs: list[Path], **options: Any) -> int:
    return sum(count for _, count in _planned(runs, **options))


def _pace(runs: list[Path], device: str = "cpu", **options: Any) -> float:
    return mean_pace(_planned(runs, device, **options))


_SIZES = {"B/2": (27.9, 24.2), "L/2": (14.7, 13.0), "XL/2": (12.9, 9.8)}  # FID of PFT: Euler, look-ahead


def _paper() -> Chart:
    gains = [100 * (ahead / euler - 1) for euler, ahead in _SIZES.values()]
    bars = Series("look-ahead minus Euler", list(_SIZES), gains, kind="bars")
    panel = Panel("Look-ahead against Euler, fixed compute", "", "of Euler's FID, %", [bars], zero=True)
    return Chart("The paper's table: ImageNet-256, from its FIDs", [[panel]])


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    claim=Claim(
        "Building on this, we introduce adaptive sampling strategies, where easy regions are denoised faster and "
        "provide cleaner context for harder ones, improving generation quality.",
        "TL;DR; at which point of a training, on which data?",
        _paper(),
    ),
    reads="runs",
    pace=_pace,
    quick={"images": 50, "probed": 50},
)
def when_it_pays(
    runs: list[Path],
    *,
    images: Annotated[int, Knob(20, 100_000, "images a sampler draws")] = 300,
    nfe: Annotated[int, Knob(2, 1000, "network evaluations an image, for every sampler")] = 64,
    probed: Annotated[int, Knob(10, 100_000, "held-out images of the probe's gain")] = 200,
    snapshots: Annotated[int, Knob(0, 1000, "networks of a run, spread over it; 0: all that it kept")] = 0,
    guided: Annotated[bool, Knob(help="also measure whether guidance lowers the distance")] = True,
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    keep: Path | None = None,
    device: str | torch.device = "cpu",
    tell: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """When adaptive sampling pays: along trainings.

    For every network that the runs kept, the last included: the probe's gain (own and true; see probe_gain) and, at
    equal NFE and on the same seeds, each sampler's Frechet distance minus Euler's, with paired 95% intervals; and
    whether guidance lowers it. Also what the runs' own compass logged, and in what the runs differ: images seen,
    dependence and variety of the data, depth, labels. keep: a folder for the drawn images, so that a stopped study
    continues; device: where the networks are put; tell(done, of) after every network. Raises InputError where there is
    no run.
    """
    folders = _found(runs)
    options = {"images": images, "nfe": nfe, "probed": probed, "split": split}
    chosen = [_spread(_networks(folder), snapshots) for folder in folders]
    work, results = Work(None, sum(map(len, chosen)), tell), []
    for folder, kept in zip(folders, chosen, strict=True):
        points = []
        for path in kept:
            points.append(_point(path, device, options, guided, fast, keep))
            work.did(1)
        results.append({"run": folder.name} | _about(folder) | {"along": _along(folder), "points": points})
    return options | {"arithmetic": arithmetic(fast), "runs": results}


def _found(runs: list[Path]) -> list[RunFolder]:
    """Raises InputError where there is none."""
    folders = list(_folders(runs))
    if not folders:
        raise InputError(f"There is no training run in {', '.join(map(str, runs))}: name folders of runs.")
    return folders


def _folders(paths: list[Path]) -> Iterator[RunFolder]:
    """The paths that are runs, and the runs directly inside the others, sorted by name."""
    for path in paths:
        inside = [path] if (path / "config.json").is_file() else sorted(path.glob("*/"))
        yield from (RunFolder(p) for p in inside if (p / "config.json").is_file())


def _networks(folder: RunFolder) -> list[Path]:
    """The networks that a run kept and its last one, ordered by step; one for each step."""
    last = folder.weights if folder.weights.is_file() else folder.latest
    paths = [*sorted((folder.path / "checkpoints").glob("*.safetensors")), *([last] if last.is_file() else [])]
    by_step = {checkpoint.read_header(path)["training"]["steps"]: path for path in paths}
    return [by_step[step] for step in sorted(by_step)]


def _spread(paths: list[Path], most: int) -> list[Path]:
    """At most this many of them, evenly spaced, the last included."""
    if not most or len(paths) <= most:
        return paths
    return [paths[round((i + 1) * len(paths) / most) - 1] for i in range(most)]


def _about(folder: RunFolder) -> dict[str, Any]:
    """The settings in which the runs differ."""
    recipe = folder.recipe()
    settings = DATASETS[recipe.dataset].settings(recipe.data_settings)
    return {
        "dataset": recipe.dataset,
        "dependence": settings.get("dependence", 0.0),
        "variety": settings.get("variety", 0.0),
        "labels": recipe.config.label_dropout < 1,
        "ema": recipe.config.ema,
        "recipe": recipe.to_dict(),
    }


def _along(folder: RunFolder) -> list[dict[str, Any]]:
    """What the compass logged while the run trained."""
    return [entry for entry in folder.follow()[0] if "compass" in entry]


def _point(
    path: Path, device: str | torch.device, options: dict[str, Any], guided: bool, fast: bool, keep: Path | None
) -> dict[str, Any]:
    """The measurements of one network."""
    bundle = checkpoint.load(str(path), device)
    config = bundle.model.config
    about = {
        "step": bundle.training["steps"],
        "images": bundle.training["images"],
        "hash": bundle.hash,
        "depth": config.depth,
        "width": config.hidden_size,
        "patches": bundle.grid.n,
    }
    return about | {"gain": _gain(bundle, options, keep), "samplers": _samplers(bundle, options, guided, fast, keep)}


def _gain(bundle: Bundle, options: dict[str, Any], keep: Path | None) -> dict[str, Any] | None:
    """None for a network without a variance head."""
    if not bundle.predicts_difficulty:
        return None
    cache = keep and keep / f"gain-{key(['gain', bundle.hash, options['probed'], options['split']])}.json"
    if cache and (known := files.read_json(cache)):
        return known
    gain = compass(bundle, options["probed"], options["split"])
    if cache:
        files.write_json(cache, gain)
    return gain


def _samplers(bundle: Bundle, options: dict[str, Any], guided: bool, fast: bool, keep: Path | None) -> dict[str, Any]:
    """{"rows"}, or {"why"} there are none: one sentence."""
    try:
        judge = judge_of(bundle)
    except InputError as e:
        return {"why": str(e)}
    specs = _specs(bundle, options["nfe"], guided, fast)
    bases = [None] + [0] * (len(specs) - 1)
    rows = paired(bundle, specs, bases, options["images"], split=options["split"], judge=judge, folder=keep)
    return {"judge": judge.stem, "rows": json.loads(json.dumps(rows))}


def _specs(bundle: Bundle, nfe: int, guided: bool, fast: bool) -> list[SampleSpec]:
    """The rows that a network can run; guided ones of the first sampler last."""
    rows = ROWS if bundle.predicts_difficulty else ROWS[:1]
    specs = [SampleSpec(bundle.name, sampler, settings, nfe=nfe, **how(fast)) for sampler, settings in rows]
    if guided and labelled(bundle):
        specs += [replace(specs[0], cfg_scale=scale) for scale in SCALES]
    return specs
