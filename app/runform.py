"""The controls of one run: network, class, sampler, seed, images, budget, guidance, knobs.

Tabs that make one run at a time have one.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from app import controls
from app.controls import KnobGroups, network_choice
from app.handlers import QUIET, SENT, UNSHOWN, note, on
from app.limits import MAX_IMAGES, MAX_NFE, SEED_RANGE
from app.ranking import DIVERGENCE, Ranking, part_of
from app.state import AppState
from pf_core.errors import InputError
from pf_core.registry import as_text, number, whole
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec

NFE, STEPS = "NFE", "outer steps"
MAX_CFG = 8
CFG = "1 is off; other values double the cost"


class RunForm:
    """`inputs`: name -> control, as a handler gets them; `outputs`: all that may change. `spec` makes a recipe of the
    values, `updates` sets the controls from one; `link` and `from_link` go by way of an address. `name` begins the
    elements' ids. What stands first is built at once, the rest by `advanced`."""

    def __init__(self, state: AppState, name: str, *, nfe: int, images: int):
        self.state, self.nfe, self.images_shown = state, nfe, images
        network = state.first_network()
        self.before = gr.State(network)  # the network that they were last set for
        sampler = controls.default_sampler(state, network)
        self.network = network_choice(state, network)
        self.label = controls.Listed(**controls.condition(state, network))
        self.sampler = controls.Listed(controls.samplers(state), value=sampler, label="Sampler")
        with gr.Row(elem_classes="pf-pair"):
            self.seed = gr.Number(
                0, label="Seed", precision=0, minimum=0, maximum=SEED_RANGE, min_width=90, elem_id=f"{name}-seed"
            )
            self.dice = gr.Button("Another seed", elem_classes="pf-dice", min_width=100, elem_id=f"{name}-dice")
        self.images = gr.Slider(1, MAX_IMAGES, value=images, step=1, label="Images")

    def advanced(self) -> None:
        """The other controls, where the tab wants them; to be called once."""
        with gr.Accordion("Advanced", open=False, elem_classes="pf-advanced"):
            with gr.Row(elem_classes="pf-pair"):
                self.budget = gr.Number(self.nfe, label="Budget", precision=0, minimum=1, maximum=MAX_NFE, min_width=90)
                self.unit = gr.Dropdown([NFE, STEPS], value=NFE, label="counted in", min_width=120)
            start = controls.start(self.state, self.before.value)
            self.guided = start.cfg_scale is not None  # whether guidance may be recommended, on some page
            scale = 1 if start.cfg_scale is None else start.cfg_scale
            self.cfg = gr.Slider(
                0, MAX_CFG, scale, step=0.1, label="Guidance scale", info=controls.info(CFG, start.cfg_scale)
            )
            with gr.Row(elem_classes="pf-pair"):
                self.low = gr.Number(0, minimum=0, maximum=1, step=0.05, label="Guide from t", min_width=90)
                self.high = gr.Number(1, minimum=0, maximum=1, step=0.05, label="to t", min_width=90)
            self.knobs = KnobGroups(SAMPLERS, self.sampler.value, start=start.settings)
            self.ranking = Ranking(self.state, self.before.value, self.sampler.value)
        self.wire()

    def wire(self) -> None:
        chosen = {"network": self.network, "label": self.label, "sampler": self.sampler, "before": self.before}
        chosen |= {"cfg": self.cfg} | self.knobs.inputs | self.ranking.inputs
        changed = [self.label, self.sampler, self.before, self.cfg, *self.knobs.outputs, *self.ranking.outputs]
        heard = {"queue": True, "concurrency_limit": None, "api_visibility": "private", **UNSHOWN}  # no notes unqueued
        on(self.network.input, self.on_network, chosen, changed, **heard)
        on(self.sampler.input, self.knobs.show, {"chosen": self.sampler}, list(self.knobs.groups.values()), **SENT)
        self.ranking.wire(self.network, self.sampler)
        drawn = self.dice.click(lambda: secrets.randbelow(100_000), None, self.seed, **QUIET)
        drawn.then(None, js="() => window.__pf.say('seed set')")  # the tour waits for it

    @property
    def named(self) -> dict[str, Component]:
        """The controls that have a name in a link, in its order."""
        return {
            "network": self.network,
            "label": self.label,
            "sampler": self.sampler,
            "seed": self.seed,
            "images": self.images,
            "budget": self.budget,
            "unit": self.unit,
            "cfg": self.cfg,
            "from": self.low,
            "to": self.high,
        }

    @property
    def inputs(self) -> dict[str, Component]:
        return self.named | self.knobs.inputs | self.ranking.inputs

    @property
    def outputs(self) -> list[Component]:
        return [*self.named.values(), self.before, *self.knobs.outputs, *self.ranking.outputs]

    def on_network(self, network: str, label: str, sampler: str, before: str, **values: Any) -> dict[Component, Any]:
        """The new network's classes; what was chosen stays chosen where it can. Without a difficulty head its velocity
        ranks. Knobs that nobody has touched move to what this network recommends."""
        looks = controls.condition(self.state, network, controls.kept(self.state, network, label, before))
        probes, difficulty = values["probes"], values["difficulty"]
        fitting = self.ranking.fitting(network, sampler, difficulty, before)
        if fitting == DIVERGENCE != difficulty:
            note(f"{network} predicts no difficulty: it is estimated from its velocity, at a cost (see Advanced).")
        return (
            {self.label: gr.update(**looks), self.before: network}
            | self.restarted(before, network, values)
            | self.ranking.shown(network, sampler, fitting, probes)
        )

    def restarted(self, before: str, network: str, values: Mapping[str, Any]) -> dict[Component, Any]:
        """Guidance and knobs at what another network recommends, where they are still at what the last one did."""
        old, new = (controls.start(self.state, name) for name in (before, network))
        updates = self.knobs.moved(old.settings, new.settings, values)
        if old.cfg_scale != new.cfg_scale:
            self.guided = True
            look = {"info": controls.info(CFG, new.cfg_scale)}
            if controls.same(values["cfg"], 1 if old.cfg_scale is None else old.cfg_scale):
                look["value"] = 1 if new.cfg_scale is None else new.cfg_scale
            updates[self.cfg] = gr.update(**look)
        return updates

    # recipes

    def spec(self, values: Mapping[str, Any]) -> SampleSpec:
        """The recipe of what the controls say. Raises InputError. Nothing here trusts the browser."""
        if not values["network"]:
            raise InputError(
                "There is no network yet: train one with `make train-demo`, or copy one into checkpoints/."
            )
        first = whole("The seed", values["seed"], 0, SEED_RANGE)
        count = whole("The number of images", values["images"], 1, MAX_IMAGES)
        budget = whole("The budget", values["budget"], 1, MAX_NFE)
        in_nfe, sampler = values["unit"] == NFE, SAMPLERS[values["sampler"]].name
        return SampleSpec(
            checkpoint=values["network"],
            sampler=sampler,
            settings=self.knobs.settings(sampler, values),
            nfe=budget if in_nfe else None,
            steps=None if in_nfe else budget,
            labels=[controls.chosen_class(self.state, values["network"], values["label"])],
            cfg_scale=values["cfg"],
            guidance_interval=(values["from"], values["to"]),
            seeds=list(range(first, first + count)),
            **self.ranking.part(sampler, values),
        )

    def updates(self, spec: SampleSpec) -> dict[Component, Any]:
        """The controls set from a resolved recipe, as far as they can say it. Raises InputError."""
        return self.from_link(parts_of(self.state, spec))

    # links

    def link(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A link's parts; a knob of the chosen sampler goes by its own name."""
        sampler = values["sampler"]
        named = {name: values[name] for name in self.named} | self.ranking.part(sampler, values)
        return named | self.knobs.settings(sampler, values)

    def values(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """What the controls would send for a link's parts; defaults for the rest. Raises InputError."""
        network = asked["network"]
        sampler = SAMPLERS[asked.get("sampler", controls.default_sampler(self.state, network))]
        label = asked.get("label", controls.classes(self.state, network)[0])
        defaults = [network, label, sampler.name, 0, self.images_shown, self.nfe, NFE, 1, 0, 1]
        values = {k: asked.get(k, default) for k, default in zip(self.named, defaults, strict=True)}
        knobs = {self.knobs.key(sampler.name, k): asked.get(k, knob.default) for k, knob in sampler.knobs.items()}
        return values | knobs | {k: asked[k] for k in self.ranking.inputs if k in asked}

    def from_link(self, asked: Mapping[str, str]) -> dict[Component, Any]:
        """The controls set from a link's parts; what it leaves open at what its network recommends, or, if it is of a
        run, at the signature's defaults, as that run was. Raises InputError at the first value that is wrong."""
        if not asked.get("network"):
            return {self.network: gr.update(choices=self.state.network_choices())}
        network = asked["network"]
        sampler = SAMPLERS[asked.get("sampler", controls.default_sampler(self.state, network))].name
        label = asked.get("label")
        if label is not None:
            controls.check_offered(self.state, network, label)
        updates = self.ranking.asked(network, sampler, asked) | {
            self.network: gr.update(choices=self.state.network_choices(), value=network),
            self.label: gr.update(**controls.condition(self.state, network, label)),
            self.sampler: gr.update(value=sampler),
            self.before: network,
        }
        begun = self.begun(network, plain="run" in asked)
        limits = {"seed": (0, SEED_RANGE), "images": (1, MAX_IMAGES), "budget": (1, MAX_NFE)}
        updates |= {self.named[k]: gr.update(value=whole(k, asked[k], *limits[k])) for k in limits if k in asked}
        if asked.get("unit") in (NFE, STEPS):
            updates[self.unit] = gr.update(value=asked["unit"])
        numbers = {"cfg": (0, MAX_CFG), "from": (0, 1), "to": (0, 1)}
        updates |= {self.named[k]: gr.update(value=number(k, asked[k], *numbers[k])) for k in numbers if k in asked}
        stated = self.knobs.updates(sampler, {k: v for k, v in asked.items() if k in SAMPLERS[sampler].knobs})
        return updates | controls.together(begun, stated | {c: updates[c] for c in begun if c in updates})

    def begun(self, network: str, plain: bool) -> dict[Component, Any]:
        """Guidance and knobs where a network's begin; plain: at the defaults."""
        start = controls.start(self.state, network)
        scale = 1 if plain or start.cfg_scale is None else start.cfg_scale
        self.guided |= start.cfg_scale is not None
        guidance = gr.update(value=scale, info=controls.info(CFG, start.cfg_scale))
        return ({self.cfg: guidance} if self.guided else {}) | self.knobs.begin(start.settings, plain)


def parts_of(state: AppState, spec: SampleSpec) -> dict[str, str]:
    """A complete recipe as a link's parts, as near to it as the controls come."""
    (low, high), first = spec.guidance_interval, min(spec.seeds[0], SEED_RANGE)
    budget, unit = (spec.steps, STEPS) if spec.edits or spec.ts else (spec.nfe, NFE)
    parts = {
        "network": spec.checkpoint,
        "label": controls.class_word(state, spec.checkpoint, spec.labels[0]),
        "sampler": spec.sampler,
        "seed": first,
        "images": len(spec.seeds),
        "budget": budget,
        "unit": unit,
        "cfg": min(spec.cfg_scale, MAX_CFG),
        "from": low,
        "to": high,
    }
    return {k: as_text(v) for k, v in (parts | part_of(spec) | spec.settings).items()}
