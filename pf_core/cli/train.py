"""train: train a network on a data set; an interrupted training can be resumed."""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pf_core import files
from pf_core.cli.common import add_knobs, add_registry_knobs, checked, given, given_of
from pf_core.data import DATASETS
from pf_core.data.own import paths
from pf_core.errors import InputError
from pf_core.models import PRESETS, checkpoint, preset
from pf_core.models.codecs import CODECS
from pf_core.registry import Knob, Parameter, parameters
from pf_core.timesteps import TIMESTEPS
from pf_core.training import plans, text
from pf_core.training.config import (
    CONDITIONS,
    NETWORK_SETTINGS,
    OF_TEXT,
    TEXT_SETTINGS,
    Intervals,
    RepaConfig,
    TrainRecipe,
    timestep_settings,
)
from pf_core.training.estimate import measure
from pf_core.training.loop import TrainConfig, TrainStep
from pf_core.training.plans import CODEC_KNOBS
from pf_core.training.process import be_nice, keep_memory
from pf_core.training.ranks import rank
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute, use_device

NAMES = {"dataset": "shapes", "model": "tiny", "timesteps": "ltg"}  # their defaults
EVERY = list(parameters(Intervals).values())
THREADS = Parameter("threads", int, None, Knob(1, 1024, "CPU threads"))
NICE = Parameter("nice", int, 0, Knob(0, 19, "how much to give way to other programs"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", help=f"{', '.join(DATASETS)}; default {NAMES['dataset']}")
    parser.add_argument(
        "--timesteps", help=f"training distribution of t: {', '.join(TIMESTEPS)}; default {NAMES['timesteps']}"
    )
    parser.add_argument("--model", help=f"network size: {', '.join(PRESETS)}; default {NAMES['model']}")
    text = "; ".join(f"{name}'s {k} is then {v}" for name, own in OF_TEXT.items() for k, v in own.items())
    parser.add_argument(
        "--condition",
        help=f"what to draw by: {', '.join(CONDITIONS)}; text: the data's captions ({text}); default "
        f"{TrainRecipe.condition}",
    )
    parser.add_argument("--no-difficulty", action="store_true", help="the SiT baseline: no log-variance channel")
    parser.add_argument(
        "--init",
        help="start from these weights: a shipped name or a file; a network of classes can begin one of prompts",
    )
    parser.add_argument("--out", required=True, help="folder of the run; the weights are in it, network.safetensors")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out from its last save")
    parser.add_argument("--measure", action="store_true", help="take a few steps and print the estimated cost as JSON")
    parser.add_argument("--tensorboard", action="store_true", help="log for TensorBoard too, in DIR/tensorboard")
    parser.add_argument("--device", help="auto, cpu or cuda; auto takes a GPU if there is one, and is the default")
    parser.add_argument(
        "--shard", action="store_true", help="of several processes each holds a part of the weights (fully_shard)"
    )
    parser.add_argument("--threads", help=THREADS.knob.help)
    parser.add_argument("--nice", help=f"{NICE.knob.help}, 0 to 19; default 0")
    for knob in EVERY:
        parser.add_argument(
            f"--{knob.name}-every",
            dest=f"every_{knob.name}",
            metavar="INT",
            help=f"{knob.knob.help}; default {knob.default}",
        )
    add_knobs(parser, parameters(TrainConfig).values())
    add_registry_knobs(parser, TIMESTEPS)
    add_registry_knobs(parser, DATASETS)
    add_knobs(parser, CODEC_KNOBS.values())
    add_knobs(parser, NETWORK_SETTINGS)
    add_knobs(parser, TEXT_SETTINGS, owner="with --condition text")
    add_knobs(parser, parameters(RepaConfig).values())


def run(args: argparse.Namespace) -> None:
    if args.threads is not None:
        torch.set_num_threads(THREADS.check(args.threads))
    if args.nice is not None:
        be_nice(NICE.check(args.nice))
    keep_memory()
    folder = RunFolder(args.out)
    if args.resume:
        paths.as_served(folder.about().get("served"))
    use_device(args.device or (folder.about().get("device", "auto") if args.resume else "auto"))
    recipe = _begun(folder, args) if args.resume else _recipe(args)
    every = {
        k.name: k.check(v, f"--{k.name}-every") for k in EVERY if (v := getattr(args, f"every_{k.name}")) is not None
    }
    intervals = Intervals(**{**(asdict(folder.intervals()) if args.resume else {}), **every})
    if args.measure:
        estimate = json.dumps(measure(recipe, intervals).to_dict())
        if not rank():
            print(estimate)
        return
    if recipe.condition == "text" and not rank() and not folder.saved_step():
        for said in text.notes(recipe, DATASETS[recipe.dataset].fn(**recipe.data_settings)):
            print(said, flush=True)
    tensorboard = args.tensorboard or (args.resume and bool(folder.about().get("tensorboard")))
    # a resumed run is repeated by its recipe, not by --resume
    words = ["train", *plans.command(recipe, args.out, intervals)] if args.resume else sys.argv[1:]
    command = "python -m pf_core " + shlex.join(words)
    steps = execute(
        folder, args.resume, recipe, intervals, command, tensorboard, _compass, args.shard, args.device or "auto"
    )
    if rank():  # the first process speaks for all
        for _ in steps:
            pass
        return
    _follow(steps, folder, recipe, folder.saved_step() if args.resume else 0)


def _compass(*of: Any) -> dict[str, Any]:
    from pf_core.evaluation.studies.probe_gain import along  # imported here, as few trainings need it

    return along(*of)


def _follow(steps: Iterator[TrainStep], folder: RunFolder, recipe: TrainRecipe, saved: int) -> None:
    """Run the training, from its saved step on, behind a progress bar."""
    if saved:
        with suppress(OSError):  # a full disk must not end the training here
            print(f"Goes on from step {saved:,} of {recipe.config.steps:,}.", flush=True)
    bar = tqdm(total=recipe.config.steps, initial=saved, unit="step", disable=None, dynamic_ncols=True)
    for at in steps:
        if at.step == saved + 1:
            known = files.read_json(folder.path / "data.json").get("notes", [])
            for note in filter(None, [*known, at.trainer.model.config.narrow]):
                bar.write(note)
        if at.step % 10 == 0:
            speed = f"{recipe.config.batch_size * (bar.format_dict['rate'] or 0):.0f} images/s"
            bar.set_postfix_str(f"mse {at.losses.mse.item():.4f}, {speed}", refresh=False)
        bar.update()
    bar.close()
    status = folder.status()
    if status and status.state == "finished":
        print(f"{folder.network}: {recipe.config.steps} steps of {recipe.config.batch_size} images.")
    elif status:
        print(f"{status.message} Go on with --resume --out {shlex.quote(str(folder.path))}.")


def _begun(folder: RunFolder, args: argparse.Namespace) -> TrainRecipe:
    """The recipe of the run to resume. Raises InputError for a flag that would change it."""
    recipe = folder.recipe()
    config, chosen = (
        recipe.config,
        (
            (DATASETS, recipe.dataset, recipe.data_settings),
            (TIMESTEPS, recipe.config.timesteps, recipe.config.timestep_settings),
        ),
    )
    begun = {name: getattr(config, name) for name in parameters(TrainConfig)} | asdict(preset(recipe.model))
    begun |= recipe.model_settings | {"dataset": recipe.dataset, "model": recipe.model, "timesteps": config.timesteps}
    begun |= {"init": recipe.init, "no_difficulty": not recipe.difficulty, "condition": recipe.condition}
    begun |= {knob.name: knob.default for knob in TEXT_SETTINGS} | recipe.text_settings
    begun |= vars(recipe.repa)
    asked = _config(args) | _settings(NETWORK_SETTINGS, args) | _settings(TEXT_SETTINGS, args) | _repa(args)
    asked |= {name: v for name in (*NAMES, "init", "condition") if (v := getattr(args, name)) is not None}
    asked |= {"no_difficulty": True} if args.no_difficulty else {}
    for registry, name, settings in chosen:
        begun |= registry[name].settings(settings)
        asked |= {k: registry[name].settings(given_of(args, registry))[k] for k in given_of(args, registry)}
    own = recipe.codec_settings if recipe.codec == TrainRecipe.codec else {}  # latents bring their codec along
    begun |= _of_codec(CODECS[TrainRecipe.codec].settings(own))
    asked |= _of_codec(_codec_settings(args))
    for name, value in asked.items():
        if _whole(name, begun[name]) != _whole(name, value):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{folder.path} was started with another {flag} ({begun[name]}), which --resume keeps: "
                f"leave {flag} out, or start another run, with --init from this run's weights."
            )
    return recipe


def _whole(name: str, value: Any) -> Any:
    """A flag's value as it is kept: a file or folder that is named from here by its whole path, so that the run can be
    resumed from elsewhere. Shipped networks, runs, imported sets, and what lies under a root, keep their names."""
    if name not in ("path", "init", "text_weights", "repa", "repa_model") or not value or not os.path.exists(value):
        return value
    if name == "path" and (paths.is_set(value) or any(os.path.exists(root / value) for root in paths.roots())):
        return value
    if name == "init" and checkpoint.find(value) != Path(value):
        return value
    return os.path.abspath(value)


def _codec_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What is given of the codec's knobs, checked, by their own names."""
    flags = given(args, CODEC_KNOBS.values())
    return {name: knob.check(flags[knob.name]) for name, knob in CODEC_KNOBS.items() if knob.name in flags}


def _of_codec(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of the codec by the names of their flags."""
    return {CODEC_KNOBS[name].name: value for name, value in settings.items()}


def _name_of(out: Path) -> str:
    """The run's name. Raises InputError for a name that the list of runs could not show."""
    if not re.fullmatch(checkpoint.RUN_NAME, out.name):
        raise InputError(
            f"--out ends in {out.name[:80]!r}, which is not a name for a run: use letters, digits, dots, dashes and "
            "underscores, 1 to 64 of them, a letter or digit first."
        )
    return out.name


def _config(args: argparse.Namespace) -> dict[str, Any]:
    return checked(TrainConfig, given(args, parameters(TrainConfig).values()))


def _settings(knobs: list[Parameter], args: argparse.Namespace) -> dict[str, Any]:
    return {k.name: _whole(k.name, k.check(v)) for k in knobs if (v := getattr(args, k.name)) is not None}


def _condition(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """(condition, settings of the text tower). Raises InputError."""
    condition = TrainRecipe.condition if args.condition is None else args.condition
    if condition not in CONDITIONS:
        raise InputError(f"--condition must be one of {', '.join(CONDITIONS)}, not {condition!r:.60}.")
    settings = _settings(TEXT_SETTINGS, args)
    if settings and condition != "text":
        flag = f"--{next(iter(settings)).replace('_', '-')}"
        raise InputError(f"{flag} is for networks of prompts: add --condition text, or leave it out.")
    return condition, settings


def _repa(args: argparse.Namespace) -> dict[str, Any]:
    values = checked(RepaConfig, given(args, parameters(RepaConfig).values()))
    return {name: _whole(name, value) for name, value in values.items()}


def _recipe(args: argparse.Namespace) -> TrainRecipe:
    config, shape = _config(args), _settings(NETWORK_SETTINGS, args)
    condition, tower = _condition(args)
    dataset, model, times = (NAMES[n] if (v := getattr(args, n)) is None else v for n in NAMES)
    timesteps = timestep_settings(times, given_of(args, TIMESTEPS), condition)
    data = {k: _whole(k, v) for k, v in DATASETS[dataset].settings(given_of(args, DATASETS)).items()}
    preset(model, **shape)  # raises InputError before anything is written
    if args.init is not None:
        checkpoint.find(args.init)
    if not Path(args.out).name:
        raise InputError("--out must name a folder, such as runs/first.")
    if not args.measure:
        files.check_names(args.out)
        _name_of(Path(args.out))
    return TrainRecipe(
        dataset, data, model, shape, not args.no_difficulty, _whole("init", args.init),
        TrainConfig(**config, timesteps=times, timestep_settings=timesteps),
        codec_settings=_codec_settings(args),
        condition=condition,
        text_settings=tower,
        repa=RepaConfig(**_repa(args)),
    )  # fmt: skip
