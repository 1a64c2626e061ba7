"""convert: make a checkpoint of a released network of this method or its neighbours."""

import argparse
import shlex
import sys
from pathlib import Path

import torch

from pf_core import files
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.conditioning import imagenet_names
from pf_core.models.convert import FAMILIES, Converted, convert
from pf_core.models.foreign import read
from pf_core.models.sit import SiT
from pf_core.registry import Knob, Parameter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HEADS = Parameter("heads", int, None, Knob(1, 4096, "attention heads, where weights and settings do not tell"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="of Patch Forcing, SiT, Self-Flow or DiT: .ckpt, .pt or .safetensors")
    parser.add_argument("--out", required=True, metavar="FILE", help="NAME.safetensors")
    parser.add_argument("--kind", help=f"{', '.join(FAMILIES)}; default: as the layout tells")
    parser.add_argument("--dtype", help="fp32 or bf16; default: as in the file")
    parser.add_argument(
        "--raw", action="store_true", help="of a training checkpoint: the last weights, not the averaged"
    )
    parser.add_argument("--heads", help=HEADS.knob.help)


def run(args: argparse.Namespace) -> None:
    files.check_writable(args.out)
    if Path(args.out).suffix != ".safetensors":
        raise InputError("--out must end in .safetensors.")
    if args.dtype not in (None, *DTYPES):
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, not {args.dtype!r:.60}.")
    held, notes = read(args.file)
    heads = None if args.heads is None else HEADS.check(args.heads)
    done = convert(held, args.kind or _named(args.file), heads, ema=not args.raw)
    dtype = DTYPES[args.dtype] if args.dtype else _own(done)
    _save(done, args.out, dtype, args.file)
    for note in [*notes, *done.notes]:
        print(note)
    c = done.config
    print(
        f"{args.out}: {done.family}, depth {c.depth}, width {c.hidden_size}, {c.num_heads} heads, patches of "
        f"{c.patch_size}, {c.in_channels} channels, {c.num_classes} classes, {str(dtype).removeprefix('torch.')}."
    )


def _named(path: str) -> str | None:
    """SiT's and DiT's releases can only be told apart by their files' names."""
    name = Path(path).name.lower()
    return next((kind for kind in ("sit", "dit") if name.startswith(f"{kind}-")), None)


def _own(done: Converted) -> torch.dtype:
    """The type of most weights of the file; half precision becomes fp32, which holds it exactly."""
    held = {w.dtype for name, w in done.weights.items() if name != "pos_embed"}
    return torch.bfloat16 if held == {torch.bfloat16} else torch.float32


def _save(done: Converted, out: str, dtype: torch.dtype, source: str) -> None:
    with torch.device("meta"):
        model = SiT(done.config)
    model.load_state_dict(done.weights, assign=True)
    record = {
        "command": "python -m pf_core " + shlex.join(["convert", *sys.argv[2:]]),
        "converted": {"file": Path(source).name, "family": done.family, "notes": done.notes},
    }
    channels = done.config.in_channels
    codec = ("pixels", None) if channels == 3 else ("latents", {"channels": channels})
    more = {"positions": "kept"} | ({} if done.predicts == "velocity" else {"predicts": done.predicts})
    names = imagenet_names() if done.config.num_classes == 1000 else []
    checkpoint.save(out, model, names, record, checkpoint.STANDARD_NORMAL, *codec, dtype, **more)
