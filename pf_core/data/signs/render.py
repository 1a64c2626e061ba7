"""A scene as pixels: each is the mean of 3 x 3 points. One picture at a time, so that a batch changes no bit."""

import math
from functools import lru_cache

import numpy as np
import scipy  # its parts are loaded when they are first asked for

from pf_core.data.signs.glyphs import CAP, MARGIN
from pf_core.data.signs.scene import BUSY, DARKENED, KINDS, RGB, SIDES, Scene

REGIONS = ("background", "busy", "sign", "letters")
LETTER = 0.3  # least share of a pixel that makes it the letters'
_POINTS = 3  # a side of a pixel
_WOOD, _SPONGE = np.array([0.55, 0.36, 0.20], np.float32), np.array([0.78, 0.56, 0.34], np.float32)
_WHITE = np.ones(3, np.float32)


def render(s: Scene, size: int) -> tuple[np.ndarray, np.ndarray]:
    """size: height in pixels -> levels (3, H, W) uint8, regions (H, W) uint8 indices into REGIONS."""
    x, y = _points(size, s.aspect)
    busy = _busy_mask(s, x, y)
    picture = _behind(s, x, y, busy)
    u, v = _turned(s, x, y)
    letters = _letters(s, u, v)
    board = _DRAW[KINDS[s.kind]](s, picture, u, v, letters)
    picture *= 1 + s.light * (2 * x / s.aspect - 1)
    high, wide = size, size * s.aspect
    mean = picture.reshape(3, high, _POINTS, wide, _POINTS).mean((2, 4))
    levels = np.rint(np.clip(mean, 0, 1) * 255).astype(np.uint8)
    regions = _half(busy, high, wide, 0.5).astype(np.uint8)
    regions[_half(board, high, wide, 0.5)] = 2
    regions[_half(letters < 0, high, wide, LETTER)] = 3
    return levels, regions


@lru_cache(maxsize=4)
def _points(size: int, aspect: int) -> tuple[np.ndarray, np.ndarray]:
    """(1, w) and (h, 1) places of the points."""
    axis = (np.arange(size * aspect * _POINTS, dtype=np.float32) + 0.5) / (size * _POINTS)
    return axis[None], axis[: size * _POINTS, None]


def _half(inside: np.ndarray, high: int, wide: int, share: float) -> np.ndarray:
    return inside.reshape(high, _POINTS, wide, _POINTS).sum((1, 3)) >= share * _POINTS**2


def _mix(picture: np.ndarray, colour: np.ndarray, how: np.ndarray) -> None:
    """Lay a colour (3,) or (3, h, w) over the picture, by how much (h, w)."""
    colour = colour[:, None, None] if colour.ndim == 1 else colour
    picture += (colour - picture) * how


