"""The curves of chosen runs as a stream of plots: read from their metrics as these grow."""

import threading
import zlib
from typing import Any

import numpy as np

from pf_core.figures import training as figures
from pf_core.training.loop import SEGMENTS
from pf_core.training.queue import Jobs
from pf_core.training.validation import column, smooth

PLOTS = ["mse", "nll", "validation", "calibration", "speed", "lr"]
MOST_RUNS, MOST_POINTS = 6, 500


class Curves:
    """Entries of every run's metrics, read on where the last look ended."""

    def __init__(self, jobs: Jobs):
        self.jobs, self._lock = jobs, threading.Lock()
        self._known: dict[str, tuple[list[dict], str]] = {}

    def entries(self, name: str) -> tuple[list[dict[str, Any]], str]:
        """(all entries, token of what was read). Raises InputError for an unknown run."""
        folder = self.jobs.folder(name)
        with self._lock:
            before, token = self._known.get(name, ([], ""))
            news, token, fresh = folder.follow(token)
            entries = news if fresh else [*before, *news]
            self._known[name] = (entries, token)
            return entries, token

    def reply(self, names: list[str], after: int) -> dict[str, Any]:
        """StreamingPlot's answer; the plots only if they differ from those of version `after`. Deleted runs are left
        out."""
        here = set(self.jobs.names())
        with self._lock:
            for gone in self._known.keys() - here:
                del self._known[gone]
        runs = {name: self.entries(name) for name in names[:MOST_RUNS] if name in here}
        version = zlib.crc32(repr([(name, token) for name, (_, token) in runs.items()]).encode()) or 1
        plots = {} if version == after else _plots({name: entries for name, (entries, _) in runs.items()})
        return {"version": version, "plots": plots, "busy": False, "wait": 700, "status": ""}


def _plots(runs: dict[str, list[dict]]) -> dict[str, Any]:
    first = next(iter(runs.values()), [])
    validations = [e for e in first if "validation" in e]
    calibrated = [e for e in first if "calibration" in e]
    if len(runs) == 1 and validations:
        steps, losses = [e["step"] for e in validations], np.array([e["validation"] for e in validations])
        validation = figures.segments("Validation loss by time", steps, losses, SEGMENTS)
    else:
        validation = figures.over_steps("Validation loss, mean over times", _means(runs), "velocity MSE", log=True)
    at = f" at step {calibrated[-1]['step']:,}" if calibrated else ""
    return {
        "mse": figures.over_steps("Velocity loss", _curves(runs, "mse"), "MSE", log=True),
        "nll": figures.over_steps("Difficulty loss", _curves(runs, "nll"), "Gaussian NLL"),
        "validation": validation,
        "calibration": figures.calibration(f"Calibration{at}", calibrated[-1]["calibration"] if calibrated else []),
        "speed": figures.over_steps("Speed", _curves(runs, "images_per_second", False), "images a second"),
        "lr": figures.over_steps("Learning rate", _curves(runs, "lr", False), "learning rate"),
    }


def _curves(runs: dict[str, list[dict]], what: str, smoothed: bool = True) -> dict[str, figures.Curve]:
    curves = {}
    for name, entries in runs.items():
        steps, values = column(entries, what)
        soft = smooth(values) if smoothed else None
        curves[name] = figures.Curve(_thin(steps), _thin(values), None if soft is None else _thin(soft))
    return curves


def _means(runs: dict[str, list[dict]]) -> dict[str, figures.Curve]:
    return {
        name: figures.Curve(
            [e["step"] for e in entries if "validation" in e],
            [float(np.mean(e["validation"])) for e in entries if "validation" in e],
        )
        for name, entries in runs.items()
    }


def _thin(values: list) -> list:
    """At most about MOST_POINTS of them, evenly, the last one always."""
    every = max(1, -(-len(values) // MOST_POINTS))
    return values[::-1][::every][::-1]
