"""From an image's uniform numbers to its scene: the word, the sign, its place, and what is behind it.

Lengths are in heights of the picture, so that a scene looks alike at every size. Each quantity has its own uniform
number: a setting changes values continuously and never draws another quantity anew.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from pf_core.data.signs import glyphs

KINDS = ("plate", "neon", "chalkboard", "cake")
BUSY = ("bricks", "hedge", "fence", "tiles", "windows")
SIDES = ("left", "right", "bottom", "top")  # of the picture: where the busy part is
COLOURS = {  # name -> levels in [0, 1]
    "white": (0.97, 0.97, 0.95),
    "yellow": (0.98, 0.83, 0.15),
    "orange": (0.96, 0.52, 0.10),
    "red": (0.80, 0.10, 0.12),
    "pink": (0.97, 0.62, 0.75),
    "purple": (0.42, 0.16, 0.58),
    "blue": (0.10, 0.22, 0.66),
    "turquoise": (0.35, 0.86, 0.84),
    "green": (0.06, 0.40, 0.20),
    "brown": (0.33, 0.18, 0.10),
    "black": (0.07, 0.07, 0.09),
}
NAMES = tuple(COLOURS)
RGB = np.array(list(COLOURS.values()), np.float32)
_BOARDS = {
    "plate": "white yellow blue green red black orange turquoise purple pink",
    "neon": "black purple blue brown",
    "chalkboard": "black green blue",
    "cake": "white pink yellow turquoise brown",
}
_LETTERS = {
    "plate": "black white blue red yellow green brown",
    "neon": "red pink orange yellow turquoise white",
    "chalkboard": "white yellow pink turquoise",
    "cake": "brown red blue purple white green",
}
DARKENED = {"neon": 0.22, "chalkboard": 0.55}  # a board's share of its colour's light
_CONTRAST = 0.34  # least difference of luminance between board and letters
_MARGIN = 0.03  # least room between a sign and the picture's edge
_EASY = ((0.62, 0.80, 0.95), (0.92, 0.86, 0.74), (0.80, 0.84, 0.80), (0.30, 0.36, 0.50), (0.16, 0.17, 0.26))

COLUMNS = {
    name: i
    for i, name in enumerate(
        "length anyhow kind board letters font tracking height tilt across down framed side share busy scale phase "
        "seed easy shade light shadow wording".split()
    )
}


@dataclass(frozen=True)
class Scene:
    """One picture. Lengths in picture heights; x to the right, y down, from the upper left corner."""

    aspect: int
    text: str
    word: glyphs.Word
    kind: int  # into KINDS
    board: int  # into NAMES
    letters: int  # into NAMES
    font: int  # into FONTS
    cap: float  # height of an H
    centre: tuple[float, float]
    half: tuple[float, float]  # the sign's half width and half height
    angle: float  # radians, clockwise
    framed: bool
    side: int  # into SIDES
    share: float  # of the picture that is busy
    busy: int  # into BUSY
    scale: float  # of its pattern
    phase: float
    seed: int  # of its grain
    easy: tuple[np.ndarray, np.ndarray]  # (3,) levels at the top and at the bottom
    light: float
    shadow: float
    wording: float


def length_of(u: np.ndarray, variety: float, longest: int) -> int:
    """Characters of the word: 1 to `longest`, or, 0, to 3 (variety 0) to 6 (variety 1)."""
    return 1 + int(u[COLUMNS["length"]] * (longest or round(3 + 3 * variety)))


def build(u: np.ndarray, text: str, aspect: int, variety: float, kind: int | None) -> Scene:
    """u: an image's uniform numbers, by COLUMNS; kind: of the sign, instead of its own."""

    def between(name: str, low: float, high: float) -> float:
        return float(low + (high - low) * u[COLUMNS[name]])

    def one_of(name: str, count: int) -> int:
        return int(u[COLUMNS[name]] * count)

    def blend(calm: float, wild: float) -> float:
        return calm + (wild - calm) * variety

    if kind is None:
        kind = one_of("kind", len(KINDS)) if between("anyhow", 0, 1) < 2 * variety else 0
    pairs = _pairs(KINDS[kind])
    board, some = pairs[one_of("board", len(pairs))]
    font = one_of("font", 2 + round(variety * (len(glyphs.FONTS) - 2)))
    tracking = round(between("tracking", 0.04, blend(0.06, 0.16)), 2)
    word = glyphs.word(glyphs.FONTS[font], text, tracking)
    tilt = math.radians(blend(2, 7))
    angle = between("tilt", -tilt, tilt)
    cap, half = _fitted(word.width, between("height", blend(0.5, 0.36), 0.6), angle, aspect, KINDS[kind])
    reach = _reach(half, angle)
    slack = [blend(0.5, 1) * max(side / 2 - _MARGIN - r, 0) for side, r in zip((aspect, 1), reach, strict=True)]
    easy = np.array(_EASY[one_of("easy", len(_EASY))], np.float32)
    fade = np.float32(between("shade", -0.16, 0.16))
    return Scene(
        aspect, text, word, kind, board, some[one_of("letters", len(some))], font, cap,
        centre=(aspect / 2 + between("across", -1, 1) * slack[0], 0.5 + between("down", -1, 1) * slack[1]),
        half=half, angle=angle,
        framed=between("framed", 0, 1) < blend(0.3, 0.6),
        side=one_of("side", len(SIDES)),
        share=between("share", blend(0.2, 0.3), blend(0.35, 0.7)),
        busy=one_of("busy", len(BUSY)),
        scale=between("scale", 0.9, blend(1.1, 1.5)),
        phase=between("phase", 0, 1),
        seed=one_of("seed", 2**31),
        easy=(np.clip(easy + fade, 0, 1), np.clip(easy - fade, 0, 1)),
        light=between("light", -1, 1) * blend(0.05, 0.2),
        shadow=between("shadow", 0.0, 0.4),
        wording=between("wording", 0, 1),
    )  # fmt: skip


