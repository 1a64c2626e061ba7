"""record: make the runs again that the page shows first, of its network or of another."""

import argparse
from pathlib import Path

from pf_core import files
from pf_core.cli.common import add_autoencoder, add_device, seeds
from pf_core.devices import working
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.presets import EQUAL_NFE, PFT, RECORDED, story
from pf_core.sampling.export import export
from pf_core.sampling.recommended import scale_of, settings_of
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import record

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "recordings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default=PFT, help=f"default {PFT}, which the page opens with")
    add_autoencoder(parser)
    parser.add_argument("--label", help="class names, one an image; default: the network's own four")
    parser.add_argument("--seeds", help="one an image; default: the network's own four")
    add_device(parser)
    parser.add_argument("--out", default=str(FOLDER), metavar="DIR", help="default assets/recordings")


def run(args: argparse.Namespace) -> None:
    bundle = checkpoint.load(args.checkpoint, working(args.device))
    labels, numbers = story(bundle)
    labels = labels if args.label is None else bundle.conditioner.split(args.label)
    numbers = numbers if args.seeds is None else seeds(args.seeds)
    runs = [Run(bundle, _spec(bundle, sampler, labels, numbers)) for sampler in RECORDED.values()]  # all can run
    for place, (name, job) in enumerate(zip(RECORDED, runs, strict=True), start=1):
        path = Path(args.out) / f"{place}-{name}.safetensors"
        files.check_writable(path)
        export(record(job), bundle.codec, path)
        print(f"{path}: {len(numbers)} images by {job.spec.sampler}, {job.spec.nfe} NFE.", flush=True)


def _spec(bundle: Bundle, sampler: str, labels: list, numbers: list[int]) -> SampleSpec:
    """As the page's controls say at first: with what the network recommends."""
    scale = scale_of(bundle)
    return SampleSpec(
        bundle.name, sampler, settings_of(bundle, sampler), EQUAL_NFE, labels=labels, seeds=numbers,
        cfg_scale=1.0 if scale is None else scale,
    )  # fmt: skip
