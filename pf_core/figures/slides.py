"""Runs as pictures for a slide: one to four runs on one clock, side by side, in the page's notation.

`Slides` is what a person chooses; `Deck` lays it out and draws any picture of it: `frame(k)` the k-th of an animation,
`now(places)` one moment, `strip()` a film strip. Pixels are enlarged by whole factors, without smoothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from pf_core.errors import InputError
from pf_core.figures.slide_page import NAMES, Bit, Page, Words, font
from pf_core.models.codecs import to_uint8
from pf_core.registry import Knob
from pf_core.sampling.export import SIGMA_RANGE
from pf_core.sampling.trajectory import Frame, Trajectory
from pf_core.types import Codec

MOST_RUNS = 4
MOST_PIXELS = 8_000_000  # of one picture
PANELS = {
    "x": "x_t",
    "x1": "x^_1",
    "t": "time t",
    "sigma": "difficulty σ",
    "cond": "σ conditional",
    "easy": "easy / hard",
}
EVERY, OUTER, PROBES = "every", "outer", "probes"
FIT, BESIDE, BELOW = "fit", "beside", "below"
_TICKS = {"t": [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]}
_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0)
_TALL = 9 / 16  # of a page's width: a slide's shape
NOTE = "Under a result stand the maps of the last pass."
_BESIDE = 1.2  # runs side by side are worth maps that are so much smaller


@dataclass(frozen=True)
class Slides:
    """What a person chooses for a slide. panels: keys of PANELS; images: indices within the batch."""

    width: Annotated[int, Knob(320, 2560, "pixels across")] = 1280
    panels: list[str] = field(default_factory=lambda: ["x", "x1", "t", "sigma"])
    images: list[int] = field(default_factory=lambda: [0])
    frames: Annotated[str, Knob(choices=(EVERY, OUTER, PROBES), help="which passes are shown")] = EVERY
    seconds: Annotated[float, Knob(0.04, 10.0, "seconds a frame")] = 0.2
    hold: Annotated[float, Knob(0.0, 30.0, "seconds for which the last frame stays on top")] = 2.0
    titles: bool = True
    bars: bool = True
    dark: bool = False
    place: Annotated[str, Knob(choices=(FIT, BESIDE, BELOW), help="how several runs stand")] = FIT
    align: Annotated[str, Knob(choices=("nfe", "outer", "seconds"), help="what the runs' clock counts")] = "nfe"

    def __post_init__(self):
        unknown = [name for name in self.panels if name not in PANELS]
        if unknown or not self.panels:
            raise InputError(f"Choose at least one panel of {', '.join(PANELS)}, and no other.")
        if not self.images:
            raise InputError("Choose at least one image.")


class Shown(NamedTuple):
    """A run of a slide; `name` stands above it."""

    run: Trajectory
    codec: Codec
    name: str


def moments(run: Trajectory) -> list[Frame]:
    """The run's forward passes and, where it has ended, its result: what the browser counts as frames."""
    if run.x1 is None or not run.frames:
        return list(run.frames)
    last = run.frames[-1]
    nothing = torch.full_like(last.logvar, torch.nan)
    result = run.x1.half()
    more = {"t": torch.ones_like(last.t), "logvar": nothing, "logvar_cond": nothing}
    return [*run.frames, replace(last, phase="final", x=result, x1_hat=result, seconds=run.seconds, **more)]


def clock(runs: Sequence[Sequence[Frame]], align: str, frames: str = EVERY) -> list[list[int]]:
    """The moments of an animation: for each the frame of every run. A run shows its last frame that is not later, by
    NFE, outer step or wall time. Of each run only the `frames` asked for count, and its result. Raises InputError if
    no run has such frames."""
    kept = [_kept(run, frames) for run in runs]
    if not any(any(run[i].phase != "final" for i in chosen) for run, chosen in zip(runs, kept, strict=True)):
        raise InputError("None of these runs has probe passes: choose every pass or outer steps.")
    keys = [[_key(run, i, align) for i in range(len(run))] for run in runs]
    ticks = sorted({keys[r][i] for r, chosen in enumerate(kept) for i in chosen})
    shown = []
    for r, chosen in enumerate(kept):
        alone = all(runs[r][i].phase == "final" for i in chosen)  # it has none: it shows whatever it has by then
        mine = range(len(runs[r])) if alone else chosen
        shown.append([max([i for i in mine if keys[r][i] <= tick], default=mine[0]) for tick in ticks])
    return [list(each) for each in zip(*shown, strict=True)]


