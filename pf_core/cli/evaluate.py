"""evaluate: draw many images with a network and a sampler, and measure them with the judge, or by FID."""

import argparse
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from torch import get_num_threads
from tqdm import tqdm

from pf_core import files
from pf_core.cli.common import add_autoencoder, add_device, add_registry_knobs, given_of, interval, seeds
from pf_core.data import DATASETS
from pf_core.data.splits import CHOICES, seeds_of
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.evaluation import fid
from pf_core.evaluation.evaluate import (
    captioned,
    draw,
    judge_of,
    real_against_real,
    references,
    shards,
    summarise,
)
from pf_core.models import checkpoint
from pf_core.registry import Knob, Parameter
from pf_core.samplers import SAMPLERS
from pf_core.sampling.bulk import Bulk, BulkConfig, every_class
from pf_core.sampling.run import SampleSpec, resolve

SAMPLES = Parameter("samples", int, 1000, Knob(10, 1_000_000, "images"))
SAMPLER = "look_ahead"
DRAWING = "sampler", "nfe", "steps", "cfg_scale", "guidance_interval", "seeds", "split"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", help="a shipped name or a .safetensors file")
    add_autoencoder(parser)
    parser.add_argument("--real", action="store_true", help="judge real images instead: the best possible result")
    parser.add_argument("--dataset", help="data set of --real without a network; it needs a judge; default shapes")
    parser.add_argument(
        "--split", help=f"{', '.join(CHOICES)}: to report, or to choose settings by; default {CHOICES[0]}"
    )
    parser.add_argument(
        "--reference", metavar="NPZ", help="measure by FID, not the judge: against arr_0 (images) or mu and sigma"
    )
    parser.add_argument("--inception", metavar="FILE", help="of --reference: the FID's Inception weights")
    parser.add_argument("--images", metavar="PATH", help="of --reference: measure these: a folder, or arr_0 of an npz")
    parser.add_argument("--sampler", help=f"{', '.join(SAMPLERS)}; default {SAMPLER}")
    parser.add_argument("--nfe", help="budget of network evaluations an image; default 64")
    parser.add_argument("--steps", help="outer steps, instead of --nfe")
    parser.add_argument("--samples", help=f"images, classes in turn, or captions; default {SAMPLES.default}")
    parser.add_argument("--seeds", help="the first image's seed, or all of them: 0-499 or 1,4,9-20; default 0")
    parser.add_argument("--cfg-scale", help="classifier-free guidance; 1 is off")
    parser.add_argument("--guidance-interval", metavar="LO,HI", help="guide only patches with t in [LO, HI]")
    add_device(parser)
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="x.json; finished parts are kept beside it and not drawn again"
    )
    add_registry_knobs(parser, SAMPLERS)
    add_registry_knobs(parser, DATASETS)


def run(args: argparse.Namespace) -> None:
    out = Path(args.out)
    if out.suffix != ".json":
        raise InputError(f"--out must end in .json, not {out.name}.")
    files.check_writable(out)
    if args.nfe is not None and args.steps is not None:
        raise InputError("Give --nfe or --steps, not both.")
    asked, split = _seeds(args), args.split or "evaluation"
    offset = seeds_of(split).start
    if args.checkpoint and (args.dataset or given_of(args, DATASETS)):
        raise InputError("A network is measured on the data set that it was trained on: leave --dataset's flags out.")
    if args.reference or args.images or args.inception:
        if asked != list(range(asked[0], asked[0] + len(asked))):
            raise InputError("FID measures images of consecutive seeds: give the first one as --seeds, and --samples.")
        _by_fid(args, out, range(offset + asked[0], offset + asked[0] + len(asked)), split)
        return
    if args.checkpoint is None and not args.real:
        raise InputError("Name a network with --checkpoint, or give --real.")
    bundle = checkpoint.load(args.checkpoint, working(args.device)) if args.checkpoint else None
    if args.real:
        _check_drawing(args, "--real measures the data set's own images", DRAWING)
        data = checkpoint.data_settings(bundle) if bundle else (args.dataset or "shapes", given_of(args, DATASETS))
        files.write_json(out, {"real": True} | real_against_real(len(asked), *data))
        print(f"{out}: {len(asked)} real images against real ones.")
        return
    judge = judge_of(bundle)
    spec = _spec(args)
    parts = shards(spec, [offset + seed for seed in asked], checkpoint.labelled(bundle))
    parts = captioned(bundle, parts, split)
    first = resolve(parts[0], bundle)
    drawing = draw(bundle, parts, out.with_suffix(".parts"), judge)
    drawn = list(tqdm(drawing, total=len(parts), unit="shard", disable=None))
    recipe = {k: v for k, v in first.to_dict().items() if k not in ("seeds", "labels")}
    about = {"recipe": recipe, "seeds": _ranges(asked), "split": split, "judge": judge.stem}
    result = about | summarise(drawn, references(bundle, split, judge))
    files.write_json(out, result)
    print(f"{out}: {len(asked)} images, {result['nfe']} NFE{_right(result)}, Frechet {result['frechet']['value']:.3f}.")


