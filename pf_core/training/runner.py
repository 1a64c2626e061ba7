"""A training in its folder: logs, validates, draws samples, saves, obeys commands, and resumes where it stopped."""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from pf_core.data import DATASETS
from pf_core.data.splits import SEARCH, VALIDATION, take
from pf_core.errors import InputError
from pf_core.models import SiTConfig, build, checkpoint, preset
from pf_core.models.codecs import Encoded, build_codec, same_space
from pf_core.models.conditioning import MOST_CHARACTERS
from pf_core.registry import Parameter, parameters
from pf_core.sampling.run import versions
from pf_core.timesteps import TIMESTEPS
from pf_core.training import memory, ranks, text, validation
from pf_core.training.codec import settled
from pf_core.training.config import CONDITIONS, NETWORK_SETTINGS, TEXT_SETTINGS, Intervals, TrainRecipe
from pf_core.training.control import TrainerStatus
from pf_core.training.loop import TrainConfig, Trainer, TrainStep, check_compiler, check_images, check_split, train
from pf_core.training.pin import pin
from pf_core.training.run_dir import RunFolder
from pf_core.training.state import load_state, save_state
from pf_core.training.tensorboard import Events

Compass = Callable[
    [TrainStep, TrainRecipe, list[str]], dict[str, Any]
]  # (step, recipe, class names) -> a line of metrics

DEVICES = ("auto", "cpu", "cuda")
CLASS_TABLE = "y_embedder.embedding_table.weight"  # of a network: (classes and null, width)
PAUSED_POLL = 0.1  # seconds between two checks for commands while paused


def execute(
    folder: RunFolder,
    resume: bool,
    recipe: TrainRecipe | None,
    intervals: Intervals | None,
    command: str,
    tensorboard: bool = False,
    compass: Compass | None = None,
    shard: bool = False,
    device: str = "auto",
) -> Iterator[TrainStep]:
    """Train by the folder's recipe, log, draw samples and save; at the end the EMA weights are written in bf16.

    Commands and signals are obeyed between steps (see TrainerStatus). status.json holds how the training ended.
    `intervals` None: those that the run was started with. compass: measured every `intervals.compass` steps; it is
    passed in because evaluation imports training. Of several processes all call this, and the first one does all but
    the steps; shard: the network is spread over them. device: as in DEVICES, for later sessions of a run that starts.
    Raises InputError.
    """
    recipe = folder.recipe() if resume else recipe
    if resume and has_finished(folder, recipe):
        return
    every = intervals or (folder.intervals() if resume else Intervals())
    if every.compass and not recipe.difficulty:
        raise InputError(
            "The compass needs a network that predicts difficulty, and this one has no variance head: set compass to 0."
        )
    if ranks.rank():
        state = _saved(folder)[0] if resume else None
        data, model = prepare(recipe, folder if state else None)
        kind = kind_of(recipe, every, data, model, shard)
        with ranks.deaf():
            yield from train(model, data, recipe.config, state, kind=kind)
        return
    made = kind = None
    if not resume:
        made = prepare(recipe)  # errors are raised before anything is written
        _check_captions(recipe, made[0])
        kind = kind_of(recipe, every, *made, shard)
        recipe = replace(settled(recipe, made[0]), rules=getattr(made[0], "rules", None))
        folder.start(recipe, intervals, tensorboard=tensorboard, device=device, created=time.time())
    saved = folder.saved_step() if resume else 0
    with TrainerStatus(folder, recipe.config.steps, saved) as trainer_status:
        state, header = _saved(folder) if resume else (None, {})
        data, model = made or prepare(recipe, folder if state else None)
        recipe = settled(recipe, data)  # a run that was only created has not looked at its latents
        kind = kind or kind_of(recipe, every, data, model, shard)
        seconds, images = header.get("seconds", 0.0), header.get("images_before")
        if images is None and recipe.init:
            images = checkpoint.images_behind(recipe.init)
        session = TrainingSession(folder, recipe, every, trainer_status, command, seconds, compass, kind, images)
        yield from session.run(data, model, state, tensorboard)


