"""`shards`: a folder of tar files as WebDataset lays them out, for more pictures than a folder should hold.

A sample is the neighbouring files of one name: `00017.jpg`, `00017.cls`, `00017.txt`. Known are pictures (png, jpg,
jpeg, webp) or latents (npy), and beside them cls (the class's number), txt (a caption) or json (`label`, `caption`).
All is read and decoded here; no URL, no command, no pickle. For latents the folder's codec.json says what made them:
{"name", "settings"}; classes.json, a list, names the classes.

The first look at a folder writes index.npz: where each sample's files lie in its tar, so that sample i is one read
away. Index i < HELD_OUT is place i mod T of epoch i div T. An epoch takes the shards one after the other, in an order
that comes from (series, epoch) alone, as does each shard's: reads stay near each other. From HELD_OUT on come the
held-out ones, the last share of each shard.

`python -m pf_core shards` (sharding.py) writes such folders, with shards.json, which says how many of each shard are
held out and, for oblong pictures, their shape.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core import bounded, files
from pf_core.data.own import image_io, paths
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError
from pf_core.registry import Knob

INDEX, PLAN, CLASSES, CODEC, RULES = "index.npz", "shards.json", "classes.json", "codec.json", 1
PICTURES, LATENTS = (".png", ".jpg", ".jpeg", ".webp"), (".npy",)
TEXTS = (".cls", ".txt", ".json")
MOST_TEXT = 2**20
MOST_CLASSES, MOST_NAMES = 250_000, 4 * 2**20  # and characters of their names: a network's header holds them


@dataclass(frozen=True)
class ShardSamples:
    """images (B, 3, H, W) in [-1, 1], or states (B, C, h, w) of latents; labels (B,); captions, '' where none is:
    read when they are asked for, since only a network of prompts needs them."""

    images: Tensor
    labels: Tensor
    read: Callable[[], list[str]]

    @cached_property
    def captions(self) -> list[str]:
        return self.read()


class Shards:
    """Tar files of pictures or latents (WebDataset).

    A folder of .tar files; its first use writes an index into it. Captions are kept for what can read them.
    """

    name = "shards"
    rules = RULES

    def __init__(
        self,
        *,
        path: Annotated[str, Knob(help="folder of .tar files")] = "",
        size: Annotated[int, Knob(8, 512, "side in pixels, of oblong ones the height; latents have their own")] = 32,
        flip: Annotated[bool, Knob(help="show half of the pictures mirrored, chosen anew each time")] = True,
        held_out: Annotated[
            float, Knob(0.0, 0.5, "share of each shard kept for validation, unless shards.json says it")
        ] = 0.02,
        series: Annotated[int, Knob(0, 2**31 - 1, "which order and which flips", advanced=True)] = 0,
    ):
        self.path, self.series, self._folder = path, series, paths.find(path)
        self._index = index_of(self._folder)
        self.names, self._meaning = _names(self._folder, self._index), _meaning(self._folder)
        self._shape: tuple[int, ...] | None = None
        counts = np.diff(self._index.starts)
        self._held = np.minimum(np.floor(counts * held_out + 0.5).astype(int), counts - 1) if held_out else 0 * counts
        told = _told(self._folder)
        self._held = np.array([told["held"].get(n, h) for n, h in zip(self._index.shards, self._held, strict=True)])
        if (self._held >= counts).any():
            raise InputError(f"{self._folder / PLAN} holds out more than there is: repair it or remove it.")
        self._train = tuple((counts - self._held).tolist())
        self._length, self._held_ends = sum(self._train), np.cumsum(self._held)
        height, width = told["shape"]
        self.channels, self.flip = 3, flip
        self.size = size if height == width else (size, max(1, round(size * width / height)))
        if self._index.latents:
            codec = _json(self._folder / CODEC)
            if not isinstance(codec, dict) or set(codec) != {"name", "settings"}:
                raise InputError(f"{self._folder} holds latents: its codec.json must say name and settings of a codec.")
            self.encoded_by, self.flip = (codec["name"], codec["settings"]), False
            self._shape = self._latent(0).shape
            self.channels, height, width = self._shape
            self.size = height if height == width else (height, width)

    def __len__(self) -> int:
        """Samples to train on: an epoch."""
        return self._length

    @property
    def held(self) -> int:
        """Samples held out."""
        return int(self._held_ends[-1])

    @property
    def facts(self) -> dict[str, Any]:
        """For records: samples, those held out, shards, a digest of the index."""
        index = self._index
        known = {"pictures": len(index.rows), "held_out": self.held, "shards": len(index.shards)}
        known |= {"digest": index.digest, "rules": RULES, "notes": []}
        return known | ({"meaning": self._meaning} if self._meaning else {})

    def vocabulary(self) -> list[str]:
        """All captions, each once. Raises InputError if there is none, or one that cannot be read."""
        captions = list(dict.fromkeys(filter(None, map(self._caption, range(len(self._index.rows))))))
        if not captions:
            raise InputError(f"None of the samples in {self.path} has a caption, which a network of prompts needs.")
        return captions

    def captions_of(self, indices: range | list[int]) -> list[str]:
        """The captions of the samples with these indices, '' where there is none."""
        return [self._caption(self._place(int(i))[0]) for i in indices]

    def batch(self, indices: range | list[int]) -> ShardSamples:
        """The samples with these indices; label 0 where none has a class. Raises InputError for one that cannot be
        decoded."""
        places = [self._place(int(i)) for i in indices]
        images = torch.stack([self._image(row, mirrored) for row, mirrored in places])
        labels = torch.tensor([max(0, int(self._index.rows["label"][row])) for row, _ in places])
        return ShardSamples(images, labels, lambda: [self._caption(row) for row, _ in places])

    # where a sample is

    def _place(self, index: int) -> tuple[int, bool]:
        """(row of the index, mirrored?)."""
        starts = self._index.starts
        if index >= HELD_OUT and self.held:
            ends = self._held_ends
            place = (index - HELD_OUT) % self.held
            shard = int(np.searchsorted(ends, place, "right"))
            return int(starts[shard + 1] - (ends[shard] - place)), False
        epoch, place = divmod(index % HELD_OUT, len(self))
        order, ends = _epoch(self.series, epoch, self._train)
        turn = int(np.searchsorted(ends, place, "right"))
        shard = int(order[turn])
        within, flips = _within(self.series, epoch, shard, self._train[shard])
        at = place - (int(ends[turn - 1]) if turn else 0)
        return int(starts[shard] + within[at]), bool(flips[at]) and self.flip

    # what it holds

    def _bytes(self, row: int, part: str) -> bytes:
        entry = self._index.rows[row]
        size = int(entry[f"{part}_size"])
        shard = entry["shard"]
        tar = _Opened.of(self._folder / self._index.shards[shard], *self._index.versions[shard])
        found = os.pread(tar.number, size, int(entry[f"{part}_at"]))
        if len(found) < size:
            raise InputError(f"{self._index.shards[shard]} is shorter than its index says: remove {INDEX}.")
        return found

    def _image(self, row: int, mirrored: bool) -> Tensor:
        if self._index.latents:
            return torch.from_numpy(self._latent(row))
        height, width = self.size if isinstance(self.size, tuple) else (self.size, None)
        image = image_io.read(self._bytes(row, "data"), height, width, name=f"sample {row}")
        return image.flip(-1) if mirrored else image

    def _latent(self, row: int) -> np.ndarray:
        try:
            values = np.load(io.BytesIO(self._bytes(row, "data")), allow_pickle=False)
        except (ValueError, OSError, EOFError) as e:
            raise InputError(f"Sample {row} of {self._folder} holds no array: {e}.") from None
        if values.ndim != 3 or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise InputError(f"Sample {row} of {self._folder} is no latent (C, h, w) of finite numbers.")
        if values.shape != (self._shape or values.shape):
            has, first = (" x ".join(map(str, shape)) for shape in (values.shape, self._shape))
            raise InputError(f"Sample {row} of {self._folder} is a latent of {has}, the first one of {first}.")
        return values.astype(np.float32)

    def _caption(self, row: int) -> str:
        if not self._index.rows["text_size"][row]:
            return ""
        text = bounded.decoded(self._bytes(row, "text"), f"The text of sample {row}")
        if self._index.rows["json"][row]:
            text = _said(text, "caption")
        return str(text or "").strip()


@lru_cache(maxsize=4)
def _epoch(series: int, epoch: int, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The shards in an epoch's order, and where each ends in it."""
    order = np.random.default_rng([series, epoch]).permutation(len(counts))
    return order, np.cumsum(np.array(counts)[order])


