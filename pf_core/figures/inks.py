"""What tells the series of a chart apart, in files and in the page alike: what is shown often has one colour in all
charts, whatever else a chart shows."""

import re
from collections.abc import Sequence
from typing import NamedTuple

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#b8860b", "#1f9bb4", "#808080", "#994411", "#66579f", "#7a8a00")
INK = "#111111"
ON_DARK = {  # what stands for these on the page's dark ground (#161b25), at a contrast of 4 or more
    "#4477aa": "#5e8ebe",
    "#228833": "#28a03c",
    "#aa3377": "#c94a92",
    "#994411": "#c95916",
    "#66579f": "#8e83bb",
    INK: "#f2f4f8",
}
FAINT = "#888888"

_BLUE, _PINK, _GREEN, _PURPLE, _GOLD, _TEAL, _GREY, _BROWN, _VIOLET, _OLIVE = COLOURS
_FIXED = {  # names in small letters
    # samplers; the first two draw with a network of one t an image
    "sit, euler": _GREY,
    "sit": _GREY,
    "flow matching, euler": _GREY,
    "patch forcing": _BLUE,
    "euler": _BLUE,
    "heun": _PINK,
    "multistep": _TEAL,
    "random order": _GREEN,
    "dual-loop": _PURPLE,
    "look-ahead": _GOLD,
    "look-ahead, ratio 1.4": _GOLD,
    "look-ahead, ratio 2": _BROWN,
    "random look-ahead": _OLIVE,
    # laws of t, beside a network's own and what inference visits
    "ltg": _PINK,
    "truncated gaussian": _GREEN,
    "srm, s = 1": _PURPLE,
    "srm, s = 4": _GOLD,
    "srm, s = 10": _TEAL,
    "independent": _GREY,
    "one t an image": _BROWN,
    "one t, drawn as ltg's": _VIOLET,
    "dual timestep": _OLIVE,
    "inference": INK,
}
_TIMES = {f"0.{k}": colour for k, colour in enumerate(COLOURS[:8], start=1)}
_AT = re.compile(r"(?:^|\s)t = (0\.\d)$")
_SECOND = ", second order"  # of a sampler: its colour, in another line
_OWN = "its own: "  # a network's law


class Ink(NamedTuple):
    """A colour, and which kind of line has it, where several series share it."""

    colour: str
    round: int = 0


def inks(names: Sequence[str]) -> dict[str, Ink]:
    """The ink of each of a chart's names; those that have none of their own get the colours left over, in order, and so
    do times whose colour a sampler of the chart has."""
    fixed = {name: ink for name in names if (ink := _fixed(name))}
    first = {ink for name, ink in fixed.items() if not _AT.search(name)}
    fixed = {name: ink for name, ink in fixed.items() if not (_AT.search(name) and ink in first)}
    used = {ink.colour for ink in fixed.values()}
    free = [colour for colour in COLOURS if colour not in used]
    begin, left = (0, free) if free else (1, COLOURS)
    others = [name for name in names if name not in fixed]
    inked = fixed | {name: Ink(left[k % len(left)], begin + k // len(left)) for k, name in enumerate(others)}
    return {name: inked[name] for name in names}


def _fixed(name: str) -> Ink | None:
    """Of a sampler, of a law of t, of "... t = 0.3"."""
    if name.startswith(_OWN):
        return Ink(_BLUE)
    if at := _AT.search(name):
        return Ink(_TIMES[at[1]]) if at[1] in _TIMES else None
    short = name.lower()
    colour = _FIXED.get(short.removesuffix(_SECOND))
    return Ink(colour, int(short.endswith(_SECOND))) if colour else None
