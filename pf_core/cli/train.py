"""train: train a network on a data set, resumably."""

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from pf_core import checkpoint
from pf_core.cli.common import add_knobs, add_registry_knobs, checked, given, given_of
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import PRESETS, preset
from pf_core.registry import Knob, Parameter, parameters
from pf_core.runs import SHAPE, Intervals, RunFolder, TrainRecipe, execute
from pf_core.runs.process import be_nice
from pf_core.timesteps import TIMESTEPS
from pf_core.train import TrainConfig, TrainStep

EVERY = list(parameters(Intervals).values())
THREADS = Parameter("threads", int, None, Knob(1, 1024, "CPU threads"))
NICE = Parameter("nice", int, 0, Knob(0, 19, "how much to give way to other programs"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="shapes", help=", ".join(DATASETS))
    parser.add_argument("--timesteps", default="ltg", help="training distribution of t: " + ", ".join(TIMESTEPS))
    parser.add_argument("--model", default="tiny", help="network size: " + ", ".join(PRESETS))
    parser.add_argument("--no-difficulty", action="store_true", help="the SiT baseline: no log-variance channel")
    parser.add_argument("--init", help="start from these weights: a shipped name or a file")
    parser.add_argument("--out", required=True, help="folder of the run; the weights are DIR/NAME.safetensors")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly where it was saved")
    parser.add_argument("--tensorboard", action="store_true", help="log for TensorBoard too, in DIR/tensorboard")
    parser.add_argument("--threads", help=THREADS.knob.help)
    parser.add_argument("--nice", help=f"{NICE.knob.help}, 0 to 19; default 0")
    for knob in EVERY:
        parser.add_argument(
            f"--{knob.name}-every", dest=f"every_{knob.name}", metavar="INT", help=f"default {knob.default}; 0: never"
        )
    add_knobs(parser, parameters(TrainConfig).values())
    add_registry_knobs(parser, TIMESTEPS)
    add_registry_knobs(parser, DATASETS)
    add_knobs(parser, SHAPE)


def run(args: argparse.Namespace) -> None:
    if args.threads:
        torch.set_num_threads(THREADS.check(args.threads))
    if args.nice:
        be_nice(NICE.check(args.nice))
    folder = RunFolder(args.out)
    recipe = folder.recipe() if args.resume else _recipe(args)
    every = {k.name: k.check(v) for k in EVERY if (v := getattr(args, f"every_{k.name}")) is not None}
    intervals = Intervals(**{**(asdict(folder.intervals()) if args.resume else {}), **every})
    tensorboard = args.tensorboard or (args.resume and bool(folder.about().get("tensorboard")))
    command = "python -m pf_core " + shlex.join(sys.argv[1:])
    _follow(execute(folder, args.resume, recipe, intervals, command, tensorboard), folder, recipe)


def _follow(steps: Iterator[TrainStep], folder: RunFolder, recipe: TrainRecipe) -> None:
    """Run the training behind a progress bar."""
    if saved := folder.saved_step():
        print(f"Goes on from step {saved:,} of {recipe.config.steps:,}.", flush=True)
    bar = tqdm(total=recipe.config.steps, initial=saved, unit="step", disable=None, dynamic_ncols=True)
    for at in steps:
        if at.step % 10 == 0:
            speed = f"{recipe.config.batch_size * (bar.format_dict['rate'] or 0):.0f} images/s"
            bar.set_postfix_str(f"mse {at.losses.mse.item():.4f}, {speed}", refresh=False)
        bar.update()
    bar.close()
    status = folder.status()
    if status and status.state == "finished":
        print(f"{folder.weights}: {recipe.config.steps} steps of {recipe.config.batch_size} images.")
    elif status:
        print(f"{status.message} Go on with --resume --out {shlex.quote(str(folder.path))}.")


def _recipe(args: argparse.Namespace) -> TrainRecipe:
    config = checked(TrainConfig, given(args, parameters(TrainConfig).values()))
    timesteps = TIMESTEPS[args.timesteps].settings(given_of(args, TIMESTEPS))
    data = DATASETS[args.dataset].settings(given_of(args, DATASETS))
    shape = {k.name: k.check(v) for k in SHAPE if (v := getattr(args, k.name)) is not None}
    preset(args.model, **shape)  # refuses a wrong size before anything is written
    if args.init:
        checkpoint.find(args.init)
    if not Path(args.out).name:
        raise InputError("--out must name a folder, such as runs/first.")
    return TrainRecipe(
        args.dataset, data, args.model, shape, not args.no_difficulty, args.init,
        TrainConfig(**config, timesteps=args.timesteps, timestep_settings=timesteps),
    )  # fmt: skip
