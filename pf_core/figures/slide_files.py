"""Slides as files: PNG, GIF, WebP and MP4 with the recipes inside, and what a file will cost before it is made."""

import io
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from pf_core import files
from pf_core.errors import InputError
from pf_core.figures.slides import Deck
from pf_core.sampling.export import EXIF_DESCRIPTION, write_film

PICTURE, STRIP, GIF, WEBP, MP4 = "picture", "strip", "gif", "webp", "mp4"
SUFFIXES = {PICTURE: ".png", STRIP: ".png", GIF: ".gif", WEBP: ".webp", MP4: ".mp4"}
MOST_BYTES = 25 * 10**6  # of a file: what mail and slides still take
MOST_SECONDS = 30.0  # of one CPU core
MOST_FRAMES = 1024
_FILM_RATE = 25  # frames a second of an MP4; each picture is repeated
_SAMPLED = 4  # pictures that an estimate makes


@dataclass(frozen=True)
class Estimate:
    """What a file will be: measured on a few of its pictures, so `bytes` and `seconds` (of one CPU core) are about."""

    frames: int
    width: int
    height: int
    bytes: int
    seconds: float
    plays: float  # seconds that the animation takes

    @property
    def too_much(self) -> str:
        """A sentence, where it is more than a file may be."""
        if self.frames > MOST_FRAMES:
            return f"An animation has at most {MOST_FRAMES} frames, not {self.frames}: choose outer steps only."
        if self.bytes > MOST_BYTES:
            return f"This file would be about {megabytes(self.bytes)}; {megabytes(MOST_BYTES)} are the most."
        if self.seconds > MOST_SECONDS:
            return f"This file would take about {self.seconds:.0f} s to make; {MOST_SECONDS:.0f} s are the most."
        return ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"too_much": self.too_much}


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count < 9.95e6 else f"{count / 1e6:.0f} MB"


def note_of(deck: Deck) -> str:
    """What lies inside a file: the recipe of the one run, or those of all, the first of which is read back."""
    recipes = [each.run.recipe for each in deck.shown]
    return json.dumps(recipes[0] if len(recipes) == 1 else {"recipes": recipes})


def estimate(deck: Deck, kind: str) -> Estimate:
    """Make a few pictures, evenly spread, and reckon up from them. What stays from one picture to the next is counted
    again for each, so that a file is rather smaller. Raises InputError for another kind."""
    _known(kind)
    still = kind in (PICTURE, STRIP)
    count = 1 if still else len(deck)
    begin = time.thread_time()
    if still:
        picture = deck.strip() if kind == STRIP else deck.now([len(run) - 1 for run in deck.runs])
        size = len(_png(picture))
        return Estimate(1, *picture.size, size, time.thread_time() - begin, 0.0)
    chosen = sorted({round(k) for k in np.linspace(0, count - 1, min(_SAMPLED, count))})
    size = _size((deck.frame(k, indexed=kind == GIF) for k in chosen), kind, _repeats(deck)[0])
    spent = time.thread_time() - begin
    share = count / len(chosen)
    plays = (count - 1) * deck.slides.seconds + max(deck.slides.hold, deck.slides.seconds)
    return Estimate(count, deck.slides.width, deck.page.height, round(size * share), spent * share, plays)


def save(deck: Deck, kind: str, path: str | Path, places: list[int] | None = None) -> None:
    """Write a file of this kind. places: of a picture, the frame of every run; else its last. Raises InputError where
    the file would be too large or take too long, before or while it is made."""
    too_much = estimate(deck, kind).too_much
    if too_much:
        raise InputError(f"{too_much} Choose MP4, fewer frames or a smaller width.")
    note = note_of(deck)
    with files.replacing(path) as temporary:
        if kind in (PICTURE, STRIP):
            last = [len(run) - 1 for run in deck.runs]
            picture = deck.strip() if kind == STRIP else deck.now(places or last)
            temporary.write_bytes(_png(picture, note))
        elif kind == MP4:
            _save_mp4(deck, temporary, note)
        else:
            _animate(_pictures(deck, kind == GIF), kind, temporary, _milliseconds(deck), note)


def _known(kind: str) -> None:
    if kind not in SUFFIXES:
        raise InputError(f"There is no slide {kind!r:.40}: choose one of {', '.join(SUFFIXES)}.")


def _png(picture: Image.Image, note: str = "") -> bytes:
    info = PngImagePlugin.PngInfo()
    if note:
        info.add_text("recipe", note)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _milliseconds(deck: Deck) -> list[int]:
    slides = deck.slides
    return [round(1000 * slides.seconds)] * (len(deck) - 1) + [round(1000 * max(slides.hold, slides.seconds))]


def _pictures(deck: Deck, indexed: bool) -> Iterator[Image.Image]:
    """One after the other, so that never all of them are in memory."""
    begin = time.thread_time()
    for k in range(len(deck)):
        if time.thread_time() - begin > 2 * MOST_SECONDS:
            raise InputError("This file takes too long to make. Choose MP4, fewer frames or a smaller width.")
        yield deck.frame(k, indexed)


_WEBP = {"lossless": True, "quality": 20, "method": 1}


def _animate(pictures: Iterator[Image.Image], kind: str, target: Any, milliseconds: list[int], note: str) -> None:
    """Write a GIF or WebP."""
    more: dict[str, Any] = {"comment": note.encode()} if note else {}
    if kind == WEBP:
        exif = Image.Exif()
        exif[EXIF_DESCRIPTION] = note
        more = {"exif": exif, "lossless": True, "quality": 20, "method": 1}
    first = next(pictures)
    first.save(target, kind.upper(), save_all=True, append_images=pictures, duration=milliseconds, loop=0, **more)


def _save_mp4(deck: Deck, path: Path, note: str) -> None:
    """Each picture is repeated at a rate that every player and slide program knows."""
    pictures = (np.asarray(picture) for picture in _pictures(deck, False))
    write_film(path, zip(pictures, _repeats(deck), strict=True), Fraction(_FILM_RATE), note)


def _repeats(deck: Deck) -> list[int]:
    """How many frames of a film each picture is."""
    return [max(1, round(ms * _FILM_RATE / 1000)) for ms in _milliseconds(deck)]


def _size(pictures: Iterable[Image.Image], kind: str, repeats: int) -> int:
    """Bytes of these pictures in such a file."""
    if kind == MP4:
        with tempfile.NamedTemporaryFile(suffix=".mp4") as film:  # FFmpeg opens it by its name
            write_film(film.name, ((np.asarray(picture), repeats) for picture in pictures), Fraction(_FILM_RATE), "")
            return Path(film.name).stat().st_size
    pictures = list(pictures)
    buffer = io.BytesIO()
    _animate(iter(pictures), kind, buffer, [100] * len(pictures), "")
    return len(buffer.getvalue())
