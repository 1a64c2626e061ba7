"""The plane's figures for plotly, as plain dicts {"data", "layout"}: data in, figure out, nothing computed there.

Dicts and not go.Figure, whose checks cost more than a frame of a live picture may; go.Figure(d) takes each of them.
Arrays go as base64 of float32, which plotly.js reads by itself. `uirevision` keeps a person's zoom over updates.
"""

import base64
from typing import Any

import numpy as np

from pf_core.figures.static import MADE, NOISE, TRUTH, limits

MAP = [
    [0.0, "#000004"],
    [0.25, "#51127c"],
    [0.5, "#b73779"],
    [0.75, "#fc8961"],
    [1.0, "#fcfdbf"],
]  # magma, as in the static figure
DIVERGING = "RdBu"
_THIN = {"thickness": 9, "len": 0.96, "outlinewidth": 0, "xpad": 6}
Figure = dict[str, Any]


def packed(values) -> dict[str, Any]:
    """An array as plotly.js reads it, float32."""
    a = np.ascontiguousarray(values, dtype="<f4")
    d = {"dtype": "f4", "bdata": base64.b64encode(a.tobytes()).decode()}
    return d | ({"shape": ", ".join(map(str, a.shape))} if a.ndim > 1 else {})


def plane(title: str, data: list[dict], low, high, legend: bool = True) -> Figure:
    """Traces on the plane, both axes alike, framed by the corners low, high (2,)."""
    axis = {"zeroline": False, "showgrid": False, "showline": True, "ticks": "outside", "ticklen": 4}
    layout = {
        "title": {"text": title, "x": 0.5, "font": {"size": 15}},
        "xaxis": {**axis, "range": [float(low[0]), float(high[0])]},
        "yaxis": {**axis, "range": [float(low[1]), float(high[1])], "scaleanchor": "x"},
        "margin": {"l": 32, "r": 10, "t": 34, "b": 28},
        "showlegend": legend,
        "legend": {"x": 0.01, "y": 0.99, "font": {"size": 11}},
        "uirevision": "kept",
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def cloud(points: np.ndarray, colour: str, name: str, opacity: float, size: float = 4) -> dict:
    """points (M, 2)."""
    marker = {"color": colour, "size": size, "opacity": opacity}
    return _trace(points, name, mode="markers", marker=marker, hoverinfo="skip")


def _trace(points: np.ndarray, name: str, **more) -> dict:
    return {"type": "scatter", "x": packed(points[:, 0]), "y": packed(points[:, 1]), "name": name, **more}


def _joined(paths: np.ndarray) -> np.ndarray:
    """(S, B, 2) -> one polyline (B * (S + 1), 2) with a gap (NaN) after each path."""
    gap = np.full((1, *paths.shape[1:]), np.nan)
    return np.concatenate([paths, gap]).transpose(1, 0, 2).reshape(-1, 2)


def data(noise: np.ndarray, truth: np.ndarray) -> Figure:
    """Fig. 5, left: noise (M, 2), truth (M, 2)."""
    traces = [cloud(noise, NOISE, "noise", 0.4), cloud(truth, TRUTH, "ground truth", 0.6)]
    return plane("Data", traces, *limits(noise, truth))


def generated(paths: np.ndarray, made_by: str, low, high, lines: int = 80) -> Figure:
    """Fig. 5, middle: paths (S, B, 2), the first `lines` of them drawn; framed by low, high (2,)."""
    way = {"mode": "lines", "line": {"color": "rgba(110, 110, 120, 0.28)", "width": 1}, "hoverinfo": "skip"}
    traces = [
        cloud(paths[-1], MADE, "generated", 0.65),
        cloud(paths[0], NOISE, "starts", 0.3),
        _trace(_joined(paths[:, :lines]), "ways", showlegend=False, **way),
    ]
    return plane(f"Generated ({made_by})", traces, low, high)


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
        "color": packed(shade.T.ravel()), "colorscale": MAP, "cmin": 0, "cmax": 1, "size": 8, "colorbar": bar,
        "line": {"width": 0.6, "color": "#444"},
    }  # fmt: skip
    hover = "t_x %{customdata[0]:.2f}, t_y %{customdata[1]:.2f}<br>%{marker.color:.2f}<extra></extra>"
    flat = chosen.transpose(1, 0, 2).reshape(-1, 2)
    told = packed(times.transpose(1, 0, 2).reshape(-1, 2))
    way = {"mode": "lines", "line": {"color": "#777", "width": 1.2}, "hoverinfo": "skip", "showlegend": False}
    traces = [
        cloud(noise, NOISE, "noise", 0.2),
        cloud(truth, TRUTH, "ground truth", 0.25),
        _trace(_joined(chosen), "way", **way),
    ]
    if probes is not None and len(probes):
        hollow = {"symbol": "diamond-open", "size": 6, "color": "#3b82c4"}
        traces.append(_trace(probes.reshape(-1, 2), "looked at", mode="markers", marker=hollow, hoverinfo="skip"))
    traces += [
        _trace(flat, "passes", mode="markers", marker=marker, customdata=told, hovertemplate=hover, showlegend=False),
        _ends(chosen[0], "trajectory start", "x-thin-open", 11),
        _ends(chosen[-1], "trajectory end", "star", 12),
    ]
    return plane("Sampling trajectories with uncertainty", traces, low, high)


