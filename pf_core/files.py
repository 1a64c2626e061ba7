"""Writing files so that no half file is ever seen: to a temporary name beside the target, then renamed.

And the one place where bytes that a person brings become text: `decoded`.
"""

import codecs
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pf_core.errors import InputError

_MARKS = {  # at the beginning of a text; those of UTF-32 first, as one begins like UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(start: bytes) -> str:
    """How a text is encoded, by the mark (BOM) in its first four bytes; UTF-8 where there is none."""
    return next((codec for mark, codec in _MARKS.items() if start.startswith(mark)), "utf-8")


def decoded(content: bytes, name: str = "The text") -> str:
    """A text that a person brings: UTF-8 with or without a mark, UTF-16 or UTF-32 with one. Raises InputError."""
    try:
        text = content.decode(encoding_of(content[:4]))
    except UnicodeDecodeError:
        raise InputError(f"{name} is not in UTF-8, nor in UTF-16 with its mark: save it as UTF-8.") from None
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        raise InputError(f"{name} is no text, or is in UTF-16 without its mark: save it as UTF-8.")
    return text


@contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the target's folder (made if missing); renamed to `path`, or removed on failure.

    The temporary name keeps the suffix, so that writers which look at it do the same thing. `durable` waits until the
    disk has it, so that not even a power cut leaves a half file. Raises InputError if the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            with open(temporary, "rb+") as f:
                os.fsync(f.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # safetensors writes for the owner alone
        os.replace(temporary, path)
    except OSError as e:
        raise InputError(f"Cannot write {path}: {e.strerror or e}.") from e
    except SafetensorError as e:  # its own kind of error for a full disk
        reason = re.sub(r".*I/O error: | \(os error \d+\)", "", str(e))
        raise InputError(f"Cannot write {path}: {reason}.") from e
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(path: str | Path, value: Any, durable: bool = True) -> None:
    """Raises InputError if it cannot be written, ValueError for numbers that JSON does not have."""
    with replacing(path, durable) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False))


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a file; {} if there is none, or none that can be read."""
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def touch(path: str | Path) -> None:
    """An empty file. Raises InputError if it cannot be made."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    except OSError as e:
        raise InputError(f"Cannot write {path}: {e.strerror or e}.") from e


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(path: str | Path) -> None:
    """Before long work: raises InputError if `replacing(path)` could not write in the end."""
    path = Path(path)
    folder = next((p for p in path.absolute().parents if p.exists()), Path("/"))
    if path.is_dir():
        raise InputError(f"Cannot write {path}: it is a folder.")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"Cannot write {path}: {folder} is {'not writable' if folder.is_dir() else 'no folder'}.")
