"""Where everything stands on a slide: a section a run, a cell an image and panel; or the columns of a film strip.

A `deck` here is a Deck of slides.py: it says what is shown, and how large.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFont

from pf_core.errors import InputError
from pf_core.figures.slide_page import NAMES, Bit, Page, Words, font
from pf_core.sampling.export import SIGMA_RANGE, word_colours

MOST_PIXELS = 8_000_000  # of one picture
_TICKS = {"t": [(0.0, "0"), (0.5, "0.5"), (1.0, "1")], "word": [(0.0, "least"), (1.0, "most")]}
_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0)
_NOTE = "Under a result stand the maps of the last pass."


class Grid(NamedTuple):
    """How the parts of a page stand: `runs`, `images` and `panels` a row, and the pixels of a cell, (width, height)."""

    runs: int
    images: int
    panels: int
    cell: tuple[int, int]


class Sections:
    """The page of an animation: a section a run, in it a cell an image and panel."""

    def __init__(self, deck: Any, grid: Grid):
        self.deck, self.grid = deck, grid
        bits: list[Bit] = []
        words: list[Words] = []
        self.wide = grid.images * grid.panels * grid.cell[0] + (grid.images * grid.panels - 1) * deck.gap
        down = -(-len(deck.shown) // grid.runs)
        least = (deck.slides.width - 2 * deck.pad - (grid.runs - 1) * deck.section_gap) // grid.runs
        rows = -(-len(deck.images) // grid.images) * -(-len(deck.panels) // grid.panels)
        self.room = min(least, max(self.wide, deck.unit(330)))  # of a section: its cells', and two lines of words
        self.foot = deck.foot_height(self.room)
        self.tall = deck._beside_cells(*grid[:3]) - deck.foot_height(least) + self.foot + rows * grid.cell[1]
        self.height = 2 * deck.pad + down * self.tall + (down - 1) * deck.section_gap
        self.tops, self.lefts = [], []
        spare = deck.slides.width - 2 * deck.pad - grid.runs * self.room
        between = min(spare // (grid.runs - 1), 2 * deck.section_gap) if grid.runs > 1 else 0
        edge = deck.pad + (spare - (grid.runs - 1) * between) // 2
        for r in range(len(deck.shown)):
            left = edge + r % grid.runs * (self.room + between)
            top = deck.pad + r // grid.runs * (self.tall + deck.section_gap)
            self.lefts.append(left)
            self.tops.append(top)
            self._head(r, left, top, self.room, words)
            self._around(left, top + deck.head_height, bits, words)
        if deck.slides.width * self.height > MOST_PIXELS:
            raise InputError("This picture would be too large: choose a smaller width, or fewer panels and images.")
        self.page = Page(deck.slides.width, self.height, deck.slides.dark, bits, words)

    def picture(self, places: Sequence[int], indexed: bool) -> Image.Image:
        bits: list[Bit] = []
        words: list[Words] = []
        for r, i in enumerate(places):
            self._cells(r, i, bits)
            self._foot(r, i, bits, words)
        return self.page.indexed(bits, words) if indexed else Image.fromarray(self.page.rgb(bits, words))

    # fixed

    def _head(self, r: int, left: int, top: int, room: int, words: list[Words]) -> None:
        deck = self.deck
        if deck.head_height:
            words.append(Words(left, top, fitting(deck.shown[r].name, deck.big, room), deck.big))
        if deck.slides.titles:
            words.append(Words(left, top + deck.unit(32), fitting(deck.about(r), deck.small, room), deck.small, True))

    def _around(self, left: int, top: int, bits: list[Bit], words: list[Words]) -> None:
        """Titles above cells, bars below them: of every row where panels take several, else once."""
        deck = self.deck
        several = self.grid.panels < len(deck.panels)
        for j in range(len(deck.images)):
            for p, panel in enumerate(deck.panels):
                x, y = self._at(j, p)
                if deck.slides.titles and (several or j < self.grid.images):
                    words += notation(
                        deck.titles[panel], left + x, top + y - deck.title_height, deck.middle, self.grid.cell[0]
                    )
                if deck.slides.bars and (several or j >= len(deck.images) - self.grid.images):
                    bar(deck, panel, left + x, top + y + self.grid.cell[1], self.grid.cell[0], bits, words)

    def _at(self, j: int, p: int) -> tuple[int, int]:
        """The upper left corner of a cell within a section, below its head."""
        deck, (w, h) = self.deck, self.grid.cell
        panel_rows = -(-len(deck.panels) // self.grid.panels)
        column = j % self.grid.images * self.grid.panels + p % self.grid.panels
        row = j // self.grid.images * panel_rows + p // self.grid.panels
        x, y = column * (w + deck.gap), deck.title_height + row * (h + deck.gap)
        if panel_rows == 1:
            return x, y
        bars = deck.bar_heights(self.grid.panels)
        above = row // panel_rows * sum(bars) + sum(bars[: row % panel_rows])
        return x, y + row * deck.title_height + above

    # changing

    def _cells(self, r: int, i: int, bits: list[Bit]) -> None:
        deck, (w, h) = self.deck, self.grid.cell
        left, top = self.lefts[r], self.tops[r] + deck.head_height
        height, width = deck.sizes[r]
        zoom = min(w // width, h // height)
        for p, panel in enumerate(deck.panels):
            for j, bit in enumerate(deck.values(r, i, panel)):
                x, y = self._at(j, p)
                across, down = zoom * width // bit.values.shape[1], zoom * height // bit.values.shape[0]
                bits.append(bit._replace(x=left + x, y=top + y, across=across, down=down))

    def _foot(self, r: int, i: int, bits: list[Bit], words: list[Words]) -> None:
        """A strip of the passes, coloured as on the page up to this one, and which pass it is."""
        deck, frames = self.deck, self.deck.runs[r]
        left, u = self.lefts[r], deck.unit
        top = self.tops[r] + self.tall - self.foot
        step = self.wide / len(frames)
        edges = [round(k * step) for k in range(len(frames) + 1)]
        colour = np.repeat([NAMES.index(frame.phase) for frame in frames], np.diff(edges))
        bits.append(Bit(left, top + u(12), 1, u(3), "named", colour[None]))
        bits.append(Bit(left, top + u(6), 1, u(9), "named", colour[None, : edges[i + 1]]))
        bits.append(Bit(left, top + u(30), u(14), u(14), "named", np.array([[NAMES.index(frames[i].phase)]])))
        lines = [", ".join(deck.words(r, i))] if deck.one_line(self.room) else deck.words(r, i)
        for k, line in enumerate(lines):
            words.append(Words(left + u(24), top + u(24) + k * deck.line, line, deck.middle))


def fitting(text: str, face: ImageFont.FreeTypeFont, room: float) -> str:
    """The text in one line, its end left out if it is wider than `room` pixels."""
    text = " ".join(text.split())[:200]
    if face.getlength(text) <= room:
        return text
    while text and face.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"


def notation(title: str, x: float, y: float, face: ImageFont.FreeTypeFont, room: float) -> list[Words]:
    """A title in the page's notation: x_t and x^_1 with an index below the line, and a hat."""
    if title not in ("x_t", "x^_1"):
        return [Words(x, y, fitting(title, face, room), face)]
    letter, index = title.replace("^", "").split("_")
    small = font(round(face.size * 0.72), True)
    bold = font(round(face.size), True)
    wide = bold.getlength(letter)
    parts = [Words(x, y, letter, bold), Words(x + wide, y + 0.42 * face.size, index, small)]
    if "^" in title:
        parts.append(Words(x + wide / 2 - bold.getlength("ˆ") / 2, y - 0.04 * face.size, "ˆ", bold))
    return parts


