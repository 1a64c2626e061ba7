"""A training's curves for plotly, as plain dicts {"data", "layout"}: data in, figure out (see figures.interactive)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from pf_core.figures.interactive import Figure, awaited, packed

RUNS = ["#4f46e5", "#d95f02", "#1b9e77", "#c2255c", "#7a5195", "#8a6d00"]  # one colour a run, apart in both modes

NOTHING = "Nothing is measured yet."


class Curve(NamedTuple):
    """One quantity over steps, (K,) each; smooth None where the raw values are smooth enough."""

    steps: Sequence[float]
    raw: Sequence[float]
    smooth: Sequence[float] | None = None


def over_steps(title: str, runs: Mapping[str, Curve], unit: str, log: bool = False) -> Figure:
    """One curve a run, its raw values faint behind the smooth ones."""
    data = []
    for (name, curve), colour in zip(runs.items(), _colours(len(runs)), strict=True):
        if curve.smooth is not None:
            data.append(_line(curve.steps, curve.raw, name, colour, opacity=0.25, showlegend=False, hoverinfo="skip"))
        data.append(_line(curve.steps, curve.raw if curve.smooth is None else curve.smooth, name, colour))
    axis = _log([v for curve in runs.values() for v in curve.raw]) if log else {"type": "linear"}
    figure = {"data": data, "layout": _layout(title, "step", unit, axis, legend=len(runs) > 1)}
    return figure if any(len(curve.steps) for curve in runs.values()) else awaited(figure, NOTHING)


def segments(title: str, steps: Sequence[float], losses: np.ndarray, times: Sequence[float]) -> Figure:
    """Validation losses (K, S) of one run, a curve for each time of `times` (S,), coloured by time."""
    shades = matplotlib.colormaps["viridis"](np.asarray(times) * 0.9)
    data = [
        _line(steps, losses[:, i], f"t {t:.2f}", matplotlib.colors.to_hex(shades[i]), markers=True)
        for i, t in enumerate(times)
    ]
    data.append(_line(steps, losses.mean(1), "mean", "#888888", markers=True, dash="dot"))
    return {"data": data, "layout": _layout(title, "step", "velocity MSE", _log(losses.ravel()))}


def calibration(title: str, parts: Sequence[Mapping[str, Any]]) -> Figure:
    """Predicted against real variance of the velocity's error, log-log. parts: {"t", "predicted" (B,), "real" (B,)}."""
    everything = np.array([v for part in parts for v in (*part["predicted"], *part["real"]) if v > 0])
    low, high = (everything.min(), everything.max()) if len(everything) else (0.01, 1.0)
    shades = matplotlib.colormaps["viridis"](np.array([part["t"] for part in parts]) * 0.9)
    data = [_line([low, high], [low, high], "equal", "#999999", dash="dash", hoverinfo="skip")]
    for part, shade in zip(parts, shades, strict=True):
        colour = matplotlib.colors.to_hex(shade)
        data.append(_line(part["predicted"], part["real"], f"t {part['t']:.2f}", colour, markers=True))
    axis = _log(everything)
    layout = _layout(title, "predicted squared error", "real squared error", axis)
    layout["xaxis"] |= axis
    figure = {"data": data, "layout": layout}
    return figure if parts else awaited(figure | {"data": []}, NOTHING)


def _colours(count: int) -> list[str]:
    return [RUNS[i % len(RUNS)] for i in range(count)]


def _log(values: Sequence[float]) -> dict[str, Any]:
    """An axis over these values: numbers at 1, 2 and 5, as all nine of a decade run into each other; where few of
    those would stand, Plotly's own. Of one value Plotly shows two decades."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values) & (values > 0)]
    wide = len(values) and (values.max() >= 5 * values.min() or values.max() == values.min())
    return {"type": "log", "dtick": "D2"} if wide else {"type": "log"}


def _line(x, y, name: str, colour: str, markers: bool = False, dash: str = "solid", **more) -> dict:
    markers = markers or len(x) == 1  # a point alone makes no line
    line = {"color": colour, "width": 1.6, "dash": dash}
    style = {"mode": "lines+markers" if markers else "lines", "line": line, "marker": {"size": 4, "color": colour}}
    return {"type": "scatter", "x": packed(x), "y": packed(y), "name": name, **style, **more}


def _layout(title: str, x: str, y: str, axis: Mapping[str, Any], legend: bool = True) -> dict:
    return {
        "title": {"text": title, "x": 0.5, "font": {"size": 15}},
        "xaxis": {"title": {"text": x, "standoff": 6}, "zeroline": False, "automargin": True},
        "yaxis": {
            "title": {"text": y, "standoff": 8},
            "zeroline": False,
            "automargin": True,
            **axis,
        },
        "margin": {"l": 30, "r": 12, "t": 36, "b": 30},  # titles and numbers of the axes take theirs beside these
        # below the axis: no curve runs there
        "legend": {"orientation": "h", "x": 0, "y": -0.3, "xanchor": "left", "yanchor": "top", "font": {"size": 10}},
        "uirevision": title,
        "showlegend": legend,
    }
