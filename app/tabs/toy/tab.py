"""Toy: the method on a plane, trained live in the page (the paper's Fig. 5)."""

import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio.components import Component
from starlette.routing import Route

from app.components.plot.plot import Brush, StreamingPlot, stream
from app.controls import KnobGroups, labelled
from app.handlers import SENT, PlainText, StatusLine, on, uploaded
from app.limits import SEED_RANGE
from app.private import payload
from app.state import AppState
from app.tabs.toy.lab import Lab, open_lab
from app.tabs.toy.links import PLAIN, config_from, look_from, starts_from
from app.tabs.toy.plots import PLOTS, VIEWS
from app.tabs.toy.routes import lab_routes, links
from app.tabs.toy.words import STOP_GRADIENT, VIEW_HELP
from pf_core.errors import InputError
from pf_core.registry import number, whole
from pf_core.samplers import SAMPLERS, nfe_of, steps_for, uniform_grid
from pf_core.timesteps import TIMESTEPS
from pf_core.toy.data import TOYS
from pf_core.toy.experiment import COORDINATES, DRAWN, ToyConfig
from pf_core.toy.points import fitted_points

TITLE = "Toy"
MAX_STEPS, MAX_NFE, MAX_FILE = 5000, 100, 5 * 2**20
MOST_BRUSHED = 4000  # points that the canvas can take up again
NO_POINTS = "Draw points with the pointer, or give a CSV file of two columns."
SPEEDS = {"as fast as possible": None, "25 steps per update": 25, "5 steps per update": 5, "1 step per update": 1}
SOURCE_NAMES = [("the data set's own", "own"), ("shifted to the left", "shifted"), ("standard normal", "normal")]
TRAINING = ("batch_size", "lr", "lam", "width", "depth")  # of ToyConfig, beside those with a control of their own


def routes(state: AppState) -> list[Route]:
    return lab_routes(state.labs)


