"""Registries: a thing's name, label and knobs are read from its own signature and docstring. Standard library only.

A sampler, timestep sampler or data set is a function (or dataclass) whose annotated keyword-only parameters are its
knobs, e.g. `p: Annotated[float, Knob(0.05, 0.95, "share of easy patches")] = 0.4`. It is registered under its own name,
or, a class, under its attribute `name`. CLI flags, UI controls, tests and the README's tables are made from this.
"""

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pf_core.errors import InputError


@dataclass(frozen=True)
class Knob:
    """Inclusive range, one-line help and (instead of a range) the choices of a parameter. label: what a control is
    called where the name, which the CLI's flag keeps, is no word."""

    low: float | None = None
    high: float | None = None
    help: str = ""
    choices: tuple = ()
    advanced: bool = False
    label: str = ""


@dataclass(frozen=True)
class Parameter:
    """A knob bound to its parameter: name, python type (float, int, bool or str), default and Knob."""

    name: str
    type: type
    default: Any
    knob: Knob

    @property
    def label(self) -> str:
        """What a control is called."""
        words = self.name.replace("_", " ")
        return self.knob.label or words[0].upper() + words[1:]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any, called: str = "") -> Any:
        """The value as this parameter's type. called: what its control is called, where a person does not know the
        name. Raises InputError if it is of the wrong kind or out of range."""
        name = called or self.name
        value = _AS[self.type](name, value, self.knob.low, self.knob.high)
        if self.knob.choices and value not in self.knob.choices:
            known = ", ".join(map(str, self.knob.choices))
            raise InputError(f"{name} must be one of {known}, not {value!r:.60}.")
        return value


def whole(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """value, a number or text, as an int in [low, high], exact at any size. Raises InputError."""
    _given(name, value)
    try:
        parsed = _whole(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a whole number, not {value!r:.60}.") from None
    return _within(name, parsed, low, high)


def _given(name: str, value: Any) -> None:
    """Raises InputError for a field that was left empty."""
    if value is None or value == "":
        raise InputError(f"{name} is empty: give a number.")


def _whole(value: Any) -> int:
    """Raises ValueError, or what float() raises, for anything that is no whole number."""
    if isinstance(value, str):
        with suppress(ValueError):
            return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    parsed = _float(value)
    if not parsed.is_integer():
        raise ValueError
    return int(parsed)


def number(name: str, value: Any, low: float | None = None, high: float | None = None) -> float:
    """value, a number or text, as a finite float in [low, high]. Raises InputError."""
    _given(name, value)
    try:
        parsed = _float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number, not {value!r:.60}.") from None
    if not math.isfinite(parsed):
        raise InputError(f"{name} must be a finite number, not {parsed}.")
    return _within(name, parsed, low, high)


def ranged(name: str, text: str, check: Callable[[Any], Any], most: int) -> list[Any]:
    """What a person writes for numbers: `7`, or `0-7`, `0 to 7`, `0.2-0.8:0.2`, a range with both its ends, of at most
    `most` values. check: of one number, as text or as a number. Raises InputError."""
    match = _RANGE.fullmatch(text)
    if not match:
        return [check(text)]
    low, high = check(match[1]), check(match[2])
    if high < low:
        raise InputError(f"The range {text} of {name} runs backwards: write {match[2]}-{match[1]}.")
    if match[3] is None and not (isinstance(low, int) and isinstance(high, int)):
        raise InputError(f"Give the range {text} of {name} a step, such as {match[1]}-{match[2]}:0.1.")
    step = 1 if match[3] is None else number("step", match[3])
    if step <= 0 or (high - low) / step > most:
        raise InputError(f"The range {text} of {name} has more than {most} values.")
    return [check(round(low + k * step, 10)) for k in range(int((high - low) / step + 1e-9) + 1)]


def as_text(value: Any) -> str:
    """A value as a person would write it, a number with all its digits: `0.4`, `2` for 2.0, `0.1234567`."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


_DIGITS = r"\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_DIGITS})\s*(?:-|to)\s*({_DIGITS})(?:\s*:\s*({_DIGITS}))?")


def known(name: Any, names: Iterable[str]) -> str:
    """What follows the sentence that a name is unknown: the nearest that is known, and all."""
    names = list(names)
    near = difflib.get_close_matches(str(name)[:60], names, n=1)
    return (f" Did you mean {near[0]!r}?" if near else "") + f" Known: {', '.join(names)}."


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _within(name: str, value: Any, low: Any, high: Any) -> Any:
    if (low is None or value >= low) and (high is None or value <= high):
        return value
    if low is None or high is None:
        where = f"be at least {low}" if high is None else f"be at most {high}"
    else:
        where = f"lie between {low} and {high}"
    raise InputError(f"{name} must {where}, not {str(value):.60}.")


def _truth(name: str, value: Any, *_) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in known:
        raise InputError(f"{name} must be true or false, not {value!r:.60}.")
    return known[str(value).lower()]


_AS = {float: number, int: whole, bool: _truth, str: lambda name, value, *_: str(value)}


def parameters(fn: Callable) -> dict[str, Parameter]:
    """The knobs of a function or dataclass: its parameters that are annotated with a Knob, in order."""
    hints = get_type_hints(fn if not inspect.isclass(fn) else fn.__init__, include_extras=True)
    parsed = {}
    for name, par in inspect.signature(fn).parameters.items():
        hint = hints.get(name)
        if get_origin(hint) is Annotated:
            kind, *rest = get_args(hint)
            knob = next((k for k in rest if isinstance(k, Knob)), None)
            if knob is not None:
                parsed[name] = Parameter(name, kind, par.default, knob)
    return parsed


@dataclass(frozen=True)
class Entry:
    """A registered thing. `label` is the first line of its docstring."""

    name: str
    fn: Callable
    label: str
    knobs: dict[str, Parameter]

    @property
    def title(self) -> str:
        """The label up to its bracket: what a person calls it."""
        return self.label.split("(")[0].strip()

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
        name = vars(fn).get("name") or fn.__name__
        label = (inspect.getdoc(fn) or name).splitlines()[0].rstrip(".")
        self._entries[name] = Entry(name, fn, label, parameters(fn))
        return fn

    def __getitem__(self, name: str) -> Entry:
        if not isinstance(name, str) or name not in self._entries:
            raise InputError(f"There is no {self.kind} {name!r:.60}.{known(name, self)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
