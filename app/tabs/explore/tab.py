"""Explore: one run, stepped through."""

import secrets
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app import controls
from app import links as recipes
from app.components.viewer.viewer import FrameViewer, manifest
from app.controls import KnobGroups, network_choice
from app.state import MAX_IMAGES, MAX_NFE, Session
from app.store import ACTIVE, StoredRun
from app.tabs.explore import own
from pf_core.errors import InputError
from pf_core.registry import number, whole
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec

TITLE = "Explore"
NFE, STEPS = "NFE", "outer steps"
EMPTY = "Choose a class and press Run: every forward pass will appear here as it is made."
SEED_RANGE = 2**31 - 1


class Explore:
    """The tab's components and its handlers, which are plain methods."""

    def __init__(self, session: Session):
        self.session = session
        names = session.networks()
        network = names[0] if names else None
        sampler = default_sampler(session, network)
        with gr.Row(elem_classes="pf-page", equal_height=False):
            with gr.Column(scale=0, min_width=296, elem_classes="pf-controls"):
                self.build_controls(network, sampler)
            with gr.Column(elem_classes="pf-stage", min_width=320):
                self.viewer = FrameViewer(elem_id="explore-viewer")
        self.run_id = gr.State("")  # of the run that is shown
        self.mine = gr.State("")  # of the last one that was started from this page: the next one replaces it
        self.wire()

    def build_controls(self, network: str | None, sampler: str) -> None:
        self.network = network_choice(self.session, network)
        self.label = gr.Dropdown(self.classes(network), value=self.classes(network)[0], label="Class")
        self.sampler = gr.Dropdown(self.samplers(network), value=sampler, label="Sampler")
        with gr.Row(elem_classes="pf-pair"):
            self.seed = gr.Number(
                0, label="Seed", precision=0, minimum=0, maximum=SEED_RANGE, min_width=90, elem_id="explore-seed"
            )
            self.dice = gr.Button("Another seed", elem_classes="pf-dice", min_width=100)
        self.images = gr.Slider(1, MAX_IMAGES, value=4, step=1, label="Images")
        with gr.Row(elem_classes="pf-buttons"):
            self.run = gr.Button("Run", variant="primary", elem_id="explore-run", min_width=80)
            self.stop = gr.Button("Stop", variant="stop", elem_id="explore-stop", min_width=60)
        self.recipe = gr.UploadButton(
            "Load recipe or export",
            file_types=recipes.KINDS,
            size="sm",
            elem_id="explore-recipe",
            elem_classes="pf-quiet",
        )
        self.said = gr.Markdown("", elem_classes="pf-said", elem_id="explore-said")
        with gr.Accordion("Advanced", open=False, elem_classes="pf-advanced"):
            with gr.Row(elem_classes="pf-pair"):
                self.budget = gr.Number(64, label="Budget", precision=0, minimum=1, maximum=MAX_NFE, min_width=90)
                self.unit = gr.Dropdown([NFE, STEPS], value=NFE, label="counted in", min_width=120)
            self.cfg = gr.Slider(
                0, 8, value=1, step=0.1, label="Guidance scale", info="1 is off; any other doubles the cost"
            )
            with gr.Row(elem_classes="pf-pair"):
                self.low = gr.Number(0, minimum=0, maximum=1, step=0.05, label="Guide from t", min_width=90)
                self.high = gr.Number(1, minimum=0, maximum=1, step=0.05, label="to t", min_width=90)
            self.knobs = KnobGroups(SAMPLERS, sampler)

    def wire(self) -> None:
        simple = [self.network, self.label, self.sampler, self.seed, self.images]
        self.inputs = [*simple, self.budget, self.unit, self.cfg, self.low, self.high, *self.knobs.components]
        shown = [self.viewer, self.run_id, self.mine, self.said]
        self.network.input(
            self.on_network,
            [self.network, self.label, self.sampler],
            [self.label, self.sampler, *self.knobs.groups],
            **_QUIET,
        )
        self.sampler.change(self.knobs.show, self.sampler, self.knobs.groups, **_QUIET)
        self.run.click(
            self.on_run, [self.mine, *self.inputs], shown, api_name="run", show_progress="hidden", queue=False
        )
        self.dice.click(lambda: secrets.randbelow(100_000), None, self.seed, **_QUIET)
        self.recipe.upload(self.on_recipe, [self.mine, self.recipe], [*shown, *self.inputs], **_QUIET)
        self.stop.click(self.on_stop, self.run_id, self.said, api_name="stop", show_progress="hidden", queue=False)

    def on_load(self, demo: gr.Blocks) -> None:
        """To be called in the Blocks' context: a link's settings and run, else a recording, at first paint."""
        demo.load(self.from_link, None, [self.viewer, self.run_id, self.mine, self.said, *self.inputs], **_QUIET)

    # what there is to choose

    def classes(self, network: str | None) -> list[str]:
        return controls.classes(self.session, network)

    def samplers(self, network: str | None) -> list[tuple[str, str]]:
        return controls.samplers(self.session, network)

    # handlers

    def on_network(self, network: str, label: str, sampler: str) -> list:
        """The new network's classes and samplers; what was chosen stays chosen where it can."""
        classes, samplers = self.classes(network), self.samplers(network)
        label = label if label in classes else classes[0]
        if sampler not in [name for _, name in samplers]:
            gr.Info(f"{network} predicts no difficulty: only samplers that do not rank patches are offered.")
            sampler = samplers[0][1]
        return [
            gr.update(choices=classes, value=label),
            gr.update(choices=samplers, value=sampler),
            *self.knobs.show(sampler),
        ]

    def spec(self, network, label, sampler, seed, images, budget, unit, cfg, low, high, *knobs) -> SampleSpec:
        """The recipe of what the controls say. Raises InputError. Nothing here trusts the browser."""
        if not network:
            raise InputError(
                "There is no network yet: train one with `make train-demo`, or copy one into checkpoints/."
            )
        first, count = whole("The seed", seed, 0, SEED_RANGE), whole("The number of images", images, 1, MAX_IMAGES)
        budget = whole("The budget", budget, 1, MAX_NFE)
        return SampleSpec(
            checkpoint=network,
            sampler=sampler,
            settings=self.knobs.settings(sampler, knobs),
            nfe=budget if unit == NFE else None,
            steps=None if unit == NFE else budget,
            labels=[controls.chosen_class(self.session, network, label)],
            cfg_scale=cfg,
            guidance_interval=(low, high),
            seeds=list(range(first, first + count)),
        )

    def on_run(self, before: str, *values) -> tuple:
        """Start a run (this page's one before, if it is still going, stops) and show it: (viewer, run id, id of this
        page's run, status line)."""
        try:
            spec = self.spec(*values)
            self.halt(before)
            run = self.session.start(spec)
        except InputError as e:
            return gr.skip(), gr.skip(), gr.skip(), _say(str(e))
        query = urlencode({**self.link(values), "run": run.id})
        return manifest([run], query=query), run.id, run.id, _say("")

    def halt(self, run_id: str) -> None:
        if run_id in self.session.store and self.session.store.get(run_id).state in ACTIVE:
            self.session.stop(run_id)

    def on_recipe(self, before: str, path: str) -> list:
        """A file that a person brought: its run, and the controls as near to its recipe as they can come."""
        try:
            self.halt(before)
            run, sentence = recipes.load(self.session, path)
        except InputError as e:
            return [gr.skip(), gr.skip(), gr.skip(), _say(str(e)), *[gr.skip()] * len(self.inputs)]
        asked = self.asked(run.spec)
        try:
            updates = self.controls_from(asked)
        except InputError as e:
            updates, sentence = [gr.skip()] * len(self.inputs), f"{sentence} The controls cannot show it: {e}"
        more = recipes.beyond(run.spec)
        if more:
            sentence += f" It has {', '.join(more)}, which no control here can say: Run would go without."
        return [manifest([run], query=self.address(asked, run)), run.id, run.id, _say(sentence), *updates]

    def on_stop(self, run_id: str) -> Any:
        try:
            if not run_id:
                raise InputError("Nothing is running.")
            self.session.stop(run_id)
        except InputError as e:
            return _say(str(e))
        return _say("")

    # links

    def names(self) -> list[str]:
        """What each of `inputs` is called in a link; a knob of the chosen sampler goes by its own name."""
        return ["network", "label", "sampler", "seed", "images", "budget", "unit", "cfg", "from", "to"]

    def link(self, values: tuple) -> dict[str, Any]:
        names = self.names()
        return dict(zip(names, values[: len(names)], strict=True)) | self.knobs.settings(
            values[2], values[len(names) :]
        )

    def asked(self, spec: SampleSpec) -> dict[str, str]:
        """A recipe as a link's parts, as far as the controls go."""
        low, high = spec.guidance_interval
        budget, unit = (spec.steps, STEPS) if spec.edits or spec.ts else (spec.nfe, NFE)
        label = controls.class_word(self.session, spec.checkpoint, spec.labels[0])
        given = [spec.checkpoint, label, spec.sampler, spec.seeds[0], len(spec.seeds), budget, unit, spec.cfg_scale]
        told = dict(zip(self.names(), [*given, low, high], strict=True)) | spec.settings
        return {k: f"{v:g}" if isinstance(v, float) else str(v) for k, v in told.items()}

    def address(self, asked: dict[str, str], run: StoredRun) -> str:
        """The query that brings a run back, from its recipe once it is not kept any more."""
        text = recipes.encode(run.spec) if recipes.beyond(run.spec) else None
        return urlencode(asked | {"run": run.id} | ({"recipe": text} if text else {}))

    def again(self, asked: dict[str, str]) -> StoredRun:
        """The run of a link, made again. Raises InputError."""
        if "recipe" in asked:
            return self.session.start(recipes.here(self.session, recipes.decode(asked["recipe"])))
        sampler = SAMPLERS[asked.get("sampler", default_sampler(self.session, asked["network"]))]
        label = asked.get("label", self.classes(asked["network"])[0])
        defaults = [asked["network"], label, sampler.name, 0, 4, 64, NFE, 1, 0, 1]
        values = [asked.get(name, default) for name, default in zip(self.names(), defaults, strict=True)]
        knobs = [
            asked.get(knob, SAMPLERS[name].knobs[knob].default) if name == sampler.name else None
            for name, knob in self.knobs.keys
        ]
        return self.session.start(self.spec(*values, *knobs))

    def from_link(self, request: gr.Request) -> list:
        """Updates for viewer, run id, own run id, status line and all inputs, from the page's address."""
        asked = dict(request.query_params)
        try:
            updates = self.controls_from(asked)
            sentence = ""
        except InputError as e:
            updates, sentence = [gr.skip()] * len(self.inputs), f"This link could not be read: {e}"
        run_id = asked.get("run", "")
        if run_id in self.session.store:
            return [manifest([self.session.store.get(run_id)]), run_id, "", _say(sentence), *updates]
        if run_id and not sentence:
            return [*self.not_kept(asked), *updates]
        recordings = [] if asked.get("network") else self.session.recordings()[:1]
        return [manifest(recordings, autoplay=True, empty=EMPTY), "", "", _say(sentence), *updates]

    def not_kept(self, asked: dict[str, str]) -> list:
        """Viewer, run id, own run id and status line for a link whose run is not here (any more)."""
        if not asked.get("network") and "recipe" not in asked:
            return [manifest(empty=EMPTY), "", "", _say("That run is not kept any more: press Run for a new one.")]
        try:
            run = self.again(asked)
        except InputError as e:
            said = f"That run is not kept any more, and cannot be made again: {e}"
            return [manifest(empty=EMPTY), "", "", _say(said)]
        query = urlencode(asked | {"run": run.id})
        said = "That run was not kept any more: here it is again, from its link."
        return [manifest([run], query=query), run.id, run.id, _say(said)]

    def controls_from(self, asked: dict[str, str]) -> list:
        """Updates for `inputs`. Raises InputError at the first value that is wrong."""
        if not asked.get("network"):
            return [gr.update(choices=self.session.network_choices()), *[gr.skip()] * (len(self.inputs) - 1)]
        network = asked["network"]
        classes, samplers = self.classes(network), self.samplers(network)
        sampler = SAMPLERS[asked.get("sampler", default_sampler(self.session, network))].name
        label = asked.get("label", classes[0])
        if label not in classes:
            raise InputError(f"{network} has no class {label!r}.")
        if sampler not in [name for _, name in samplers]:
            raise InputError(f"{network} predicts no difficulty, which {sampler} needs.")
        simple = [
            gr.update(choices=self.session.network_choices(), value=network),
            gr.update(choices=classes, value=label),
            gr.update(choices=samplers, value=sampler),
        ]
        limits = {"seed": (0, SEED_RANGE), "images": (1, MAX_IMAGES), "budget": (1, MAX_NFE)}
        simple += [gr.update(value=whole(k, asked[k], *limits[k])) if k in asked else gr.skip() for k in limits]
        simple += [gr.update(value=asked["unit"]) if asked.get("unit") in (NFE, STEPS) else gr.skip()]
        numbers = {"cfg": (0, 8), "from": (0, 1), "to": (0, 1)}
        simple += [gr.update(value=number(k, asked[k], *numbers[k])) if k in asked else gr.skip() for k in numbers]
        return [*simple, *self.knobs.updates(sampler, {k: v for k, v in asked.items() if k in SAMPLERS[sampler].knobs})]


_QUIET = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


def build(session: Session) -> Explore:
    with gr.Tabs(elem_id="own-tabs"):
        with gr.Tab("A run", id="run"):
            explore = Explore(session)
        with gr.Tab(own.TITLE, id="own"):
            own.OwnPicture(session)
    return explore


def default_sampler(session: Session, network: str | None) -> str:
    """The last registered one that the network can run: the registry ends with the method's own best."""
    difficulty = network is None or session.bundle(network).predicts_difficulty
    return [name for name, e in SAMPLERS.items() if difficulty or not e.fn.needs_difficulty][-1]


def _say(sentence: str) -> str:
    """The status line's value; an empty one takes no room (theme.css)."""
    return sentence
