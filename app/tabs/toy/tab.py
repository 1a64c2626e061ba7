"""Toy: the method on a plane, trained live in the page (the paper's Fig. 5)."""

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

import gradio as gr
from starlette.routing import Route

from app.components.plot.plot import Brush, StreamingPlot, stream
from app.controls import KnobGroups
from app.state import Session
from app.tabs.toy.lab import Lab, Labs
from app.tabs.toy.links import PLAIN, config_from, look_from, starts_from
from app.tabs.toy.plots import PLOTS, VIEWS
from app.tabs.toy.routes import lab_routes, links
from app.tabs.toy.words import STOP_GRADIENT, VIEW_HELP
from pf_core.errors import InputError
from pf_core.registry import number
from pf_core.samplers import SAMPLERS, nfe_of, steps_for, uniform_grid
from pf_core.timesteps import TIMESTEPS
from pf_core.toy.data import TOYS
from pf_core.toy.experiment import COORDINATES, DRAWN, ToyConfig
from pf_core.toy.points import fitted_points

TITLE = "Toy"
MAX_STEPS, MAX_NFE, MAX_FILE = 5000, 100, 5 * 2**20
SPEEDS = {"as fast as it goes": None, "25 steps a picture": 25, "5 steps a picture": 5, "1 step a picture": 1}
SOURCE_NAMES = [("as in the data's figure", "own"), ("shifted to the left", "shifted"), ("standard normal", "normal")]
TRAINING = ("batch_size", "lr", "lam", "width", "depth")  # of ToyConfig, beside those with a control of their own
_QUIET = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
_LABS: WeakKeyDictionary[Session, Labs] = WeakKeyDictionary()


def labs(session: Session) -> Labs:
    """One set of laboratories a session, that is, a server."""
    return _LABS.setdefault(session, Labs())


