"""Runs as pictures: film-strip PNG, animated GIF and WebP, MP4, each with its recipe inside; or the recipe alone."""

import json
import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from safetensors import SafetensorError

from pf_core import bounded, files
from pf_core.errors import InputError
from pf_core.models.codecs import to_uint8
from pf_core.sampling.trajectory import Frame, Trajectory
from pf_core.sampling.word_maps import Word
from pf_core.types import Codec

SIGMA_RANGE = (0.04, 1.5)  # of the shown difficulty, sigma = sqrt(difficulty); one logarithmic scale everywhere
TIME_MAP, SIGMA_MAP, WORD_MAP = "viridis", "magma", "cividis"  # perceptually uniform, colour-blind-safe
EXIF_DESCRIPTION = 0x010E
_FRAME_MS = 80
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_LETTERS = 9  # of a row's name in a film strip
_GAP, _LINE = 4, 18  # pixels between the panels of an animation; height of a line of words in it


def time_colours(t: torch.Tensor) -> np.ndarray:
    """t (...) in [0, 1] -> (..., 3) uint8."""
    return _colours(t.numpy(), TIME_MAP)


def sigma_colours(logvar: torch.Tensor) -> np.ndarray:
    """A patch's logvar (...) -> (..., 3) uint8 of sigma = exp(logvar / 2) on the fixed log scale; NaN is grey."""
    low, high = np.log(SIGMA_RANGE)
    return _colours((logvar.numpy() / 2 - low) / (high - low), SIGMA_MAP)


def word_colours(shares: np.ndarray) -> np.ndarray:
    """A word's attention (...) -> (..., 3) uint8, from the least to the most of all; NaN is grey."""
    there = shares[np.isfinite(shares)]
    low, high = (there.min(), there.max()) if there.size else (0.0, 1.0)
    return _colours((shares - low) / max(high - low, 1e-12), WORD_MAP)


def _colours(values: np.ndarray, name: str) -> np.ndarray:
    palette = matplotlib.colormaps[name].with_extremes(bad="0.6")
    return palette(np.ma.masked_invalid(np.clip(values, 0, 1)), bytes=True)[..., :3]


