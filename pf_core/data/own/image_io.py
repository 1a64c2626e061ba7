"""Picture files of any kind, decoded safely to one size. Every picture of a user passes through here.

What a picture's values mean, `colours` says; what Pillow refuses though its pixels are whole, `mending` mends.
"""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from struct import error as struct_error

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from pf_core.data.own.colours import SIXTEEN, check_depth, grey8, in_srgb, lab_to_rgb
from pf_core.data.own.mending import mended
from pf_core.errors import InputError

MAX_PIXELS = 64_000_000  # decoded; a 20,000 x 20,000 picture is refused before it takes memory
MAX_FILE = 64 * 2**20
try:  # optional: phones' HEIC
    from pillow_heif import register_heif_opener
except ImportError:
    HEIF = False
else:
    register_heif_opener()
    HEIF = True
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *["AVIF"] * features.check("avif"), *["HEIF"] * HEIF)
HEIC_NEEDS = "HEIC needs the package pillow-heif: pip install pillow-heif, or save it as JPEG"
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
            return _whole(file, shape, name)
    except UnidentifiedImageError:
        raise InputError(f"{name} {_unknown(file)}.") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name} is larger than {MAX_PIXELS // 10**6} megapixels.") from None
    except InputError:
        raise
    except _DAMAGE as e:
        raise InputError(f"{name} is damaged or cut off ({str(e)[:80] or type(e).__name__}).") from None


def _whole(file: str | Path | bytes, shape: Callable[[int, int], tuple[int, int]], name: str) -> np.ndarray:
    """As `_decoded`; of a file that Pillow refuses though its pixels are whole, after repair."""
    try:
        return _decoded(io.BytesIO(file) if isinstance(file, bytes) else file, shape, name)
    except (InputError, Image.DecompressionBombError):
        raise
    except _DAMAGE as e:  # an UnidentifiedImageError is an OSError
        repaired = mended(file if isinstance(file, bytes) else Path(file).read_bytes())
        if repaired is None:
            raise
        try:
            pixels = [_decoded(io.BytesIO(v), shape, name, repaired.profile) for v in repaired.versions]
        except _DAMAGE as again:
            if isinstance(again, InputError | Image.DecompressionBombError):
                raise
            raise e from None
        if any((p != pixels[0]).any() for p in pixels):
            raise
        return pixels[0]


def _unknown(file: str | Path | bytes) -> str:
    """Why a file cannot be read as a picture, by its first bytes."""
    if isinstance(file, bytes):
        start = file[:12]
    else:
        with open(file, "rb") as f:
            start = f.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return f"is not a picture that can be read ({HEIC_NEEDS})"
    if start[:4] in (b"II*\0", b"MM\0*"):
        return "is not a picture that can be read (a TIFF of a kind that is unknown here: save it with 8 or 16 bits)"
    return f"is not a picture that can be read (known: {', '.join(FORMATS)})"


def _decoded(source, shape: Callable[[int, int], tuple[int, int]], name: str, profile: bytes = b"") -> np.ndarray:
    """profile: of its colours, where the file has none of its own any more."""
    with Image.open(source, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(
                f"{name} is {picture.width} x {picture.height}: more than {MAX_PIXELS // 10**6} megapixels."
            )
        width, height = shape(*picture.size)
        picture.draft("RGB", (2 * max(width, height),) * 2)  # lets JPEG decode small
        raw = _stored_as(picture)
        picture.load()
        check_depth(picture, raw, name)
        clear = picture.info.get("transparency")
        if ";16" in raw and isinstance(clear, tuple):  # of 16 bits, while the pixels have 8 now
            picture.info["transparency"] = tuple(v >> 8 for v in clear)
        orientation = picture.getexif().get(_ORIENTATION)
        profile = picture.info.get("icc_profile") or profile
        # made small before it is turned and coloured: of a large picture there is never more than one copy
        box = (height, width) if orientation in _SIDEWAYS else (width, height)
        small = ImageOps.fit(_resizable(picture, name), box, Image.Resampling.LANCZOS)
    upright = small.transpose(_TURNS[orientation]) if orientation in _TURNS else small
    return np.array(rgb(in_srgb(upright, profile)), np.uint8)


def _stored_as(picture: Image.Image) -> str:
    """How its values are stored, as Pillow calls it ("RGB;16B"); '' where that is not told."""
    args = picture.tile[0][3] if getattr(picture, "tile", None) else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _resizable(picture: Image.Image, name: str = "The picture") -> Image.Image:
    """In a mode whose values can be averaged: palettes and 1 bit have none, 16 bits and floats become 8."""
    if picture.mode in (*SIXTEEN, "F"):  # Pillow's own conversion would clip these instead of scaling them
        return grey8(picture, name)
    if "transparency" in picture.info or picture.mode == "PA":
        return picture.convert("RGBA")
    return picture.convert("RGB" if picture.mode == "P" else "L") if picture.mode in ("P", "1") else picture


def rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB; what is transparent lies on white."""
    picture = _resizable(picture)
    if picture.mode == "LAB":
        return lab_to_rgb(picture)
    if "A" in picture.getbands():
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")
