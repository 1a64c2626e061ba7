"""A chart for the page, as Plotly's {"data", "layout"}: data in, figure out."""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from matplotlib.colors import LinearSegmentedColormap

from pf_core.charts import Chart, Map, Panel, Series, cuts, diagonal_of, drawn_at, log_ticks
from pf_core.figures.inks import FAINT, INK, ON_DARK, Ink, inks
from pf_core.figures.interactive import MAP, Figure
from pf_core.figures.maps import GAP, SIDE, cells, hexagons, steps

_GAP_X, _BETWEEN, _HEIGHT = 0.075, 104, 220  # share of the width; pixels between rows (at least), of a row
_AROUND = 80  # pixels below all rows: an axis with its title, and a line of the legend
_LEGEND = 640, 50, 7, 20  # pixels: of a line, of a name's sign, of each of its letters, between two lines
_LETTERS, _MOST = 88, 44  # of a title across all panels of a row, of one
_LINE = 17  # pixels
_SLANT = 5  # pixels that a letter of a slanted name takes downwards
_LYING, _ASIDE = 24, 32  # of bars that lie: pixels of each name, letters of a line of it
_ALONE = 36  # letters of all names of bars below a panel, on a phone
_ABOVE = {"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 9}}  # at the upper edge, whatever is below it
_DASHES = ("solid", "dot", "dashdot"), ("dash", "longdash", "longdashdot")  # of plain and dashed series, by round
_TICKS = 6  # on an axis, if all that was measured is to stand there


def draw(chart: Chart) -> Figure:
    """The chart's panels in a grid, zoomed one by one, with one legend; its note is the page's to show."""
    inked = inks(chart.names)
    named = [*inked, *chart.guides]
    between, around = _between(chart), _around(chart, named)
    high = max([_HEIGHT, *(_LYING * len(panel.places) for row in chart.rows for panel in row if panel.lying)])
    top = 34 * bool(chart.title) + 10 + _LINE * max(_lines_of(panel, len(chart.rows[0])) for panel in chart.rows[0])
    layout: dict[str, Any] = {
        "title": {"text": chart.title, "x": 0.5, "font": {"size": 15}, **_ABOVE},
        "height": high * len(chart.rows) + between * (len(chart.rows) - 1) + top + around,
        "margin": {"l": 56, "r": 12, "t": top, "b": 60 + 20 * (len(named) > 1)},
        "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0, "yanchor": "bottom"},
        "barmode": "group",
        "showlegend": len(named) > 1,
        "annotations": [],
        "shapes": [],
        "images": [],
        "meta": {"dark": ON_DARK},  # colours for the page to change
    }
    data: list[dict] = []
    told: set[str] = set()
    inside = high * len(chart.rows) + between * (len(chart.rows) - 1)
    aside = sum(map(len, chart.rows))  # axes from the next number on are those of the densities at a map's sides
    places = [(r, c, len(row), panel) for r, row in enumerate(chart.rows) for c, panel in enumerate(row)]
    for number, (r, c, wide, panel) in enumerate(places, 1):
        of = "" if number == 1 else str(number)
        across, up = _domain(c, wide, _GAP_X), _domain(len(chart.rows) - 1 - r, len(chart.rows), between / inside)
        inner = _inner(across, panel.map and panel.map.beside), _inner(up, panel.map and panel.map.above)
        layout[f"xaxis{of}"] = _axis(panel.x, inner[0], f"y{of}", panel.log_x) | _names(panel, wide) | _measured(panel)
        layout[f"yaxis{of}"] = _axis(panel.y, inner[1], f"x{of}", panel.log_y)
        layout[f"{'x' if panel.lying else 'y'}axis{of}"] |= _ended(panel)
        if panel.lying:
            layout[f"yaxis{of}"] |= _beside(panel)
        if panel.aligned:
            layout[f"xaxis{of}"] |= {"showticklabels": False, "ticks": ""}
        if panel.map and not panel.x + panel.y:  # a map of an image's patches: their places are no numbers
            for axis in (layout[f"xaxis{of}"], layout[f"yaxis{of}"]):
                axis |= {"showticklabels": False, "ticks": ""}
        layout["annotations"] += [_title(_wrapped(panel.title, wide), across, up), *_marks(panel, of), *_cut(panel, of)]
        layout["shapes"] += _lines(panel, of)
        if panel.picture:
            layout["images"].append(_image(panel.picture, across, up))
            layout[f"xaxis{of}"]["visible"] = layout[f"yaxis{of}"]["visible"] = False
        axes = {"xaxis": f"x{of}", "yaxis": f"y{of}"}
        bar = bool(panel.map) and (c == wide - 1 or not panel.map.alike(chart.rows[r][c + 1].map))
        data += [trace | axes for trace in _traces(panel, inked, told, across, up, bar)]
        if panel.map and panel.map.hexagonal:
            layout["images"].append(_picture(panel.map) | {"xref": f"x{of}", "yref": f"y{of}"})
            layout[f"xaxis{of}"]["range"], layout[f"yaxis{of}"]["range"] = list(panel.map.x), list(panel.map.y)
        for axis, trace in _sides(panel.map, axes, across, up) if panel.map else ():
            aside += 1
            layout[f"{axis.pop('letter')}axis{aside}"] = axis
            data.append(trace(aside))
    return {"data": data, "layout": layout}


def _lines_of(panel: Panel, wide: int) -> int:
    return 1 + _wrapped(panel.title, wide).count("<br>")


def _inner(domain: list[float], density: Any) -> list[float]:
    """What a map has of its panel's domain, where a density stands at its end."""
    low, high = domain
    return [low, round(low + (high - low) / (1 + GAP + SIDE), 4)] if density else domain


def _sides(shown: Map, axes: dict[str, str], across: list[float], up: list[float]) -> Iterator[tuple[dict, Callable]]:
    """Of each density at a map's sides the axis of its heights, "letter" x or y, and trace(number of that axis)."""
    look = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": "#88888899"}
    look |= axes | {"hoverinfo": "skip", "showlegend": False}
    hidden = {"visible": False, "fixedrange": True}
    if shown.above:
        at, high = steps(shown.above, shown.x)
        domain = [round(_inner(up, True)[1] + GAP * (up[1] - up[0]), 4), up[1]]
        axis = {"letter": "y", "domain": domain, "anchor": axes["xaxis"]} | hidden
        yield axis, lambda number: look | {"x": at, "y": high, "yaxis": f"y{number}"}
    if shown.beside:
        along, far = steps(shown.beside, shown.y)
        domain = [round(_inner(across, True)[1] + GAP * (across[1] - across[0]), 4), across[1]]
        axis = {"letter": "x", "domain": domain, "anchor": axes["yaxis"]} | hidden
        yield axis, lambda number: look | {"x": far, "y": along, "xaxis": f"x{number}"}


def _domain(place: int, of: int, gap: float) -> list[float]:
    each = (1 - gap * (of - 1)) / of
    start = place * (each + gap)
    return [round(start, 4), round(min(1.0, start + each), 4)]


def _axis(title: str, domain: list[float], anchor: str, log: bool) -> dict[str, Any]:
    axis = {"title": {"text": title, "standoff": 6}, "domain": domain, "anchor": anchor, "zeroline": False}
    return axis | {"automargin": True} | ({"type": "log", "dtick": math.log10(2)} if log else {})


def _measured(panel: Panel) -> dict[str, Any]:
    """On an axis by doubling, ticks where was measured: between 64 and 96 no other would be there."""
    at = sorted({x for series in panel.series for x in series.x}) if panel.log_x else []
    return {"tickmode": "array", "tickvals": at, "ticktext": [f"{x:g}" for x in at]} if 0 < len(at) <= _TICKS else {}


def _ended(panel: Panel) -> dict[str, Any]:
    """The ends of the axis of the values, where the panel says them."""
    if not panel.ends:
        return {}
    if not panel.log_y:
        return {"range": list(panel.ends)}
    at = log_ticks(*panel.ends)
    ticks = {"tickmode": "array", "tickvals": at, "ticktext": [f"{y:g}" for y in at]}
    return ticks | {"range": [math.log10(end) for end in panel.ends]}


def _around(chart: Chart, named: list[str]) -> int:
    """Pixels below all rows: slanted names and the legend's further lines take none from the panels."""
    hanging = max((_hanging(panel, len(chart.rows[-1])) for panel in chart.rows[-1]), default=0)
    line, sign, letter, apart = _LEGEND
    lines = math.ceil(sum(sign + letter * len(name) for name in named) / line) if len(named) > 1 else 1
    return _AROUND + _SLANT * hanging + apart * (lines - 1)


def _names(panel: Panel, panels: int) -> dict[str, Any]:
    """Bars stand beside each other under their names, be these numbers; long names are broken, and stay upright; where
    a word of theirs has no room, all are slanted."""
    if _hanging(panel, panels):
        return {"type": "category", "tickangle": 45}
    names = [] if panel.lying else panel.places
    texts = [_broken(name, _room(panels, names)) for name in names]
    broken = {"type": "category", "tickmode": "array", "tickvals": names, "ticktext": texts, "tickangle": 0}
    return broken if names else {}


def _beside(panel: Panel) -> dict[str, Any]:
    """The names of bars that lie, the first at the top."""
    texts = [_broken(name, _ASIDE) for name in panel.places]
    named = {"type": "category", "tickmode": "array", "tickvals": panel.places, "ticktext": texts}
    return named | {"autorange": "reversed", "tickfont": {"size": 11}}


def _broken(name: Any, letters: int) -> str:
    return "<br>".join(textwrap.wrap(str(name), letters, break_on_hyphens=False))


def _room(panels: int, names: list[Any]) -> int:
    return max(min(_LETTERS // panels, _ALONE) // max(len(names), 1), 1)


def _hanging(panel: Panel, panels: int) -> int:
    """Letters of the longest of the names that are slanted; 0: none is."""
    names = [] if panel.lying else [str(name) for name in panel.places]
    slanted = max((len(word) for name in names for word in name.split()), default=0) > _room(panels, names)
    return max(map(len, names)) if slanted else 0


def _between(chart: Chart) -> int:
    """Pixels between two rows: what hangs below a panel, its axis's title included, stays above the next title."""
    panels = [(panel, _hanging(panel, len(row))) for row in chart.rows[:-1] for panel in row]
    lines = max((_lines_of(panel, len(row)) for row in chart.rows[1:] for panel in row), default=1) - 1
    hung = (_SLANT * hanging + (4 if panel.x else 2) * _LINE for panel, hanging in panels if hanging)
    return max([_BETWEEN, *(each + lines * _LINE for each in hung)])


def _wrapped(text: str, panels: int) -> str:
    return "<br>".join(textwrap.wrap(text, max(min(_LETTERS // panels, _MOST), 12)))


def _title(text: str, across: list[float], up: list[float]) -> dict[str, Any]:
    at = {"x": sum(across) / 2, "y": up[1], "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": 13}} | at


def _marks(panel: Panel, of: str) -> list[dict[str, Any]]:
    at = {"xref": f"x{of}", "yref": f"y{of} domain", "y": 1, "yanchor": "top", "xanchor": "left", "showarrow": False}
    return [
        {"text": label, "x": math.log10(x) if panel.log_x else x, "font": {"size": 11}} | at
        for label, x in panel.marks.items()
    ]


def _cut(panel: Panel, of: str) -> list[dict[str, Any]]:
    """The numbers of the bars that the axis cuts, light on dark on either ground, at their ends: a pointer finds their
    intervals, for which a phone has no room."""
    look = {"font": {"size": 10, "color": "#ffffff"}, "bgcolor": "#333333", "borderpad": 0, "showarrow": False}
    look |= {"xref": f"x{of}", "yref": f"y{of}"}
    notes = []
    for cut in cuts(panel):
        along, up = ("right" if cut.upper else "left"), ("top" if cut.upper else "bottom")
        lying = {"x": cut.end, "y": cut.place, "xanchor": along, "yanchor": "middle"}
        upright = {"x": cut.place, "y": cut.end, "xanchor": "center", "yanchor": up}
        notes.append({"text": cut.number} | (lying if panel.lying else upright) | look)
    return notes


def _image(source: str, across: list[float], up: list[float]) -> dict[str, Any]:
    at = {"x": sum(across) / 2, "y": up[1], "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "top"}
    return {"source": source, "sizex": across[1] - across[0], "sizey": up[1] - up[0], "sizing": "contain"} | at


def _picture(shown: Map) -> dict[str, Any]:
    """A map's hexagons over its rectangle; drawn by themselves they would be thousands of shapes."""
    scale = "viridis" if shown.time else LinearSegmentedColormap.from_list("", MAP)
    at = {"x": shown.x[0], "y": shown.y[1], "sizex": shown.x[1] - shown.x[0], "sizey": shown.y[1] - shown.y[0]}
    return {"source": hexagons(shown, scale), "sizing": "stretch", "layer": "above"} | at


def _lines(panel: Panel, of: str) -> list[dict[str, Any]]:
    faint = {"type": "line", "line": {"color": FAINT, "width": 1}, "xref": f"x{of}", "yref": f"y{of}"}
    dash = {"line": {"color": FAINT, "width": 1, "dash": "dash"}}
    shapes = [
        faint | dash | {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": f"y{of} domain"} for x in panel.marks.values()
    ]
    if panel.zero and panel.lying:
        shapes.append(faint | {"x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": f"y{of} domain"})
    elif panel.zero:
        shapes.append(faint | {"x0": 0, "x1": 1, "xref": f"x{of} domain", "y0": 0, "y1": 0})
    return shapes


def _traces(panel: Panel, inked: Mapping[str, Ink], told: set[str], across, up, bar) -> list[dict[str, Any]]:
    traces = []
    if panel.map:
        told_by = {"showscale": bar, "colorbar": _bar(panel.map, across, up)}
        traces.append((_spots if panel.map.hexagonal else _heat)(panel.map, told_by))
    if panel.diagonal:
        ends, line = diagonal_of(panel), {"color": FAINT, "width": 1.5, "dash": "dot"}
        about = {"name": panel.diagonal, "legendrank": 1001, "showlegend": panel.diagonal not in told}
        told.add(panel.diagonal)
        traces.append(
            {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": line, "hoverinfo": "skip"} | about
        )
    for series in panel.series:
        first = series.name not in told
        told.add(series.name)
        drawn = _series(series, inked[series.name], first, drawn_at(panel, series))
        traces += map(_laid, drawn) if panel.lying else drawn
    return traces


def _laid(bar: dict[str, Any]) -> dict[str, Any]:
    turned = {"x": bar["y"], "y": bar["x"], "error_x": bar["error_y"], "orientation": "h"}
    return {name: value for name, value in bar.items() if name != "error_y"} | turned


def _bar(shown: Map, across: list[float], up: list[float]) -> dict[str, Any]:
    bar = {"title": {"text": shown.label + (", log10" * shown.log), "side": "right"}, "thickness": 8, "x": across[1]}
    return bar | {
        "len": up[1] - up[0], "y": sum(up) / 2, "nticks": 5, "tickfont": {"size": 11}, "outlinewidth": 0
    }  # fmt: skip


def _scaled(value: float, log: bool) -> float | None:
    return value if not log else round(math.log10(value), 4) if value > 0 else None


def _scale(shown: Map) -> str | list:
    return "Viridis" if shown.time else MAP  # the name is the same map in plotly.js


def _heat(shown: Map, bar: dict[str, Any]) -> dict[str, Any]:
    """Squares."""
    values = [[_scaled(value, shown.log) for value in row] for row in shown.values]
    low, high = (_scaled(end, shown.log) for end in shown.ends) if shown.ends else (None, None)
    dx, dy = (shown.x[1] - shown.x[0]) / len(values[0]), (shown.y[1] - shown.y[0]) / len(values)
    steps = {"x0": shown.x[0] + dx / 2, "dx": dx, "y0": shown.y[0] + dy / 2, "dy": dy}  # of a cell's centre
    return {"type": "heatmap", "z": values, "zmin": low, "zmax": high, "colorscale": _scale(shown)} | bar | steps


def _spots(shown: Map, bar: dict[str, Any]) -> dict[str, Any]:
    """What a pointer finds over the picture of hexagons, and their colour bar: unseen points at their centres."""
    centres, values, _ = cells(shown)
    low, high = (_scaled(end, shown.log) for end in shown.ends or (values.min(), values.max()))
    colours = {"color": [_scaled(value, shown.log) for value in values.tolist()], "cmin": low, "cmax": high}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": centres[:, 0].round(4).tolist(),
        "y": centres[:, 1].round(4).tolist(),
        "customdata": values.tolist(),
        "hovertemplate": f"%{{customdata:.3g}} {shown.label}<extra></extra>",
        "marker": {"size": 9, "opacity": 0, "colorscale": _scale(shown)} | colours | bar,
        "showlegend": False,
    }


def _series(series: Series, ink: Ink, first: bool, x: list) -> list[dict[str, Any]]:
    about = {"x": x, "y": list(series.y), "name": series.name, "legendgroup": series.name}
    about |= {"showlegend": first}
    colour, dashes = ink.colour, _DASHES[series.dashed]
    line = {"color": colour, "width": 2, "dash": dashes[ink.round % len(dashes)]}
    if series.kind == "bars":
        return [about | {"type": "bar", "marker": {"color": colour}, "error_y": _arms(series, INK)}]
    if series.kind == "points":
        marker = {"color": colour, "size": 8}
        return [about | {"type": "scatter", "mode": "markers", "marker": marker, "error_y": _arms(series)}]
    if series.aside is not None:
        style = {"mode": "lines+markers", "line": line | {"width": 1.2}, "marker": {"color": colour, "size": 6}}
        at = {"customdata": list(series.x), "hovertemplate": "%{customdata}, %{y}"}
        return [about | {"type": "scatter", "error_y": _arms(series)} | style | at]
    trace = about | {"type": "scatter", "mode": "lines", "line": line}
    if series.kind == "area":
        return [trace | {"fill": "tozeroy", "fillcolor": colour + "4d"}]
    return [*_band(series, colour, about), trace]


def _band(series: Series, colour: str, about: dict[str, Any]) -> list[dict[str, Any]]:
    if series.low is None:
        return []
    around = {"x": [*series.x, *reversed(series.x)], "y": [*series.high, *reversed(series.low)]}
    edge = {"width": 0.6, "color": colour + "80"}
    look = {"type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": colour + "26", "line": edge}
    return [about | around | look | {"showlegend": False, "hoverinfo": "skip"}]


def _arms(series: Series, colour: str | None = None) -> dict[str, Any] | None:
    """colour: None: the series' own."""
    if series.low is None:
        return None
    below = [max(y - low, 0) for y, low in zip(series.y, series.low, strict=True)]
    above = [max(high - y, 0) for y, high in zip(series.y, series.high, strict=True)]
    arms = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.2, "width": 3}
    return arms | ({"color": colour} if colour else {})
