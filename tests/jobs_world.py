"""Small trainings as jobs, and ways to wait for what they do."""

import time
from dataclasses import replace

import pytest

from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.loop import TrainConfig
from pf_core.training.queue import Jobs

QUICK = Intervals(save=10, log=1, validate=0, samples=0)
PATIENCE = 180  # seconds: a crowded machine takes its time to start a process


def recipe(steps=6, **changes):
    fields = {k: changes.pop(k) for k in list(changes) if k in TrainRecipe.__dataclass_fields__}
    return TrainRecipe(model="nano", config=TrainConfig(steps=steps, batch_size=2, **changes), **fields)


ENDLESS = recipe(900_000, decay=0.0)


def until(condition, what="that", patience=PATIENCE):
    """Wait for a condition, and give what it gave."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {patience} s for {what}"
        time.sleep(0.02)
    return found


def reaches(jobs, name, *states):
    """Wait until a run is in one of these states; fails at once if it ends in another."""

    def look():
        jobs.tick()
        info = jobs.get(name)
        assert info.state in states or info.state not in ("failed", "interrupted"), info
        return info if info.state in states else None

    return until(look, f"{name} to be {' or '.join(states)}")


def past(jobs, name, step):
    """Wait until a run has logged a step after this one."""

    def look():
        entries = jobs.folder(name).follow()[0]
        return entries and entries[-1]["step"] > step

    return until(look, f"{name} to be past step {step}")


@pytest.fixture
def jobs(tmp_path):
    """Over runs of its own; whatever still trains at the end is ended."""
    made = Jobs(tmp_path / "runs")
    made.configure(nice=0)
    yield made
    made.close()
    for info in made.all():
        if info.state not in ("stopped", "finished", "failed", "interrupted"):
            made.force_stop(info.name)


__all__ = ["ENDLESS", "QUICK", "Jobs", "jobs", "past", "reaches", "recipe", "replace", "until"]
