"""judge: train a judge of the shapes data set on real images, and measure it on held-out ones."""

import argparse
import shlex
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from pf_core import files
from pf_core.cli.common import add_registry_knobs, given_of
from pf_core.data import DATASETS
from pf_core.evaluation.judges import shapes as judges
from pf_core.registry import Knob, Parameter
from pf_core.sampling.run import versions

STEPS = Parameter("steps", int, 1200, Knob(1, 10**6, "optimizer steps of 64 images"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default=str(judges.FOLDER / "shapes.safetensors"), help="default: the shipped one's place"
    )
    parser.add_argument("--steps", default=STEPS.default, help=f"{STEPS.knob.help}; default {STEPS.default}")
    add_registry_knobs(parser, DATASETS)


def run(args: argparse.Namespace) -> None:
    files.check_writable(args.out)
    steps = STEPS.check(args.steps)
    settings = DATASETS["shapes"].settings(given_of(args, DATASETS))
    data = DATASETS["shapes"].fn(**settings)
    begin = time.perf_counter()
    *_, (_, _, judge) = tqdm(judges.train_judge(data, steps), total=steps, unit="step", disable=None)
    record = {
        "data": settings,
        "images": steps * 64,
        "wall_seconds": round(time.perf_counter() - begin),
        "threads": torch.get_num_threads(),
        "command": "python -m pf_core " + shlex.join(sys.argv[1:]),
        "versions": versions(),
        "held_out_accuracy": judges.accuracy(judge, data, 10_000),
    }
    judges.save(Path(args.out), judge, record)
    held_out = record["held_out_accuracy"]
    seen = f"shape {held_out['shape']:.2%}, texture {held_out['texture']:.2%}"
    print(f"{args.out}: {seen} of {held_out['images']} held-out images.")
