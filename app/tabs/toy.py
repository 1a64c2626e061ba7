"""Toy: the method on a plane, trained live in the page (the paper's Fig. 5)."""

import os
import secrets
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.controls import KnobGroups
from app.labs import PLOTS, VIEWS, Lab, Labs
from app.plot.plot import Brush, StreamingPlot, stream
from app.routes import guarded
from app.session import Session
from pf_core.errors import InputError
from pf_core.registry import number, parameters
from pf_core.samplers import SAMPLERS, nfe_of, steps_for, uniform_grid
from pf_core.timesteps import TIMESTEPS
from pf_core.toy import TOYS, read_points
from pf_core.toylab import DRAWN, ToyConfig

TITLE = "Toy"
MAX_STEPS, MAX_NFE, MAX_FILE = 5000, 100, 5 * 2**20
SPEEDS = {"as fast as it goes": None, "25 steps a picture": 25, "5 steps a picture": 5, "1 step a picture": 1}
SOURCE_NAMES = [("as in the data's figure", "own"), ("shifted to the left", "shifted"), ("standard normal", "normal")]
STOP_GRADIENT = (
    "The paper keeps the NLL's direct gradient out of the velocity; without that, the velocity is also fitted with "
    "weight 1/variance, so that points it is already sure of pull hardest."
)
_QUIET = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
_LABS: WeakKeyDictionary[Session, Labs] = WeakKeyDictionary()


def labs(session: Session) -> Labs:
    """One set of laboratories a session, that is, a server."""
    return _LABS.setdefault(session, Labs())


