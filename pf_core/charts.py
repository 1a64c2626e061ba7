"""What a figure shows, as data: panels with curves, bars, densities and maps. `figures` draws them, for files with
matplotlib and for the page with Plotly; what is measured makes them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

MOST_BANDS, MOST_ARMS = 2, 12  # bands in a panel that are still told apart; places of each at which bars are
WIDE = 0.8  # of a name's place: what its bars take together
_ASIDE, _FILLED = 0.02, 0.6  # of a panel's width: between the bars of two series; of the way to the next place: of all
_AIR = 0.05  # of an axis, at its ends


def written(text: str) -> str:
    """A number's text for people, with the true minus sign."""
    return text.replace("-", "\u2212")


@dataclass(frozen=True)
class Series:
    """Values y over x, numbers or names, with the ends of their 95% intervals where there are any.

    kind: "line" (a band for the intervals), "points" (bars for them), "bars" or "area" (down to zero, a density).
    name: in the legend; series of one name have one colour in all panels of a chart. dashed: of lines. aside: of a line
    with bars in place of its band, how far to the right it is drawn, as a share of the panel's width.
    """

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    kind: Literal["line", "points", "bars", "area"] = "line"
    dashed: bool = False
    aside: float | None = None

    @classmethod
    def measured(cls, name: str, x: Sequence, values: Sequence[Mapping[str, Any]], factor: float = 1, **options):
        """Of measured numbers {"value", "interval"}, times `factor`."""
        return cls(
            name,
            list(x),
            [factor * v["value"] for v in values],
            [factor * v["interval"][0] for v in values],
            [factor * v["interval"][1] for v in values],
            **options,
        )


@dataclass(frozen=True)
class Map:
    """values (rows, columns), the first row at the bottom, over the rectangle x = (low, high), y = (low, high).

    label: of the colour bar. ends: of the colour scale; None: the values'. log: counts, coloured by their logarithm.
    time: flow times, in the colours that t has everywhere. hexagonal: the cells are hexagons, an odd number of rows of
    them, whose centres reach from edge to edge; every second row has one less and lies half a cell further in.
    above, beside: densities of what is along x and along y, in even bins, drawn at the upper and at the right side.
    """

    values: Sequence[Sequence[float]]
    x: tuple[float, float]
    y: tuple[float, float]
    label: str
    ends: tuple[float, float] | None = None
    log: bool = False
    time: bool = False
    hexagonal: bool = False
    above: Sequence[float] = ()
    beside: Sequence[float] = ()

    def alike(self, other: "Map | None") -> bool:
        """Whether one colour bar is enough for both."""
        told = other and (other.ends, other.label, other.log, other.time)
        return bool(self.ends) and told == (self.ends, self.label, self.log, self.time)


@dataclass(frozen=True)
class Panel:
    """One pair of axes. zero: a line at y = 0. diagonal: the name of one at y = x. marks: {label: x} of vertical lines.
    log_x, log_y: logarithmic axes. picture: a data URI of images, shown instead of axes. aligned: of points that stand
    beside each other, whose places along x are no numbers. spare: left out where one panel fills a row, as on a phone.
    lying: bars that lie, for many or long names; the first is at the top, and x says what their lengths are.
    ends: of the axis of the values, None: what they need; a bar that goes beyond is cut there, and its number written.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series] = ()
    map: Map | None = None
    zero: bool = False
    diagonal: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False
    picture: str = ""
    aligned: bool = False
    spare: bool = False
    lying: bool = False
    ends: tuple[float, float] | None = None

    @property
    def places(self) -> list:
        """The names at which the panel's bars are."""
        return list(dict.fromkeys(x for series in self.series if series.kind == "bars" for x in series.x))


@dataclass(frozen=True)
class Chart:
    """Rows of panels under one title; note: what a reader must know, one or two sentences below."""

    title: str
    rows: Sequence[Sequence[Panel]]
    note: str = ""

    def __post_init__(self):
        object.__setattr__(self, "rows", [_apart([_side_by_side(panel) for panel in row]) for row in self.rows])

    @property
    def names(self) -> list[str]:
        """The names of all series, each once, in the order of their colours."""
        series = (s.name for row in self.rows for panel in row for s in panel.series)
        return list(dict.fromkeys(series))

    @property
    def guides(self) -> list[str]:
        """The names of all diagonals, each once: they stand in the legend behind the series."""
        return list(dict.fromkeys(panel.diagonal for row in self.rows for panel in row if panel.diagonal))

    def narrowed(self, most: int) -> "Chart":
        """The same with at most so many panels in a row: longer rows are broken into even ones."""
        rows = []
        for row in self.rows:
            row = [panel for panel in row if most > 1 or not panel.spare]
            parts = math.ceil(len(row) / max(most, 1))
            each = math.ceil(len(row) / max(parts, 1))
            rows += [row[k : k + each] for k in range(0, len(row), each)] if row else []
        return replace(self, rows=rows)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _side_by_side(panel: Panel) -> Panel:
    """Lines that all stand at one x would be nothing to see: they become points, side by side in their order."""
    places = {x for series in panel.series for x in series.x}
    if len(places) != 1 or panel.marks or any(series.kind != "line" for series in panel.series):
        return panel
    points = [replace(series, x=[k], kind="points") for k, series in enumerate(panel.series, start=1)]
    return replace(panel, x=f"{panel.x} {places.pop():g}", series=points, log_x=False, aligned=True)


