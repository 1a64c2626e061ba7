"""Registries: a thing's name, label and knobs are read from its own signature and docstring. Standard library only.

A sampler, timestep sampler or data set is a function (or dataclass) whose annotated keyword-only parameters are its
knobs, e.g. `p: Annotated[float, Knob(0.05, 0.95, "share of easy patches")] = 0.4`. CLI flags, UI controls, tests and
the README's tables are all made from what stands here.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pf_core.errors import InputError


@dataclass(frozen=True)
class Knob:
    """Inclusive range, one-line help and (instead of a range) the choices of a parameter."""

    low: float | None = None
    high: float | None = None
    help: str = ""
    choices: tuple = ()
    advanced: bool = False


@dataclass(frozen=True)
class Parameter:
    """A knob bound to its parameter: name, python type (float, int, bool or str), default and Knob."""

    name: str
    type: type
    default: Any
    knob: Knob

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any) -> Any:
        """The value as this parameter's type. Raises InputError if it is of the wrong kind or out of range."""
        try:
            if self.type is bool:
                value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                    str(value).lower()
                ]
            elif self.type is int and float(value) != int(float(value)):
                raise ValueError
            else:
                value = self.type(float(value)) if self.type is int else self.type(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise InputError(f"{self.name} must be {_KINDS[self.type]}, not {value!r}.") from None
        if self.type is float and not math.isfinite(value):
            raise InputError(f"{self.name} must be a finite number, not {value}.")
        if self.knob.choices and value not in self.knob.choices:
            raise InputError(f"{self.name} must be one of {', '.join(map(str, self.knob.choices))}, not {value!r}.")
        low, high = self.knob.low, self.knob.high
        if (low is not None and value < low) or (high is not None and value > high):
            raise InputError(f"{self.name} must lie between {low} and {high}, not {value}.")
        return value


_KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


def whole(name: str, value: Any, low: int, high: int) -> int:
    """value as an int in [low, high]. Raises InputError."""
    try:
        found = int(value)
        if isinstance(value, bool) or found != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a whole number, not {value!r}.") from None
    if not low <= found <= high:
        raise InputError(f"{name} must lie between {low} and {high}, not {found}.")
    return found


def number(name: str, value: Any, low: float, high: float) -> float:
    """value as a finite float in [low, high]. Raises InputError."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, not {value!r}.") from None
    if not (math.isfinite(found) and low <= found <= high):
        raise InputError(f"{name} must lie between {low} and {high}, not {value}.")
    return found


def parameters(fn: Callable) -> dict[str, Parameter]:
    """The knobs of a function or dataclass: its parameters that are annotated with a Knob, in order."""
    hints = get_type_hints(fn if not inspect.isclass(fn) else fn.__init__, include_extras=True)
    found = {}
    for name, par in inspect.signature(fn).parameters.items():
        hint = hints.get(name)
        if get_origin(hint) is Annotated:
            kind, *rest = get_args(hint)
            knob = next((k for k in rest if isinstance(k, Knob)), None)
            if knob is not None:
                found[name] = Parameter(name, kind, par.default, knob)
    return found


@dataclass(frozen=True)
class Entry:
    """A registered thing. `label` is the first line of its docstring."""

    name: str
    fn: Callable
    label: str
    knobs: dict[str, Parameter]

    def settings(self, given: Mapping[str, Any] = {}) -> dict[str, Any]:
        """Every knob's value: the given ones, checked, and defaults for the rest. InputError on unknown names."""
        for name in given:
            if name not in self.knobs:
                known = ", ".join(self.knobs) or "none"
                raise InputError(f"{self.name} has no setting {name!r}; its settings are: {known}.")
        return {name: k.check(given[name]) if name in given else k.default for name, k in self.knobs.items()}


class Registry(Mapping[str, Entry]):
    """Names -> entries of one kind, in the order they are registered. Looking up an unknown name raises InputError."""

    def __init__(self, kind: str, things: Iterable[Callable] = ()):
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        for thing in things:
            self.register(thing)

    def register(self, fn: Callable) -> Callable:
        label = (inspect.getdoc(fn) or fn.__name__).splitlines()[0].rstrip(".")
        self._entries[fn.__name__] = Entry(fn.__name__, fn, label, parameters(fn))
        return fn

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            near = difflib.get_close_matches(str(name), self._entries, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"There is no {self.kind} {name!r}.{hint} Known: {', '.join(self._entries)}.")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