def _ends(points: np.ndarray, name: str, symbol: str, size: int) -> dict:
    marker = {"symbol": symbol, "size": size, "color": "#222", "line": {"width": 2 if "open" in symbol else 0.8}}
    marker["line"]["color"] = "#222" if "open" in symbol else "#fff"
    return _trace(points, name, mode="markers", marker=marker, hoverinfo="skip")


def heat(title: str, xs: np.ndarray, ys: np.ndarray, z: np.ndarray, span: tuple[float, float], unit: str) -> Figure:
    """A field z (K, K) on the lattice xs, ys (K,); one colour scale, `span`, whatever the time. A span around 0 is
    drawn in two hues."""
    low, high = (xs[0], ys[0]), (xs[-1], ys[-1])
    trace = {
        "type": "heatmap", "x": packed(xs), "y": packed(ys), "z": packed(z), "zmin": span[0], "zmax": span[1],
        "colorscale": DIVERGING if span[0] < 0 else MAP, "reversescale": span[0] < 0,
        "colorbar": {"title": {"text": unit, "side": "right"}, **_THIN},
        "hovertemplate": "x %{x:.2f}, y %{y:.2f}<br>%{z:.3f}<extra></extra>",
    }  # fmt: skip
    return plane(title, [trace], low, high, legend=False)


def arrows(title: str, xs: np.ndarray, ys: np.ndarray, v: np.ndarray, exact: np.ndarray | None) -> Figure:
    """A velocity field v (K, K, 2) as strokes from dot to tip; `exact` in green under it."""
    step = float(xs[1] - xs[0])
    longest = max(float(np.nanmax(np.linalg.norm(v, axis=-1))), 1e-6)
    feet = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)

    def strokes(field: np.ndarray, colour: str, name: str, width: float) -> dict:
        tips = feet + field.reshape(-1, 2) / longest * step * 1.4
        line = {"color": colour, "width": width}
        return _trace(_joined(np.stack([feet, tips])), name, mode="lines", line=line, hoverinfo="skip")

    traces = [] if exact is None else [strokes(exact, TRUTH, "exact", 2.6)]
    traces += [strokes(v, MADE, "network", 1.3), cloud(feet, MADE, "", 0.7, 2.5) | {"showlegend": False}]
    return plane(title, traces, (xs[0], ys[0]), (xs[-1], ys[-1]))


def curves(title: str, x: np.ndarray, ys: dict[str, np.ndarray], x_title: str, y_title: str) -> Figure:
    """Named curves (T,) over x (T,)."""
    colours = (MADE, NOISE, TRUTH, "#555555")
    data = [
        {"type": "scatter", "mode": "lines", "x": packed(x), "y": packed(y), "name": name, "line": {"color": colour}}
        for (name, y), colour in zip(ys.items(), colours, strict=False)
    ]
    layout = {
        "title": {"text": title, "x": 0.5, "font": {"size": 15}},
        "xaxis": {"title": {"text": x_title}, "zeroline": False},
        "yaxis": {"title": {"text": y_title}, "zeroline": False},
        "margin": {"l": 52, "r": 12, "t": 36, "b": 42},
        "legend": {"x": 0.99, "y": 0.99, "xanchor": "right", "font": {"size": 11}},
        "uirevision": "kept",
        "showlegend": True,
    }
    return {"data": data, "layout": layout}