def _apart(row: Sequence[Panel]) -> list[Panel]:
    """Many bands over the same places would hide one another: the lines get bars, each a little beside the last; so do
    those of the panels beside, to be read alike."""
    many = any(len(_banded(panel)) > MOST_BANDS for panel in row)
    return [_in_bars(panel) if many and _banded(panel) else panel for panel in row]


def _banded(panel: Panel) -> list[Series]:
    """The lines with intervals, if bars in place of their bands can be told apart."""
    banded = [s for s in panel.series if s.kind == "line" and s.low is not None]
    places = {tuple(s.x) for s in banded}
    if len(places) != 1 or isinstance(next(iter(*places), ""), str):
        return []
    return banded if len(set(*places)) > 1 and len(*places) <= MOST_ARMS else []


def _in_bars(panel: Panel) -> Panel:
    banded = _banded(panel)
    places = {tuple(s.x) for s in banded}
    each = min(_ASIDE, _FILLED * _nearest(panel, *places) / len(banded))
    aside = {s.name: (k - (len(banded) - 1) / 2) * each for k, s in enumerate(banded)}
    return replace(panel, series=[replace(s, aside=aside[s.name]) if s in banded else s for s in panel.series])


def _nearest(panel: Panel, places: Sequence[float]) -> float:
    """How far the two nearest of some places are from each other, as a share of the way from first to last."""
    at = sorted(math.log(x) if panel.log_x else x for x in set(places))
    return min(b - a for a, b in zip(at, at[1:], strict=False)) / (at[-1] - at[0])


def drawn_at(panel: Panel, series: Series) -> list[float]:
    """Where a series is drawn along x: where it stands, or aside of that."""
    if not series.aside:
        return list(series.x)
    places = [x for each in panel.series for x in each.x]
    low, high = min(places), max(places)
    if panel.log_x:
        return [x * (high / low) ** series.aside for x in series.x]
    return [x + (high - low) * series.aside for x in series.x]


def diagonal_of(panel: Panel) -> list[float]:
    """The ends of the line at y = x: as far as the panel's x go and, above, its y."""
    x, y = [v for s in panel.series for v in s.x] or [0, 1], [v for s in panel.series for v in s.y] or [0, 1]
    low, high = min(x), min(max(x), max(y))
    return [low, high if low < high else max(x)]


class Cut(NamedTuple):
    """Of a bar that goes beyond the axis: where along the names it stands, counted from 0; its number with an arrow
    outwards, and with the interval's ends, too, where there is one; the axis's end, and whether that is the upper."""

    place: float
    number: str
    text: str
    end: float
    upper: bool


def cuts(panel: Panel) -> list[Cut]:
    """The bars that the panel's ends cut."""
    found, names = [], panel.places
    for k, series in enumerate(panel.series):
        for i, (name, y) in enumerate(zip(series.x, series.y, strict=True)):
            if series.kind != "bars" or not panel.ends or panel.ends[0] <= y <= panel.ends[1]:
                continue
            place, upper = names.index(name) + (k - (len(panel.series) - 1) / 2) * WIDE / len(panel.series), y > 0
            around = f" ({series.low[i]:.3g} to {series.high[i]:.3g})" if series.low is not None else ""
            number, text = (
                written(f"{told} \u25b8" if upper else f"\u25c2 {told}") for told in (f"{y:.3g}", f"{y:.3g}{around}")
            )
            found.append(Cut(place, number, text, panel.ends[upper], upper))
    return found


def cut_far(panel: Panel, names: Collection[str], times: float = 3) -> Panel:
    """A panel of bars whose axis ends where the others do, if some are far out: beyond `times` the reach of those
    called `names`, which would be hard to see beside them."""
    bars = [(x, *v) for s in panel.series for x, *v in zip(s.x, s.y, s.low or s.y, s.high or s.y, strict=True)]
    reach = times * max((abs(v) for name, *values in bars if name in names for v in values), default=0)
    kept = [v for _, y, *ends in bars if abs(y) <= reach for v in (y, *ends)]
    if not kept or all(abs(y) <= reach for _, y, *_ in bars):
        return panel
    return replace(panel, ends=_airy(min(0, *kept), max(0, *kept)))


def on_one_scale(panels: Sequence[Panel]) -> list[Panel]:
    """Panels of the same quantity, to be compared by eye: with one axis of values."""
    values = [v for panel in panels for s in panel.series for v in (*s.y, *(s.low or ()), *(s.high or ()))]
    log = any(panel.log_y for panel in panels)
    if not values or (log and min(values) <= 0):
        return list(panels)
    zero = [0.0] * any(panel.zero for panel in panels)
    return [replace(panel, ends=_airy(min(values + zero), max(values + zero), log)) for panel in panels]


def _airy(low: float, high: float, log: bool = False) -> tuple[float, float]:
    if log:
        air = (high / low) ** _AIR
        return low / air, high * air
    air = _AIR * (high - low)
    return low - air, high + air


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, for a logarithmic axis: denser where it is short, at last evenly spaced."""
    halves = 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9
    by_span = {3: halves, 10: (1, 1.5, 2, 3, 4, 5, 6, 8), 1000: (1, 2, 5), math.inf: (1,)}
    digits = next(chosen for span, chosen in by_span.items() if high < span * low)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [tick for power in powers for digit in digits if low <= (tick := digit * 10.0**power) <= high]
    return found if len(found) > 2 or low >= high else _even_ticks(low, high)


def _even_ticks(low: float, high: float) -> list[float]:
    """Three to ten multiples of 1, 2 or 5 times a power of ten between two."""
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(power / part for part in (1, 2, 5) if (high - low) * part / power >= 3)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
