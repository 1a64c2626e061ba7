"""The page of a slide: small arrays enlarged by whole factors, and words, as RGB or as indices into one palette.

A page is drawn once (`Page`), and what changes from picture to picture is laid over it: `Bit`s and `Words`. The same
page becomes RGB (`Page.rgb`) for PNG, WebP and MP4, or a picture of 256 colours (`Page.indexed`) for GIF: shades of the
text, a few named colours, 48 levels of each colour map, and 128 colours chosen for the pictures on it.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pf_core.sampling.export import SIGMA_MAP, TIME_MAP

THEMES = {False: ((255, 255, 255), (24, 28, 38)), True: ((16, 19, 28), (240, 242, 247))}  # dark -> paper, ink
FAINT = 0.66  # of the ink: 4.5:1 or more on either paper
NAMED = {  # as on the page
    "outer": (68, 119, 170),
    "inner": (68, 170, 160),
    "probe": (238, 119, 51),
    "final": (138, 143, 152),
    "easy": (127, 209, 189),
    "hard": (46, 58, 89),
    "none": (154, 159, 168),
}
NAMES = list(NAMED)
_SHADES, _LEVELS, _PICTURES = 16, 48, 128
_MAPS = {"t": TIME_MAP, "sigma": SIGMA_MAP}
_FIRST = {"named": 16, "t": 32, "sigma": 80, "picture": 128}  # where each kind begins in the palette


class Bit(NamedTuple):
    """A small array at (x, y), each value `across` by `down` pixels large. kind: "picture", values (H, W, 3) uint8;
    "named", (H, W) indices into NAMES; "t" or "sigma", (H, W) places in [0, 1] on that colour map, NaN if unknown."""

    x: int
    y: int
    across: int
    down: int
    kind: str
    values: np.ndarray


class Words(NamedTuple):
    """A text whose upper left corner is (x, y); `faint`: of less weight."""

    x: float
    y: float
    text: str
    font: ImageFont.FreeTypeFont
    faint: bool = False


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: it has every letter of the notation."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"DejaVuSans{'-Bold' * bold}.ttf", size, layout_engine=ImageFont.Layout.BASIC)


class Page:
    """What stays from picture to picture."""

    def __init__(self, width: int, height: int, dark: bool, bits: Iterable[Bit] = (), words: Iterable[Words] = ()):
        self.width, self.height, self.dark, self.bits = width, height, dark, list(bits)
        self._mask = Image.new("L", (width, height))
        _write(self._mask, words)

    def rgb(self, bits: Iterable[Bit] = (), words: Iterable[Words] = ()) -> np.ndarray:
        """(height, width, 3) uint8."""
        shades = _shades(self.dark, 256)
        return self._laid([*self.bits, *bits], shades[self._covered(words)], _rgb)

    def indexed(self, bits: Iterable[Bit] = (), words: Iterable[Words] = ()) -> Image.Image:
        """Of 256 colours: mode P."""
        bits = [*self.bits, *bits]
        shades = (np.arange(256) * (_SHADES - 1) / 255).round().astype(np.uint8)
        found, palette = _chosen([bit.values for bit in bits if bit.kind == "picture"])
        chosen = iter(found)
        canvas = self._laid(
            bits, shades[self._covered(words)], lambda bit: next(chosen) if bit.kind == "picture" else _index(bit)
        )
        picture = Image.fromarray(canvas)
        picture.putpalette(np.concatenate([_fixed(self.dark), palette]).tobytes())
        return picture

    def _covered(self, words: Iterable[Words]) -> np.ndarray:
        mask = self._mask.copy()
        _write(mask, words)
        return np.asarray(mask)

    @staticmethod
    def _laid(bits: list[Bit], canvas: np.ndarray, colour) -> np.ndarray:
        for bit in bits:
            small = colour(bit)
            large = small.repeat(bit.down, 0).repeat(bit.across, 1)
            canvas[bit.y : bit.y + large.shape[0], bit.x : bit.x + large.shape[1]] = large
        return canvas


def _write(mask: Image.Image, words: Iterable[Words]) -> None:
    draw = ImageDraw.Draw(mask)
    for each in words:
        draw.text((each.x, each.y), each.text, round(255 * FAINT) if each.faint else 255, each.font)


@cache
def _shades(dark: bool, count: int) -> np.ndarray:
    """(count, 3) uint8 from paper to ink."""
    paper, ink = (np.array(colour, float) for colour in THEMES[dark])
    return (paper + (ink - paper) * np.linspace(0, 1, count)[:, None]).round().astype(np.uint8)


@cache
def _map(kind: str, count: int) -> np.ndarray:
    return matplotlib.colormaps[_MAPS[kind]](np.linspace(0, 1, count), bytes=True)[:, :3]


_NAMED = np.array(list(NAMED.values()), np.uint8)


def _levels(values: np.ndarray, count: int) -> np.ndarray:
    return (np.nan_to_num(np.clip(values, 0, 1)) * (count - 1)).round().astype(np.uint8)


def _rgb(bit: Bit) -> np.ndarray:
    if bit.kind == "picture":
        return bit.values
    if bit.kind == "named":
        return _NAMED[bit.values]
    colours = _map(bit.kind, 256)[_levels(bit.values, 256)]
    return np.where(np.isnan(bit.values)[..., None], NAMED["none"], colours).astype(np.uint8)


def _index(bit: Bit) -> np.ndarray:
    if bit.kind == "named":
        return (bit.values + _FIRST["named"]).astype(np.uint8)
    none = _FIRST["named"] + NAMES.index("none")
    return np.where(np.isnan(bit.values), none, _FIRST[bit.kind] + _levels(bit.values, _LEVELS)).astype(np.uint8)


@cache
def _fixed(dark: bool) -> np.ndarray:
    """(128, 3) uint8: all of the palette but the pictures' own colours."""
    named = np.concatenate([_NAMED, np.zeros((16 - len(NAMES), 3), np.uint8)])
    return np.concatenate([_shades(dark, _SHADES), named, _map("t", _LEVELS), _map("sigma", _LEVELS)])


def _chosen(pictures: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The pictures as indices, and their colours (128, 3): by median cut over all of them, at their own size."""
    palette = np.zeros((_PICTURES, 3), np.uint8)
    if not pictures:
        return [], palette
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    small = Image.fromarray(pixels[None]).quantize(_PICTURES, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    found = np.array(small.getpalette(), np.uint8).reshape(-1, 3)[:_PICTURES]
    palette[: len(found)] = found
    indices = np.asarray(small)[0] + _FIRST["picture"]
    ends = np.cumsum([picture.shape[0] * picture.shape[1] for picture in pictures])[:-1]
    parts = np.split(indices.astype(np.uint8), ends)
    return [part.reshape(picture.shape[:2]) for part, picture in zip(parts, pictures, strict=True)], palette
