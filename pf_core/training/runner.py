"""A training in its folder: logs, validates, draws and saves, obeys its desk, and goes on where it stopped."""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from pf_core import files
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import SiTConfig, build, checkpoint, preset
from pf_core.registry import parameters
from pf_core.sampling.run import versions
from pf_core.timesteps import TIMESTEPS
from pf_core.training import validation as live
from pf_core.training.config import SHAPE, Intervals, TrainRecipe
from pf_core.training.control import Desk
from pf_core.training.loop import TrainConfig, TrainStep, check_compiler, train
from pf_core.training.run_dir import RunFolder
from pf_core.training.state import load_state, save_state
from pf_core.training.tensorboard import Events

Compass = Callable[[TrainStep, TrainRecipe, list[str]], dict[str, Any]]  # the classes' names last: a line of metrics

DEVICES = ("auto", "cpu", "cuda")
CLASS_TABLE = "y_embedder.embedding_table.weight"  # of a network: (classes and null, width)
PAUSED_LOOK = 0.1  # seconds between two looks at the orders of a paused trainer


def execute(
    folder: RunFolder,
    resume: bool,
    recipe: TrainRecipe | None,
    intervals: Intervals | None,
    command: str,
    tensorboard: bool = False,
    compass: Compass | None = None,
) -> Iterator[TrainStep]:
    """Train as the folder's recipe says, logging, sampling and saving on the way; ends with the EMA weights in bf16.

    Stops between steps when told to (see Desk), saving first. Whatever ends it, status.json says so. `intervals` None
    are those that the run was started with. compass: what is to be measured every `intervals.compass` steps; it comes
    from outside because measuring stands above training. Raises InputError.
    """
    recipe = folder.recipe() if resume else recipe
    if resume and has_finished(folder, recipe):
        return
    every = intervals or (folder.intervals() if resume else Intervals())
    if every.compass and not recipe.difficulty:
        raise InputError("The compass asks a network which patches are easy: this one is to have no variance head.")
    if int(os.environ.get("RANK", 0)):  # of a training over several processes the first alone keeps the folder
        state = _saved(folder)[0] if resume else None
        data, model = prepare(recipe)
        yield from train(model, data, recipe.config, state)
        return
    made = None
    if not resume:
        made = prepare(recipe)  # refuses what is wrong before anything is written
        recipe = replace(recipe, rules=getattr(made[0], "rules", None))
        folder.start(recipe, intervals, tensorboard=tensorboard)
    saved = folder.saved_step() if resume else 0
    with Desk(folder, recipe.config.steps, saved) as desk:
        state, header = _saved(folder) if resume else (None, {})
        sitting = Sitting(folder, recipe, every, desk, command, header.get("seconds", 0.0), compass)
        yield from sitting.run(*(made or prepare(recipe)), state, tensorboard)


def has_finished(folder: RunFolder, recipe: TrainRecipe) -> bool:
    """Whether a run has nothing left to do: its trainer said so, and its network is there. Nothing that happens to its
    data after that, or to a clock, makes it anything else."""
    status = folder.status()
    done = status is not None and status.state == "finished" and status.step == recipe.config.steps
    return done and folder.network is not None


def _saved(folder: RunFolder) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """(state, header) of the last save, (None, {}) if there is none. Raises InputError for a damaged one."""
    if not folder.state.exists():
        return None, {}
    if folder.network == folder.state:  # of a run called `state`, whose network took its place in the first versions
        raise InputError(f"{folder.path} has its network where its state was: begin another run, with --init from it.")
    return load_state(folder.state)


def use_device(name: str) -> None:
    """Have this process train on "cpu", "cuda" or, with "auto", on a GPU if there is one. Raises InputError."""
    if checked_device(name) == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"  # read when the first training of a process begins


def checked_device(name: str) -> str:
    """Raises InputError for a device that is not here."""
    if name not in DEVICES:
        raise InputError(f"device must be one of {', '.join(DEVICES)}, not {name!r}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no device 'cuda' on this machine.")
    return name


def prepare(recipe: TrainRecipe) -> tuple[Any, torch.nn.Module]:
    """(data set, network). Raises InputError for what does not fit together."""
    check_compiler(recipe.config)
    data = DATASETS[recipe.dataset].fn(**recipe.data_settings)
    return data, network(recipe, data)


