"""Train: set up a training, start it as a job that outlives the page, and watch what it learns about difficulty."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app.components.board.board import Board, Drawn, drawn
from app.components.plot.plot import StreamingPlot, stream
from app.controls import KnobGroups, component
from app.state import Session
from app.tabs.train.curves import MOST_RUNS, PLOTS
from app.tabs.train.own import OwnPictures, choices
from app.tabs.train.routes import jobs, routes
from app.tabs.train.rows import ORDERS, duration
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import PRESETS
from pf_core.models.checkpoint import ORACLES
from pf_core.registry import parameters
from pf_core.timesteps import TIMESTEPS
from pf_core.timesteps.preview import draws
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.loop import TrainConfig
from pf_core.training.plans import PLANS, Estimate, estimate, pair
from pf_core.training.queue import Jobs
from pf_core.training.runner import DEVICES
from pf_core.training.store import Settings

__all__ = ["TITLE", "build", "routes"]

TITLE = "Train"
MACHINE = ("parallel", "threads", "nice", "disk_gb")  # what people may set of jobs.Settings here
SIMPLE = ("steps",)  # the others stand under Advanced
NOTHING = "none"
OWN = "folder"  # the data set of own pictures
_QUIET = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


class Train:
    """The tab's components and its handlers, which are plain methods. Nothing in them trusts the browser."""

    def __init__(self, session: Session):
        self.session, self.fork_of = session, gr.State(None)
        self.known = {k: p for k, p in parameters(TrainConfig).items() if k != "compile"}
        with gr.Row(elem_classes="pf-page", equal_height=False):
            with gr.Column(scale=0, min_width=296, elem_classes="pf-controls"):
                self.build_controls()
            with gr.Column(elem_classes="pf-stage", min_width=320):
                self.board = Board({}, elem_id="train-board")
                self.plots = StreamingPlot(stream(), elem_id="train-plots")
        self.wire()

    @property
    def jobs(self) -> Jobs:
        return jobs(self.session)

    def build_controls(self) -> None:
        with gr.Row(elem_classes=["pf-presets", "pft-plans"]):
            self.plans = [
                (gr.Button(p.label, size="sm", min_width=80, elem_classes="pf-preset"), p) for p in PLANS.values()
            ]
        self.dataset = gr.Dropdown(_labelled(DATASETS), value=next(iter(DATASETS)), label="Data", elem_id="train-data")
        self.own = OwnPictures()
        self.model = gr.Dropdown(list(PRESETS), value=TrainRecipe.model, label="Network size", elem_id="train-model")
        self.timesteps = gr.Dropdown(_labelled(TIMESTEPS), value=TrainConfig.timesteps, label="Times drawn by")
        self.drawn = Drawn(self.on_draws(TrainRecipe.model, TrainConfig.timesteps), elem_id="train-drawn")
        self.config = {name: component(self.known[name]) for name in SIMPLE}
        self.name = gr.Textbox("", label="Name", info="of the run; empty: made from the set-up", max_length=64)
        self.forking = gr.Dropdown([], label="Fork from", visible=False, elem_id="train-fork")
        with gr.Row(elem_classes="pf-buttons"):
            self.start = gr.Button("Start", variant="primary", elem_id="train-start", min_width=80)
            self.measure = gr.Button("Estimate", elem_id="train-measure", min_width=80)
        self.both = gr.Button("Train SiT and Patch Forcing as a pair", size="sm", elem_id="train-pair")
        self.said = gr.Markdown("", elem_classes="pf-said", elem_id="train-said")
        self.estimated = gr.Markdown("", elem_classes="pf-estimate", elem_id="train-estimate")
        with gr.Accordion("Advanced", open=False, elem_classes="pf-advanced"):
            self.device = gr.Dropdown(
                list(DEVICES), value="auto", label="Device", info="auto: a GPU where there is one"
            )
            self.difficulty = gr.Checkbox(True, label="Difficulty head", info="off: the SiT baseline")
            self.init = gr.Dropdown([NOTHING, *self.networks()], value=NOTHING, label="Start from the weights of")
            self.config |= {name: component(knob) for name, knob in self.known.items() if name not in SIMPLE}
            self.every = component(parameters(Intervals)["samples"])
            self.data_knobs = KnobGroups(DATASETS, next(iter(DATASETS)))
            self.time_knobs = KnobGroups(TIMESTEPS, TrainConfig.timesteps)

        with gr.Accordion("This machine", open=False, elem_classes="pf-advanced"):
            known, now = parameters(Settings), self.jobs.settings
            self.machine = {name: component(replace(known[name], default=getattr(now, name))) for name in MACHINE}

    def wire(self) -> None:
        simple = [self.name, self.dataset, self.model, self.timesteps, self.difficulty, self.init, self.every]
        self.inputs = [*simple, *self.config.values(), *self.data_knobs.components, *self.time_knobs.components]
        shown = [self.board, self.said]
        self.timesteps.input(self.time_knobs.show, self.timesteps, self.time_knobs.groups, **_QUIET)
        self.dataset.change(self.on_dataset, self.dataset, [self.own.box, *self.data_knobs.groups], **_QUIET)
        self.wire_own()
        looks = [self.model, self.timesteps, *self.time_knobs.components]
        for control in looks:
            event = control.release if isinstance(control, gr.Slider) else control.input
            event(self.on_draws, looks, self.drawn, **_QUIET)
        for button, plan in self.plans:
            button.click(
                lambda plan=plan: [plan.caption, *self.set_recipe(plan.recipe, plan.intervals)],
                None,
                [self.estimated, *self.inputs],
                **_QUIET,
            )
        self.measure.click(self.on_estimate, self.inputs, [self.estimated, self.said], show_progress="hidden",
                           api_visibility="private", concurrency_limit=1)  # fmt: skip
        self.start.click(self.on_start, [self.fork_of, self.forking, self.device, *self.inputs],
                         [*shown, self.fork_of, self.forking], **_QUIET)  # fmt: skip
        self.both.click(self.on_pair, [self.device, *self.inputs], shown, **_QUIET)
        for name, control in self.machine.items():
            event = control.release if isinstance(control, gr.Slider) else control.input
            event(lambda value, name=name: self.on_setting(name, value), control, self.said, **_QUIET)
        self.board.picked(self.on_pick, None, self.plots, **_QUIET)
        self.board.acted(self.on_act, None, [self.said, self.fork_of, self.forking, *self.inputs], **_QUIET)

    def wire_own(self) -> None:
        own, asked = self.own, [self.own.found, self.own.pending, self.own.question]
        path = self.data_knobs.components[self.data_knobs.keys.index((OWN, "path"))]
        own.files.upload(own.on_files, own.files, asked, show_progress="minimal", api_visibility="private")
        own.use.click(own.on_use, own.pending, [*asked, own.chosen, own.files], **_QUIET)
        own.drop.click(own.on_drop, own.pending, [*asked, own.files], **_QUIET)
        own.chosen.change(lambda name: name or "", own.chosen, path, **_QUIET)

    def on_load(self, demo: gr.Blocks) -> None:
        demo.load(self.from_link, None, [self.board, self.init, self.own.chosen], **_QUIET)

    # what the controls say

    def recipe(self, values: tuple) -> tuple[str, TrainRecipe, Intervals]:
        """(name, "" where none is given, recipe, intervals). Raises InputError."""
        name, dataset, model, timesteps, difficulty, init, every, *rest = values
        config = {k: self.known[k].check(v) for k, v in zip(self.config, rest, strict=False)}
        rest = rest[len(self.config) :]
        given, drawn_by = rest[: len(self.data_knobs.keys)], rest[len(self.data_knobs.keys) :]
        times = TIMESTEPS[timesteps].settings(self.time_knobs.settings(timesteps, drawn_by))
        settings = DATASETS[dataset].settings(self.data_knobs.settings(dataset, given))
        samples = parameters(Intervals)["samples"].check(every)
        recipe = TrainRecipe(
            dataset,
            settings,
            model,
            difficulty=bool(difficulty),
            init=self.init_of(init),
            config=TrainConfig(**config, timesteps=timesteps, timestep_settings=times),
        )
        return str(name or "").strip(), recipe, intervals(recipe.config.steps, samples)

    def networks(self) -> list[str]:
        """Those with weights to begin with."""
        return [name for name in self.session.networks() if name not in ORACLES]

    def init_of(self, asked: Any) -> str | None:
        """Raises InputError: no path comes in here."""
        if asked in (None, "", NOTHING):
            return None
        if asked not in self.networks():
            raise InputError(f"There is no network {str(asked)[:80]!r} here to start from.")
        return asked

    def set_recipe(self, recipe: TrainRecipe, every: Intervals) -> list:
        """Updates for `inputs`."""
        config = recipe.config
        return [
            gr.skip(),
            gr.update(value=recipe.dataset),
            gr.update(value=recipe.model),
            gr.update(value=config.timesteps),
            gr.update(value=recipe.difficulty),
            gr.update(value=recipe.init if recipe.init in self.networks() else NOTHING),
            gr.update(value=every.samples),
            *[gr.update(value=getattr(config, k)) for k in self.config],
            *self.data_knobs.updates(recipe.dataset, recipe.data_settings),
            *self.time_knobs.updates(config.timesteps, config.timestep_settings),
        ]

    # handlers

    def on_dataset(self, dataset: str) -> list:
        return [gr.update(visible=dataset == OWN), *self.data_knobs.show(dataset)]

    def on_draws(self, model: str, timesteps: str, *knobs) -> Any:
        try:
            grid = PRESETS[model].grid
            settings = self.time_knobs.settings(timesteps, knobs) if knobs else {}
            return drawn(draws(timesteps, grid.n, settings), grid)
        except (InputError, KeyError):
            return gr.skip()

    def on_estimate(self, *values) -> tuple[str, str]:
        try:
            _, recipe, every = self.recipe(values)
            self.jobs.check(recipe)
            settings = self.jobs.settings
            return sentence(estimate(recipe, every, settings.threads, settings.nice)), ""
        except InputError as e:
            return "", str(e)

    def on_start(self, fork_of: str | None, forking: Any, device: str, *values) -> tuple:
        try:
            name, recipe, every = self.recipe(values)
            if fork_of:
                step = None if forking in (None, SAVED) else int(forking)
                info = self.jobs.fork(fork_of, name or self.jobs.free_name(f"{fork_of}-fork"), recipe, step, every)
            else:
                info = self.jobs.create(name or self.jobs.free_name(_wish(recipe)), recipe, every, device=device)
        except (InputError, ValueError) as e:
            return gr.skip(), str(e), gr.skip(), gr.skip()
        return {"chosen": [info.name]}, "", None, gr.update(visible=False)

    def on_setting(self, name: str, value: Any) -> str:
        try:
            self.jobs.configure(**{name: value})
        except InputError as e:
            return str(e)
        return ""

    def on_pair(self, device: str, *values) -> tuple:
        try:
            name, recipe, every = self.recipe(values)
            made = []
            for part, each in zip(("sit", "pft"), pair(recipe), strict=True):
                wish = self.jobs.free_name(f"{name}-{part}" if name else _wish(each))
                made.append(self.jobs.create(wish, each, every, device=device).name)
        except InputError as e:
            return gr.skip(), str(e)
        return {"chosen": made}, ""

    def on_pick(self, event: gr.EventData) -> dict:
        names = [str(name) for name in event._data.get("runs", [])][:MOST_RUNS]
        known = [name for name in names if name in {info.name for info in self.jobs.all()}]
        return stream(f"pf/train/plots/{','.join(known)}", PLOTS) if known else stream()

    def on_act(self, event: gr.EventData) -> list:
        """An order for a run: (status line, run to be forked, where to fork from, inputs)."""
        name, what = str(event._data.get("run")), event._data.get("what")
        nothing = [gr.skip()] * (2 + len(self.inputs))
        try:
            if what == "fork":
                return self.prepare_fork(name)
            if what not in ORDERS:
                raise InputError("There is no such order.")
            getattr(self.jobs, what)(name)
        except InputError as e:
            return [str(e), *nothing]
        return ["", *nothing]

    def prepare_fork(self, name: str) -> list:
        folder = self.jobs.folder(name)
        recipe, every = folder.recipe(), folder.intervals()
        places = [SAVED, *map(str, self.jobs.kept(name))]
        note = f"Forking {name}: change what should be different, then press Start."
        forking = gr.update(choices=places, value=SAVED, visible=True)
        return [note, name, forking, *self.set_recipe(recipe, every)]

    def from_link(self, request: gr.Request) -> tuple:
        """The board's value and the networks that there are by now, from the page's address."""
        asked = request.query_params.get("runs", "") if request.query_params.get("tab") == TITLE.lower() else ""
        chosen = [name for name in asked.split(",") if name][:MOST_RUNS]
        shown = {"chosen": chosen} if chosen else gr.skip()
        return shown, gr.update(choices=[NOTHING, *self.networks()]), gr.update(choices=choices())


SAVED = "the saved state"


def build(session: Session) -> Train:
    return Train(session)


def intervals(steps: int, samples: int) -> Intervals:
    """How often a run of this length is looked at: about forty validations, a hundred saves, at least 500 log lines."""
    often = max(10, steps // 100)
    return Intervals(save=often, log=min(20, max(1, steps // 500)), validate=max(10, steps // 40), samples=samples)


def sentence(found: Estimate) -> str:
    return (
        f"{found.parameters / 1e6:.2f} million parameters; about {found.memory / 2**20:.0f} MB; "
        f"{found.images_per_second:.0f} images a second on this machine now: about **{duration(found.seconds)}**."
    )


def link(names: list[str]) -> str:
    return urlencode({"tab": TITLE.lower(), "runs": ",".join(names)})


def _labelled(registry) -> list[tuple[str, str]]:
    return [(entry.label.split("(")[0].strip(), name) for name, entry in registry.items()]


def _wish(recipe: TrainRecipe) -> str:
    """A name that says what is trained."""
    return f"{recipe.dataset}-{recipe.model}-{recipe.config.timesteps if recipe.difficulty else 'sit'}".replace("/", "")
