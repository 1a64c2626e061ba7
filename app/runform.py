"""The controls of one run, for tabs that begin with one: network, class, sampler, seed, budget, guidance, knobs."""

import secrets
from typing import Any

import gradio as gr

from app import controls
from app.controls import KnobGroups, network_choice
from app.state import MAX_IMAGES, MAX_NFE, Session
from pf_core.errors import InputError
from pf_core.registry import whole
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec

SEED_RANGE = 2**31 - 1
QUIET = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


class RunForm:
    """`inputs` are its components; `spec` makes a recipe of their values, `updates` sets them from one."""

    def __init__(self, session: Session, *, nfe: int, images: int):
        self.session = session
        names = session.networks()
        network = names[0] if names else None
        sampler = self.samplers(network)[-1][1]  # the registry ends with the method's own best
        self.network = network_choice(session, network)
        self.label = gr.Dropdown(self.classes(network), value=self.classes(network)[0], label="Class")
        self.sampler = gr.Dropdown(self.samplers(network), value=sampler, label="Sampler")
        with gr.Row(elem_classes="pf-pair"):
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=SEED_RANGE, min_width=90)
            self.dice = gr.Button("Another seed", elem_classes="pf-dice", min_width=100)
        with gr.Row(elem_classes="pf-pair"):
            self.nfe = gr.Number(nfe, label="NFE", precision=0, minimum=1, maximum=MAX_NFE, min_width=90)
            self.images = gr.Number(images, label="Images", precision=0, minimum=1, maximum=MAX_IMAGES, min_width=90)
        with gr.Accordion("Advanced", open=False, elem_classes="pf-advanced"):
            self.cfg = gr.Slider(
                0, 8, value=1, step=0.1, label="Guidance scale", info="1 is off; any other doubles the cost"
            )
            with gr.Row(elem_classes="pf-pair"):
                self.low = gr.Number(0, minimum=0, maximum=1, step=0.05, label="Guide from t", min_width=90)
                self.high = gr.Number(1, minimum=0, maximum=1, step=0.05, label="to t", min_width=90)
            self.knobs = KnobGroups(SAMPLERS, sampler)
        simple = [self.network, self.label, self.sampler, self.seed, self.images]
        self.inputs = [*simple, self.nfe, self.cfg, self.low, self.high, *self.knobs.components]
        self.network.input(self.on_network, simple[:3], [self.label, self.sampler, *self.knobs.groups], **QUIET)
        self.sampler.change(self.knobs.show, self.sampler, self.knobs.groups, **QUIET)
        self.dice.click(lambda: secrets.randbelow(100_000), None, self.seed, **QUIET)

    def classes(self, network: str | None) -> list[str]:
        return controls.classes(self.session, network)

    def samplers(self, network: str | None) -> list[tuple[str, str]]:
        return controls.samplers(self.session, network)

    def on_network(self, network: str, label: str, sampler: str) -> list:
        """The new network's classes and samplers; what was chosen stays chosen where it can."""
        classes, samplers = self.classes(network), self.samplers(network)
        label = label if label in classes else classes[0]
        sampler = sampler if sampler in [name for _, name in samplers] else samplers[0][1]
        chosen = [gr.update(choices=classes, value=label), gr.update(choices=samplers, value=sampler)]
        return [*chosen, *self.knobs.show(sampler)]

    def spec(self, network, label, sampler, seed, images, nfe, cfg, low, high, *knobs) -> SampleSpec:
        """The recipe of what the controls say. Raises InputError. Nothing here trusts the browser."""
        if not network:
            raise InputError(
                "There is no network yet: train one with `make train-demo`, or copy one into checkpoints/."
            )
        first, count = whole("The seed", seed, 0, SEED_RANGE), whole("The number of images", images, 1, MAX_IMAGES)
        return SampleSpec(
            checkpoint=network,
            sampler=sampler,
            settings=self.knobs.settings(sampler, knobs),
            nfe=whole("NFE", nfe, 1, MAX_NFE),
            labels=[controls.chosen_class(self.session, network, label)],
            cfg_scale=cfg,
            guidance_interval=(low, high),
            seeds=list(range(first, first + count)),
        )

    def updates(self, spec: SampleSpec) -> list[Any]:
        """Updates for `inputs` from a resolved recipe, as far as these controls can say it. Raises InputError."""
        classes, samplers = self.classes(spec.checkpoint), self.samplers(spec.checkpoint)
        label = controls.class_word(self.session, spec.checkpoint, spec.labels[0])
        return [
            gr.update(value=spec.checkpoint),
            gr.update(choices=classes, value=label),
            gr.update(choices=samplers, value=spec.sampler),
            *(gr.update(value=v) for v in (spec.seeds[0], len(spec.seeds), spec.nfe, spec.cfg_scale)),
            *(gr.update(value=v) for v in spec.guidance_interval),
            *self.knobs.updates(spec.sampler, spec.settings),
        ]