def _spec(args: argparse.Namespace) -> SampleSpec:
    return SampleSpec(
        args.checkpoint, args.sampler or SAMPLER, given_of(args, SAMPLERS), args.nfe, args.steps,
        cfg_scale=args.cfg_scale or 1, guidance_interval=interval(args.guidance_interval),
    )  # fmt: skip


def _check_drawing(args: argparse.Namespace, what: str, names: Iterable[str]) -> None:
    """Raises InputError where no image is drawn, and yet one of these flags says how, or a sampler's knob."""
    if given := [*(name for name in names if getattr(args, name) is not None), *given_of(args, SAMPLERS)]:
        raise InputError(f"{what}, and draws none: leave --{given[0].replace('_', '-')} out.")


def _by_fid(args: argparse.Namespace, out: Path, seeds: range, split: str) -> None:
    """FID of the images of --images, or of those that the network draws from these seeds. Raises InputError."""
    if not args.reference or not args.inception:
        raise InputError("FID needs both --reference, an npz, and --inception, the file of Inception's weights.")
    if args.real or (args.checkpoint is None) == (args.images is None):
        raise InputError("With --reference, give --checkpoint, whose images are drawn, or --images, which are there.")
    if args.images:
        _check_drawing(args, "--images measures pictures that are there", (*DRAWING, "samples", "dataset"))
    fid.check(args.reference, args.inception)
    about = {"images_of": args.images}
    if args.checkpoint:
        bundle = checkpoint.load(args.checkpoint, working(args.device))
        (all_of_them,) = captioned(bundle, [SampleSpec(args.checkpoint, seeds=list(seeds))], split)
        asked = every_class(bundle) if bundle.conditioner.takes == "class" else tuple(all_of_them.labels)
        config = BulkConfig(len(seeds), seeds.start, format="npz", threads=get_num_threads(), classes=asked)
        bulk = Bulk(bundle, _spec(args), config, out.with_suffix(".images"))
        for _ in tqdm(bulk.draw(), total=config.blocks, unit="block", disable=None):
            pass
        about = {"recipe": bulk.plan["recipe"], "first_seed": seeds.start}
    result = fid.measure(args.images or bulk.folder, args.reference, args.inception, working(args.device))
    files.write_json(out, about | result)
    print(f"{out}: {fid.in_words(result)}")


def _right(result: dict) -> str:
    if result["accuracy"] is None:  # a network without classes, or of prompts
        return ""
    low, high = result["accuracy"]["interval"]
    return f", asked class {result['accuracy']['value']:.1%} ({low:.1%} to {high:.1%})"


def _seeds(args: argparse.Namespace) -> list[int]:
    """One seed an image: those of --seeds, or --samples of them from a single one on. Raises InputError."""
    asked = seeds("0" if args.seeds is None else args.seeds)
    if len(asked) == 1:
        return list(range(asked[0], asked[0] + SAMPLES.check(args.samples or SAMPLES.default)))
    if args.samples is not None:
        raise InputError("--seeds already names every image: leave --samples out, or give the first seed only.")
    SAMPLES.check(len(asked))
    if len(set(asked)) < len(asked):
        raise InputError("--seeds names a seed twice: the same image would count as two.")
    return asked


def _ranges(asked: list[int]) -> str:
    """[1, 4, 5, 6] -> '1,4-6', as --seeds reads it."""
    starts = [0, *(i for i in range(1, len(asked)) if asked[i] != asked[i - 1] + 1), len(asked)]
    runs = [asked[a:b] for a, b in pairwise(starts)]
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