def _panels(frame: Frame, codec: Codec, grid, attention: np.ndarray | None = None) -> list[np.ndarray]:
    """x_t, x1_hat, t and sigma of every image: four (B, H, W, 3) uint8, the pictures as previews; and a fifth of a
    word's attention (B, rows, columns)."""
    images = [to_uint8(codec.preview(x.float())).numpy() for x in (frame.x, frame.x1_hat)]
    maps = [
        colours(v).reshape(-1, grid.rows, grid.cols, 3)
        for colours, v in ((time_colours, frame.t), (sigma_colours, frame.logvar))
    ]
    maps += [] if attention is None else [word_colours(attention)]
    height, width = images[0].shape[1:3]
    return images + [m.repeat(height // grid.rows, 1).repeat(width // grid.cols, 2) for m in maps]


PANELS = ("x_t", "x1_hat", "t", "sigma")


def _with(word: Word | None) -> tuple[str, ...]:
    """The panels' names, with that of a word."""
    return (*PANELS, word.title) if word else PANELS


def film_strip(
    run: Trajectory, codec: Codec, columns: int = 12, most: int = 8, word: Word | None = None
) -> Image.Image:
    """Up to `most` images, four rows each (PANELS) and one of a word, over up to `columns` forward passes spread
    evenly, labelled."""
    chosen = np.unique(np.linspace(0, len(run) - 1, min(columns, len(run))).round().astype(int))
    names, every = _with(word), range(run.x1.shape[0])
    frames = [_panels(run.frames[i], codec, run.grid, word and word.over(int(i), every)) for i in chosen]
    images, rows = min(most, run.x1.shape[0]), len(names)
    zoom = max(1, 64 // frames[0][0].shape[1])
    height, width = frames[0][0].shape[1] * zoom, frames[0][0].shape[2] * zoom
    left, top, gap = 64, 38, 4
    wide = len(chosen) + codec.full  # where frames are previews, a last column shows the result itself
    sheet = Image.new("RGB", (left + wide * (width + gap), top + images * (rows * (height + gap) + 3 * gap)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, i in enumerate(chosen):
        frame, x = run.frames[i], left + column * (width + gap)
        draw.text((x, 4), f"NFE {frame.nfe}\n{frame.phase}", _INK, font)
        for image in range(images):
            for row, panel in enumerate(frames[column]):
                y = top + image * (rows * (height + gap) + 3 * gap) + row * (height + gap)
                tile = Image.fromarray(panel[image]).resize((width, height), Image.Resampling.NEAREST)
                sheet.paste(tile, (x, y))
                if column == 0:
                    draw.text((6, y + height // 2 - 7), names[row][:_LETTERS], _INK, font)
    if codec.full:
        x = left + len(chosen) * (width + gap)
        draw.text((x, 4), "result,\ndecoded", _INK, font)
        for image, tile in enumerate(to_uint8(codec.decode(run.x1[:images])).numpy()):
            sheet.paste(Image.fromarray(tile), (x, top + image * (rows * (height + gap) + 3 * gap)))
    return sheet


def contact_sheet(run: Trajectory, codec: Codec, columns: int = 10) -> Image.Image:
    """The results alone, row by row."""
    tiles = to_uint8(codec.decode(run.x1)).cpu().numpy()
    columns = min(columns, len(tiles))
    blank = np.full((-len(tiles) % columns, *tiles.shape[1:]), 255, np.uint8)
    rows = np.concatenate([tiles, blank]).reshape(-1, columns, *tiles.shape[1:])
    return _scaled(np.concatenate(np.concatenate(rows, 1), 1), max(1, 64 // tiles.shape[1]))


def animation(run: Trajectory, codec: Codec, most: int = 16, word: Word | None = None) -> list[Image.Image]:
    """One picture a forward pass: PANELS, and a word, in columns, up to `most` images in rows; and which pass it is."""
    images = min(most, run.x0.shape[0])
    zoom = max(1, (128 if images <= 2 else 64) // (run.grid.height * codec.factor))
    font, last = ImageFont.load_default(12), run.frames[-1]
    result = to_uint8(codec.decode(run.x1[:images])).cpu().numpy() if codec.full else None
    pictures = []
    for i, frame in enumerate(run.frames):
        panels = _panels(frame, codec, run.grid, word and word.over(i, range(run.x0.shape[0])))
        if frame is last and result is not None:  # the last picture stays: in it the result itself, not its preview
            panels[1] = result
        panels = [_scaled(_column(panel[:images], max(1, _GAP // zoom)), zoom) for panel in panels]
        wide, tall = panels[0].size
        picture = Image.new("RGB", (len(panels) * (wide + _GAP) - _GAP, tall + 2 * _LINE), _PAPER)
        draw = ImageDraw.Draw(picture)
        for k, (name, panel) in enumerate(zip(_with(word), panels, strict=True)):
            picture.paste(panel, (k * (wide + _GAP), _LINE))
            draw.text((k * (wide + _GAP) + 1, 2), name, _INK, font)
        steps = run.recipe.get("steps") or last.outer + 1
        words = f"outer step {frame.outer + 1} of {steps}, {frame.phase}, NFE {frame.nfe} of {last.nfe}"
        draw.text((1, tall + _LINE + 2), words, _INK, font)
        pictures.append(picture)
    return pictures


def _column(tiles: np.ndarray, gap: int) -> np.ndarray:
    """(B, H, W, 3) -> (B H + (B - 1) gap, W, 3), one below the other."""
    padded = np.pad(tiles, ((0, 0), (0, gap), (0, 0), (0, 0)), constant_values=255)
    return np.concatenate(padded, 0)[:-gap]


def _scaled(pixels: np.ndarray, zoom: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def _save_png(
    run: Trajectory, codec: Codec, path: Path, note: str, picture: Callable = film_strip, **more: Any
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("recipe", note)
    picture(run, codec, **more).save(path, "PNG", pnginfo=info)


def _save_gif(run: Trajectory, codec: Codec, path: Path, note: str, **more: Any) -> None:
    first, *rest = animation(run, codec, **more)
    first.save(path, "GIF", save_all=True, append_images=rest, duration=_durations(run), loop=0, comment=note.encode())


def _save_webp(run: Trajectory, codec: Codec, path: Path, note: str, **more: Any) -> None:
    exif = Image.Exif()
    exif[EXIF_DESCRIPTION] = note
    first, *rest = animation(run, codec, **more)
    first.save(
        path, "WEBP", save_all=True, append_images=rest, duration=_durations(run), loop=0, lossless=True, exif=exif
    )


def _save_mp4(run: Trajectory, codec: Codec, path: Path, note: str, **more: Any) -> None:
    pictures = (np.asarray(picture) for picture in animation(run, codec, **more))
    counts = (milliseconds // _FRAME_MS for milliseconds in _durations(run))
    write_film(path, zip(pictures, counts, strict=True), Fraction(1000, _FRAME_MS), note)


def write_film(target: Any, pictures: Iterable[tuple[np.ndarray, int]], rate: Fraction, note: str) -> None:
    """MP4 of (picture (H, W, 3) uint8, for how many frames it stays) at `rate` frames a second, into a path or file.

    H.264 where this build of FFmpeg has libx264, else MPEG-4; sides padded to even numbers, `note` as the comment.
    One thread and no look-ahead in the encoder, so that the same run makes the same file. Raises InputError if PyAV is
    not installed.
    """
    av = _pyav()
    pictures = iter(pictures)
    first = next(pictures)
    tall, wide = (side % 2 for side in first[0].shape[:2])
    h264 = {"crf": "12", "x264-params": "mbtree=0:rc-lookahead=0"}
    name, options = ("libx264", h264) if "libx264" in av.codecs_available else ("mpeg4", {"qscale": "2"})
    with av.open(target, "w", format="mp4", options={"movflags": "faststart"}) as film:
        film.metadata["comment"] = note
        stream = film.add_stream(name, rate=rate, options=options)
        height, width = first[0].shape[:2]
        stream.height, stream.width, stream.pix_fmt = height + tall, width + wide, "yuv420p"
        stream.codec_context.thread_count, tick = 1, count()
        for picture, repeats in chain([first], pictures):
            frame = av.VideoFrame.from_ndarray(np.pad(picture, ((0, tall), (0, wide), (0, 0)), "edge"), format="rgb24")
            frame = frame.reformat(format="yuv420p", interpolation="POINT")  # whole pixels: nothing to smooth
            for _ in range(repeats):
                frame.pts = next(tick)
                film.mux(stream.encode(frame))
        film.mux(stream.encode())


def _pyav():
    """PyAV, loaded when a film is first asked for. Raises InputError if it is not installed."""
    try:
        import av
    except ImportError:
        raise InputError("MP4 needs the package av: pip install av, or choose another format.") from None
    return av


def _durations(run: Trajectory) -> list[int]:
    """Milliseconds a frame; the last stays."""
    return [_FRAME_MS] * (len(run) - 1) + [1520]


def _save_recipe(run: Trajectory, codec: Codec, path: Path, note: str) -> None:
    """The recipe alone. Raises InputError where it needs tensors beside it."""
    if carries_tensors(run):
        raise InputError("This recipe needs its given noise or pictures: save it as .safetensors, which carries them.")
    path.write_text(json.dumps(run.recipe, indent=2) + "\n")


def carries_tensors(run: Trajectory) -> bool:
    """Does the recipe need tensors that only .safetensors carries: given noise, or pictures that edits paint with?"""
    return run.edit_images is not None or run.recipe.get("noise") is not None


WRITERS: dict[str, Callable] = {
    ".safetensors": lambda run, codec, path, note: run.save(path),
    ".png": _save_png,
    ".gif": _save_gif,
    ".webp": _save_webp,
    ".mp4": _save_mp4,
    ".json": _save_recipe,
}


def check_suffix(path: str | Path, sheet: bool = False) -> None:
    """Raises InputError unless `export` can write this kind of file."""
    known = [".png"] if sheet else list(WRITERS)
    if Path(path).suffix.lower() not in known:
        raise InputError(f"Cannot write {Path(path).name}: the name must end in {', '.join(known)}.")


def export(run: Trajectory, codec: Codec, path: str | Path, sheet: bool = False, word: Word | None = None) -> None:
    """Write a run as its suffix says, with the recipe inside; `sheet` makes a PNG of the results alone, not a film
    strip; word: whose map a strip or animation shows too. Raises InputError for another suffix."""
    check_suffix(path, sheet)
    more = {"picture": contact_sheet} if sheet else {"word": word} if word else {}
    with files.replacing(path) as temporary:
        WRITERS[Path(path).suffix.lower()](run, codec, temporary, json.dumps(run.recipe), **more)


# What the readers raise on damaged or hostile files.
_UNREADABLE = (KeyError, ValueError, TypeError, SyntaxError, IndexError, OSError, SafetensorError, struct.error)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe inside any export (or a plain JSON file), of several that of the first run. Raises InputError if there
    is none."""
    return read_recipes(path)[0]


def read_recipes(path: str | Path) -> list[dict[str, Any]]:
    """The recipes of all runs that an export shows, at least one. Raises InputError if there is none."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        if path.suffix.lower() == ".json":
            recipe = bounded.read_json(path)
        elif path.suffix.lower() == ".safetensors":
            with bounded.tensors(path) as f:
                recipe = bounded.parse_json((f.metadata() or {})["recipe"])
        else:
            recipe = bounded.parse_json(bounded.text_inside(path, ("recipe", "comment")))
    except _UNREADABLE as e:
        reason = f" ({str(e).rstrip('.')})" if type(e) in (ValueError, InputError) else ""
        raise InputError(f"{path} holds no recipe{reason}: give a file that `sample` or the app exported.") from None
    recipes = recipe["recipes"] if isinstance(recipe, dict) and set(recipe) == {"recipes"} else [recipe]
    if not isinstance(recipes, list) or not recipes or not all(isinstance(each, dict) for each in recipes):
        raise InputError(f"{path} holds no recipe: give a file that `sample` or the app exported.")
    return recipes