def routes(session: Session) -> list[Route]:
    """The stream of a laboratory's plots."""

    def frame(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 12:
            raise InputError("after must be a whole number from 0.")
        lab = labs(session).get(request.path_params["lab_id"])
        return Response(lab.since(int(after)), media_type="application/json", headers={"cache-control": "no-store"})

    return [Route("/pf/toy/{lab_id}/frame", guarded(frame))]


class ToyTab:
    """The tab's components and its handlers, which are plain methods."""

    def __init__(self, session: Session):
        self.labs = labs(session)
        self.lab_id, self.drawn = gr.State(""), gr.State(None)
        with gr.Row(elem_classes="pf-page", equal_height=False):
            with gr.Column(scale=0, min_width=296, elem_classes="pf-controls"):
                self.build_controls()
            with gr.Column(elem_classes="pf-stage", min_width=320):
                self.plot = StreamingPlot(stream(), elem_id="toy-plots")
                with gr.Row(elem_classes="toy-look"):
                    self.view = gr.Dropdown(VIEWS, value=VIEWS[0], label="View of the plane", elem_id="toy-view")
                    self.tx = gr.Slider(0, 1, 0.2, step=0.01, label="t_x", elem_id="toy-tx")
                    self.ty = gr.Slider(0, 1, 0.2, step=0.01, label="t_y", elem_id="toy-ty")
                    self.tied = gr.Checkbox(True, label="one t for both")
        self.wire()

    def build_controls(self) -> None:
        choices = [(e.label.split("(")[0].strip(), name) for name, e in TOYS.items()] + [("Drawn by hand", DRAWN)]
        self.data = gr.Dropdown(choices, value=ToyConfig.data, label="Data", elem_id="toy-data")
        with gr.Column(visible=False) as self.drawing:
            self.brush = Brush({}, elem_id="toy-brush")
            self.file = gr.UploadButton("Points from a CSV file", file_types=[".csv", ".txt"], size="sm")
        with gr.Row(elem_classes="pf-buttons"):
            self.start = gr.Button("Start", variant="primary", elem_id="toy-start", min_width=80)
            self.pause = gr.Button("Pause", elem_id="toy-pause", min_width=60)
            self.step = gr.Button("Step", elem_id="toy-step", min_width=60)
        with gr.Row(elem_classes="pf-buttons"):
            self.rewind = gr.Button("Rewind", elem_id="toy-rewind", min_width=90)
            self.reset = gr.Button("Reset", elem_id="toy-reset", min_width=90)
        gr.Markdown("Rewind keeps the start, Reset takes another. Click a plane to start a trajectory there.")
        self.said = gr.Markdown("", elem_classes="pf-said", elem_id="toy-said")
        self.timesteps = gr.Dropdown(_labelled(TIMESTEPS), value=ToyConfig.timesteps, label="Timestep sampler")
        self.sampler = gr.Dropdown(_labelled(SAMPLERS), value=next(iter(SAMPLERS)), label="Inference sampler")
        self.forget = gr.Button("Forget the starts clicked", size="sm", elem_id="toy-forget")
        with gr.Accordion("Advanced", open=False, elem_classes="pf-advanced"):
            self.source = gr.Dropdown(SOURCE_NAMES, value="own", label="Source")
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
            self.steps = gr.Slider(100, MAX_STEPS, ToyConfig.steps, step=100, label="Steps")
            self.speed = gr.Dropdown(list(SPEEDS), value=next(iter(SPEEDS)), label="Speed")
            self.nfe = gr.Slider(1, MAX_NFE, 20, step=1, label="Network evaluations a point")
            self.stop_gradient = gr.Checkbox(True, label="Stop-gradient in the NLL", info=STOP_GRADIENT)
            self.timestep_knobs = KnobGroups(TIMESTEPS, ToyConfig.timesteps)
            self.knobs = KnobGroups(SAMPLERS, next(iter(SAMPLERS)))

    def wire(self) -> None:
        simple = [self.data, self.drawn, self.timesteps, self.source, self.seed, self.steps, self.stop_gradient]
        recipe = [self.lab_id, *simple, *self.timestep_knobs.components]
        looks = [self.lab_id, self.sampler, self.nfe, *self.knobs.components]
        self.plot.opened(self.on_open, [self.lab_id, *recipe[1:]], [self.lab_id, self.plot, self.said], **_QUIET)
        self.plot.picked(self.on_pick, self.lab_id, self.said, **_QUIET)
        for control in (*simple[:1], *simple[2:], *self.timestep_knobs.components):
            event = control.release if isinstance(control, gr.Slider) else control.input
            event(self.on_recipe, recipe, self.said, **_QUIET)
        self.data.input(lambda name: gr.update(visible=name == DRAWN), self.data, self.drawing, **_QUIET)
        self.timesteps.input(self.timestep_knobs.show, self.timesteps, self.timestep_knobs.groups, **_QUIET)
        self.brush.drawn(self.on_drawn, recipe, [self.drawn, self.said], **_QUIET)
        self.file.upload(self.on_file, [self.file, *recipe], [self.drawn, self.said], **_QUIET)
        for control in (self.sampler, self.nfe, *self.knobs.components):
            event = control.release if isinstance(control, gr.Slider) else control.input
            event(self.on_look, looks, self.said, **_QUIET)
        self.sampler.input(self.knobs.show, self.sampler, self.knobs.groups, **_QUIET)
        self.start.click(self.on_start, [self.lab_id, self.speed], self.said, **_QUIET)
        self.speed.input(self.on_speed, [self.lab_id, self.speed], self.said, **_QUIET)
        for button, order in ((self.pause, Lab.pause), (self.step, Lab.step), (self.rewind, Lab.rewind)):
            button.click(self.ordering(order), self.lab_id, self.said, **_QUIET)
        self.forget.click(self.ordering(Lab.forget_starts), self.lab_id, self.said, **_QUIET)
        self.reset.click(self.on_reset, recipe, [self.seed, self.said], **_QUIET)
        view = [self.lab_id, self.view, self.tx, self.ty, self.tied]
        self.view.input(self.on_view, view, [self.tx, self.ty, self.said], **_QUIET)
        for slider, first in ((self.tx, True), (self.ty, False)):
            slider.input(self.scrubbed(first), view, [self.tx, self.ty, self.said], **_QUIET)

    # handlers

    def config(self, data, drawn, timesteps, source, seed, steps, stop_gradient, *knobs) -> ToyConfig:
        """What the controls say. Raises InputError: nothing here trusts the browser."""
        known = parameters(ToyConfig)
        steps = known["steps"].check(steps)
        if steps > MAX_STEPS:
            raise InputError(f"The app trains at most {MAX_STEPS:,} steps; the command line has no such limit.")
        return ToyConfig(
            data=data,
            array=drawn if data == DRAWN else None,
            timesteps=TIMESTEPS[timesteps].name,
            timestep_settings=TIMESTEPS[timesteps].settings(self.timestep_knobs.settings(timesteps, knobs)),
            source=known["source"].check(source),
            seed=known["seed"].check(seed),
            steps=steps,
            stop_gradient=known["stop_gradient"].check(stop_gradient),
        )

    def on_open(self, lab_id: str, *values) -> tuple:
        try:
            lab = self.labs.open(self.config(*values))
        except InputError as e:
            return "", gr.skip(), str(e)
        return lab.id, stream(f"pf/toy/{lab.id}/frame", PLOTS), ""

    def on_recipe(self, lab_id: str, data: str, drawn: Any, *values) -> str:
        if data == DRAWN and drawn is None:
            return "Draw points with the pointer, or give a CSV file of two columns."
        return _said(lambda: self.labs.get(lab_id).restart(self.config(data, drawn, *values)))

    def on_reset(self, lab_id: str, *values) -> tuple:
        values = list(values)
        values[4] = secrets.randbelow(100_000)
        return values[4], self.on_recipe(lab_id, *values)

    def on_drawn(self, lab_id: str, data: str, drawn: Any, *values, event: gr.EventData = None) -> tuple:
        return self._given(event._data.get("points"), lab_id, *values)

    def on_file(self, path: str, lab_id: str, data: str, drawn: Any, *values) -> tuple:
        try:
            if os.path.getsize(path) > MAX_FILE:
                raise InputError(f"The file is larger than {MAX_FILE // 2**20} MB: give fewer points.")
            found = read_points(Path(path).read_text(encoding="utf-8")).tolist()
        except UnicodeDecodeError:
            return gr.skip(), "This is not a text file."
        except InputError as e:
            return gr.skip(), str(e)
        return self._given(found, lab_id, *values)

    def _given(self, found: Any, lab_id: str, *values) -> tuple:
        sentence = self.on_recipe(lab_id, DRAWN, found if isinstance(found, list) else [], *values)
        return (gr.skip() if sentence else found), sentence

    def on_look(self, lab_id: str, sampler: str, nfe: Any, *knobs) -> str:
        def change():
            settings = SAMPLERS[sampler].settings(self.knobs.settings(sampler, knobs))
            budget = max(
                number("The number of evaluations", nfe, 1, MAX_NFE), nfe_of(sampler, uniform_grid(1), settings)
            )
            steps_for(sampler, int(budget), settings)
            self.labs.get(lab_id).set(sampler=sampler, settings=settings, nfe=int(budget))

        return _said(change)

    def on_start(self, lab_id: str, speed: str) -> str:
        return _said(lambda: self.labs.get(lab_id).start(SPEEDS.get(speed)))

    def on_speed(self, lab_id: str, speed: str) -> str:
        return _said(
            lambda: self.labs.get(lab_id).tell(lambda: setattr(self.labs.get(lab_id), "burst", SPEEDS.get(speed)))
        )

    def ordering(self, order):
        return lambda lab_id: _said(lambda: order(self.labs.get(lab_id)))

    def on_pick(self, lab_id: str, event: gr.EventData) -> str:
        def add():
            x, y = (number("A start", event._data.get(k), -1e4, 1e4) for k in ("x", "y"))
            if event._data.get("plot") not in (PLOTS[-1],):
                self.labs.get(lab_id).add_start(x, y)

        return _said(add)

    def scrubbed(self, first: bool):
        def move(lab_id, view, tx, ty, tied):
            if tied:
                tx = ty = tx if first else ty
            return self.on_view(lab_id, view, tx, ty, tied, moved=first)

        return move

    def on_view(self, lab_id, view, tx, ty, tied, moved: bool | None = None) -> tuple:
        """Look elsewhere; of two tied sliders the one that was not moved follows."""

        def change():
            if view not in VIEWS:
                raise InputError(f"There is no view {view!r}.")
            self.labs.get(lab_id).set(view=view, t=tuple(number("t", t, 0, 1) for t in (tx, ty)))

        sentence = _said(change)
        follow = [gr.skip(), gr.skip()]
        if tied and moved is not None:
            follow = [gr.skip(), gr.update(value=ty)] if moved else [gr.update(value=tx), gr.skip()]
        return *follow, sentence


def build(session: Session) -> ToyTab:
    return ToyTab(session)


def _labelled(registry) -> list[tuple[str, str]]:
    return [(entry.label.split("(")[0].strip(), name) for name, entry in registry.items()]


def _said(action) -> str:
    """Do it; the sentence of what was wrong, or an empty one."""
    try:
        action()
    except InputError as e:
        return str(e)
    return ""