def kind_of(
    recipe: TrainRecipe, every: Intervals, data: Any, model: torch.nn.Module, shard: bool = False
) -> Callable[..., Trainer]:
    """What trains. Raises InputError for what does not go together. Imported here, as few need the others."""
    check_split(recipe.config, ranks.processes())
    if every.compass:
        take(data, SEARCH, 1)  # raises InputError where nothing is held out
    if recipe.repa.repa:
        from pf_core.training.repa import trainer_of

        if shard:
            raise InputError("REPA's projector is not sharded: leave --shard or --repa out.")
        recipe = settled(recipe, data)
        codec = build_codec(recipe.codec, recipe.codec_settings)
        return trainer_of(recipe.repa, data, codec, len(model.blocks), recipe.config)
    if not shard:
        return Trainer
    if every.compass:
        raise InputError("The compass looks at whole networks: leave --compass-every or --shard out.")
    from pf_core.training import sharded

    sharded.check(recipe.config, ranks.processes())
    return sharded.ShardedTrainer


def has_finished(folder: RunFolder, recipe: TrainRecipe) -> bool:
    """Whether the run's trainer reported the last step and its network is there. Later changes to its data or to the
    clock do not matter."""
    status = folder.status()
    done = status is not None and status.state == "finished" and status.step == recipe.config.steps
    return done and folder.network is not None


def _saved(folder: RunFolder) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """(state, header) of the last save, (None, {}) if there is none. Raises InputError for a damaged one."""
    if not folder.state.exists():
        return None, {}
    if folder.network == folder.state:  # a run called `state` of the first versions: its network overwrote its state
        raise InputError(
            f"{folder.path} has lost its saved state, which its network has overwritten: start another run, with "
            f"--init from that network."
        )
    return load_state(folder.state)


def use_device(name: str) -> None:
    """Make this process train on "cpu", "cuda" or, with "auto", on a GPU if there is one. Raises InputError."""
    if checked_device(name) == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"  # read when the process starts its first training


def checked_device(name: str) -> str:
    """Raises InputError for a device that this machine does not have."""
    if name not in DEVICES:
        raise InputError(f"device must be one of {', '.join(DEVICES)}, not {name!r}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no device 'cuda' on this machine.")
    return name


def prepare(recipe: TrainRecipe, run: RunFolder | None = None) -> tuple[Any, torch.nn.Module]:
    """(data set of states, network). run: whose saved state the network is going to hold. Raises InputError if they do
    not fit together."""
    check_compiler(recipe.config)
    if not run:
        check_images(recipe.config.steps, recipe.config.batch_size)
    data = DATASETS[recipe.dataset].fn(**recipe.data_settings)
    recipe = settled(recipe, data)
    states = data if hasattr(data, "encoded_by") else Encoded(data, build_codec(recipe.codec, recipe.codec_settings))
    model = network(recipe, data, run)
    memory.check_fits(recipe, model)
    return states, model