@dataclass
class Sitting:
    """One trainer's part of a run, from its start or a saved state to its end or a stop."""

    folder: RunFolder
    recipe: TrainRecipe
    intervals: Intervals
    desk: Desk
    command: str
    before: float  # seconds of training in earlier sittings
    compass: Compass | None = None

    def run(self, data, model: torch.nn.Module, state: dict | None, tensorboard: bool) -> Iterator[TrainStep]:
        start = state["step"] if state else 0
        self.data, self.begin, self.away, self.last = data, time.perf_counter(), 0.0, None
        self._logged = None
        pin(self.folder, data, start, self.recipe.rules)
        self.folder.forget_after(start)
        with Events(self.folder.path / "tensorboard", tensorboard, start) as self.events:
            for at in train(model, data, self.recipe.config, state):
                self.last = at
                self._after(at)
                yield at
                if not self._obey(at):
                    return
        if self.last is None and state is None:
            return
        ema = self.last.trainer.ema if self.last is not None else _loaded(model, state["ema"])
        self._finish(ema)

    @property
    def seconds(self) -> float:
        """Of training, pauses left out."""
        return self.before + time.perf_counter() - self.begin - self.away

    # after every step

    def _after(self, at: TrainStep) -> None:
        if at.grad_norm.device.type == "cpu":  # on a GPU looking at a number waits for the step: the next line will do
            _scalars(at)
        due = _due(at.step, self.recipe.config.steps)
        began = time.perf_counter()
        self.desk.note(step=at.step, seconds=round(self.seconds, 1))
        if self._logged is None:  # the first step imports, compiles, allocates: it says nothing of the speed
            self._logged = (at.step, began, 0.0)
        if due(self.intervals.log):
            self._log(at)
        if due(self.intervals.validate):
            found = live.validation(at.trainer.ema, self.data, self.recipe.config.source)
            self.folder.append(step=at.step, **found)
            self.events.validation(at.step, found["validation"])
        if self.compass and due(self.intervals.compass):
            self.folder.append(step=at.step, **self.compass(at, self.recipe, list(self.data.names)))
        if due(self.intervals.samples):
            self._draw(at)
        if due(self.intervals.weights):
            self._keep(at)
        if due(self.intervals.save):
            self._save(at)
        self._aside += time.perf_counter() - began
        self.desk.beat()

    _aside = 0.0  # seconds spent on anything but steps: they do not count as the training's speed

    def _log(self, at: TrainStep) -> None:
        speed = self._speed(at)
        entry = _scalars(at) | {"lr": self.recipe.config.lr * at.rate} | speed | {"seconds": round(self.seconds, 1)}
        self.folder.append(step=at.step, **entry)
        self.events.scalars(at.step, entry)
        self.desk.note(**speed)

    def _speed(self, at: TrainStep) -> dict[str, float]:
        """Of the steps since the last line, without looks and saves; what is left has them. {} at the first step."""
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
        live.draw_samples(self.folder, self.recipe, self.data.names, at.trainer.ema, at.step)

    def _save(self, at: TrainStep) -> None:
        _scalars(at)  # refuses to save weights that are no numbers
        header = {"seconds": self.seconds, "step": at.step}
        save_state(self.folder.state, at.trainer.state_dict(), header)
        self.desk.say(self.desk.status.state, step=at.step, saved_step=at.step)
        self._write_network(self.folder.weights, at.trainer.ema, at.step)

    def _keep(self, at: TrainStep) -> None:
        self._write_network(self.folder.kept(at.step), at.trainer.ema, at.step)

    # orders

    def _obey(self, at: TrainStep) -> bool:
        """Do what was ordered; False to stop."""
        orders = self.desk.orders()
        if orders & {"save", "sample"}:
            self._extras(at, orders)
        if "pause" in orders and "stop" not in orders and at.step < self.recipe.config.steps:
            orders = self._pause(at)
        if "stop" not in orders or at.step == self.recipe.config.steps:
            return True
        self._save(at)
        self.desk.say("stopped", message=f"Stopped and saved at step {at.step:,} of {self.recipe.config.steps:,}.")
        return False

    def _extras(self, at: TrainStep, orders: set[str]) -> None:
        if "sample" in orders:
            self._draw(at)
        if "save" in orders:
            self._save(at)
            self._keep(at)
        self.folder.withdraw(*orders & {"save", "sample"})  # done: whoever asked can tell by this

    def _pause(self, at: TrainStep) -> set[str]:
        """Wait until told to go on or to stop; the orders that ended the wait."""
        began = time.perf_counter()
        self._save(at)
        message = f"Paused and saved at step {at.step:,} of {self.recipe.config.steps:,}."
        self.desk.say("paused", step=at.step, seconds_left=None, message=message)
        while "pause" in (orders := self.desk.orders()) and "stop" not in orders:
            if orders & {"save", "sample"}:
                self._extras(at, orders)
            if self.desk.silent():
                self.desk.say("paused")
            time.sleep(PAUSED_LOOK)
        paused = time.perf_counter() - began
        self.away += paused
        self._aside += paused
        if "stop" not in orders:
            self.desk.say("running", message=f"Goes on from step {at.step:,}.")
        return orders

    # networks

    def _finish(self, ema: torch.nn.Module) -> None:
        steps = self.recipe.config.steps
        self._write_network(self.folder.weights, ema, steps)
        self.folder.publish()
        self.desk.say(
            "finished", step=steps, seconds=round(self.seconds, 1), seconds_left=0.0, message=f"All {steps:,} steps."
        )

    def _write_network(self, path, ema: torch.nn.Module, step: int) -> None:
        about = record(self.recipe, step, self.seconds, self.command, next(ema.parameters()).device.type)
        about["distinct_images"] = min(len(self.data), about["images"])
        if facts := getattr(self.data, "facts", None):
            about["data"] = facts
        checkpoint.save(path, ema, list(self.data.names), about, self.recipe.config.source)


