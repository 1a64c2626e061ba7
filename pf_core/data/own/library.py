"""Imported sets of pictures: folders of home(), each with a manifest and re-encoded pictures.

manifest.json: format, title, classes, skipped, and pictures: [{"file", "bytes", "name", "label", "caption"}, ...],
with "held" true for those that are never trained on.
A file's name is the SHA-256 of its content, and is compared with it on reading.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pf_core.data.own import paths
from pf_core.data.own.scan import Entry, Item, Listing
from pf_core.errors import InputError

FORMAT = 1
_FILE = re.compile(r"pictures/[0-9a-f]{2}/([0-9a-f]{64})\.webp")


@dataclass(frozen=True)
class Set:
    """A set as a list shows it: name (for `path`), title, pictures, classes with their counts, captions, bytes."""

    name: str
    title: str
    pictures: int
    classes: dict[str, int]
    captions: int
    bytes: int


def listing_of(folder: Path) -> Listing:
    """The pictures of a set. Raises InputError if its manifest is missing or damaged."""
    return _listing(folder, _manifest(folder))


def _listing(folder: Path, manifest: dict) -> Listing:
    try:
        classes = [str(c) for c in manifest["classes"]]
        items = [_item(folder, p, len(classes)) for p in manifest["pictures"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"The data set {folder.name} is damaged: import its pictures again.") from None
    return Listing(items, classes, [])


def sets() -> list[Set]:
    """All imported sets, newest first, without damaged ones."""
    known_sets = []
    for name in paths.named():
        if paths.is_set(name):
            with suppress(InputError, OSError):
                folder = paths.home() / name
                about = (folder / paths.MANIFEST).stat()
                known_sets.append(_read(folder, about.st_mtime_ns, about.st_size))
    return known_sets


@lru_cache(maxsize=256)
def _read(folder: Path, mtime: int, size: int) -> Set:
    """What a list shows; every page asks for it as it opens, so that a manifest, of megabytes perhaps, is read once."""
    manifest = _manifest(folder)
    listing = _listing(folder, manifest)
    counts = [0] * len(listing.classes)
    for item in listing.items:
        counts[item.label] += 1
    captions = sum(bool(i.caption) for i in listing.items)
    classes = dict(zip(listing.classes, counts, strict=True))
    taken = sum({i.entry.mark: i.entry.size for i in listing.items}.values())
    return Set(folder.name, str(manifest.get("title", folder.name)), len(listing.items), classes, captions, taken)


def remove(name: str) -> None:
    """Delete a set. Runs that were trained on it keep their networks, but cannot be resumed. Raises InputError."""
    if not paths.is_set(name):
        raise InputError(f"There is no data set {name!r:.80}.")
    folder = paths.home() / name
    try:
        (folder / paths.MANIFEST).unlink()  # from here on it is no set any more, whatever happens
        shutil.rmtree(folder)
    except OSError as e:
        raise InputError(f"{folder} could not be removed completely: {e.strerror or e}.") from None


def _manifest(folder: Path) -> dict:
    try:
        manifest = json.loads((folder / paths.MANIFEST).read_text())
    except (OSError, ValueError) as e:
        raise InputError(f"The data set {folder.name} cannot be read ({e}): import its pictures again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"The data set {folder.name} is of another version: import its pictures again.")
    return manifest


def _item(folder: Path, picture: dict, classes: int) -> Item:
    sha = _FILE.fullmatch(picture["file"])[1]
    if not 0 <= picture["label"] < classes:
        raise ValueError
    size = int(picture["bytes"])
    entry = Entry(str(picture["name"]), size, sha, _reader(folder / picture["file"], sha))
    return Item(entry, picture["label"], str(picture["caption"]), picture.get("held") is True)


def _reader(path: Path, sha: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            content = path.read_bytes()
        except OSError as e:
            raise InputError(f"cannot be read ({e.strerror or e})") from None
        if hashlib.sha256(content).hexdigest() != sha:
            raise InputError("has been changed")
        return content

    return read
