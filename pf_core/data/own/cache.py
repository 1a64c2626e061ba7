"""Pictures decoded once: a file of uint8 pixels of one size, which is then only looked into.

Under home()/.packed, by the listing and the size: what was decoded by the app is there for the trainer, and the system
keeps in memory as much of it as fits. Nothing here is precious: what is removed is made again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pf_core import files
from pf_core.data.own import image_io, paths
from pf_core.data.own.names import printable
from pf_core.data.own.scan import Item, Skipped
from pf_core.errors import InputError

MOST = 16 * 2**30  # bytes of all packed files together; the longest unused go first
SPARE = 2**29  # bytes of disk that are left to others
_WORKERS = 2  # two pictures decoded at once: bounded memory
_VERSION = 3  # of how pixels are made


@dataclass(frozen=True)
class Packed:
    """pixels: (N, 3, size, size) uint8 of the items numbered in `kept`; digest: of everything that training sees."""

    pixels: np.ndarray
    kept: list[int]
    skipped: list[Skipped]
    digest: str


def pack(items: Sequence[Item], classes: Sequence[str], size: int) -> Packed:
    """The items decoded at this size: read back if that was done before. Raises InputError if the disk is too full."""
    folder = paths.home() / ".packed"
    path = folder / f"{_key(items, classes, size)}.u8"
    packed = _opened(path, size)
    if packed is None:
        _made(folder)
        with files.locked(path.with_suffix(".lock")):
            packed = _opened(path, size)  # another may have decoded them meanwhile
            if packed is None:
                _make_room(folder, len(items) * size * size * 3, keep=path)
                about = _decode(items, classes, size, path)
                with files.replacing(path.with_suffix(".json")) as temporary:  # last: it says that the pixels are whole
                    temporary.write_text(json.dumps(about))
                packed = _opened(path, size)
    if packed is None:
        raise InputError(f"{path} could not be read back: is something else writing there?")
    with suppress(OSError):
        os.utime(path)
    return packed


def _key(items: Sequence[Item], classes: Sequence[str], size: int) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, size, list(classes)]).encode())
    for i in items:
        digest.update(json.dumps([i.entry.name, i.entry.size, i.entry.mark, i.label, i.caption, *_held(i)]).encode())
    return digest.hexdigest()[:32]


def _decode(items: Sequence[Item], classes: Sequence[str], size: int, path: Path) -> dict:
    """Write the pixels; what stands beside them as JSON."""
    kept, skipped = [], []
    digest = hashlib.sha256(json.dumps([size, list(classes)]).encode())
    with files.replacing(path) as temporary, open(temporary, "wb") as f, ThreadPoolExecutor(_WORKERS) as pool:
        done = pool.map(lambda item: _pixels(item, size), items)
        for i, pixels in enumerate(tqdm(done, "reading pictures", len(items), unit="picture", disable=None)):
            if isinstance(pixels, Skipped):
                skipped.append(pixels)
                continue
            f.write(pixels)
            digest.update(pixels)
            digest.update(json.dumps([items[i].label, items[i].caption, *_held(items[i])]).encode())
            kept.append(i)
    bad = [[s.name, s.reason] for s in skipped]
    return {"kept": kept, "skipped": bad, "digest": digest.hexdigest()}


def _held(item: Item) -> list[bool]:
    """Nothing for pictures that are trained on: older digests stay what they were."""
    return [True] * item.held


def _pixels(item: Item, size: int) -> bytes | Skipped:
    try:
        pixels = image_io.square(item.entry.read(), size, name=printable(item.entry.name))
        return pixels.transpose(2, 0, 1).tobytes()  # as networks want it: nothing is left to do a batch
    except InputError as e:
        return Skipped.of(item.entry.name, e)


def _opened(path: Path, size: int) -> Packed | None:
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        shape = (len(about["kept"]), 3, size, size)
        if path.stat().st_size != np.prod(shape):
            return None
        pixels = np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)
        return Packed(pixels, about["kept"], [Skipped(*s) for s in about["skipped"]], about["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _made(folder: Path) -> None:
    """Raises InputError if it cannot be made, or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise _unwritable(folder, e) from None


def _unwritable(folder: Path, e: OSError) -> InputError:
    return InputError(f"Cannot write {folder}: {e.strerror or e}. Name another with PATCH_FORCING_DATA.")


def _make_room(folder: Path, need: int, keep: Path) -> None:
    """Remove what has not been used for longest. Raises InputError if it still does not fit."""
    if need > MOST:
        raise InputError(f"At this size the pictures take {need / 2**30:.0f} GB: choose a smaller size, or fewer.")
    try:
        old = sorted((p for p in folder.glob("*.u8") if p != keep), key=lambda p: p.stat().st_mtime)
        used = sum(p.stat().st_size for p in old)
        while old and (used + need > MOST or shutil.disk_usage(folder).free < need + SPARE):
            used -= old[0].stat().st_size
            old[0].with_suffix(".json").unlink(missing_ok=True)
            old.pop(0).unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as e:
        raise _unwritable(folder, e) from None
    if free < need + SPARE:
        raise InputError(f"The disk of {folder} is too full: {need / 2**20:.0f} MB are needed.")
