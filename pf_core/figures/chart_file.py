"""A chart for a file, with matplotlib: data in, figure out."""

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from pf_core.charts import WIDE, Chart, Map, Panel, Series, cuts, diagonal_of, drawn_at, log_ticks
from pf_core.figures.inks import FAINT, Ink, inks
from pf_core.figures.maps import GAP, SIDE, cells, norm, steps
from pf_core.figures.static import TIME_MAP, UNCERTAINTY_MAP

_LINES = ("-", ":", "-."), ("--", (0, (8, 2)), (0, (8, 2, 1, 2)))  # of plain and of dashed series, round by round
_STYLE = {"font.size": 10, "font.family": "DejaVu Sans", "svg.fonttype": "path", "pdf.fonttype": 42, "svg.hashsalt": ""}
_STYLE["figure.constrained_layout.w_pad"] = 0.09  # inches: around each panel
_STYLE["axes.labelpad"] = 7  # the letters of a turned label hang towards the numbers
_FAINT = {"color": FAINT, "linewidth": 0.8, "zorder": 0}
_WIDTH, _HEIGHT, _TITLE, _LINE = 4.2, 3.4, 0.4, 0.22  # inches: a panel; the title; a line of legend or note
_KEYS, _LETTERS = 4, 13  # of the legend: at most so many keys in a line; letters an inch, of which a key's line takes 6
_NOTE = 14  # letters an inch, of the note
_OPAQUE = 0.85  # bars
_LETTER, _SIDE, _LYING = 0.085, 0.8, 0.27  # inches: of a name of bars; of a panel what no bars are in; of a bar's line


def draw(chart: Chart) -> Figure:
    """The chart as a figure: one legend for all panels, 95% intervals as bands or bars."""
    columns = max(len(row) for row in chart.rows)
    with matplotlib.rc_context(_STYLE):
        width = _WIDTH * max(columns, 1.5)
        note = textwrap.wrap(chart.note, int(width * _NOTE))
        named = [*chart.names, *chart.guides]
        keys = _keys(named, width)
        below = _LINE * (len(note) + math.ceil(len(named) / keys) * (len(named) > 1) + 1)
        heights = [max(map(_height, row)) for row in chart.rows] + [below]
        size = (width, sum(heights) + _TITLE)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(chart.title, fontweight="bold")
        inked = inks(chart.names)
        *rows, foot = figure.subfigures(len(heights), 1, height_ratios=heights)
        for row, panels in zip(rows, chart.rows, strict=True):
            places = row.subplots(1, len(panels), squeeze=False)[0]
            for axes, panel in zip(places, panels, strict=True):
                _panel(axes, panel, inked, (width / len(panels) - _SIDE) / _LETTER)
            _colour_bars(places, panels)
        _foot(foot, chart, inked, keys, "\n".join(note))
    return figure


def _height(panel: Panel) -> float:
    return max(_HEIGHT, _LYING * (len(panel.places) + 3)) if panel.lying else _HEIGHT


def _keys(names: Sequence[str], width: float) -> int:
    """How many of the legend's keys fit a line of so many inches."""
    longest = max(map(len, names), default=0)
    return max(1, min(_KEYS, len(names), int(width * _LETTERS / (longest + 6))))


def _foot(figure: SubFigure, chart: Chart, inked: Mapping[str, Ink], keys: int, note: str) -> None:
    """The legend, and the note below it."""
    figure.text(0.5, 0.02, note, fontsize=9, color="#444444", ha="center", va="bottom")
    if len(inked) + len(chart.guides) > 1:
        lines = [_key(name, ink, chart) for name, ink in inked.items()]
        lines += [Line2D([], [], label=name, linestyle=":", color=FAINT) for name in chart.guides]
        figure.legend(handles=lines, loc="upper center", ncols=keys, fontsize=9, frameon=False)


