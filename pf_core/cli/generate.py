"""generate: draw tens of thousands of images into a folder or one npz, by several processes if you like, resumable."""

import argparse
from dataclasses import replace

import torch

from pf_core.cli.common import add_knobs, add_shared_folder, checked, given, own_device, share
from pf_core.cli.sample import add_prompt, add_recipe_flags, chosen, from_flags, say_losses, with_labels
from pf_core.devices import working
from pf_core.models import checkpoint
from pf_core.registry import parameters
from pf_core.sampling.bulk import ARRAY, RANKING, Bulk, BulkConfig, every_class
from pf_core.sampling.memory import check_fits
from pf_core.training import ranks

KNOBS = parameters(BulkConfig).values()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_flags(parser, of_images=False)
    parser.add_argument(
        "--label", help="classes in turn, comma-separated (one with a comma in double quotes); default: all"
    )
    add_prompt(parser, "several are drawn in turn")
    add_knobs(parser, KNOBS)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...; several processes take a GPU each")
    add_shared_folder(parser, "generate")


def run(args: argparse.Namespace) -> None:
    config = BulkConfig(**checked(BulkConfig, given(args, KNOBS)))
    torch.set_num_threads(config.threads)
    spec = from_flags(args)
    bundle = checkpoint.load(spec.checkpoint, working(own_device(args.device)))
    spec = chosen(spec, args, bundle)
    named = with_labels(spec, args, bundle.conditioner)
    asked = every_class(bundle) if named is spec else tuple(map(bundle.conditioner.named, named.labels))
    bulk = Bulk(bundle, spec, replace(config, classes=asked), args.out)
    check_fits(bundle, bulk.recipe(0))
    if ranks.rank() == 0:
        say_losses(bundle.conditioner, asked)
    before = bulk.complete
    first = share(bulk.draw, config.num, "image")
    if bulk.completed or (before and first):  # of several processes one says so
        print(f"{args.out}: {config.num:,} images by {bulk.spec.sampler}, {bulk.spec.nfe} NFE{_also(bulk)}.")
    elif first and not bulk.complete:
        print(f"{args.out}: {bulk.missing():,} blocks are missing: other processes draw them, or repeat the command.")


def _also(bulk: Bulk) -> str:
    parts = [f" in {ARRAY}"] if bulk.config.format == "npz" else []
    return ",".join([*parts, f" ranked in {RANKING}"] if bulk.config.rank_by_certainty else parts)
