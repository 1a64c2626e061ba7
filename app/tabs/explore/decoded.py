"""One frame's one-step prediction through the network's autoencoder, where frames are shown as previews."""

import html
import threading
import time
from typing import Any

import gradio as gr
from gradio.events import Dependency
from PIL import Image

from app.components.difference import data_address
from app.handlers import StatusLine, on
from app.state import AppState
from pf_core.bounded import parse_json
from pf_core.errors import InputError
from pf_core.models.codecs import to_uint8

_PLACE = "(...given) => window.__pf.withPlace('#explore-viewer', given)"


class Decoded:
    """A button and the picture that it makes; both are hidden where frames are images already."""

    def __init__(self, state: AppState, run_id: gr.State, status: StatusLine):
        self.state, self.run_id, self.turn = state, run_id, threading.Lock()
        self.place = gr.Textbox("{}", visible=False)
        with gr.Column(visible=False, elem_classes="pf-decoded") as self.box:
            self.button = gr.Button("Decode this frame's x1_hat", size="sm", elem_id="explore-decode")
            self.picture = gr.HTML("", padding=False, elem_id="explore-decoded")
        asked = {"place": self.place, "run_id": run_id}
        on(self.button.click, self.on_click, asked, [self.picture], status=status, js=_PLACE)

    def follow(self, *events: Dependency) -> None:
        """Be there, or not, after these events, each of which may show another run."""
        for event in events:
            on(event.then, self.on_shown, {"run_id": self.run_id}, [self.box, self.picture])

    def on_shown(self, run_id: str) -> dict:
        """Another run is shown."""
        full = run_id in self.state.runs and self.state.runs.get(run_id).codec.full
        return {self.box: gr.update(visible=full), self.picture: ""}

    def on_click(self, place: str, run_id: str) -> dict:
        run = self.state.runs.get(run_id)
        frames = run.trajectory.frames
        if not frames:
            raise InputError("This run has no frames yet: wait for the first one.")
        image, k = _place(place)
        image, k = min(max(image, 0), len(run.spec.seeds) - 1), min(max(k, 0), len(frames))
        x = (
            run.trajectory.x1
            if k == len(frames) and run.trajectory.x1 is not None
            else frames[min(k, len(frames) - 1)].x1_hat
        )
        what = "the result" if k == len(frames) else f"x1_hat of NFE {frames[k].nfe}"
        with self.turn:  # one at a time, whoever asks
            begin = time.perf_counter()
            pixels = to_uint8(run.codec.decode(x[image][None].float()))[0].cpu()
            took = time.perf_counter() - begin
        words = html.escape(f"Image {image + 1}, {what}, decoded in {took:.1f} s.")
        address = data_address(Image.fromarray(pixels.numpy()))
        return {self.picture: f'<figure><img src="{address}" alt="{words}"><figcaption>{words}</figcaption></figure>'}


def _place(text: Any) -> tuple[int, int]:
    """(image, frame) that the viewer shows. Raises InputError for what it never says."""
    try:
        place = parse_json(text or "{}")
        return int(place.get("image", 0)), int((place.get("frames") or [0])[0] or 0)
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
        raise InputError("The viewer's place could not be read: press the button again.") from None
