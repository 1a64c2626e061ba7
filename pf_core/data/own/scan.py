"""What lies in a folder, a zip or a handful of files: which are pictures, and what class and caption each has.

Nothing is decoded here and nothing is written; a name inside a zip is only ever read, never used as a path.

- Class: the first sub-folder in which pictures differ (`zip/flowers/rose/1.png` and `zip/flowers/tulip/2.png`: rose and
  tulip), or `label` in a metadata.jsonl. Pictures beside such sub-folders are of class "other"; with no sub-folders all
  are of one class, "all".
- Caption: `text`, `caption` or `prompt` of the picture's line in a `metadata.jsonl` of its folder (`file_name` names
  it), or the text file of the same name beside it (`rose.png`, `rose.txt`).
"""

import json
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pf_core.data.own.image_io import FORMATS, MAX_FILE
from pf_core.errors import InputError

MAX_FILES = 200_000
MAX_ZIP_NAMES = 16 * 2**20  # bytes of a zip's table of contents, which is read at once: some 100,000 names
MAX_CLASSES = 1000
MAX_CAPTION = 2000
MAX_TEXT = 2**16  # bytes of a caption's file
PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")
METADATA = "metadata.jsonl"
_ELSEWHERE = (".heic", ".heif", ".avif", ".svg", ".psd", ".raw", ".dng", ".jxl", ".mp4", ".mov", ".pdf")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xz", ".bz2")
_NOISE = ("__macosx", "thumbs.db", "desktop.ini", "manifest.json")  # nobody means these, so nobody is told of them
_LABELLED, _CAPTIONED = ("label", "class"), ("text", "caption", "prompt")


@dataclass(frozen=True)
class Entry:
    """A file by its relative name ("rose/1.png"), its size in bytes, a mark that changes when it does, and its content
    (at most MAX_FILE bytes; raises InputError)."""

    name: str
    size: int
    mark: str
    read: Callable[[], bytes] = field(repr=False)


@dataclass(frozen=True)
class Skipped:
    """A file that is not used, and why: `str()` is a sentence."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {self.reason}."

    @classmethod
    def of(cls, name: str, error: InputError) -> "Skipped":
        """From a sentence that may begin with the name."""
        return cls(printable(name), str(error).removeprefix(printable(name)).strip().rstrip("."))


@dataclass(frozen=True)
class Item:
    """A picture that is yet to be decoded; label is an index into the listing's classes."""

    entry: Entry
    label: int
    caption: str


@dataclass(frozen=True)
class Listing:
    items: list[Item]
    classes: list[str]
    skipped: list[Skipped]


def printable(name: str, most: int = 120) -> str:
    """A file's name as it may stand in a sentence: one line, no control characters, not endless."""
    clean = "".join("?" if unicodedata.category(c)[0] == "C" else c for c in name)
    return clean if len(clean) <= most else f"{clean[: most - 20]}...{clean[-17:]}"


# where files come from


def of_folder(root: Path, outside: bool = False) -> tuple[list[Entry], list[Skipped]]:
    """Every file under a folder, sorted. Links out of it are followed only if `outside`. Raises InputError."""
    entries, skipped, home = [], [], root.resolve()
    try:
        os.listdir(root)
        for path in _files(root, outside):
            name = path.relative_to(root).as_posix()
            if hidden(name):
                continue
            if len(entries) >= MAX_FILES:
                raise InputError(f"{root} holds more than {MAX_FILES:,} files: name a smaller folder.")
            if not outside and not path.resolve().is_relative_to(home):
                skipped.append(Skipped(printable(name), "is a link out of the folder"))
                continue
            about = path.stat() if path.exists() else None
            if about is None or not stat.S_ISREG(about.st_mode):  # a pipe would wait for ever
                skipped.append(Skipped(printable(name), "is no ordinary file"))
                continue
            entries.append(Entry(name, about.st_size, str(about.st_mtime_ns), _reader(path, printable(name))))
    except OSError as e:
        raise InputError(f"{root} cannot be read: {e.strerror or e}.") from None
    return entries, skipped


