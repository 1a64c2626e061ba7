"""The pictures in a folder, a zip or single files, with the class and the caption of each.

Nothing is decoded here and nothing is written; a name inside a zip is only ever read, never used as a path. All names
are `comparable`.

- Class: the first sub-folder in which pictures differ (`zip/flowers/rose/1.png` and `zip/flowers/tulip/2.png`: rose and
  tulip), or `label` in the metadata (see `metadata.py`). Pictures beside such sub-folders are of class "other"; with
  no sub-folders all are of one class, "all". Folders called train, val, test that share the classes inside of them, or
  have none, are parts of one data set: all but train are held out.
- Caption: `text`, `caption` or `prompt` in the metadata, or the text file of the same name beside the picture
  (`rose.png`, `rose.txt`).
"""

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pf_core.data.own import metadata
from pf_core.data.own.image_io import FORMATS, HEIC_NEEDS, MAX_FILE
from pf_core.data.own.names import class_name, comparable, leads_out, natural, printable, told_apart
from pf_core.data.own.zipnames import names_in
from pf_core.errors import InputError
from pf_core.files import decoded

RULES = 4  # version of the reading rules below, and of those by which pixels are made: kept with every run
MAX_FILES = 200_000
MAX_ZIP_NAMES = 16 * 2**20  # bytes of a zip's table of contents, which is read at once: some 100,000 names
MAX_CLASSES = 1000
MAX_TEXT = 2**16  # bytes of a caption's file
_HEIC = (".heic", ".heif", ".hif")
PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")
PICTURES += (".avif",) * ("AVIF" in FORMATS) + _HEIC * ("HEIF" in FORMATS)
SPLITS = ("train", "val", "valid", "validation", "test")
_ELSEWHERE = (".avif", ".svg", ".psd", ".raw", ".dng", ".jxl", ".mp4", ".mov", ".pdf", ".parquet")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xz", ".bz2")
_NOISE = ("__macosx", "thumbs.db", "desktop.ini", "manifest.json")  # written by systems and programs: skipped silently


@dataclass(frozen=True)
class Entry:
    """A file by its relative, comparable name ("rose/1.png"), its size in bytes, a mark that changes when it does, and
    its content (at most MAX_FILE bytes; raises InputError); `stream` opens it to be read piece by piece."""

    name: str
    size: int
    mark: str
    read: Callable[[], bytes] = field(repr=False)
    stream: Callable[[], BinaryIO] | None = field(default=None, repr=False)

    def open(self) -> BinaryIO:
        return self.stream() if self.stream else io.BytesIO(self.read())


@dataclass(frozen=True)
class Skipped:
    """A file that is not used, and why: `str()` is a sentence."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {self.reason}."

    @classmethod
    def of(cls, name: str, error: InputError) -> "Skipped":
        """From an error's sentence, which may begin with the name."""
        return cls(printable(name), str(error).removeprefix(printable(name)).strip().rstrip("."))


@dataclass(frozen=True)
class Item:
    """A picture, not decoded yet; label is an index into the listing's classes; held: never trained on."""

    entry: Entry
    label: int
    caption: str
    held: bool = False


@dataclass(frozen=True)
class Listing:
    """notes: sentences on how names, metadata and folders were read; unread: captions that cannot be read, which are
    among the skipped too."""

    items: list[Item]
    classes: list[str]
    skipped: list[Skipped]
    notes: list[str] = field(default_factory=list)
    unread: list[Skipped] = field(default_factory=list)


# where files come from


def of_folder(root: Path, outside: bool = False) -> tuple[list[Entry], list[Skipped]]:
    """Every file under a folder, sorted. Links out of it are followed only if `outside`. Raises InputError."""
    found, skipped, home = [], [], root.resolve()
    try:
        os.listdir(root)
        for path in _files(root, outside):
            name = comparable(path.relative_to(root).as_posix())
            if hidden(name):
                continue
            if len(found) >= MAX_FILES:
                raise InputError(f"{root} holds more than {MAX_FILES:,} files: name a smaller folder.")
            if not outside and not path.resolve().is_relative_to(home):
                skipped.append(Skipped(printable(name), "is a link out of the folder"))
                continue
            about = path.stat() if path.exists() else None
            if about is None or not stat.S_ISREG(about.st_mode):  # a pipe would wait for ever
                skipped.append(Skipped(printable(name), "is not an ordinary file"))
                continue
            found.append((path, name, about))
    except OSError as e:
        raise InputError(f"{root} cannot be read: {e.strerror or e}.") from None
    # one name may be written in two ways, with composed letters and without
    names = told_apart([name for _, name, _ in found], [path.with_suffix("") for path, _, _ in found])
    return [_entry(path, name, about) for (path, _, about), name in zip(found, names, strict=True)], skipped


