"""The controls of what ranks patches: a network's own difficulty, or one read off its velocity's Jacobian."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from app import controls
from app.handlers import SENT, on
from pf_core.errors import InputError
from pf_core.models.divergence import MOST_PROBES
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import DIFFICULTIES, NUMBERS, SampleSpec

HEAD, DIVERGENCE = DIFFICULTIES
CHOICES = [("the network's head", HEAD), ("its velocity (divergence)", DIVERGENCE)]
HELP = "What ranks the patches. The velocity's works for every network, at a cost."
PARTS = ("difficulty", "probes")  # of a recipe, and of a link
PROBES = NUMBERS["probes"]


class Ranking:
    """`inputs`: name -> control, as a handler gets them, each name begun by `prefix`; `outputs`: all that may change.
    Shown only where the sampler ranks patches, the number of probes only where they are drawn."""

    def __init__(self, state: Any, network: str | None, sampler: str, prefix: str = ""):
        self.state, self.prefix = state, prefix
        with gr.Column(visible=ranks(sampler), elem_classes="pf-knobs") as self.box:
            self.difficulty = controls.Listed(CHOICES, value=HEAD, label="Difficulty from", info=HELP)
            self.probes = gr.Slider(
                1, MOST_PROBES, PROBES.default, step=1, label="Probes", info=self.cost(PROBES.default), visible=False
            )
        self.inputs: dict[str, Component] = {f"{prefix}difficulty": self.difficulty, f"{prefix}probes": self.probes}
        self.outputs = [self.box, *self.inputs.values()]

    def wire(self, network: Component, sampler: Component) -> None:
        """Follow the list of networks and that of samplers."""
        chosen = {"network": network, "sampler": sampler, "difficulty": self.difficulty, "probes": self.probes}
        on([sampler.input, self.difficulty.input, self.probes.release], self.shown, chosen, self.outputs, **SENT)

    def cost(self, probes: int, network: str | None = None) -> str:
        """What a ranking pass costs with so many probes, and how long one took here."""
        words = f"Draws of signs. A pass that ranks takes 1 + 2 x {probes} = {1 + 2 * probes} NFE"
        seconds = self.state.seconds_ranked(network, probes) if network else None
        return words if seconds is None else f"{words}, measured here {seconds:.2g} s an image"

    def shown(self, network: Any, sampler: Any, difficulty: Any, probes: Any) -> dict[Component, Any]:
        """The controls as they are to be seen for these values. A wrong count is left to whoever runs it. Raises
        InputError for an unknown sampler."""
        try:
            look = {"value": (count := PROBES.check(probes)), "info": self.cost(count, network)}
        except InputError:
            look = {}
        return {
            self.box: gr.update(visible=ranks(sampler)),
            self.difficulty: gr.update(value=difficulty),
            self.probes: gr.update(visible=difficulty == DIVERGENCE, **look),
        }

    def fitting(self, network: str, sampler: str, difficulty: Any, before: str) -> str:
        """What ranks after a change of the network: the head where there is one again, else the velocity, as without
        it this sampler does not run."""
        if ranks(sampler) and not self.headed(network):
            return DIVERGENCE
        return HEAD if difficulty == DIVERGENCE and not self.headed(before) else difficulty

    def headed(self, network: str) -> bool:
        """Whether a network predicts difficulty; so does one that is not here any more."""
        try:
            return self.state.bundle(network).predicts_difficulty
        except InputError:
            return True

    def part(self, sampler: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """This part of a recipe or a link; empty where the head ranks, or nothing does. Raises InputError."""
        difficulty = values.get(f"{self.prefix}difficulty", HEAD)
        if difficulty == HEAD or not ranks(sampler):
            return {}
        return {"difficulty": difficulty, "probes": PROBES.check(values[f"{self.prefix}probes"])}

    def asked(self, network: str, sampler: str, asked: Mapping[str, Any]) -> dict[Component, Any]:
        """The controls as a recipe's or link's parts want them. Raises InputError."""
        difficulty = asked.get("difficulty", HEAD)
        if difficulty not in DIFFICULTIES:
            raise InputError(f"difficulty must be {' or '.join(DIFFICULTIES)}, not {difficulty!r:.60}.")
        if ranks(sampler) and difficulty == HEAD and not self.headed(network):
            raise InputError(
                f"{network} predicts no difficulty, which {sampler} needs: choose another sampler, or difficulty "
                f'"{DIVERGENCE}", which is read off its velocity.'
            )
        return self.shown(network, sampler, difficulty, asked.get("probes", PROBES.default))


def part_of(spec: SampleSpec) -> dict[str, Any]:
    """What a link says of it; a recipe that does not name it means the head."""
    return {} if spec.difficulty == HEAD else {"difficulty": spec.difficulty, "probes": spec.probes}


def ranks(sampler: Any) -> bool:
    """Whether a sampler ranks patches. Raises InputError for an unknown one."""
    return SAMPLERS[sampler].fn.needs_difficulty
