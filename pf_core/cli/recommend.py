"""recommend: find the settings to recommend for a network, and the seeds that a comparison opens on."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pf_core import files
from pf_core.cli.common import add_autoencoder, add_device
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.evaluation.recommend import opening, search
from pf_core.models import checkpoint, recommended
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.models.recommended import Recommended
from pf_core.presets import PRESETS, pair_of, rule
from pf_core.registry import Knob, Parameter
from pf_core.sampling.run import NUMBERS

IMAGES = Parameter("images", int, 300, Knob(20, 100_000, "images a row of the search"))
AMONG = Parameter("among", int, 200, Knob(2, 100_000, "seeds, from 0, among which a comparison's is chosen"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", required=True, help="a shipped name or a .safetensors file")
    add_autoencoder(parser)
    parser.add_argument("--images", help=f"{IMAGES.knob.help}; default {IMAGES.default}")
    parser.add_argument("--nfe", help=f"budget of every row; default {NUMBERS['nfe'].default}")
    parser.add_argument("--among", help=f"{AMONG.knob.help}; default {AMONG.default}")
    parser.add_argument("--fast", action="store_true", help="search in bf16 and compiled: sooner, rounded otherwise")
    add_device(parser)
    parser.add_argument("--work", metavar="DIR", help="keeps what is drawn, so that a stopped search goes on")
    parser.add_argument("--out", metavar="FILE", help="x.json: all that was found")
    parser.add_argument("--write", action="store_true", help="put it into the checkpoint's header; its hash stays")
    parser.add_argument("--forget", action="store_true", help="take out of the header what stands there; no search")


def run(args: argparse.Namespace) -> None:
    if args.write and args.forget:
        raise InputError("--write puts a recommendation into the file, --forget takes it out: give one of them.")
    bundle = checkpoint.load(args.checkpoint, working(args.device))
    if bundle.path is None:
        raise InputError(f"{bundle.name} is exact: no setting of a sampler makes it better.")
    if args.write or args.forget:
        files.check_writable(bundle.path)
    if args.forget:
        recommended.write(bundle.path, None)
        print(f"{bundle.path} recommends nothing any more.")
        return
    if args.out:
        files.check_writable(args.out)
    result = _recommended(bundle, args)
    if args.out:
        files.write_json(args.out, {"checkpoint": bundle.name, "hash": bundle.hash} | asdict(result))
    if args.write:
        recommended.write(bundle.path, result)
    print(json.dumps({"settings": result.settings, "cfg_scale": result.cfg_scale}))
    print(f"{bundle.path} recommends this from now on." if args.write else "Nothing was written: --write keeps it.")


def _recommended(bundle: Bundle, args: argparse.Namespace) -> Recommended:
    numbers = {"images": IMAGES, "nfe": NUMBERS["nfe"], "among": AMONG}
    images, nfe, among = (k.default if (v := getattr(args, n)) is None else k.check(v) for n, k in numbers.items())
    work = Path(args.work) if args.work else None
    result = Recommended(**search(bundle, images=images, nfe=nfe, folder=work, report=_print, fast=args.fast))
    bundle = bundle.but(recommended=result)
    openings = {}
    for preset in (p for p in PRESETS.values() if p.opens and bundle.predicts_difficulty and labelled(bundle)):
        chosen = opening(bundle, pair_of(preset, bundle), among, work)
        openings[preset.name] = asdict(chosen)
        for shown in (chosen.largest, chosen.typical):
            print(f"{preset.label}: {rule(chosen, shown)}", flush=True)
    return replace(result, openings=openings)


def _print(row: dict[str, Any]) -> None:
    (low, high), value = row["frechet"]["interval"], row["frechet"]["value"]
    knobs = ", ".join(f"{name} {setting}" for name, setting in row["settings"].items()) or "no knobs"
    print(
        f"{row['sampler']} ({knobs}), guidance {row['cfg_scale']:g}: {value:.3f} ({low:.3f} to {high:.3f})", flush=True
    )
