"""shards: write a data set as tar files (WebDataset), of pictures or of latents, for training at scale."""

import argparse
import io
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from pf_core.cli.common import add_registry_knobs, add_shared_folder, given_of, own_device, share
from pf_core.cli.encode import FITTED, counts
from pf_core.data import DATASETS, sharding
from pf_core.data.latents import DTYPES
from pf_core.data.sharding import Files, Plan
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.models import autoencoder
from pf_core.models.codecs import Latents, to_uint8
from pf_core.registry import whole

SIZE = 1000
FORMATS = {"png": {}, "webp": {"lossless": True}}  # of pictures: both give back every pixel
Pack = Callable[[Any], list[Files]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, help=f"{', '.join(DATASETS)}; latents too")
    parser.add_argument("--images", help="training samples of an endless data set; default 10,000")
    parser.add_argument("--held", help="held-out samples of an endless data set; default a twentieth of --images")
    parser.add_argument("--per-shard", default=str(SIZE), help=f"samples of a tar file, at most; default {SIZE:,}")
    parser.add_argument("--format", default="png", help="of pictures: png, or webp without loss, which is smaller")
    parser.add_argument("--autoencoder", metavar="FOLDER", help="of diffusers' AutoencoderKL: write its latents (npy)")
    parser.add_argument("--dtype", default="fp16", help=f"of latents, {' or '.join(DTYPES)}; default fp16")
    parser.add_argument("--batch", default="16", help="samples at a time; default 16")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...; several processes take a GPU each")
    add_shared_folder(parser, "shards")
    add_registry_knobs(parser, DATASETS)


def run(args: argparse.Namespace) -> None:
    if args.format not in FORMATS or args.dtype not in DTYPES:
        raise InputError(f"--format is {' or '.join(FORMATS)}, --dtype {' or '.join(DTYPES)}.")
    entry = DATASETS[args.dataset]
    settings = entry.settings(given_of(args, DATASETS) | ({"flip": False} if "flip" in entry.knobs else {}))
    data = entry.fn(**settings)
    if hasattr(data, "mirrors"):  # latents with mirrored ones beside them: a shard's are taken as they are
        data.mirrors = False
    codec, packed = _packing(args, data)
    train, held = counts(data, args)
    recipe = {"dataset": args.dataset, "data_settings": settings, "of": getattr(data, "facts", None)}
    recipe |= {"format": args.format, "dtype": args.dtype, "shape": _shape(data)}
    size, batch = whole("--per-shard", args.per_shard, 1, 10**6), whole("--batch", args.batch, 1, 4096)
    plan = Plan(train, held, size, recipe, list(data.names), codec)

    def written(index: int, processes: int) -> Iterator[int]:
        return sharding.write(args.out, plan, lambda at: packed(data.batch(at)), batch, index, processes)

    if share(written, train + held, "sample"):
        _tell(args.out, plan, settings)


def _tell(out: str, plan: Plan, settings: dict[str, Any]) -> None:
    if left := sharding.missing(out, plan):
        print(f"{out}: {left:,} tar files are missing: other processes write them, or repeat the command.")
        return
    size = f" --size {settings['size']}" if "size" in settings and not plan.codec else ""
    print(
        f"{out}: {plan.train:,} samples to train on and {plan.held:,} held out, in {plan.shards:,} tar "
        f"file{'s' * (plan.shards > 1)}. "
        f"Train on them: python -m pf_core train --dataset shards --path {shlex.quote(out)}{size}"
    )


def _packing(args: argparse.Namespace, data: Any) -> tuple[tuple[str, dict[str, Any]] | None, Pack]:
    """(codec of what are latents, else None; what makes the files of a batch). Raises InputError."""
    if known := getattr(data, "encoded_by", None):
        if args.autoencoder:
            raise InputError("These are latents already: leave --autoencoder out.")
        return known, lambda sample: _files(sample, data, ".npy", _arrays(sample.images.numpy(), args.dtype))
    if not args.autoencoder:
        return None, lambda sample: _files(sample, data, f".{args.format}", _pictures(sample.images, args.format))
    on = working(own_device(args.device))
    codec = Latents.of(autoencoder.describe(args.autoencoder), data.batch(range(min(FITTED, len(data)))).images.to(on))

    def packed(sample: Any) -> list[Files]:
        return _files(sample, data, ".npy", _arrays(codec.encode(sample.images.to(on)).cpu().numpy(), args.dtype))

    return ("latents", dict(vars(codec))), packed


def _shape(data: Any) -> list[int]:
    """[height, width]"""
    return list(data.size) if isinstance(data.size, tuple) else [data.size, data.size]


def _pictures(images: Any, kind: str) -> list[bytes]:
    tiles = map(Image.fromarray, to_uint8(images).numpy())
    return [_saved(lambda f, tile=tile: tile.save(f, kind, **FORMATS[kind])) for tile in tiles]


def _arrays(states: np.ndarray, dtype: str) -> list[bytes]:
    if not np.isfinite(states).all() or np.abs(states).max(initial=0) > 6e4:
        raise InputError("There are latents that are not finite, or too large for half precision.")
    kept = states.astype(DTYPES[dtype])
    return [_saved(lambda f, state=state: np.save(f, state, allow_pickle=False)) for state in kept]


def _saved(save: Callable[[io.BytesIO], None]) -> bytes:
    made = io.BytesIO()
    save(made)
    return made.getvalue()


def _files(sample: Any, data: Any, ending: str, contents: list[bytes]) -> list[Files]:
    """The content of each sample, with its class and its caption where there are any."""
    captions = getattr(sample, "captions", None) or [""] * len(contents)
    labels = sample.labels.tolist() if data.names else [None] * len(contents)
    return [
        {ending: content}
        | ({} if label is None else {".cls": str(label).encode()})
        | ({".txt": caption.encode()} if caption else {})
        for content, label, caption in zip(contents, labels, captions, strict=True)
    ]
