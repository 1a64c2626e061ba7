"""Picture files of any kind, made safe and of one size. Everything that a person brings in passes through here."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from struct import error as struct_error

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pf_core.errors import InputError

MAX_PIXELS = 64_000_000  # decoded; a 20,000 x 20,000 picture is refused before it takes memory
MAX_FILE = 64 * 2**20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_SIXTEEN = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112  # the EXIF tag, and how to turn a picture that has it upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_DAMAGE = (  # what Pillow's readers raise over bytes that are not what they expect
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct_error,
    MemoryError,
    LookupError,
    TypeError,
    ArithmeticError,
)


def read(file: str | Path | bytes, height: int, width: int | None = None, *, name: str = "") -> Tensor:
    """A picture as (3, height, width) in [-1, 1]: turned upright, centre-cropped to the shape, resized, on white.

    file: its path or its bytes. name: what to call it in a sentence. Of an animation the first frame is taken; CMYK,
    palettes, grey and 16 bits a channel become RGB. Raises InputError for anything that is no such picture, is damaged
    or is larger than MAX_PIXELS.
    """
    pixels = _read(file, lambda *_: (width or height, height), name)
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def square(file: str | Path | bytes, side: int, *, name: str = "", enlarge: bool = True) -> np.ndarray:
    """The picture's centre as (side, side, 3) uint8, or as it is where that is smaller and `enlarge` is off; else as
    `read`."""
    return _read(file, lambda w, h: (side if enlarge else min(w, h, side),) * 2, name)


def _read(file: str | Path | bytes, shape: Callable[[int, int], tuple[int, int]], name: str) -> np.ndarray:
    """shape: (width, height) of the file -> of the result. Returns (height, width, 3) uint8."""
    name = name or (Path(file).name if isinstance(file, str | Path) else "The picture")
    try:
        size = len(file) if isinstance(file, bytes) else Path(file).stat().st_size
        if size > MAX_FILE:
            raise InputError(f"{name} is a file of {size / 2**20:.0f} MB; at most {MAX_FILE // 2**20} MB are read.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what the next lines refuse, and of odd metadata
            return _decoded(io.BytesIO(file) if isinstance(file, bytes) else file, shape, name)
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture that can be read (known: {', '.join(FORMATS)}).") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name} is larger than {MAX_PIXELS // 10**6} megapixels.") from None
    except InputError:
        raise
    except _DAMAGE as e:
        raise InputError(f"{name} is damaged or cut off ({str(e)[:80] or type(e).__name__}).") from None


def _decoded(source, shape: Callable[[int, int], tuple[int, int]], name: str) -> np.ndarray:
    with Image.open(source, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(
                f"{name} is {picture.width} x {picture.height}: more than {MAX_PIXELS // 10**6} megapixels."
            )
        width, height = shape(*picture.size)
        picture.draft("RGB", (2 * max(width, height),) * 2)  # lets JPEG decode small
        picture.load()
        orientation = picture.getexif().get(_ORIENTATION)
        # made small before it is turned and coloured: of a large picture there is never more than one copy
        box = (height, width) if orientation in _SIDEWAYS else (width, height)
        small = ImageOps.fit(_resizable(picture), box, Image.Resampling.LANCZOS)
    upright = small.transpose(_TURNS[orientation]) if orientation in _TURNS else small
    return np.array(rgb(upright), np.uint8)


def _resizable(picture: Image.Image) -> Image.Image:
    """In a mode whose values can be averaged: palettes and 1 bit have none, 16 bits and floats become 8."""
    if picture.mode in _SIXTEEN:  # Pillow's own conversion would clip 16 bits instead of scaling them
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode == "F":
        return Image.fromarray(np.nan_to_num(np.asarray(picture)).clip(0, 255).astype(np.uint8))
    if "transparency" in picture.info or picture.mode == "PA":
        return picture.convert("RGBA")
    return picture.convert("RGB" if picture.mode == "P" else "L") if picture.mode in ("P", "1") else picture


def rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB; what is transparent lies on white."""
    picture = _resizable(picture)
    if "A" in picture.getbands():
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")
