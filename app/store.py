"""Runs kept in memory: each under an unguessable id, bounded in number and in bytes, the oldest out first."""

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from app.server.residuals import Residuals
from pf_core.errors import InputError
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.trajectory import Trajectory
from pf_core.types import Codec

MAX_RUNS = 32
MAX_BYTES = 512 * 2**20
WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"
ACTIVE = (WAITING, RUNNING)


class UnknownRun(InputError):
    """No run has this id."""


@dataclass(eq=False)  # a run is itself: comparing its tensors would say nothing
class StoredRun:
    """A run, whatever its state: what was asked (spec), what was recorded so far (trajectory) and, packed for the
    browser, one bytes object a frame. `job` is the sampling.run.Run that a worker iterates, None for a recording."""

    spec: SampleSpec
    trajectory: Trajectory
    codec: Codec
    label: str
    job: Any = None
    guided: bool = False
    state: str = WAITING
    message: str = ""
    recording: bool = False  # shipped with the app: never thrown out
    origin: str = ""  # where it came from, if it was not run here: "recorded", "from a file"
    packed: list[bytes] = field(default_factory=list)
    heads: list[dict] = field(default_factory=list)
    before: tuple[Residuals, Residuals] = field(default_factory=lambda: (Residuals(), Residuals()))  # of x, x1_hat
    size: tuple[int, int] | None = None  # height and width of a decoded image, once there is one
    stop: threading.Event = field(default_factory=threading.Event)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def bytes(self) -> int:
        """About what this run holds: the packed frames, and the recorded tensors that exports are made from."""
        first = self.trajectory.frames[:1]
        held = sum(v.nbytes for f in first for v in vars(f).values() if hasattr(v, "nbytes")) * len(self.trajectory)
        return held + sum(map(len, self.packed))


class RunStore:
    """Ids -> runs, oldest first. Runs that wait or run are never thrown out, nor are recordings counted."""

    def __init__(self, max_runs: int = MAX_RUNS, max_bytes: int = MAX_BYTES):
        self.max_runs, self.max_bytes = max_runs, max_bytes
        self._runs: dict[str, StoredRun] = {}
        self._lock = threading.Lock()

    def add(self, run: StoredRun) -> StoredRun:
        with self._lock:
            self._runs[run.id] = run
        self.trim()
        return run

    def get(self, run_id: str | None) -> StoredRun:
        """Raises UnknownRun for an id that is unknown or no longer kept."""
        run = self._runs.get(str(run_id))
        if run is None:
            raise UnknownRun("This run is not kept here any more (or never was): press Run to make it again.")
        return run

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    def trim(self) -> None:
        """Throw out the oldest finished runs until both bounds hold."""
        with self._lock:
            kept = [r for r in self._runs.values() if not r.recording]
            total, number = sum(r.bytes for r in kept), len(kept)
            for run in kept:
                if number <= self.max_runs and total <= self.max_bytes:
                    return
                if run.state not in ACTIVE and run is not kept[-1]:
                    del self._runs[run.id]
                    total, number = total - run.bytes, number - 1
