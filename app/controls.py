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


def classes(session: Any, network: str | None) -> list[str]:
    """The names of a network's classes, and what the null class is called beside them."""
    if network is None:
        return [NO_CLASS]
    y = session.bundle(network).conditioner
    return [y.name(i) for i in range(y.num_classes + 1)]


def chosen_class(session: Any, network: str | None, chosen: Any) -> str | None:
    """What a recipe asks for where the list of classes says this. Raises InputError."""
    if network is None:
        return None
    return session.bundle(network).conditioner.named(chosen)


def class_word(session: Any, network: str | None, asked: str | int | None) -> str:
    """What the list of classes says where a recipe asks for this."""
    if asked is not None:
        return str(asked)
    try:
        return session.bundle(network).conditioner.null_word
    except InputError:  # the network of a recording need not be here
        return NO_CLASS


def samplers(session: Any, network: str | None = None) -> list[tuple[str, str]]:
    """(label up to its bracket, name) of the samplers that a network can run, or of all."""
    difficulty = network is None or session.bundle(network).predicts_difficulty
    entries = [(name, e) for name, e in SAMPLERS.items() if difficulty or not e.fn.needs_difficulty]
    return [(e.label.split("(")[0].strip(), name) for name, e in entries]


def network_choice(session: Any, value: str | None, label: str = "Network", **look: Any) -> Component:
    """The list of networks. Every page load brings all such lists up to date: trainings add to them (app/ui.py)."""
    return gr.Dropdown(session.network_choices(), value=value, label=label, elem_classes=NETWORKS, **look)


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
    """For each thing in a registry one group of controls, of which only the chosen thing's is shown."""

    def __init__(self, registry: Registry, chosen: str):
        self.registry = registry
        self.keys: list[tuple[str, str]] = []
        self.components: list[Component] = []
        self.groups: list[gr.Column] = []
        for name, entry in registry.items():
            with gr.Column(visible=name == chosen, elem_classes="pf-knobs") as group:
                for knob in entry.knobs.values():
                    self.keys.append((name, knob.name))
                    self.components.append(component(knob))
            self.groups.append(group)

    def show(self, chosen: str) -> list:
        """Updates for `groups`."""
        return [gr.update(visible=name == chosen) for name in self.registry]

    def settings(self, chosen: str, values: tuple) -> dict[str, Any]:
        """The chosen thing's knobs out of the values of all `components`."""
        return {knob: value for (name, knob), value in zip(self.keys, values, strict=True) if name == chosen}

    def updates(self, chosen: str, settings: dict[str, Any]) -> list:
        """Updates for `components`: the chosen thing's from `settings` where given and sound, all else untouched."""
        good = {}
        for knob in self.registry[chosen].knobs.values():
            if knob.name in settings:
                good[knob.name] = knob.check(settings[knob.name])
        return [gr.update(value=good[k]) if name == chosen and k in good else gr.skip() for name, k in self.keys]
