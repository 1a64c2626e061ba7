"""sweep: vary up to three settings, and save all results as one labelled picture."""

import argparse
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from pf_core import files
from pf_core.cli.common import add_device
from pf_core.cli.sample import add_recipe_flags, chosen, from_flags, with_labels
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.presets import EQUAL_NFE
from pf_core.registry import number
from pf_core.sampling.contact_sheet import read_sweep, save_sheet
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.sweep import MAX_AXES, Done, Load, Sweep, pace
from pf_core.sampling.sweep_axes import axes_known, parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_flags(parser)
    parser.add_argument(
        "--axis",
        action="append",
        metavar="NAME=VALUES",
        help=f"what to vary, up to {MAX_AXES} times (columns, rows, blocks), such as nfe=16,32 seed=0-3 p=0.2-0.8:0.2; "
        f"names: {', '.join(axes_known())}",
    )
    parser.add_argument("--recipe", metavar="FILE", help="repeat the sweep of a sheet; no other choice beside it")
    add_device(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="the sheet, a .png")


BESIDE_A_SHEET = {"command", "recipe", "device", "out", "autoencoder"}


def run(args: argparse.Namespace) -> None:
    if Path(args.out).suffix.lower() != ".png":
        raise InputError(f"A sheet is a PNG: name it .png, not {args.out}.")
    files.check_writable(args.out)
    load = _loader(working(args.device))
    sweep = _from_sheet(args) if args.recipe else _from_flags(args, load)
    cost = sweep.cost(load, lambda name: pace(load(name)))
    print("\n".join([*sweep.notes(load), str(cost)]), flush=True)
    if not cost.images:
        raise InputError("Nothing of this sweep can run.")
    done: list[Done] = []
    try:
        for cell in tqdm(sweep.run(load), total=len(sweep.cells()), unit="image", disable=None):
            done.append(cell)
    finally:  # Ctrl+C too: what is done is kept
        if done:
            save_sheet(args.out, sweep, done)
            count = sum(d.image is not None for d in done)
            print(f"{args.out}: {count} image{'s' * (count != 1)}, {sum(d.nfe for d in done)} NFE.")


def _from_flags(args: argparse.Namespace, load: Load) -> Sweep:
    base, axes = _base(args, load), {}
    if args.label is not None or args.prompt is not None:
        base = with_labels(base, args, load(base.checkpoint).conditioner)
    for text in args.axis or []:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or name in axes:
            raise InputError(f"--axis takes a name and its values, each name once, such as nfe=16,32; not {text!r}.")
        classes = load(base.checkpoint).conditioner if name in ("label", "prompt") else None
        axes[name] = parse(name, values, classes)
    for network in axes.get("checkpoint", ()):
        load(network)  # a name that there is none of would else be a row of empty cells
    for name, asked in (("seed", base.seeds), (_asking(args), base.labels)):
        if len(asked) > 1:
            raise InputError(f"A sweep draws all with one {name}: to vary it give --axis {name}=VALUES in its place.")
    if args.recommended and (several := {"checkpoint", "sampler"} & set(axes)):
        raise InputError(f"--recommended is of one network and sampler: leave it or --axis {min(several)} out.")
    return Sweep(base, axes)


def _asking(args: argparse.Namespace) -> str:
    return "prompt" if args.prompt is not None else "label"


def _base(args: argparse.Namespace, load: Load) -> SampleSpec:
    spec = from_flags(args)
    return _typed(chosen(spec, args, load(spec.checkpoint)) if args.recommended else spec)


def _typed(spec: SampleSpec) -> SampleSpec:
    """A command line's texts as numbers, as a sheet keeps them. Raises InputError."""
    low, high = (number("guidance interval", end, 0, 1) for end in spec.guidance_interval)
    whole = ("nfe", "steps", "probes")
    given = {name: parse(name, str(value))[0] for name in whole if (value := getattr(spec, name)) is not None}
    budget = {} if {"nfe", "steps"} & set(given) else {"nfe": EQUAL_NFE}
    return replace(
        spec,
        **budget,
        **given,
        cfg_scale=parse("cfg_scale", str(spec.cfg_scale))[0],
        guidance_interval=(low, high),
        settings={name: parse(name, str(value))[0] for name, value in spec.settings.items()},
    )


def _from_sheet(args: argparse.Namespace) -> Sweep:
    clash = [name for name, value in vars(args).items() if name not in BESIDE_A_SHEET and value is not None]
    if clash:
        raise InputError(f"--recipe already decides --{clash[0].replace('_', '-')}: leave it out.")
    return read_sweep(args.recipe)


def _loader(where) -> Load:
    """checkpoint.load, each network once."""
    known = {}

    def load(name: str):
        if name not in known:
            known[name] = checkpoint.load(name, where)
        return known[name]

    return load
