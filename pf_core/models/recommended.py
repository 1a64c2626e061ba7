"""What is recommended for a network, kept in its file: settings to start from, and seeds that a comparison opens on.

It is a second entry of the safetensors header, beside the checkpoint's own, and no part of the checkpoint's hash: the
weights keep their bits, and recipes that name the hash hold before and after.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

from pf_core import bounded, files
from pf_core.errors import InputError

ENTRY = "patch_forcing_recommended"  # of the header's metadata: JSON of a Recommended


@dataclass(frozen=True)
class Shown:
    """A seed, the class that it is asked for, and the judge's confidence (0 to 1) of that class, by each sampler."""

    seed: int
    label: str
    confidence: list[float]


@dataclass(frozen=True)
class Opening:
    """Two samplers on the same seeds, 0 to among - 1, each asked for its own class, at equal NFE.

    largest: where the second one's gain in confidence over the first is largest; typical: where it is the median.
    surer: on how many seeds each of them is the surer one.
    """

    samplers: list[str]
    settings: list[dict[str, Any]]
    nfe: int
    cfg_scale: float
    among: int
    surer: list[int]
    largest: Shown
    typical: Shown


@dataclass(frozen=True)
class Recommended:
    """settings: knobs by sampler; cfg_scale: None where it was not looked for; openings: an `Opening`'s entries by the
    comparison's name; measured: how it was found."""

    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    cfg_scale: float | None = None
    openings: dict[str, dict[str, Any]] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.settings or self.openings or self.cfg_scale is not None)

    def opening(self, name: str) -> Opening | None:
        """Where a comparison opens; None where nothing is known, or nothing that can be read."""
        try:
            opening = bounded.build(Opening, self.openings[name])
        except (KeyError, InputError):
            return None
        two = (
            opening.samplers,
            opening.settings,
            opening.surer,
            opening.largest.confidence,
            opening.typical.confidence,
        )
        return opening if all(len(each) == 2 for each in two) else None


def read(path: str | Path) -> Recommended:
    """What a checkpoint's file recommends: nothing where it says nothing, or nothing that can be read."""
    try:
        with bounded.tensors(path) as f:
            text = (f.metadata() or {}).get(ENTRY)
        return Recommended() if text is None else bounded.build(Recommended, bounded.parse_json(text))
    except (InputError, SafetensorError, ValueError, OSError):
        return Recommended()


def write(path: str | Path, what: Recommended | None) -> None:
    """Put it into a checkpoint's file, atomically, in the place of what was there; None takes it out. All other bytes
    of the file stay. Raises InputError if that cannot be had, or the file cannot be written."""
    try:
        with open(path, "rb") as f:
            head = _head(f)
            start = f.tell()
        bare = without(head)
        entries, _ = _parted(bare)
        metadata = entries["__metadata__"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no checkpoint that can be read.") from None
    new = bare
    if what is not None:
        text = json.dumps(asdict(what), allow_nan=False)
        new = _joined(entries | {"__metadata__": {**metadata, ENTRY: text}}, b"")
    if without(new) != bare:  # whoever wrote this header formats JSON in another way
        raise InputError(f"{path} was not written by this project: nothing can be added to it without a new hash.")
    with files.replacing(path) as temporary, open(path, "rb") as old, open(temporary, "wb") as f:
        f.write(new)
        old.seek(start)
        shutil.copyfileobj(old, f, PIECE)


def without(content: bytes) -> bytes:
    """A checkpoint's bytes as they are with nothing recommended. Raises ValueError for what is no safetensors file."""
    if ENTRY.encode() not in content[: 8 + int.from_bytes(content[:8], "little")]:
        return content
    entries, tensors = _parted(content)
    metadata = {k: v for k, v in entries["__metadata__"].items() if k != ENTRY}
    return _joined(entries | {"__metadata__": metadata}, tensors)


PIECE = 2**22  # bytes of a file that are in memory at once


def digest(path: str | Path) -> str:
    """SHA-256, in hex, of a checkpoint's file as it is with nothing recommended: streamed, and known again for as long
    as the file's size and times stay. Raises OSError or ValueError for what cannot be read."""
    path = Path(path).absolute()
    stat = os.stat(path)
    return _digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _head(f: BinaryIO) -> bytes:
    """Everything before the tensors. Raises ValueError for what is no safetensors file."""
    size = f.read(8)
    if int.from_bytes(size, "little") > bounded.MOST_HEADER:
        raise ValueError("its header is too large")
    return size + f.read(int.from_bytes(size, "little"))


@lru_cache(maxsize=256)
def _digest(path: Path, *seen: int) -> str:
    with open(path, "rb") as f:
        sha = hashlib.sha256(without(_head(f)))
        while piece := f.read(PIECE):
            sha.update(piece)
    return sha.hexdigest()


def _parted(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header's entries, in order, and the tensors' bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _joined(entries: dict[str, Any], tensors: bytes) -> bytes:
    """As safetensors writes it: compact JSON, filled up with spaces to a multiple of eight bytes."""
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors
