"""What the app shares between people and tabs: loaded networks, what is kept for people, and the one that samples."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.adding import Additions
from app.limits import MAX_IMAGES, MAX_NFE, MAX_SIDE, allowed
from app.memory import Trimmer
from app.networks import Loaded
from app.server.exports import Exports
from app.server.frames import pack_final, pack_frame
from app.store import DONE, STOPPED, WAITING, Once, Store, StoredRun
from app.worker import SamplingWorker
from pf_core import memory
from pf_core.errors import InputError
from pf_core.models import autoencoder, checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import to_uint8
from pf_core.presets import PFT
from pf_core.samplers import entry_of
from pf_core.sampling.edits import parse
from pf_core.sampling.memory import check_fits
from pf_core.sampling.run import Run, SampleSpec, passes, resolve
from pf_core.sampling.sweep import in_words
from pf_core.sampling.together import Share, alike, together
from pf_core.sampling.trajectory import Trajectory, follow, seconds_ranked
from pf_core.training.queue import Jobs

RECORDINGS = Path(__file__).resolve().parent.parent / "assets" / "recordings"
log = logging.getLogger("patch_forcing.app")


_GONE = "This {} is not kept here any more (or never was): {}."


class AppState:
    """One a server: what it keeps for people, and the worker that draws everybody's runs and sweeps in turn."""

    def __init__(
        self,
        recordings: Path = RECORDINGS,
        roots: list[Path] | None = None,
        batches: bool = False,
        device: torch.device | str = "cpu",
    ):
        """batches: draw waiting runs of several visitors in one batch where only seeds and what is asked for differ:
        their images are then the same up to rounding, not bit for bit. device: where the networks are."""
        self.batches = batches
        self.give_back = Trimmer()
        again = _GONE.format("run", "press Run to make it again")
        self.runs: Store[StoredRun] = Store(32, 512 * 2**20, again, lambda run: self.give_back())
        self.sweeps: Store = Store(12, 128 * 2**20, _GONE.format("sweep", "load its sheet, or run it again"))
        self.studies: Store = Store(32, 16 * 2**20, _GONE.format("study", "measure it again"))
        self.pictures: Store = Store(256, 64 * 2**20, _GONE.format("picture", "bring it again"))
        closed = "This laboratory is closed: reload the page for a new one."
        self.labs: Store = Store(8, 2**30, closed, lambda lab: lab.close())
        self.paces: dict[tuple[str, str], float] = {}  # seconds of a forward pass, by network and hash
        self.speeds: dict[str, float] = {}  # seconds of a forward pass a row, last time, by network's hash
        self.ranked: dict[tuple[str, int], float] = {}  # of a ranking pass an image, by network and probes
        self.worker, self.exports, self.panels = SamplingWorker(self.free), Exports(), Once(16 * 2**20)
        self.attended, self.readings = Once(8 * 2**20), Once(2**20)  # maps of words, and what results read
        self.replies = Once(16 * 2**20)  # frames of recordings, compressed
        self.recordings_folder = recordings
        self.additions = Additions(roots)
        self.loaded = Loaded(freed=self.give_back, device=device)
        self._loading_recordings = threading.Lock()

    @cached_property
    def training(self) -> Jobs:
        """The trainings of this machine; who asks first begins to watch over them."""
        return Jobs(watch=True)

    # networks

    def networks(self) -> list[str]:
        """The shipped ones, then those of training runs, the newest first."""
        return checkpoint.names() + checkpoint.run_names()

    def first_network(self) -> str | None:
        """The one that the page opens with; None if there is none at all."""
        names = self.networks()
        return PFT if PFT in names else next(iter(names), None)

    def network_choices(self) -> list[tuple[str, str]]:
        """(what a list says, name)."""
        exact = checkpoint.ORACLES
        return [(f"{name} (exact, no network)" if name in exact else name, name) for name in self.networks()]

    def notice(self) -> str:
        """What is wrong with files that should be here, as sentences; "" if all are well."""
        sentences = " ".join(f"{name} is left out: {reason}" for name, reason in checkpoint.unreadable().items())
        return sentences.replace(f"{checkpoint.FOLDER}/", "")

    def bundle(self, name: str) -> Bundle:
        """A shipped network or a training run's ("runs/NAME", "runs/NAME@STEP"), loaded once, and again when its file
        changes. Raises InputError for any other name: no path comes in here."""
        named = isinstance(name, str)
        if named and (reason := checkpoint.unreadable().get(name)):
            raise InputError(reason)
        if not named or (name not in checkpoint.names() and not checkpoint.is_run(name)):
            known = ", ".join(self.networks()) or "none yet"
            raise InputError(f"There is no network {name!r:.80} here. Known: {known}.")
        return self.loaded.get(name)

    def free(self) -> None:
        """Memory ran out: let go of what can be had again."""
        self.loaded.forget()
        autoencoder.forget()
        self.give_back()

    def warm_up(self, name: str) -> None:
        """Load a network and run it once, so that the first click is answered at once."""
        try:
            for _ in Run(self.bundle(name), SampleSpec(checkpoint=name, steps=1)):
                pass
        except InputError as e:
            log.warning("warm-up: %s", e)

    # runs

    def start(
        self, spec: SampleSpec, x0: Tensor | None = None, edit_images: Tensor | None = None, *, lane: str = ""
    ) -> StoredRun:
        """Queue a run; `x0` and `edit_images` as in `pf_core.sampling.Run`, `lane` whose turn it takes. Raises
        InputError if anything is wrong."""
        if len(spec.seeds) > MAX_IMAGES:
            raise InputError(f"The app draws at most {MAX_IMAGES} images at once, not {len(spec.seeds)}.")
        budget = spec.nfe if spec.steps is None else spec.steps
        asked = budget if spec.ts is None else len(spec.ts) - 1  # before `resolve`, which may take long to tell
        if isinstance(asked, int | float) and asked > MAX_NFE:
            raise InputError(f"The app runs at most {MAX_NFE} NFE an image. The command line has no such limit.")
        bundle, spec = self.bundle(spec.checkpoint), replace(spec, compile=False)  # nobody here waits for a compiler
        resolved = resolve(spec, bundle)
        nfe = resolved.nfe
        if nfe > MAX_NFE:
            raise InputError(
                f"That is {nfe} NFE an image; the app runs at most {MAX_NFE}. The command line has no such limit."
            )
        allowed(spec.edits, bundle)
        check_fits(bundle, resolved)
        job = Run(bundle, spec, x0, edit_images)
        trajectory = Trajectory(bundle.grid, job.spec.to_dict(), job.x0, edit_images=job.edit_images)
        run = StoredRun(job.spec, trajectory, bundle.codec, title(job.spec), job, guided=job.spec.cfg_scale != 1)
        run.takes = bundle.conditioner.takes
        run.passes = passes(job.spec, bundle.grid.n)
        self.worker.add(run, self._sampling(run), lane, lambda: self.left(run))
        return self.runs.add(run)

    def stop(self, run_id: str | None) -> StoredRun:
        """Ask a run to stop; it does so before its next forward pass. Raises InputError for an unknown id."""
        run = self.runs.get(run_id)
        self.worker.stop(run)
        if run.state == STOPPED:  # before it began: it holds its network no longer
            run.job = None
        return run

    def halt(self, *run_ids: str) -> None:
        """Stop what is still going on. Ids that are not known any more are let pass."""
        for run_id in run_ids:
            if run_id in self.runs and self.runs.get(run_id).busy:
                self.stop(run_id)

    def waits(self, run: StoredRun) -> str:
        """Why a waiting run waits, and for how long, in words; "" for any other."""
        if run.state != WAITING:
            return ""
        ahead, others, seconds = self.worker.ahead(run), self.worker.others(run), self.worker.expected(run)
        about = "" if seconds is None else f", about {in_words(seconds)}"
        if not ahead and others:
            return f"waiting: {others} other{'s' * (others != 1)} take{'s' * (others == 1)} turns with yours{about}"
        return f"waiting: {ahead} run{'s' * (ahead != 1)} before yours{about}"

    def left(self, run: StoredRun) -> float | None:
        """Seconds of work that a run still is; None while nothing tells how long its network takes."""
        done, speed = run.trajectory, self.speeds.get(run.spec.checkpoint_hash)
        if len(done):
            speed = done.seconds / len(done) / rows_of(run)
        return None if speed is None else speed * rows_of(run) * max(0, (run.passes or run.spec.nfe) - len(done))

    def seconds_ranked(self, network: str, probes: int) -> float | None:
        """What a pass that ranks patches by so many probes took last time, an image; None where none was measured."""
        return self.ranked.get((network, probes))

    async def ended(self, *run_ids: str) -> None:
        """Wait until none of these is going on; no thread waits with it."""
        while any(i in self.runs and self.runs.get(i).busy for i in run_ids):
            await asyncio.sleep(0.05)

    def _sampling(self, run: StoredRun) -> Iterator[None]:
        """Draw it, one forward pass a step; its last state says how it ended."""
        self._join(run)
        try:
            for frame in follow(run.job, run.trajectory):
                pack_frame(run, frame)
                if run.stop.is_set():
                    break
                yield
            if run.trajectory.x1 is None:
                run.message, run.state = stopped_after(run), STOPPED
            else:
                yield from self._decoding(run)
                run.state = DONE
        finally:
            if len(run.trajectory):
                if (seconds := seconds_ranked(run.trajectory.frames)) is not None:
                    self.ranked[run.spec.checkpoint, run.spec.probes] = seconds / len(run.spec.seeds)
                self.speeds[run.spec.checkpoint_hash] = run.trajectory.seconds / len(run.trajectory) / rows_of(run)
            run.job = None
            self.runs.trim()

    def _join(self, run: StoredRun) -> None:
        """As it begins, take along what waits at the head of other lanes and can be drawn in the same batch."""
        if not self.batches or isinstance(run.job, Share):
            return
        room = MAX_IMAGES - len(run.spec.seeds)

        def fits(other: Any) -> bool:
            nonlocal room
            same = isinstance(other, StoredRun) and isinstance(other.job, Run) and other.job.bundle is run.job.bundle
            if not same or not alike(run.spec, other.spec) or len(other.spec.seeds) > room:
                return False
            room -= len(other.spec.seeds)
            return True

        if others := self.worker.beside(fits):
            runs = [run, *others]
            with suppress(InputError):  # too large together: each goes alone
                for each, share in zip(runs, together([one.job for one in runs]), strict=True):
                    each.job = share

    def _decoding(self, run: StoredRun) -> Iterator[None]:
        """The last frame: the result as its codec decodes it, which may take seconds an image; a preview of it where
        that was stopped, or cannot be done, which is said."""
        pictures, x1 = [], run.trajectory.x1
        try:
            for x in x1 if run.codec.full else ():
                run.message = f"decoding image {len(pictures) + 1} of {len(x1)}"
                yield
                if run.stop.is_set():
                    break
                with memory.sentences("decoding the result"):
                    pictures.append(to_uint8(run.codec.decode(x[None].to(run.job.bundle.device))).cpu())
            run.message = run.codec.lack and f"The result is shown as a preview. {run.codec.lack}"
        except InputError as e:
            run.message = f"The result is shown as a preview. {e}"
        pack_final(run, torch.cat(pictures) if len(pictures) == len(x1) else None)

    # recordings

    def keep(self, trajectory: Trajectory, **known) -> StoredRun:
        """A run that was recorded elsewhere, ready to be shown; nothing is computed. `known`: fields of the StoredRun.

        Raises InputError if its recipe makes no sense or it is larger than what the app shows.
        """
        spec = SampleSpec.from_dict(trajectory.recipe)
        images, channels, height, width = trajectory.x0.shape
        network = here(self, spec).checkpoint
        codec = checkpoint.codec_of(network)
        shown(len(trajectory), (images, channels, height * codec.factor, width * codec.factor))
        if codec.channels != channels or len(spec.seeds) != images or len(spec.labels) not in (1, images):
            raise InputError("The recording does not fit its recipe: it is damaged, or of a network unknown here.")
        spec = replace(spec, settings=entry_of(spec.sampler).settings(spec.settings), labels=_each(spec.labels, images))
        spec = replace(spec, edits=[edit.to_dict() for edit in parse(spec.edits)])
        spec = replace(spec, nfe=spec.nfe or len(trajectory), steps=spec.steps or trajectory.frames[-1].outer + 1)
        run = StoredRun(spec, trajectory, codec, title(spec), guided=spec.cfg_scale != 1, **known)
        run.takes = checkpoint.takes(network)
        run.passes = 0 if spec.difficulty == "head" else len(trajectory)
        for frame in trajectory.frames:
            pack_frame(run, frame)
        if trajectory.x1 is not None:
            pack_final(run)
        run.state = STOPPED if trajectory.x1 is None else DONE
        run.message = "" if trajectory.x1 is not None else stopped_after(run)
        return self.runs.add(run)

    def recordings(self, most: int | None = None) -> list[StoredRun]:
        """The shipped runs in the order of their file names, or the first `most` of them; each is loaded once."""
        paths = sorted(self.recordings_folder.glob("*.safetensors"))[:most]
        with self._loading_recordings:
            for path in paths:
                if f"recording-{path.stem}" not in self.runs:
                    self._load_recording(path)
        known = (f"recording-{path.stem}" for path in paths)
        return [self.runs.get(name) for name in known if name in self.runs]

    def _load_recording(self, path: Path) -> None:
        try:
            self.keep(Trajectory.load(path), origin="recorded", pinned=True, id=f"recording-{path.stem}")
        except InputError as e:
            log.warning("recording: %s", e)