def _grain(column: np.ndarray, row: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each cell of a grid, without order."""
    a = column.astype(np.int32).astype(np.uint32) * np.uint32(374761393)
    b = row.astype(np.int32).astype(np.uint32) * np.uint32(668265263)
    mixed = (a + b) ^ np.uint32(seed)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(3266489917)
    return ((mixed ^ (mixed >> np.uint32(16))) >> np.uint32(8)).astype(np.float32) / np.float32(2**24)


# what is behind


def _busy_mask(s: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    side, shape = SIDES[s.side], (y.shape[0], x.shape[1])
    edge = {
        "left": lambda: x < s.share * s.aspect,
        "right": lambda: x > (1 - s.share) * s.aspect,
        "bottom": lambda: y > 1 - s.share,
        "top": lambda: y < s.share,
    }[side]()
    return np.broadcast_to(edge, shape)


def _behind(s: Scene, x: np.ndarray, y: np.ndarray, busy: np.ndarray) -> np.ndarray:
    top, bottom = (c[:, None, None] for c in s.easy)
    picture = np.empty((3, *busy.shape), np.float32)
    picture[:] = top + (bottom - top) * y
    colour, how = _PATTERNS[BUSY[s.busy]](s, x / np.float32(s.scale) + np.float32(s.phase), y / np.float32(s.scale))
    low, high = (np.array(c, np.float32)[:, None, None] for c in colour)
    np.copyto(picture, low + (high - low) * how, where=busy)
    return picture


def _bricks(s: Scene, x: np.ndarray, y: np.ndarray):
    row = np.floor(y / 0.13)
    along = x / 0.3 + 0.5 * (row % 2)
    column = np.floor(along)
    mortar = (along - column < 0.08) | (y / 0.13 - row < 0.17)
    return ((0.50, 0.20, 0.14), (0.86, 0.80, 0.72)), np.where(mortar, 1.0, 0.35 * _grain(column, row, s.seed))


def _hedge(s: Scene, x: np.ndarray, y: np.ndarray):
    fine = _grain(np.floor(x / 0.06), np.floor(y / 0.06), s.seed)
    coarse = _grain(np.floor(x / 0.15 + 0.3), np.floor(y / 0.15), s.seed + 1)
    return ((0.04, 0.20, 0.06), (0.50, 0.74, 0.26)), 0.65 * fine + 0.35 * coarse


def _fence(s: Scene, x: np.ndarray, y: np.ndarray):
    column = np.floor(x / 0.14)
    slit = x / 0.14 - column < 0.2
    tone = 0.55 + 0.45 * _grain(column, np.zeros_like(column), s.seed)
    how = np.where(slit, 0.0, tone)
    return ((0.22, 0.15, 0.10), (0.90, 0.76, 0.56)), np.broadcast_to(how, (y.shape[0], x.shape[1]))


def _tiles(s: Scene, x: np.ndarray, y: np.ndarray):
    return ((0.30, 0.38, 0.46), (0.88, 0.90, 0.88)), (np.floor(x / 0.15) + np.floor(y / 0.15)) % 2


def _windows(s: Scene, x: np.ndarray, y: np.ndarray):
    column, row = np.floor(x / 0.17), np.floor(y / 0.2)
    across, down = x / 0.17 - column, y / 0.2 - row
    pane = (across > 0.25) & (across < 0.85) & (down > 0.25) & (down < 0.85)
    lit = np.where(_grain(column, row, s.seed) < 0.5, 1.0, 0.0)
    return ((0.14, 0.13, 0.20), (1.0, 0.86, 0.45)), np.where(pane, lit, 0.3)


_PATTERNS = {"bricks": _bricks, "hedge": _hedge, "fence": _fence, "tiles": _tiles, "windows": _windows}


# the sign


def _turned(s: Scene, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points from the sign's centre, along it and across."""
    dx, dy = x - np.float32(s.centre[0]), y - np.float32(s.centre[1])
    cos, sin = np.float32(math.cos(s.angle)), np.float32(math.sin(s.angle))
    return cos * dx + sin * dy, cos * dy - sin * dx


def _letters(s: Scene, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance to the letters' edge in cap heights, negative inside; far from the word only a lower bound."""
    step = np.float32(CAP / s.cap)
    column = u * step + np.float32(MARGIN + s.word.width * CAP / 2 - 0.5)
    row = v * step + np.float32(MARGIN + CAP / 2 - 0.5)
    at, how = np.stack([row, column]), {"order": 1, "mode": "nearest", "prefilter": False}
    return scipy.ndimage.map_coordinates(s.word.field, at, np.float32, **how)


def _box(u: np.ndarray, v: np.ndarray, half: tuple[float, float], radius: float) -> np.ndarray:
    """Distance to a box with round corners, negative inside."""
    across = np.abs(u) - np.float32(half[0] - radius)
    down = np.abs(v) - np.float32(half[1] - radius)
    outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2)
    return outside + np.minimum(np.maximum(across, down), 0) - np.float32(radius)


def _shadow(s: Scene, picture: np.ndarray, u: np.ndarray, v: np.ndarray, radius: float) -> None:
    picture *= 1 - np.float32(s.shadow) * (_box(u - 0.03, v - 0.05, s.half, radius) < 0)


def _colours(s: Scene) -> tuple[np.ndarray, np.ndarray]:
    return RGB[s.board] * np.float32(DARKENED.get(KINDS[s.kind], 1)), RGB[s.letters]


def _plate(s: Scene, picture: np.ndarray, u: np.ndarray, v: np.ndarray, letters: np.ndarray) -> np.ndarray:
    ground, colour = _colours(s)
    edge = _box(u, v, s.half, 0.14 * s.cap)
    _shadow(s, picture, u, v, 0.14 * s.cap)
    _mix(picture, ground, edge < 0)
    if s.framed:
        _mix(picture, colour, np.abs(edge + 0.08 * s.cap) < 0.035 * s.cap)
    _mix(picture, colour, letters < 0)
    return edge < 0


def _neon(s: Scene, picture: np.ndarray, u: np.ndarray, v: np.ndarray, letters: np.ndarray) -> np.ndarray:
    ground, colour = _colours(s)
    edge = _box(u, v, s.half, 0.2 * s.cap)
    _mix(picture, ground, edge < 0)
    near = letters
    if s.framed:
        near = np.minimum(letters, np.abs(edge / np.float32(s.cap) + 0.09) - 0.03)
    _mix(picture, colour, 0.5 * np.exp(-np.maximum(near, 0) / np.float32(0.09)) * (edge < 0))
    bright = np.clip(-near / np.float32(0.08), 0, 1) * np.float32(0.55)
    tube = colour[:, None, None] + (_WHITE - colour)[:, None, None] * bright
    _mix(picture, tube, near < 0)
    return edge < 0


def _chalkboard(s: Scene, picture: np.ndarray, u: np.ndarray, v: np.ndarray, letters: np.ndarray) -> np.ndarray:
    ground, colour = _colours(s)
    edge = _box(u, v, s.half, 0.02)
    _shadow(s, picture, u, v, 0.02)
    _mix(picture, _WOOD, edge < 0)
    inner = edge < -0.1 * s.cap
    _mix(picture, ground, inner)
    dust = _grain(np.floor(u / 0.2 + 40), np.floor(v / 0.3 + 40), s.seed)
    _mix(picture, _WHITE, 0.07 * dust * inner)
    chalk = 0.86 + 0.14 * _grain(np.floor(u / 0.025), np.floor(v / 0.025), s.seed + 1)
    _mix(picture, colour, chalk * (letters < 0))
    return edge < 0


def _cake(s: Scene, picture: np.ndarray, u: np.ndarray, v: np.ndarray, letters: np.ndarray) -> np.ndarray:
    ground, colour = _colours(s)
    half = (s.half[0], s.half[1] - 0.06 * s.cap)
    radius = 0.55 * s.cap
    side = _box(u, v - np.float32(0.06 * s.cap), half, radius)
    _mix(picture, _SPONGE, side < 0)
    edge = _box(u, v + np.float32(0.06 * s.cap), half, radius)
    _mix(picture, ground, edge < 0)
    turn = np.cos((u + np.sign(u) * np.abs(v)) * np.float32(22 / s.cap))
    cream = (edge < 0) & (edge > -0.12 * s.cap)
    tone = ground + (_WHITE - ground) * np.float32(0.75) if ground.mean() < 0.85 else _SPONGE
    _mix(picture, tone, cream * (0.5 + 0.5 * turn))
    _mix(picture, colour, letters < 0)
    return (side < 0) | (edge < 0)


_DRAW = {"plate": _plate, "neon": _neon, "chalkboard": _chalkboard, "cake": _cake}
