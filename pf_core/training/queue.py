"""Jobs: starts, queues, pauses, stops and deletes trainings, one folder each."""

import logging
import os
import re
import shutil
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
from pf_core.models import SiTConfig, checkpoint, parameter_count
from pf_core.models.codecs import Codec, same_space
from pf_core.registry import parameters
from pf_core.training import disk, process
from pf_core.training.codec import codec_of, with_codec
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.run_dir import RunFolder, to_file
from pf_core.training.runner import check, checked_device
from pf_core.training.status import (
    BUSY,
    ENDED,
    FINISHED,
    PAUSED,
    RESUMABLE,
    RUNNING,
    UNREADABLE,
    Info,
    read_info,
    read_job,
    trainer,
    trains,
    try_read_info,
)
from pf_core.training.store import SETTINGS, RunCatalog, Settings, checked_name

HERE = Path(__file__).resolve().parents[2]
TICK, DISK_TICK = 0.5, 10.0  # seconds between two checks of the queue, and of the disk
MIN_FREE = 200 * 2**20  # bytes of free disk that a new training needs
MAX_RUNS = 500
RESERVED = ("data",)  # the folder of own pictures
IN_WORDS = {  # fields of a network's configuration whose names do not say what they are
    "in_channels": "channels",
    "input_size": "image size",
    "num_classes": "number of classes",
    "predict_uncertainty": "difficulty head",
    "text": "text tower",
}
log = logging.getLogger("patch_forcing.jobs")


