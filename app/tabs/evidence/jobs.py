"""Studies that run on the server, in the lane of who asked, a forward pass at a time like everybody's runs."""

import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from app.state import AppState
from app.store import ACTIVE, DONE, FAILED, RUNNING, STOPPED, WAITING
from pf_core.errors import InputError
from pf_core.evaluation import evidence
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.work import Stopped, pace
from pf_core.models.checkpoint import Bundle

SHARED = "shared"  # the folder of pieces of all studies that were not measured before
MOST_FORWARDS = 200_000  # of one image, a study here; the command line has no such limit

FROM_A_SHELL = {"runs": "looks at trainings", "nothing": "trains networks of its own"}  # studies that read these


@dataclass(eq=False)
class StudyJob:
    """A study of a network, whatever its state; result: what it measured. digest: the network's hash; folder: the
    name of the one with its pieces; lane: of the visitor who asked."""

    study: str
    network: str
    digest: str
    settings: dict[str, Any]
    total: int
    folder: str = SHARED
    lane: str = ""
    done: int = 0
    state: str = WAITING
    message: str = ""
    result: dict[str, Any] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    pinned: bool = False
    bytes: int = 2**18  # about what numbers of a study take

    @property
    def busy(self) -> bool:
        return self.state in ACTIVE

    @property
    def of(self) -> tuple[str, str, str]:
        return self.study, self.network, self.digest


class Studies:
    """What the page does with studies: quick ones, kept in the app's state, measured by its one worker."""

    def __init__(self, state: AppState):
        self.state, self._timing, self._starting = state, threading.Lock(), threading.Lock()
        self._measured: set[tuple[str, str, str]] = set()  # what was measured to its end: `of` of a job
        self._open: set[str] = set()  # folders of jobs that have not ended

    @cached_property
    def _parts(self) -> tempfile.TemporaryDirectory:
        """Folders of pieces."""
        return tempfile.TemporaryDirectory(prefix="patch-forcing-")

    def cost(self, study: str, network: str) -> str:
        """What a quick run of it takes here, in words. Raises InputError where the app would not run it."""
        bundle = self.state.bundle(network)
        return evidence.cost(study, bundle, self._settings(study, network), self._pace)

    def _pace(self, bundle: Bundle) -> float:
        """Seconds of an image's pass in a batch, timed once."""
        key = ("a batch", bundle.hash)
        with self._timing:
            if key not in self.state.paces:
                self.state.paces[key] = pace(bundle)
        return self.state.paces[key]

    def start(self, study: str, network: str, lane: str = "") -> StudyJob:
        """Queue it, but where it is being measured in this lane already. Raises InputError if it cannot run, or too
        many wait."""
        bundle, settings = self.state.bundle(network), self._settings(study, network)
        total = evidence.forwards(study, bundle, settings)
        if total > MOST_FORWARDS:
            raise InputError(f"That takes {total:,} forward passes; the app makes at most {MOST_FORWARDS:,} a study.")
        job = StudyJob(study, network, bundle.hash, settings, total, lane=lane)
        with self._starting:
            return self._going(job) or self._queued(job, bundle)

    def _queued(self, job: StudyJob, bundle: Bundle) -> StudyJob:
        job.folder = self._folder(job)
        self._open.add(job.folder)
        try:
            self.state.worker.add(job, self._measuring(job, bundle), f"{job.lane}/studies")
        except InputError:
            self._open.discard(job.folder)
            raise
        return self.state.studies.add(job)

    def _going(self, job: StudyJob) -> StudyJob | None:
        """The same study of the same visitor, if it has not ended and is not about to."""
        same = [one for one in self.state.studies.all() if (one.of, one.lane) == (job.of, job.lane)]
        return next((one for one in same if one.busy and not one.stop.is_set()), None)

    def _folder(self, job: StudyJob) -> str:
        """Where its pieces go: what was measured to its end before is measured again, in a folder of its own; what was
        stopped goes on."""
        before = [other for other in self.state.studies.all() if other.of == job.of and not other.busy]
        if before and before[-1].state != DONE:
            return before[-1].folder
        return job.id if job.of in self._measured else SHARED

    def _clear(self) -> None:
        """Remove the folders that nobody writes in or could go on with."""
        jobs = self.state.studies.all()
        last = {job.of: job for job in jobs if not job.busy}.values()
        needed = {SHARED} | self._open | {job.folder for job in last if job.state != DONE}
        for folder in Path(self._parts.name).glob("*"):
            if folder.name not in needed:
                shutil.rmtree(folder, ignore_errors=True)

    def _settings(self, study: str, network: str) -> dict[str, Any]:
        about = STUDIES[study].fn.about
        if about.reads != "network":
            raise InputError(f"{study} {FROM_A_SHELL[about.reads]}, from a shell: {evidence.how(study, '')}.")
        return dict(about.quick)

    def latest(self, study: str, network: str, digest: str) -> StudyJob | None:
        """The newest job of this study that measured something on this network, as it is now: a training writes its
        own anew."""
        jobs = [job for job in self.state.studies.all() if job.result and job.of == (study, network, digest)]
        return jobs[-1] if jobs else None

    def own(self, ids: list[str], study: str, network: str, digest: str) -> StudyJob | None:
        """The same, of those with these ids alone."""
        jobs = [self.state.studies.get(i) for i in ids if i in self.state.studies]
        return next((job for job in reversed(jobs) if job.result and job.of == (study, network, digest)), None)

    def _measuring(self, job: StudyJob, bundle: Any) -> Iterator[None]:
        """The study in a thread of its own that only goes on while the worker waits for it."""
        on, back, over = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

        def pause() -> bool:
            back.release()
            on.acquire()
            return job.stop.is_set()

        def tell(done: int, total: int) -> None:
            job.done = done

        def work() -> None:
            on.acquire()
            try:
                parts = Path(self._parts.name) / job.folder
                job.result = evidence.measure(job.study, bundle, job.settings, parts, tell, pause)
            except BaseException as e:  # handed to the worker, which knows what each kind means
                outcome.append(e)
            over.set()
            back.release()

        outcome: list[BaseException] = []
        threading.Thread(target=work, name="study", daemon=True).start()
        while not over.is_set():
            on.release()
            back.acquire()
            yield
        job.state, job.message = (DONE, "") if job.result else (STOPPED, "Stopped; what was measured is kept.")
        if job.result:
            self._measured.add(job.of)
        self._open.discard(job.folder)
        self._clear()
        for error in outcome:
            if not isinstance(error, Stopped):
                job.state = FAILED
                raise error

    def describe(self, job: StudyJob) -> dict[str, Any]:
        """For the page's script."""
        going = {WAITING: "Waiting for its turn.", RUNNING: "Being measured."}.get(job.state, "")
        return {
            "id": job.id,
            "study": job.study,
            "network": job.network,
            "state": job.state,
            "share": job.done / max(job.total, 1),
            "said": job.message or going,
        }
