"""Named comparisons, and sweeps over up to three settings. The only room outside the samplers that names some."""

import json
import math
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError

from pf_core import files
from pf_core.checkpoint import Bundle
from pf_core.codecs import to_uint8
from pf_core.errors import InputError
from pf_core.sample import Run, SampleSpec, resolve
from pf_core.samplers import SAMPLERS

Load = Callable[[str], Bundle]  # a checkpoint's name -> its Bundle: checkpoint.load, or a cache of it

# comparisons


@dataclass(frozen=True)
class Preset:
    """Two to four runs worth seeing side by side. `columns` are parts of SampleSpecs; all of them cost the same NFE."""

    name: str
    label: str
    caption: str
    columns: tuple[dict[str, Any], ...]

    def specs(self, **shared: Any) -> list[SampleSpec]:
        """One SampleSpec a column; `shared` are what they have in common: seeds, labels, cfg_scale, edits, ...

        Raises InputError for what is no field of a SampleSpec, or what the columns decide.
        """
        for name in shared:
            if name not in {f.name for f in fields(SampleSpec)} or any(name in column for column in self.columns):
                raise InputError(f"{name} cannot be chosen for {self.label}: it is no setting, or what is compared.")
        return [SampleSpec(**shared, **column) for column in self.columns]


EQUAL_NFE = 64  # 64 Euler steps, 33 of look-ahead (2 of them warm-up) or 16 of a dual loop of 4 cost just this
PFT, SIT = "shapes-pft", "shapes-sit"


def _columns(*columns: tuple) -> tuple[dict[str, Any], ...]:
    """(checkpoint, sampler) or (checkpoint, sampler, settings) -> parts of SampleSpecs."""
    return tuple(
        {"checkpoint": c, "sampler": s, "settings": dict(*settings), "nfe": EQUAL_NFE} for c, s, *settings in columns
    )


_SAME_SHARE = {"p": 0.4, "n_inner": 4}
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "euler-look-ahead",
            "Euler and look-ahead",
            "Same noise, same cost: watch the outline and the texture, where look-ahead's second look corrects what "
            "Euler commits to at once.",
            _columns((PFT, "euler"), (PFT, "look_ahead")),
        ),
        Preset(
            "three-samplers",
            "Euler, dual-loop and look-ahead",
            "Watch the timestep maps: flat, two speeds within a step, and a jump ahead that is taken back; then "
            "compare the hard patches at the end.",
            _columns((PFT, "euler"), (PFT, "dual_loop"), (PFT, "look_ahead")),
        ),
        Preset(
            "sit-pft",
            "SiT and Patch Forcing",
            "The plain network knows no difficulty and steps all patches alike; the same sampler on the Patch Forcing "
            "network shows what training did, look-ahead what its difficulty is good for.",
            _columns((SIT, "euler"), (PFT, "euler"), (PFT, "look_ahead")),
        ),
        Preset(
            "random-difficulty",
            "Random order and difficulty order",
            "As many patches go first in both: watch whether the outline settles better when the easy ones lead.",
            _columns((PFT, "random_order", _SAME_SHARE), (PFT, "dual_loop", _SAME_SHARE)),
        ),
    )
}


# sweeps

MAX_AXES, MAX_CELLS = 3, 100
SPEC_AXES = ("checkpoint", "sampler", "nfe", "steps", "cfg_scale", "label", "seed")


def axes_known() -> list[str]:
    """Everything that can be swept: fields of a recipe, then the samplers' knobs."""
    return list(dict.fromkeys([*SPEC_AXES, *(knob for entry in SAMPLERS.values() for knob in entry.knobs)]))


def _changes(name: str, value: Any) -> dict[str, Any]:
    """What an axis's value changes in a recipe; nothing for a sampler's knob, which goes into its settings."""
    if name in ("nfe", "steps"):
        return {"nfe": None, "steps": None, "ts": None, name: value}
    if name in ("seed", "label"):
        return {name + "s": [value]}
    if name == "checkpoint":
        return {"checkpoint": str(value), "checkpoint_hash": None}
    if name == "sampler":
        return {"sampler": str(value)}
    return {name: value} if name in SPEC_AXES else {}


class Cell(NamedTuple):
    """One picture of a sweep. place: (column, row, block); values: what the axes are here."""

    place: tuple[int, int, int]
    values: dict[str, Any]
    spec: SampleSpec


class Cost(NamedTuple):
    """Of a whole sweep, before it runs. nfe: network evaluations, all images together; forwards: a CFG pair is two."""

    images: int
    nfe: int
    forwards: int
    failing: int  # cells that are wrong from the start, and cost nothing

    def __str__(self) -> str:
        failing = f"; {self.failing} cannot run" if self.failing else ""
        return f"{self.images} images, {self.nfe} NFE, {self.forwards} forwards{failing}"