def _kept(run: Sequence[Frame], frames: str) -> list[int]:
    def counts(i: int) -> bool:
        frame = run[i]
        if frame.phase == "final" or frames == EVERY:
            return True
        if frames == PROBES:
            return frame.phase == "probe"
        return i == 0 or run[i - 1].outer != frame.outer

    return [i for i in range(len(run)) if counts(i)]


def _key(run: Sequence[Frame], i: int, align: str) -> float:
    frame = run[i]
    if align == "seconds":
        return frame.seconds
    if align == "nfe":
        return frame.nfe + (frame.phase == "final")
    if frame.phase == "final":
        return frame.outer + 1
    first = i
    while first > 0 and run[first - 1].outer == frame.outer:
        first -= 1
    return frame.outer + (i - first) / 1024


class Grid(NamedTuple):
    """How the parts of a page stand: `runs`, `images` and `panels` a row, and the pixels of a cell, (width, height)."""

    runs: int
    images: int
    panels: int
    cell: tuple[int, int]


class Deck:
    """Some runs as `slides` ask for. Raises InputError where they cannot be shown so."""

    def __init__(self, shown: Sequence[Shown], slides: Slides):
        if not 1 <= len(shown) <= MOST_RUNS:
            raise InputError(f"A slide shows one to {MOST_RUNS} runs, not {len(shown)}.")
        if any(not each.run.frames for each in shown):
            raise InputError("This run has no frames yet: wait for the first one.")
        self.shown, self.slides = list(shown), slides
        self.runs = [moments(each.run) for each in shown]
        most = min(each.run.x0.shape[0] for each in shown)
        wrong = [i for i in slides.images if not 0 <= i < most]
        if wrong:
            raise InputError(f"There is no image {wrong[0] + 1}: all of these runs have images 1 to {most}.")
        self.images = sorted(set(slides.images))
        guided = any(each.run.recipe.get("cfg_scale", 1) != 1 for each in shown)
        self.panels = [name for name in PANELS if name in slides.panels and (guided or name != "cond")]
        if not self.panels:
            raise InputError("Only guided runs have σ conditional: choose another panel.")
        self.titles = dict(PANELS) | ({"sigma": "σ extrapolated"} if guided else {})
        self.sizes = [tuple(each.codec.decode(each.run.x0[:1]).shape[-2:]) for each in shown]
        self._sizes_of_text()

    def _sizes_of_text(self) -> None:
        unit = max(0.5, self.slides.width / 1280)
        self.unit = lambda pixels: max(1, round(pixels * unit))
        u = self.unit
        self.pad, self.gap, self.section_gap = u(24), u(14), u(40)
        self.big, self.middle, self.small = font(u(24), True), font(u(22)), font(u(17))
        self.line = u(28)

    # what it is made of

    @cached_property
    def ticks(self) -> list[list[int]]:
        """For every frame of the animation the frame of each run."""
        return clock(self.runs, self.slides.align, self.slides.frames)

    @cached_property
    def page(self) -> "Sections":
        return Sections(self, self._grid())

    def __len__(self) -> int:
        return len(self.ticks)

    def frame(self, k: int, indexed: bool = False) -> Image.Image:
        """The k-th picture of the animation: RGB, or of 256 colours."""
        return self.page.picture(self.ticks[k], indexed)

    def now(self, places: Sequence[int]) -> Image.Image:
        """One moment: run r at its frame places[r]."""
        places = [min(max(0, i), len(run) - 1) for i, run in zip(places, self.runs, strict=True)]
        return self.page.picture(places, False)

    def strip(self) -> Image.Image:
        """The frames asked for from left to right, evenly spread where not all have room; a row an image and panel."""
        return strip(self)

    # values

    def values(self, r: int, i: int, panel: str) -> list[Bit]:
        """Each chosen image's panel at frame i of run r, at the origin and unscaled."""
        each, frames = self.shown[r], self.runs[r]
        frame, grid = frames[i], each.run.grid
        if panel in ("x", "x1"):
            x = (frame.x if panel == "x" else frame.x1_hat)[self.images]
            return [Bit(0, 0, 1, 1, "picture", p) for p in to_uint8(each.codec.decode(x.float())).numpy()]
        frame = frames[self.known(r, i, panel)]
        if panel == "t":
            kind, values = "t", frame.t
        elif panel == "easy":
            ranked = torch.where(frame.easy, NAMES.index("easy"), NAMES.index("hard"))
            kind, values = "named", ranked if _ranked(frame) else torch.full_like(ranked, NAMES.index("none"))
        else:
            low, high = np.log(SIGMA_RANGE)
            logvar = frame.logvar if panel == "sigma" else frame.logvar_cond
            kind, values = "sigma", (logvar / 2 - low) / (high - low)
        maps = values[self.images].reshape(-1, grid.rows, grid.cols).numpy()
        return [Bit(0, 0, 1, 1, kind, one) for one in maps]

    def known(self, r: int, i: int, panel: str) -> int:
        """The frame whose map is shown at frame i: at the result, which no pass looks at, the last that has one."""
        frames = self.runs[r]
        has = {"easy": _ranked, "sigma": lambda f: not f.logvar.isnan().all()}
        has["cond"] = lambda f: not f.logvar_cond.isnan().all()
        if frames[i].phase != "final" or panel not in has:
            return i
        return next((k for k in range(i - 1, -1, -1) if has[panel](frames[k])), i)

    def words(self, r: int, i: int) -> list[str]:
        """Which pass frame i of run r is, as the page says it."""
        frame, recipe = self.runs[r][i], self.shown[r].run.recipe
        last = self.shown[r].run.frames[-1]
        steps, nfe = recipe.get("steps") or last.outer + 1, recipe.get("nfe") or last.nfe
        if frame.phase == "final":
            kept = {"sigma", "cond"} & set(self.panels)
            return [
                f"result after {steps} outer steps",
                f"{frame.nfe} NFE, " + ("σ as in the last pass" if kept else "t 1.00"),
            ]
        t = frame.t[self.images]
        low, high = t.min().item(), t.max().item()
        times = f"t {low:.2f}" if high - low < 0.005 else f"t {low:.2f} to {high:.2f}"
        return [f"outer step {frame.outer + 1} of {steps}, {frame.phase}", f"NFE {frame.nfe} of {nfe}, {times}"]

    def about(self, r: int) -> str:
        """A run's network, class, seeds and guidance."""
        return about(self.shown[r].run.recipe, self.images)

    # layout

    def _grid(self) -> Grid:
        """The arrangement with the largest maps on a page of a slide's shape; a taller page where nothing fits it."""
        runs, images, panels = len(self.shown), len(self.images), len(self.panels)
        across = {FIT: range(1, runs + 1), BESIDE: [runs], BELOW: [1]}[self.slides.place]
        for tall in (_TALL, 1, 2, 4):
            found = []
            for r in across:
                for i in range(1, images + 1):
                    for p in range(1, panels + 1):
                        cell = self._cell(r, i, p, round(tall * self.slides.width))
                        if cell:
                            found.append(
                                (cell[0] * cell[1] * (_BESIDE**2 if r == runs else 1), r, p, Grid(r, i, p, cell))
                            )
            if found:
                return max(found)[-1]
        least = max(w for _, w in self.sizes) * len(self.panels)
        raise InputError(
            f"So many panels and images do not fit a width of {self.slides.width}: choose fewer, or at least {least}."
        )

    def _cell(self, runs: int, images: int, panels: int, tall: int) -> tuple[int, int] | None:
        """Pixels of a cell, (width, height), with whole factors for every run; None if nothing fits."""
        rows = -(-len(self.panels) // panels) * -(-len(self.images) // images)
        down = -(-len(self.shown) // runs)
        count = runs * images * panels
        wide = self.slides.width - 2 * self.pad - (runs - 1) * self.section_gap - (count - runs) * self.gap
        room = tall - 2 * self.pad - (down - 1) * self.section_gap - down * self._beside_cells(runs, images, panels)
        limit = wide // count, room // (down * rows)
        cells = [(z * w, z * h) for h, w in self.sizes if (z := min(limit[0] // w, limit[1] // h)) > 0]
        if len(cells) < len(self.sizes):
            return None
        return max(w for w, _ in cells), max(h for _, h in cells)

    def _beside_cells(self, runs: int, images: int, panels: int) -> int:
        """Pixels of a section's height that are no cells."""
        image_rows, panel_rows = -(-len(self.images) // images), -(-len(self.panels) // panels)
        repeated = image_rows if panel_rows > 1 else 1
        rows = image_rows * panel_rows
        around = repeated * (panel_rows * self.title_height + sum(self.bar_heights(panels)))
        section = (self.slides.width - 2 * self.pad - (runs - 1) * self.section_gap) // runs
        return self.head_height + around + (rows - 1) * self.gap + self.foot_height(section)

    @property
    def head_height(self) -> int:
        return self.unit(66) if self.slides.titles else self.unit(34) if len(self.shown) > 1 else 0

    @property
    def title_height(self) -> int:
        return self.unit(34) if self.slides.titles else 0

    def bar_heights(self, panels: int) -> list[int]:
        """Of each row of so many panels: what its colour bars take."""
        rows = [self.panels[k : k + panels] for k in range(0, len(self.panels), panels)]
        return [self.unit(40) if self.slides.bars and set(row) - {"x", "x1"} else 0 for row in rows]

    def foot_height(self, room: int) -> int:
        return self.unit(28) + self.line * (1 if self.one_line(room) else 2)

    def one_line(self, room: int) -> bool:
        """Do the words about a pass fit one line of so many pixels?"""
        return self._longest + self.unit(40) <= room

    @cached_property
    def _longest(self) -> float:
        return max(
            self.middle.getlength(", ".join(self.words(r, i)))
            for r, run in enumerate(self.runs)
            for i in range(len(run))
        )


def _ranked(frame: Frame) -> bool:
    return bool(frame.easy.any() or frame.threshold.isfinite().any())


def about(recipe: dict[str, Any], images: Sequence[int]) -> str:
    """ "shapes-pft · star · seeds 85, 86 · guidance 2": of a recipe's images."""
    labels = recipe.get("labels") or [None]
    labels = labels if len(labels) > 1 else labels * (max(images) + 1)
    chosen = list(dict.fromkeys("no class" if labels[i] is None else str(labels[i]) for i in images if i < len(labels)))
    seeds = [str(recipe["seeds"][i]) for i in images if i < len(recipe.get("seeds") or [])]
    parts = [Path(str(recipe.get("checkpoint", ""))).stem, ", ".join(chosen) if len(chosen) < 4 else "mixed classes"]
    parts += (
        [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds) if len(seeds) < 5 else f'{seeds[0]} to {seeds[-1]}'}"]
        if seeds
        else []
    )
    parts += [f"guidance {recipe['cfg_scale']:g}"] if recipe.get("cfg_scale", 1) != 1 else []
    return " · ".join(part for part in parts if part)


class Sections:
    """The page of an animation: a section a run, in it a cell an image and panel."""

    def __init__(self, deck: Deck, grid: Grid):
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


def fitting(text: str, face, room: float) -> str:
    """The text, its end left out if it is wider than `room` pixels."""
    if face.getlength(text) <= room:
        return text
    while text and face.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"


def notation(title: str, x: float, y: float, face, room: float) -> list[Words]:
    """A title in the page's notation: x_t and x^_1 with an index below the line, and a hat."""
    if "_" not in title:
        return [Words(x, y, fitting(title, face, room), face)]
    letter, index = title.replace("^", "").split("_")
    small = font(round(face.size * 0.72), True)
    bold = font(round(face.size), True)
    wide = bold.getlength(letter)
    parts = [Words(x, y, letter, bold), Words(x + wide, y + 0.42 * face.size, index, small)]
    if "^" in title:
        parts.append(Words(x + wide / 2 - bold.getlength("ˆ") / 2, y - 0.04 * face.size, "ˆ", bold))
    return parts


def bar(deck: Deck, panel: str, x: int, y: int, wide: int, bits: list[Bit], words: list[Words]) -> None:
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
    kind = "t" if panel == "t" else "sigma"
    bits.append(Bit(x, y + u(7), 1, u(7), kind, np.linspace(0, 1, wide)[None]))
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


def strip(deck: Deck) -> Image.Image:
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
    words.append(Words(left, y - deck.section_gap, NOTE, deck.small, True))
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
        words.append(Words(deck.pad, y + u(32), deck.about(r), deck.small, True))
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
