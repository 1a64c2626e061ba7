"""A sweep as one labelled picture with the sweep inside, and back."""

import json
import math
import struct
import textwrap
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from pf_core import bounded, files
from pf_core.errors import InputError
from pf_core.sampling.sweep import Done, Sweep
from pf_core.sampling.sweep_axes import value_words

_INK, _FAINT, _PAPER, _BLANK = (30, 30, 30), (110, 110, 110), (255, 255, 255), (236, 236, 236)
_TILE, _SMALLEST, _GAP, _LINE = 128, 96, 6, 18
_LINES = 4  # of a heading over a column
_WIDEST = 480  # pixels of a heading beside its row
_FONT = ImageFont.load_default(12)


def sheet(sweep: Sweep, done: Iterable[Done]) -> Image.Image:
    """One labelled picture: columns and rows with headings, blocks side by side. Cells that were not drawn stay blank,
    a failed one holds its sentence. Images are scaled by whole numbers, to about 128 x 128 pixels."""
    by_place = {d.cell.place: d for d in done}
    sizes = [d.image.size for d in by_place.values() if d.image] or [(_TILE, _TILE)]
    zoom = max(1, int(_TILE // max(math.sqrt(width * height) for width, height in sizes)))
    least = (_SMALLEST, _SMALLEST if any(d.error for d in by_place.values()) else 1)  # a sentence takes room
    tile = tuple(max(max(size[k] for size in sizes) * zoom, least[k]) for k in (0, 1))  # (width, height)
    columns, rows, blocks = sweep.shape
    sides = [_fit(heading(sweep, 1, y), _WIDEST) for y in range(rows)]
    left = 2 * _GAP + int(max(map(_FONT.getlength, sides)))
    heads = [_wrapped(heading(sweep, 0, x), tile[0]) for x in range(columns)]
    width = left + columns * (tile[0] + _GAP)
    said = _wrapped(title(sweep), blocks * width - _GAP)
    top = (1 + len(said) + max(map(len, heads))) * _LINE
    page = Image.new("RGB", (blocks * width + _GAP, top + rows * (tile[1] + _GAP)), _PAPER)
    draw = ImageDraw.Draw(page)
    for line, words in enumerate(said):
        draw.text((_GAP, 2 + line * _LINE), words, _FAINT, _FONT)
    for z, y, x in product(range(blocks), range(rows), range(columns)):
        across, down = z * width + left + x * (tile[0] + _GAP), top + y * (tile[1] + _GAP)
        if x == y == 0:
            draw.text((across, len(said) * _LINE), _fit(heading(sweep, 2, z), width - left), _INK, _FONT)
        if y == 0:
            for line, words in enumerate(heads[x]):
                draw.text((across, top + (line - len(heads[x])) * _LINE), words, _INK, _FONT)
        if x == 0:
            draw.text((z * width + _GAP, down + tile[1] // 2 - 7), sides[y], _INK, _FONT)
        page.paste(_tile(by_place.get((x, y, z)), tile, zoom), (across, down))
    return page


def save_sheet(path: str | Path, sweep: Sweep, done: Iterable[Done]) -> None:
    """The sheet as a PNG with the sweep inside, for `read_sweep`. Raises InputError if it cannot be written."""
    with files.replacing(path) as temporary:
        write_sheet(temporary, sweep, done)


def write_sheet(target: str | Path | BinaryIO, sweep: Sweep, done: Iterable[Done]) -> None:
    """As save_sheet, to anything that can be written to."""
    info = PngImagePlugin.PngInfo()
    info.add_text("sweep", json.dumps(sweep.to_dict()))
    sheet(sweep, done).save(target, "PNG", pnginfo=info)


def read_sweep(path: str | Path) -> Sweep:
    """The sweep inside a sheet. Raises InputError if there is none."""
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    try:
        return Sweep.from_dict(bounded.parse_json(bounded.text_inside(path, ("sweep",))))
    except InputError as e:
        raise InputError(f"{Path(path).name} holds a sweep that cannot be run here: {e}") from None
    except (KeyError, ValueError, TypeError, SyntaxError, IndexError, struct.error, OSError):
        raise InputError(f"{Path(path).name} holds no sweep: give a sheet that a sweep ended in.") from None


def heading(sweep: Sweep, axis: int, i: int) -> str:
    """What stands over a column (axis 0), beside a row (1) or over a block (2)."""
    if axis >= len(sweep.axes):
        return ""
    name, values = list(sweep.axes.items())[axis]
    return value_words(name, values[i])


def _fit(text: str, width: int) -> str:
    """The text, its middle left out if it is wider than `width` pixels."""
    keep = len(text)
    while keep > 2 and _FONT.getlength(text) > width:
        keep -= 1
        text = text[: keep // 2] + "..." + text[-(keep // 2) :]
    return text


def _wrapped(text: str, width: int) -> list[str]:
    """The text in up to _LINES lines of this width, parted between words; what is too long lacks its middle."""
    lines, words = [], text.split()
    while words and len(lines) < _LINES - 1:
        fit = max([k for k in range(1, len(words) + 1) if _FONT.getlength(" ".join(words[:k])) <= width], default=1)
        lines.append(_fit(" ".join(words[:fit]), width))
        words = words[fit:]
    return [*lines, _fit(" ".join(words), width)] if words or not lines else lines


def title(sweep: Sweep) -> str:
    """What does not vary."""
    base = sweep.base
    fixed = {"checkpoint": base.checkpoint, "sampler": base.sampler, "nfe": base.nfe, "steps": base.steps}
    fixed |= {"label": (base.labels or [None])[0], "seed": (base.seeds or [None])[0], "cfg_scale": base.cfg_scale}
    if "prompt" in sweep.axes:
        fixed.pop("label")
    if base.nfe is not None or "nfe" in sweep.axes:
        fixed.pop("steps")
    if "steps" in sweep.axes:
        fixed.pop("nfe")
    return ", ".join(value_words(k, v) for k, v in fixed.items() if k not in sweep.axes and v is not None)


def _tile(done: Done | None, size: tuple[int, int], zoom: int) -> Image.Image:
    """A cell of this width and height: its image, its error in words, or nothing."""
    tile = Image.new("RGB", size, _BLANK)
    if done is not None and done.image is not None:
        scaled = (done.image.width * zoom, done.image.height * zoom)
        tile.paste(done.image.resize(scaled, Image.Resampling.NEAREST), (0, 0))
    elif done is not None:
        letters = max(8, int((size[0] - 2 * _GAP) / _FONT.getlength("n")))
        words = textwrap.wrap(done.error, letters, max_lines=max(1, (size[1] - _GAP) // 15), placeholder=" ...")
        ImageDraw.Draw(tile).text((_GAP, _GAP), "\n".join(words), _INK, _FONT)
    return tile