def _files(root: Path, follow: bool) -> Iterator[Path]:
    visited = set()
    for here, folders, names in os.walk(root, followlinks=follow):
        folders.sort()
        about = os.stat(here)
        if (about.st_dev, about.st_ino) in visited:  # a link to a folder above would go round for ever
            folders.clear()
            continue
        visited.add((about.st_dev, about.st_ino))
        yield from (Path(here) / name for name in sorted(names))


def of_files(paths: Iterable[Path]) -> tuple[list[Entry], list[Skipped]]:
    """Single files, by name without folder; the second of two with one name gets a number, and so does its text."""
    paths = list(paths)
    names = told_apart([comparable(p.name) for p in paths], [p.with_suffix("") for p in paths], fold=True)
    return [_entry(path, name, path.stat()) for path, name in zip(paths, names, strict=True)], []


def _entry(path: Path, name: str, about: os.stat_result) -> Entry:
    content = _reader(path, printable(name))
    return Entry(name, about.st_size, str(about.st_mtime_ns), content, lambda: open(path, "rb"))


def _reader(path: Path, name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with open(path, "rb") as f:
                return _checked(f.read(MAX_FILE + 1), name)
        except OSError as e:
            raise InputError(f"{name} cannot be read ({e.strerror or e}).") from None

    return read


def _checked(content: bytes, name: str) -> bytes:
    if len(content) > MAX_FILE:
        raise InputError(f"{name} is a file of more than {MAX_FILE // 2**20} MB.")
    return content


class _Bounded:
    """A file of which at most MAX_ZIP_NAMES bytes can be read at once: zipfile reads a whole table of contents, of
    whatever length the archive states."""

    def __init__(self, path: Path):
        self._file, self._size = open(path, "rb"), path.stat().st_size  # noqa: SIM115 (lives as long as the zip)

    def read(self, n: int = -1) -> bytes:
        rest = self._size - self._file.tell()
        if (rest if n is None or n < 0 else min(n, rest)) > MAX_ZIP_NAMES:
            raise InputError("lists too many files")
        return self._file.read(n)

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def __del__(self):
        self._file.close()


def of_zip(path: Path, shown: str = "") -> tuple[list[Entry], list[Skipped], list[str]]:
    """The files in a zip, in its own order; what is skipped; sentences on its names. Raises InputError for what is no
    zip, or a bomb."""
    shown = printable(shown or path.name)
    try:
        archive = zipfile.ZipFile(_Bounded(path))
        members = archive.infolist()
    except InputError as e:
        raise InputError(f"{shown} {e}: refused.") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, LookupError, struct.error) as e:
        raise InputError(f"{shown} is not a readable zip, or is cut off ({str(e)[:80]}).") from None
    entries, skipped, taken = [], [], set()
    names, note = names_in(members)
    for member, written in zip(members, names, strict=True):
        name = comparable(written)
        if member.is_dir() or written.endswith(("/", "\\")) or hidden(name):
            continue
        if reason := _unfit(member, name, taken):
            skipped.append(Skipped(printable(written), reason))
            continue
        taken.add(name)
        content = _unpacker(archive, member, printable(name))
        entries.append(Entry(name, member.file_size, f"{member.CRC:08x}", content, partial(archive.open, member)))
    if len(entries) > MAX_FILES:
        raise InputError(f"{shown} holds more than {MAX_FILES:,} files: refused.")
    return entries, skipped, [note] * bool(note)


def _unfit(member: zipfile.ZipInfo, name: str, taken: set[str]) -> str:
    """Why a zip's member is not used, or ''."""
    if leads_out(name):
        return "has a path outside the zip"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link, and links in a zip are not followed"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed by a method that cannot be read here (zip it again with the usual method)"
    if name in taken:
        return "is in the zip twice: the first one is used"
    return ""


def _unpacker(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        if member.file_size > MAX_FILE:
            raise InputError(f"{name} unpacks to {member.file_size / 2**20:,.0f} MB; at most {MAX_FILE // 2**20} MB.")
        try:
            with archive.open(member) as f:  # zipfile stops at the declared size, and then compares the checksum
                return _checked(f.read(MAX_FILE + 1), name)
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError, NotImplementedError) as e:
            raise InputError(f"{name} is damaged inside the zip ({str(e)[:80]}).") from None

    return read


def hidden(name: str) -> bool:
    """Whether it is a hidden file or one that a system has written."""
    parts = PurePosixPath(name).parts
    return any((p.startswith(".") and p != "..") or p.lower() in _NOISE for p in parts)


# what they are