@dataclass
class TrainingSession:
    """What one trainer process does of a run: from its start or a saved state to its end or a stop."""

    folder: RunFolder
    recipe: TrainRecipe
    intervals: Intervals
    trainer_status: TrainerStatus
    command: str
    before: float  # seconds of training in earlier sessions
    compass: Compass | None = None
    kind: Callable[..., Trainer] = Trainer
    images_before: int | None = None  # that the network of the recipe's `init` had seen

    def run(self, data, model: torch.nn.Module, state: dict | None, tensorboard: bool) -> Iterator[TrainStep]:
        start = state["step"] if state else 0
        self.data, self.begin, self.away, self.last = data, time.perf_counter(), 0.0, None
        self._logged = None
        pin(self.folder, data, start, self.recipe.rules)
        self.folder.forget_after(start)
        ended = copy.deepcopy(model) if start == self.recipe.config.steps else None  # saved, but not published
        ema = _loaded(ended, state["ema"]) if ended is not None and state else None
        with (
            Events(self.folder.path / "tensorboard", tensorboard, start) as self.events,
            closing(train(model, data, self.recipe.config, state, kind=self.kind)) as steps,
        ):
            for at in steps:
                self.last = at
                self._after(at)
                yield at
                if not self._obey_commands(at):
                    return
                if at.step == self.recipe.config.steps:
                    ema = at.trainer.ema  # now, while other processes help to gather it
        if ema is not None:
            self._finish(ema)

    @property
    def seconds(self) -> float:
        """Seconds of training, without pauses."""
        return self.before + time.perf_counter() - self.begin - self.away

    # after every step

    def _after(self, at: TrainStep) -> None:
        if at.grad_norm.device.type == "cpu":  # reading a number from a GPU waits for the step, so only `_log` does
            _scalars(at)
        due = _due(at.step, self.recipe.config.steps)
        began = time.perf_counter()
        self.trainer_status.update(step=at.step, seconds=round(self.seconds, 1))
        if self._logged is None:  # the first step imports, compiles and allocates: its time is not the training's speed
            self._logged = (at.step, began, 0.0)
        if due(self.intervals.log):
            self._log(at)
        if due(self.intervals.validate):
            metrics = validation.validate(at.trainer.ema, self.data, self.recipe.config.source)
            self.folder.append(step=at.step, **metrics)
            self.events.validation(at.step, metrics["validation"])
        if self.compass and due(self.intervals.compass):
            self.folder.append(step=at.step, **self.compass(at, self.recipe, list(self.data.names)))
        if due(self.intervals.samples):
            self._draw(at)
        if due(self.intervals.weights):
            self._keep(at)
        if due(self.intervals.save):
            self._save(at)
        self._aside += time.perf_counter() - began
        self.trainer_status.heartbeat()

    _aside = 0.0  # seconds spent on anything but steps, left out of the speed

    def _log(self, at: TrainStep) -> None:
        speed = self._speed(at)
        entry = _scalars(at) | {"lr": self.recipe.config.lr * at.rate} | speed | {"seconds": round(self.seconds, 1)}
        self.folder.append(step=at.step, **entry)
        self.events.scalars(at.step, entry)
        self.trainer_status.update(**speed)

    def _speed(self, at: TrainStep) -> dict[str, float]:
        """Speed since the last line, without validation, samples and saves; the time left includes them. {} at step
        1."""
        step, when, aside = self._logged
        now = time.perf_counter()
        steps, took = at.step - step, now - when
        if not steps:
            return {}
        self._logged = (at.step, now, self._aside)
        rate = steps * self.recipe.config.batch_size / max(took - (self._aside - aside), 1e-9)
        left = (self.recipe.config.steps - at.step) * took / steps
        return {"images_per_second": round(rate, 1), "seconds_left": round(left, 1)}

    def _draw(self, at: TrainStep) -> None:
        validation.draw_samples(self.folder, self.recipe, self.data, at.trainer.ema, at.step)

    def _save(self, at: TrainStep) -> None:
        _scalars(at)  # raises InputError rather than save weights that are not finite
        header = {"seconds": self.seconds, "step": at.step, "images_before": self.images_before}
        save_state(self.folder.state, at.trainer.state_dict(), header)
        self.trainer_status.report(self.trainer_status.record.state, step=at.step, saved_step=at.step)
        self._write_network(self.folder.weights, at.trainer.ema, at.step)

    def _keep(self, at: TrainStep) -> None:
        self._write_network(self.folder.kept(at.step), at.trainer.ema, at.step)

    # commands

    def _obey_commands(self, at: TrainStep) -> bool:
        """Obey the commands that have arrived; False to stop."""
        commands = self.trainer_status.commands()
        if commands & {"save", "sample"}:
            self._extras(at, commands)
        if "pause" in commands and "stop" not in commands and at.step < self.recipe.config.steps:
            commands = self._pause(at)
        if "stop" not in commands or at.step == self.recipe.config.steps:
            return True
        self._save(at)
        self.trainer_status.report(
            "stopped", message=f"Stopped and saved at step {at.step:,} of {self.recipe.config.steps:,}."
        )
        return False

    def _extras(self, at: TrainStep, commands: set[str]) -> None:
        if "sample" in commands:
            self._draw(at)
        if "save" in commands:
            self._save(at)
            self._keep(at)
        self.folder.withdraw(*commands & {"save", "sample"})  # tells the sender that it is done

    def _pause(self, at: TrainStep) -> set[str]:
        """Wait for a resume or stop command; the commands that ended the wait."""
        began = time.perf_counter()
        self._save(at)
        message = f"Paused and saved at step {at.step:,} of {self.recipe.config.steps:,}."
        self.trainer_status.report("paused", step=at.step, seconds_left=None, message=message)
        while "pause" in (commands := self.trainer_status.commands()) and "stop" not in commands:
            if commands & {"save", "sample"}:
                self._extras(at, commands)
            if self.trainer_status.due():
                self.trainer_status.report("paused")
            time.sleep(PAUSED_POLL)
        paused = time.perf_counter() - began
        self.away += paused
        self._aside += paused
        if "stop" not in commands:
            self.trainer_status.report("running", message=f"Resumed from step {at.step:,}.")
        return commands

    # networks

    def _finish(self, ema: torch.nn.Module) -> None:
        steps = self.recipe.config.steps
        self._write_network(self.folder.weights, ema, steps)
        self.folder.publish()
        self.trainer_status.report(
            "finished", step=steps, seconds=round(self.seconds, 1), seconds_left=0.0, message=f"All {steps:,} steps."
        )

    def _write_network(self, path, ema: torch.nn.Module, step: int) -> None:
        about = record(self.recipe, step, self.seconds, self.command, next(ema.parameters()).device.type)
        about["distinct_images"] = min(len(self.data), about["images"])
        if self.images_before:
            about["images_before"] = self.images_before
        if facts := getattr(self.data, "facts", None):
            about["data"] = facts
        if prompts := self._prompts:
            about["prompts"] = prompts
        codec = (self.recipe.codec, self.recipe.codec_settings)
        classes = list(self.data.names) if ema.config.num_classes else []
        checkpoint.save(path, ema, classes, about, self.recipe.config.source, *codec)

    @cached_property
    def _prompts(self) -> list[str]:
        """Captions of held-out images, as examples; none for a network of classes."""
        if self.recipe.condition != "text":
            return []
        sample = self.data.batch(VALIDATION.first(checkpoint.MOST_EXAMPLES))
        return list(dict.fromkeys(caption[:MOST_CHARACTERS] for caption in sample.captions if caption.strip()))