@lru_cache(maxsize=8)
def _within(series: int, epoch: int, shard: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A shard's samples in an epoch's order, and which are mirrored."""
    rng = np.random.default_rng([series, epoch, shard])
    return rng.permutation(count), rng.random(count) < 0.5


class _Opened:
    """A file's descriptor, closed when nobody holds it any more."""

    number = -1

    def __init__(self, path: Path):
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self):
        if self.number >= 0:
            os.close(self.number)

    @staticmethod
    @lru_cache(maxsize=64)
    def of(path: Path, *version: int) -> "_Opened":
        """Raises InputError for a file that is another one than the index was made of."""
        opened = _Opened(path)
        if _version(os.fstat(opened.number))[:2] != version[:2]:  # some file systems number files anew
            raise InputError(f"{path} has been replaced since this folder was first looked at: begin again.")
        return opened


def _version(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


# the index

ROW = np.dtype(
    [("shard", "<i4"), ("label", "<i4"), ("data_at", "<i8"), ("data_size", "<i8"), ("text_at", "<i8")]
    + [("text_size", "<i8"), ("json", "?")]
)


@dataclass(frozen=True)
class Index:
    """shards: names of tar files; versions: of each, see `_version`; rows (M,) of ROW in their order; starts
    (shards + 1,): each shard's first row."""

    shards: tuple[str, ...]
    versions: tuple[tuple[int, int, int], ...]
    rows: np.ndarray
    latents: bool
    digest: str

    @cached_property
    def starts(self) -> np.ndarray:
        """(shards + 1,) int64: each shard's first row, then the number of rows."""
        return np.searchsorted(self.rows["shard"], np.arange(len(self.shards) + 1))


def tars(folder: Path) -> list[str]:
    """Names of a folder's tar files; hidden ones are what is being written, or was left half written."""
    return sorted(p.name for p in folder.glob("[!.]*.tar") if p.is_file())


def index_of(folder: Path) -> Index:
    """Read, or made and kept where the folder's tar files are new. Raises InputError."""
    names = tuple(tars(folder))
    if not names:
        raise InputError(f"{folder} holds no .tar files.")
    versions = tuple(_version((folder / n).stat()) for n in names)
    seen = json.dumps([[n, size, written] for n, (size, written, _) in zip(names, versions, strict=True)])
    return _index(folder, names, versions, hashlib.sha256(seen.encode()).hexdigest())


@lru_cache(maxsize=4)
def _index(folder: Path, names: tuple[str, ...], versions: tuple[tuple[int, int, int], ...], seen: str) -> Index:
    rows = latents = None
    with suppress(OSError, ValueError, KeyError, EOFError), np.load(folder / INDEX, allow_pickle=False) as f:
        if str(f["seen"]) == seen and f["rows"].dtype == ROW:
            rows, latents = f["rows"], bool(f["latents"])
    if rows is None:
        rows, latents = _scan(folder, names)
        with suppress(InputError), files.replacing(folder / INDEX) as temporary:  # a folder that may only be read
            np.savez(temporary, rows=rows, latents=latents, seen=seen)
    return Index(names, versions, rows, latents, hashlib.sha256(rows.tobytes() + "\n".join(names).encode()).hexdigest())


def _scan(folder: Path, names: tuple[str, ...]) -> tuple[np.ndarray, bool]:
    """Look at every tar's headers, and read labels. Raises InputError."""
    rows, kinds = [], set()
    for shard, name in enumerate(names):
        try:
            with tarfile.open(folder / name, "r:") as tar:
                for key, parts in _samples(tar):
                    rows.append(_row(shard, f"{name}: {key}", parts, tar, kinds))
        except (tarfile.TarError, OSError, EOFError) as e:
            raise InputError(f"{name} is no tar file, or is damaged ({e}).") from None
    if len(kinds) > 1:
        raise InputError(f"{folder} holds both pictures and latents: keep them in two folders.")
    if set(range(len(names))) - {row[0] for row in rows}:
        raise InputError(f"A tar file of {folder} holds no sample: each needs a picture or an npy.")
    return np.array(rows, ROW), kinds == {"latents"}


def _samples(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Neighbouring files of one name up to its first dot, by what follows; only plain files with a known ending."""
    key, parts = None, {}
    for member in tar:
        stem, dot, ending = member.name.rpartition("/")[2].partition(".")
        name, suffix = member.name[: len(member.name) - len(dot + ending)], (dot + ending).lower()
        if not member.isfile() or not stem or suffix not in (*PICTURES, *LATENTS, *TEXTS):
            continue
        if name != key and parts:
            yield key, parts
            parts = {}
        key, parts[suffix] = name, member
    if parts:
        yield key, parts


def _row(shard: int, name: str, parts: dict[str, tarfile.TarInfo], tar: tarfile.TarFile, kinds: set[str]) -> tuple:
    data = next((parts[s] for s in (*PICTURES, *LATENTS) if s in parts), None)
    if data is None:
        raise InputError(f"{name} has neither a picture ({', '.join(PICTURES)}) nor an npy.")
    kinds.add("latents" if not any(s in parts for s in PICTURES) else "pictures")
    text = parts.get(".txt") or parts.get(".json")
    label = -1
    for suffix in (".cls", ".json"):
        if suffix in parts and label < 0:
            said = bounded.decoded(_text(tar, parts[suffix], name), name)
            label = _label(said if suffix == ".cls" else _said(said, "label"), name)
    at, size = (text.offset_data, text.size) if text else (0, 0)
    return shard, label, data.offset_data, data.size, at, size, bool(text) and ".txt" not in parts


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    if member.size > MOST_TEXT:
        raise InputError(f"{name} has a text of more than {MOST_TEXT >> 20} MB.")
    return tar.extractfile(member).read()


def _label(said: Any, name: str) -> int:
    if said is None:
        return -1
    try:
        label = int(str(said).strip())
    except ValueError:
        label = -1
    if not 0 <= label < MOST_CLASSES:
        raise InputError(f"{name} has the class {said!r:.40}: it must be a number from 0 to {MOST_CLASSES - 1:,}.")
    return label


def _said(text: str, entry: str) -> Any:
    """An entry of a sample's json; None without it, or where it is no object."""
    with suppress(ValueError):
        value = bounded.parse_json(text)
        return value.get(entry) if isinstance(value, dict) else None
    return None


def _names(folder: Path, index: Index) -> list[str]:
    most = int(index.rows["label"].max()) + 1
    if most and (index.rows["label"] < 0).any():
        raise InputError(f"Some samples of {folder} have a class and some have none: give all of them one, or none.")
    names = _json(folder / CLASSES) if most else []  # no sample has one: names alone would make all of the first
    if names is None:
        return [str(i) for i in range(most)]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(names) < most:
        raise InputError(f"classes.json of {folder} must be a list of at least {most} names.")
    if len(names) > MOST_CLASSES or sum(map(len, names)) > MOST_NAMES:
        raise InputError(f"classes.json of {folder} has more names, or longer ones, than a network can keep.")
    return names


def _meaning(folder: Path) -> str:
    """A digest of what says which classes and which codec the numbers stand for; '' where nothing says it. Where the
    codec's autoencoder lies does not matter."""
    said = [_json(folder / name) for name in (CLASSES, CODEC)]
    if isinstance(said[1], dict) and isinstance(said[1].get("settings"), dict):
        said[1]["settings"].pop("autoencoder", None)
    return "" if said == [None, None] else hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _told(folder: Path) -> dict[str, Any]:
    """Of shards.json: held, samples held out by tar file; shape, [height, width] of pictures. Of a folder without one:
    none, and square."""
    told = _json(folder / PLAN)
    if told is None:
        return {"held": {}, "shape": [1, 1]}
    try:
        held, shape = dict(told["held"]), told["recipe"]["shape"]
        if len(shape) == 2 and all(isinstance(n, int) and n >= 0 for n in held.values()) and min(shape) > 0:
            return {"held": held, "shape": shape}
    except (KeyError, TypeError, ValueError):
        pass
    raise InputError(f"{folder / PLAN} is not what `python -m pf_core shards` writes: repair it or remove it.")


def _json(path: Path) -> Any:
    try:
        return bounded.read_json(path) if path.exists() else None
    except (OSError, ValueError) as e:
        raise InputError(f"{path} cannot be read ({e}).") from None
