"""Explore: one run, stepped through."""

import html
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app import links
from app.changed import Changed
from app.components.tour.tour import Heading
from app.components.viewer.viewer import FrameViewer, manifest
from app.handlers import FIRST_TAB, Asked, StatusLine, on, travelling, uploaded
from app.runform import RunForm, parts_of
from app.state import AppState
from app.store import StoredRun
from app.tabs.explore import add, own
from app.tabs.explore.decoded import Decoded
from app.worker import lane_of
from pf_core.errors import InputError

TITLE = "Explore"
EMPTY = "Choose what to draw and press Run: every forward pass will appear here as it is made."


class Explore:
    """The tab's components and its handlers, which are plain methods."""

    def __init__(self, state: AppState):
        self.state = state
        with gr.Row(elem_classes="pf-page", equal_height=False):
            with gr.Column(scale=0, min_width=296, elem_classes="pf-controls"):
                self.build_controls()
            with gr.Column(elem_classes="pf-stage", min_width=320):
                self.viewer = FrameViewer(self.recording(unasked=True), elem_id="explore-viewer")
                self.run_id = gr.State("")  # of the run that is shown
                self.decoded = Decoded(state, self.run_id, self.status)
        self.mine = gr.State("")  # of the last one that was started from this page: the next one replaces it
        self.wire()

    def build_controls(self) -> None:
        self.form = RunForm(self.state, "explore", nfe=64, images=4)
        with gr.Row(elem_classes="pf-buttons"):
            # off until the page has what its address asks for: that answer would take a run's place in the viewer
            self.run = gr.Button("Run", variant="primary", elem_id="explore-run", min_width=80, interactive=False)
            self.stop = gr.Button("Stop", variant="stop", elem_id="explore-stop", min_width=60)
        self.changed = Changed("explore-changed")
        self.recipe = gr.UploadButton(
            "Load recipe or export",
            file_types=links.KINDS,
            size="sm",
            elem_id="explore-recipe",
            elem_classes="pf-quiet",
        )
        self.status = StatusLine(elem_id="explore-said")
        self.beside = gr.HTML("", padding=False, elem_id="explore-beside")
        self.form.advanced()

    def wire(self) -> None:
        shown, status = [self.viewer, self.run_id, self.mine], {"status": self.status}
        self.changed.watch(self.state, self.viewer, self.form.inputs, lambda values: [self.form.spec(values)])
        started = {"busy": self.run, "api_name": "run", "show_progress": "hidden", "queue": False}
        ran = on(self.run.click, self.on_run, {"before": self.mine, **self.form.inputs}, shown, **status, **started)
        loaded = [*shown, self.beside, *self.form.outputs]
        read = on(self.recipe.upload, self.on_recipe, {"before": self.mine, "path": self.recipe}, loaded, **status)
        self.decoded.follow(ran, read)
        on(self.run.click, lambda: {self.beside: ""}, {}, [self.beside])
        stopped = {"api_name": "stop", "show_progress": "hidden", "queue": False}
        on(self.stop.click, self.on_stop, {"run_id": self.run_id}, **status, **stopped)

    def on_load(self, demo: gr.Blocks, address: Heading) -> None:
        """To be called in the Blocks' context: a link's settings and run, else a recording, at first paint."""
        outputs = [self.viewer, self.run_id, self.mine, *self.form.outputs]
        asked = on(demo.load, self.at_first, {}, [*outputs, self.run], status=self.status)
        back = on(address.travelled, travelling(self.from_entry, TITLE), {}, outputs, status=self.status)
        self.decoded.follow(asked, back)

    # handlers: each returns {component: update}

    def on_run(self, before: str, request: gr.Request = None, **values: Any) -> dict:
        """Start a run (this page's one before, if it is still going, stops) and show it."""
        spec = self.form.spec(values)
        run = self.state.start(spec, lane=lane_of(request))
        self.state.halt(before)
        return self.showing(run, self.form.link(values)) | {self.status: ""}

    def on_recipe(self, before: str, path: str, request: gr.Request = None) -> dict:
        """A file that a person brought: its run, and the controls as near to its recipe as they can come."""
        run, sentence = links.load(self.state, uploaded(path), lane=lane_of(request))
        self.state.halt(before)
        asked, updates = parts_of(self.state, run.spec), {}
        try:
            updates = self.form.from_link(asked)
        except InputError as e:
            sentence += f" The controls cannot show it: {e}"
        offer, reason = self.offer(path)
        said = {self.status: " ".join(filter(None, [sentence, links.left_out(run.spec), reason])), self.beside: offer}
        return updates | self.showing(run, self.address(asked, run)) | said

    def offer(self, path: str) -> tuple[str, str]:
        """(a link that runs all recipes of an export side by side, why there is none)."""
        try:
            parts = links.beside(self.state, path)
        except InputError as e:
            return "", f"Compare cannot show them all: {e}"
        if parts is None:
            return "", ""
        count = sum(name.startswith("c") and name[1:].isdigit() for name in parts)
        words = "Open both in Compare" if count == 2 else f"Open all {count} in Compare"
        return f'<a class="pf-beside" href="?{html.escape(urlencode(parts))}">{words}</a>', ""

    def on_stop(self, run_id: str) -> dict:
        if not run_id:
            raise InputError("Nothing is running.")
        self.state.stop(run_id)
        return {self.status: ""}

    def showing(self, run: StoredRun, parts: Mapping[str, Any], mine: bool = True, again: bool = False) -> dict:
        query = urlencode({**parts, "run": run.id})
        return {
            self.viewer: manifest([run], query=query, again=again),
            self.run_id: run.id,
            self.mine: run.id if mine else "",
        }

    # links

    def address(self, asked: dict[str, str], run: StoredRun) -> dict[str, str]:
        """The parts of a link that brings a run back, from its recipe once it is not kept any more."""
        return asked | links.whole(run.spec)

    def again(self, asked: dict[str, str], *, lane: str = "") -> StoredRun:
        """The run of a link, made again. Raises InputError."""
        if "recipe" in asked:
            return self.state.start(links.here(self.state, links.decode(asked["recipe"])), lane=lane)
        return self.state.start(self.form.spec(self.form.values(asked)), lane=lane)

    def at_first(self, request: gr.Request) -> dict:
        """What the page's address asks for; Run works from then on."""
        return self.from_link(request) | {self.run: gr.update(interactive=True)}

    def from_link(self, request: gr.Request) -> dict:
        """What the page's address asks for: settings, and a run; a recording where it asks for nothing."""
        asked = dict(request.query_params)
        if asked.get("tab", FIRST_TAB) != FIRST_TAB:
            asked = {}  # what it names is of another tab
        try:
            updates, sentence = self.form.from_link(asked), ""
        except InputError as e:
            updates, sentence = {}, f"This link could not be read: {e}"
        run_id = asked.get("run", "")
        if run_id in self.state.runs:
            shown = {self.viewer: manifest([self.state.runs.get(run_id)]), self.run_id: run_id, self.mine: ""}
        elif run_id and not sentence:
            return updates | self.not_kept(asked, lane_of(request))
        else:
            updates = updates | ({} if asked.get("network") else self.form_of(self.state.recordings(1)))
            value = manifest(empty=EMPTY) if asked.get("network") else self.recording()
            shown = {self.viewer: value, self.run_id: "", self.mine: ""}
        return updates | shown | {self.status: sentence}

    def from_entry(self, request: Asked) -> dict:
        """The same for Back and Forward; a run that this page started is still replaced by its next one."""
        return {c: u for c, u in self.from_link(request).items() if c is not self.mine or u}

    def recording(self, unasked: bool = False) -> dict:
        """The viewer's value where nothing was asked for. With `unasked` it is there before the page has said what its
        address asks for: who asked for nothing sees the first frame that much sooner."""
        found = self.state.recordings(1)
        if unasked:
            return manifest(found, autoplay=True) | {"unasked": True} if found else manifest()
        return manifest(found, autoplay=True, empty=EMPTY)

    def form_of(self, recordings: list[StoredRun]) -> dict:
        """The controls as the recording's recipe has them: at first paint they say what is seen, of a mixed batch its
        first image."""
        try:
            if not recordings:
                return {}
            spec = recordings[0].spec
            mixed = links.beyond(spec)
            return self.form.updates(replace(spec, seeds=spec.seeds[:1], labels=spec.labels[:1]) if mixed else spec)
        except InputError:  # its network need not be here
            return {}

    def not_kept(self, asked: dict[str, str], lane: str) -> dict:
        """For a link whose run is not here (any more)."""
        nothing = {self.viewer: manifest(empty=EMPTY), self.run_id: "", self.mine: ""}
        if not asked.get("network") and "recipe" not in asked:
            return nothing | {self.status: "That run is not kept any more: press Run for a new one."}
        try:
            run = self.again(asked, lane=lane)
        except InputError as e:
            gone = "" if asked["run"] == links.NOW else "That run is not kept any more, and cannot be made again: "
            return nothing | {self.status: f"{gone}{e}"}
        again = "That run was not kept any more: it was made again from its link."
        return self.showing(run, asked, again=True) | {self.status: "" if asked["run"] == links.NOW else again}


def build(state: AppState) -> Explore:
    with gr.Tabs(elem_id="own-tabs"):
        with gr.Tab("A run", id="run"):
            explore = Explore(state)
        with gr.Tab(own.TITLE, id="own"):
            own.OwnPicture(state)
        with gr.Tab(add.TITLE, id="add"):
            explore.network_added = add.AddNetwork(state).added
    return explore
