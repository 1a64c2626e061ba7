"""The Intervene tab's components, without what they do: app/tabs/intervene/tab.py wires them."""

import gradio as gr
from gradio.components import Component

from app import links
from app.changed import Changed
from app.components.painter.painter import Painter
from app.components.viewer.viewer import FrameViewer, manifest
from app.controls import KnobGroups
from app.handlers import PlainText, StatusLine
from app.runform import RunForm
from app.state import AppState
from app.tabs.intervene.intervention import ALL, BASE, CLEAN, DATA, GUESS, MINE, RUNS_OWN, STATE, THIS
from pf_core.sampling.edits import EDITS
from pf_core.sampling.selections import EXPERIMENTS, SELECTIONS

NFE = 32
EMPTY = "Press Run, or try one of the experiments above: then paint on any step of that run, and run on from there."
PICTURES = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"]


class Page:
    """The components, as attributes."""

    def __init__(self, state: AppState):
        self.ids, self.uploads, self.kept, self.past = (gr.State([]) for _ in range(4))
        self.mine = gr.State([])  # as ids, of the runs that this page started: its next ones replace them
        self.asked = gr.State("")  # an experiment whose run is being made
        with gr.Row(elem_classes="pf-presets"):
            self.experiments = [
                (gr.Button(e.label, size="sm", min_width=120, elem_id=f"intervene-{name}", elem_classes="pf-preset"), e)
                for name, e in EXPERIMENTS.items()
            ]
        self.caption = PlainText(
            "pf-caption",
            "Give patches a head start, hold them back, or make them clean at any step of a run, and see how "
            "the others respond.",
            elem_id="intervene-caption",
        )
        with gr.Row(elem_classes="pf-page", equal_height=False):
            with gr.Column(scale=0, min_width=296, elem_classes="pf-controls"):
                self.form = RunForm(state, "intervene", nfe=NFE, images=1)
                with gr.Row(elem_classes="pf-buttons"):
                    self.run = gr.Button(
                        "Run", variant="primary", elem_id="intervene-run", min_width=80, interactive=False
                    )
                    self.stop = gr.Button("Stop", variant="stop", elem_id="intervene-stop", min_width=60)
                self.changed = Changed("intervene-changed")
                self.recipe = gr.UploadButton(
                    "Load recipe or export", file_types=links.KINDS, size="sm", elem_classes="pf-quiet"
                )
                self.status = StatusLine(elem_id="intervene-said")
                self.form.advanced()
            with gr.Column(elem_classes="pf-stage", min_width=320):
                with gr.Row(visible=False, elem_classes="pf-work", equal_height=False) as self.work:
                    self.build_paint()
                    self.build_edit()
                    self.build_go()
                self.viewer = FrameViewer(manifest(empty=EMPTY), elem_id="intervene-viewer")
                with gr.Column(visible=False, elem_classes="pf-difference") as self.box:
                    gr.Markdown("### What the edits changed")
                    self.shown = gr.HTML("", elem_id="intervene-difference", padding=False)

    @property
    def now(self) -> dict[str, Component]:
        """The page as it is, as handlers get it: the fields of a `Now`, then the edit's knobs."""
        fields = ("ids", "which", "step", "show", "image", "painter", "kind", "whose", "source", "index", "uploads")
        return {name: getattr(self, name) for name in (*fields, "kept", "ticked")} | self.knobs.inputs

    def build_paint(self) -> None:
        with gr.Column(min_width=300, elem_classes="pf-paint"):
            gr.Markdown("### 1 · Paint patches")
            self.painter = Painter(title="Patches to intervene in", elem_id="intervene-painter")
            with gr.Row(elem_classes="pf-pair"):
                self.step = gr.Slider(1, NFE, value=4, step=1, label="At outer step", min_width=150)
                self.here = gr.Button(
                    "Step shown below", elem_id="intervene-here", elem_classes="pf-dice pf-wide", min_width=130
                )
            gr.Markdown("Or let a rule choose them:", elem_classes="pf-help")
            with gr.Row(elem_classes="pf-select"):
                self.selects = [
                    (gr.Button(e.title, size="sm", min_width=60, elem_classes="pf-preset"), name)
                    for name, e in SELECTIONS.items()
                ]
            self.image = gr.Slider(1, 2, value=1, step=1, label="Image", visible=False)
            more = gr.Accordion("More: what is shown", open=False, elem_classes="pf-more")
            with more, gr.Row(elem_classes="pf-pair"):
                self.which = gr.Dropdown([BASE], value=BASE, label="Of the run", min_width=100)
                self.show = gr.Dropdown([GUESS, STATE, CLEAN], value=GUESS, label="Show", min_width=120)

    def build_edit(self) -> None:
        first = next(iter(EDITS))
        with gr.Column(min_width=250, elem_classes="pf-edit"):
            gr.Markdown("### 2 · Choose the edit")
            self.kind = gr.Radio([(e.title, name) for name, e in EDITS.items()], value=first, label="Edit")
            self.knobs = KnobGroups(EDITS, first)
            self.whose = gr.Radio([THIS, ALL], value=THIS, label="Apply to", visible=False)
            self.ticked = gr.CheckboxGroup([], label="Kept edits (untick to leave out)", visible=False)
            with gr.Row(visible=False, elem_classes="pf-pair") as self.tools:
                self.undo = gr.Button("Undo", size="sm", elem_id="intervene-undo", min_width=60)
                self.remove = gr.Button("Remove unticked", size="sm", min_width=110)
            self.keep = gr.Button("Keep this edit, paint another", size="sm", elem_id="intervene-keep")
            with gr.Accordion("More: clean patches, inpainting", open=False, elem_classes="pf-more"):
                self.build_sources()

    def build_sources(self) -> None:
        self.source = gr.Dropdown(
            [RUNS_OWN, DATA, MINE],
            value=RUNS_OWN,
            label="Clean patches come from",
            info="for Make clean, and for the context probe",
        )
        with gr.Row(visible=False, elem_classes="pf-pair") as self.of_data:
            self.index = gr.Number(None, label="Image number", precision=0, minimum=0, min_width=120)
            self.another = gr.Button("Another", elem_classes="pf-dice", min_width=80)
        self.file = gr.File(
            label="Your picture (its centre is used)", file_types=PICTURES, visible=False,
            height=110, elem_id="intervene-file",
        )  # fmt: skip
        gr.Markdown(
            "**Inpainting.** Paint a region, then choose whether it is kept or repainted. The kept patches come from "
            "an image and are clean from the first step on; the network draws the rest.",
            elem_classes="pf-help",
        )
        with gr.Row(elem_classes="pf-pair"):
            self.inside = gr.Button("Repaint the region", size="sm", elem_id="intervene-inside", min_width=100)
            self.outside = gr.Button("Keep the region", size="sm", elem_id="intervene-outside", min_width=100)

    def build_go(self) -> None:
        with gr.Column(min_width=300, elem_classes="pf-probe"):
            gr.Markdown("### 3 · Run on")
            self.words = PlainText("pf-words", elem_id="intervene-words")
            self.go = gr.Button("Run on from here", variant="primary", elem_id="intervene-go", elem_classes="pf-go")
            self.note = StatusLine(elem_id="intervene-note")
            gr.Markdown("#### Context probe", elem_classes="pf-probe-title")
            gr.Markdown(
                "Before you run: if the painted patches were clean now, how sure would the network be of all the "
                "others? This takes one forward pass.",
                elem_classes="pf-help",
            )
            self.probe = gr.HTML("", elem_id="intervene-probe", padding=False)
