"""Registry knobs as Gradio components: nothing here knows what a knob is for."""

from typing import Any

import gradio as gr
from gradio.components import Component

from pf_core.errors import InputError
from pf_core.registry import Parameter, Registry
from pf_core.samplers import SAMPLERS

NO_CLASS = "none"
NETWORKS = "pf-networks"  # marks the lists of networks


def component(knob: Parameter) -> Component:
    """The control for one knob: choices a dropdown, bool a checkbox, a range a slider, else a box."""
    text = {"label": _words(knob.name), "info": knob.knob.help or None, "value": knob.default}
    low, high = knob.knob.low, knob.knob.high
    if knob.knob.choices:
        return gr.Dropdown(list(knob.knob.choices), **text)
    if knob.type is bool:
        return gr.Checkbox(**text)
    if knob.type is str:
        return gr.Textbox(**text)
    if low is None or high is None or _too_wide(knob):
        return gr.Number(precision=0 if knob.type is int else None, minimum=low, maximum=high, **text)
    return gr.Slider(low, high, step=1 if knob.type is int else _fine(high - low), **text)


def settled(control: Component) -> Any:
    """The event with which a person's change of a control is over: a slider's release, else its input."""
    return control.release if isinstance(control, gr.Slider) else control.input


def classes(state: Any, network: str | None) -> list[str]:
    """The names of a network's classes, and the name of the null class."""
    if network is None:
        return [NO_CLASS]
    y = state.bundle(network).conditioner
    return [y.name(i) for i in range(y.num_classes + 1)]


def chosen_class(state: Any, network: str | None, chosen: Any) -> str | None:
    """The class in a recipe for an entry in the list of classes. Raises InputError."""
    return None if network is None else state.bundle(network).conditioner.named(chosen)


def class_word(state: Any, network: str | None, asked: str | int | None) -> str:
    """The entry in the list of classes for what a recipe asks for."""
    if asked is not None:
        return str(asked)
    try:
        return state.bundle(network).conditioner.null_word
    except InputError:  # the network of a recording need not be here
        return NO_CLASS


def samplers(state: Any, network: str | None = None) -> list[tuple[str, str]]:
    """(label up to its bracket, name) of the samplers that a network can run, or of all."""
    difficulty = network is None or state.bundle(network).predicts_difficulty
    return [(short(e.label), name) for name, e in SAMPLERS.items() if difficulty or not e.fn.needs_difficulty]


def default_sampler(state: Any, network: str | None) -> str:
    """The last registered one that the network can run: the registry ends with the method's own best."""
    return samplers(state, network)[-1][1]


def network_choice(state: Any, value: str | None, label: str = "Network", **look: Any) -> Component:
    """The list of networks. Every page load brings all such lists up to date: trainings add to them (app/ui.py)."""
    return gr.Dropdown(state.network_choices(), value=value, label=label, elem_classes=NETWORKS, **look)


def short(label: str) -> str:
    """A label up to its bracket."""
    return label.split("(")[0].strip()


def labelled(registry: Registry) -> list[tuple[str, str]]:
    """(short label, name) of all that is registered, as choices."""
    return [(short(entry.label), name) for name, entry in registry.items()]


def _too_wide(knob: Parameter) -> bool:
    """Whether a slider over the knob's range could not be set to values like its default."""
    span = knob.knob.high - knob.knob.low
    return span > 10_000 if knob.type is int else 0 < abs(knob.default) < _fine(span)


def _fine(span: float) -> float:
    """A step that gives a slider at least 50 places."""
    return next((s for s in (1.0, 0.5, 0.1, 0.05) if span / s >= 50), 0.01)


def _words(name: str) -> str:
    return name.replace("_", " ")


class KnobGroups:
    """For each thing in a registry one group of controls, of which only the chosen thing's is shown.

    `inputs`: "thing.knob" -> control, for a handler's inputs; `outputs`: all groups and controls.
    """

    def __init__(self, registry: Registry, chosen: str, prefix: str = ""):
        self.registry, self.prefix = registry, prefix
        self.groups: dict[str, gr.Column] = {}
        self.inputs: dict[str, Component] = {}
        for name, entry in registry.items():
            with gr.Column(visible=name == chosen, elem_classes="pf-knobs") as self.groups[name]:
                for knob in entry.knobs.values():
                    self.inputs[self.key(name, knob.name)] = component(knob)

    def key(self, name: str, knob: str) -> str:
        return f"{self.prefix}{name}.{knob}"

    @property
    def outputs(self) -> list[Component]:
        return [*self.groups.values(), *self.inputs.values()]

    def show(self, chosen: str) -> dict[Component, Any]:
        return {group: gr.update(visible=name == chosen) for name, group in self.groups.items()}

    def settings(self, chosen: str, values: dict[str, Any]) -> dict[str, Any]:
        """The chosen thing's knobs out of the values of all `inputs`. Raises InputError for an unknown thing."""
        return {knob: values[self.key(chosen, knob)] for knob in self.registry[chosen].knobs}

    def updates(self, chosen: str, settings: dict[str, Any]) -> dict[Component, Any]:
        """The chosen thing's group shown, and its controls set from `settings` where given. Raises InputError."""
        entry = self.registry[chosen]
        given = {k: entry.knobs[k].check(v) for k, v in settings.items() if k in entry.knobs}
        return self.show(chosen) | {self.inputs[self.key(chosen, k)]: gr.update(value=v) for k, v in given.items()}
