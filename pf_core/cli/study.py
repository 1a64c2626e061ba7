"""study: check the method's claims on a network, one by one or all, or look at trainings."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from pf_core import files, presets
from pf_core.cli.common import add_autoencoder, add_device, add_registry_knobs, given_of
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.evaluation import evidence
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.work import Stopped, pace
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Entry
from pf_core.sampling.sweep import in_words
from pf_core.training.process import keep_memory
from pf_core.training.runner import use_device

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=", ".join([*STUDIES, ALL]))
    parser.add_argument("--checkpoint", help="a shipped name or a .safetensors file; default: the study's own")
    add_autoencoder(parser)
    parser.add_argument(
        "--runs", action="append", default=[], metavar="DIR", help="of a study of trainings: a run, or a folder of runs"
    )
    add_device(parser)
    parser.add_argument("--quick", action="store_true", help="few images: a first look, in minutes")
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="x.json: the numbers alone, and their pieces, from which a stopped study goes on, in x.parts; a folder: "
        "figure and numbers; default: print",
    )
    parser.add_argument("--figure", metavar="FILE", help="x.png, .pdf or .svg: the figure alone")
    add_registry_knobs(parser, STUDIES)


def run(args: argparse.Namespace) -> int | None:
    """Raises InputError. 1: some of all studies failed."""
    if args.figure and Path(args.figure).suffix not in (".png", ".pdf", ".svg"):
        raise InputError("--figure must end in .png, .pdf or .svg.")
    if args.figure:
        files.check_writable(args.figure)
    if args.out:
        files.check_writable(args.out if _is_json(args.out) else Path(args.out) / evidence.PARTS / "x")
    if args.name == ALL:
        return _all(args)
    study = STUDIES[args.name]
    reads = study.fn.about.reads
    if (reads == "runs") != bool(args.runs) or (reads != "network" and args.checkpoint):
        raise InputError(f"{study.name} {_NEEDS[reads]}.")
    try:
        _put(_MEASURED[reads](study, args), args)
    except Stopped:  # by a signal, which a training answers by saving itself
        print("What was computed is kept: the same command goes on from there.", file=sys.stderr)
        raise KeyboardInterrupt from None


_NEEDS = {
    "network": "looks at one network: leave --runs out",
    "runs": "looks at trainings: name them with --runs, and no --checkpoint",
    "nothing": "trains networks of its own: leave --runs and --checkpoint out",
}


def _is_json(out: str) -> bool:
    return Path(out).suffix == ".json"


def _given(study: Entry, args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were asked for; quick ones where nothing else was."""
    return (dict(study.fn.about.quick) if args.quick else {}) | given_of(args, STUDIES)


def _named(study: Entry, args: argparse.Namespace) -> str:
    """The network that is looked at."""
    return args.checkpoint or study.fn.about.network or presets.PFT


def _of_network(study: Entry, args: argparse.Namespace) -> dict[str, Any]:
    bundle = checkpoint.load(_named(study, args), working(args.device))
    given = _given(study, args)
    print(f"{study.name} on {bundle.name}: {evidence.cost(study.name, bundle, given)}.", file=sys.stderr)
    typed = ["--checkpoint", args.checkpoint or bundle.name, *_latents(args)]
    return evidence.measure(study.name, bundle, given, _parts(args.out), _progress(), typed=typed)


def _latents(args: argparse.Namespace) -> list[str]:
    """What was typed for a network on latents."""
    return ["--autoencoder", args.autoencoder] if args.autoencoder else []


def _of_its_own(study: Entry, args: argparse.Namespace) -> dict[str, Any]:
    given = _given(study, args)
    if not args.out:
        raise InputError(f"{study.name} trains networks: name a folder that keeps them, with --out.")
    use_device(args.device)
    keep_memory()
    print(f"{study.name}: {evidence.cost(study.name, None, given)}.", file=sys.stderr, flush=True)
    return evidence.measure(study.name, None, given, _parts(args.out), _progress(100))


def _of_runs(study: Entry, args: argparse.Namespace) -> dict[str, Any]:
    runs, device = [Path(p) for p in args.runs], working(args.device)
    given = _given(study, args)
    told = evidence.cost(study.name, runs, given, device=device)
    print(f"{study.name} on {', '.join(args.runs)}: {told}.", file=sys.stderr)
    return evidence.of_runs(study.name, runs, given, _parts(args.out), device, _progress())


_MEASURED = {"network": _of_network, "runs": _of_runs, "nothing": _of_its_own}


def _parts(out: str | None) -> Path | None:
    if not out:
        return None
    return Path(out).with_suffix(".parts") if _is_json(out) else Path(out) / evidence.PARTS


def _progress(parts: int = 10) -> Callable[[int, int], None]:
    """Tells a tenth, or another share, at a time."""
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = parts * done // max(total, 1)
        if now > told:
            told = now
            print(f"  {100 * now // parts}%", file=sys.stderr, flush=True)

    return tell