def _key(name: str, ink: Ink, chart: Chart) -> Line2D | Patch:
    """A patch for what is shown in bars only, else a line."""
    series = [s for row in chart.rows for panel in row for s in panel.series if s.name == name]
    if all(s.kind == "bars" for s in series):
        return Patch(color=ink.colour, label=name, alpha=_OPAQUE, linewidth=0)
    dash = _dash(ink, any(s.dashed for s in series))
    return Line2D([], [], color=ink.colour, label=name, linestyle=dash, linewidth=2)


def _panel(axes: Axes, panel: Panel, inked: Mapping[str, Ink], room: float) -> None:
    """room: letters that fit side by side below the panel."""
    if panel.map:
        _map(axes, panel.map)
    if panel.picture:
        axes.imshow(Image.open(io.BytesIO(base64.b64decode(panel.picture.partition(",")[2]))))
        axes.set_axis_off()
    for place, series in enumerate(panel.series):
        if series.aside is not None:
            _barred(axes, series, inked[series.name], drawn_at(panel, series))
            continue
        _SERIES[series.kind](axes, series, inked[series.name], place, panel)
    if panel.places:
        _names(axes, panel, room)
    if panel.zero:
        (axes.axvline if panel.lying else axes.axhline)(0, **_FAINT)
    if panel.diagonal:
        axes.plot(diagonal_of(panel), diagonal_of(panel), linestyle=":", **_FAINT)
    for label, x in panel.marks.items():
        axes.axvline(x, linestyle="--", **_FAINT)
        axes.text(x, 1, f" {label}", transform=axes.get_xaxis_transform(), fontsize=8, va="top", color="#555555")
    if panel.map and not panel.x + panel.y:  # a map of an image's patches: their places are no numbers
        axes.set(xticks=[], yticks=[])
    if panel.aligned:
        axes.set(xticks=[])
        axes.margins(x=0.3)
    axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    axes.title.set_fontsize(10)
    axes.set_xscale("log", base=2) if panel.log_x else None
    axes.set_yscale("log") if panel.log_y else None
    if panel.log_x and panel.series:
        ticks = sorted({x for s in panel.series for x in s.x})
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks], minor=False)
    if panel.ends:
        (axes.set_xlim if panel.lying else axes.set_ylim)(panel.ends)
        _cut(axes, panel)
    if panel.log_y:
        ticks = log_ticks(*axes.get_ylim())
        axes.set_yticks(ticks, [f"{y:g}" for y in ticks])
        axes.set_yticks([], minor=True)
    axes.spines[["top", "right"]].set_visible(False)


def _cut(axes: Axes, panel: Panel) -> None:
    """The numbers of the bars that are cut, at their ends."""
    look = {"fontsize": 8, "zorder": 4, "textcoords": "offset points"}
    look |= {"bbox": {"facecolor": "white", "linewidth": 0, "pad": 1}}
    for cut in cuts(panel):
        inwards = -1 if cut.upper else 1
        if panel.lying:
            at = {"xytext": (inwards, 0), "ha": "right" if cut.upper else "left", "va": "center"}
            axes.annotate(cut.text, (cut.end, cut.place), **at, **look)
        else:
            at = {"xytext": (0, inwards), "ha": "center", "va": "top" if cut.upper else "bottom"}
            axes.annotate(cut.text, (cut.place, cut.end), **at, **look)


def _map(axes: Axes, shown: Map) -> None:
    look = {"cmap": TIME_MAP if shown.time else UNCERTAINTY_MAP, "norm": norm(shown)}
    if shown.hexagonal:
        centres, values, corners = cells(shown)
        axes.add_collection(
            PolyCollection(centres[:, None] + corners, array=values, edgecolors="face", linewidths=0.2, **look)
        )
        axes.set(xlim=shown.x, ylim=shown.y)
    else:
        axes.imshow(
            shown.values, origin="lower", extent=(*shown.x, *shown.y), aspect="auto", interpolation="nearest", **look
        )
    if shown.above:
        _density(axes.inset_axes([0, 1 + GAP, 1, SIDE], sharex=axes), *steps(shown.above, shown.x))
    if shown.beside:
        at, high = steps(shown.beside, shown.y)
        _density(axes.inset_axes([1 + GAP, 0, SIDE, 1], sharey=axes), high, at)


