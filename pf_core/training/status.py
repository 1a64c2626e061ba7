"""The state of a run: its trainer's last report, checked against the processes that are running."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.training import process
from pf_core.training.run_dir import RunFolder, Status, from_file

QUEUED, STARTING, RUNNING, PAUSING, PAUSED = "queued", "starting", "running", "pausing", "paused"
STOPPING, STOPPED, FINISHED, FAILED, INTERRUPTED = "stopping", "stopped", "finished", "failed", "interrupted"
UNREADABLE = "unreadable"  # the folder is damaged, half-written or from another version; `message` says which
BUSY = (
    STARTING,
    RUNNING,
    PAUSING,
    STOPPING,
)  # states that use the processor: at most Settings.parallel runs are in them
ENDED = (STOPPED, FINISHED, FAILED, INTERRUPTED)
RESUMABLE = (STOPPED, FAILED, INTERRUPTED, PAUSED)
QUIET = 60.0  # seconds without a report after which the message says so


@dataclass(frozen=True)
class Job:
    """job.json, written by the queue. queued, launched: time.time(), None if not; pid, start_time: of the last process
    launched; before: the start time in the status then, "" for none, None in older files; stop: "soft" or "forced", and
    stopped: the start time of the process that was to stop."""

    queued: float | None = None
    launched: float | None = None
    pid: int | None = None
    start_time: str | None = None
    stop: str | None = None
    stopped: str | None = None
    before: str | None = None

    def silent(self, status: Status | None) -> bool:
        """Whether the process launched last has never reported: the status is still that of an earlier one. Clock times
        are not compared, because a clock may be set back."""
        if not self.pid or not self.launched:
            return False
        if status is None:
            return True
        return status.start_time != self.start_time and (status.start_time or "") == self.before

    def stop_of(self, start_time: str | None) -> str | None:
        """How the process with this start time was told to stop, None if it was not."""
        return self.stop if start_time and self.stopped == start_time else None


@dataclass(frozen=True)
class Info:
    """A row of the list. Steps are counted from 0; times in seconds, `created` and `updated` as time.time().

    message: one sentence for users; error: why it failed; place: in the queue, from 1; resumed_from: the step at which
    the last session began; network: whether there are weights to open; parent: {"run", "step"} of a fork, or None.
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
    return from_file(Job, files.read_json(folder.path / "job.json")) or Job()


def trainer(folder: RunFolder) -> tuple[int, str] | None:
    """(pid, start time) of the process that trains this run now, or None."""
    for record in (folder.status(), read_job(folder)):
        if record and process.alive(record.pid, record.start_time):
            return record.pid, record.start_time
    return None


def trains(folder: RunFolder) -> bool:
    """Whether a process trains this run now and has not reported its end."""
    status = folder.status()
    return trainer(folder) is not None and not (status and status.state in (STOPPED, FINISHED, FAILED))


def try_read_info(folder: RunFolder) -> Info:
    """As `read_info`, but a folder that cannot be read is an Info that says why."""
    try:
        return read_info(folder)
    except InputError as e:
        reason = str(e).replace(f"{folder.path}/", "").replace(str(folder.path), folder.name)
    except Exception as e:  # one bad folder must not hide the others
        reason = f"{type(e).__name__}: {e}"
    return Info(folder.name, UNREADABLE, f"cannot be read: {reason[:300]}")


def read_info(folder: RunFolder) -> Info:
    """Raises InputError if the folder holds no run, or a damaged one."""
    recipe, about = folder.recipe(), folder.about()
    status, job = folder.status(), read_job(folder)
    state, message, error = _state(folder, status, job)
    saved = folder.saved_step()
    steps = recipe.config.steps
    progress = {
        name: getattr(status, name)
        for name in ("step", "resumed_from", "images_per_second", "seconds", "seconds_left", "updated")
        if status
    }
    if state in ENDED or state == QUEUED:
        progress |= {"seconds_left": None}
    if state == FINISHED:
        progress |= {"step": steps}
    elif state == QUEUED or (state == STARTING and job.start_time != (status and status.start_time)):
        progress |= {"step": saved, "resumed_from": saved, "images_per_second": None, "seconds_left": None}
    elif state in ENDED and "step" not in progress:
        progress |= {"step": saved}
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
        **progress,
    )


