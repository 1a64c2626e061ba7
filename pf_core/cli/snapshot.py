"""snapshot: take a network that a training kept on its way, its average freed of the first weights."""

import argparse

from pf_core import files
from pf_core.models import checkpoint
from pf_core.registry import whole
from pf_core.training.run_dir import RunFolder
from pf_core.training.snapshot import snapshot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a training's folder")
    parser.add_argument("--step", required=True, help="one at which a network was kept (train --weights-every)")
    parser.add_argument("--out", required=True, metavar="FILE", help="x.safetensors")


def run(args: argparse.Namespace) -> None:
    files.check_writable(args.out)
    bundle = snapshot(RunFolder(args.run), whole("step", args.step, 1, 10**9))
    recipe = bundle.training["recipe"]
    codec = (recipe["codec"], recipe["codec_settings"])
    checkpoint.save(args.out, bundle.model, bundle.conditioner.names, bundle.training, bundle.source, *codec)
    print(f"{args.out}: {bundle.training['average']}.")
