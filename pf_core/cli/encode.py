"""encode: compute an autoencoder's latents of a data set once, for training on them."""

import argparse
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pf_core import files
from pf_core.cli.common import add_device, add_registry_knobs, given_of
from pf_core.data import DATASETS
from pf_core.data.latents import DTYPES, Part, write
from pf_core.data.splits import HELD_OUT
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.models import autoencoder
from pf_core.models.codecs import Latents
from pf_core.registry import whole
from pf_core.sampling.run import versions

COUNT = 10_000  # images of an endless data set
FITTED = 64  # images that the preview is fitted on
MOST = 2**28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(name for name, entry in DATASETS.items() if not hasattr(entry.fn, "encoded_by"))
    parser.add_argument("--autoencoder", required=True, metavar="FOLDER", help="of diffusers' AutoencoderKL")
    parser.add_argument("--dataset", required=True, help=known)
    parser.add_argument("--images", help=f"training images of an endless data set; default {COUNT:,}")
    parser.add_argument("--held", help="held-out images of an endless data set; default a twentieth of --images")
    parser.add_argument("--mirrored", action="store_true", help="the mirrored training images too")
    parser.add_argument("--dtype", default="fp16", help=f"{' or '.join(DTYPES)}; default fp16")
    parser.add_argument("--batch", default="16", help="images at a time; default 16")
    add_device(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="NAME.safetensors")
    add_registry_knobs(parser, DATASETS)


def run(args: argparse.Namespace) -> None:
    files.check_writable(args.out)
    if not args.out.endswith(".safetensors"):
        raise InputError("--out must end in .safetensors.")
    if args.dtype not in DTYPES:
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, not {args.dtype!r:.60}.")
    about, on = autoencoder.describe(args.autoencoder), working(args.device)
    data, settings = _data(args)
    train, held = counts(data, args)
    chosen = [*range(train), *range(HELD_OUT, HELD_OUT + held)]
    images = data.batch(chosen[:FITTED]).images.to(on)
    codec = Latents.of(about, images)
    shape = (len(chosen), *codec.encode(images[:1]).shape[1:])
    record = {
        "dataset": args.dataset,
        "data_settings": settings,
        "names": list(data.names),
        "held": held,
        "codec": {k: v for k, v in vars(codec).items()},
        "of": getattr(data, "facts", None),
        "command": "python -m pf_core " + shlex.join(["encode", *sys.argv[2:]]),
        "versions": versions(),
    }
    parts = _parts(data, codec, chosen, train, args.mirrored, whole("--batch", args.batch, 1, 4096), on)
    with tqdm(total=len(chosen), unit="image", disable=None) as bar:
        write(args.out, record, shape, parts, args.dtype, args.mirrored, lambda done: bar.update(done - bar.n))
    print(
        f"{args.out}: {train:,} images to train on{' (and mirrored)' * args.mirrored} and {held:,} held out, as states "
        f"of {' x '.join(map(str, shape[1:]))}. "
        f"Train on them: python -m pf_core train --dataset latents --path {shlex.quote(args.out)}"
    )


def _data(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The data set, never mirrored by itself, and its settings. Raises InputError."""
    entry = DATASETS[args.dataset]
    settings = entry.settings(given_of(args, DATASETS) | ({"flip": False} if "flip" in entry.knobs else {}))
    data = entry.fn(**settings)
    if hasattr(data, "encoded_by"):  # a folder of shards says so only when it is looked at
        raise InputError("These are latents already: name a data set of images.")
    return data, settings


def counts(data: Any, args: argparse.Namespace) -> tuple[int, int]:
    """(training images, held-out ones): all of a finite set. Raises InputError."""
    if (held := getattr(data, "held", None)) is not None:
        if args.images is not None or args.held is not None:
            raise InputError("--images and --held are for endless data sets: all pictures of this one are encoded.")
        return len(data), held
    repeats = len(data) <= MOST  # the first so many images over and over: none of them was held out
    if repeats and args.held is not None and whole("--held", args.held, 0, MOST):
        raise InputError("--held: a data set that repeats its first images holds none of them out. Leave it out.")
    count = min(COUNT, len(data)) if args.images is None else whole("--images", args.images, 1, min(len(data), MOST))
    return count, 0 if repeats else max(1, count // 20) if args.held is None else whole("--held", args.held, 0, MOST)


def _parts(
    data: Any, codec: Latents, chosen: list[int], train: int, mirrored: bool, size: int, on: torch.device
) -> Iterator[Part]:
    """States, a batch at a time."""

    def states(images: Tensor) -> np.ndarray:
        return codec.encode(images).cpu().numpy()

    for first in range(0, len(chosen), size):
        sample = data.batch(chosen[first : first + size])
        images = sample.images.to(on)
        trained = images[: max(0, train - first)]
        flipped = states(trained.flip(-1)) if mirrored and len(trained) else None
        yield states(images), flipped, sample.labels.numpy()