class Done(NamedTuple):
    """A cell that ran, or an error sentence why not. forwards, seconds: what it really took."""

    cell: Cell
    image: Image.Image | None
    error: str | None = None
    nfe: int = 0
    forwards: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """A recipe with up to three settings varied: the first axis makes columns, the second rows, the third blocks.

    axes: {name: values}, names from `axes_known`. A cell is one image, of the base's first seed and label. The base's
    own sampler settings hold where a cell's sampler has them; a swept setting that its sampler lacks is that cell's
    error. Raises InputError for unknown axes, empty ones, more than MAX_AXES or more than MAX_CELLS cells.
    """

    base: SampleSpec
    axes: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.axes) > MAX_AXES:
            raise InputError(f"A sweep has at most {MAX_AXES} axes, not {len(self.axes)}.")
        for name, values in self.axes.items():
            if name not in axes_known():
                raise InputError(f"{name!r} cannot be swept. Known: {', '.join(axes_known())}.")
            if not isinstance(values, list | tuple) or not values:
                raise InputError(f"Give a list of values for {name}.")
        if {"nfe", "steps"} <= set(self.axes):
            raise InputError("Sweep nfe or steps, not both: one decides the other.")
        if self.base.noise is not None:
            raise InputError("A sweep draws its noise from seeds: take a recipe without a noise file.")
        if math.prod(self.shape) > MAX_CELLS:
            raise InputError(f"That is {math.prod(self.shape)} cells; a sweep has at most {MAX_CELLS}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, blocks)."""
        columns, rows, blocks = [len(values) for values in self.axes.values()] + [1] * (MAX_AXES - len(self.axes))
        return columns, rows, blocks

    def cells(self) -> list[Cell]:
        """In the order in which they run: block by block, row by row."""
        columns, rows, blocks = self.shape
        return [self._cell((x, y, z)) for z, y, x in product(range(blocks), range(rows), range(columns))]

    def _cell(self, place: tuple[int, int, int]) -> Cell:
        values = {name: choices[i] for (name, choices), i in zip(self.axes.items(), place, strict=False)}
        spec = replace(self.base, seeds=self.base.seeds[:1], labels=self.base.labels[:1])
        if spec.nfe is not None and not spec.edits:
            spec = replace(spec, steps=None)  # of a recipe that has both, hold the NFE: samplers make other steps of it
        for name, value in values.items():
            spec = replace(spec, **_changes(name, value))
        known = SAMPLERS[spec.sampler].knobs if spec.sampler in SAMPLERS else ()
        settings = {k: v for k, v in spec.settings.items() if k in known}
        settings |= {k: v for k, v in values.items() if k not in SPEC_AXES}
        return Cell(place, values, replace(spec, settings=settings))

    def cost(self, load: Load) -> Cost:
        """What the sweep will take."""
        images = nfe = forwards = failing = 0
        for cell in self.cells():
            try:
                spec = resolve(cell.spec, load(cell.spec.checkpoint))
            except InputError:
                failing += 1
                continue
            images, nfe = images + 1, nfe + spec.nfe
            forwards += spec.nfe * (1 if spec.cfg_scale == 1 else 2)
        return Cost(images, nfe, forwards, failing)

    def run(self, load: Load, stop: Callable[[], bool] = lambda: False) -> Iterator[Done]:
        """The cells, drawn one by one as they are asked for. `stop` is asked between two forward passes: once it says
        True the sweep ends, and the cell at work is not part of it. A cell that fails is one sentence, not the end."""
        for cell in self.cells():
            begin = time.perf_counter()
            try:
                bundle = load(cell.spec.checkpoint)
                job = Run(bundle, cell.spec)
                for step in job:
                    last = step
                    if step.phase != "final" and stop():
                        return
            except InputError as e:
                yield Done(cell, None, str(e))
                continue
            picture = Image.fromarray(to_uint8(bundle.codec.decode(last.x))[0].cpu().numpy())
            yield Done(cell, picture, None, job.spec.nfe, job.forwards, time.perf_counter() - begin)

    def to_dict(self) -> dict[str, Any]:
        return {"base": self.base.to_dict(), "axes": {name: list(values) for name, values in self.axes.items()}}

    @classmethod
    def from_dict(cls, d: Any) -> "Sweep":
        """Raises InputError if that is no sweep."""
        if not isinstance(d, dict) or set(d) != {"base", "axes"} or not isinstance(d["axes"], dict):
            raise InputError("This is not a sweep: it lacks a base recipe or axes.")
        return cls(SampleSpec.from_dict(d["base"]), d["axes"])


# sheets

_INK, _FAINT, _PAPER, _BLANK = (30, 30, 30), (110, 110, 110), (255, 255, 255), (236, 236, 236)
_TILE, _SMALLEST, _GAP, _LINE = 128, 96, 6, 18
_FONT = ImageFont.load_default(12)


def sheet(sweep: Sweep, done: Iterable[Done]) -> Image.Image:
    """One labelled picture: columns and rows with headings, blocks side by side. Cells that were not drawn stay blank,
    a failed one holds its sentence. Images are scaled by whole numbers, to about 128 pixels."""
    found = {d.cell.place: d for d in done}
    longest = max((side for d in found.values() if d.image for side in d.image.size), default=_TILE)
    zoom = max(1, _TILE // longest)
    tile, (columns, rows, blocks) = max(longest * zoom, _SMALLEST), sweep.shape
    left = 2 * _GAP + int(max(_FONT.getlength(_heading(sweep, 1, y)) for y in range(rows)))
    top, width = 3 * _LINE, left + columns * (tile + _GAP)
    page = Image.new("RGB", (blocks * width + _GAP, top + rows * (tile + _GAP)), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_GAP, 2), _title(sweep), _FAINT, _FONT)
    for z, y, x in product(range(blocks), range(rows), range(columns)):
        across, down = z * width + left + x * (tile + _GAP), top + y * (tile + _GAP)
        if x == y == 0:
            draw.text((across, _LINE), _heading(sweep, 2, z), _INK, _FONT)
        if y == 0:
            draw.text((across, 2 * _LINE), _fit(_heading(sweep, 0, x), tile), _INK, _FONT)
        if x == 0:
            draw.text((z * width + _GAP, down + tile // 2 - 7), _heading(sweep, 1, y), _INK, _FONT)
        page.paste(_tile(found.get((x, y, z)), tile, zoom), (across, down))
    return page


def save_sheet(path: str | Path, sweep: Sweep, done: Iterable[Done]) -> None:
    """The sheet as a PNG with the sweep inside, for `read_sweep`. Raises InputError if it cannot be written."""
    info = PngImagePlugin.PngInfo()
    info.add_text("sweep", json.dumps(sweep.to_dict()))
    with files.replacing(path) as temporary:
        sheet(sweep, done).save(temporary, "PNG", pnginfo=info)


def read_sweep(path: str | Path) -> Sweep:
    """The sweep inside a sheet. Raises InputError if there is none."""
    try:
        with Image.open(path) as picture:
            return Sweep.from_dict(json.loads(picture.info["sweep"]))
    except (KeyError, ValueError, UnidentifiedImageError, OSError):
        raise InputError(f"{path} holds no sweep: give a sheet that a sweep ended in.") from None


def _heading(sweep: Sweep, axis: int, i: int) -> str:
    """What stands over a column (axis 0), beside a row (1) or over a block (2)."""
    if axis >= len(sweep.axes):
        return ""
    name, values = list(sweep.axes.items())[axis]
    return f"{name} {values[i]:g}" if isinstance(values[i], float) else f"{name} {values[i]}"


def _fit(text: str, width: int) -> str:
    """The text, its middle left out if it is wider than `width` pixels."""
    keep = len(text)
    while keep > 2 and _FONT.getlength(text) > width:
        keep -= 1
        text = text[: keep // 2] + "..." + text[-(keep // 2) :]
    return text


def _title(sweep: Sweep) -> str:
    """What does not vary."""
    base = sweep.base
    fixed = {"checkpoint": base.checkpoint, "sampler": base.sampler, "nfe": base.nfe, "steps": base.steps}
    fixed |= {"label": (base.labels or [None])[0], "seed": (base.seeds or [None])[0], "cfg_scale": base.cfg_scale}
    if base.nfe is not None or "nfe" in sweep.axes:
        fixed.pop("steps")
    if "steps" in sweep.axes:
        fixed.pop("nfe")
    return ", ".join(f"{k} {v}" for k, v in fixed.items() if k not in sweep.axes and v is not None)


def _tile(done: Done | None, side: int, zoom: int) -> Image.Image:
    """A cell as a square: its image, its error in words, or nothing."""
    tile = Image.new("RGB", (side, side), _BLANK)
    if done is not None and done.image is not None:
        size = (done.image.width * zoom, done.image.height * zoom)
        tile.paste(done.image.resize(size, Image.Resampling.NEAREST), (0, 0))
    elif done is not None:
        letters = max(8, int((side - 2 * _GAP) / _FONT.getlength("n")))
        words = textwrap.wrap(done.error, letters, max_lines=max(1, (side - _GAP) // 15), placeholder=" ...")
        ImageDraw.Draw(tile).text((_GAP, _GAP), "\n".join(words), _INK, _FONT)
    return tile
