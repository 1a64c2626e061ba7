"""`latents`: images encoded once (`python -m pf_core encode`), read back for training.

One safetensors file: `latents` (M, C, h, w), a network's states, of the T training images and behind them of those held
out; where it was asked for, `mirrored` (T, C, h, w), the same of mirrored images; `labels` (M,); and in the header, as
JSON, the recipe: data set, codec, classes, how many are held out. It is looked into, never read as a whole.

Index i < HELD_OUT is place i mod T of epoch i div T; an epoch's order, and which images are mirrored, come from
(series, epoch) alone. From HELD_OUT on come the held-out ones, over and over.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from pf_core import bounded, files
from pf_core.data.own import paths
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError
from pf_core.registry import Knob

ENTRY = "patch_forcing_latents"  # of the header's metadata
FORMAT = RULES = 1
DTYPES = {"fp16": np.dtype("<f2"), "fp32": np.dtype("<f4")}
NAMES = {"fp16": "F16", "fp32": "F32"}  # as a safetensors header says it
PIECE = 2**24


@dataclass(frozen=True)
class States:
    """images (B, C, h, w): a network's states; labels (B,)."""

    images: Tensor
    labels: Tensor


class LatentImages:
    """Latents of images, computed once.

    `python -m pf_core encode` makes the file: states of training and of held-out images, with their classes.
    """

    name = "latents"
    rules = RULES
    encoded_by: tuple[str, dict[str, Any]] = ("latents", {})  # codec and its settings: its images are states already

    def __init__(
        self,
        *,
        path: Annotated[str, Knob(help="file that `encode` wrote")] = "",
        series: Annotated[int, Knob(0, 2**31 - 1, "which order, and which are mirrored", advanced=True)] = 0,
    ):
        self.series, self.path, self.mirrors = series, _find(path), True  # False: all states as they are
        self._file = _read(self.path)
        about = self._file.about
        self.names, self.held, self.encoded_by = about["names"], about["held"], ("latents", about["codec"])
        _, self.channels, height, width = self._file.states.shape
        self.size = height if height == width else (height, width)

    def __len__(self) -> int:
        """Images to train on: an epoch."""
        return len(self._file.states) - self.held

    @property
    def facts(self) -> dict[str, Any]:
        """For records: images, those held out, what they are of, a digest."""
        about = self._file.about
        known = {k: about[k] for k in ("digest", "dataset", "data_settings")}
        return {"pictures": len(self._file.states), "held_out": self.held, "rules": RULES, "notes": []} | known

    def batch(self, indices: range | list[int]) -> States:
        places = [self._place(int(i)) for i in indices]
        f = self._file
        states = np.stack([(f.mirrored if mirrored else f.states)[row] for row, mirrored in places])
        labels = torch.from_numpy(f.labels[[row for row, _ in places]].astype(np.int64))
        return States(torch.from_numpy(states.astype(np.float32)), labels)

    def _place(self, index: int) -> tuple[int, bool]:
        """(row, mirrored?)."""
        if index >= HELD_OUT:
            return (len(self) + (index - HELD_OUT) % self.held, False) if self.held else (index % len(self), False)
        epoch, place = divmod(index, len(self))
        order, mirrored = _epoch(self.series, epoch, len(self))
        return int(order[place]), bool(mirrored[place]) and self.mirrors and self._file.mirrored is not None