def _density(axes: Axes, x: list[float], y: list[float]) -> None:
    """The steps of a density at a map's side."""
    axes.fill(x, y, color="#888888", alpha=0.6, linewidth=0)
    axes.set_axis_off()


def _colour_bars(places: Sequence[Axes], panels: Sequence[Panel]) -> None:
    """Of a row's maps, one for those beside each other that are on one scale."""
    first = 0
    for k, panel in enumerate(panels):
        if not panel.map or (k + 1 < len(panels) and panel.map.alike(panels[k + 1].map)):
            first = first if panel.map else k + 1
            continue
        drawn = [*places[k].images, *places[k].collections][0]
        places[k].figure.colorbar(
            ScalarMappable(drawn.norm, drawn.cmap), ax=places[first : k + 1], label=panel.map.label
        )
        first = k + 1


def _line(axes: Axes, series: Series, ink: Ink, *_) -> None:
    axes.plot(series.x, series.y, color=ink.colour, linestyle=_dash(ink, series.dashed), linewidth=1.6)
    if series.low is not None:
        axes.fill_between(series.x, series.low, series.high, color=ink.colour, alpha=0.15, linewidth=0)


def _barred(axes: Axes, series: Series, ink: Ink, x: list[float]) -> None:
    axes.plot(x, series.y, color=ink.colour, linestyle=_dash(ink, series.dashed), linewidth=1, alpha=0.6)
    style = {"linestyle": "", "marker": "o", "markersize": 4, "elinewidth": 1.2}
    axes.errorbar(x, series.y, _arms(series), color=ink.colour, capsize=2, **style)


def _points(axes: Axes, series: Series, ink: Ink, *_) -> None:
    axes.errorbar(
        series.x, series.y, _arms(series), color=ink.colour, marker="o", linestyle="", markersize=5, capsize=3
    )


def _bars(axes: Axes, series: Series, ink: Ink, place: int, panel: Panel) -> None:
    """A series may lack some of the places at which the panel's others have bars."""
    wide = WIDE / len(panel.series)
    x = [panel.places.index(name) + (place - (len(panel.series) - 1) / 2) * wide for name in series.x]
    draw, ends = (axes.barh, (series.y, x)) if panel.lying else (axes.bar, (x, series.y))
    draw(x, series.y, wide * 0.9, color=ink.colour, alpha=_OPAQUE)
    if series.low is not None:
        arms = {"xerr" if panel.lying else "yerr": _arms(series)}
        axes.errorbar(*ends, **arms, color="#222222", linestyle="", capsize=2, linewidth=1)


def _names(axes: Axes, panel: Panel, room: float) -> None:
    """Beside bars that lie. Below others, broken into lines; where a word of theirs has no room, all are slanted."""
    names = panel.places
    if panel.lying:
        axes.set_yticks(range(len(names)), map(str, names), fontsize=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
        return
    texts, most = [str(name) for name in names], int(room / len(names))
    if max(len(word) for text in texts for word in text.split() or [""]) > most:
        axes.set_xticks(range(len(names)), texts, rotation=20, ha="right", rotation_mode="anchor")
        return
    broken = ["\n".join(textwrap.wrap(text, most, break_on_hyphens=False)) for text in texts]
    axes.set_xticks(range(len(names)), broken)


def _area(axes: Axes, series: Series, ink: Ink, *_) -> None:
    axes.fill_between(series.x, 0, series.y, color=ink.colour, alpha=0.3, linewidth=0)
    axes.plot(series.x, series.y, color=ink.colour, linestyle=_dash(ink, series.dashed), linewidth=1.2)


def _dash(ink: Ink, dashed: bool) -> str | tuple:
    return _LINES[dashed][ink.round % len(_LINES[dashed])]


def _arms(series: Series) -> list[list[float]] | None:
    if series.low is None:
        return None
    below = [max(y - low, 0) for y, low in zip(series.y, series.low, strict=True)]
    return [below, [max(high - y, 0) for y, high in zip(series.y, series.high, strict=True)]]


_SERIES = {"line": _line, "points": _points, "bars": _bars, "area": _area}
