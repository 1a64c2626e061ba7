"""Pictures of a run for the browser: WebP, lossless while that is short enough, else of a stated largest error.

WebP halves the resolution of colour, which noise does not survive (measured on states of 64 px at quality 90: wrong by
58 of 255 levels on average). So what is not lossless is sent as its three colour planes side by side in one grey
picture: at quality 10, as short as that, it is wrong by 11. Exact arrays are what the raw download is for.
"""

import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

BUDGET = 4000  # bytes for a picture of one image up to 64 px: 4 runs of 64 forwards, two pictures each, within 3 MB
QUALITIES = (90, 60, 30, 10)


class Coded(NamedTuple):
    """A picture as WebP. planes: 1 as it is, 3 its colour planes side by side; error: largest of a level, of 255."""

    data: bytes
    planes: int
    error: int


def budget(height: int, width: int) -> int:
    """Bytes that a picture of one image may take: half a byte a pixel above 64 x 64."""
    return max(BUDGET, height * width // 2)


def encode(pictures: np.ndarray, most: float = math.inf) -> Coded:
    """B pictures (B, H, W, 3) uint8 as one sheet of about `most` bytes: lossless if that fits."""
    whole = sheet(pictures)
    exact = Coded(_webp(whole, lossless=True, quality=20, method=2), 1, 0)
    if len(exact.data) <= most:
        return exact
    planes = np.concatenate(np.moveaxis(whole, -1, 0), axis=1)
    data = _finest(planes, most)
    back = decode(data, 3, pictures.shape[:3])
    return Coded(data, 3, int(np.abs(back.astype(np.int16) - pictures).max()))


def _finest(pixels: np.ndarray, most: float) -> bytes:
    """At the best of the qualities that fits, or at the last one, found by halving: encoding costs milliseconds."""
    tried: dict[int, bytes] = {}
    low, high = 0, len(QUALITIES) - 1
    while low < high:
        middle = (low + high) // 2
        tried[middle] = _webp(pixels, quality=QUALITIES[middle], method=1)
        low, high = (low, middle) if len(tried[middle]) <= most else (middle + 1, high)
    return tried[low] if low in tried else _webp(pixels, quality=QUALITIES[low], method=1)


def decode(data: bytes, planes: int, shape: tuple[int, int, int]) -> np.ndarray:
    """The pictures (B, H, W, 3) of shape (B, H, W) again; pictures.js does the same."""
    b, h, w = shape
    with Image.open(io.BytesIO(data)) as picture:
        whole = np.asarray(picture.convert("RGB"))
    if planes == 3:
        whole = np.stack(np.split(whole[..., 0], 3, axis=1), axis=-1)
    cols = columns(b)
    tiles = whole.reshape(-1, h, cols, w, 3).swapaxes(1, 2)
    return tiles.reshape(-1, h, w, 3)[:b]


def sheet(pictures: np.ndarray) -> np.ndarray:
    """(B, H, W, 3) -> (rows H, columns W, 3), row by row, black where there are no more."""
    b, h, w, _ = pictures.shape
    cols = columns(b)
    missing = -b % cols
    full = np.concatenate([pictures, np.zeros((missing, h, w, 3), np.uint8)])
    return np.ascontiguousarray(full.reshape(-1, cols, h, w, 3).swapaxes(1, 2).reshape(-1, cols * w, 3))


def columns(count: int) -> int:
    """How many of so many pictures stand in a row of their sheet."""
    return math.ceil(math.sqrt(count))


def _webp(pixels: np.ndarray, **how) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", **how)
    return buffer.getvalue()