def _once(of: Callable[[Bundle], float]) -> Callable[[Bundle], float]:
    """The same, asked once for each network."""
    known: dict[str, float] = {}

    def asked(bundle: Bundle) -> float:
        if bundle.hash not in known:
            known[bundle.hash] = of(bundle)
        return known[bundle.hash]

    return asked


def _cost(
    name: str, network: str, load: Callable[[str], Bundle], settings: dict[str, Any], timed: Callable[[Bundle], float]
) -> tuple[str, float]:
    """What a study of several takes, or why it is left out, and its seconds."""
    seconds = 0.0
    try:
        bundle = load(network)
        network = bundle.name
        count, seconds = evidence.passes(name, bundle, settings, timed)
        told = evidence.in_full(name, bundle, settings, count, seconds)
    except Exception as e:
        fault = evidence.fault(e)
        told = f"{'its cost cannot be told' if fault.get('failed') else 'left out'}: {fault['refused']}"
    return f"{name} on {network}: {told}", seconds


def _put(result: dict[str, Any], args: argparse.Namespace) -> None:
    if args.figure or (args.out and not _is_json(args.out)):
        from pf_core.figures import chart_file  # here, as matplotlib takes its time
        from pf_core.figures import evidence as drawn

        if args.figure:
            drawn.save(chart_file.draw(drawn.chart_of(result)), args.figure)
        if args.out and not _is_json(args.out):
            print("\n".join(map(str, drawn.write(result, Path(args.out)))))
            return
    if args.out:
        files.write_json(args.out, result)
    else:
        print(json.dumps(result, indent=1))


def _all(args: argparse.Namespace) -> int:
    """Every study of a network, in one folder, and the report of them, also of those that were made before it was
    stopped. 1: some failed."""
    if not args.out or _is_json(args.out):
        raise InputError("study all writes several files: name a folder with --out DIR.")
    if args.figure or args.runs:
        raise InputError("study all looks at one network and draws every figure: leave --runs and --figure out.")
    from pf_core.figures import evidence as drawn

    load = cache(partial(checkpoint.load, device=working(args.device)))
    if args.checkpoint:
        load(args.checkpoint)  # a name that is none is said at once
    chosen = {name: entry for name, entry in STUDIES.items() if entry.fn.about.reads == "network"}
    networks = {name: _named(entry, args) for name, entry in chosen.items()}
    settings = _shared(chosen, args)
    timed, total = _once(pace), 0.0
    for name, network in networks.items():
        told, seconds = _cost(name, network, load, settings[name], timed)
        total += seconds
        print(told, file=sys.stderr)
    print(f"In all about {in_words(total)}.", file=sys.stderr)
    results, folder = [], Path(args.out)
    try:
        for name, network in networks.items():
            of = {name: network}
            one = evidence.everything(of, load, settings, folder, _latents(args), tell=_progress())  # each from 0% on
            for result in one:
                results.append(result)
                _told(result, folder)
    finally:
        few = ": a first look with few images" if args.quick else ""
        intro = f"Made by {_command(args)}{few}."
        drawn.report([*results, *evidence.kept_of_trainings()], folder / "report.html", intro)
        print(folder / "report.html")
    return int(any(result.get("failed") for result in results))


def _shared(chosen: dict[str, Entry], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The settings of each of several studies: what was asked for, of those that have it. Raises InputError for a flag
    that none of them has, or a value that one of them cannot take."""
    asked = given_of(args, STUDIES)
    for name in asked.keys() - {knob for entry in chosen.values() for knob in entry.knobs}:
        raise InputError(f"No study of one network has --{name.replace('_', '-')}.")
    own = {name: {k: v for k, v in _given(entry, args).items() if k in entry.knobs} for name, entry in chosen.items()}
    for name, entry in chosen.items():
        try:
            entry.settings(own[name])
        except InputError as e:
            raise InputError(f"{name}: {e}") from e
    return own


def _command(args: argparse.Namespace) -> str:
    """What was typed of study all, but for where it is put."""
    knobs = {k.name: k.flag for entry in STUDIES.values() for k in entry.knobs.values()}
    flags = [word for name, value in given_of(args, STUDIES).items() for word in (knobs[name], str(value))]
    named = [*(["--checkpoint", args.checkpoint] if args.checkpoint else []), *_latents(args)]
    return shlex.join(["python", "-m", "pf_core", "study", ALL, *named, *["--quick"] * args.quick, *flags])


def _told(result: dict[str, Any], folder: Path) -> None:
    """Write one of several results and say it; where its figure or its verdict fails it is marked so."""
    from pf_core.figures import evidence as drawn

    if "refused" in result:
        print(f"{result['study']}: {result['refused']}", file=sys.stderr)
        return
    try:
        drawn.write(result, folder)
        print(f"{result['study']}: {STUDIES[result['study']].fn.about.verdict(result)}", flush=True)
    except Exception as e:
        if isinstance(e, InputError) and not isinstance(e, files.NotFinite):  # a folder that cannot be written any more
            raise
        print(f"{result['study']}: {evidence.fault(e)['refused']}", file=sys.stderr)
        result["failed"] = True
