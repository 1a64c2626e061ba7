"""Sweeps that run on the server, whoever looks at them: each under an unguessable id, bounded in number."""

import logging
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from app.state import MAX_NFE, Session
from app.store import ACTIVE, DONE, FAILED, RUNNING, STOPPED, WAITING, UnknownRun
from pf_core.errors import InputError
from pf_core.sampling.sweep import Cost, Done, Sweep, in_words, pace

MAX_KEPT, MAX_WAITING = 12, 4
log = logging.getLogger("patch_forcing.app")


class UnknownSweep(UnknownRun):
    """No sweep has this id."""


@dataclass(eq=False)
class SweepJob:
    """A sweep, whatever its state, with the cells that are done so far."""

    sweep: Sweep
    cost: Cost
    done: list[Done] = field(default_factory=list)
    state: str = WAITING
    message: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def total(self) -> int:
        return self.cost.images + self.cost.failing

    def spent(self) -> str:
        """What it has really taken so far, and how long the rest will be."""
        forwards, seconds = sum(d.forwards for d in self.done), sum(d.seconds for d in self.done)
        text = f"{len(self.done)} of {self.total} cells, {sum(d.nfe for d in self.done)} of {self.cost.nfe} NFE, "
        text += f"{in_words(seconds)} of drawing"
        if self.state == RUNNING and forwards:
            text += f", about {in_words(seconds / forwards * (self.cost.forwards - forwards))} left"
        return text


class Sweeps:
    """One a server. One sweep is drawn at a time, cell by cell; a run that a person waits for goes between two."""

    def __init__(self, session: Session):
        self.session = session
        self._jobs: dict[str, SweepJob] = {}
        self._queue: deque[SweepJob] = deque()
        self._turn = threading.Condition()
        self._paces: dict[tuple, float] = {}
        self._worker: threading.Thread | None = None

    def cost(self, sweep: Sweep) -> Cost:
        """What it will take here. Raises InputError where the app would not run it."""
        cost = sweep.cost(self.session.bundle, self.pace)
        if cost.most > MAX_NFE:
            raise InputError(
                f"One cell takes {cost.most} NFE; the app runs at most {MAX_NFE} an image. The command line has no "
                "such limit: python -m pf_core sweep."
            )
        return cost

    def pace(self, network: str) -> float:
        """Seconds of a forward pass, measured once a network."""
        bundle = self.session.bundle(network)
        key = (network, bundle.hash)
        if key not in self._paces:
            self._paces[key] = pace(bundle)
        return self._paces[key]

    def start(self, sweep: Sweep) -> SweepJob:
        """Queue it. Raises InputError if it cannot run, or too many wait."""
        cost = self.cost(sweep)
        if not cost.images:
            raise InputError(f"Nothing of this sweep can run: {cost.reason}")
        job = SweepJob(sweep, cost)
        with self._turn:
            if len(self._queue) >= MAX_WAITING:
                raise InputError(f"{MAX_WAITING} sweeps are waiting already: try again in a while.")
            self._queue.append(job)
            self._jobs[job.id] = job
            self._trim()
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="sweeps", daemon=True)
                self._worker.start()
            self._turn.notify()
        return job

    def get(self, job_id: str | None) -> SweepJob:
        job = self._jobs.get(str(job_id))
        if job is None:
            raise UnknownSweep("This sweep is not kept here any more (or never was): load its sheet, or run it again.")
        return job

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def stop(self, job_id: str | None) -> SweepJob:
        """Ask it to stop: it does so before its next forward pass, and keeps what is done."""
        job = self.get(job_id)
        job.stop.set()
        with self._turn:
            if job in self._queue:
                self._queue.remove(job)
                job.state, job.message = STOPPED, "Stopped before it began."
        return job

    def ahead(self, job: SweepJob) -> int:
        """How many sweeps come before this one."""
        with self._turn:
            running = any(j.state == RUNNING for j in self._jobs.values())
            return list(self._queue).index(job) + running if job in self._queue else 0

    def _trim(self) -> None:
        for job in list(self._jobs.values()):
            if len(self._jobs) > MAX_KEPT and job.state not in ACTIVE:
                del self._jobs[job.id]

    def _work(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._queue)
                job = self._queue.popleft()
                job.state = RUNNING
            try:
                self._draw(job)
            except Exception:
                log.exception("a sweep failed")
                job.message, job.state = "It failed inside the program; the server's log says where.", FAILED

    def _draw(self, job: SweepJob) -> None:
        begin = time.perf_counter()
        cells = job.sweep.run(self.session.bundle, job.stop.is_set)
        while self.session.idle(job.stop):
            with self.session.sampling:
                done = next(cells, None)
            if done is None:
                break
            job.done.append(done)
        ended = len(job.done) == job.total
        took = in_words(time.perf_counter() - begin)
        job.message = f"Done in {took}." if ended else f"Stopped after {took}; what was drawn is kept."
        job.state = DONE if ended else STOPPED


_SWEEPS: WeakKeyDictionary[Session, Sweeps] = WeakKeyDictionary()


def sweeps(session: Session) -> Sweeps:
    """One set of sweeps a session, that is, a server."""
    return _SWEEPS.setdefault(session, Sweeps(session))