def arrange(entries: list[Entry], skipped: Iterable[Skipped] = (), notes: Iterable[str] = ()) -> Listing:
    """Pictures with class and caption, in the order of their names. Raises InputError for too many classes."""
    pictures = sorted((e for e in entries if _suffix(e) in PICTURES), key=lambda e: e.name)
    meta = metadata.read((e for e in entries if metadata.is_metadata(e.name)), {e.name for e in pictures})
    texts = {_stem(e): e for e in entries if _suffix(e) == ".txt"}
    skipped = [*skipped, *(Skipped(*b) for b in meta.bad), *_strangers(entries, {_stem(e) for e in pictures})]
    labels = [about.label if (about := meta.about.get(e.name)) else "" for e in pictures]
    names, held, note = _sorted_out([PurePosixPath(e.name).parts[:-1] for e in pictures], labels)
    classes = sorted(set(names), key=natural)
    if len(classes) > MAX_CLASSES:
        raise InputError(f"These are {len(classes):,} classes; at most {MAX_CLASSES:,} are supported.")
    index = {name: i for i, name in enumerate(classes)}
    items, unread = [], []
    for entry, name, apart in zip(pictures, names, held, strict=True):
        caption = about.caption if (about := meta.about.get(entry.name)) else ""
        if not caption and (text := texts.get(_stem(entry))):
            caption = _text(text, unread)
        items.append(Item(entry, index[name], caption, apart))
    notes = [*notes, *filter(None, (meta.sentence(len(pictures)), note))]
    return Listing(items, classes, [*skipped, *unread], notes, unread)


def _suffix(entry: Entry) -> str:
    return PurePosixPath(entry.name).suffix.lower()


def _stem(entry: Entry) -> str:
    return str(PurePosixPath(entry.name).with_suffix(""))


def _sorted_out(folders: list[tuple[str, ...]], labels: list[str]) -> tuple[list[str], list[bool], str]:
    """Of pictures in these folders, with these labels ('' for none): classes, which are held out, and a sentence."""
    depth = len(os.path.commonprefix(folders))
    tops = {f[depth] for f in folders if len(f) > depth}
    held, note = [False] * len(folders), ""
    if len(tops) > 1 and all(top.lower() in SPLITS for top in tops):
        if _share_classes(folders, labels, depth):
            held = [len(f) > depth and f[depth].lower() != "train" for f in folders]
            held = held if not all(held) else [False] * len(folders)
            apart = sorted({f[depth] for f, away in zip(folders, held, strict=True) if away})
            note = f"{' and '.join(sorted(tops))} are parts of one data set"
            note += f": the {sum(held):,} pictures of {' and '.join(apart)} are held out." if apart else "."
            folders = [f[:depth] + f[depth + 1 :] for f in folders]
        elif not all(labels):
            names = " and ".join(sorted(tops))
            note = f"{names} are read as classes, because their sub-folders have different names."
    return [label or name for label, name in zip(labels, _classes(folders), strict=True)], held, note


def _share_classes(folders: list[tuple[str, ...]], labels: list[str], depth: int) -> bool:
    """Do the folders at this depth hold the same classes, as sub-folders or by labels, or none at all?"""
    inside: dict[str, set[str]] = {}
    for folder, label in zip(folders, labels, strict=True):
        if len(folder) > depth:
            name = label or (class_name(folder[depth + 1]) if len(folder) > depth + 1 else "")
            inside.setdefault(folder[depth], set()).update([name] if name else [])
    if not any(inside.values()):
        return True
    main = next((inside[top] for top in inside if top.lower() == "train"), None)
    if main is None:
        return bool(set.intersection(*inside.values()))
    return all(main & names for names in inside.values())


def _classes(folders: list[tuple[str, ...]]) -> list[str]:
    """The class of each picture by its folder."""
    depth = len(os.path.commonprefix(folders))
    if not any(len(f) > depth for f in folders):  # all in one folder: a class only if that is a sub-folder
        return [class_name(f[-1]) if f else "all" for f in folders]
    return [class_name(f[depth]) if len(f) > depth else "other" for f in folders]


def _strangers(entries: list[Entry], pictured: set[str]) -> Iterator[Skipped]:
    """A reason for every file that is neither a picture nor its caption or metadata. pictured: stems of pictures."""
    for e in entries:
        suffix = _suffix(e)
        if suffix == ".txt" and _stem(e) in pictured:
            continue
        elif suffix in _ARCHIVES:
            yield Skipped(printable(e.name), "is an archive inside a folder or zip, and is not opened")
        elif suffix in _HEIC and suffix not in PICTURES:
            yield Skipped(printable(e.name), f"is of a kind that cannot be read here ({HEIC_NEEDS})")
        elif suffix in _ELSEWHERE and suffix not in PICTURES:
            yield Skipped(printable(e.name), f"is of a kind that cannot be read here (known: {', '.join(FORMATS)})")
        elif suffix not in PICTURES and not metadata.is_metadata(e.name):
            yield Skipped(printable(e.name), "is not a picture")


def _text(entry: Entry, skipped: list[Skipped]) -> str:
    """The caption in a text file; '' and a reason where it cannot be read."""
    if entry.size > MAX_TEXT:
        skipped.append(Skipped(printable(entry.name), f"is too long for a caption ({MAX_TEXT // 1024} kB are read)"))
        return ""
    try:
        return metadata.caption(decoded(entry.read(), printable(entry.name)))
    except InputError as e:
        skipped.append(Skipped.of(entry.name, e))
        return ""
