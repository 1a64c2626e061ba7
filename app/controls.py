"""Registry knobs as Gradio components: nothing here knows what a knob is for."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from pf_core.errors import InputError
from pf_core.registry import Parameter, Registry
from pf_core.samplers import SAMPLERS
from pf_core.sampling.recommended import scale_of, settings_of

NO_CLASS = "none"
NETWORKS = "pf-networks"  # marks the lists of networks


class Listed(gr.Dropdown):
    """A list whose value a handler checks. Where choices follow another control, a page may still send what it showed
    a moment ago, and Gradio would answer with an error of its own."""

    is_template = True  # the page shows it as what it is made of

    def preprocess(self, payload: Any) -> Any:
        return payload


class Start(NamedTuple):
    """What a network recommends to start from: knobs by sampler, and guidance (None: nothing)."""

    settings: Mapping[str, Mapping[str, Any]] = {}
    cfg_scale: float | None = None


def start(state: Any, network: str | None) -> Start:
    """That of a network; nothing of one that is not here."""
    try:
        bundle = state.bundle(network) if network else None
    except InputError:
        bundle = None
    if bundle is None or not bundle.recommended:
        return Start()
    return Start({name: settings_of(bundle, name) for name in SAMPLERS}, scale_of(bundle))


def info(help: str, recommended: Any = None) -> str | None:
    """The line under a control: what it is, and what is recommended."""
    value = f"{recommended:g}" if isinstance(recommended, float) else recommended
    words = [help, *([] if recommended is None else [f"recommended for this network: {value}"])]
    return "; ".join(filter(None, words)) or None


def together(updates: Mapping[Component, Any], more: Mapping[Component, Any]) -> dict[Component, Any]:
    """Two answers as one; of a component that both mention, what the second says counts."""
    return {c: {**updates.get(c, {}), **more.get(c, {})} for c in (*updates, *(c for c in more if c not in updates))}


def same(value: Any, other: Any) -> bool:
    """Whether two values of a control are one, numbers but for rounding."""
    if isinstance(value, int | float) and isinstance(other, int | float):
        return math.isclose(value, other, abs_tol=1e-9)
    return value == other


def component(knob: Parameter, recommended: Any = None) -> Component:
    """The control for one knob: choices a dropdown, bool a checkbox, a range a slider, else a box. It begins with what
    is recommended, else with the default."""
    value = knob.default if recommended is None else recommended
    text = {"label": knob.label, "info": info(knob.knob.help, recommended), "value": value}
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
    """What a network offers to draw: its classes and the null class, or examples of prompts and none."""
    return [NO_CLASS] if network is None else state.bundle(network).conditioner.choices


def condition(state: Any, network: str | None, asked: Any = None, last: bool = False) -> dict[str, Any]:
    """How the control of what to draw looks for a network: its name, what it offers, whether anything else can be
    written there. It says what is asked for, where the network can draw that, else the first (last) that it offers."""
    choices, takes = classes(state, network), "class" if network is None else state.bundle(network).conditioner.takes
    value = None if asked is None else offered(state, network, asked)
    value = choices[-1 if last else 0] if value is None else value
    looks = {"label": takes.capitalize(), "allow_custom_value": takes == "prompt"}
    return {"choices": choices, "value": value} | looks


def offered(state: Any, network: str | None, asked: Any) -> str | None:
    """What the control says of an entry, or a prompt; None where the network cannot draw it."""
    return None if network is None else state.bundle(network).conditioner.offered(asked)


def check_offered(state: Any, network: str, asked: str) -> None:
    """Raises InputError for what the control of what to draw cannot say: an unknown class, a prompt that is none."""
    if offered(state, network, asked) is None:
        chosen_class(state, network, asked)
        raise InputError(f"{network} has no class {asked!r:.80}.")


def kept(state: Any, network: str | None, before: Any, was: str | None) -> Any:
    """What the control said for another network, `was`, if it may stay for this one: what this one offers too, or a
    prompt that a person wrote for one of prompts."""
    try:
        chosen = before in classes(state, was)
    except InputError:  # that one is gone
        chosen = False
    return None if chosen and before not in classes(state, network) else before


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
    return [(e.title, name) for name, e in SAMPLERS.items() if difficulty or not e.fn.needs_difficulty]


def default_sampler(state: Any, network: str | None) -> str:
    """The last registered one that the network can run: the registry ends with the method's own best."""
    return samplers(state, network)[-1][1]


