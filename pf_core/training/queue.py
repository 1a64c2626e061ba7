"""Jobs: starts, queues, pauses, stops and deletes the trainings under one folder."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.models import parameter_count
from pf_core.registry import parameters
from pf_core.training import disk, process
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import check, checked_device
from pf_core.training.state import load_state, save_state
from pf_core.training.status import (
    BUSY,
    ENDED,
    FINISHED,
    PAUSED,
    RESUMABLE,
    RUNNING,
    UNREADABLE,
    Info,
    look,
    look_anyway,
    read_job,
    trainer,
    trains,
)
from pf_core.training.store import SETTINGS, RunStore, Settings, checked_name

HERE = Path(__file__).resolve().parents[2]
TICK, DISK_TICK = 0.5, 10.0  # seconds between two looks at the queue, and at the disk
MIN_FREE = 200 * 2**20  # bytes that a new training must leave on the disk
MAX_RUNS = 500
RESERVED = ("data",)  # people's own pictures lie there
log = logging.getLogger("patch_forcing.jobs")


class Jobs(RunStore):
    """The trainings under `root`. See the package for how it is meant to be used."""

    def __init__(self, root: Path | None = None, watch: bool = False):
        super().__init__(root)
        self._children: list[subprocess.Popen] = []
        self._closed = threading.Event()
        self._mine = threading.RLock()
        if self.root.is_dir():
            disk.clear_trash(self.root)
        if watch:
            threading.Thread(target=self._watch, name="jobs", daemon=True).start()

    def close(self) -> None:
        """Stop watching the queue. Trainers go on."""
        self._closed.set()

    # settings

    def configure(self, **values: Any) -> Settings:
        """Raises InputError for a value out of range."""
        known = parameters(Settings)
        checked = {k: known[k].check(v) for k, v in values.items()}
        new = replace(self.settings, **checked)
        files.write_json(self.root / SETTINGS, asdict(new))
        self.tick()
        return new

    # beginning

    def create(
        self,
        name: str,
        recipe: TrainRecipe,
        intervals: Intervals | None = None,
        parent: dict[str, Any] | None = None,
        tensorboard: bool = False,
        start: bool = True,
        device: str = "auto",
    ) -> Info:
        """A new run, and (with `start`) its place in the queue. Raises InputError, leaving nothing behind.

        device: auto, cpu or cuda, as `train --device`.
        """
        self.check(recipe)
        checked_device(device)
        with self._locked():
            self._room(name)
            about = {"created": time.time(), "parent": parent, "tensorboard": tensorboard, "device": device}
            RunFolder(self.root / name).start(recipe, intervals, **about)
        return self.resume(name) if start else self.get(name)

    def check(self, recipe: TrainRecipe) -> None:
        """Raises InputError for a recipe that does not fit together or is larger than the settings allow."""
        settings, config = self.settings, recipe.config
        for what, asked, most in (
            ("steps", config.steps, settings.max_steps),
            ("batch_size", config.batch_size, settings.max_batch),
        ):
            if asked > most:
                raise InputError(f"{what} must be at most {most:,} here, not {asked:,}.")
        millions = parameter_count(check(recipe)) / 1e6
        if millions > settings.max_millions:
            most = f"at most {settings.max_millions:,} million are trained here"
            raise InputError(f"This network has {millions:,.1f} million parameters; {most}.")

    def free_name(self, wish: str) -> str:
        """`wish` made into a name that no run has yet: first, first-2, first-3, ..."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wish).strip("-._")[:56] or "run"
        taken = {p.name for p in self.root.glob("*")} if self.root.is_dir() else set()
        return next(n for k in range(1, MAX_RUNS * 10) if (n := stem if k == 1 else f"{stem}-{k}") not in taken)

    def fork(
        self,
        name: str,
        new: str,
        recipe: TrainRecipe,
        step: int | None = None,
        intervals: Intervals | None = None,
        start: bool = True,
    ) -> Info:
        """A run that begins where another one stands, with other settings, and says so.

        step None: with the whole saved state, it goes on at that step (same network and optimizer). A step: from the
        averaged weights kept at that step, as a training of its own from step 0. Raises InputError.
        """
        source = self.folder(name)
        if step is None:
            state, header = _forkable(source, recipe)
            parent = {"run": name, "step": header["step"]}
        else:
            weights = self.network(name, step)
            parent = {"run": name, "step": step}
        with self._locked():
            self._room(new)
            to = RunFolder(self.root / new)
            if step is None:
                save_state(to.state, state, header)
            else:
                to.path.mkdir(parents=True)
                with files.replacing(to.path / "start.safetensors") as temporary:
                    temporary.write_bytes(weights.read_bytes())
                recipe = replace(recipe, init=str(to.path / "start.safetensors"))
            try:
                self.check(recipe)
                to.start(recipe, intervals or source.intervals(), created=time.time(), parent=parent)
            except InputError:
                disk.remove(to.path)
                raise
        return self.resume(new) if start else self.get(new)

    # orders

    def resume(self, name: str) -> Info:
        """Put a run in the queue: it starts, or goes on from its last saved step, at once or when it is its turn."""
        folder = self.folder(name)
        with self._locked():
            info = look(folder)
            if info.state == FINISHED:
                raise InputError(f"{name} has finished its {info.steps:,} steps: fork it to train on.")
            if info.state not in RESUMABLE:
                raise InputError(f"{name} is {info.state} already.")
            self._over_cap()
            self._write(folder, queued=self._ticket())
        self.tick()
        return self.get(name)

    def pause(self, name: str) -> Info:
        """Save, and wait in memory after the next step; the turn passes to the next in the queue."""
        return self._order(name, "pause", (RUNNING,))

    def save_now(self, name: str) -> Info:
        """Save the state after the next step, and keep the network as it then is (see `network`)."""
        return self._order(name, "save", (RUNNING, PAUSED))

    def sample_now(self, name: str) -> Info:
        """Draw samples after the next step."""
        return self._order(name, "sample", (RUNNING, PAUSED))

    def stop(self, name: str) -> Info:
        """Save after the next step, then end. A run in the queue leaves it."""
        return self._end(name, "soft", signal.SIGTERM)

    def force_stop(self, name: str) -> Info:
        """End at once; what came after the last save is lost, and done again by resume."""
        return self._end(name, "forced", signal.SIGKILL)

    def _order(self, name: str, what: str, states: tuple[str, ...]) -> Info:
        folder = self.folder(name)
        with self._locked():
            info = look(folder)
            if info.state not in states:
                raise InputError(f"{name} is {info.state}: only a run that is {' or '.join(states)} can do that.")
            folder.order(what)
        return self.get(name)

    def _end(self, name: str, how: str, number: signal.Signals) -> Info:
        folder = self.folder(name)
        with self._locked():
            living = trainer(folder)
            state = look_anyway(folder).state
            if state in ENDED:
                raise InputError(f"{name} is not running: there is nothing to stop.")
            if state != UNREADABLE:
                self._write(folder, queued=None, **({"stop": how, "stopped": living[1]} if living else {}))
            if living:
                process.send(*living, number)
        if how == "forced" and living:
            _gone(*living)
        self.tick()
        return self.get(name)

    def delete(self, name: str) -> None:
        """Raises InputError for a run that is not at rest."""
        folder = self.folder(name)
        with self._locked():
            info = look_anyway(folder)
            if info.state not in (*ENDED, UNREADABLE) or (info.state == UNREADABLE and trains(folder)):
                raise InputError(f"{name} is {info.state}: stop it first.")
            disk.remove(folder.path)

    # the queue

    def tick(self) -> None:
        """Start whatever has its turn, keep the disk's cap, and see to children that have ended."""
        if not self.root.is_dir():
            return
        self._children = [child for child in self._children if child.poll() is None]
        if not self.queue():
            return
        with self._locked():
            states = [look_anyway(RunFolder(self.root / name)).state for name in self.names()]
            free = self.settings.parallel - sum(state in BUSY for state in states)
            for name in self.queue()[: max(0, free)]:
                self._launch(RunFolder(self.root / name))

    def _ticket(self) -> float:
        """The time, but after that of all who wait already, whatever has happened to the clock."""
        waiting = [read_job(RunFolder(self.root / name)).queued for name in self.queue()]
        return max([time.time(), *(at + 1e-3 for at in waiting)])

    def _launch(self, folder: RunFolder) -> None:
        if trainer(folder):
            if (status := folder.status()) and status.state == PAUSED:  # it waits in memory
                self._write(folder, queued=None)
                folder.withdraw("pause")
            return  # else it is at its end, and is started anew as soon as it is gone
        settings = self.settings
        argv = [sys.executable, "-m", "pf_core", "train", "--resume", "--out", str(folder.path.absolute())]
        argv += ["--threads", str(settings.threads), "--nice", str(settings.nice)]
        before = (status.birth or "") if (status := folder.status()) else ""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(settings.threads))
        try:
            with open(folder.log, "ab") as out:
                child = subprocess.Popen(
                    argv,
                    cwd=HERE,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # it outlives this server
                    env={**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE"},
                )
        except OSError as e:
            log.warning("cannot start %s: %s", folder.name, e)
            return
        self._children.append(child)
        born = process.birth(child.pid)
        self._write(folder, queued=None, launched=time.time(), pid=child.pid, birth=born, before=before)

    def _watch(self) -> None:
        looked = 0.0
        while not self._closed.wait(TICK):
            try:
                self.tick()
                if time.monotonic() - looked > DISK_TICK:
                    looked = time.monotonic()
                    self.keep_cap()
            except InputError as e:
                log.warning("jobs: %s", e)
            except Exception:
                log.exception("jobs")

    # the disk

    def keep_cap(self) -> None:
        """Clear old samples and kept networks away when all runs take more than they may; stop trainings if that is
        not enough."""
        cap = int(self.settings.disk_gb * 1e9)
        over = disk.usage(self.root) - cap
        if over <= 0:
            return
        freed = disk.prune([RunFolder(self.root / name) for name in self.names()], over)
        if freed < over:
            for info in self.all():
                if info.state == RUNNING:
                    log.warning("%s: the runs take more than %.2f GB; stopping it", info.name, cap / 1e9)
                    self.stop(info.name)

    def _over_cap(self) -> None:
        settings = self.settings
        used = disk.usage(self.root)
        if used > settings.disk_gb * 1e9:
            used -= disk.prune([RunFolder(self.root / n) for n in self.names()], int(used - settings.disk_gb * 1e9))
        if used > settings.disk_gb * 1e9:
            raise InputError(
                f"The runs take {used / 1e9:.2f} GB, more than the {settings.disk_gb:g} GB allowed: delete some."
            )
        if disk.free(self.root) < MIN_FREE:
            raise InputError(f"The disk has less than {MIN_FREE >> 20} MB left: delete some runs first.")

    def _room(self, name: str) -> None:
        """Raises InputError unless a run of this name can be made."""
        folder = self.root / checked_name(name)
        if name in RESERVED or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
            raise InputError(f"There is a run {name} already: choose another name.")
        if len(self.names()) >= MAX_RUNS:
            raise InputError(f"There are {MAX_RUNS} runs already: delete some first.")
        self.root.mkdir(parents=True, exist_ok=True)
        self._over_cap()

    # job.json is written under one lock, whatever process does it

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._mine, files.locked(self.root / ".lock"):
            yield

    def _write(self, folder: RunFolder, **changes: Any) -> None:
        files.write_json(folder.path / "job.json", asdict(replace(read_job(folder), **changes)))


def _gone(pid: int, born: str, patience: float = 5.0) -> None:
    """Wait until a killed process has gone."""
    until = time.monotonic() + patience
    while process.alive(pid, born) and time.monotonic() < until:
        time.sleep(0.01)


def _forkable(source: RunFolder, recipe: TrainRecipe) -> tuple[dict, dict]:
    """The source's state, if this recipe can go on from it. Raises InputError."""
    if not source.state.exists():
        raise InputError(f"{source.name} has saved nothing yet: there is nothing to fork.")
    state, header = load_state(source.state)
    header.setdefault("step", state["step"])
    old = source.recipe()
    if (old.model, old.model_settings, old.difficulty, old.config.optimizer) != (
        recipe.model,
        recipe.model_settings,
        recipe.difficulty,
        recipe.config.optimizer,
    ):
        raise InputError("Going on from a saved state needs the same network and optimizer: fork a kept network.")
    if recipe.config.steps <= header["step"]:
        raise InputError(f"{source.name} is at step {header['step']:,} already: ask for more steps than that.")
    return state, header
