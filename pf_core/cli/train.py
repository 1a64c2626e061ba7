"""train: train a network on a data set, resumably."""

import argparse
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import torch
from tqdm import tqdm

from pf_core import checkpoint
from pf_core.cli.common import add_knobs, add_registry_knobs, checked, given, given_of
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import PRESETS, preset
from pf_core.registry import Knob, Parameter, parameters
from pf_core.runs import Intervals, RunFolder, TrainRecipe, execute
from pf_core.timesteps import TIMESTEPS
from pf_core.train import TrainConfig

SHAPE = [
    Parameter("depth", int, None, Knob(1, 100, "blocks, instead of the size's own")),
    Parameter("hidden_size", int, None, Knob(8, 8192, "width, instead of the size's own")),
    Parameter("num_heads", int, None, Knob(1, 128, "attention heads, instead of the size's own")),
    Parameter("patch_size", int, None, Knob(1, 64, "pixels, instead of the size's own")),
    Parameter("t_scale", float, None, Knob(0.001, 100000, "factor of t before its embedding")),
]
EVERY = [Parameter(f.name, int, f.default, Knob(0, 10**9, "every so many steps; 0: never")) for f in fields(Intervals)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="shapes", help=", ".join(DATASETS))
    parser.add_argument("--timesteps", default="ltg", help="training distribution of t: " + ", ".join(TIMESTEPS))
    parser.add_argument("--model", default="tiny", help="network size: " + ", ".join(PRESETS))
    parser.add_argument("--no-difficulty", action="store_true", help="the SiT baseline: no log-variance channel")
    parser.add_argument("--init", help="start from these weights: a shipped name or a file")
    parser.add_argument("--out", required=True, help="folder of the run; the weights are DIR/NAME.safetensors")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly where it was saved")
    parser.add_argument("--threads", help="CPU threads")
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
        torch.set_num_threads(Parameter("threads", int, None, Knob(1, 1024)).check(args.threads))
    intervals = Intervals(**{k.name: k.check(v) for k in EVERY if (v := getattr(args, f"every_{k.name}")) is not None})
    folder = RunFolder(args.out)
    recipe = folder.recipe() if args.resume else _recipe(args)
    command = "python -m pf_core " + shlex.join(sys.argv[1:])
    bar = tqdm(total=recipe.config.steps, unit="step", disable=None, dynamic_ncols=True)
    for at in execute(folder, args.resume, recipe, intervals, command):
        if bar.n == 0 and at.step > 1:  # resumed: steps done before do not count as speed
            bar.initial = bar.n = at.step - 1
        if at.step % 10 == 0:
            speed = f"{recipe.config.batch_size * (bar.format_dict['rate'] or 0):.0f} images/s"
            bar.set_postfix_str(f"mse {at.losses.mse.item():.4f}, {speed}", refresh=False)
        bar.update()
    bar.close()
    print(f"{folder.weights}: {recipe.config.steps} steps of {recipe.config.batch_size} images.")


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
