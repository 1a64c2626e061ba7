"""Train: set up a training, start it as a job that outlives the page, and watch what it learns about difficulty."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from app.components.board.board import Board, Drawn, drawn
from app.components.plot.plot import StreamingPlot, stream
from app.components.tour.tour import Heading
from app.controls import KnobGroups, component, labelled, same, settled
from app.handlers import SENT, PlainText, StatusLine, on, travelling
from app.private import payload
from app.state import AppState
from app.tabs.train.curves import MOST_RUNS, PLOTS
from app.tabs.train.estimating import Estimating
from app.tabs.train.own import OwnPictures, choices
from app.tabs.train.routes import routes
from app.tabs.train.rows import COMMANDS, duration
from app.worker import lane_of
from pf_core.data import DATASETS, size_of
from pf_core.errors import InputError
from pf_core.models import PRESETS, preset
from pf_core.models.checkpoint import ORACLES
from pf_core.registry import Parameter, parameters, whole
from pf_core.timesteps import TIMESTEPS
from pf_core.timesteps.preview import draws
from pf_core.training.config import OF_TEXT, Intervals, TrainRecipe
from pf_core.training.loop import TrainConfig
from pf_core.training.plans import PLANS, Estimate, Measuring, fitting, pair
from pf_core.training.queue import Jobs
from pf_core.training.runner import DEVICES
from pf_core.training.store import Settings

__all__ = ["TITLE", "build", "routes"]

TITLE = "Train"
MACHINE = ("parallel", "threads", "nice", "disk_gb")  # what people may set of jobs.Settings here
SIMPLE = ("steps",)  # the others stand under Advanced
GROUPS = {
    "optimizer": ("optimizer", "lr", "muon_lr", "batch_size", "warmup", "decay", "ema", "clip", "weight_decay"),
    "data": ("lam", "stop_gradient", "label_dropout", "seed"),
    "machine": ("precision", "accumulate"),
}
NOTHING = "none"
OWN = "folder"  # the data set of own pictures


class Train:
    """The tab's components and its handlers, which are plain methods. Nothing in them trusts the browser."""

    def __init__(self, state: AppState):
        self.state, self.fork_of = state, gr.State(None)
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
        return self.state.training

    def build_controls(self) -> None:
        first = next(iter(PLANS.values()))
        config = vars(first.recipe.config)
        with gr.Row(elem_classes=["pf-presets", "pft-plans"]):
            self.plans = [
                (gr.Button(p.label, size="sm", min_width=80, elem_classes="pf-preset"), p) for p in PLANS.values()
            ]
        self.estimated = PlainText("pf-estimate", first.caption, elem_id="train-estimate")
        self.dataset = gr.Dropdown(labelled(DATASETS), value=next(iter(DATASETS)), label="Data", elem_id="train-data")
        self.own = OwnPictures()
        self.fitted = gr.State(first.recipe.model)  # the network size that the settings were last fitted to
        self.model = gr.Dropdown(list(PRESETS), value=first.recipe.model, label="Network size", elem_id="train-model")
        self.timesteps = gr.Dropdown(labelled(TIMESTEPS), value=first.recipe.config.timesteps, label="Timestep sampler")
        with gr.Row(elem_classes="pf-pair pf-even"):
            self.config = {name: component(known_at(self.known[name], config)) for name in SIMPLE}
            self.name = gr.Textbox("", label="Name", info="may be empty", max_length=64, min_width=110)
        self.forking = gr.Dropdown([], label="Fork from", visible=False, elem_id="train-fork")
        with gr.Row(elem_classes="pf-buttons"):
            self.start = gr.Button("Start", variant="primary", elem_id="train-start", min_width=80)
            self.measure = gr.Button("Estimate", elem_id="train-measure", min_width=80)
            self.cancel = gr.Button("Cancel", elem_id="train-cancel", min_width=80, visible=False)
        self.status = StatusLine(elem_id="train-said")
        self.both = gr.Button("Train SiT and Patch Forcing as a pair", size="sm", elem_id="train-pair")
        gr.Markdown("Eight maps of t as training draws them, and how t is spread:", elem_classes="pf-help")
        self.drawn = Drawn(self.draws_of(first.recipe.model, first.recipe.config.timesteps), elem_id="train-drawn")
        self.build_advanced(config, first.intervals)

    def build_advanced(self, config: Mapping[str, Any], every: Intervals) -> None:
        def knobs(group: str) -> None:
            self.config |= {name: component(known_at(self.known[name], config)) for name in GROUPS[group]}

        with gr.Accordion("Advanced: optimizer", open=False, elem_classes="pf-advanced"):
            knobs("optimizer")
        with gr.Accordion("Advanced: data and losses", open=False, elem_classes="pf-advanced"):
            self.difficulty = gr.Checkbox(True, label="Difficulty head", info="off: the SiT baseline")
            self.condition = gr.Dropdown(
                [("classes", "classes"), ("captions", "text"), ("nothing", "none")],
                value=TrainRecipe.condition,
                label="Learns to draw by",
                info="captions: of data that has them; the network then takes prompts",
                elem_id="train-condition",
            )
            knobs("data")
            self.data_knobs = KnobGroups(DATASETS, next(iter(DATASETS)), "data:")
            self.time_knobs = KnobGroups(TIMESTEPS, config["timesteps"], "times:")
            self.init = gr.Dropdown([NOTHING, *self.networks()], value=NOTHING, label="Start from the weights of")
        with gr.Accordion("Advanced: machine", open=False, elem_classes="pf-advanced"):
            device = "auto: a GPU where there is one"
            self.device = gr.Dropdown(list(DEVICES), value="auto", label="Device", info=device)
            knobs("machine")
            self.every = component(replace(parameters(Intervals)["samples"], default=every.samples))
            gr.Markdown("For all trainings on this machine:", elem_classes="pf-help")
            known, now = parameters(Settings), vars(self.jobs.settings)
            self.machine = {name: component(known_at(known[name], now)) for name in MACHINE}

    def wire(self) -> None:
        self.inputs = {
            "name": self.name,
            "dataset": self.dataset,
            "model": self.model,
            "timesteps": self.timesteps,
            "difficulty": self.difficulty,
            "condition": self.condition,
            "init": self.init,
            "every": self.every,
            **self.config,
            **self.data_knobs.inputs,
            **self.time_knobs.inputs,
        }
        groups = [*self.data_knobs.groups.values(), *self.time_knobs.groups.values()]
        self.settable = [self.fitted, *self.inputs.values(), *groups, self.own.box]
        status = {"status": self.status}
        for chosen, knobs in ((self.timesteps, self.time_knobs), (self.dataset, self.data_knobs)):
            on(chosen.input, knobs.show, {"chosen": chosen}, list(knobs.groups.values()), **SENT)
        on(self.dataset.input, self.on_dataset, {"dataset": self.dataset}, [self.own.box], **SENT)
        self.wire_own()
        laws = {"model": self.model, "timesteps": self.timesteps, **self.time_knobs.inputs, "dataset": self.dataset}
        sizes = [control for key, control in self.data_knobs.inputs.items() if key.endswith((".size", ".aspect"))]
        looks = laws | self.data_knobs.inputs
        for control in (*laws.values(), *sizes):
            on(settled(control), self.on_draws, looks, [self.drawn])
        fits = {"model": self.model, "fitted": self.fitted, **self.config}
        on(self.model.input, self.on_model, fits, [self.fitted, *self.config.values()], **SENT)
        on(
            self.condition.input,
            self.on_condition,
            {"condition": self.condition, **self.time_knobs.inputs},
            list(self.time_knobs.inputs.values()),
        )
        forking = [self.fork_of, self.forking]
        for button, plan in self.plans:
            planned = on(button.click, partial(self.on_plan, plan), {}, [self.estimated, *forking, *self.settable])
            on(planned.then, self.on_draws, looks, [self.drawn])
        asked = {"fork_of": self.fork_of, "device": self.device, **self.inputs}
        self.estimating = Estimating(self.estimated, self.cancel, self.status)
        on(
            self.measure.click, self.on_estimate, asked,
            [self.estimated, self.cancel], **status,
            busy=self.measure, show_progress="hidden", api_visibility="private", concurrency_limit=None,
        )  # fmt: skip
        on(self.cancel.click, self.on_cancel, {}, [self.cancel])
        begun = {"forking": self.forking, **asked}
        on(self.start.click, self.on_start, begun, [self.board, *forking], **status, busy=self.start)
        on(self.both.click, self.on_pair, asked, [self.board, *forking], **status, busy=self.both)
        for name, control in self.machine.items():
            on(settled(control), partial(self.on_setting, name), {"value": control}, **status)
        on(self.board.picked, self.on_pick, {"board": self.board}, [self.plots])
        acted = on(self.board.acted, self.on_act, {}, [*forking, self.device, *self.settable], **status)
        on(acted.then, self.on_draws, looks, [self.drawn])

    def wire_own(self) -> None:
        own, path = self.own, self.data_knobs.inputs[self.data_knobs.key(OWN, "path")]
        asked = [own.report, own.pending, own.question]
        on(
            own.files.upload, own.on_files, {"paths": own.files}, asked,
            show_progress="minimal", api_visibility="private", concurrency_limit=None,
        )  # fmt: skip
        on(own.use.click, own.on_use, {"pending": own.pending}, [*asked, own.chosen, own.files])
        on(own.drop.click, own.on_drop, {"pending": own.pending}, [*asked, own.files])
        on(own.chosen.change, lambda name: {path: name or ""}, {"name": own.chosen}, [path])

    def on_load(self, demo: gr.Blocks, address: Heading) -> None:
        for event, handler in ((demo.load, self.from_link), (address.travelled, travelling(self.from_link, TITLE))):
            on(event, handler, {}, [self.board, self.init, self.own.chosen])

    # what the controls say

    def recipe(self, values: Mapping[str, Any], fork_of: str | None = None) -> tuple[str, TrainRecipe, Intervals]:
        """(name, "" where none is given, recipe, intervals). What no control says is as in the run to be forked. Raises
        InputError."""
        base = self.jobs.folder(fork_of).recipe() if fork_of else TrainRecipe()
        dataset, timesteps = values["dataset"], values["timesteps"]
        config = {k: (knob := self.known[k]).check(values[k], knob.label) for k in self.config}
        times = TIMESTEPS[timesteps].settings(self.time_knobs.settings(timesteps, values))
        init = self.init_of(values["init"])
        if init is None and base.condition == "text" and base.init not in self.networks():
            init = base.init  # no control can say it, and it may have brought the text tower
        recipe = replace(
            base,
            dataset=dataset,
            data_settings=DATASETS[dataset].settings(self.data_knobs.settings(dataset, values)),
            model=values["model"],
            difficulty=bool(values["difficulty"]),
            condition=values["condition"],
            init=init,
            config=replace(base.config, **config, timesteps=timesteps, timestep_settings=times),
            rules=None,
        )
        samples = parameters(Intervals)["samples"].check(values["every"])
        return str(values["name"] or "").strip(), recipe, intervals(recipe.config.steps, samples)

    def networks(self) -> list[str]:
        """Those with weights to begin with."""
        return [name for name in self.state.networks() if name not in ORACLES]

    def init_of(self, asked: Any) -> str | None:
        """Raises InputError: no path comes in here."""
        if asked in (None, "", NOTHING):
            return None
        if asked not in self.networks():
            raise InputError(f"There is no network {str(asked)[:80]!r} here to start from.")
        return asked

    def set_recipe(self, recipe: TrainRecipe, every: Intervals) -> dict[Component, Any]:
        """The controls say what a recipe says."""
        config = recipe.config
        return {
            self.dataset: recipe.dataset,
            self.model: recipe.model,
            self.fitted: recipe.model,
            self.timesteps: config.timesteps,
            self.difficulty: recipe.difficulty,
            self.condition: recipe.condition,
            self.init: recipe.init if recipe.init in self.networks() else NOTHING,
            self.every: every.samples,
            **{control: getattr(config, k) for k, control in self.config.items()},
            **self.data_knobs.updates(recipe.dataset, recipe.data_settings),
            **self.time_knobs.updates(config.timesteps, config.timestep_settings),
            **self.on_dataset(recipe.dataset),
        }

    # handlers: each returns {component: update}

    def on_plan(self, plan: Any) -> dict:
        return {self.estimated: plan.caption} | self.no_fork() | self.set_recipe(plan.recipe, plan.intervals)

    def no_fork(self) -> dict:
        return {self.fork_of: None, self.forking: gr.update(visible=False)}

    def on_dataset(self, dataset: str) -> dict:
        return {self.own.box: gr.update(visible=dataset == OWN)}

    def on_model(self, model: str, fitted: str, **values: Any) -> dict:
        """Settings that nobody has touched move to what fits the new size."""
        before, after = vars(fitting(fitted)), vars(fitting(model))
        moved = {name: after[name] for name in self.config if after[name] != before[name]}
        return {self.fitted: model} | {
            self.config[name]: value for name, value in moved.items() if same(values[name], before[name])
        }

    def on_condition(self, condition: Any, **values: Any) -> dict:
        """Settings of timestep samplers that nobody has touched move to what fits captions, and back."""
        captions = condition == "text"
        return self.time_knobs.moved({} if captions else OF_TEXT, OF_TEXT if captions else {}, values)

    def on_draws(self, model: str, timesteps: str, dataset: str, **knobs: Any) -> dict:
        return {self.drawn: self.draws_of(model, timesteps, knobs, dataset)}

    def draws_of(self, model: str, timesteps: str, knobs: Mapping[str, Any] = {}, dataset: str = "") -> Any:
        """What a timestep sampler draws, for pictures of a data set's size; nothing changes where the settings are
        wrong."""
        try:
            size = self.size_of(dataset, knobs)
            grid = (preset(model) if size is None else preset(model, input_size=size)).grid
            settings = self.time_knobs.settings(timesteps, knobs) if knobs else {}
            return drawn(draws(timesteps, grid.n, settings), grid)
        except (InputError, KeyError):  # KeyError: knobs that are not all there
            return gr.skip()

    def size_of(self, dataset: str, knobs: Mapping[str, Any]) -> Any:
        """That of a data set's pictures, as its controls say it; None where they do not."""
        try:
            return size_of(DATASETS[dataset].settings(self.data_knobs.settings(dataset, knobs)))
        except (InputError, KeyError):
            return None

    def on_estimate(
        self, fork_of: str | None, device: str, request: gr.Request = None, **values: Any
    ) -> Iterator[dict]:
        _, recipe, every = self.recipe(values, fork_of)
        self.jobs.check(recipe)
        settings = self.jobs.settings
        begin = partial(Measuring, recipe, every, settings.threads, settings.nice, device)
        yield from self.estimating.run(lane_of(request), begin, sentence)

    def on_cancel(self, request: gr.Request = None) -> dict:
        self.estimating.stop(lane_of(request))
        return {self.cancel: gr.update(visible=False)}

    def on_start(self, fork_of: str | None, forking: Any, device: str, **values: Any) -> dict:
        name, recipe, every = self.recipe(values, fork_of)
        if fork_of and forking != ANEW:
            step = None if forking in (None, SAVED) else whole("The step to fork from", forking, 0)
            new = name or self.jobs.free_name(f"{fork_of}-fork")
            info = self.jobs.fork(fork_of, new, recipe, step, every, device=device)
        else:
            info = self.jobs.create(name or self.jobs.free_name(_wish(recipe)), recipe, every, device=device)
        return self.no_fork() | {self.board: {"chosen": [info.name]}, self.status: ""}

    def on_setting(self, name: str, value: Any) -> dict:
        self.jobs.configure(**{name: value})
        return {self.status: ""}

    def on_pair(self, fork_of: str | None, device: str, **values: Any) -> dict:
        """Two new trainings; what no control says is as in the run to be forked, if one is."""
        name, recipe, every = self.recipe(values, fork_of)
        made = []
        for part, each in zip(("sit", "pft"), pair(recipe), strict=True):
            wish = self.jobs.free_name(f"{name}-{part}" if name else _wish(each))
            made.append(self.jobs.create(wish, each, every, device=device).name)
        return self.no_fork() | {self.board: {"chosen": made}, self.status: ""}

    def on_pick(self, board: Any) -> dict:
        chosen = board.get("chosen") if isinstance(board, dict) else None
        names = [str(name) for name in chosen][:MOST_RUNS] if isinstance(chosen, list) else []
        here = {info.name for info in self.jobs.all()}
        known = [name for name in names if name in here]
        return {self.plots: stream(f"pf/train/plots/{','.join(known)}", PLOTS) if known else stream()}

    def on_act(self, event: gr.EventData) -> dict:
        """A command for a run."""
        name, what = (str(payload(event).get(k)) for k in ("run", "what"))
        if what == "fork":
            return self.prepare_fork(name)
        if what not in COMMANDS:
            raise InputError("There is no command of that name.")
        getattr(self.jobs, what)(name)
        return {self.status: ""}

    def prepare_fork(self, name: str) -> dict:
        folder = self.jobs.folder(name)
        places = [SAVED, *map(str, self.jobs.kept(name)), ANEW]
        return self.set_recipe(folder.recipe(), folder.intervals()) | {
            self.fork_of: name,
            self.forking: gr.update(choices=places, value=SAVED, visible=True, label=f"Fork {name} from"),
            self.device: folder.about().get("device", "auto"),
            self.status: f"Forking {name}: change what should be different, then press Start.",
        }

    def from_link(self, request: gr.Request) -> dict:
        """The runs that the page's address names, and the networks and sets that there are by now."""
        asked = request.query_params.get("runs", "") if request.query_params.get("tab") == TITLE.lower() else ""
        chosen = [name for name in asked.split(",") if name][:MOST_RUNS]
        lists = {
            self.init: gr.update(choices=[NOTHING, *self.networks()]),
            self.own.chosen: gr.update(choices=choices()),
        }
        return lists | ({self.board: {"chosen": chosen}} if chosen else {})


SAVED = "the saved state"
ANEW = "the start: a new training"


def build(state: AppState) -> Train:
    return Train(state)


def known_at(knob: Parameter, values: Mapping[str, Any]) -> Parameter:
    """A knob that begins with its value among `values`."""
    return replace(knob, default=values[knob.name])


def intervals(steps: int, samples: int) -> Intervals:
    """How often a run of this length is looked at: about forty validations, a hundred saves, at least 500 log lines."""
    often = max(10, steps // 100)
    return Intervals(save=often, log=min(20, max(1, steps // 500)), validate=max(10, steps // 40), samples=samples)


def sentence(cost: Estimate) -> str:
    costs = (
        f"{cost.parameters / 1e6:.2f} million parameters; about {cost.memory / 2**20:.0f} MB; "
        f"{cost.images_per_second:.0f} images a second on this machine now: about {duration(cost.seconds)}."
    )
    return " ".join([costs, *cost.notes])


def _wish(recipe: TrainRecipe) -> str:
    """A name that says what is trained."""
    return f"{recipe.dataset}-{recipe.model}-{recipe.config.timesteps if recipe.difficulty else 'sit'}".replace("/", "")
