"""Your own picture, noised to chosen or painted times: what a network sees, guesses, expects and gets wrong."""

import os
import secrets
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from app import controls
from app.components.difference import data_address
from app.components.painter.painter import VALUES, Painter, painting, values_of
from app.components.scripted import Scripted
from app.controls import network_choice
from app.handlers import QUIET, Refusal, StatusLine, on
from app.limits import SEED_RANGE
from app.state import AppState
from pf_core.data.own import image_io
from pf_core.errors import InputError
from pf_core.evaluation.inspect import Inspection, Item, data_count, data_picture, inspect_picture, knows
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import to_uint8
from pf_core.registry import number, whole

TITLE = "Your own picture"
INDEX_RANGE = 2**20 - 1
FIRST_T = 0.5
MOST_NUMBER = 1000  # random data images stay below it: short numbers are easier to come back to


class LookView(Scripted):
    """x_t, x1_hat, predicted and true error side by side, and one against the other. Value: see `shown`. Event `opened`
    once it is on the screen."""

    module = "look.js"
    markup = '<div class="pf-look"></div>'
    may_trigger = ("opened",)


class OwnPicture:
    """The section's components and its handlers, which are plain methods."""

    def __init__(self, state: AppState):
        self.state, self.turn = state, threading.Lock()
        network = state.first_network()
        self.path = gr.State("")
        self.asked = gr.State(0)  # the number of the data image that was asked for last
        with gr.Row(elem_classes="pf-page", equal_height=False):
            with gr.Column(scale=0, min_width=276, elem_classes="pf-controls"):
                self.build_controls(network)
            with gr.Column(elem_classes="pf-stage", min_width=320), gr.Row(elem_classes="pfl-stage"):
                with gr.Column(min_width=300, elem_classes="pfl-paint"):
                    gr.Markdown("**Time of each patch.** Paint it, or set all with the slider.")
                    self.painter = Painter(mode=VALUES, brush=0.9, title="Time of each patch", elem_id="own-painter")
                with gr.Column(min_width=300, elem_classes="pfl-look"):
                    self.view = LookView(elem_id="own-look")
        self.wire()

    def build_controls(self, network: str | None) -> None:
        self.file = gr.File(label="Drop a picture here", height=112, elem_id="own-file")
        with gr.Row(elem_classes="pf-pair"):
            self.index = gr.Number(
                0,
                label="or image no.",
                precision=0,
                minimum=0,
                maximum=INDEX_RANGE,
                min_width=90,
                elem_id="own-index",
            )
            self.other = gr.Button("Another image", elem_classes="pf-dice", min_width=100, elem_id="own-other")
        self.t = gr.Slider(0, 1, FIRST_T, step=0.01, label="t of all patches", info="0 noise, 1 image", elem_id="own-t")
        self.network = network_choice(self.state, network, elem_id="own-network")
        self.label = controls.Listed(**controls.condition(self.state, network, last=True), elem_id="own-label")
        self.asked_of = gr.State(network)  # the network for which it was asked
        with gr.Row(elem_classes="pf-pair"):
            self.seed = gr.Number(
                0, label="Noise seed", precision=0, minimum=0, maximum=SEED_RANGE, min_width=90, elem_id="own-seed"
            )
            self.dice = gr.Button("Other noise", elem_classes="pf-dice", min_width=100)
        self.status = StatusLine(elem_id="own-said")

    def wire(self) -> None:
        chosen = {"network": self.network, "label": self.label, "path": self.path, "index": self.index}
        chosen["seed"] = self.seed
        asked = {"t": self.t, "painted": self.painter, **chosen}
        shown, file = [self.view, self.painter, self.label, self.asked_of], [self.file, self.path]
        options = {"status": self.status, "trigger_mode": "always_last", **QUIET}
        on(self.view.opened, self.on_picture, asked, shown, **options)
        on(self.network.input, self.on_network, {"was": self.asked_of, **asked}, shown, **options)
        taken = [self.asked, *file, *shown]
        on([self.index.submit, self.file.clear], self.on_index, asked, taken, **options)
        on(self.index.blur, self.on_left, {"before": self.asked, **asked}, taken, **options)
        another = on(self.other.click, self.on_other, {"network": self.network}, [self.index], **QUIET)
        on(another.then, self.on_index, asked, taken, **options)
        on(self.file.upload, self.on_file, {"file": self.file, **asked}, [self.path, *shown], **options)
        on(self.t.input, self.on_time, {"t": self.t, **chosen}, [self.view, self.painter], **options)
        looking = {"painted": self.painter, **chosen}
        on(
            [self.painter.painted, self.label.input, self.seed.submit, self.seed.blur],
            self.on_look, looking, [self.view], **options,
        )  # fmt: skip
        noise = on(self.dice.click, lambda: {self.seed: secrets.randbelow(100_000)}, {}, [self.seed], **QUIET)
        on(noise.then, self.on_look, looking, [self.view], **options)

    # handlers: each returns {component: update}; nothing here trusts the browser

    def on_look(self, painted: Any, network: str, label: Any, path: str, index: Any, seed: Any) -> dict:
        """A new look at the same picture."""
        bundle = self._bundle(network)
        item, values = self._item(bundle, path, index), values_of(painted, bundle.grid)
        return {self.view: self.shown(bundle, item, torch.tensor(values), label, seed), self.status: ""}

    def on_time(self, t: float, network: str, label: Any, path: str, index: Any, seed: Any) -> dict:
        """All patches at one time."""
        bundle = self._bundle(network)
        values = [number("t", t, 0, 1)] * bundle.grid.n
        value = self.shown(bundle, self._item(bundle, path, index), torch.tensor(values), label, seed)
        return {self.view: value, self.painter: painting(bundle.grid, values=values), self.status: ""}

    def on_picture(self, t, painted: Any, network: str, label: Any, path: str, index: Any, seed: Any) -> dict:
        """Another picture, conditioned on its own class or caption where that is known. The painted times stay, unless
        they do not fit the network's grid."""
        bundle = self._bundle(network)
        item = self._item(bundle, path, index)
        looks = controls.condition(self.state, network, item.label, last=True)
        return self._both(bundle, item, t, painted, looks, seed)

    def on_network(
        self, t, painted: Any, network: str, label: Any, path: str, index: Any, seed: Any, was: str | None
    ) -> dict:
        """Another network; what was asked for stays where it can draw that."""
        bundle, label = self._bundle(network), controls.kept(self.state, network, label, was)
        item, looks = self._item(bundle, path, index), controls.condition(self.state, network, label, last=True)
        return self._both(bundle, item, t, painted, looks, seed)

    def on_index(self, t, painted: Any, network: str, label: Any, path: str, index: Any, seed: Any) -> dict:
        """A data image instead of a file."""
        nothing = {self.file: None, self.path: "", self.asked: index}
        try:
            return nothing | self.on_picture(t, painted, network, label, "", index, seed)
        except InputError as e:
            return nothing | {self.status: Refusal(e)}

    def on_left(self, before: Any, index: Any, **values: Any) -> dict:
        """The cursor has left the number, which may be the same as before: then a person's file stays."""
        return {self.asked: index} if index == before else self.on_index(index=index, **values)

    def on_other(self, network: str) -> dict:
        """Another data image's number."""
        try:
            return {self.index: secrets.randbelow(min(MOST_NUMBER, data_count(self._bundle(network))))}
        except InputError:
            return {}  # on_index, which follows, says why

    def on_file(self, file: str | None, t, painted: Any, network: str, label: Any, path: str, index: Any, seed) -> dict:
        """A person's file. A bad one leaves all as it was."""
        path = str(file or "")
        return {self.path: path} | self.on_picture(t, painted, network, label, path, index, seed)

    # parts

    def _bundle(self, network: Any) -> Bundle:
        if not network:
            raise InputError("There is no network yet: train one with `make train-demo`.")
        return self.state.bundle(network)

    def _item(self, bundle: Bundle, path: str, index: Any) -> Item:
        """The file where there is one, else the data image. Raises InputError."""
        if not path:
            return data_picture(bundle, whole("The data image", index, 0, INDEX_RANGE))
        if not Path(path).is_file():
            raise InputError("The picture is no longer kept: upload it again.")
        images = _read(path, os.stat(path).st_mtime_ns, *bundle.image_size)
        x1 = bundle.codec.encode(images[None].to(bundle.device))[0].cpu()
        return Item(x1, None, f"{Path(path).name}, your picture.")

    def _both(self, bundle: Bundle, item: Item, t: Any, painted: Any, looks: dict[str, Any], seed: Any) -> dict:
        """looks: of the control of what to condition on."""
        image, values = _picture(bundle, item.x1), None
        try:
            times = values_of(painted, bundle.grid)
        except InputError:  # painted on another grid, or not at all yet
            times = values = [number("t", t, 0, 1)] * bundle.grid.n
        return {
            self.view: self.shown(bundle, item, torch.tensor(times), looks["value"], seed),
            self.painter: painting(bundle.grid, image=image, **({} if values is None else {"values": values})),
            self.label: gr.update(**looks),
            self.asked_of: bundle.name,
            self.status: "",
        }

    def shown(self, bundle: Bundle, item: Item, t: Tensor, label: Any, seed: Any) -> dict[str, Any]:
        """The view's value: one forward pass. Raises InputError."""
        seed = whole("The noise seed", seed, 0, SEED_RANGE)
        label = bundle.conditioner.named(label)
        with self.turn:  # one at a time, whoever asks
            begin = time.perf_counter()
            inspection = inspect_picture(bundle, item.x1, t, label=label, seed=seed)
            took = time.perf_counter() - begin
        asked = f"{bundle.conditioner.takes.capitalize()} {label or 'none'}"
        about = f"{item.about} {asked}, noise seed {seed}; one forward pass, {1000 * took:.0f} ms."
        lost = "".join(f" {note}" for note in bundle.conditioner.notes(label))
        stranger = (
            "" if knows(bundle, item.x1) else f" {bundle.name} knows only its own images: it predicts the nearest."
        )
        return described(bundle, inspection) | {"about": about + lost + stranger}


def described(bundle: Bundle, inspection: Inspection) -> dict[str, Any]:
    """A look for the browser."""

    def numbers(values: Tensor | None) -> list[float] | None:
        return None if values is None else [round(float(v), 5) for v in values]

    return {
        "grid": [bundle.grid.rows, bundle.grid.cols],
        "images": {"xt": _picture(bundle, inspection.xt), "x1_hat": _picture(bundle, inspection.x1_hat)},
        "t": numbers(inspection.t),
        "sigma": numbers(inspection.sigma),
        "error": numbers(inspection.error),
        "sentence": inspection.sentence(),
    }


def _picture(bundle: Bundle, x: Tensor) -> str:
    """(C, H, W) in the network's space as a PNG's data address."""
    images = to_uint8(bundle.codec.preview(x[None].to(bundle.device)))
    return data_address(Image.fromarray(images[0].cpu().numpy()))


@lru_cache(maxsize=32)
def _read(path: str, written: int, height: int, width: int) -> Tensor:
    """pictures.read, once a file and size: a slider's every move asks for it."""
    return image_io.read(path, height, width)
