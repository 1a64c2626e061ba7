"""The frame viewer as a Gradio component. Its value is a small manifest; the browser pulls the frames itself."""

from typing import Any

import gradio as gr

from app.routes import version
from app.store import StoredRun

_LOAD = """
const file = new URL("pf/static/VERSION/viewer.js", document.baseURI).href;
import(file).then((viewer) => viewer.mount(element, props, watch)).catch((error) => {
  element.textContent = "The viewer could not be loaded: " + error.message;
});
"""


class FrameViewer(gr.HTML):
    """Shows 1 to 4 runs on one clock. Value: {"runs": [{"id", "label"}], "align": "nfe" | "outer" | "seconds",
    "autoplay": bool, "query": text for the address bar or None, "empty": sentence shown while there is no run}."""

    def __init__(self, value: dict | None = None, **kwargs):
        super().__init__(
            value=value or manifest(),
            html_template='<div class="pf-viewer"></div>',
            js_on_load=_LOAD.replace("VERSION", version()),
            apply_default_css=False,
            **kwargs,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}

    def preprocess(self, payload: dict | None) -> dict | None:
        return payload

    def postprocess(self, value: dict | None) -> dict | None:
        return value


def manifest(
    runs: list[StoredRun] = [], *, align: str = "nfe", autoplay: bool = False, query: str | None = None, empty: str = ""
) -> dict:
    """The viewer's value."""
    shown = [{"id": run.id, "label": run.label} for run in runs]
    return {"runs": shown, "align": align, "autoplay": autoplay, "query": query, "empty": empty}