@lru_cache(maxsize=4)
def _epoch(series: int, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of the training images, and which are mirrored."""
    rng = np.random.default_rng([series, epoch])
    return rng.permutation(count), rng.random(count) < 0.5


# reading


@dataclass(frozen=True)
class _Open:
    states: np.ndarray
    mirrored: np.ndarray | None
    labels: np.ndarray
    about: dict[str, Any]


def _find(path: str) -> Path:
    """A file by its path, from a root or from here. Raises InputError for one that may not be named or is not here."""
    path = str(path).strip()
    if not path:
        raise InputError("Name a file of latents with path: python -m pf_core encode makes one.")
    roots = [paths.home(), *paths.roots()]
    try:
        tried = [p.resolve() for p in [*(root / path for root in roots), Path(path).expanduser()]]
        allowed = [p for p in tried if paths.anywhere() or any(p.is_relative_to(root) for root in roots)]
        found = next((p for p in allowed if p.is_file()), None)
    except (OSError, ValueError, RuntimeError):
        raise InputError(f"{path[:80]!r} is not the name of a file.") from None
    if not allowed:
        raise InputError(
            f"{path} lies outside of the folders whose files may be used here ({', '.join(map(str, paths.roots()))}). "
            "The server's operator can allow more with PATCH_FORCING_DATA_ROOTS."
        )
    if found is None:
        raise InputError(f"There is no file {path}.")
    return found


def _read(path: Path) -> _Open:
    stat = path.stat()
    return _read_once(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4)
def _read_once(path: Path, *seen: int) -> _Open:
    """The arrays, not read but looked into, and the recipe. Raises InputError for what `write` did not write."""
    try:
        with bounded.tensors(path) as f:
            about = bounded.parse_json(f.metadata()[ENTRY])
        with open(path, "rb") as f:
            length = int.from_bytes(f.read(8), "little")
            entries = json.loads(f.read(length))
        if about["format"] != FORMAT:
            raise InputError(f"{path} has format {about['format']!r:.60}; this version reads format {FORMAT}.")
        arrays = {k: _array(path, 8 + length, entries[k]) for k in ("latents", "mirrored", "labels") if k in entries}
        states, mirrored, labels = arrays["latents"], arrays.get("mirrored"), arrays["labels"]
        names, held, train = about["names"], about["held"], len(states) - about["held"]
        fits = states.ndim == 4 and labels.shape == (len(states),) and 0 <= held < len(states)
        fits = fits and (mirrored is None or mirrored.shape == (train, *states.shape[1:]))
        fits = fits and isinstance(names, list) and all(isinstance(name, str) for name in names)
        _ = about["digest"], about["dataset"], about["data_settings"], dict(about["codec"])
        if not fits or (labels.min() < 0 or labels.max() >= max(1, len(names))):
            raise ValueError("its parts do not fit together")
    except InputError:
        raise
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, OSError) as e:
        reason = f"{e} is missing" if isinstance(e, KeyError) else e
        raise InputError(f"{path} is no file of latents, or is damaged ({reason}): encode makes one.") from None
    return _Open(states, mirrored, labels, about)


def _array(path: Path, start: int, entry: dict[str, Any]) -> np.ndarray:
    kinds = {"F16": "<f2", "F32": "<f4", "I64": "<i8"}
    begin, end = entry["data_offsets"]
    shape, kind = tuple(entry["shape"]), np.dtype(kinds[entry["dtype"]])
    if int(np.prod(shape)) * kind.itemsize != end - begin:
        raise ValueError("an array has another size than its header says")
    return np.memmap(path, kind, "r", start + begin, shape)


# writing

Part = tuple[np.ndarray, np.ndarray | None, np.ndarray]  # states (B, C, h, w), mirrored ones, labels (B,)


def write(
    path: str | Path,
    about: dict[str, Any],
    shape: tuple[int, int, int, int],
    parts: Iterator[Part],
    dtype: str = "fp16",
    mirrored: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> None:
    """Write a file of `shape` (M, C, h, w), whole or not at all; `parts` come in order, training images first, and hold
    mirrored states for as long as training images come. about: names, held, dataset, data_settings, codec and what else
    the recipe says. Raises InputError, also where the disk is too full."""
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r:.60}.")
    kind, train = DTYPES[dtype], shape[0] - about["held"]
    sizes = {"latents": (NAMES[dtype], shape, int(np.prod(shape)) * kind.itemsize)}
    if mirrored:
        sizes["mirrored"] = (NAMES[dtype], (train, *shape[1:]), train * int(np.prod(shape[1:])) * kind.itemsize)
    sizes["labels"] = ("I64", shape[:1], shape[0] * 8)
    head, at = _head(about, sizes, "0" * 64)
    _check_room(Path(path), len(head) + at)
    with files.replacing(path) as temporary:
        with open(temporary, "wb") as f:
            f.write(head)
            f.truncate(len(head) + at)
        arrays = {}
        begin = len(head)
        for name, (_, each, size) in sizes.items():
            arrays[name] = np.memmap(temporary, "<i8" if name == "labels" else kind, "r+", begin, tuple(each))
            begin += size
        row = 0
        for states, flipped, labels in parts:
            end = row + len(states)
            if not np.isfinite(states).all() or np.abs(states).max(initial=0) > 6e4:
                raise InputError("The autoencoder gives numbers that are not finite, or too large for half precision.")
            arrays["latents"][row:end], arrays["labels"][row:end] = states, labels
            if flipped is not None:
                arrays["mirrored"][row : row + len(flipped)] = flipped
            row = end
            progress(row)
        for array in arrays.values():
            array.flush()
        arrays.clear()
        with open(temporary, "rb+") as f:
            f.seek(len(head))
            sha = hashlib.sha256()
            while piece := f.read(PIECE):
                sha.update(piece)
            f.seek(0)
            f.write(_head(about, sizes, sha.hexdigest())[0])


def _head(about: dict[str, Any], sizes: dict[str, tuple], digest: str) -> tuple[bytes, int]:
    """(the file's head, bytes of the tensors behind it): as safetensors lays it out."""
    recipe = {"format": FORMAT, **about, "digest": digest}
    entries: dict[str, Any] = {"__metadata__": {ENTRY: json.dumps(recipe, allow_nan=False)}}
    at = 0
    for name, (kind, shape, size) in sizes.items():
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, at


def _check_room(path: Path, need: int) -> None:
    files.check_writable(path)
    folder = next(p for p in path.absolute().parents if p.exists())
    free = shutil.disk_usage(folder).free
    if free < need + 2**28:
        raise InputError(
            f"The disk of {folder} is too full: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} are free."
        )
