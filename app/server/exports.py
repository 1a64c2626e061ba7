"""Runs as files for people: written by a thread of their own, kept for a while, sent piece by piece."""

import asyncio
import mimetypes
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeVar

from starlette.responses import StreamingResponse

from app.store import Busy, Store, StoredRun
from pf_core import memory
from pf_core.errors import InputError
from pf_core.sampling.export import export
from pf_core.sampling.trajectory import Trajectory

WRITERS = 1  # at a time: more would only take turns with the runs and frames that others wait for
MOST_BYTES = 256 * 2**20  # of files, on disk
MOST_WAITING = 32  # files and looks that may wait at once, of all people together
PIECE = 2**18
_BUSY = "Much is being made here just now: try again in a moment."

T = TypeVar("T")


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
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="looks")  # does not wait for files
        self._files: Store[Exported] = Store(256, MOST_BYTES, "", lambda file: file.path.unlink(missing_ok=True))
        self._made, self._looks, self._asking = 0, 0, threading.Lock()

    async def open(self, run: StoredRun, suffix: str) -> BinaryIO:
        """A run as a file, to be read and closed. Raises InputError while there is nothing to export. To be called in
        the event loop: no thread waits for the one that writes."""
        return await self.file(f"{state_of(run)}{suffix}", suffix, lambda path: write(run, path))

    async def file(self, key: str, suffix: str, make: Callable[[Path], None]) -> BinaryIO:
        """The file of this key, made by make(path) unless it is kept. Raises InputError. As `open`."""
        while True:
            with self._asking:
                file = self._files.get(key) if key in self._files else self._write(key, suffix, make)
            try:
                await asyncio.shield(asyncio.wrap_future(file.written))
            except Exception as e:  # not where who asked has gone: others may wait for the same file
                self._files.drop(key)
                if isinstance(e, OSError):
                    raise InputError(f"The file cannot be written here: {e}.") from None
                raise
            self._files.trim()
            try:
                return file.path.open("rb")
            except FileNotFoundError:  # thrown out for others' files meanwhile, or by who tidies this machine
                self._files.drop(key)

    async def look(self, make: Callable[[], T]) -> T:
        """What make() returns, in a thread of its own, one after the other. Raises Busy where many wait."""
        if self._looks >= MOST_WAITING:
            raise Busy(_BUSY)
        self._looks += 1
        try:
            return await asyncio.wrap_future(self._looking.submit(_look, make))
        finally:
            self._looks -= 1

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory:
        try:
            return tempfile.TemporaryDirectory(prefix="patch-forcing-")
        except OSError as e:
            raise InputError(f"The server has no temporary folder to write to: {e}.") from None

    def _write(self, key: str, suffix: str, make: Callable[[Path], None]) -> Exported:
        if sum(file.busy for file in self._files.all()) >= MOST_WAITING:
            raise Busy(_BUSY)
        self._made += 1
        path = Path(self._folder.name) / f"{self._made}{suffix}"
        return self._files.add(Exported(key, path, self._writing.submit(_make, path, make)))


def _make(path: Path, make: Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with memory.sentences("the file was made"):
        make(path)


def _look(make: Callable[[], T]) -> T:
    with memory.sentences("this was looked at"):
        return make()


def state_of(run: StoredRun) -> str:
    """A run and how far it is, as a key: it is written again where it has grown. Raises InputError without frames."""
    if not run.trajectory.frames:
        raise InputError("This run has no frames yet: wait for the first one.")
    return f"{run.id}:{len(run.trajectory.frames)}:{run.trajectory.x1 is not None}:"


def recorded(run: StoredRun) -> Trajectory:
    """What there is of a run by now: it may grow meanwhile."""
    trajectory = copy(run.trajectory)
    trajectory.frames = list(trajectory.frames)
    return trajectory


def write(run: StoredRun, path: Path) -> None:
    """Write what there is of a run by now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trajectory = recorded(run)
    if trajectory.x1 is None and path.suffix != ".safetensors":
        trajectory.x1 = trajectory.frames[-1].x.float()  # pictures of a run that was stopped end where it ended
    export(trajectory, run.codec, path)


def attachment(file: BinaryIO, name: str) -> StreamingResponse:
    """The answer that sends a file, to be saved under a name that is safe in a header."""
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-length": str(os.fstat(file.fileno()).st_size),
    }
    kind = mimetypes.types_map.get(Path(name).suffix, "application/octet-stream")
    return StreamingResponse(pieces(file), media_type=kind, headers=headers)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece
