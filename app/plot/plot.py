"""Two Gradio components: StreamingPlot pulls Plotly figures from a route of ours, Brush lets a person draw points."""

import hashlib
from pathlib import Path
from typing import Any

import gradio as gr
import plotly

HERE = Path(__file__).resolve().parent
PLOTLY = Path(plotly.__file__).resolve().parent / "package_data" / "plotly.min.js"
gr.set_static_paths([HERE, PLOTLY])

_LOAD = """
// events: 'opened' 'picked' 'drawn'
const at = (path) => new URL("gradio_api/file=" + path, document.baseURI).href;
import(at("FOLDER/MODULE?v=VERSION")).then((m) => m.mount(element, props, watch, trigger, at)).catch((error) => {
  element.textContent = "This part of the page could not be loaded: " + error.message;
});
"""


def version() -> str:
    """Of the files here: it stands in their address, so that a browser never mixes two versions."""
    digest = hashlib.sha256()
    for path in sorted(p for p in HERE.iterdir() if p.suffix in (".js", ".css")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class _Scripted(gr.HTML):
    module = ""

    def __init__(self, value: dict | None = None, **kwargs):
        load = _LOAD.replace("FOLDER", HERE.as_posix()).replace("MODULE", self.module).replace("VERSION", version())
        super().__init__(
            value=value or {},
            html_template='<div class="pf-plots"></div>',
            js_on_load=load.replace("PLOTLY", PLOTLY.as_posix()),
            apply_default_css=False,
            **kwargs,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}

    def preprocess(self, payload: dict | None) -> dict | None:
        return payload

    def postprocess(self, value: dict | None) -> dict | None:
        return value


class StreamingPlot(_Scripted):
    """Value (see `stream`): {"source", "plots", "library"}. The browser asks `source?after=VERSION` again and again
    for {"version", "plots": {name: {"data", "layout"}}, "busy", "said"}; what did not change need not be sent.
    "query", if sent, goes into the address bar when it changes; "command" stands below the plots. Events: `opened`
    {"query"} (the address's) once it is on the screen, `picked` {"plot", "x", "y"} for a click anywhere on a plot."""

    module = "plot.js"


class Brush(_Scripted):
    """A canvas for points. Event `drawn`, after each stroke: {"points": [[x, y], ...]}, x and y in [-3, 3]."""

    module = "brush.js"


def stream(source: str = "", plots: list[str] = [], links: list[list[str]] = []) -> dict:
    """StreamingPlot's value: where the figures come from, the names of the plots in order, and what can be downloaded,
    (label, address)."""
    return {"source": source, "plots": plots, "links": links, "library": PLOTLY.as_posix()}