class Jobs(RunCatalog):
    """The trainings under `root`. The package's docstring shows how to use it."""

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
        """Stop watching the queue. Running trainers continue."""
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

    # creating

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
        """Create a run and, with `start`, queue it. Raises InputError and then creates nothing.

        device: auto, cpu or cuda, as `train --device`.
        """
        self.check(recipe)
        checked_device(device)
        recipe = with_codec(recipe)  # looks at the data: not while others wait for the lock
        with self._locked():
            self._room(name)
            about = {"created": time.time(), "parent": parent, "tensorboard": tensorboard, "device": device}
            RunFolder(self.root / name).start(recipe, intervals, **about)
        return self.resume(name) if start else self.get(name)

    def check(self, recipe: TrainRecipe) -> None:
        """Raises InputError for a recipe whose values do not fit together or exceed the settings' limits."""
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
        """`wish` as a valid name that no run has yet: first, first-2, first-3, ..."""
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
        device: str | None = None,
    ) -> Info:
        """A new run that starts from another run, which it records as its parent.

        step None: continues from the whole saved state, with the same network and optimizer. A step: starts at step 0
        from the averaged weights kept at that step, which bring their text tower along. device: None: the other run's.
        Raises InputError.
        """
        source = self.folder(name)
        old = source.about()
        device = checked_device(device or old.get("device", "auto"))
        if step is None:
            begun = _forkable(source, recipe)
            weights = source.start_weights if recipe.init == str(source.start_weights) else None
        else:
            begun, weights = step, self.network(name, step)
            if source.recipe().condition == "text":
                recipe = replace(recipe, text_settings={})
        with self._locked():
            self._room(new)
            to = RunFolder(self.root / new)
            try:
                if step is None:
                    to.path.mkdir(exist_ok=True)
                    files.link(source.state, to.state)  # which is replaced whole at every save, and never written into
                    begun = _begun(to, name, recipe)  # the other run may have saved meanwhile
                if weights:
                    with files.replacing(to.start_weights) as temporary:
                        shutil.copyfile(weights, temporary)
                    recipe = replace(recipe, init=str(to.start_weights))
                self.check(recipe)
                about = {"parent": {"run": name, "step": begun}, "tensorboard": bool(old.get("tensorboard"))}
                every = intervals or source.intervals()
                to.start(with_codec(recipe), every, created=time.time(), device=device, **about)
            except BaseException:
                if to.path.exists():
                    disk.remove(to.path)
                raise
        return self.resume(new) if start else self.get(new)

    # commands

    def resume(self, name: str) -> Info:
        """Queue a run: it starts, or resumes from its last saved step, as soon as its turn comes."""
        folder = self.folder(name)
        with self._locked():
            info = read_info(folder)
            if info.state == FINISHED:
                raise InputError(
                    f"{name} has finished its {info.steps:,} steps: to train longer fork it, on the page, or start "
                    "another with --init."
                )
            if info.state not in RESUMABLE:
                raise InputError(f"{name} is already {info.state}.")
            self._over_cap()
            self._write(folder, queued=self._ticket())
        self.tick()
        return self.get(name)

    def pause(self, name: str) -> Info:
        """After the next step, save and wait in memory; the next run in the queue may start."""
        return self._command(name, "pause", (RUNNING,))

    def save_now(self, name: str) -> Info:
        """After the next step, save the state and keep the network (see `network`)."""
        return self._command(name, "save", (RUNNING, PAUSED))

    def sample_now(self, name: str) -> Info:
        """After the next step, draw samples."""
        return self._command(name, "sample", (RUNNING, PAUSED))

    def stop(self, name: str) -> Info:
        """After the next step, save and end. A queued run leaves the queue."""
        return self._end(name, "soft", signal.SIGTERM)

    def force_stop(self, name: str) -> Info:
        """Kill the trainer; steps after the last save are lost, and repeated by resume."""
        return self._end(name, "forced", signal.SIGKILL)

    def _command(self, name: str, command: str, states: tuple[str, ...]) -> Info:
        folder = self.folder(name)
        with self._locked():
            info = read_info(folder)
            if info.state not in states:
                raise InputError(f"{name} is {info.state}: this needs a run that is {' or '.join(states)}.")
            folder.send_command(command)
        return self.get(name)

    def _end(self, name: str, stop: str, number: signal.Signals) -> Info:
        folder = self.folder(name)
        with self._locked():
            process_id = trainer(folder)
            state = try_read_info(folder).state
            if state in ENDED:
                raise InputError(f"{name} is not running.")
            if state != UNREADABLE:
                self._write(folder, queued=None, **({"stop": stop, "stopped": process_id[1]} if process_id else {}))
            if process_id:
                process.send(*process_id, number)
        if stop == "forced" and process_id:
            _wait_for_end(*process_id)
        self.tick()
        return self.get(name)

    def delete(self, name: str) -> None:
        """Raises InputError for a run that is queued or running."""
        folder = self.folder(name)
        with self._locked():
            info = try_read_info(folder)
            if info.state not in (*ENDED, UNREADABLE) or (info.state == UNREADABLE and trains(folder)):
                raise InputError(f"{name} is {info.state}: stop it first.")
            disk.remove(folder.path)

    # the queue

    def tick(self) -> None:
        """Start the runs whose turn it is, and collect ended child processes."""
        if not self.root.is_dir():
            return
        self._children = [child for child in self._children if child.poll() is None]
        if not self.queue():
            return
        with self._locked():
            states = [try_read_info(RunFolder(self.root / name)).state for name in self.names()]
            free = self.settings.parallel - sum(state in BUSY for state in states)
            for name in self.queue()[: max(0, free)]:
                self._launch(RunFolder(self.root / name))

    def _ticket(self) -> float:
        """The time now, or just after the last ticket in the queue if the clock was set back."""
        waiting = [read_job(RunFolder(self.root / name)).queued for name in self.queue()]
        return max([time.time(), *(at + 1e-3 for at in waiting)])

    def _launch(self, folder: RunFolder) -> None:
        if trainer(folder):
            if (status := folder.status()) and status.state == PAUSED:  # it waits in memory: let it continue
                self._write(folder, queued=None)
                folder.withdraw("pause")
            return  # else it is ending: it is started again when it has ended
        settings = self.settings
        argv = [sys.executable, "-m", "pf_core", "train", "--resume", "--out", str(folder.path.absolute())]
        argv += ["--threads", str(settings.threads), "--nice", str(settings.nice)]
        before = (status.start_time or "") if (status := folder.status()) else ""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(settings.threads))
        try:
            with open(folder.log, "ab") as out:
                child = subprocess.Popen(
                    argv,
                    cwd=HERE,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # it continues when this server ends
                    env={**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE"},
                )
        except OSError as e:
            log.warning("cannot start %s: %s", folder.name, e)
            return
        self._children.append(child)
        start_time = process.start_time_of(child.pid)
        self._write(folder, queued=None, launched=time.time(), pid=child.pid, start_time=start_time, before=before)

    def _watch(self) -> None:
        last_check = 0.0
        while not self._closed.wait(TICK):
            try:
                self.tick()
                if time.monotonic() - last_check > DISK_TICK:
                    last_check = time.monotonic()
                    self.keep_cap()
            except InputError as e:
                log.warning("jobs: %s", e)
            except Exception:
                log.exception("jobs")

    # the disk

    def keep_cap(self) -> None:
        """If the runs exceed `disk_gb`, delete old samples and kept networks; if that is not enough, stop trainings."""
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
                f"The runs take {used / 1e9:.2f} GB, and {settings.disk_gb:g} GB are allowed: delete some runs."
            )
        if disk.free(self.root) < MIN_FREE:
            raise InputError(f"The disk has less than {MIN_FREE >> 20} MB free: delete some runs first.")

    def _room(self, name: str) -> None:
        """Raises InputError unless a run of this name can be made."""
        folder = self.root / checked_name(name)
        if name in RESERVED or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
            raise InputError(f"There is already a run {name}: choose another name.")
        if len(self.names()) >= MAX_RUNS:
            raise InputError(f"There are already {MAX_RUNS} runs: delete some first.")
        self.root.mkdir(parents=True, exist_ok=True)
        self._over_cap()

    # every process writes job.json under the same lock

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._mine, files.locked(self.root / ".lock"):
            yield

    def _write(self, folder: RunFolder, **changes: Any) -> None:
        files.write_json(folder.path / "job.json", to_file(replace(read_job(folder), **changes)))


