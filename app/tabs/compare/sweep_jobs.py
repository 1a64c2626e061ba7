"""Sweeps that run on the server, independent of any page."""

import functools
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from app.limits import MAX_NFE, allowed
from app.state import AppState
from app.store import ACTIVE, DONE, RUNNING, STOPPED, WAITING
from pf_core.errors import InputError
from pf_core.sampling.sweep import Cost, Done, Sweep, in_words, pace


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
    pinned: bool = False

    @property
    def busy(self) -> bool:
        return self.state in ACTIVE

    @property
    def bytes(self) -> int:
        return sum(d.image.width * d.image.height * 3 for d in self.done if d.image is not None)

    @property
    def total(self) -> int:
        return self.cost.images + self.cost.failing

    def left(self) -> float | None:
        """Seconds of work that it still is; None where nothing was measured."""
        spent, seconds = sum(d.forwards for d in self.done), sum(d.seconds for d in self.done)
        if spent:
            return seconds / spent * (self.cost.forwards - spent)
        return self.cost.seconds

    def spent(self) -> str:
        """What it has really taken so far, and how long the rest will be."""
        seconds = sum(d.seconds for d in self.done)
        text = f"{len(self.done)} of {self.total} cells, {sum(d.nfe for d in self.done)} of {self.cost.nfe} NFE, "
        text += f"{in_words(seconds)} of drawing"
        if self.state == RUNNING and seconds:
            text += f", about {in_words(self.left())} left"
        return text


class Sweeps:
    """What the page does with sweeps; they are kept in the app's state and drawn by its one worker, a cell a step."""

    def __init__(self, state: AppState):
        self.state = state

    def cost(self, sweep: Sweep) -> Cost:
        """What it will take here. Raises InputError where the app would not run it."""
        self.check_edits(sweep)
        cost = sweep.cost(self.state.bundle, self.pace)
        if cost.most > MAX_NFE:
            raise InputError(
                f"One cell takes {cost.most} NFE; the app runs at most {MAX_NFE} an image. The command line has no "
                "such limit: python -m pf_core sweep."
            )
        return cost

    def check_edits(self, sweep: Sweep) -> None:
        """Raises InputError for edits that no run of the app may have, with any network of the sweep."""
        for network in dict.fromkeys(cell.spec.checkpoint for cell in sweep.cells()):
            try:
                bundle = self.state.bundle(network)
            except InputError:  # its cells say so
                continue
            allowed(sweep.base.edits, bundle)

    def pace(self, network: str) -> float:
        """Seconds of a forward pass, measured once a network."""
        bundle = self.state.bundle(network)
        key = (network, bundle.hash)
        if key not in self.state.paces:
            self.state.paces[key] = pace(bundle)
        return self.state.paces[key]

    def start(self, sweep: Sweep, lane: str = "") -> SweepJob:
        """Queue it. Raises InputError if it cannot run, or too many wait."""
        sweep = replace(sweep, base=replace(sweep.base, compile=False))  # nobody here waits for a compiler
        cost = self.cost(sweep)
        if not cost.images:
            raise InputError(f"Nothing of this sweep can run: {cost.reason}")
        job = SweepJob(sweep, cost)
        self.state.worker.add(job, self._drawing(job), f"{lane}/sweeps", job.left)
        return self.state.sweeps.add(job)

    def stop(self, job_id: str | None) -> SweepJob:
        """Ask it to stop: it does so before its next forward pass, and keeps what is done."""
        job = self.state.sweeps.get(job_id)
        self.state.worker.stop(job)
        return job

    def _drawing(self, job: SweepJob) -> Iterator[None]:
        begin = time.perf_counter()
        load = functools.cache(self.state.bundle)  # a training may save another under the same name meanwhile
        for done in job.sweep.steps(load, job.stop.is_set):
            if done is not None:
                job.done.append(done)
            yield
        ended = len(job.done) == job.total
        took = in_words(time.perf_counter() - begin)
        job.message = f"Done in {took}." if ended else f"Stopped after {took}; what was drawn is kept."
        job.state = DONE if ended else STOPPED
