"""What the app shares between people and tabs: loaded networks, kept runs, and the one thread that samples."""

import logging
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from app.server.frames import pack_final, pack_frame
from app.store import DONE, FAILED, RUNNING, STOPPED, WAITING, RunStore, StoredRun
from app.tabs.intervene.edits import allowed
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import CODECS
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import Run, SampleSpec, resolve
from pf_core.sampling.trajectory import Trajectory, follow

MAX_IMAGES = 16
MAX_NFE = 256
MAX_SIDE = 512  # pixels, of runs that people load
MAX_WAITING = 8
RECORDINGS = Path(__file__).resolve().parent.parent / "assets" / "recordings"
log = logging.getLogger("patch_forcing.app")


class Session:
    """One a server. `start` queues a run and returns at once; a single worker thread runs one at a time."""

    def __init__(self, store: RunStore | None = None, recordings: Path = RECORDINGS):
        self.store = store or RunStore()
        self.recordings_folder = recordings
        self._bundles: dict[str, tuple[float, Bundle]] = {}
        self._loading = threading.Lock()
        self._queue: deque[StoredRun] = deque()
        self._active: StoredRun | None = None
        self._turn = threading.Condition()
        self.sampling = threading.Lock()  # held while a run, or a sweep's cell, is drawn
        threading.Thread(target=self._work, name="sampling", daemon=True).start()

    # networks

    def networks(self) -> list[str]:
        """The shipped ones, then those of training runs, the newest first."""
        return checkpoint.names() + checkpoint.run_names()

    def network_choices(self) -> list[tuple[str, str]]:
        """(what a list says, name)."""
        exact = checkpoint.ORACLES
        return [(f"{name} (exact, no network)" if name in exact else name, name) for name in self.networks()]

    def notice(self) -> str:
        """What is wrong with files that should be here, as sentences; "" if all are well."""
        said = " ".join(f"{name} is left out: {reason}" for name, reason in checkpoint.unreadable().items())
        return said.replace(f"{checkpoint.FOLDER}/", "")

    def bundle(self, name: str) -> Bundle:
        """A shipped network or a training run's ("runs/NAME", "runs/NAME@STEP"), loaded once, and again when its file
        changes. Raises InputError for any other name: no path comes in here."""
        if reason := checkpoint.unreadable().get(name):
            raise InputError(reason)
        if name not in checkpoint.names() and not checkpoint.is_run(name):
            raise InputError(f"There is no network {name!r} here. Known: {', '.join(self.networks()) or 'none yet'}.")
        with self._loading:
            written = 0.0 if name in checkpoint.ORACLES else checkpoint.find(name).stat().st_mtime
            if name not in self._bundles or self._bundles[name][0] != written:
                self._bundles[name] = (written, checkpoint.load(name))
            return self._bundles[name][1]

    def warm_up(self, name: str) -> None:
        """Load a network and run it once, so that the first click is answered at once."""
        try:
            for _ in Run(self.bundle(name), SampleSpec(checkpoint=name, steps=1)):
                pass
        except InputError as e:
            log.warning("warm-up: %s", e)

    # runs

    def start(self, spec: SampleSpec, x0: Tensor | None = None, edit_images: Tensor | None = None) -> StoredRun:
        """Queue a run; `x0` and `edit_images` as in `sampling.run.Run`. Raises InputError if anything is wrong."""
        if len(spec.seeds) > MAX_IMAGES:
            raise InputError(f"The app draws at most {MAX_IMAGES} images at once, not {len(spec.seeds)}.")
        if max(len(spec.ts or ()) - 1, spec.steps if isinstance(spec.steps, int) else 0) > MAX_NFE:
            raise InputError(f"The app runs at most {MAX_NFE} NFE an image. The command line has no such limit.")
        bundle = self.bundle(spec.checkpoint)
        nfe = resolve(spec, bundle).nfe
        if nfe > MAX_NFE:
            raise InputError(
                f"That is {nfe} NFE an image; the app runs at most {MAX_NFE}. The command line has no such limit."
            )
        allowed(spec.edits, bundle)
        job = Run(bundle, spec, x0, edit_images)
        trajectory = Trajectory(bundle.grid, job.spec.to_dict(), job.x0)
        run = StoredRun(job.spec, trajectory, bundle.codec, title(job.spec), job, guided=job.spec.cfg_scale != 1)
        with self._turn:
            if len(self._queue) >= MAX_WAITING:
                raise InputError(f"{MAX_WAITING} runs are waiting already: try again in a moment.")
            self._queue.append(self.store.add(run))
            self._turn.notify_all()
        return run

    def stop(self, run_id: str | None) -> StoredRun:
        """Ask a run to stop; it does so before its next forward pass. Raises InputError for an unknown id."""
        run = self.store.get(run_id)
        run.stop.set()
        with self._turn:
            if run in self._queue:
                self._queue.remove(run)
                run.state, run.message = STOPPED, "Stopped before it began."
        return run

    def ahead(self, run: StoredRun) -> int:
        """How many runs come before this one."""
        with self._turn:
            return list(self._queue).index(run) + (self._active is not None) if run in self._queue else 0

    def idle(self, stop: threading.Event) -> bool:
        """Wait until no run waits or runs: True; False once `stop` is set. What then takes `sampling` goes between."""
        with self._turn:
            while not stop.is_set() and (self._queue or self._active is not None):
                self._turn.wait(0.2)
        return not stop.is_set()

    def _work(self) -> None:
        while True:
            with self._turn:
                self._active = None
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._queue)
                run = self._active = self._queue.popleft()
                run.state = RUNNING
            with self.sampling:
                self._sample(run)
            run.job = None
            self.store.trim()

    def _sample(self, run: StoredRun) -> None:
        try:
            for frame in follow(run.job, run.trajectory):
                pack_frame(run, frame)
                if run.stop.is_set():
                    break
            if run.trajectory.x1 is None:
                run.message, run.state = stopped_after(run), STOPPED
            else:
                pack_final(run)
                run.state = DONE
        except InputError as e:
            run.state, run.message = FAILED, str(e)
        except Exception:
            log.exception("a run failed")
            run.state, run.message = FAILED, "The run failed inside the program; the server's log says where."

    # recordings

    def keep(self, trajectory: Trajectory, **known) -> StoredRun:
        """A run that was recorded elsewhere, ready to be shown; nothing is computed. `known`: fields of the StoredRun.

        Raises InputError if its recipe makes no sense or it is larger than what the app shows.
        """
        spec = SampleSpec.from_dict(trajectory.recipe)
        shown(len(trajectory), tuple(trajectory.x0.shape))
        images, channels = trajectory.x0.shape[:2]
        codec = CODECS[_codec_of(spec.checkpoint)].fn()
        if codec.channels != channels or len(spec.seeds) != images or len(spec.labels) not in (1, images):
            raise InputError("The recording does not fit its recipe: it is damaged, or of a network unknown here.")
        spec = replace(spec, settings=SAMPLERS[spec.sampler].settings(spec.settings), labels=_each(spec.labels, images))
        spec = replace(spec, nfe=spec.nfe or len(trajectory), steps=spec.steps or trajectory.frames[-1].outer + 1)
        run = StoredRun(spec, trajectory, codec, title(spec), guided=spec.cfg_scale != 1, **known)
        for frame in trajectory.frames:
            pack_frame(run, frame)
        if trajectory.x1 is not None:
            pack_final(run)
        run.state = STOPPED if trajectory.x1 is None else DONE
        run.message = "" if trajectory.x1 is not None else stopped_after(run)
        return self.store.add(run)

    def recordings(self) -> list[StoredRun]:
        """The shipped runs, loaded once, in the order of their file names."""
        for path in sorted(self.recordings_folder.glob("*.safetensors")):
            if f"recording-{path.stem}" not in self.store:
                self._load_recording(path)
        return [
            self.store.get(f"recording-{p.stem}")
            for p in sorted(self.recordings_folder.glob("*.safetensors"))
            if f"recording-{p.stem}" in self.store
        ]

    def _load_recording(self, path: Path) -> None:
        try:
            self.keep(Trajectory.load(path), origin="recorded", recording=True, id=f"recording-{path.stem}")
        except InputError as e:
            log.warning("recording: %s", e)


