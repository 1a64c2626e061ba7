"""study: measure one of the method's findings on a network."""

import argparse
import json

from pf_core import files
from pf_core.cli.common import add_registry_knobs, device, given_of
from pf_core.evaluation.evaluate import write
from pf_core.evaluation.studies import STUDIES
from pf_core.models import checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=", ".join(STUDIES))
    parser.add_argument("--checkpoint", default="shapes-pft", help="a shipped name or a .safetensors file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", metavar="FILE", help="x.json; default: print")
    add_registry_knobs(parser, STUDIES)


def run(args: argparse.Namespace) -> None:
    study = STUDIES[args.name]
    if args.out:
        files.check_writable(args.out)
    settings = study.settings(given_of(args, STUDIES))
    bundle = checkpoint.load(args.checkpoint, device(args.device))
    result = {"study": args.name, "checkpoint": bundle.name, "hash": bundle.hash} | study.fn(bundle, **settings)
    if args.out:
        write(args.out, result)
    else:
        print(json.dumps(result, indent=1))
