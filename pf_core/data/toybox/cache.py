"""Images rendered ahead: one growing file of grey levels under home()/.toybox for each data set's settings.

The file holds images 0, 1, 2, ... of a series and nothing else, so its length gives their number: a stopped render
continues where it was, and readers use whole images only. The pixels are those of live rendering, bit for bit; a
removed file is rendered again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pf_core.data.own import paths
from pf_core.errors import InputError
from pf_core.files import locked

SPARE = 2**30  # bytes of disk that are left to others
_BATCH, _WORKERS = 64, 2


class Cache:
    """The file of one data set's settings. rows: number of whole images in it, when last looked at."""

    def __init__(self, settings: dict[str, Any], size: int):
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
        self.path, self._shape, self.rows = paths.home() / ".toybox" / f"{key}.u8", (3, size, size), 0
        self._pixels: np.ndarray | None = None

    def read(self, indices: list[int]) -> np.ndarray | None:
        """(B, 3, S, S) uint8, or None if any of these images is missing."""
        if not indices or max(indices) >= self.rows and max(indices) >= self._look():
            return None
        return np.array(self._pixels[indices])

    def _look(self) -> int:
        """Map the file as it is now; returns the number of whole images."""
        try:
            rows = self.path.stat().st_size // int(np.prod(self._shape))
            if rows > self.rows:
                self._pixels = np.memmap(self.path, np.uint8, "r", shape=(rows, *self._shape))
                self.rows = rows
        except OSError:
            pass
        return self.rows

    def fill(self, count: int, render: Callable[[range], np.ndarray]) -> Iterator[int]:
        """Render until the file holds `count` images; yields their number so far. Raises InputError if the disk is too
        full, or if another process is rendering."""
        each = int(np.prod(self._shape))
        with self._growing() as f:
            done = f.seek(0, os.SEEK_END) // each
            f.seek(f.truncate(done * each))  # less half an image, if a render was stopped in the middle of one
            need, free = max(count - done, 0) * each, shutil.disk_usage(self.path.parent).free
            if free < need + SPARE:
                raise InputError(
                    f"{need / 2**30:.1f} GB are needed in {self.path.parent}, and {free / 2**30:.1f} GB are free: "
                    "render fewer, or name another folder with PATCH_FORCING_DATA."
                )
            yield done
            starts = range(done, count, _BATCH)
            with ThreadPoolExecutor(_WORKERS) as pool:
                ahead = 2 * _WORKERS  # so few batches wait to be written
                for first in range(0, len(starts), ahead):
                    some = [range(k, min(k + _BATCH, count)) for k in starts[first : first + ahead]]
                    for part, pixels in zip(some, pool.map(render, some), strict=True):
                        f.write(pixels.tobytes())
                        f.flush()
                        yield part.stop

    @contextmanager
    def _growing(self) -> Iterator[Any]:
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.path.with_suffix(".lock"), patience=0))
                f = held.enter_context(open(self.path, "r+b" if self.path.exists() else "w+b"))
            except TimeoutError:
                raise InputError(f"{self.path} is being rendered by another process: wait for it.") from None
            except OSError as e:
                raise InputError(f"Cannot write {self.path}: {e.strerror or e}.") from None
            yield f


def files() -> list[tuple[Path, int]]:
    """(path, bytes) of every file of rendered images."""
    return [(p, p.stat().st_size) for p in sorted((paths.home() / ".toybox").glob("*.u8"))]
