"""Writing files so that no half file is ever seen: to a temporary name beside the target, then renamed."""

import hashlib
import json
import os
import re
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from pf_core import bounded
from pf_core.bounded import decoded as decoded
from pf_core.bounded import encoding_of as encoding_of
from pf_core.errors import InputError

# Read once, before there are threads: it can only be read by being set, for all of them.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


@contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the target's folder (made if missing); renamed to `path`, or removed on failure.

    The temporary name keeps the suffix, so that writers which look at it do the same thing. `durable` waits until the
    disk has it, so that not even a power cut leaves a half file. Raises InputError if the folder cannot be written.
    """
    path = Path(path)
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            with open(temporary, "rb+") as f:
                os.fsync(f.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)  # safetensors writes for the owner alone
        os.replace(temporary, path)
    except OSError as e:
        raise InputError(f"Cannot write {path}: {e.strerror or e}.") from e
    except SafetensorError as e:  # its own kind of error for a full disk
        reason = re.sub(r".*I/O error: | \(os error \d+\)", "", str(e))
        raise InputError(f"Cannot write {path}: {reason}.") from e
    finally:
        with suppress(OSError):
            temporary.unlink()


def temporary_of(path: Path) -> Path:
    """A name beside `path` of this thread's own, hidden, with its suffix; not longer than a file's name may be if that
    of `path` is not."""
    mark = zlib.crc32(path.name.encode(errors="surrogateescape"))  # two long names may begin with the same words
    mine = f"{os.getpid()}-{threading.get_native_id()}"
    return path.with_name(f".{path.stem[:32]}.{mark:08x}.{mine}.tmp{path.suffix[:32]}")


class NotFinite(InputError):
    """A number that JSON does not have was to be written."""


def write_json(path: str | Path, value: Any, durable: bool = True) -> None:
    """Raises InputError if it cannot be written, also for numbers that JSON does not have."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except ValueError:
        raise NotFinite(
            f"Cannot write {path}: one of its numbers is not finite, as where a mean is of nothing."
        ) from None
    with replacing(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a file; {} if there is none, or none that can be read."""
    try:
        content = bounded.read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def sha256(path: str | Path) -> str:
    """A file's digest, in hex, read piece by piece. Raises OSError."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def link(path: Path, other: Path) -> None:
    """`other` as a second name of the file `path`; a copy where there are no hard links. Raises InputError."""
    temporary = temporary_of(other)
    try:
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except (OSError, NotImplementedError, AttributeError):
            shutil.copyfile(path, temporary)
        os.replace(temporary, other)
    except OSError as e:
        raise InputError(f"Cannot write {other}: {e.strerror or e}.") from e
    finally:
        with suppress(OSError):
            temporary.unlink()  # it is still there if `other` was that file already


@contextmanager
def locked(path: str | Path, patience: float = -1) -> Iterator[None]:
    """Hold the lock of this file, over all processes; a process that ends gives it back. patience: seconds to wait for
    it, -1: for ever. Raises TimeoutError if another has it, InputError if the file cannot be made."""
    lock = FileLock(path, timeout=patience, is_singleton=False)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise TimeoutError(str(path)) from None
    except OSError as e:
        check_writable(path)  # says it better where the folder is none
        raise InputError(f"Cannot write {path}: {e.strerror or e}.") from None
    try:
        yield
    finally:
        lock.release()


def touch(path: str | Path) -> None:
    """An empty file. Raises InputError if it cannot be made."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    except OSError as e:
        raise InputError(f"Cannot write {path}: {e.strerror or e}.") from e


def check_writable(path: str | Path) -> None:
    """Before long work: raises InputError if `replacing(path)` could not write in the end."""
    path = Path(path)
    check_names(path)
    folder = next((p for p in path.absolute().parents if p.exists()), Path("/"))
    if path.is_dir():
        raise InputError(f"Cannot write {path}: it is a folder.")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"Cannot write {path}: {folder} is {'not writable' if folder.is_dir() else 'no folder'}.")


def check_names(path: str | Path) -> None:
    """Raises InputError for a path that has a longer name in it than this file system takes."""
    path = Path(path)
    folder = next((p for p in path.absolute().parents if _exists(p)), Path("/"))
    try:
        most, longest = os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
    except (AttributeError, OSError, ValueError):
        most, longest = 255, 4096
    for name in path.parts:
        if len(os.fsencode(name)) > most:
            raise InputError(f"Cannot write {str(path)[:60]}...: {name[:30]}... is longer than a name may be ({most}).")
    if len(os.fsencode(path.absolute())) >= longest:
        raise InputError(f"Cannot write {str(path)[:60]}...: the path is too long.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name
        return False