def network_choice(state: Any, value: str | None, label: str = "Network", **look: Any) -> Component:
    """The list of networks. Every page load brings all such lists up to date: trainings add to them (app/ui.py)."""
    return Listed(state.network_choices(), value=value, label=label, elem_classes=NETWORKS, **look)


def labelled(registry: Registry) -> list[tuple[str, str]]:
    """(short label, name) of all that is registered, as choices."""
    return [(entry.title, name) for name, entry in registry.items()]


def _too_wide(knob: Parameter) -> bool:
    """Whether a slider over the knob's range could not be set to values like its default."""
    span = knob.knob.high - knob.knob.low
    return span > 10_000 if knob.type is int else 0 < abs(knob.default) < _fine(span)


def _fine(span: float) -> float:
    """A step that gives a slider at least 50 places."""
    return next((s for s in (1.0, 0.5, 0.1, 0.05) if span / s >= 50), 0.01)


class KnobGroups:
    """For each thing in a registry one group of controls, of which only the chosen thing's is shown.

    `inputs`: "thing.knob" -> control, for a handler's inputs; `outputs`: all groups and controls. `start`: what is
    recommended, knobs by thing: controls begin with it and say so.
    """

    def __init__(self, registry: Registry, chosen: str, prefix: str = "", start: Mapping[str, Mapping[str, Any]] = {}):
        self.registry, self.prefix = registry, prefix
        self.marked: set[str] = set()  # controls that may say, on some page, what is recommended
        self._mark(start)
        self.groups: dict[str, gr.Column] = {}
        self.inputs: dict[str, Component] = {}
        for name, entry in registry.items():
            with gr.Column(visible=name == chosen, elem_classes="pf-knobs") as self.groups[name]:
                for knob in entry.knobs.values():
                    self.inputs[self.key(name, knob.name)] = component(knob, start.get(name, {}).get(knob.name))

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

    def moved(
        self, before: Mapping[str, Mapping], after: Mapping[str, Mapping], values: Mapping[str, Any]
    ) -> dict[Component, Any]:
        """Another start: controls whose value is still that of the start before move to the new one, and all say what
        is recommended now."""
        self._mark(after)
        updates = {}
        for name, entry in self.registry.items():
            for knob in entry.knobs.values():
                old, new = (each.get(name, {}).get(knob.name) for each in (before, after))
                if old == new:
                    continue
                key, look = self.key(name, knob.name), {"info": info(knob.knob.help, new)}
                if same(values[key], knob.default if old is None else old):
                    look["value"] = knob.default if new is None else new
                updates[self.inputs[key]] = gr.update(**look)
        return updates

    def begin(self, start: Mapping[str, Mapping[str, Any]], plain: bool = False) -> dict[Component, Any]:
        """All controls of which anything was ever recommended, at a start; `plain`: at the defaults, though they say
        what is recommended."""
        self._mark(start)
        updates = {}
        for key in tuple(self.marked):  # other pages may add to it meanwhile
            name, knob = key.removeprefix(self.prefix).split(".")
            asked, knob = start.get(name, {}).get(knob), self.registry[name].knobs[knob]
            value = knob.default if plain or asked is None else asked
            updates[self.inputs[key]] = gr.update(value=value, info=info(knob.knob.help, asked))
        return updates

    def _mark(self, start: Mapping[str, Mapping[str, Any]]) -> None:
        self.marked |= {self.key(name, knob) for name, knobs in start.items() for knob in knobs}

    def updates(self, chosen: str, settings: dict[str, Any]) -> dict[Component, Any]:
        """The chosen thing's group shown, and its controls set from `settings` where given. Raises InputError."""
        entry = self.registry[chosen]
        given = {k: entry.knobs[k].check(v) for k, v in settings.items() if k in entry.knobs}
        return self.show(chosen) | {self.inputs[self.key(chosen, k)]: gr.update(value=v) for k, v in given.items()}
