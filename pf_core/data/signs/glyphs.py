"""Signed distances to letters, from the fonts that come with matplotlib (DejaVu and STIX).

Lengths are in cap heights: the height of an H. A glyph's field is made once and kept; a word's field is its glyphs'
side by side. A zero has a stroke, so that it is no O.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import scipy  # its parts are loaded when they are first asked for
from PIL import Image, ImageDraw, ImageFont

FONTS = tuple(
    "DejaVuSans-Bold DejaVuSerif-Bold DejaVuSans STIXGeneralBol DejaVuSansMono-Bold DejaVuSans-BoldOblique DejaVuSerif "
    "DejaVuSansMono STIXGeneral DejaVuSerif-BoldItalic STIXGeneralBolIta DejaVuSans-Oblique DejaVuSerif-Italic "
    "DejaVuSansMono-BoldOblique STIXGeneralItalic".split()
)  # from calm to wild
CAP, MARGIN = 48, 24  # cells of a field in a cap height, and around the capitals
_FINE = 3  # raster's pixels in a cell
_THIN = {"STIXGeneral": 0.02, "STIXGeneralItalic": 0.025, "DejaVuSerif": 0.008, "DejaVuSerif-Italic": 0.01}
_SLASHED = ("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique")  # by themselves


@dataclass(frozen=True)
class Glyph:
    """field: (CAP + 2 MARGIN, W) distances to the letter's edge, negative inside; its column MARGIN is the pen, its row
    MARGIN the top of an H. advance: to the next pen; ink: left, top, right, bottom from pen and top of an H."""

    field: np.ndarray
    advance: float
    ink: tuple[float, float, float, float]


@dataclass(frozen=True)
class Word:
    """field: as a glyph's, column MARGIN is the left end. width: of the ink's ends; inks: (L, 4), as a glyph's."""

    field: np.ndarray
    width: float
    inks: np.ndarray


@cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    """The font at the size where an H is CAP cells high."""
    import matplotlib  # here, as every training and every command would wait for it

    path = str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"))
    left, top, right, bottom = ImageFont.truetype(path, 1000, layout_engine=ImageFont.Layout.BASIC).getbbox("H")
    return ImageFont.truetype(path, 1000 * CAP * _FINE / (bottom - top), layout_engine=ImageFont.Layout.BASIC)


@cache
def glyph(name: str, character: str) -> Glyph:
    """A character of A-Z and 0-9 in one of FONTS."""
    font, edge = _font(name), MARGIN * _FINE
    top = font.getbbox("H", anchor="ls")[1]
    left, upper, right, lower = font.getbbox(character, anchor="ls")
    advance = font.getlength(character)
    wide = int(np.ceil(max(advance, right) / _FINE)) * _FINE
    picture = Image.new("L", (wide + 2 * edge, (CAP + 2 * MARGIN) * _FINE))
    pen = ImageDraw.Draw(picture)
    pen.text((edge, edge - top), character, 255, font, anchor="ls")
    if character == "0" and name not in _SLASHED:
        width, high = right - left, CAP * _FINE
        ends = [edge + left + 0.3 * width, edge + 0.7 * high, edge + left + 0.7 * width, edge + 0.3 * high]
        pen.line(ends, 255, round(0.1 * high))
    inside = np.asarray(picture) >= 128
    distance = scipy.ndimage.distance_transform_edt(~inside) - scipy.ndimage.distance_transform_edt(inside)
    cells = distance.reshape(CAP + 2 * MARGIN, _FINE, -1, _FINE).mean((1, 3)) / (CAP * _FINE)
    ink = tuple(float(v) / (CAP * _FINE) for v in (left, upper - top, right, lower - top))
    return Glyph((cells - _THIN.get(name, 0)).astype(np.float32), advance / (CAP * _FINE), ink)


@lru_cache(maxsize=4096)
def word(name: str, text: str, tracking: float) -> Word:
    """A text in one of FONTS. tracking: further room between two letters, in cap heights."""
    glyphs = [glyph(name, c) for c in text]
    pens = np.cumsum([0.0] + [g.advance + tracking for g in glyphs[:-1]]) - glyphs[0].ink[0]
    cells = np.round(pens * CAP).astype(int) + max(0, int(np.ceil(glyphs[0].ink[0] * CAP)))
    start = cells[0] - round(pens[0] * CAP)  # of the ink's left end
    field = np.full((CAP + 2 * MARGIN, cells[-1] + glyphs[-1].field.shape[1]), 9.0, np.float32)
    for g, at in zip(glyphs, cells, strict=True):
        part = field[:, at : at + g.field.shape[1]]
        np.minimum(part, g.field, out=part)
    inks = np.array([g.ink for g in glyphs]) + np.stack([pens, 0 * pens, pens, 0 * pens], 1)
    return Word(field[:, start:], float(inks[:, 2].max()), inks)
