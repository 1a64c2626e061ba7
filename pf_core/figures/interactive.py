"""The plane's figures for plotly, as plain dicts {"data", "layout"}: data in, figure out, nothing computed there.

Dicts and not go.Figure, whose checks cost more than a frame of a live picture may; go.Figure(d) takes each of them.
Arrays go as base64 of float32, which plotly.js reads by itself. `uirevision` keeps a person's zoom over updates.
"""

import base64
from typing import Any

import numpy as np

from pf_core.charts import written
from pf_core.figures.static import MADE, NOISE, TRUTH, limits

MAP = [
    [0.0, "#000004"],
    [0.25, "#51127c"],
    [0.5, "#b73779"],
    [0.75, "#fc8961"],
    [1.0, "#fcfdbf"],
]  # magma, as in the static figure
# Blue below 0, red above. Written out: the name RdBu runs from blue to red in plotly.js, the other way in plotly.py.
DIVERGING = [
    [0.0, "#2166ac"],
    [0.25, "#92c5de"],
    [0.5, "#f7f7f7"],
    [0.75, "#f4a582"],
    [1.0, "#b2182b"],
]
# Between title and plot, where it covers nothing.
_LEGEND = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 1.0, "yanchor": "bottom", "font": {"size": 11}}
_TITLE, _LEGEND_LINE = 34, 20  # pixels
_THIN = {"thickness": 9, "len": 0.96, "outlinewidth": 0, "xpad": 6}
Figure = dict[str, Any]


def packed(values) -> dict[str, Any]:
    """An array as plotly.js reads it, float32."""
    a = np.ascontiguousarray(values, dtype="<f4")
    d = {"dtype": "f4", "bdata": base64.b64encode(a.tobytes()).decode()}
    return d | ({"shape": ", ".join(map(str, a.shape))} if a.ndim > 1 else {})