def _files(root: Path, follow: bool) -> Iterator[Path]:
    seen = set()
    for here, folders, names in os.walk(root, followlinks=follow):
        folders.sort()
        about = os.stat(here)
        if (about.st_dev, about.st_ino) in seen:  # a link to a folder above would go round for ever
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        yield from (Path(here) / name for name in sorted(names))


def of_files(paths: Iterable[Path]) -> tuple[list[Entry], list[Skipped]]:
    """Single files, by their bare names; of two with one name the second gets a number."""
    entries, taken = [], set()
    for path in paths:
        name, n = path.name, 2
        while name.lower() in taken:
            name, n = f"{path.stem} ({n}){path.suffix}", n + 1
        taken.add(name.lower())
        about = path.stat()
        entries.append(Entry(name, about.st_size, str(about.st_mtime_ns), _reader(path, printable(name))))
    return entries, []


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
    """A file that refuses to be read by more than MAX_ZIP_NAMES at once: zipfile takes in a whole table of contents,
    however long the archive says that it is."""

    def __init__(self, path: Path):
        self._file, self._size = open(path, "rb"), path.stat().st_size  # noqa: SIM115 (lives as long as the zip)

    def read(self, n: int = -1) -> bytes:
        rest = self._size - self._file.tell()
        if (rest if n is None or n < 0 else min(n, rest)) > MAX_ZIP_NAMES:
            raise InputError("lists far more files than anyone's pictures")
        return self._file.read(n)

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def __del__(self):
        self._file.close()


def of_zip(path: Path, shown: str = "") -> tuple[list[Entry], list[Skipped]]:
    """The files in a zip, in its own order. Raises InputError for what is no zip, or a bomb."""
    shown = printable(shown or path.name)
    try:
        archive = zipfile.ZipFile(_Bounded(path))
        members = archive.infolist()
    except InputError as e:
        raise InputError(f"{shown} {e}: refused.") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, LookupError, struct.error) as e:
        raise InputError(f"{shown} is not a zip that can be read, or is cut off ({str(e)[:80]}).") from None
    entries, skipped, taken = [], [], set()
    for member in members:
        name = member.filename.replace("\\", "/")
        if member.is_dir() or name.endswith("/") or hidden(name):
            continue
        if reason := _unfit(member, name, taken):
            skipped.append(Skipped(printable(member.filename), reason))
            continue
        taken.add(name)
        entries.append(Entry(name, member.file_size, f"{member.CRC:08x}", _unpacker(archive, member)))
    if len(entries) > MAX_FILES:
        raise InputError(f"{shown} holds more than {MAX_FILES:,} files: refused.")
    return entries, skipped


def _unfit(member: zipfile.ZipInfo, name: str, taken: set[str]) -> str:
    """Why a zip's member is not used, or ''."""
    if ".." in PurePosixPath(name).parts or name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "points outside of the zip"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link, and links in a zip are not followed"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that is not read here (zip it again with the usual method)"
    if name in taken:
        return "stands in the zip twice: the first is used"
    return ""


