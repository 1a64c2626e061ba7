"""How a run really stands: what its trainer last said, held against which processes live."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.training import process
from pf_core.training.run_dir import RunFolder, Status, known_fields

QUEUED, STARTING, RUNNING, PAUSING, PAUSED = "queued", "starting", "running", "pausing", "paused"
STOPPING, STOPPED, FINISHED, FAILED, INTERRUPTED = "stopping", "stopped", "finished", "failed", "interrupted"
UNREADABLE = "unreadable"  # its folder is damaged, half-written or of another version; `message` says how
STATES = (UNREADABLE, QUEUED, STARTING, RUNNING, PAUSING, PAUSED, STOPPING, STOPPED, FINISHED, FAILED, INTERRUPTED)
BUSY = (STARTING, RUNNING, PAUSING, STOPPING)  # states that use the processor: they count as trainings at a time
ENDED = (STOPPED, FINISHED, FAILED, INTERRUPTED)
RESUMABLE = (STOPPED, FAILED, INTERRUPTED, PAUSED)
QUIET = 60.0  # seconds without a word after which a living trainer is mentioned


@dataclass(frozen=True)
class Job:
    """job.json, written by whoever starts and stops trainers. queued, launched: time.time(), None if not; pid, birth:
    of the last process launched; before: the birth that the status had then, "" for none, None in older files; stop:
    "soft" or "forced", and stopped: the birth of the process it was meant for."""

    queued: float | None = None
    launched: float | None = None
    pid: int | None = None
    birth: str | None = None
    stop: str | None = None
    stopped: str | None = None
    before: str | None = None

    def silent(self, status: Status | None) -> bool:
        """Whether the process launched last has never said anything: the status is still that of one before it. No
        clock is asked: one that is set back would make the earlier of two words the later one."""
        if not self.pid or not self.launched:
            return False
        if status is None:
            return True
        return status.birth != self.birth and (status.birth or "") == self.before

    def stop_of(self, birth: str | None) -> str | None:
        """How the process of this birth was told to stop, if it was."""
        return self.stop if birth and self.stopped == birth else None


@dataclass(frozen=True)
class Info:
    """A row of the list. Steps are counted from 0; times in seconds, `created` and `updated` as time.time().

    message: one sentence for people; error: why it failed; place: in the queue, from 1; resumed_from: where the last
    sitting went on; network: whether there are weights to open; parent: {"run", "step"} of a fork, or None.
    """

    name: str
    state: str
    message: str = ""
    error: str | None = None
    step: int = 0
    steps: int = 0
    saved_step: int = 0
    resumed_from: int = 0
    images_per_second: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    place: int | None = None
    created: float = 0.0
    updated: float = 0.0
    dataset: str = ""
    model: str = ""
    timesteps: str = ""
    difficulty: bool = True
    parent: dict[str, Any] | None = None
    network: bool = False

    @property
    def done(self) -> float:
        """Share of the steps taken, in [0, 1]."""
        return self.step / self.steps if self.steps else 0.0


def read_job(folder: RunFolder) -> Job:
    return known_fields(Job, files.read_json(folder.path / "job.json")) or Job()


def trainer(folder: RunFolder) -> tuple[int, str] | None:
    """(pid, birth) of the process that trains this run now, or None."""
    for who in (folder.status(), read_job(folder)):
        if who and process.alive(who.pid, who.birth):
            return who.pid, who.birth
    return None


def trains(folder: RunFolder) -> bool:
    """Whether a process trains this run now and is not at its end."""
    status = folder.status()
    return trainer(folder) is not None and not (status and status.state in (STOPPED, FINISHED, FAILED))


def look_anyway(folder: RunFolder) -> Info:
    """As `look`, but a folder that cannot be read is an Info that says why."""
    try:
        return look(folder)
    except InputError as e:
        reason = str(e).replace(f"{folder.path}/", "").replace(str(folder.path), folder.name)
    except Exception as e:  # whatever a folder may hold, it must not hide the others
        reason = f"{type(e).__name__}: {e}"
    return Info(folder.name, UNREADABLE, f"cannot be read: {reason[:300]}")


def look(folder: RunFolder) -> Info:
    """Raises InputError if the folder holds no run, or a damaged one."""
    recipe, about = folder.recipe(), folder.about()
    status, job = folder.status(), read_job(folder)
    state, message, error = _state(folder, status, job)
    saved = folder.saved_step()
    steps = recipe.config.steps
    said = {
        name: getattr(status, name)
        for name in ("step", "resumed_from", "images_per_second", "seconds", "seconds_left", "updated")
        if status
    }
    if state in ENDED or state == QUEUED:
        said |= {"seconds_left": None}
    if state == FINISHED:
        said |= {"step": steps}
    elif state == QUEUED or (state == STARTING and job.birth != (status and status.birth)):
        said |= {"step": saved, "resumed_from": saved, "images_per_second": None, "seconds_left": None}
    elif state in ENDED and "step" not in said:
        said |= {"step": saved}
    return Info(
        folder.name,
        state,
        message,
        error,
        steps=steps,
        saved_step=saved,
        created=about.get("created") or _written(folder),
        dataset=recipe.dataset,
        model=recipe.model,
        timesteps=recipe.config.timesteps,
        difficulty=recipe.difficulty,
        parent=about.get("parent"),
        network=folder.network is not None,
        **said,
    )


def _state(folder: RunFolder, status, job: Job) -> tuple[str, str, str | None]:
    """(state, message, error)."""
    if status and process.alive(status.pid, status.birth) and status.state not in (STOPPED, FINISHED, FAILED):
        return _living(folder, status, job)
    if process.alive(job.pid, job.birth) and (status is None or status.birth != job.birth):
        return (STOPPING if job.stop_of(job.birth) else STARTING), "The trainer is starting.", None
    saved, steps = folder.saved_step(), folder.recipe().config.steps
    goes_on = f"Resume goes on from step {saved:,} of {steps:,}." if saved else "Nothing is saved: resume starts anew."
    if job.queued:
        return QUEUED, f"Waits for its turn. {goes_on if saved else ''}".strip(), None
    if job.silent(status):
        return _silent_end(folder, job, goes_on)
    if status is None:  # a run of before there was a status, or one that was never started
        finished = _all_steps(folder, steps)
        return (FINISHED, "Finished.", None) if finished else (STOPPED, f"Not running. {goes_on}", None)
    if status.state == FINISHED:
        return FINISHED, status.message, None
    if status.state == STOPPED:
        return STOPPED, f"{status.message} {goes_on}", None
    if status.state == FAILED:
        return FAILED, f"{status.message} {goes_on}", status.error
    told = job.stop_of(status.birth)
    if told and status.state == STARTING:
        return STOPPED, f"Stopped before its first step. {goes_on}", None
    how = "It was ended by force" if told == "forced" else "The trainer ended without a word (killed, or no memory)"
    return INTERRUPTED, f"{how} at about step {status.step:,}. {goes_on}", None


def _all_steps(folder: RunFolder, steps: int) -> bool:
    """Whether the newest network says that it has come to the end."""
    try:
        training = checkpoint.read_header(folder.network).get("training") if folder.network else None
    except InputError:
        return False
    return isinstance(training, dict) and training.get("steps") == steps


def _living(folder: RunFolder, status, job: Job) -> tuple[str, str, str | None]:
    orders = folder.orders()
    if "stop" in orders or job.stop_of(status.birth):
        return STOPPING, "Saves and ends after this step.", None
    if status.state == PAUSED and job.queued:
        return QUEUED, f"{status.message} Waits for its turn.", None
    if status.state != PAUSED and "pause" in orders:
        return PAUSING, "Pauses after this step.", None
    quiet = time.time() - status.updated
    note = f" No word from it for {quiet:.0f} s." if quiet > QUIET else ""
    return status.state, (status.message + note).strip(), None


def _silent_end(folder: RunFolder, job: Job, goes_on: str) -> tuple[str, str, str | None]:
    """A launched process that is gone and never wrote a status of its own."""
    if job.stop_of(job.birth):
        return STOPPED, f"Stopped before its first step. {goes_on}", None
    last = last_line(folder.log)
    return FAILED, f"It ended before its first step. {goes_on}", last or "It left no reason in its log."


def last_line(path: Path, most: int = 4096) -> str:
    """The last line of a log, "" if there is none."""
    try:
        with open(path, "rb") as f:
            f.seek(max(0, path.stat().st_size - most))
            lines = f.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:500] if lines else ""


def _written(folder: RunFolder) -> float:
    try:
        return (folder.path / "config.json").stat().st_mtime
    except OSError:
        raise InputError(f"{folder.path} holds no run.") from None
