"""Importing own pictures: files or a zip -> a safe data set, or sentences that say why not.

    report = take(paths)               # decoded, checked and written, but not yet a data set
    report.images, report.classes, report.captions, report.skipped, report.summary
    name = keep(report.id)             # "use the good ones": now it is one, for Folder(path=name, ...)
    drop(report.id)                    # or not

Whatever the files say, only pictures that this program has encoded anew are written (the centre, at most SIDE pixels a
side, lossless, no metadata), under names made of their own content, below a folder that this program has named. WORKERS
files are in memory at a time, and sizes are counted as they come, not as they are declared.
"""

import hashlib
import io
import json
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from pf_core import files
from pf_core.data.own import image_io, paths
from pf_core.data.own.library import FORMAT
from pf_core.data.own.names import comparable, printable, told_apart
from pf_core.data.own.scan import Entry, Item, Listing, Skipped, arrange, of_files, of_folder, of_zip
from pf_core.errors import InputError

SIDE = 512
WORKERS = 2
PENDING = ".pending-"
_FORGOTTEN = 24 * 3600  # seconds after which a set that nobody decided on is removed


@dataclass(frozen=True)
class Limits:
    """In bytes: the files, their unpacked size, one set, all sets together, and disk space that stays free."""

    arriving: int = 2 * 2**30
    unpacked: int = 16 * 2**30
    one: int = 4 * 2**30
    all: int = 20 * 2**30
    spare: int = 2**29


LIMITS = Limits()


@dataclass(frozen=True)
class Report:
    """What was found. images, captions: counts; classes: name -> count; bytes: on disk; id: for `keep` and `drop`;
    notes: sentences on how names, metadata and folders were read."""

    id: str
    title: str
    images: int
    classes: dict[str, int]
    captions: int
    skipped: list[Skipped]
    bytes: int
    notes: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """A summary of one paragraph."""
        counts = describe(self.images, self.classes, self.captions, len(self.skipped), self.bytes)
        return " ".join([counts, *self.notes])


def describe(images: int, classes: dict[str, int], captions: int, skipped: int, size: int = 0) -> str:
    """Counts as sentences."""

    def some(n: int, what: str) -> str:
        return f"{n:,} {what if n == 1 else what + ('es' if what.endswith('s') else 's')}"

    shown = ", ".join(f"{printable(name)} ({n:,})" for name, n in list(classes.items())[:12])
    more = f" and {len(classes) - 12:,} more" if len(classes) > 12 else ""
    text = f"{some(images, 'picture')} in {some(len(classes), 'class')}: {shown}{more}."
    text += f" {some(captions, 'caption')}." if captions else ""
    text += f" {size / 2**20:.1f} MB." if size else ""
    text += f" {some(skipped, 'file')} not used." if skipped else ""
    if images == 1:
        text += " A network trained on a single picture can only memorise it."
    return text


def take(
    sources: Sequence[str | Path],
    title: str = "",
    limits: Limits = LIMITS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Decode and write the usable files as a pending set. sources: pictures, texts, zips or folders, in any mixture.

    The caller makes sure that the sources may be read. Raises InputError, leaving nothing behind, if nothing can be
    used, for a zip bomb, and if the files exceed the limits or the free disk.
    """
    sources = [Path(p) for p in sources]
    if not sources:
        raise InputError("There are no files: drop pictures or a zip of them.")
    title = printable(title or (sources[0].stem if len(sources) == 1 else "pictures"), 60)
    listing = listed(sources, limits)
    _forget()
    token = secrets.token_hex(8)
    folder = paths.home() / f"{PENDING}{token}"
    try:
        return _write(listing, folder, token, title, limits, progress)
    except BaseException as e:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(e, OSError):
            raise InputError(f"Cannot write {folder.parent}: {e.strerror or e}.") from None
        raise


def listed(sources: list[Path], limits: Limits = LIMITS) -> Listing:
    """What files, zips and folders hold, by names and metadata alone: no picture is decoded. Raises InputError."""
    entries: list[Entry] = []
    origins: list[tuple[int, str]] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    zips = [p for p in sources if p.suffix.lower() == ".zip" or _is_zip(p)]
    folders = [p for p in sources if p.is_dir()]
    for path in sources:
        if not path.exists():
            raise InputError(f"There is no file {path}.")
        if path.is_file() and path.stat().st_size > limits.arriving:
            raise InputError(f"{printable(path.name)} is larger than {limits.arriving / 2**30:.0f} GB.")
    plain = [p for p in sources if p not in zips and p not in folders]
    tops = iter(_tops([p.stem for p in zips] + [p.name for p in folders]))
    for number, scanned in enumerate(
        [*map(of_zip, zips), *(of_folder(p, paths.anywhere()) for p in folders), of_files(plain)]
    ):
        several, top = len(zips) + len(folders) > 1, next(tops, None)
        origins += [(number, e.name.rpartition(".")[0]) for e in scanned[0]]
        entries += [_under(top, e) for e in scanned[0]] if several and top else scanned[0]
        skipped += scanned[1]
        notes += scanned[2] if len(scanned) > 2 else []
    total = sum(e.size for e in entries if e.size <= image_io.MAX_FILE)
    if total > limits.unpacked:
        raise InputError(
            f"This unpacks to {total / 2**30:,.0f} GB, and at most {limits.unpacked / 2**30:.0f} GB are imported: "
            "refused. If these are your pictures, make them smaller first, or put them in a folder."
        )
    names = told_apart([e.name for e in entries], origins)
    return arrange([replace(e, name=n) for e, n in zip(entries, names, strict=True)], skipped, notes)


def _tops(names: list[str]) -> list[str]:
    """Names for sources' folders: the second of one name gets a number."""
    taken: list[str] = []
    for name in names:
        top, n = comparable(name), 2
        while top.lower() in map(str.lower, taken):
            top, n = comparable(f"{name} ({n})"), n + 1
        taken.append(top)
    return taken


def _under(folder: str, entry: Entry) -> Entry:
    return replace(entry, name=comparable(f"{folder}/{entry.name}"))


def _is_zip(path: Path) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _write(
    listing: Listing, folder: Path, token: str, title: str, limits: Limits, progress: Callable[[int, int], None]
) -> Report:
    used, skipped, written, size = _used(paths.home()), list(listing.skipped), [], 0
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(WORKERS) as pool:
        for i, done in enumerate(pool.map(lambda item: _store(item, folder), listing.items)):
            progress(i + 1, len(listing.items))
            if isinstance(done, Skipped):
                skipped.append(done)
                continue
            written.append(done[0])
            size += done[1]
            _check_room(size, used, limits)
    if not written:
        raise InputError(nothing(skipped))
    present = sorted({p["label"] for p in written})
    for picture in written:
        picture["label"] = present.index(picture["label"])
    classes = [listing.classes[i] for i in present]
    manifest = {"format": FORMAT, "title": title, "classes": classes, "pictures": written}
    with files.replacing(folder / paths.MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest | {"skipped": [[s.name, s.reason] for s in skipped]}))
    counts = Counter(classes[p["label"]] for p in written)
    captions = sum(bool(p["caption"]) for p in written)
    return Report(token, title, len(written), {c: counts[c] for c in classes}, captions, skipped, size, listing.notes)


