"""Add a network: a released one's file, or a checkpoint, uploaded or by its path on the server."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.adding import NOTHING, TOLD
from app.handlers import PlainText, StatusLine, on, uploaded
from app.limits import UPLOAD_BYTES
from app.state import AppState
from pf_core.memory import in_words
from pf_core.models.convert import FAMILIES
from pf_core.models.importing import KINDS

TITLE = "Add a network"
EVERY = 0.3  # seconds between two looks at how far it is


class AddNetwork:
    """The section's components and handlers. `added` changes when a network has come into the lists."""

    def __init__(self, state: AppState):
        self.state = state
        self.added = gr.State("")
        where = " or ".join(map(str, state.additions.roots))
        with gr.Column(elem_classes="pf-controls pfa-form"):
            PlainText(
                "pf-words",
                "Bring the weights of a network: a release of Patch Forcing, SiT, Self-Flow or DiT, or a checkpoint of "
                f"this program. Upload a file of at most {in_words(UPLOAD_BYTES)}, or name one under {where}. "
                "Nothing in a file is ever run.",
            )
            self.file = gr.File(
                label="Drop a file here", file_types=list(KINDS), height=112, type="filepath", elem_id="add-file"
            )
            self.path = gr.Textbox("", label="or a path on the server", max_length=1000, elem_id="add-path")
            with gr.Row(elem_classes="pf-pair"):
                self.name = gr.Textbox("", label="Name", info="empty: the file's", max_length=64, elem_id="add-name")
                self.kind = gr.Dropdown(
                    [TOLD, *FAMILIES], value=TOLD, label="Kind", info="where the file does not tell", elem_id="add-kind"
                )
            self.encoder = gr.Dropdown(
                [NOTHING, *state.additions.autoencoders()],
                value=NOTHING,
                label="Autoencoder",
                info="of the network's latents: folders of AutoencoderKL under the same places",
                elem_id="add-autoencoder",
            )
            self.add = gr.Button("Add", variant="primary", elem_id="add-add")
            self.status = StatusLine(elem_id="add-said")
            self.report = PlainText("pf-estimate", elem_id="add-report")
        self.wire()

    def wire(self) -> None:
        given = {"file": self.file, "path": self.path, "name": self.name, "kind": self.kind, "encoder": self.encoder}
        on(
            self.add.click, self.on_add, given, [self.report, self.added, self.file],
            status=self.status, concurrency_limit=None, show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        on(self.encoder.focus, self.on_choices, {}, [self.encoder])

    # handlers: each returns {component: update}

    def on_add(self, file: Any, path: str, name: str, kind: str, encoder: str) -> Iterator[dict]:
        """Add it, saying what is being done. It goes on if nobody looks."""
        choices = {"name": str(name or "").strip(), "kind": kind, "encoder": encoder}
        if file:
            place = uploaded(file)
            if not Path(place).is_file():  # another page brought the same file, and it has been taken in, or refused
                yield {self.file: None}
            adding = self.state.additions.upload(place, Path(place).name, **choices)
        else:
            adding = self.state.additions.path(path, **choices)
        while adding.busy:
            yield {self.report: adding.report, self.status: ""}
            time.sleep(EVERY)
        if adding.result is None:
            yield {self.report: "", self.status: adding.sentence, self.file: None}
        else:
            yield {self.report: adding.report, self.status: "", self.added: adding.name, self.file: None}

    def on_choices(self) -> dict:
        """The autoencoders that are there now."""
        return {self.encoder: gr.update(choices=[NOTHING, *self.state.additions.autoencoders()])}
