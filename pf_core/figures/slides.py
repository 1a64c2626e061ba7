"""Runs as pictures for a slide: one to four runs on one clock, side by side, in the page's notation.

`Slides` is what a person chooses; `Deck` lays it out and draws any picture of it: `frame(k)` the k-th of an animation,
`now(places)` one moment, `strip()` a film strip. Pixels are enlarged by whole factors, without smoothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pf_core.errors import InputError
from pf_core.figures.slide_page import NAMES, Bit, font
from pf_core.figures.slide_sections import Grid, Sections, strip
from pf_core.models import checkpoint
from pf_core.models.codecs import to_uint8
from pf_core.models.conditioning import MOST_CHARACTERS
from pf_core.registry import Knob, as_text
from pf_core.sampling.export import SIGMA_RANGE, word_colours
from pf_core.sampling.trajectory import Frame, Trajectory
from pf_core.sampling.word_maps import Maps, Word
from pf_core.types import Codec

MOST_RUNS = 4
PANELS = {
    "x": "x_t",
    "x1": "x^_1",
    "t": "time t",
    "sigma": "difficulty σ",
    "cond": "σ conditional",
    "easy": "easy / hard",
    "word": "attention",
}
EVERY, OUTER, PROBES = "every", "outer", "probes"
FIT, BESIDE, BELOW = "fit", "beside", "below"
_TALL = 9 / 16  # of a page's width: a slide's shape
_BESIDE = 1.2  # runs side by side are worth maps that are so much smaller


@dataclass(frozen=True)
class Slides:
    """What a person chooses for a slide. panels: keys of PANELS; images: indices within the batch; word: whose map the
    panel `word` shows, word_place: see Word."""

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
    word: str = ""
    word_place: Annotated[int, Knob(-1, MOST_CHARACTERS, "which of a prompt's words")] = -1
    align: Annotated[str, Knob(choices=("nfe", "outer", "seconds"), help="what the runs' clock counts")] = "nfe"

    def __post_init__(self):
        unknown = [name for name in self.panels if name not in PANELS]
        if unknown or not self.panels:
            raise InputError(f"Choose at least one panel of {', '.join(PANELS)}, and no other.")
        if len(self.word) > MOST_CHARACTERS:
            raise InputError(f"A word has at most {MOST_CHARACTERS} characters.")
        if not self.images:
            raise InputError("Choose at least one image.")


class Shown(NamedTuple):
    """A run of a slide; `name` stands above it. maps: of its prompts' words, where its network is at hand."""

    run: Trajectory
    codec: Codec
    name: str
    maps: Maps | None = None


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
        self.images, self._results = sorted(set(slides.images)), dict[int, Tensor]()
        guided = any(each.run.recipe.get("cfg_scale", 1) != 1 for each in shown)
        words = bool(slides.word) and any(each.maps for each in shown)
        there = {"cond": guided, "word": words}
        self.panels = [name for name in PANELS if name in slides.panels and there.get(name, True)]
        if not self.panels:
            raise InputError(
                "Only guided runs have σ conditional, and only a word of a prompt has a map: choose another panel."
            )
        self.words_shown = [each.maps and Word(slides.word, each.maps, slides.word_place) for each in shown]
        self.titles = dict(PANELS) | ({"sigma": "σ extrapolated"} if guided else {})
        self.titles |= {"word": f'"{slides.word}"'} if words else {}
        self.sizes = [tuple(each.codec.preview(each.run.x0[:1]).shape[-2:]) for each in shown]
        for each in shown:
            each.codec.check()  # now, and not when the result's turn comes
        self._sizes_of_text()

    def _sizes_of_text(self) -> None:
        unit = max(0.5, self.slides.width / 1280)
        self.unit = lambda pixels: max(1, round(pixels * unit))
        u = self.unit
        self.pad, self.gap, self.section_gap = u(20), u(14), u(32)  # two runs of three panels of 64 px: threefold
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
            x = frame.x if panel == "x" else frame.x1_hat
            pictures = (
                self._result(r) if frame.phase == "final" else to_uint8(each.codec.preview(x[self.images].float()))
            )
            return [Bit(0, 0, 1, 1, "picture", p) for p in pictures.numpy()]
        if panel == "word":
            return self._attention(r, self.known(r, i, panel))
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

    def _result(self, r: int) -> Tensor:
        """The chosen images of a run's result, decoded once: seconds an image, where frames are previews."""
        if r not in self._results:
            self._results[r] = to_uint8(self.shown[r].codec.decode(self.runs[r][-1].x[self.images].float()))
        return self._results[r]

    def _attention(self, r: int, i: int) -> list[Bit]:
        """A word's map, from its least to its most over the images shown, as the page has it; grey without one."""
        grid, word = self.shown[r].run.grid, self.words_shown[r]
        blank = np.full((len(self.images), grid.rows, grid.cols), np.nan)
        shares = blank if word is None else word.over(i, self.images)
        return [Bit(0, 0, 1, 1, "picture", one) for one in word_colours(shares)]

    def known(self, r: int, i: int, panel: str) -> int:
        """The frame whose map is shown at frame i: at the result, which no pass looks at, the last that has one."""
        frames = self.runs[r]
        has = {
            "easy": _ranked,
            "sigma": lambda f: not f.logvar.isnan().all(),
            "cond": lambda f: not f.logvar_cond.isnan().all(),
            "word": lambda f: True,
        }
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
    network = str(recipe.get("checkpoint", ""))
    nothing = f"no {checkpoint.takes(network)}" if None in labels else ""
    chosen = list(dict.fromkeys(nothing if labels[i] is None else str(labels[i]) for i in images if i < len(labels)))
    many = "mixed prompts" if checkpoint.takes(network) == "prompt" else "mixed classes"
    seeds = [str(recipe["seeds"][i]) for i in images if i < len(recipe.get("seeds") or [])]
    parts = [
        checkpoint.last_name(network),
        ", ".join(chosen) if len(chosen) < 4 else many,
    ]
    parts += (
        [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds) if len(seeds) < 5 else f'{seeds[0]} to {seeds[-1]}'}"]
        if seeds
        else []
    )
    parts += [f"guidance {as_text(recipe['cfg_scale'])}"] if recipe.get("cfg_scale", 1) != 1 else []
    return " · ".join(part for part in parts if part)
