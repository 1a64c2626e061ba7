"""The one worker: lanes take turns, shares, stopping, and jobs that fail."""

import threading
import time
from itertools import groupby

import pytest

from app import worker as module
from app.store import DONE, FAILED, RUNNING, STOPPED, WAITING
from app.worker import MAX_WAITING, SHARE, SamplingWorker
from pf_core.errors import InputError


class Job:
    """Work of `steps` steps, each noted in `log`; every step but the first waits for `gate`, where there is one."""

    def __init__(self, name, steps, log, gate=None, pause=0.0):
        self.name, self.length, self.log, self.gate, self.pause = name, steps, log, gate, pause
        self.state, self.message, self.stop = WAITING, "", threading.Event()

    def steps(self):
        for _ in range(self.length):
            if self.stop.is_set():
                self.state = STOPPED
                return
            if self.gate is not None:
                assert self.gate.wait(120)
            time.sleep(self.pause)
            self.log.append(self.name)
            yield
        self.state = DONE


def until(true, seconds=120):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.002)


@pytest.fixture
def log():
    return []


@pytest.fixture
def gate():
    made = threading.Event()
    yield made
    made.set()


def test_a_small_job_waits_for_one_slice_of_every_other_lane_at_most(log, gate, monkeypatch):
    monkeypatch.setattr(module, "SLICE", 0.02)
    worker, small = SamplingWorker(), Job("small", 2, log)
    large = [Job(f"large {k}", 10_000, log, gate, pause=0.002) for k in range(9)]
    for k, job in enumerate(large):
        worker.add(job, job.steps(), f"visitor {k}")
    gate.set()
    until(lambda: len(log) > 30)
    gate.clear()  # nobody's turn passes between the next two lines
    before = len(log)
    worker.add(small, small.steps(), "someone else")
    gate.set()
    until(lambda: small.state == DONE)
    for job in large:
        worker.stop(job)
    turns = [name for name, _ in groupby(log[before : log.index("small")])]
    assert len(turns) <= len(large) + 1 and len(set(turns[:-1])) == len(turns[:-1]), turns
    until(lambda: all(job.state == STOPPED for job in large))


def test_jobs_of_one_lane_come_in_order_and_one_alone_is_not_interrupted(log, monkeypatch):
    monkeypatch.setattr(module, "SLICE", 0.0)
    worker, jobs = SamplingWorker(), [Job(k, 3, log) for k in range(3)]
    for job in jobs:
        worker.add(job, job.steps())
    until(lambda: jobs[-1].state == DONE)
    assert log == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_job_that_is_stopped_before_it_begins_ends_at_once(log, gate):
    worker, first, second, third = SamplingWorker(), *(Job(k, 3, log, gate) for k in range(3))
    for job in (first, second, third):
        worker.add(job, job.steps())
    until(lambda: first.state == RUNNING)
    assert [worker.ahead(job) for job in (first, second, third)] == [0, 1, 2]
    worker.stop(second)
    assert second.state == STOPPED and "before it began" in second.message and worker.ahead(third) == 1
    gate.set()
    until(lambda: third.state == DONE)
    assert 1 not in log


def test_a_job_that_is_stopped_amid_ends_within_a_step(log):
    worker, job, next_one = SamplingWorker(), Job("long", 10_000, log, pause=0.002), Job("next", 1, log)
    worker.add(job, job.steps())
    worker.add(next_one, next_one.steps())
    until(lambda: len(log) > 3)
    worker.stop(job)
    made = len(log)
    until(lambda: next_one.state == DONE)
    assert job.state == STOPPED and len(log) <= made + 2


def test_nobody_may_queue_more_than_a_share_nor_all_together_too_many(log, gate):
    worker = SamplingWorker()

    def add(lane):
        job = Job(lane, 1, log, gate)
        worker.add(job, job.steps(), lane)
        return job

    jobs = [add("greedy") for _ in range(SHARE + 1)]  # one that runs, and those that wait
    with pytest.raises(InputError, match="waiting already"):
        add("greedy")
    jobs += [add(f"visitor {k}") for k in range(MAX_WAITING - len(jobs))]
    with pytest.raises(InputError, match="waiting already"):
        add("one more")
    gate.set()
    until(lambda: all(job.state == DONE for job in jobs))
    until(lambda: not worker._lanes)  # nothing is kept of lanes that are empty


def test_a_job_that_fails_is_told_and_the_worker_lives_on(log):
    def broken(error):
        yield
        raise error

    worker, wrong, bad, good = SamplingWorker(), *(Job(k, 1, log) for k in range(3))
    worker.add(wrong, broken(InputError("No such patch.")))
    worker.add(bad, broken(ZeroDivisionError("inside")))
    worker.add(good, good.steps())
    until(lambda: good.state == DONE)
    assert (wrong.state, wrong.message) == (FAILED, "No such patch.")
    assert bad.state == FAILED and bad.message.endswith(".") and "ZeroDivision" not in bad.message


def test_what_a_waiting_job_has_before_it_is_told_in_seconds(log, gate):
    worker, first, second, other = SamplingWorker(), *(Job(k, 1, log, gate) for k in range(3))
    worker.add(first, first.steps(), "a", lambda: 10.0)
    worker.add(second, second.steps(), "a", lambda: 5.0)
    assert worker.expected(second) == 10 and worker.others(second) == 0
    worker.add(other, other.steps(), "b", lambda: 4.0)
    assert worker.expected(second) == 14 and worker.others(second) == 1  # lanes take turns: all of b's comes too
    assert worker.expected(other) == module.SLICE
    unknown = Job("unknown", 1, log, gate)
    worker.add(unknown, unknown.steps(), "c")
    assert worker.expected(second) is None and worker.expected(Job("stranger", 1, log)) is None