def _unpacker(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    name = printable(member.filename)

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
    """Files that systems leave behind, and hidden ones."""
    parts = PurePosixPath(name).parts
    return any((p.startswith(".") and p != "..") or p.lower() in _NOISE for p in parts)


# what they are


def arrange(entries: list[Entry], skipped: Iterable[Skipped] = ()) -> Listing:
    """Pictures with class and caption, in the order of their names. Raises InputError for too many classes."""
    pictures = sorted((e for e in entries if _suffix(e) in PICTURES), key=lambda e: e.name)
    known, told = _metadata(entries)
    texts = {_stem(e): e for e in entries if _suffix(e) == ".txt" and e.size <= MAX_TEXT}
    skipped = [*skipped, *told, *_strangers(entries, {_stem(e) for e in pictures})]
    by_folder = _folders([e.name for e in pictures])
    names = [known.get(e.name, {}).get("label") or folder for e, folder in zip(pictures, by_folder, strict=True)]
    classes = sorted(set(names))
    if len(classes) > MAX_CLASSES:
        raise InputError(f"These are {len(classes):,} sub-folders; at most {MAX_CLASSES:,} classes can be told apart.")
    index = {name: i for i, name in enumerate(classes)}
    items = []
    for entry, name in zip(pictures, names, strict=True):
        text = texts.get(_stem(entry))
        caption = known.get(entry.name, {}).get("caption") or (_text(text) if text else "")
        items.append(Item(entry, index[name], caption))
    return Listing(items, classes, skipped)


def _suffix(entry: Entry) -> str:
    return PurePosixPath(entry.name).suffix.lower()


def _stem(entry: Entry) -> str:
    return str(PurePosixPath(entry.name).with_suffix(""))


def _folders(names: list[str]) -> list[str]:
    """The class that each name's place gives it."""
    parts = [PurePosixPath(n).parts[:-1] for n in names]
    depth = len(os.path.commonprefix(parts))
    if not any(len(p) > depth for p in parts):  # all in one folder: a class only if that is a sub-folder
        return [printable(p[-1], 60) if p else "all" for p in parts]
    return [printable(p[depth], 60) if len(p) > depth else "other" for p in parts]


def _strangers(entries: list[Entry], pictured: set[str]) -> Iterator[Skipped]:
    """A reason for every file that is neither a picture nor says something of one. pictured: stems of pictures."""
    for e in entries:
        suffix = _suffix(e)
        if suffix == ".txt" and _stem(e) in pictured:
            if e.size > MAX_TEXT:
                yield Skipped(printable(e.name), f"is too long for a caption ({MAX_TEXT // 1024} kB are read)")
        elif suffix in _ARCHIVES:
            yield Skipped(printable(e.name), "is an archive inside of another thing, and is not opened")
        elif suffix in _ELSEWHERE:
            yield Skipped(printable(e.name), f"is of a kind that is not read here (known: {', '.join(FORMATS)})")
        elif suffix not in PICTURES and PurePosixPath(e.name).name != METADATA:
            yield Skipped(printable(e.name), "is no picture")


def _text(entry: Entry) -> str:
    try:
        return _caption(entry.read().decode("utf-8-sig", "replace"))
    except InputError:
        return ""


def _caption(text: object) -> str:
    return " ".join(str(text).split())[:MAX_CAPTION] if isinstance(text, str | int | float) else ""


def _metadata(entries: list[Entry]) -> tuple[dict[str, dict[str, str]], list[Skipped]]:
    """From all metadata.jsonl: {name: {"label", "caption"}}, and the lines that say nothing."""
    known, told, rest = {}, [], MAX_FILE
    for entry in (e for e in entries if PurePosixPath(e.name).name == METADATA):
        rest -= entry.size
        try:
            if rest < 0:
                raise InputError(f"is not read: more than {MAX_FILE // 2**20} MB of metadata")
            lines = entry.read().decode("utf-8-sig", "replace").splitlines()
        except InputError as e:
            told.append(Skipped.of(entry.name, e))
            continue
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    name, about = _line(line, PurePosixPath(entry.name).parent)
                    known[name] = about
                except (ValueError, TypeError, AttributeError, RecursionError):
                    told.append(Skipped(f"{printable(entry.name)} line {number}", "is no JSON object with a file_name"))
    return known, told


def _line(line: str, folder: PurePosixPath) -> tuple[str, dict[str, str]]:
    about = json.loads(line)
    name = about.get("file_name")
    if not isinstance(name, str):
        raise ValueError
    label = next((about[k] for k in _LABELLED if isinstance(about.get(k), str | int)), "")
    caption = next((about[k] for k in _CAPTIONED if k in about), "")
    return str(folder / name), {"label": printable(str(label), 60).strip(), "caption": _caption(caption)}
