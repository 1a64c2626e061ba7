"""What a figure shows, as data: panels with curves, bars, densities and maps. `figures` draws them, for files with
matplotlib and for the page with Plotly; what is measured makes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

MOST_BANDS, MOST_ARMS = 3, 12  # bands in a panel that are still told apart; places of each at which bars are
_ASIDE = 0.014  # of a panel's width: between the bars of two series


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
        object.__setattr__(self, "rows", [[_apart(_side_by_side(panel)) for panel in row] for row in self.rows])

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


def _apart(panel: Panel) -> Panel:
    """Many bands over the same places would hide one another: the lines get bars, each a little beside the last."""
    banded = [s for s in panel.series if s.kind == "line" and s.low is not None]
    places = {tuple(s.x) for s in banded}
    if len(banded) <= MOST_BANDS or len(places) > 1 or len(*places) > MOST_ARMS:
        return panel
    aside = {s.name: (k - (len(banded) - 1) / 2) * _ASIDE for k, s in enumerate(banded)}
    return replace(panel, series=[replace(s, aside=aside[s.name]) if s in banded else s for s in panel.series])


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
