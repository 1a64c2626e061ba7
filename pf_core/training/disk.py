"""Disk space of runs: counting, pruning, deleting, packing for download."""

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pf_core.errors import InputError
from pf_core.training.run_dir import RunFolder

KEPT_SAMPLES, KEPT_NETWORKS = 2, 1  # of each run, never pruned
NOT_PACKED = ("lock", "reserve")


def usage(folder: Path) -> int:
    """Bytes of everything in a folder; links are not followed, a file with two names counts once, and a file deleted
    meanwhile counts as 0."""
    return _usage(folder, set())


def _usage(folder: Path, counted: set[tuple[int, int]]) -> int:
    """counted: (device, inode) of files with more than one name."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += _usage(Path(entry.path), counted)
                    continue
                stat = entry.stat(follow_symlinks=False)
                if stat.st_nlink == 1 or (stat.st_dev, stat.st_ino) not in counted:
                    total += stat.st_size
                if stat.st_nlink > 1:
                    counted.add((stat.st_dev, stat.st_ino))
    return total


def free(folder: Path) -> int:
    """Free bytes on the disk of a folder."""
    return shutil.disk_usage(next(p for p in (folder, *folder.absolute().parents) if p.exists())).free


def prune(folders: list[RunFolder], over: int) -> int:
    """Delete old samples and kept networks, the oldest first, until `over` bytes are freed; returns the bytes freed.

    Never deleted: states, the newest network, metrics, the first and last samples of a run.
    """
    freed = 0
    for size, group in _prunable(folders):
        if freed >= over:
            break
        for path in group:
            path.unlink(missing_ok=True)
        freed += size
    return freed


def _prunable(folders: list[RunFolder]) -> list[tuple[int, list[Path]]]:
    """(bytes, files that belong together), oldest first."""
    groups = []
    for folder in folders:
        samples: dict[int, list[Path]] = {}
        for path in folder.path.glob("samples/*"):
            if step := re.match("[0-9]+", path.name):
                samples.setdefault(int(step[0]), []).append(path)
        middle = sorted(samples)[1 : -(KEPT_SAMPLES - 1)]
        networks = [p for p in folder.path.glob("checkpoints/*.safetensors") if re.fullmatch("[0-9]+", p.stem)]
        networks = sorted(networks, key=lambda path: int(path.stem))[:-KEPT_NETWORKS]
        groups += [samples[step] for step in middle] + [[path] for path in networks]
    dated = []
    for group in groups:
        with suppress(OSError):
            stats = [path.stat() for path in group]
            dated.append((min(s.st_mtime for s in stats), sum(s.st_size for s in stats), group))
    return [(size, group) for _, size, group in sorted(dated, key=lambda d: d[0])]


def remove(folder: Path) -> None:
    """Delete a run's folder, renamed first so that no half-deleted run is listed. Raises InputError."""
    trash = folder.with_name(f".deleted-{folder.name}-{os.getpid()}")
    try:
        folder.rename(trash)
    except OSError as e:
        raise InputError(f"Cannot delete {folder.name}: {e.strerror or e}.") from None
    shutil.rmtree(trash, ignore_errors=True)


def clear_trash(root: Path) -> None:
    """Delete what killed deletions have left."""
    for folder in root.glob(".deleted-*"):
        shutil.rmtree(folder, ignore_errors=True)


class _Sink:
    """A file that collects what is written to it."""

    def __init__(self):
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self.parts = b"".join(self.parts), []
        return taken


def packed(folder: RunFolder) -> Iterator[bytes]:
    """The run's files as a zip, in pieces of about a megabyte; nothing is written to the disk."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.path.rglob("*")):
            inside = path.relative_to(folder.path)
            hidden = any(part.startswith(".") for part in inside.parts)
            if hidden or path.is_symlink() or not path.is_file() or str(inside) in NOT_PACKED:
                continue
            with (
                open(path, "rb") as f,
                archive.open(f"{folder.name}/{inside.as_posix()}", "w", force_zip64=True) as target,
            ):
                while piece := f.read(2**20):
                    target.write(piece)
                    yield sink.take()
    yield sink.take()