class ToyTab:
    """The tab's components and its handlers, which are plain methods."""

    def __init__(self, state: AppState):
        self.state = state
        self.lab_id, self.drawn = gr.State(""), gr.State(None)
        with gr.Row(elem_classes="pf-page", equal_height=False):
            with gr.Column(scale=0, min_width=296, elem_classes="pf-controls"):
                self.build_controls()
            with gr.Column(elem_classes="pf-stage", min_width=320):
                self.plot = StreamingPlot(stream(), elem_id="toy-plots")
                self.build_look()
        self.recipe = {
            "data": self.data,
            "drawn": self.drawn,
            "timesteps": self.timesteps,
            "source": self.source,
            "seed": self.seed,
            "steps": self.steps,
            "stop_gradient": self.stop_gradient,
            **self.training,
            **self.data_knobs.inputs,
            **self.timestep_knobs.inputs,
        }
        self.looks = {"sampler": self.sampler, "nfe": self.nfe, **self.knobs.inputs}
        self.wire()

    def build_controls(self) -> None:
        choices = [*labelled(TOYS), ("Drawn by hand, CSV", DRAWN)]
        self.data = gr.Dropdown(choices, value=ToyConfig.data, label="Data", elem_id="toy-data")
        with gr.Column(visible=False) as self.drawing:
            self.brush = Brush({}, elem_id="toy-brush")
            self.file = gr.UploadButton("Points from a CSV file", file_types=[".csv", ".txt"], size="sm")
            self.given = StatusLine(elem_id="toy-given")  # of points: it stands where they come in
        with gr.Row(elem_classes="pf-buttons"):
            self.start = gr.Button("Start", variant="primary", elem_id="toy-start", min_width=80)
            self.pause = gr.Button("Pause", elem_id="toy-pause", min_width=60)
            self.step = gr.Button("Step", elem_id="toy-step", min_width=60)
        with gr.Row(elem_classes="pf-buttons"):
            self.rewind = gr.Button("Rewind", elem_id="toy-rewind", min_width=90)
            self.reset = gr.Button("Reset", elem_id="toy-reset", min_width=90)
        gr.Markdown(
            "Rewind starts again from the same seed, Reset from a new one. Click in a plot of the plane to add a "
            "trajectory.",
            elem_classes="toy-help",
        )
        self.status = StatusLine(elem_id="toy-said")
        self.timesteps = gr.Dropdown(labelled(TIMESTEPS), value=ToyConfig.timesteps, label="Timestep sampler")
        self.sampler = gr.Dropdown(
            labelled(SAMPLERS), value=next(iter(SAMPLERS)), label="Inference sampler", elem_id="toy-sampler"
        )
        self.nfe = gr.Slider(1, MAX_NFE, 20, step=1, label="NFE, each point")
        self.forget = gr.Button("Remove added trajectories", size="sm", elem_id="toy-forget")
        with gr.Accordion("Advanced", open=False, elem_classes="pf-advanced"):
            self.build_advanced()

    def build_advanced(self) -> None:
        self.source = gr.Dropdown(SOURCE_NAMES, value="own", label="Source")
        self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=SEED_RANGE)
        self.steps = gr.Slider(100, MAX_STEPS, ToyConfig.steps, step=100, label="Steps")
        self.speed = gr.Dropdown(list(SPEEDS), value=next(iter(SPEEDS)), label="Speed")
        self.stop_gradient = gr.Checkbox(True, label="Stop-gradient in the NLL", info=STOP_GRADIENT, elem_id="toy-stop")
        self.training = {k: _box(k) for k in TRAINING}
        self.data_knobs = KnobGroups(TOYS, ToyConfig.data, "data:")
        self.timestep_knobs = KnobGroups(TIMESTEPS, ToyConfig.timesteps, "times:")
        self.knobs = KnobGroups(SAMPLERS, next(iter(SAMPLERS)), "by:")

    def build_look(self) -> None:
        with gr.Row(elem_classes="toy-look"):
            self.view = gr.Dropdown(VIEWS, value=VIEWS[0], label="View of the plane", elem_id="toy-view", min_width=230)
            self.coordinate = gr.Dropdown(list(COORDINATES), value=COORDINATES[0], label="of coordinate", min_width=90)
            self.tx = gr.Slider(0, 1, 0.2, step=0.01, label="t_x", elem_id="toy-tx")
            self.ty = gr.Slider(0, 1, 0.2, step=0.01, label="t_y", elem_id="toy-ty")
            self.tied = gr.Checkbox(True, label="one t for both", elem_id="toy-tied", min_width=130)
        self.view_help = PlainText("toy-help", VIEW_HELP[VIEWS[0]])

    def wire(self) -> None:
        lab, status = {"lab_id": self.lab_id}, {"status": self.status}
        recipe, looks = lab | self.recipe, lab | self.looks
        on(self.plot.opened, self.on_open, lab, self.everything(), **status)
        on(self.plot.picked, self.on_pick, lab, **status)
        for name, control in self.recipe.items():
            if name != "drawn":
                on(_settled(control), self.on_recipe, recipe, **status)
        shown = [self.drawing, *self.data_knobs.groups.values()]
        given = {"data": self.data, "drawn": self.drawn}
        on(self.data.input, self.on_data, given, [*shown, self.given, *self.trains], **SENT)
        for chosen, knobs in ((self.timesteps, self.timestep_knobs), (self.sampler, self.knobs)):
            on(chosen.input, knobs.show, {"chosen": chosen}, list(knobs.groups.values()), **SENT)
        taken = [self.drawn, self.status, *self.trains]
        on(self.brush.drawn, self.on_drawn, recipe, taken, status=self.given)
        on(self.file.upload, self.on_file, {"path": self.file, **recipe}, [*taken, self.brush], status=self.given)
        for control in self.looks.values():
            on(_settled(control), self.on_look, looks, **status)
        speed = lab | {"speed": self.speed}
        on(self.start.click, self.on_start, speed | given, **status)
        on(self.step.click, self.on_step, lab | given, **status)
        on(self.speed.input, self.on_speed, speed, **status)
        commands = {self.pause: Lab.pause, self.rewind: Lab.rewind, self.forget: Lab.forget_starts}
        for button, command in commands.items():
            on(button.click, partial(self.on_command, command), lab, **status)
        on(self.reset.click, self.on_reset, recipe, [self.seed], **status)
        self.wire_view()

    def wire_view(self) -> None:
        view = {"lab_id": self.lab_id, "view": self.view, "coordinate": self.coordinate}
        view |= {"tx": self.tx, "ty": self.ty, "tied": self.tied}
        shown = [self.tx, self.ty, self.view_help]
        on([self.view.input, self.coordinate.input], self.on_view, view, shown, status=self.status)
        moves = [([self.tx.input, self.tied.input], True), ([self.ty.input], False)]
        for events, first in moves:
            on(events, partial(self.on_scrub, first), view, shown, status=self.status)

    # opening

    def everything(self) -> list[Component]:
        """What opening sets: laboratory, plots, status line and every control."""
        shown = [self.view, self.coordinate, self.tx, self.ty, self.tied, self.view_help]
        shown += [self.drawing, self.brush, *self.trains]
        knobs = [c for k in (self.data_knobs, self.timestep_knobs, self.knobs) for c in k.groups.values()]
        return [self.lab_id, self.plot, *self.recipe.values(), *self.looks.values(), *shown, *knobs]

    def on_open(self, lab_id: str, event: gr.EventData) -> dict:
        """The laboratory of this page or link if it is still open, else a new one with the link's settings."""
        asked = dict(parse_qsl(str(payload(event).get("query", "")).lstrip("?")))
        asked = asked if asked.get("tab") == TITLE.lower() else {}
        known = next((i for i in (lab_id, asked.get("lab")) if i in self.state.labs), None)
        lab, sentence = (self.state.labs.get(known), "") if known else self.opened(asked)
        shown = stream(f"pf/toy/{lab.id}/frame", PLOTS, links(lab.id))
        return {self.lab_id: lab.id, self.plot: shown, self.status: sentence} | self.controls_of(lab)

    def opened(self, asked: dict[str, str]) -> tuple[Lab, str]:
        """A new laboratory, and what was wrong with the link (then it starts from the defaults)."""
        try:
            config = config_from(asked)
            if config.steps > MAX_STEPS:
                raise InputError(_too_long())
            return open_lab(self.state.labs, config, look_from(asked, MAX_NFE), starts_from(asked)), ""
        except InputError as e:
            if not asked:
                raise
            return open_lab(self.state.labs, ToyConfig()), f"This link could not be read: {str(e).rstrip('.')}."

    def controls_of(self, lab: Lab) -> dict[Component, Any]:
        """All controls say what the laboratory does."""
        c, look = lab.state.config, lab.look
        points = None if c.array is None else [list(map(float, p)) for p in c.array]
        updates: dict[Component, Any] = {
            self.data: c.data,
            self.drawn: points,
            self.brush: brushed(points or []),
            self.drawing: gr.update(visible=c.data == DRAWN),
            self.timesteps: c.timesteps,
            self.source: c.source,
            self.seed: c.seed,
            self.steps: c.steps,
            self.stop_gradient: c.stop_gradient,
            self.sampler: look["sampler"],
            self.nfe: look["nfe"],
            self.view: look["view"],
            self.coordinate: look["coordinate"],
            self.tx: look["t"][0],
            self.ty: look["t"][1],
            self.tied: look["t"][0] == look["t"][1],
            self.view_help: VIEW_HELP[look["view"]],
        }
        updates |= {self.training[k]: getattr(c, k) for k in TRAINING} | self.startable(c.data, points)
        updates |= self.data_knobs.show(c.data) if c.data == DRAWN else self.data_knobs.updates(c.data, c.data_settings)
        updates |= self.timestep_knobs.updates(c.timesteps, c.timestep_settings)
        return updates | self.knobs.updates(look["sampler"], look["settings"])

    # handlers: each returns {component: update}; nothing here trusts the browser

    def config(self, values: Mapping[str, Any]) -> ToyConfig:
        """What the controls say. Raises InputError."""
        data, timesteps = values["data"], values["timesteps"]
        named = ("steps", "source", "seed", "stop_gradient", *TRAINING)
        plain = {k: PLAIN[k].check(values[k], PLAIN[k].label) for k in named}
        steps = plain["steps"]
        if steps > MAX_STEPS:
            raise InputError(_too_long())
        own = data == DRAWN
        return ToyConfig(
            **plain,
            data=data if own else TOYS[data].name,
            data_settings={} if own else TOYS[data].settings(self.data_knobs.settings(data, values)),
            array=values["drawn"] if own else None,
            timesteps=TIMESTEPS[timesteps].name,
            timestep_settings=TIMESTEPS[timesteps].settings(self.timestep_knobs.settings(timesteps, values)),
        )

    @property
    def trains(self) -> list[gr.Button]:
        """The buttons that train on the data of the form."""
        return [self.start, self.step]

    def startable(self, data: str, drawn: Any) -> dict[Component, Any]:
        """There is nothing to train on before points are drawn: the laboratory still has the data chosen before."""
        return {button: gr.update(interactive=data != DRAWN or bool(drawn)) for button in self.trains}

    def check_points_drawn(self, data: str, drawn: Any) -> None:
        if data == DRAWN and not drawn:
            raise InputError(NO_POINTS)

    def on_data(self, data: str, drawn: Any) -> dict:
        shown = {self.drawing: gr.update(visible=data == DRAWN), self.given: ""}
        return shown | self.data_knobs.show(data) | self.startable(data, drawn)

    def on_recipe(self, lab_id: str, **values: Any) -> dict:
        if values["data"] == DRAWN and values["drawn"] is None:  # no fault of anyone's: the form says what comes next
            self.state.labs.get(lab_id).pause()
            return {self.status: NO_POINTS}
        self.state.labs.get(lab_id).restart(self.config(values))
        return {self.status: ""}

    def on_reset(self, lab_id: str, **values: Any) -> dict:
        seed = secrets.randbelow(100_000)
        return {self.seed: seed} | self.on_recipe(lab_id, **{**values, "seed": seed})

    def on_drawn(self, lab_id: str, event: gr.EventData, **values: Any) -> dict:
        return self.take(payload(event).get("points"), lab_id, values)

    def on_file(self, path: str, lab_id: str, **values: Any) -> dict:
        if os.path.getsize(uploaded(path)) > MAX_FILE:
            raise InputError(f"The file is larger than {MAX_FILE // 2**20} MB: give fewer points.")
        points, sentence = fitted_points(Path(path).read_bytes())
        points = points.tolist()
        return self.take(points, lab_id, values) | {self.brush: brushed(points), self.given: sentence}

    def take(self, points: Any, lab_id: str, values: Mapping[str, Any]) -> dict:
        points = points if isinstance(points, list) else []
        if not points:  # the canvas was cleared
            return {self.drawn: None, self.status: NO_POINTS, self.given: ""} | self.startable(DRAWN, None)
        self.on_recipe(lab_id, **{**values, "data": DRAWN, "drawn": points})
        return {self.drawn: points, self.status: "", self.given: ""} | self.startable(DRAWN, points)

    def on_look(self, lab_id: str, sampler: str, nfe: Any, **knobs: Any) -> dict:
        settings = SAMPLERS[sampler].settings(self.knobs.settings(sampler, knobs))
        least = nfe_of(sampler, uniform_grid(1), settings)
        budget = max(whole("The number of evaluations", nfe, 1, MAX_NFE), least)
        steps_for(sampler, budget, settings)
        self.state.labs.get(lab_id).set(sampler=sampler, settings=settings, nfe=budget)
        return {self.status: ""}

    def on_step(self, lab_id: str, data: str, drawn: Any) -> dict:
        self.check_points_drawn(data, drawn)
        return self.on_command(Lab.step, lab_id)

    def on_start(self, lab_id: str, speed: str, data: str, drawn: Any) -> dict:
        self.check_points_drawn(data, drawn)
        self.state.labs.get(lab_id).start(_speed(speed))
        return {self.status: ""}

    def on_speed(self, lab_id: str, speed: str) -> dict:
        self.state.labs.get(lab_id).pace(_speed(speed))
        return {self.status: ""}

    def on_command(self, command: Callable[[Lab], None], lab_id: str) -> dict:
        command(self.state.labs.get(lab_id))
        return {self.status: ""}

    def on_pick(self, lab_id: str, event: gr.EventData) -> dict:
        picked = payload(event)
        x, y = (number("A start", picked.get(k), -1e4, 1e4) for k in ("x", "y"))
        lab, plot = self.state.labs.get(lab_id), picked.get("plot")
        if plot != "losses" and (plot != "view" or lab.shows_the_plane):
            lab.add_start(x, y)
        return {self.status: ""}

    def on_scrub(self, first: bool, lab_id: str, view: str, coordinate: str, tx: Any, ty: Any, tied: bool) -> dict:
        """A slider moved (the first, or the second); of two that are tied the other one follows."""
        if tied:
            tx = ty = tx if first else ty
        follows = {(self.ty if first else self.tx): gr.update(value=tx)} if tied else {}
        return follows | self.on_view(lab_id, view, coordinate, tx, ty, tied)

    def on_view(self, lab_id: str, view: str, coordinate: str, tx: Any, ty: Any, tied: bool) -> dict:
        """Look elsewhere."""
        if view not in VIEWS or coordinate not in COORDINATES:
            raise InputError(f"There is no view {view!r:.80} of {coordinate!r:.80}.")
        t = tuple(number("t", t, 0, 1) for t in (tx, ty))
        self.state.labs.get(lab_id).set(view=view, coordinate=coordinate, t=t)
        return {self.status: "", self.view_help: VIEW_HELP[view]}


def build(state: AppState) -> ToyTab:
    return ToyTab(state)


def brushed(points: list) -> dict[str, Any]:
    """Brush's value: the points, or how many there are where these are too many to be drawn on."""
    return {"points": points} if len(points) <= MOST_BRUSHED else {"points": [], "unshown": len(points)}


def _too_long() -> str:
    return f"The app trains at most {MAX_STEPS:,} steps; the command line has no such limit."


def _speed(chosen: Any) -> int | None:
    """Steps a picture; None for as many as there are, also where nothing known was chosen."""
    return SPEEDS.get(chosen) if isinstance(chosen, str) else None


def _box(name: str) -> gr.Number:
    knob = PLAIN[name]
    about = {"label": knob.label, "info": knob.knob.help, "minimum": knob.knob.low}
    precision = 0 if knob.type is int else None
    return gr.Number(knob.default, maximum=knob.knob.high, precision=precision, **about)


def _settled(control: Component) -> list[Callable]:
    """A control's events for "a person has settled on another value"."""
    if isinstance(control, gr.Slider):
        return [control.release]
    return [control.submit, control.blur] if isinstance(control, gr.Number) else [control.input]
