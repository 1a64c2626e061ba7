"""Runs of several visitors in one batch: as alone up to rounding, each with its own progress, end and stop."""

import threading

import pytest
import torch
from app_world import client, ended, networks, spec  # noqa: F401

from app.state import AppState
from app.store import DONE, RUNNING, STOPPED, WAITING

LANES = "abcd"


class Gate:
    """A job that holds the worker until it is opened."""

    def __init__(self, worker):
        self.state, self.message, self.stop, self.open = WAITING, "", threading.Event(), threading.Event()
        worker.add(self, self.steps(), "gate")

    def steps(self):
        assert self.open.wait(120)
        self.state = DONE
        yield


@pytest.fixture
def passes(monkeypatch):
    """(state, what is started while the worker is held, images of each pass)."""

    def started(tmp_path, specs, batches=True, between=lambda state, runs: None):
        state, images = AppState(tmp_path / "none", batches=batches), []
        state.bundle("nano").model.register_forward_pre_hook(lambda _, given: images.append(len(given[0])))
        gate = Gate(state.worker)
        runs = [state.start(one, lane=lane) for one, lane in zip(specs, LANES, strict=False)]
        between(state, runs)
        gate.open.set()
        return state, [ended(run) for run in runs], images

    return started


SPECS = [spec(seeds=[0, 1]), spec(seeds=[7, 8, 9], labels=["class 2"]), spec(seeds=[3], labels=[None])]


def test_runs_that_wait_are_drawn_in_one_batch_and_are_as_alone(passes, tmp_path):
    _, alone, images = passes(tmp_path, SPECS, batches=False)
    nfe = alone[0].spec.nfe
    assert sorted(images) == [1] * nfe + [2] * nfe + [3] * nfe
    _, runs, images = passes(tmp_path, SPECS)
    assert images == [6] * nfe and [run.state for run in runs] == [DONE] * 3
    for run, other in zip(runs, alone, strict=True):
        assert torch.allclose(run.trajectory.x1, other.trajectory.x1, atol=1e-5)
        assert len(run.packed) == len(other.packed) and run.trajectory.recipe == other.trajectory.recipe
        assert run.trajectory.forwards == other.trajectory.forwards and run.trajectory.seconds > 0


def test_one_that_is_stopped_leaves_the_others_going(passes, tmp_path):
    def stop_when_running(state, runs):
        taking = state.worker.beside

        def beside(fits):
            chosen = taking(fits)
            assert runs[1].state == RUNNING
            state.stop(runs[1].id)
            return chosen

        state.worker.beside = beside

    _, (first, second, third), _ = passes(tmp_path, SPECS, between=stop_when_running)
    assert (first.state, second.state, third.state) == (DONE, STOPPED, DONE)
    assert second.message.startswith("Stopped after") and len(second.trajectory) == 1


def test_one_that_is_stopped_before_is_not_taken_along(passes, tmp_path):
    _, runs, images = passes(tmp_path, SPECS, between=lambda state, runs: state.stop(runs[1].id))
    assert [run.state for run in runs] == [DONE, STOPPED, DONE] and set(images) == {3}
    assert runs[1].message == "Stopped before it began."


def test_other_settings_and_too_many_images_go_alone(passes, tmp_path):
    many = [spec(seeds=list(range(10))), spec(seeds=list(range(20, 30))), spec(seeds=[50], sampler="euler")]
    _, runs, images = passes(tmp_path, many)
    assert [run.state for run in runs] == [DONE] * 3 and set(images) == {10, 1}