def _wait_for_end(pid: int, start_time: str, patience: float = 5.0) -> None:
    """Wait until a killed process has ended."""
    deadline = time.monotonic() + patience
    while process.alive(pid, start_time) and time.monotonic() < deadline:
        time.sleep(0.01)


def _forkable(source: RunFolder, recipe: TrainRecipe) -> int:
    """The source's saved step. Raises InputError if this recipe cannot continue from there."""
    if not source.state.exists():
        raise InputError(f"{source.name} has not saved yet: there is nothing to fork.")
    step = _begun(source, source.name, recipe)
    if apart := _apart(source, recipe):
        raise InputError(
            f"Continuing needs the same network and optimizer, and these differ: {', '.join(apart)}. Change them back, "
            f"or fork a kept network instead."
        )
    return step


def _begun(folder: RunFolder, name: str, recipe: TrainRecipe) -> int:
    """The step of the saved state of the run `name` in a folder. Raises InputError where it is damaged, or the recipe
    asks for no more steps."""
    if not (step := folder.saved_step()):
        raise InputError(f"The saved state of {name} is damaged, so there is nothing to fork.")
    if recipe.config.steps <= step:
        raise InputError(f"{name} is already at step {step:,}: ask for more steps than that.")
    return step


def _apart(source: RunFolder, recipe: TrainRecipe) -> list[str]:
    """What decides whether a saved state fits a recipe and differs, in words with both values. Raises InputError."""
    (was, then), (now, asked) = _network_of(source), _asked(recipe)
    pairs = {IN_WORDS.get(name, name.replace("_", " ")): (getattr(now, name), old) for name, old in vars(was).items()}
    before = source.recipe()
    pairs["optimizer"] = recipe.config.optimizer, before.config.optimizer
    encoders = [r.repa.repa_model if r.repa.repa else "none" for r in (recipe, before)]  # a state has its projector
    pairs["REPA's encoder"] = encoders[0], encoders[1]
    texts = pairs.pop("text tower")  # too long to be told
    apart = [f"{word} ({new}, not {old})" for word, (new, old) in pairs.items() if new != old]
    apart += ["text tower"] * (texts[0] != texts[1])
    return apart + [f"codec ({asked}, not {then})"] * (not same_space(asked, then))


def _network_of(source: RunFolder) -> tuple[SiTConfig, Codec]:
    """Of the saved state: as its network's file says where there is one, for the data may have changed since."""
    if path := source.network:
        header = checkpoint.read_header(path)
        return SiTConfig(**header["model"]), checkpoint.codec_in(header)
    return _asked(source.recipe())


def _asked(recipe: TrainRecipe) -> tuple[SiTConfig, Codec]:
    return check(recipe), codec_of(recipe)