@cache
def _pairs(kind: str) -> list[tuple[int, list[int]]]:
    """Boards of a kind of sign, each with the letters' colours that can be read on it."""
    found = []
    for board in _BOARDS[kind].split():
        ground = _luminance(board) * DARKENED.get(kind, 1)
        letters = [c for c in _LETTERS[kind].split() if abs(_luminance(c) - ground) >= _CONTRAST]
        found.append((NAMES.index(board), [NAMES.index(c) for c in letters]))
    return found


def _luminance(colour: str) -> float:
    return float(np.dot(COLOURS[colour], (0.3, 0.59, 0.11)))


def _fitted(width: float, cap: float, angle: float, aspect: int, kind: str) -> tuple[float, tuple[float, float]]:
    """Cap height and half sides of a sign, made smaller if it would not fit into the picture."""
    across, down = (0.42, 0.36) if kind == "cake" else (0.3, 0.25)
    half = (cap * (width / 2 + across), cap * (0.5 + down))
    shrink = min(1.0, *((side / 2 - _MARGIN) / r for side, r in zip((aspect, 1), _reach(half, angle), strict=True)))
    return cap * shrink, (half[0] * shrink, half[1] * shrink)


def _reach(half: tuple[float, float], angle: float) -> tuple[float, float]:
    """Half sides of the upright box around a turned one."""
    cos, sin = math.cos(angle), abs(math.sin(angle))
    return half[0] * cos + half[1] * sin, half[0] * sin + half[1] * cos


def box(s: Scene, ink: np.ndarray) -> np.ndarray:
    """ink: (K, 4) of Word.inks -> (K, 4) left, top, right, bottom of upright boxes around them in the picture."""
    middle = np.array([s.word.width / 2, 0.5])
    corners = ink[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] - middle  # (K, 4, 2)
    x, y = corners[..., 0] * s.cap, corners[..., 1] * s.cap
    cos, sin = math.cos(s.angle), math.sin(s.angle)
    x, y = s.centre[0] + cos * x - sin * y, s.centre[1] + sin * x + cos * y
    return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], 1)