def _store(item: Item, folder: Path) -> tuple[dict, int] | Skipped:
    """Write one picture; its line of the manifest and the bytes it added."""
    name = printable(item.entry.name)
    try:
        pixels = image_io.square(item.entry.read(), SIDE, name=name, enlarge=False)
    except InputError as e:
        return Skipped.of(item.entry.name, e)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "WEBP", lossless=True, quality=20, method=0)  # smaller and faster than PNG
    content = encoded.getvalue()
    sha = hashlib.sha256(content).hexdigest()
    path = folder / "pictures" / sha[:2] / f"{sha}.webp"
    new = not path.exists()
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    about = {"file": path.relative_to(folder).as_posix(), "bytes": len(content), "name": name}
    about |= {"label": item.label, "caption": item.caption} | ({"held": True} if item.held else {})
    return about, len(content) * new


def _check_room(size: int, used: int, limits: Limits) -> None:
    if size > limits.one:
        raise InputError(f"These pictures take more than {limits.one / 2**30:.0f} GB: import fewer at a time.")
    if used + size > limits.all:
        raise InputError(f"All data sets together would take more than {limits.all / 2**30:.0f} GB: remove one first.")
    if shutil.disk_usage(paths.home()).free < limits.spare:
        raise InputError("The disk is nearly full: make room first.")


def _used(folder: Path) -> int:
    """Bytes of all sets, pending ones too."""
    return sum(p.stat().st_size for p in folder.glob("*/pictures/*/*.webp")) if folder.is_dir() else 0


def nothing(skipped: Iterable[Skipped]) -> str:
    """A sentence that no file can be used, with the first reasons."""
    reasons = [str(s) for s in skipped]
    more = f" And {len(reasons) - 3:,} more." if len(reasons) > 3 else ""
    return " ".join(["There is no usable picture here.", *reasons[:3]]) + more


def keep(token: str, title: str = "") -> str:
    """Make a pending set a data set; its name. The same pictures imported twice are one set. Raises InputError."""
    folder = _pending(token)
    manifest = json.loads((folder / paths.MANIFEST).read_text())
    title = printable(title or manifest["title"], 60)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "pictures"
    kept = [[p["file"], p["label"], p["caption"], *[True] * p.get("held", False)] for p in manifest["pictures"]]
    content = json.dumps([manifest["classes"], kept])
    name = f"{words}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    if paths.is_set(name):
        shutil.rmtree(folder, ignore_errors=True)
        return name
    try:
        with files.replacing(folder / paths.MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest | {"title": title}))
        shutil.rmtree(paths.home() / name, ignore_errors=True)  # left over from a removal that was cut short
        folder.rename(paths.home() / name)
    except OSError as e:
        raise InputError(f"The data set could not be kept: {e.strerror or e}.") from None
    return name


def drop(token: str) -> None:
    """Delete a pending set, if it is still there."""
    with suppress(InputError):
        shutil.rmtree(_pending(token), ignore_errors=True)


def _pending(token: str) -> Path:
    folder = paths.home() / f"{PENDING}{token}"
    if not re.fullmatch("[0-9a-f]{16}", str(token)) or not (folder / paths.MANIFEST).is_file():
        raise InputError("These pictures are no longer waiting: drop the files again.")
    return folder


def _forget() -> None:
    for folder in paths.home().glob(f"{PENDING}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _FORGOTTEN:
                shutil.rmtree(folder)
