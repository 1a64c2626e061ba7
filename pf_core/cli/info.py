"""info: the header of a checkpoint, or the recipe of an exported run."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from pf_core.errors import InputError
from pf_core.models import checkpoint, count_parameters
from pf_core.sampling.export import read_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a shipped checkpoint's name, or a checkpoint's or export's file")


def run(args: argparse.Namespace) -> None:
    if args.name in checkpoint.ORACLES:
        print(json.dumps({"exact": True} | checkpoint.ORACLES[args.name], indent=2))
        return
    try:
        path = checkpoint.find(args.name)
        header = checkpoint.read_header(path)
    except InputError as not_checkpoint:
        if not Path(args.name).is_file():
            raise
        try:
            print(json.dumps({"recipe": read_recipe(args.name)}, indent=2))
        except InputError:
            raise not_checkpoint from None
        return
    bundle = checkpoint.load(args.name)
    _, total = count_parameters(bundle.model)
    facts = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "hash": bundle.hash,
        "parameters": total,
        "trainable": total - bundle.model.pos_embed.numel(),
    }
    advice = {"recommended": asdict(bundle.recommended)} if bundle.recommended else {}
    print(json.dumps(facts | header | advice, indent=2))