def shown(frames: int, shape: tuple[int, ...]) -> None:
    """Raises InputError for a recording that is larger than what the app shows. shape: (B, C, H, W)."""
    images, _, height, width = shape
    if images > MAX_IMAGES or frames > MAX_NFE or max(height, width) > MAX_SIDE:
        raise InputError(
            f"The app shows runs of at most {MAX_IMAGES} images, {MAX_NFE} NFE and {MAX_SIDE} pixels a side; this "
            f"one has {images} images, {frames} NFE and {height} x {width} pixels."
        )


def stopped_after(run: StoredRun) -> str:
    return f"Stopped after {len(run.trajectory)} of {run.spec.nfe} NFE, {run.trajectory.seconds:.2f} s."


def _each(labels: list, images: int) -> list:
    return labels * images if len(labels) == 1 else labels


def title(spec: SampleSpec) -> str:
    """How a run is called in the viewer: its sampler's label, up to the bracket, and its cost."""
    return SAMPLERS[spec.sampler].label.split("(")[0].strip()


def _codec_of(name: str) -> str:
    """The codec of a shipped network; pixels for those without a file."""
    has_file = name in checkpoint.files_here()
    return checkpoint.read_header(checkpoint.find(name))["codec"] if has_file else next(iter(CODECS))


__all__ = ["DONE", "FAILED", "MAX_IMAGES", "MAX_NFE", "RUNNING", "STOPPED", "WAITING", "Session"]