def plane(title: str, data: list[dict], low, high, under: list[dict] = [], legend: int = 1) -> Figure:
    """Traces on the plane, both axes alike, framed by the corners low, high (2,); `under` them, shapes; legend: its
    lines in a narrow box, 0 without one."""
    axis = {"zeroline": False, "showgrid": False, "showline": True, "ticks": "outside", "ticklen": 4}
    axis["constrain"] = "domain"  # the frame is the corners' exactly, whatever the box
    if max(high[0] - low[0], high[1] - low[1]) <= 9:
        axis["dtick"] = 1
    layout = {
        "title": _title(title),
        "xaxis": {**axis, "range": [float(low[0]), float(high[0])]},
        "yaxis": {**axis, "range": [float(low[1]), float(high[1])], "scaleanchor": "x"},
        "margin": {"l": 32, "r": 10, "t": _TITLE + legend * _LEGEND_LINE, "b": 28},
        "showlegend": legend > 0,
        "legend": {**_LEGEND, "itemclick": False, "itemdoubleclick": False},
        "shapes": under,
        "uirevision": "kept",
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def _title(text: str) -> dict[str, Any]:
    """At the upper edge of the box, whatever stands between it and the plot."""
    at = {"x": 0.5, "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 9}}
    return {"text": text, "font": {"size": 15}} | at


def dots(points: np.ndarray, colour: str, opacity: float, size: float = 4) -> dict:
    """points (M, 2) as one shape: strokes of no length, which the page's style sheet ends in round caps. Hundreds of
    markers would be hundreds of nodes, which no browser redraws ten times a second."""
    text = "".join([f"M{x:.3f},{y:.3f}L{x + 1e-3:.3f},{y:.3f}" for x, y in _finite(points)])
    return _shape(text, colour, opacity, size)


def polylines(paths: np.ndarray, colour: str, opacity: float, width: float) -> dict:
    """Polylines (S, B, 2) as one shape."""
    parts = [[f"{x:.3f},{y:.3f}" for x, y in _finite(way)] for way in paths.transpose(1, 0, 2)]
    return _shape("".join(["M" + "L".join(part) for part in parts if part]), colour, opacity, width)


def _finite(points: np.ndarray) -> list:
    return points[np.isfinite(points).all(-1)].tolist()


def _shape(path: str, colour: str, opacity: float, width: float) -> dict:
    line = {"color": colour, "width": width}
    return {"type": "path", "path": path or "M0,0", "line": line, "opacity": opacity, "layer": "below"}


def _key(name: str, colour: str, opacity: float) -> dict:
    """A legend's line for what is drawn as a shape."""
    marker = {"color": colour, "size": 5, "opacity": opacity}
    return {"type": "scatter", "x": [None], "y": [None], "mode": "markers", "marker": marker, "name": name}


def _trace(points: np.ndarray, name: str, **more) -> dict:
    return {"type": "scatter", "x": packed(points[:, 0]), "y": packed(points[:, 1]), "name": name, **more}


def data(noise: np.ndarray, truth: np.ndarray) -> Figure:
    """Fig. 5, left: noise (M, 2), truth (M, 2)."""
    keys = [_key("noise", NOISE, 0.6), _key("ground truth", TRUTH, 0.8)]
    return plane("Data", keys, *limits(noise, truth), [dots(noise, NOISE, 0.55), dots(truth, TRUTH, 0.75)])


def generated(paths: np.ndarray, made_by: str, low, high, lines: int = 80) -> Figure:
    """Fig. 5, middle: paths (S, B, 2), the first `lines` of them drawn; framed by low, high (2,)."""
    under = [dots(paths[0], NOISE, 0.45), polylines(paths[:, :lines], "#6e6e78", 0.35, 1), dots(paths[-1], MADE, 0.8)]
    keys = [_key("generated", MADE, 0.8), _key("starts", NOISE, 0.5)]
    return plane(f"Generated ({made_by})", keys, low, high, under)


def uncertainty(
    noise: np.ndarray,
    truth: np.ndarray,
    chosen: np.ndarray,
    shade: np.ndarray,
    times: np.ndarray,
    low,
    high,
    probes: np.ndarray | None = None,
) -> Figure:
    """Fig. 5, right: chosen (S, K, 2) coloured by shade (S, K) in [0, 1]; times (S, K, 2) are told at the pointer;
    probes (P, K, 2): states that a sampler only looked at, drawn hollow."""
    bar = {"title": {"text": "Normalized uncertainty", "side": "right"}, "tickvals": [0, 0.5, 1], **_THIN}
    marker = {
        "color": packed(shade.T.ravel()), "colorscale": MAP, "cmin": 0, "cmax": 1, "size": 6.5, "colorbar": bar,
        "line": {"width": 0.6, "color": "#444"},
    }  # fmt: skip
    hover = "t_x %{customdata[0]:.2f}, t_y %{customdata[1]:.2f}<br>%{marker.color:.2f}<extra></extra>"
    flat = chosen.transpose(1, 0, 2).reshape(-1, 2)
    at_pointer = packed(times.transpose(1, 0, 2).reshape(-1, 2))
    under = [dots(noise, NOISE, 0.3), dots(truth, TRUTH, 0.35), polylines(chosen, "#777777", 1.0, 1.2)]
    traces = [_key("noise", NOISE, 0.4), _key("ground truth", TRUTH, 0.5)]
    if probes is not None and len(probes):
        hollow = {"symbol": "diamond-open", "size": 6, "color": "#3b82c4"}
        traces.append(_trace(probes.reshape(-1, 2), "probes", mode="markers", marker=hollow, hoverinfo="skip"))
    traces += [
        _trace(
            flat, "passes", mode="markers", marker=marker, customdata=at_pointer, hovertemplate=hover, showlegend=False
        ),
        _ends(chosen[0], "trajectory start", "x-thin-open", 11),
        _ends(chosen[-1], "trajectory end", "star", 12),
    ]
    lines = 2 if probes is None or not len(probes) else 3
    made = plane("Sampling trajectories with uncertainty", traces, low, high, under, legend=lines)
    made["layout"]["legend"]["font"] = {"size": 10}  # two entries fit a line, beside the colour bar of a narrow box
    return made


def _ends(points: np.ndarray, name: str, symbol: str, size: int) -> dict:
    marker = {"symbol": symbol, "size": size, "color": "#222", "line": {"width": 2 if "open" in symbol else 0.8}}
    marker["line"]["color"] = "#222" if "open" in symbol else "#fff"
    return _trace(points, name, mode="markers", marker=marker, hoverinfo="skip")


def heat(
    title: str,
    xs: np.ndarray,
    ys: np.ndarray,
    z: np.ndarray,
    span: tuple[float, float],
    unit: str,
    ends: tuple[str, str] = ("", ""),
) -> Figure:
    """A field z (K, K) on the lattice xs, ys (K,); one colour scale, `span`, whatever the time. A span around 0 is
    drawn in two hues, blue below it and red above. ends: words beside the colour bar's lower and upper end."""
    low, high = (xs[0], ys[0]), (xs[-1], ys[-1])
    trace = {
        "type": "heatmap", "x": packed(xs), "y": packed(ys), "z": packed(z), "zmin": span[0], "zmax": span[1],
        "colorscale": DIVERGING if span[0] < 0 else MAP,
        "colorbar": (_worded(span, ends) if any(ends) else {"title": {"text": unit, "side": "right"}}) | _THIN,
        "hovertemplate": "x %{x:.2f}, y %{y:.2f}<br>%{z:.3f}<extra></extra>",
    }  # fmt: skip
    return plane(title, [trace], low, high, legend=0)


def _worded(span: tuple[float, float], ends: tuple[str, str]) -> dict[str, Any]:
    """A colour bar's ticks with a word at either end."""
    values = [float(v) for v in np.linspace(*span, 5)]
    texts = [written(f"{v:+.2g}") if v else "0" for v in values]
    texts[0], texts[-1] = (f"{text}<br>{word}" for text, word in zip((texts[0], texts[-1]), ends, strict=True))
    return {"tickmode": "array", "tickvals": values, "ticktext": texts}


def arrows(title: str, xs: np.ndarray, ys: np.ndarray, v: np.ndarray, exact: np.ndarray | None) -> Figure:
    """A velocity field v (K, K, 2) as strokes from dot to tip; `exact` in green under it."""
    step = float(xs[1] - xs[0])
    fields = np.stack([v] if exact is None else [v, exact])  # one scale: an untrained network's are nearly nothing
    longest = max(float(np.nanmax(np.linalg.norm(fields, axis=-1))), 1e-6)
    feet = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)

    def strokes(field: np.ndarray, colour: str, opacity: float, width: float) -> dict:
        tips = feet + field.reshape(-1, 2) / longest * step * 1.4
        return polylines(np.stack([feet, tips]), colour, opacity, width)

    under = [] if exact is None else [strokes(exact, TRUTH, 0.8, 2.6)]
    under += [strokes(v, MADE, 1.0, 1.3), dots(feet, MADE, 0.7, 3)]
    keys = ([] if exact is None else [_key("exact", TRUTH, 1.0)]) + [_key("network", MADE, 1.0)]
    return plane(title, keys, (xs[0], ys[0]), (xs[-1], ys[-1]), under)


def curves(
    title: str,
    x: np.ndarray,
    ys: dict[str, np.ndarray],
    x_title: str,
    y_title: str,
    before: tuple[np.ndarray, dict[str, np.ndarray]] | None = None,
    shape: str = "linear",
    skip: float = 0.0,
) -> Figure:
    """Named curves (T,) over x (T,); `before`, another x and its curves, is drawn dotted. shape "hv": as stairs; skip:
    the share of each curve, at its start, that may leave the frame."""
    data = []
    for at, named, dash in ((x, ys, "solid"), *([(*before, "dot")] if before else [])):
        for k, ((name, y), colour) in enumerate(zip(named.items(), _COLOURS, strict=False)):
            over = "dot" if k and shape == "hv" else dash  # stairs often run on each other: both are seen
            line = {"color": colour, "dash": over, "shape": shape}
            data.append(
                {"type": "scatter", "mode": "lines", "x": packed(at), "y": packed(y), "name": name, "line": line}
            )
    layout = _chart(title, x_title, y_title, 2 if before else 1)
    if skip:
        layout["yaxis"]["range"] = _settled([*ys.values(), *(before[1].values() if before else [])], skip)
    return {"data": data, "layout": layout}


def awaited(figure: Figure, words: str) -> Figure:
    """A figure of curves before there are any: no numbers at its axes, which would be made up, and in the middle what
    it waits for."""
    for axis in ("xaxis", "yaxis"):
        figure["layout"][axis] |= {"range": [0, 1], "showticklabels": False}
    at = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
    figure["layout"]["annotations"] = [{"text": words, "font": {"size": 13}} | at]
    return figure


def _settled(curves: list[np.ndarray], skip: float) -> list[float]:
    """A range for what the curves do after their first `skip`."""
    late = np.concatenate([y[int(skip * len(y)) :] for y in curves])
    late = late[np.isfinite(late)]
    low, high = (float(late.min()), float(late.max())) if late.size else (0.0, 1.0)
    air = 0.08 * (high - low) + 1e-3
    return [min(low, 0.0) - air, high + 3 * air]


_COLOURS = (MADE, NOISE, TRUTH, "#555555")


def _chart(title: str, x_title: str, y_title: str, legend: int = 1) -> dict[str, Any]:
    return {
        "title": _title(title),
        "xaxis": {"title": {"text": x_title, "standoff": 6}, "zeroline": False},
        "yaxis": {"title": {"text": y_title}, "zeroline": False},
        "margin": {"l": 58, "r": 12, "t": _TITLE + legend * _LEGEND_LINE, "b": 52},
        "legend": dict(_LEGEND),
        "uirevision": "kept",
        "showlegend": True,
    }


def bars(title: str, names: list[str], values: np.ndarray, floor: float, unit: str, best: str) -> Figure:
    """One bar a name, and a line at `floor`, called `best`: no bar can be expected below it."""
    bar = {
        "type": "bar", "x": names, "y": packed(values), "marker": {"color": MADE}, "showlegend": False,
        "text": [f"{v:.4f}" for v in values], "textposition": "outside", "cliponaxis": False,
        "hovertemplate": "%{x}: %{y:.4f}<extra></extra>",
    }  # fmt: skip
    line = {"color": TRUTH, "width": 2, "dash": "dash"}
    at = [floor] * len(names)
    level = {"type": "scatter", "mode": "lines", "x": names, "y": at, "name": best, "line": line, "hoverinfo": "skip"}
    layout = _chart(title, "", unit)
    layout["xaxis"] |= {"automargin": True}
    layout["yaxis"] |= {"rangemode": "tozero", "range": [0, 1.18 * float(max(*values, floor))], "autorange": False}
    return {"data": [bar, level], "layout": layout}


def times(title: str, t: np.ndarray) -> Figure:
    """Pairs (t_x, t_y), (M, 2), in the unit square."""
    made = plane(title, [], (-0.03, -0.03), (1.03, 1.03), [dots(t, MADE, 0.5)], legend=0)
    for axis, name in (("xaxis", "t_x"), ("yaxis", "t_y")):
        made["layout"][axis]["title"] = {"text": name}
    made["layout"]["margin"] |= {"l": 48, "b": 42}
    return made