def check(recipe: TrainRecipe) -> SiTConfig:
    """The configuration of a recipe's network, without building it. Raises InputError for a value out of range or
    values that do not fit together."""
    for name, knob in parameters(TrainConfig).items():
        knob.check(getattr(recipe.config, name))
    check_images(recipe.config.steps, recipe.config.batch_size)
    TIMESTEPS[recipe.config.timesteps].settings(recipe.config.timestep_settings)
    DATASETS[recipe.dataset].settings(recipe.data_settings)
    build_codec(recipe.codec, recipe.codec_settings)
    _check_settings("network", NETWORK_SETTINGS, recipe.model_settings)
    _check_settings("text tower", TEXT_SETTINGS, recipe.text_settings)
    data = DATASETS[recipe.dataset].fn(**recipe.data_settings)
    config = network_config(recipe, data)
    _check_captions(recipe, data)
    if recipe.repa.repa:
        from pf_core.training import repa  # as few need it

        repa.check(recipe.repa, data, config.depth, recipe.config)
    return config


def _check_captions(recipe: TrainRecipe, data: Any) -> None:
    if recipe.condition == "text":
        text.check(recipe, data)


def _check_settings(what: str, knobs: list[Parameter], given: dict[str, Any]) -> None:
    known = {knob.name: knob for knob in knobs}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"A {what} has no setting {name!r}; its settings are: {', '.join(known)}.")
        known[name].check(value)


def network_config(recipe: TrainRecipe, data, run: RunFolder | None = None) -> SiTConfig:
    """The configuration of the recipe's network. Raises InputError if it does not fit the data or `init`. run: a run
    that has saved its state: what it began with may be gone."""
    recipe = settled(recipe, data)
    if recipe.condition not in CONDITIONS:
        raise InputError(f"condition must be one of {', '.join(CONDITIONS)}, not {recipe.condition!r:.60}.")
    fixed = {"in_channels": data.channels, "input_size": data.size}
    fixed["num_classes"] = len(data.names) if recipe.condition == "classes" else 0
    fixed["text"] = text.config_of(recipe, data, run and run.network) if recipe.condition == "text" else None
    config = preset(recipe.model, **fixed, predict_uncertainty=recipe.difficulty, **recipe.model_settings)
    _ = config.grid  # raises InputError if the side is not a multiple of the patch size
    if recipe.init and not run:
        path = checkpoint.find(recipe.init)
        header, start = checkpoint.read_header(path), checkpoint.config_of(path)
        if apart := _apart(start, config):
            raise InputError(f"{recipe.init} is another network than the recipe's: {apart}.")
        codec = checkpoint.codec_in(header)
        if not same_space(codec, mine := build_codec(recipe.codec, recipe.codec_settings)):
            more = "" if hasattr(data, "encoded_by") else ": give the recipe the same --pixel-scale"
            raise InputError(f"{recipe.init} works on {codec}, this data on {mine}{more}.")
    return config