def bar(deck: Any, panel: str, x: int, y: int, wide: int, bits: list[Bit], words: list[Words]) -> None:
    """What the colours of a map mean, below it."""
    u, small = deck.unit, deck.small
    if panel in ("x", "x1"):
        return
    if panel == "easy":
        end = x + wide
        for name in ("easy", "hard"):
            if x + u(18) + small.getlength(name) > end:
                break  # a cell too narrow for both
            bits.append(Bit(x, y + u(13), u(13), u(13), "named", np.array([[NAMES.index(name)]])))
            words.append(Words(x + u(18), y + u(9), name, small, True))
            x += u(18) + round(small.getlength(name)) + u(12)
        return
    kind, scale = panel if panel in _TICKS else "sigma", np.linspace(0, 1, wide)[None]
    shades = ("picture", word_colours(scale)) if kind == "word" else (kind, scale)
    bits.append(Bit(x, y + u(7), 1, u(7), *shades))
    taken: list[tuple[float, float]] = []
    marks = ticks(kind)
    for place, text in [marks[0], marks[-1], *marks[1:-1]]:
        length = small.getlength(text)
        at = min(max(0.0, place * wide - length / 2), wide - length)
        if all(at > end + u(5) or at + length < start - u(5) for start, end in taken):
            words.append(Words(x + at, y + u(17), text, small, True))
            taken.append((at, at + length))


