"""judge: train a judge of a data set on real images, and measure it on held-out ones."""

import argparse
import shlex
import sys
import time
from collections.abc import Collection
from pathlib import Path

import torch
from tqdm import tqdm

from pf_core import files
from pf_core.cli.common import add_device, add_knobs, add_registry_knobs, given_of
from pf_core.data import DATASETS
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.evaluation import judges
from pf_core.registry import Knob, Parameter
from pf_core.sampling.run import versions

STEPS = Parameter("steps", int, 1200, Knob(1, 10**6, "optimizer steps"))
BATCH = Parameter("batch_size", int, 64, Knob(8, 4096, "images a step"))
DISTINCT = Parameter(
    "distinct", int, 0, Knob(0, 10**7, "number of distinct images, repeated and mirrored; 0: every image is new")
)
WIDTH = Parameter("width", int, 32, Knob(4, 256, "channels of the first convolution"))
OPTIONS = (STEPS, BATCH, DISTINCT, WIDTH)
TESTED = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="shapes", help=f"{', '.join(_judged())}; default shapes")
    parser.add_argument("--kind", default="classes", help=f"what it says: {', '.join(judges.KINDS)}; default classes")
    parser.add_argument(
        "--whole", default="", metavar="KNOBS", help="settings drawn from their whole range, such as variety"
    )
    parser.add_argument("--out", help="default: the data set's file among the shipped judges")
    parser.add_argument("--bf16", action="store_true", help="train in bf16, faster on hardware that supports it")
    add_device(parser)
    add_knobs(parser, OPTIONS)
    add_registry_knobs(parser, DATASETS)


def _judged() -> list[str]:
    """Data sets of which some judge has something to say."""
    return [name for name, entry in DATASETS.items() if any(kind.check(entry.fn) for kind in judges.KINDS.values())]


def run(args: argparse.Namespace) -> None:
    steps, batch, distinct, width = (k.check(getattr(args, k.name) or k.default) for k in OPTIONS)
    of = judges.Field(args.dataset, given_of(args, DATASETS), _whole(args.dataset, args.whole), args.kind)
    name = args.dataset if args.kind == "classes" else f"{args.dataset}-{args.kind}"
    out = Path(args.out or judges.FOLDER / f"{name}.safetensors")
    if not args.out and out.exists():
        raise InputError(f"{out} is there already: name another file with --out.")
    files.check_writable(out)
    begin = time.perf_counter()
    training = judges.train_judge(
        of, steps, batch, distinct=distinct, width=width, bf16=args.bf16, device=working(args.device)
    )
    *_, (_, _, judge) = tqdm(training, total=steps, unit="step", disable=None)
    record = {
        "dataset": of.dataset,
        "data": of.settings,
        "ranges": of.ranges | judge.covers(of),
        "images": steps * batch,
        "distinct": min(distinct or steps * batch, steps * batch),
        "wall_seconds": round(time.perf_counter() - begin),
        "threads": torch.get_num_threads(),
        "command": "python -m pf_core " + shlex.join(sys.argv[1:]),
        "versions": versions(),
    }
    judges.save(out, judge, record)
    judge, _ = judges.load(out)  # as it is on disk, rounded
    record["held_out_accuracy"] = judges.accuracy(judge, of, TESTED)
    record["at_the_ends"] = [
        ends | judges.accuracy(judge, judges.Field(of.dataset, of.settings | ends, kind=of.kind), TESTED // 5)
        for ends in (of.corners() if of.ranges else ())
    ]
    judges.save(out, judge, record)
    print(f"{out}: {_accuracies(record['held_out_accuracy'])} held-out images.")
    for ends in record["at_the_ends"]:
        print("  at " + ", ".join(f"{k} {ends[k]:g}" for k in of.ranges) + f": {_accuracies(ends, of.ranges)}")


def _accuracies(accuracy: dict, but: Collection[str] = ()) -> str:
    shares = (f"{name} {share:.2%}" for name, share in accuracy.items() if name not in ("images", *but))
    return ", ".join(shares) + f" of {accuracy['images']}"


def _whole(dataset: str, names: str) -> dict[str, tuple[float, float]]:
    """'variety' -> {'variety': (0.0, 1.0)}. Raises InputError."""
    knobs, ranges = DATASETS[dataset].knobs, {}
    for name in filter(None, (n.strip().replace("-", "_") for n in names.split(","))):
        if name not in knobs or knobs[name].type is not float:
            known = ", ".join(n for n, k in knobs.items() if k.type is float) or "none"
            raise InputError(f"--whole takes settings of {dataset} that are numbers ({known}), not {name!r:.60}.")
        ranges[name] = (float(knobs[name].knob.low), float(knobs[name].knob.high))
    return ranges
