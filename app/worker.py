"""The one thread that samples: every visitor's runs and sweeps, a slice of each in turn."""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from app.store import FAILED, RUNNING, STOPPED, WAITING
from pf_core import memory
from pf_core.errors import InputError

SLICE = 0.25  # seconds of one lane before the next one's turn, never less than one forward pass
MAX_WAITING = 64  # jobs of all lanes
SHARE = 8  # jobs that may wait in one lane
log = logging.getLogger("patch_forcing.app")


class Job(Protocol):
    """What can be worked on: a run, a sweep."""

    state: str
    message: str
    stop: threading.Event


@dataclass
class _Queued:
    job: Any
    steps: Iterator[Any]
    left: Callable[[], float | None]


class SamplingWorker:
    """Jobs stand in lanes, one a visitor and kind. Each lane is worked on in order, one job at a time; lanes take
    turns, so that nobody waits for the whole length of another's work. A job's steps end by themselves soon after its
    `stop` is set."""

    def __init__(self, free: Callable[[], object] = lambda: None):
        self._free = free  # called where memory ran out
        self._lanes: OrderedDict[str, deque[_Queued]] = OrderedDict()
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(
        self, job: Job, steps: Iterator[Any], lane: str = "", left: Callable[[], float | None] = lambda: None
    ) -> None:
        """Queue it; `left()`: seconds of work that it still is, None where nobody knows. Raises InputError where too
        many wait already."""
        with self._turn:
            waiting = sum(len(q) for q in self._lanes.values())
            if len(self._lanes.get(lane, ())) > SHARE or waiting >= MAX_WAITING:
                raise InputError("Too many runs are waiting already: try again in a moment.")
            self._lanes.setdefault(lane, deque()).append(_Queued(job, steps, left))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sampling", daemon=True)
                self._thread.start()
            self._turn.notify_all()

    def stop(self, job: Job) -> None:
        """Have it end before its next forward pass; one that has not begun ends at once."""
        job.stop.set()
        with self._turn:
            lane, place = self._find(job)
            if lane is not None and job.state == WAITING:
                del self._lanes[lane][place]
                self._tidy(lane)
                job.state, job.message = STOPPED, "Stopped before it began."

    def beside(self, fits: Callable[[Job], bool]) -> list[Job]:
        """Jobs at the head of a lane that have not begun and `fits`: they are running from now on. To be called by the
        steps of a job that begins, in the worker's thread, to take them along."""
        with self._turn:
            heads = [queue[0].job for queue in self._lanes.values()]
            chosen = [job for job in heads if job.state == WAITING and not job.stop.is_set() and fits(job)]
            for job in chosen:
                job.state = RUNNING
            return chosen

    def ahead(self, job: Job) -> int:
        """How many jobs of its lane come before it."""
        with self._turn:
            lane, place = self._find(job)
            return place if lane is not None else 0

    def others(self, job: Job) -> int:
        """How many other lanes take turns with its own."""
        with self._turn:
            return len(self._lanes) - 1 if self._find(job)[0] is not None else 0

    def expected(self, job: Job) -> float | None:
        """Seconds until a waiting job begins, None where nobody knows: what is before it in its lane, and as much of
        every other lane, for lanes take turns; at least a slice of each."""
        with self._turn:
            lane, place = self._find(job)
            if lane is None:
                return None
            known = {name: [q.left() for q in queue] for name, queue in self._lanes.items()}
        before = known.pop(lane)[:place]
        if any(None in lefts for lefts in (before, *known.values())):
            return None
        return sum(before) + sum(min(sum(lefts), max(sum(before), SLICE)) for lefts in known.values())

    def _find(self, job: Job) -> tuple[str | None, int]:
        for lane, queue in self._lanes.items():
            for place, queued in enumerate(queue):
                if queued.job is job:
                    return lane, place
        return None, 0

    def _tidy(self, lane: str) -> None:
        if not self._lanes[lane]:
            del self._lanes[lane]

    def _work(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._lanes)
                lane = next(iter(self._lanes))
                self._lanes.move_to_end(lane)
                queued = self._lanes[lane][0]
                queued.job.state = RUNNING
            if self._ended(queued):
                with self._turn:
                    self._lanes[lane].popleft()
                    self._tidy(lane)
                    self._turn.notify_all()

    def _ended(self, queued: _Queued) -> bool:
        """Work on a job for a slice; whether that was its last."""
        begin = time.perf_counter()
        try:
            for _ in queued.steps:
                if time.perf_counter() - begin > SLICE and self._others():
                    return False
        except InputError as e:
            queued.job.state, queued.job.message = FAILED, str(e)
        except Exception as e:
            if memory.ran_out(e):
                log.warning("memory ran out in a run")
                memory.give_up(e)
                self._free()
                message = "Memory ran out: ask for fewer images, or for a smaller NFE, and run it again."
            else:
                log.exception("a run failed")
                message = "It failed inside the program; the server's log says where."
            queued.job.message, queued.job.state = message, FAILED
        return True

    def _others(self) -> bool:
        return len(self._lanes) > 1


def lane_of(request: Any) -> str:
    """Whose turn a run takes: the visitor's page, by Gradio's request; a call from elsewhere has a lane of its own."""
    return str(getattr(request, "session_hash", None) or "")
