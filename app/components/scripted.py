"""A Gradio component that is a piece of our own markup with a script of our own."""

import base64
from typing import Any

import gradio as gr

from app.server.static import version

_LOAD = """
// events: EVENTS
const file = new URL("pf/static/VERSION/MODULE", document.baseURI).href;
import(file).then((module) => module.mount(element, props, watch, trigger)).catch((error) => {
  element.textContent = "This part of the page could not be loaded: " + error.message;
});
"""


class Scripted(gr.HTML):
    """`markup` stays as it is; `module`, one of the files that app/server/static.py serves, exports
    mount(element, props, watch, trigger). `may_trigger`: names of its events; Gradio looks for them, in quotes, in
    the script that loads it."""

    module = ""
    markup = ""
    may_trigger: tuple[str, ...] = ()

    def __init__(self, value: dict | None = None, **kwargs):
        load = _LOAD.replace("EVENTS", " ".join(map(repr, self.may_trigger)))
        super().__init__(
            value=value,
            html_template=self.markup,
            js_on_load=load.replace("VERSION", version()).replace("MODULE", self.module),
            apply_default_css=False,
            **kwargs,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}

    def preprocess(self, payload: dict | None) -> dict | None:
        return payload

    def postprocess(self, value: dict | None) -> dict | None:
        return value


def packed(values) -> str:
    """A tensor for a script: float32, little endian, as base64."""
    return base64.b64encode(values.contiguous().cpu().numpy().astype("<f4").tobytes()).decode()