def pin(folder: RunFolder, data, step: int, rules: int | None) -> None:
    """Write down which pictures a run is trained on. Raises InputError if a run that has come to `step` saw others, or
    saw them otherwise: rules is the version of the reading rules that it began under."""
    facts, path = getattr(data, "facts", None), folder.path / "data.json"
    if not facts:  # a data set that is made, not collected, cannot change
        return
    known = files.read_json(path)
    if step and known and known.get("digest") != facts["digest"]:
        rules = known.get("rules", rules or 1)  # the last that were seen to read them the same
        if rules != facts["rules"]:
            raise InputError(
                f"This version reads these pictures differently than the one that began this run (rules {rules} then, "
                f"{facts['rules']} now): start another run, with --init to begin with this one's network."
            )
        raise InputError(
            f"The pictures have changed since this run began ({known.get('pictures')} then, {facts['pictures']} now): "
            "put them back as they were, or start another run from its network."
        )
    files.write_json(path, facts)


def check(recipe: TrainRecipe) -> SiTConfig:
    """The shape of a recipe's network, which is not built. Raises InputError for any value that is out of range, and
    for what does not fit together."""
    for name, knob in parameters(TrainConfig).items():
        knob.check(getattr(recipe.config, name))
    TIMESTEPS[recipe.config.timesteps].settings(recipe.config.timestep_settings)
    DATASETS[recipe.dataset].settings(recipe.data_settings)
    known = {knob.name: knob for knob in SHAPE}
    for name, value in recipe.model_settings.items():
        if name not in known:
            raise InputError(f"A network has no setting {name!r}; its settings are: {', '.join(known)}.")
        known[name].check(value)
    return shape(recipe, DATASETS[recipe.dataset].fn(**recipe.data_settings))


def shape(recipe: TrainRecipe, data) -> SiTConfig:
    """Of the recipe's network. Raises InputError for what does not fit the data, or its `init`."""
    fixed = {"in_channels": data.channels, "input_size": data.size, "num_classes": len(data.names)}
    config = preset(recipe.model, **fixed, predict_uncertainty=recipe.difficulty, **recipe.model_settings)
    _ = config.grid  # refuses a side that cannot be cut
    if recipe.init:
        start = SiTConfig(**checkpoint.read_header(checkpoint.find(recipe.init))["model"])
        if start != config:
            raise InputError(f"{recipe.init} has another shape than the network asked for: {start}.")
    return config


def network(recipe: TrainRecipe, data) -> torch.nn.Module:
    """The recipe's network with its initial (or `init`'s) weights."""
    model = build(shape(recipe, data), recipe.config.seed)
    if recipe.init:
        start = checkpoint.load(recipe.init)
        model.load_state_dict(_by_name(start.model.state_dict(), start.conditioner.names, data.names))
    return model


def _by_name(weights: dict[str, torch.Tensor], then: list[str], now: list[str]) -> dict[str, torch.Tensor]:
    """Weights of a network of the classes `then` for one of `now`: each class's row goes where its name is; what is
    left goes to the names that are new, in order."""
    if not then or len(then) != len(now) or then == list(now):
        return weights
    rest = [i for i, name in enumerate(then) if name not in now]
    rows = [then.index(name) if name in then else rest.pop(0) for name in now]
    return weights | {CLASS_TABLE: weights[CLASS_TABLE][[*rows, len(then)]]}  # the null class stays the last


def record(recipe: TrainRecipe, step: int, seconds: float, command: str, device: str) -> dict[str, Any]:
    """What a checkpoint's header says of its training."""
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
    """Raises InputError if they are no numbers any more."""
    losses = {k: v.item() for k, v in at.losses._asdict().items() if v is not None}
    found = losses | {"grad_norm": float(at.grad_norm), "rate": at.rate}
    if not all(map(math.isfinite, found.values())):
        raise InputError(
            f"At step {at.step:,} the loss is no finite number any more: lower the learning rate or clip the gradient. "
            "What was saved before is kept."
        )
    return {k: round(v, 6) for k, v in found.items()}


def _loaded(model: torch.nn.Module, weights: dict) -> torch.nn.Module:
    model.load_state_dict(weights)
    return model