def _state(folder: RunFolder, status, job: Job) -> tuple[str, str, str | None]:
    """(state, message, error)."""
    if status and process.alive(status.pid, status.start_time) and status.state not in (STOPPED, FINISHED, FAILED):
        return _running_state(folder, status, job)
    if process.alive(job.pid, job.start_time) and (status is None or status.start_time != job.start_time):
        return (STOPPING if job.stop_of(job.start_time) else STARTING), "The trainer is starting.", None
    saved, steps = folder.saved_step(), folder.recipe().config.steps
    goes_on = (
        f"Resume goes on from step {saved:,} of {steps:,}."
        if saved
        else "Nothing is saved: resume starts again from step 0."
    )
    if job.queued:
        return QUEUED, f"Waits for its turn. {goes_on if saved else ''}".strip(), None
    if job.silent(status):
        return _silent_end(folder, job, goes_on)
    if status is None:  # written before there were status files, or never started
        finished = _all_steps(folder, steps)
        return (FINISHED, "Finished.", None) if finished else (STOPPED, f"Not running. {goes_on}", None)
    if status.state == FINISHED:
        return FINISHED, status.message, None
    if status.state == STOPPED:
        return STOPPED, f"{status.message} {goes_on}", None
    if status.state == FAILED:
        return FAILED, f"{status.message} {goes_on}", status.error
    stop = job.stop_of(status.start_time)
    if stop and status.state == STARTING:
        return STOPPED, f"Stopped before its first step. {goes_on}", None
    how = "It was killed" if stop == "forced" else "The trainer ended without a report (killed, or out of memory)"
    return INTERRUPTED, f"{how} at about step {status.step:,}. {goes_on}", None


def _all_steps(folder: RunFolder, steps: int) -> bool:
    """Whether the newest network is of the last step."""
    try:
        training = checkpoint.read_header(folder.network).get("training") if folder.network else None
    except InputError:
        return False
    return isinstance(training, dict) and training.get("steps") == steps


def _running_state(folder: RunFolder, status, job: Job) -> tuple[str, str, str | None]:
    commands = folder.commands()
    stop = job.stop_of(status.start_time)
    if stop == "forced":
        return STOPPING, "Is ended at once; what it did since it last saved is lost.", None
    if "stop" in commands or stop:
        return STOPPING, "Saves and ends after this step.", None
    if status.state == PAUSED and job.queued:
        return QUEUED, f"{status.message} Waits for its turn.", None
    if status.state != PAUSED and "pause" in commands:
        return PAUSING, "Pauses after this step.", None
    return status.state, f"{status.message} {_silence(status)}".strip(), None


def _silence(status: Status) -> str:
    """What is happening, and what to do, where a trainer has not reported for long; "" before."""
    quiet = time.time() - status.updated
    if quiet <= QUIET:
        return ""
    minutes = f"{quiet / 60:.0f} min" if quiet >= 90 else f"{quiet:.0f} s"
    if status.state == STARTING:
        return (
            f"It has been loading for {minutes}: other programs keep this machine busy. Wait, or choose Force stop and "
            "start again when they have ended."
        )
    kept = f"goes on from step {status.saved_step:,}" if status.saved_step else "begins again"
    return (
        f"The last step was {minutes} ago: the machine is busy, or the trainer hangs. Wait a little; if nothing moves, "
        f"choose Force stop and then Resume, which {kept}."
    )


def _silent_end(folder: RunFolder, job: Job, goes_on: str) -> tuple[str, str, str | None]:
    """Of a launched process that has ended and never reported."""
    if job.stop_of(job.start_time):
        return STOPPED, f"Stopped before its first step. {goes_on}", None
    last = last_line(folder.log)
    return FAILED, f"It ended before its first step. {goes_on}", last or "Its log gives no reason."


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
