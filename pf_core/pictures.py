"""Picture files of any kind, made safe and of one size. Everything that a person brings in passes through here."""

import io
import warnings
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


def read(file: str | Path | bytes, height: int, width: int | None = None, *, name: str = "") -> Tensor:
    """A picture as (3, height, width) in [-1, 1]: turned upright, centre-cropped to the shape, resized, on white.

    file: its path or its bytes. name: what to call it in a sentence. Of an animation the first frame is taken; CMYK,
    palettes, grey and 16 bits a channel become RGB. Raises InputError for anything that is no such picture, is damaged
    or is larger than MAX_PIXELS.
    """
    name = name or (Path(file).name if isinstance(file, str | Path) else "The picture")
    try:
        size = len(file) if isinstance(file, bytes) else Path(file).stat().st_size
        if size > MAX_FILE:
            raise InputError(f"{name} is a file of {size / 2**20:.0f} MB; at most {MAX_FILE // 2**20} MB are read.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what the next lines refuse, and of odd metadata
            return _decoded(io.BytesIO(file) if isinstance(file, bytes) else file, height, width or height, name)
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture that can be read (known: {', '.join(FORMATS)}).") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name} is larger than {MAX_PIXELS // 10**6} megapixels.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct_error) as e:
        raise InputError(f"{name} is damaged or cut off ({str(e)[:80] or type(e).__name__}).") from None


def _decoded(source, height: int, width: int, name: str) -> Tensor:
    with Image.open(source, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(
                f"{name} is {picture.width} x {picture.height}: more than {MAX_PIXELS // 10**6} megapixels."
            )
        picture.draft("RGB", (2 * width, 2 * height))  # lets JPEG decode small
        picture = rgb(ImageOps.exif_transpose(picture))
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(picture, np.uint8)).permute(2, 0, 1)
    return pixels.float() / 127.5 - 1


def rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB; what is transparent lies on white."""
    if picture.mode in _SIXTEEN:  # Pillow's own conversion would clip 16 bits instead of scaling them
        return Image.fromarray((np.array(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        return Image.fromarray(np.nan_to_num(np.array(picture)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")