def rows_of(run: StoredRun) -> int:
    """How many rows a batch of this run has in one forward pass."""
    return len(run.spec.seeds) * (2 if run.guided else 1)


def shown(frames: int, shape: tuple[int, ...]) -> None:
    """Raises InputError for a recording that is larger than what the app shows. shape: (B, C, H, W)."""
    images, _, height, width = shape
    if images > MAX_IMAGES or frames > MAX_NFE or max(height, width) > MAX_SIDE:
        raise InputError(
            f"The app shows runs of at most {MAX_IMAGES} images, {MAX_NFE} NFE and {MAX_SIDE} pixels a side; this "
            f"one has {images} images, {frames} NFE and {height} x {width} pixels."
        )


def stopped_after(run: StoredRun) -> str:
    done = run.trajectory.frames[-1].nfe if run.trajectory.frames else 0
    return f"Stopped after {done} of {run.spec.nfe} NFE, {run.trajectory.seconds:.2f} s."


def _each(labels: list, images: int) -> list:
    return labels * images if len(labels) == 1 else labels


def title(spec: SampleSpec) -> str:
    """How a run is called in the viewer: its sampler's label, up to the bracket, and its cost."""
    return entry_of(spec.sampler).title


def here(state: AppState, spec: SampleSpec) -> SampleSpec:
    """The same recipe with its network by the name that it has here, where it is told by its file; the run checks that
    it is the same one."""
    path = Path(spec.checkpoint)
    known = path.suffix == ".safetensors" and spec.checkpoint not in state.networks() and path.stem in state.networks()
    return replace(spec, checkpoint=path.stem) if known else spec
