"""Sweeps over up to three settings: what they cost, cell by cell, and what is done if they are stopped."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

from PIL import Image

from pf_core import bounded
from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import to_uint8
from pf_core.samplers import SAMPLERS, TRIALS, entry_of
from pf_core.sampling.run import Run, SampleSpec, passes, resolve
from pf_core.sampling.sweep_axes import MAX_CELLS, SPEC_AXES, axes_known
from pf_core.sampling.trajectory import Clock

Load = Callable[[str], Bundle]  # a checkpoint's name -> its Bundle: checkpoint.load, or a cache of it
MAX_AXES = 3


def _changes(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """What an axis changes in a recipe, of all axes' values; nothing for a sampler's knob, which goes into its
    settings."""
    value = values[name]
    if name in ("nfe", "steps"):
        return {"nfe": None, "steps": None, "ts": None, name: value}
    if name in ("seed", "label"):
        return {name + "s": [value]}
    if name == "prompt":  # stands where a label does: see SampleSpec
        return {"labels": [value]}
    if name == "checkpoint":
        return {"checkpoint": str(value), "checkpoint_hash": None}
    if name == "sampler":
        return {"sampler": str(value)}
    if name in ("difficulty", "probes"):  # which are swept together too
        return {"difficulty": values.get("difficulty", "divergence"), "probes": values.get("probes")}
    return {name: value} if name in SPEC_AXES else {}


class Cell(NamedTuple):
    """One picture of a sweep. place: (column, row, block); values: what the axes are here."""

    place: tuple[int, int, int]
    values: dict[str, Any]
    spec: SampleSpec


class Cost(NamedTuple):
    """Of a whole sweep, before it runs. nfe: network evaluations, all images together; forwards: a CFG pair is two;
    most: NFE of the dearest cell; seconds: expected, None if nothing was measured."""

    images: int
    nfe: int
    forwards: int
    failing: int  # cells that are wrong from the start, and cost nothing
    most: int = 0
    seconds: float | None = None
    reason: str = ""  # why the first of those cannot run

    def __str__(self) -> str:
        takes = "" if self.seconds is None else f", about {in_words(self.seconds)}"
        failing = f"; {self.failing} cannot run: {self.reason}" if self.failing else ""
        return (
            f"{self.images} image{'s' * (self.images != 1)}, {self.nfe} NFE, {self.forwards} forwards{takes}{failing}"
        )


def in_words(seconds: float) -> str:
    """'0.4 s', '12 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def pace(bundle: Bundle, repeats: int = 3) -> float:
    """Seconds that one forward pass of one image takes here and now: the median of a few, after a first one."""
    spec = SampleSpec(bundle.name, next(iter(SAMPLERS)), steps=repeats + 1)
    clock = [time.perf_counter()]
    for _ in Run(bundle, spec):
        clock.append(time.perf_counter())
    return statistics.median(b - a for a, b in zip(clock[1:-1], clock[2:], strict=True))


class Done(NamedTuple):
    """A cell that ran, its recipe complete (see `resolve`), or an error sentence why not. forwards, token_forwards (see
    Run), seconds: what it took."""

    cell: Cell
    image: Image.Image | None
    error: str | None = None
    nfe: int = 0
    forwards: int = 0
    seconds: float = 0.0
    token_forwards: float | None = None


@dataclass(frozen=True)
class Sweep:
    """A recipe with up to three settings varied: the first axis makes columns, the second rows, the third blocks.

    axes: {name: values}, names from `axes_known`. A cell is one image, of the base's first seed and label. The base's
    own sampler settings hold where a cell's sampler has them; a swept setting that its sampler lacks is that cell's
    error. Raises InputError for unknown axes, empty ones, more than MAX_AXES or more than MAX_CELLS cells.
    """

    base: SampleSpec
    axes: dict[str, Any] = field(default_factory=dict)  # lists of values

    def __post_init__(self):
        if len(self.axes) > MAX_AXES:
            raise InputError(f"A sweep has at most {MAX_AXES} axes, not {len(self.axes)}.")
        for name, values in self.axes.items():
            if name not in axes_known():
                raise InputError(f"{name!r} cannot be swept. Known: {', '.join(axes_known())}.")
            if not isinstance(values, list | tuple) or not values:
                raise InputError(f"Give a list of values for {name}.")
        if {"label", "prompt"} <= set(self.axes):
            raise InputError("Sweep labels or prompts, not both: a network takes one of them.")
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
        for name in values:
            spec = replace(spec, **_changes(name, values))
        known = entry_of(spec.sampler).knobs if spec.sampler in {*SAMPLERS, *TRIALS} else ()
        settings = {k: v for k, v in spec.settings.items() if k in known}
        settings |= {k: v for k, v in values.items() if k not in SPEC_AXES}
        return Cell(place, values, replace(spec, settings=settings))

    def cost(self, load: Load, pace_of: Callable[[str], float] | None = None) -> Cost:
        """What the sweep will take. pace_of: checkpoint -> seconds of a forward pass, see `pace`."""
        images = nfe = forwards = failing = most = 0
        seconds, reason = 0.0, ""
        for cell in self.cells():
            try:
                bundle = load(cell.spec.checkpoint)
                spec = resolve(cell.spec, bundle)
            except InputError as e:
                failing, reason = failing + 1, reason or str(e)
                continue
            made = spec.nfe + (passes(spec, bundle.grid.n) if spec.cfg_scale != 1 else 0)
            images, nfe, forwards, most = images + 1, nfe + spec.nfe, forwards + made, max(most, spec.nfe)
            seconds += made * pace_of(cell.spec.checkpoint) if pace_of else 0
        return Cost(images, nfe, forwards, failing, most, seconds if pace_of else None, reason)

    def notes(self, load: Load) -> list[str]:
        """Sentences on what of its prompts their networks do not take in, each once."""
        sentences: dict[str, None] = {}
        for cell in self.cells():
            with suppress(InputError):  # which running the cell tells
                conditioner = load(cell.spec.checkpoint).conditioner
                sentences |= dict.fromkeys(note for asked in cell.spec.labels for note in conditioner.notes(asked))
        return list(sentences)

    def run(self, load: Load, stop: Callable[[], bool] = lambda: False) -> Iterator[Done]:
        """The cells, drawn one by one as they are asked for. `stop` is asked between two forward passes: once it says
        True the sweep ends, and the cell at work is not part of it. A cell that fails is one sentence, not the end."""
        return (done for done in self.steps(load, stop) if done is not None)

    def steps(self, load: Load, stop: Callable[[], bool] = lambda: False) -> Iterator[Done | None]:
        """As `run`, but None after every forward pass too: what else is to be done can go in between."""
        for cell in self.cells():
            clock = Clock()
            try:
                bundle = load(cell.spec.checkpoint)
                job = Run(bundle, cell.spec)
                for step in clock.timed(job):
                    last = step
                    if step.phase != "final":
                        if stop():
                            return
                        yield None
                picture = Image.fromarray(to_uint8(bundle.codec.decode(last.x))[0].cpu().numpy())
            except InputError as e:
                yield Done(cell, None, str(e))
                continue
            ran = cell._replace(spec=job.spec)
            yield Done(ran, picture, None, job.spec.nfe, job.forwards, clock.seconds, job.token_forwards)

    def to_dict(self) -> dict[str, Any]:
        return {"base": self.base.to_dict(), "axes": {name: list(values) for name, values in self.axes.items()}}

    @classmethod
    def from_dict(cls, d: Any) -> "Sweep":
        """Raises InputError if that is no sweep."""
        return bounded.build(cls, d, "This is not a sweep: it", "This is not a sweep: its", ("axes",))