def ticks(kind: str) -> list[tuple[float, str]]:
    """(place in [0, 1], text) of a colour bar."""
    low, high = np.log(SIGMA_RANGE)
    return _TICKS.get(kind) or [((np.log(s) - low) / (high - low), f"{s:g}") for s in _SIGMAS]


def strip(deck: Any) -> Image.Image:
    """A film strip: a column a frame of the animation (evenly spread, ends included), a row an image and panel."""
    u, slides = deck.unit, deck.slides
    left = deck.pad + max(round(deck.small.getlength(deck.titles[p])) for p in deck.panels) + u(14)
    gap, tile = u(6), max(u(64), max(w for _, w in deck.sizes))
    most = max(1, (slides.width - left - deck.pad + gap) // (tile + gap))
    chosen = np.unique(np.linspace(0, len(deck) - 1, min(most, len(deck))).round().astype(int))
    cell = (slides.width - left - deck.pad + gap) // len(chosen) - gap
    bits: list[Bit] = []
    words: list[Words] = []
    y = deck.pad
    for r in range(len(deck.shown)):
        y = _strip_of(deck, r, [deck.ticks[k][r] for k in chosen], left, y, cell, gap, bits, words) + deck.section_gap
    words.append(Words(left, y - deck.section_gap, _NOTE, deck.small, True))
    height = y - deck.section_gap + u(22) + deck.pad
    if slides.width * height > MOST_PIXELS:
        raise InputError("This strip would be too large: choose fewer images or panels, or a smaller width.")
    return Image.fromarray(Page(slides.width, height, slides.dark, bits, words).rgb())


def _strip_of(deck, r, frames, left, y, cell, gap, bits, words) -> int:
    """One run's part of a strip, from y on. Returns where it ends."""
    u, (height, width) = deck.unit, deck.sizes[r]
    zoom = max(1, min(cell // width, u(220) // height))
    if deck.head_height:
        words.append(
            Words(deck.pad, y, fitting(deck.shown[r].name, deck.big, deck.slides.width - 2 * deck.pad), deck.big)
        )
    if deck.slides.titles:
        words.append(
            Words(
                deck.pad,
                y + u(32),
                fitting(deck.about(r), deck.small, deck.slides.width - 2 * deck.pad),
                deck.small,
                True,
            )
        )
    top = y + deck.head_height
    for c, i in enumerate(frames):
        x, frame = left + c * (cell + gap), deck.runs[r][i]
        heading = ["result" if frame.phase == "final" else f"step {frame.outer + 1}", f"NFE {frame.nfe}"]
        bits.append(Bit(x, top, zoom * width, u(4), "named", np.array([[NAMES.index(frame.phase)]])))
        words += [
            Words(x, top + u(7) + k * u(20), fitting(line, deck.small, cell + gap), deck.small)
            for k, line in enumerate(heading)
        ]
        down = top + u(54)
        columns = [deck.values(r, i, panel) for panel in deck.panels]
        for j in range(len(deck.images)):
            for panel, column in zip(deck.panels, columns, strict=True):
                bit = column[j]
                across, tall = zoom * width // bit.values.shape[1], zoom * height // bit.values.shape[0]
                bits.append(bit._replace(x=x, y=down, across=across, down=tall))
                if c == 0:
                    words += notation(
                        deck.titles[panel], deck.pad, down + zoom * height / 2 - u(9), deck.small, left - deck.pad
                    )
                down += zoom * height + gap
            down += u(8)
    return down
