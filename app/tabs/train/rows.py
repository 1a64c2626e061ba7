"""What the board shows of each run: a line of numbers, what can be done with it, and where its files are."""

import time
from typing import Any
from urllib.parse import quote

from app.links import NOW
from pf_core.errors import InputError
from pf_core.training.queue import Jobs
from pf_core.training.status import BUSY, ENDED, RESUMABLE, UNREADABLE, Info

_STOP, _FORCE = ("stop", "Stop (saves first)"), ("force_stop", "Force stop")
_NOW = [("save_now", "Save now"), ("sample_now", "Sample now")]
COMMANDS = ("pause", "resume", "stop", "force_stop", "save_now", "sample_now", "delete")  # methods of Jobs, on a name


def rows(jobs: Jobs) -> dict[str, Any]:
    """The board's news: {"runs": [row], "disk": sentence}."""
    settings = jobs.settings
    used, cap = jobs.usage() / 1e9, settings.disk_gb
    return {
        "runs": [entry for info in jobs.all() if (entry := _row(jobs, info))],
        "disk": f"{used:.2f} of {cap:g} GB used by runs; {settings.parallel} training at a time, the others wait.",
    }


def _row(jobs: Jobs, info: Info) -> dict[str, Any] | None:
    """None for a run that was deleted while the others were looked at."""
    try:
        return row(jobs, info)
    except InputError:
        return None


def row(jobs: Jobs, info: Info) -> dict[str, Any]:
    if info.state == UNREADABLE:
        return _unreadable(jobs, info)
    folder = jobs.folder(info.name)
    return {
        "name": info.name,
        "state": info.state if info.place is None else f"queued, {info.place}.",
        "step": info.step,
        "steps": info.steps,
        "numbers": numbers(info),
        "message": info.error or info.message,
        "about": about(info),
        "actions": actions(info),
        "links": links(info),
        "size": f"{jobs.usage(info.name) / 1e6:.0f} MB",
        "strips": [[step, at] for step in jobs.samples(info.name) if (at := _stamp(folder.sample(step, "-strip.png")))],
        "logged": _stamp(folder.log),
    }


def _unreadable(jobs: Jobs, info: Info) -> dict[str, Any]:
    """A run whose folder says nothing that can be shown: why, and a way to be rid of it if it can be named."""
    empty = {"step": 0, "steps": 0, "numbers": "", "about": "", "links": [], "size": "", "strips": [], "logged": 0}
    known = {"name": info.name, "state": info.state, "message": info.message}
    return known | empty | {"actions": [("ask", "Delete")] if info.name in jobs.names() else []}


def numbers(info: Info) -> str:
    parts = [f"{info.step:,} of {info.steps:,}"]
    if info.state in BUSY and info.images_per_second:
        parts.append(f"{info.images_per_second:.0f} images/s")
    if info.seconds_left is not None and info.state in BUSY:
        parts.append(f"{duration(info.seconds_left)} left")
    elif info.seconds:
        parts.append(f"{duration(info.seconds)} trained")
    return " · ".join(parts)


def about(info: Info) -> str:
    parts = [info.dataset, info.model, info.timesteps, "" if info.difficulty else "no difficulty head"]
    if info.parent:
        parts.append(f"forked from {info.parent['run']} at step {info.parent['step']:,}")
    if info.resumed_from:
        parts.append(f"resumed from step {info.resumed_from:,}")
    parts.append(time.strftime("%d %b, %H:%M", time.localtime(info.created)))
    return " · ".join(filter(None, parts))


def actions(info: Info) -> list[tuple[str, str]]:
    """(command, words on the button) for a run in this state; `fork` and `ask` are the tab's own."""
    if info.state == "running":
        return [("pause", "Pause"), *_NOW, _STOP, _FORCE]
    if info.state == "paused":
        return [("resume", "Resume"), *_NOW, _STOP, _FORCE]
    if info.state == "queued":
        return [("stop", "Leave the queue")]
    if info.state in BUSY:
        return [_FORCE]
    buttons = [("resume", f"Resume from step {info.saved_step:,}")] if info.state in RESUMABLE else []
    if info.saved_step:
        buttons.append(("fork", "Fork with other settings"))
    return [*buttons, ("ask", "Delete")] if info.state in ENDED else buttons


def links(info: Info) -> list[tuple[str, str, bool]]:
    """(address, words, whether it is a download)."""
    name = quote(info.name)
    explore = [(f"?network={quote(f'runs/{info.name}')}&run={NOW}", "Open in Explore", False)] if info.network else []
    weights = [(f"pf/train/{name}/weights", "Download weights", True)] if info.network else []
    return [*explore, *weights, (f"pf/train/{name}/zip", "Download all (zip)", True)]


def duration(seconds: float) -> str:
    """1.2 h, 14 min or 25 s."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _stamp(path) -> int:
    """When a file was last written, 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0