def network(recipe: TrainRecipe, data, run: RunFolder | None = None) -> torch.nn.Module:
    """The recipe's network with its initial (or `init`'s) weights. If `init` is a network of classes and prompts are
    to be learnt, its table is left behind, and what attends to the prompt is new and at first silent. run: see
    network_config; the state brings all weights."""
    model = build(network_config(recipe, data, run), recipe.config.seed)
    if run:
        return model
    if recipe.condition == "text":
        text.read_weights(recipe, model)
    if recipe.init:
        start = checkpoint.load(recipe.init, to_train=True)
        weights = _by_name(start.model.state_dict(), start.conditioner.names, data.names)
        if model.config.text:
            weights.pop(CLASS_TABLE, None)
        model.load_state_dict(model.state_dict() | weights)
    return model


def _apart(start: SiTConfig, config: SiTConfig) -> str:
    """In what `init`'s network is another than the recipe's, and the flags that make the recipe's like it; "" if it can
    begin the training: a network of classes can begin one of prompts."""
    flags = {knob.name: knob.flag for knob in NETWORK_SETTINGS}
    may = ("text", "num_classes") if start.text is None and config.text is not None else ()
    names = [name for name, value in vars(start).items() if value != getattr(config, name) and name not in may]
    asked = [f"{flags[name]} {getattr(start, name)}" for name in names if name in flags]
    asked += ["--no-difficulty"] * (config.predict_uncertainty and not start.predict_uncertainty)
    rest = [name for name in names if name not in (*flags, "predict_uncertainty")]
    parts = [f"give the recipe {' '.join(asked)}"] if asked else []
    parts += [f"its {n.replace('_', ' ')} is {getattr(start, n)}, not {getattr(config, n)}" for n in rest]
    parts += ["leave --no-difficulty out"] * (start.predict_uncertainty and not config.predict_uncertainty)
    return "; ".join(parts)


def _by_name(weights: dict[str, torch.Tensor], then: list[str], now: list[str]) -> dict[str, torch.Tensor]:
    """Weights of a network with the classes `then`, rearranged for the classes `now`: a class keeps its row by name,
    and new names get the remaining rows in order."""
    if not then or len(then) != len(now) or then == list(now):
        return weights
    rest = [i for i, name in enumerate(then) if name not in now]
    rows = [then.index(name) if name in then else rest.pop(0) for name in now]
    return weights | {CLASS_TABLE: weights[CLASS_TABLE][[*rows, len(then)]]}  # the null class stays the last


def record(recipe: TrainRecipe, step: int, seconds: float, command: str, device: str) -> dict[str, Any]:
    """The part "training" of a checkpoint's header."""
    return {
        "recipe": recipe.to_dict(),
        "command": command,
        "steps": step,
        "images": step * recipe.config.batch_size,
        "wall_seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "device": device,
        "versions": versions(),
    }


def _due(step: int, steps: int) -> Callable[[int], bool]:
    return lambda every: every > 0 and (step % every == 0 or step == steps)


def _scalars(at: TrainStep) -> dict[str, float]:
    """Losses, gradient norm and rate as numbers. Raises InputError if one is not finite."""
    losses = {k: v.item() for k, v in at.losses._asdict().items() if v is not None}
    values = losses | {"grad_norm": float(at.grad_norm), "rate": at.rate}
    if not all(map(math.isfinite, values.values())):
        raise InputError(
            f"At step {at.step:,} the loss is no longer finite: lower the learning rate or clip the gradient. "
            "The last saved state is kept."
        )
    return {k: round(v, 6) for k, v in values.items()}


def _loaded(model: torch.nn.Module, weights: dict) -> torch.nn.Module:
    model.load_state_dict(weights)
    return model