def routes(session: Session) -> list[Route]:
    return lab_routes(labs(session))


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
                self.build_look()
        self.recipe = [
            *(self.data, self.drawn, self.timesteps, self.source, self.seed, self.steps, self.stop_gradient),
            *self.training.values(),
            *self.data_knobs.components,
            *self.timestep_knobs.components,
        ]
        self.looks = [self.sampler, self.nfe, *self.knobs.components]
        self.wire()

    def build_controls(self) -> None:
        choices = [(e.label.split("(")[0].strip(), name) for name, e in TOYS.items()] + [("Drawn by hand, CSV", DRAWN)]
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
        gr.Markdown(
            "Rewind keeps the start, Reset takes another. Click a plane to start a trajectory there.",
            elem_classes="toy-help",
        )
        self.said = gr.Markdown("", elem_classes="pf-said", elem_id="toy-said")
        self.timesteps = gr.Dropdown(_labelled(TIMESTEPS), value=ToyConfig.timesteps, label="Timestep sampler")
        self.sampler = gr.Dropdown(
            _labelled(SAMPLERS), value=next(iter(SAMPLERS)), label="Inference sampler", elem_id="toy-sampler"
        )
        self.nfe = gr.Slider(1, MAX_NFE, 20, step=1, label="Network evaluations a point")
        self.forget = gr.Button("Forget the starts clicked", size="sm", elem_id="toy-forget")
        with gr.Accordion("Advanced", open=False, elem_classes="pf-advanced"):
            self.build_advanced()

    def build_advanced(self) -> None:
        self.source = gr.Dropdown(SOURCE_NAMES, value="own", label="Source")
        self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        self.steps = gr.Slider(100, MAX_STEPS, ToyConfig.steps, step=100, label="Steps")
        self.speed = gr.Dropdown(list(SPEEDS), value=next(iter(SPEEDS)), label="Speed")
        self.stop_gradient = gr.Checkbox(True, label="Stop-gradient in the NLL", info=STOP_GRADIENT, elem_id="toy-stop")
        self.training = {k: _box(k) for k in TRAINING}
        self.data_knobs = KnobGroups(TOYS, ToyConfig.data)
        self.timestep_knobs = KnobGroups(TIMESTEPS, ToyConfig.timesteps)
        self.knobs = KnobGroups(SAMPLERS, next(iter(SAMPLERS)))

    def build_look(self) -> None:
        with gr.Row(elem_classes="toy-look"):
            self.view = gr.Dropdown(VIEWS, value=VIEWS[0], label="View of the plane", elem_id="toy-view", min_width=230)
            self.coordinate = gr.Dropdown(list(COORDINATES), value=COORDINATES[0], label="of coordinate", min_width=90)
            self.tx = gr.Slider(0, 1, 0.2, step=0.01, label="t_x", elem_id="toy-tx")
            self.ty = gr.Slider(0, 1, 0.2, step=0.01, label="t_y", elem_id="toy-ty")
            self.tied = gr.Checkbox(True, label="one t for both", elem_id="toy-tied", min_width=130)
        self.view_help = gr.Markdown(VIEW_HELP[VIEWS[0]], elem_classes="toy-help")

    def wire(self) -> None:
        recipe, looks = [self.lab_id, *self.recipe], [self.lab_id, *self.looks]
        self.plot.opened(self.on_open, self.lab_id, self.everything(), **_QUIET)
        self.plot.picked(self.on_pick, self.lab_id, self.said, **_QUIET)
        for control in self.recipe:
            if control is not self.drawn:
                gr.on(_settled(control), self.on_recipe, recipe, self.said, **_QUIET)
        self.data.input(self.on_data, self.data, [self.drawing, *self.data_knobs.groups], **_QUIET)
        self.timesteps.input(self.timestep_knobs.show, self.timesteps, self.timestep_knobs.groups, **_QUIET)
        self.brush.drawn(self.on_drawn, recipe, [self.drawn, self.said], **_QUIET)
        self.file.upload(self.on_file, [self.file, *recipe], [self.drawn, self.said], **_QUIET)
        for control in self.looks:
            gr.on(_settled(control), self.on_look, looks, self.said, **_QUIET)
        self.sampler.input(self.knobs.show, self.sampler, self.knobs.groups, **_QUIET)
        self.start.click(self.on_start, [self.lab_id, self.speed], self.said, **_QUIET)
        self.speed.input(self.on_speed, [self.lab_id, self.speed], self.said, **_QUIET)
        for button, order in ((self.pause, Lab.pause), (self.step, Lab.step), (self.rewind, Lab.rewind)):
            button.click(self.ordering(order), self.lab_id, self.said, **_QUIET)
        self.forget.click(self.ordering(Lab.forget_starts), self.lab_id, self.said, **_QUIET)
        self.reset.click(self.on_reset, recipe, [self.seed, self.said], **_QUIET)
        view = [self.lab_id, self.view, self.coordinate, self.tx, self.ty, self.tied]
        shown = [self.tx, self.ty, self.said, self.view_help]
        for control in (self.view, self.coordinate):
            control.input(self.on_view, view, shown, **_QUIET)
        for slider, first in ((self.tx, True), (self.ty, False)):
            slider.input(self.scrubbed(first), view, shown, **_QUIET)
        self.tied.input(self.scrubbed(True), view, shown, **_QUIET)

    # opening

    def everything(self) -> list:
        """What opening sets: laboratory, plots, status line and every control."""
        shown = [self.view, self.coordinate, self.tx, self.ty, self.tied, self.view_help]
        groups = [*self.data_knobs.groups, *self.timestep_knobs.groups, *self.knobs.groups, self.drawing]
        return [self.lab_id, self.plot, self.said, *self.recipe, *self.looks, *shown, *groups]

    def on_open(self, lab_id: str, event: gr.EventData) -> list:
        """The laboratory of this page or link if it is still open, else a new one with the link's settings."""
        asked = dict(parse_qsl(str((event._data or {}).get("query", "")).lstrip("?")))
        asked = asked if asked.get("tab") == TITLE.lower() else {}
        sentence = ""
        try:
            known = next((i for i in (lab_id, asked.get("lab")) if i in self.labs), None)
            if known:
                lab = self.labs.get(known)
            else:
                lab, sentence = self.opened(asked)
        except InputError as e:
            return ["", gr.skip(), str(e), *[gr.skip()] * (len(self.everything()) - 3)]
        value = stream(f"pf/toy/{lab.id}/frame", PLOTS, links(lab.id))
        return [lab.id, value, sentence, *self.controls_of(lab)]

    def opened(self, asked: dict[str, str]) -> tuple[Lab, str]:
        """A new laboratory, and what was wrong with the link (then it starts from the defaults)."""
        try:
            config = config_from(asked)
            if config.steps > MAX_STEPS:
                raise InputError(_too_long())
            return self.labs.open(config, look_from(asked, MAX_NFE), starts_from(asked)), ""
        except InputError as e:
            return self.labs.open(ToyConfig()), f"This link could not be read: {str(e).rstrip('.')}."

    def controls_of(self, lab: Lab) -> list:
        """Updates for all controls, so that they say what the laboratory does."""
        c, look = lab.state.config, lab.look
        drawn = None if c.array is None else [list(map(float, p)) for p in c.array]
        named = next(iter(TOYS)) if c.data == DRAWN else c.data
        tied = look["t"][0] == look["t"][1]
        return [
            *(c.data, drawn, c.timesteps, c.source, c.seed, c.steps, c.stop_gradient),
            *(getattr(c, k) for k in TRAINING),
            *self.data_knobs.updates(named, c.data_settings),
            *self.timestep_knobs.updates(c.timesteps, c.timestep_settings),
            *(look["sampler"], look["nfe"]),
            *self.knobs.updates(look["sampler"], look["settings"]),
            *(look["view"], look["coordinate"], *look["t"], tied, VIEW_HELP[look["view"]]),
            *self.data_knobs.show(c.data),
            *self.timestep_knobs.show(c.timesteps),
            *self.knobs.show(look["sampler"]),
            gr.update(visible=c.data == DRAWN),
        ]

    # handlers

    def config(self, data, drawn, timesteps, source, seed, steps, stop_gradient, *more) -> ToyConfig:
        """What the controls say. Raises InputError: nothing here trusts the browser."""
        steps = PLAIN["steps"].check(steps)
        if steps > MAX_STEPS:
            raise InputError(_too_long())
        plain = {"source": source, "seed": seed, "stop_gradient": stop_gradient}
        plain |= dict(zip(TRAINING, more, strict=False))
        cut = len(TRAINING) + len(self.data_knobs.components)
        of_data, of_times = more[len(TRAINING) : cut], more[cut:]
        return ToyConfig(
            **{k: PLAIN[k].check(v) for k, v in plain.items()},
            steps=steps,
            data=data if data == DRAWN else TOYS[data].name,
            data_settings={} if data == DRAWN else TOYS[data].settings(self.data_knobs.settings(data, of_data)),
            array=drawn if data == DRAWN else None,
            timesteps=TIMESTEPS[timesteps].name,
            timestep_settings=TIMESTEPS[timesteps].settings(self.timestep_knobs.settings(timesteps, of_times)),
        )

    def on_data(self, data: str) -> list:
        return [gr.update(visible=data == DRAWN), *self.data_knobs.show(data)]

    def on_recipe(self, lab_id: str, data: str, drawn: Any, *values) -> str:
        if data == DRAWN and drawn is None:
            return "Draw points with the pointer, or give a CSV file of two columns."
        return _said(lambda: self.labs.get(lab_id).restart(self.config(data, drawn, *values)))

    def on_reset(self, lab_id: str, *values) -> tuple:
        values = list(values)
        values[4] = secrets.randbelow(100_000)
        return values[4], self.on_recipe(lab_id, *values)

    def on_drawn(self, lab_id: str, event: gr.EventData, data: str, drawn: Any, *values) -> tuple:
        return self._given(event._data.get("points"), lab_id, *values)

    def on_file(self, path: str, lab_id: str, data: str, drawn: Any, *values) -> tuple:
        try:
            if os.path.getsize(path) > MAX_FILE:
                raise InputError(f"The file is larger than {MAX_FILE // 2**20} MB: give fewer points.")
            found, sentence = fitted_points(Path(path).read_bytes())
        except InputError as e:
            return gr.skip(), str(e)
        array, wrong = self._given(found.tolist(), lab_id, *values)
        return array, wrong or sentence

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
        return _said(lambda: self.labs.get(lab_id).pace(SPEEDS.get(speed)))

    def ordering(self, order):
        return lambda lab_id: _said(lambda: order(self.labs.get(lab_id)))

    def on_pick(self, lab_id: str, event: gr.EventData) -> str:
        def add():
            x, y = (number("A start", event._data.get(k), -1e4, 1e4) for k in ("x", "y"))
            lab = self.labs.get(lab_id)
            plot = event._data.get("plot")
            if plot != "losses" and (plot != "view" or lab.shows_the_plane):
                lab.add_start(x, y)

        return _said(add)

    def scrubbed(self, first: bool):
        def move(lab_id, view, coordinate, tx, ty, tied):
            if tied:
                tx = ty = tx if first else ty
            return self.on_view(lab_id, view, coordinate, tx, ty, tied, moved=first)

        return move

    def on_view(self, lab_id, view, coordinate, tx, ty, tied, moved: bool | None = None) -> tuple:
        """Look elsewhere; of two tied sliders the one that was not moved follows."""

        def change():
            if view not in VIEWS or coordinate not in COORDINATES:
                raise InputError(f"There is no view {view!r} of {coordinate!r}.")
            t = tuple(number("t", t, 0, 1) for t in (tx, ty))
            self.labs.get(lab_id).set(view=view, coordinate=coordinate, t=t)

        sentence = _said(change)
        follow = [gr.skip(), gr.skip()]
        if tied and moved is not None:
            follow = [gr.skip(), gr.update(value=ty)] if moved else [gr.update(value=tx), gr.skip()]
        return *follow, sentence, VIEW_HELP.get(view, "")


def build(session: Session) -> ToyTab:
    return ToyTab(session)


def _too_long() -> str:
    return f"The app trains at most {MAX_STEPS:,} steps; the command line has no such limit."


def _box(name: str) -> gr.Number:
    knob = PLAIN[name]
    words = {"lam": "lambda", "lr": "learning rate"}.get(name, name.replace("_", " "))
    about = {"label": words[0].upper() + words[1:], "info": knob.knob.help, "minimum": knob.knob.low}
    precision = 0 if knob.type is int else None
    return gr.Number(knob.default, maximum=knob.knob.high, precision=precision, **about)


def _settled(control) -> list:
    """A control's events for "a person has settled on another value"."""
    if isinstance(control, gr.Slider):
        return [control.release]
    return [control.submit, control.blur] if isinstance(control, gr.Number) else [control.input]


def _labelled(registry) -> list[tuple[str, str]]:
    return [(entry.label.split("(")[0].strip(), name) for name, entry in registry.items()]


def _said(action) -> str:
    """Do it; the sentence of what was wrong, or an empty one."""
    try:
        action()
    except InputError as e:
        return str(e)
    return ""
