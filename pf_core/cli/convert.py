"""convert: make a checkpoint of a released network of this method or its neighbours."""

import argparse
import shlex
import sys

from pf_core.models.convert import FAMILIES
from pf_core.models.importing import HEADS, take


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="of Patch Forcing, SiT, Self-Flow or DiT: .ckpt, .pt or .safetensors")
    parser.add_argument("--out", required=True, metavar="FILE", help="NAME.safetensors")
    parser.add_argument("--kind", help=f"{', '.join(FAMILIES)}; default: as the layout tells")
    parser.add_argument("--dtype", help="fp32 or bf16; default: as in the file")
    parser.add_argument(
        "--raw", action="store_true", help="of a training checkpoint: the last weights, not the averaged"
    )
    parser.add_argument("--heads", help=HEADS.knob.help)
    parser.add_argument(
        "--autoencoder", metavar="FOLDER", help="of diffusers' AutoencoderKL, on whose latents the network works"
    )


def run(args: argparse.Namespace) -> None:
    done = take(
        args.file,
        args.out,
        kind=args.kind,
        dtype=args.dtype,
        raw=args.raw,
        heads=args.heads,
        encoder=args.autoencoder,
        command="python -m pf_core " + shlex.join(["convert", *sys.argv[2:]]),
    )
    for note in done.notes:
        print(note)
    print(f"{args.out}: {done.summary}")
