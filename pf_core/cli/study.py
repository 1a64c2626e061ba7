"""study: measure one of the method's findings on a network, or on trainings."""

import argparse
import json
from pathlib import Path

from pf_core import files
from pf_core.cli.common import add_autoencoder, add_registry_knobs, device, given_of
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import write
from pf_core.evaluation.studies import STUDIES
from pf_core.models import checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=", ".join(STUDIES))
    parser.add_argument("--checkpoint", help="a shipped name or a .safetensors file; default shapes-pft")
    add_autoencoder(parser)
    parser.add_argument(
        "--runs", action="append", default=[], metavar="DIR", help="of a study of trainings: a run, or a folder of runs"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", metavar="FILE", help="x.json; default: print")
    parser.add_argument("--figure", metavar="FILE", help="x.png, .pdf or .svg: of a study of trainings")
    add_registry_knobs(parser, STUDIES)


def run(args: argparse.Namespace) -> None:
    study = STUDIES[args.name]
    if args.out:
        files.check_writable(args.out)
    settings = study.settings(given_of(args, STUDIES))
    of_runs = getattr(study.fn, "reads", "") == "runs"
    if of_runs != bool(args.runs) or (of_runs and args.checkpoint) or (args.figure and not of_runs):
        needs = "trainings: name them with --runs, and no --checkpoint" if of_runs else "one network: leave --runs out"
        raise InputError(f"{study.name} looks at {needs}.")
    if args.figure and Path(args.figure).suffix not in (".png", ".pdf", ".svg"):
        raise InputError("--figure must end in .png, .pdf or .svg.")
    if of_runs:
        keep = Path(args.out).with_suffix(".parts") if args.out else None
        result = {"study": study.name} | study.fn([Path(p) for p in args.runs], keep=keep, **settings)
    else:
        bundle = checkpoint.load(args.checkpoint or "shapes-pft", device(args.device))
        result = {"study": study.name, "checkpoint": bundle.name, "hash": bundle.hash} | study.fn(bundle, **settings)
    if args.figure:
        _draw(result, args.figure)
    if args.out:
        write(args.out, result)
    else:
        print(json.dumps(result, indent=1))


def _draw(result: dict, path: str) -> None:
    from pf_core.figures import static, trainings  # here, as matplotlib takes its time

    with files.replacing(path) as temporary:
        static.save(trainings.when_it_pays(result), temporary)
