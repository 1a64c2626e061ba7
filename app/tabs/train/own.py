"""Own pictures in the Train tab: drop files or a zip, read what was found, decide whether the good ones are used."""

from typing import Any

import gradio as gr

from pf_core.data.own import importer as intake
from pf_core.data.own import library as taken
from pf_core.errors import InputError

KINDS = [".zip", "image", ".txt", ".jsonl", ".csv"]
NAMED = 12  # files that are named; the count says the rest
_HINT = (
    "Drop pictures or a zip. In a zip, sub-folders are classes, and captions may stand in `metadata.jsonl`, "
    "`metadata.csv` or a `.txt` beside each picture."
)


class OwnPictures:
    """Controls and handlers. `chosen` holds the name of a set for the data set's `path`."""

    def __init__(self):
        self.pending = gr.State(None)
        with gr.Column(visible=False, elem_classes="pf-own") as self.box:
            self.chosen = gr.Dropdown(choices(), value=None, label="Set of pictures", elem_id="train-set")
            self.files = gr.File(
                label="New pictures", file_count="multiple", file_types=KINDS, height=120, elem_id="train-files"
            )
            self.found = gr.Markdown(_HINT, elem_classes="pf-estimate", elem_id="train-found")
            with gr.Row(elem_classes="pf-buttons", visible=False) as self.question:
                self.use = gr.Button("Use the good ones", elem_id="train-use", min_width=80)
                self.drop = gr.Button("Drop them", elem_id="train-drop", min_width=60)

    def on_files(self, paths: list[str] | None) -> tuple:
        """(found, pending id, question)."""
        if not paths:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            report = intake.take([str(p) for p in paths])
        except InputError as e:
            return str(e), None, gr.update(visible=False)
        return sentence(report), report.id, gr.update(visible=True)

    def on_use(self, pending: str | None) -> tuple:
        """(found, pending id, question, chosen set, files)."""
        try:
            name = intake.keep(str(pending))
        except InputError as e:
            return str(e), None, gr.update(visible=False), gr.skip(), gr.update(value=None)
        said = f"Kept as **{name}**: the next training with own pictures uses it."
        return said, None, gr.update(visible=False), gr.update(choices=choices(), value=name), gr.update(value=None)

    def on_drop(self, pending: str | None) -> tuple:
        try:
            intake.drop(str(pending))
        except InputError as e:
            return str(e), None, gr.update(visible=False), gr.update(value=None)
        return "Dropped: nothing was kept.", None, gr.update(visible=False), gr.update(value=None)


def choices() -> list[tuple[str, str]]:
    """(what a list says, name) of the sets that were taken in."""
    return [(f"{s.title} ({s.pictures:,})", s.name) for s in taken.sets()]


def sentence(report: Any) -> str:
    """What was found, as Markdown; names of files are shown as they are, not as markup."""
    lines = [_plain(report.summary)]
    lines += [f"- {_plain(str(skipped))}" for skipped in report.skipped[:NAMED]]
    more = len(report.skipped) - NAMED
    return "\n".join([*lines, f"- and {more:,} more" if more > 0 else ""])


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!~" else c for c in text)
