"""Runs as files for people: written by a thread of their own, kept for a while, sent piece by piece."""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from app.store import Store, StoredRun
from pf_core.errors import InputError
from pf_core.sampling.export import export

WRITERS = 1  # at a time: more would only take turns with the runs and frames that others wait for
MOST_BYTES = 256 * 2**20  # of files, on disk
PIECE = 2**18


@dataclass(eq=False)
class Exported:
    """A file, once `written` is done; it is kept while it is being written."""

    id: str
    path: Path
    written: Future
    pinned: bool = False

    @property
    def busy(self) -> bool:
        return not self.written.done()

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


class Exports:
    """Each kind of file of a run is written once, and again where the run has grown meanwhile."""

    def __init__(self):
        self._writing = ThreadPoolExecutor(WRITERS, thread_name_prefix="exports")
        self._files: Store[Exported] = Store(256, MOST_BYTES, "", lambda file: file.path.unlink(missing_ok=True))
        self._made, self._asking = 0, threading.Lock()

    async def open(self, run: StoredRun, suffix: str) -> BinaryIO:
        """A run as a file, to be read and closed. Raises InputError while there is nothing to export. To be called in
        the event loop: no thread waits for the one that writes."""
        if not run.trajectory.frames:
            raise InputError("This run has no frames yet: wait for the first one.")
        key = f"{run.id}{suffix}:{len(run.trajectory.frames)}:{run.trajectory.x1 is not None}"
        while True:
            with self._asking:
                file = self._files.get(key) if key in self._files else self._write(key, run, suffix)
            try:
                await asyncio.shield(asyncio.wrap_future(file.written))
            except (InputError, OSError) as e:
                self._files.drop(key)
                raise e if isinstance(e, InputError) else InputError(f"The file cannot be written here: {e}.") from None
            self._files.trim()
            try:
                return file.path.open("rb")
            except FileNotFoundError:  # thrown out for others' files meanwhile, or by who tidies this machine
                self._files.drop(key)

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory:
        try:
            return tempfile.TemporaryDirectory(prefix="patch-forcing-")
        except OSError as e:
            raise InputError(f"The server has no temporary folder to write to: {e}.") from None

    def _write(self, key: str, run: StoredRun, suffix: str) -> Exported:
        self._made += 1
        path = Path(self._folder.name) / f"{self._made}{suffix}"
        return self._files.add(Exported(key, path, self._writing.submit(write, run, path)))


def write(run: StoredRun, path: Path) -> None:
    """Write what there is of a run by now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trajectory = copy(run.trajectory)
    trajectory.frames = list(trajectory.frames)
    if trajectory.x1 is None and path.suffix != ".safetensors":
        trajectory.x1 = trajectory.frames[-1].x.float()  # pictures of a run that was stopped end where it ended
    export(trajectory, run.codec, path)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece
