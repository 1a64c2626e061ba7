"""Labels and captions from metadata.jsonl and metadata.csv, as Hugging Face's image folder has them.

Each lies in a folder and names pictures by `file_name`, from there on; the other columns that count are `label` (or
`class`) and `text` (or `caption`, `prompt`). What is said of which picture, and what is not understood, is counted: see
`Metadata.sentence`. Files are read as they come, line by line, so that a large one takes little memory.
"""

import csv
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TextIO

from pf_core.data.own.names import class_name, comparable, printable
from pf_core.errors import InputError
from pf_core.files import encoding_of

NAMES = ("metadata.jsonl", "metadata.csv")
MAX_CAPTION = 2000
MAX_BYTES = 64 * 2**20  # of all files together
MAX_LINE = 2**18  # characters
MAX_LINES = 300_000  # of all files together; of pictures there may be 200,000
BAD = 1000  # lines that cannot be read: with more of them than others, the rest is only counted
NAMED = 10  # of those, how many are named one by one
_LABELLED, _CAPTIONED = ("label", "class"), ("text", "caption", "prompt")
_UNREADABLE = object()
_DAMAGE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)  # of a file, or of one inside of a zip


@dataclass(frozen=True)
class About:
    """What is said of a picture; '' where nothing is. label: the name of a class."""

    label: str = ""
    caption: str = ""


@dataclass
class Metadata:
    """about: by comparable name, pictures only. bad: (name of the place, why) of the first unreadable lines."""

    about: dict[str, About] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    lines: int = 0
    unread: int = 0  # lines that are only counted
    unreadable: int = 0
    unmatched: int = 0
    repeated: int = 0
    lists: int = 0
    odd: int = 0  # values that are not understood
    stray: str = ""  # the first name that no picture has
    oddity: str = ""  # the first value that is not understood

    def sentence(self, pictures: int) -> str:
        """The account: lines, matched, unmatched, values not understood. '' where there is no metadata."""
        if not self.lines:
            return ""
        matched = len(self.about)
        parts = [
            f"{_some(self.lines, 'line')}",
            f"{matched:,} matched",
            f"{self.unmatched:,} unmatched (no picture is called {self.stray!r})" if self.unmatched else "",
            f"{self.unreadable:,} unreadable" if self.unreadable else "",
            f"{self.unread:,} left unread after so many others" if self.unread else "",
            f"{self.repeated:,} against an earlier one (the last counts)" if self.repeated else "",
            f"{_some(self.odd, 'value')} not understood ({self.oddity})" if self.odd else "",
            f"{_some(self.lists, 'caption')} of several texts (the first counts)" if self.lists else "",
            f"{_some(pictures - matched, 'picture')} without a line" if pictures > matched else "",
        ]
        return f"Metadata: {', '.join(p for p in parts if p)}."


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def is_metadata(name: str) -> bool:
    return name.rpartition("/")[2].lower() in NAMES


def read(files: Iterable[Any], pictures: Collection[str]) -> Metadata:
    """From `Entry`s whose names are comparable, as those of the pictures are. A later line counts more than one before;
    of a metadata.csv and a metadata.jsonl, the latter."""
    meta, room = Metadata(), MAX_BYTES
    for entry in sorted(files, key=lambda e: (e.name.rpartition(".")[0], e.name.lower().endswith("jsonl"), e.name)):
        folder = entry.name.rpartition("/")[0]
        rows = _csv if entry.name.lower().endswith(".csv") else _json
        room -= entry.size
        try:
            if room < 0:
                raise InputError(f"is not read: more than {MAX_BYTES // 2**20} MB of metadata")
            with entry.open() as stream:
                _take(meta, entry.name, folder, rows, stream, pictures)
        except InputError as e:
            meta.bad.append((printable(entry.name), str(e).removeprefix(printable(entry.name)).strip().rstrip(".")))
        except UnicodeError:
            meta.bad.append((printable(entry.name), "is not in the encoding that its mark says: save it as UTF-8"))
        except _DAMAGE as e:
            meta.bad.append((printable(entry.name), f"is damaged or cannot be read ({str(e)[:80]})"))
    return meta


def _take(
    meta: Metadata, name: str, folder: str, rows: Callable, stream: io.BufferedIOBase, pictures: Collection[str]
) -> None:
    buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    codec = encoding_of(buffered.peek(4)[:4])
    # bytes that are not UTF-8 are marked, and the lines that hold them are told from the others
    errors = "surrogateescape" if codec.startswith("utf-8") else "strict"
    text = io.TextIOWrapper(buffered, codec, errors, newline="" if rows is _csv else "\n")
    read_well = failed = 0
    for number, row in rows(text):
        meta.lines += 1
        if _use(meta, row, f"line {number} of {printable(name)}", folder, pictures):
            read_well += 1
        else:
            failed += 1
            if meta.unreadable <= NAMED:
                meta.bad.append((f"{printable(name)} line {number}", _WHY[rows]))
        if (failed > BAD and failed > read_well) or meta.lines >= MAX_LINES:
            rest = _rest(text)
            meta.lines, meta.unread = meta.lines + rest, meta.unread + rest
            return


def _rest(text: TextIO) -> int:
    """How many lines are left."""
    count, last = 0, "\n"
    while part := text.read(2**20):
        count, last = count + part.count("\n"), part
    return count + (not last.endswith("\n"))


