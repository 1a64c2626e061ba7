"""Own pictures in the Train tab: drop files or a zip, read the report, decide whether the good ones are used."""

from typing import Any

import gradio as gr

from app.handlers import PlainText
from pf_core.data.own import importer, library
from pf_core.errors import InputError

KINDS = [".zip", "image", ".txt", ".jsonl", ".csv"]
NAMED = 12  # files that are named; the count says the rest
_HINT = (
    "Drop pictures or a zip. In a zip, sub-folders are classes, and captions may be in metadata.jsonl, "
    "metadata.csv or a .txt beside each picture."
)


_CAPTIONS = 'To learn from the captions, set "Learns to draw by" to captions, under "Advanced: data and losses".'


class OwnPictures:
    """Controls and handlers. `chosen` holds the name of a set for the data set's `path`."""

    def __init__(self):
        self.pending = gr.State(None)
        with gr.Column(visible=False, elem_classes="pf-own") as self.box:
            self.chosen = gr.Dropdown(choices(), value=None, label="Set of pictures", elem_id="train-set")
            self.files = gr.File(
                label="New pictures", file_count="multiple", file_types=KINDS, height=120, elem_id="train-files"
            )
            self.report = PlainText("pf-estimate", _HINT, elem_id="train-found")
            with gr.Row(elem_classes="pf-buttons", visible=False) as self.question:
                self.use = gr.Button("Use the good ones", elem_id="train-use", min_width=80)
                self.drop = gr.Button("Discard them", elem_id="train-drop", min_width=60)

    # handlers: each returns {component: update}

    def answer(self, sentence: str, pending: str | None = None) -> dict:
        """The report, and whether the question what to do with the files is shown."""
        question = gr.update(visible=pending is not None)
        return {self.report: sentence, self.pending: pending, self.question: question}

    def on_files(self, paths: list[str] | None) -> dict:
        if not paths:
            return {}
        try:
            report = importer.take([str(p) for p in paths])
        except InputError as e:
            return self.answer(str(e))
        return self.answer(sentence(report), report.id)

    def on_use(self, pending: str | None) -> dict:
        try:
            name = importer.keep(str(pending))
        except InputError as e:
            return self.answer(str(e)) | {self.files: None}
        text = f"Kept as {name}: the next training with own pictures uses it."
        return self.answer(text) | {self.chosen: gr.update(choices=choices(), value=name), self.files: None}

    def on_drop(self, pending: str | None) -> dict:
        try:
            importer.drop(str(pending))
        except InputError as e:
            return self.answer(str(e)) | {self.files: None}
        return self.answer("Discarded: nothing was kept.") | {self.files: None}


def choices() -> list[tuple[str, str]]:
    """(what a list says, name) of the sets that were taken in."""
    return [(f"{s.title} ({s.pictures:,})", s.name) for s in library.sets()]


def sentence(report: Any) -> str:
    """The report, one line for each finding."""
    more = len(report.skipped) - NAMED
    teach = _CAPTIONS if report.captions else ""
    lines = [report.summary, teach, *map(str, report.skipped[:NAMED]), f"and {more:,} more" if more > 0 else ""]
    return "\n".join(filter(None, lines))
