"""Two Gradio components: StreamingPlot pulls Plotly figures from a route of ours, Brush lets a person draw points."""

from pathlib import Path

import gradio as gr
import plotly

from app.components.scripted import Scripted

PLOTLY = Path(plotly.__file__).resolve().parent / "package_data" / "plotly.min.js"
gr.set_static_paths([PLOTLY])

_MARKUP = '<div class="pf-plots"></div>'


class StreamingPlot(Scripted):
    """Value (see `stream`): {"source", "plots", "library"}. The browser asks `source?after=VERSION` again and again
    for {"version", "plots": {name: {"data", "layout"}}, "busy", "status"}; what did not change need not be sent.
    "query", if sent, goes into the address bar when it changes; "command" stands below the plots. Events: `opened`
    {"query"} (the address's) once it is on the screen, `picked` {"plot", "x", "y"} for a click anywhere on a plot."""

    module = "plot.js"
    markup = _MARKUP
    may_trigger = ("opened", "picked")


class Brush(Scripted):
    """A canvas for points. Value: {"points": [[x, y], ...]}, those to begin with, x and y in [-3, 3], or none and
    "unshown", how many others there are until some are drawn. Event `drawn`, after each stroke, and after Clear with
    none: {"points"}."""

    module = "brush.js"
    markup = _MARKUP
    may_trigger = ("drawn",)


def stream(source: str = "", plots: list[str] = [], links: list[list[str]] = []) -> dict:
    """StreamingPlot's value: where the figures come from, the names of the plots in order, and what can be downloaded,
    (label, address)."""
    return {"source": source, "plots": plots, "links": links, "library": PLOTLY.as_posix()}