def _use(metadata: Metadata, row: Any, where: str, folder: str, pictures: Collection[str]) -> bool:
    """False for a line that cannot be read."""
    named = _named(row) if isinstance(row, dict) else None
    if not isinstance(named, str):
        metadata.unreadable += 1
        return False
    name = comparable(f"{folder}/{named}" if folder else named)
    if name not in pictures:
        metadata.unmatched += 1
        metadata.stray = metadata.stray or printable(named)
        return True
    label = _value(metadata, row, _LABELLED, _label, f"the label in {where}")
    text = _value(metadata, row, _CAPTIONED, caption, f"the caption in {where}")
    before = metadata.about.get(name, About())
    metadata.repeated += bool(label and before.label not in ("", label) or text and before.caption not in ("", text))
    metadata.about[name] = About(label or before.label, text or before.caption)
    return True


def _named(row: dict) -> Any:
    """The file's name: of `file_name`, or of the one column that is called so and more, such as `image_file_name`."""
    if "file_name" in row:
        return row["file_name"]
    others = [key for key in row if isinstance(key, str) and key.endswith("_file_name")]
    return row[others[0]] if len(others) == 1 else None


def _value(metadata: Metadata, row: dict, keys: tuple, meaning: Callable[[Any], str | None], where: str) -> str:
    """The first of the keys that has a value. A list stands for its first text where a caption, or its only one where
    a label is wanted."""
    for key in keys:
        value = row.get(key)
        if value is None or value == "" or value == [] or (isinstance(value, float) and math.isnan(value)):
            continue
        if isinstance(value, list) and (meaning is caption or len(value) == 1):
            metadata.lists += len(value) > 1
            value = value[0]
        meant = meaning(value)
        if meant is None:
            metadata.odd += 1
            metadata.oddity = metadata.oddity or where
            continue
        return meant
    return ""


def _label(value: Any) -> str | None:
    """A class's name; whole numbers are written without a point, as pandas writes 1 as 1.0 beside empty cells."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() and abs(value) < 2**53 else value
    return class_name(str(value).strip()) if isinstance(value, str | int | float) else None


def caption(value: Any) -> str | None:
    """Text on one line, as written; None for what is no text."""
    if not isinstance(value, str | int | float):
        return None
    sound = str(value).encode("utf-8", "replace").decode()  # JSON may hold half letters
    return re.sub(r"[ \t\r\n\f\v]+", " ", sound).strip()[:MAX_CAPTION]


# rows: (number, a dict or _UNREADABLE)

Rows = Iterator[tuple[int, Any]]


def _lines(text: TextIO, line: str = "") -> Iterator[str | None]:
    """Lines, as they end in the text, of which one may have been begun; None for one that is too long."""
    line = line or text.readline(MAX_LINE)
    while line:
        whole = len(line) < MAX_LINE or line.endswith("\n")
        while not whole and (more := text.readline(MAX_LINE)):
            whole, line = more.endswith("\n"), None
        yield line
        line = text.readline(MAX_LINE)


def _clean(text: str) -> bool:
    """Was every byte of it read?"""
    return text.isascii() or not re.search("[\udc80-\udcff]", text)


def _json(text: TextIO) -> Rows:
    """One JSON object a line; or, as some write it, one list of them."""
    begun = text.readline(MAX_LINE)
    if begun.lstrip().startswith("["):
        yield from _array(begun.lstrip()[1:], text)
        return
    for number, line in enumerate(_lines(text, begun), 1):
        if line is None or not _clean(line):
            yield number, _UNREADABLE
        elif line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, _UNREADABLE


def _array(buffer: str, text: TextIO) -> Rows:
    """The list's items, read piece by piece; its first characters are in the buffer."""
    at, number, decoder = 0, 0, json.JSONDecoder()
    while True:
        if len(buffer) - at < MAX_LINE:
            buffer, at = buffer[at:] + text.read(4 * MAX_LINE), 0
        at = re.compile(r"[\s,]*").match(buffer, at).end()
        if at >= len(buffer) or buffer[at] == "]":
            return
        number += 1
        try:
            row, end = decoder.raw_decode(buffer, at)
        except (ValueError, RecursionError):
            yield number, _UNREADABLE  # where the next one begins cannot be told
            return
        yield number, row if _clean(buffer[at:end]) else _UNREADABLE
        at = end


def _csv(text: TextIO) -> Rows:
    """A header and rows of as many cells, parted by commas; semicolons and tabs do too. Raises InputError."""
    lines = (line if line is not None and _clean(line) else "\0\n" for line in _lines(text))
    head = next(lines, "")
    headers = {mark: [cell.strip() for cell in next(csv.reader([head], delimiter=mark), [])] for mark in ",;\t"}
    mark = next((m for m, cells in headers.items() if any(c.endswith("file_name") for c in cells)), None)
    if mark is None:
        raise InputError("has no column file_name in its first line, so it describes no picture")
    reader, header = csv.reader(chain([head], lines), delimiter=mark), headers[mark]
    next(reader)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield reader.line_num, _UNREADABLE
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header) or "\0" in "".join(cells):
            yield reader.line_num, _UNREADABLE
        else:
            yield reader.line_num, {key: _cell(cell) for key, cell in zip(header, cells, strict=False)}


def _cell(cell: str) -> str | None:
    """What pandas would make of it, as text: nothing of an empty one, 1 of 1.0."""
    text = cell.strip()
    if text in ("", "nan", "NaN", "<NA>"):
        return None
    return re.sub(r"^([+-]?[0-9]+)\.0+$", r"\1", text)


_WHY = {_json: "is not a JSON object with a file_name", _csv: "is not a row of the header's columns with a file_name"}
