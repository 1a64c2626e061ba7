"""The twelve toys, each a list of parts: what it is built of, in the toy's own frame.

A toy stands on z = 0, faces -y (the camera), is about one unit large. A part is a primitive under an affine map:
centre, half-sizes, a turn. Primitives, in their own frame:

    ELLIPSOID  x^2 + y^2 + z^2 <= 1, cut off below z = shape (-1: whole)
    BOX        |x|, |y| <= 1 at z = -1, narrowing linearly to `shape` times that at z = 1
    FRUSTUM    the same, round: a cylinder (shape 1), a cone (0)
    WEDGE      |y| <= 1, and in x, z a triangle on z = -1 with its apex at x = shape, z = 1
    TORUS      a ring of radius 1 about the z axis, its tube's radius `shape`
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ELLIPSOID, BOX, FRUSTUM, WEDGE, TORUS = range(5)
COLOURS = {  # main colours, as grey levels in [0, 1] of red, green, blue
    "red": (0.90, 0.16, 0.15),
    "orange": (1.00, 0.52, 0.10),
    "yellow": (1.00, 0.84, 0.18),
    "green": (0.28, 0.68, 0.26),
    "turquoise": (0.14, 0.72, 0.72),
    "blue": (0.17, 0.36, 0.87),
    "purple": (0.55, 0.26, 0.76),
    "pink": (0.98, 0.52, 0.70),
}
FIXED = {  # colours that parts have whatever the toy's are
    "white": (0.97, 0.97, 0.97),
    "black": (0.12, 0.12, 0.14),
    "wood": (0.58, 0.38, 0.22),
    "cream": (0.98, 0.92, 0.78),
    "carrot": (1.00, 0.50, 0.10),
    "glass": (0.30, 0.45, 0.62),
    "steel": (0.66, 0.68, 0.72),
    "light": (1.00, 0.90, 0.50),
}
SLOTS = ("main", "second", *FIXED)  # what a part can be coloured with
PLAIN, SECTORS, BANDS = range(3)  # patterns of main (or a part's) colour and white


@dataclass(frozen=True)
class Part:
    """kind: a primitive; turn: degrees about x, y, z, in this order; variants: which of a toy's three have it; glow:
    light that it emits; gloss: its least shininess."""

    kind: int
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    colour: str = "main"
    shape: float = 1.0
    turn: tuple[float, float, float] = (0, 0, 0)
    pattern: int = PLAIN
    glow: float = 0.0
    gloss: float = 0.0
    variants: tuple[int, ...] = (0, 1, 2)


def ball(x: float, y: float, z: float, *half: float, **more) -> Part:
    return Part(ELLIPSOID, (x, y, z), half * 3 if len(half) == 1 else half, shape=more.pop("cut", -1.0), **more)


def box(x: float, y: float, z: float, *half: float, **more) -> Part:
    return Part(BOX, (x, y, z), half, **more)


def tube(x: float, y: float, z: float, radius: float, height: float, **more) -> Part:
    """A cylinder or (with `shape`) a cone; `height` is half its height."""
    return Part(FRUSTUM, (x, y, z), (radius, radius, height), **more)


def ring(x: float, y: float, z: float, radius: float, thick: float, **more) -> Part:
    return Part(TORUS, (x, y, z), (radius,) * 3, shape=thick / radius, **more)


def _cap(angle: float, up: float, r: float, **more) -> Part:
    """A spot on the mushroom's cap, at a bearing and a height in degrees."""
    a, e = math.radians(angle), math.radians(up)
    x, y, z = math.cos(e) * math.sin(a), -math.cos(e) * math.cos(a), math.sin(e)
    return ball(0.46 * x, 0.46 * y, 0.50 + 0.42 * z, r, r, r, colour="white", **more)


def _wheel(x: float, y: float) -> list[Part]:
    side = math.copysign(1, y)
    return [
        tube(x, y, 0.13, 0.13, 0.055, colour="black", turn=(90, 0, 0)),
        tube(x, y + 0.02 * side, 0.13, 0.065, 0.05, colour="steel", turn=(90, 0, 0)),
    ]


def _runner(y: float) -> list[Part]:
    """A sledge's runner: along the ground, then up in three steps."""
    places = ((0.37, 0.055, 0.10, 20), (0.51, 0.125, 0.09, 45), (0.61, 0.27, 0.12, 68), (0.655, 0.40, 0.06, 80))
    bends = [box(x, y, z, half, 0.034, 0.034, colour="wood", turn=(0, -a, 0)) for x, z, half, a in places]
    return [box(-0.14, y, 0.035, 0.45, 0.034, 0.035, colour="wood"), *bends]


def _candle(x: float, y: float, z: float, *variants: int) -> list[Part]:
    return [
        tube(x, y, z + 0.11, 0.037, 0.11, colour="second", variants=variants),
        ball(x, y, z + 0.27, 0.04, 0.04, 0.065, colour="light", glow=1.2, variants=variants),
    ]


TOYS: dict[str, list[Part]] = {
    "snowman": [
        ball(0, 0, 0.26, 0.30, 0.30, 0.28, colour="white"),
        ball(0, 0, 0.61, 0.22, 0.22, 0.21, colour="white"),
        ball(0, 0, 0.88, 0.16, colour="white"),
        ring(0, 0, 0.745, 0.15, 0.05),
        box(0.10, -0.20, 0.63, 0.045, 0.03, 0.11, turn=(8, 0, 0)),
        tube(0, 0, 0.995, 0.19, 0.018),
        tube(0, 0, 1.09, 0.125, 0.09, shape=0.92),
        tube(0, -0.22, 0.87, 0.035, 0.10, colour="carrot", shape=0.1, turn=(90, 0, 0)),
        ball(-0.06, -0.14, 0.93, 0.026, colour="black"),
        ball(0.06, -0.14, 0.93, 0.026, colour="black"),
        ball(0, -0.22, 0.55, 0.03, colour="black"),
        ball(0, -0.29, 0.36, 0.03, colour="black"),
        tube(-0.33, 0, 0.70, 0.018, 0.17, colour="wood", turn=(0, -60, 0)),
        tube(0.33, 0, 0.70, 0.018, 0.17, colour="wood", turn=(0, 60, 0)),
    ],
    "sledge": [
        *_runner(-0.21),
        *_runner(0.21),
        box(-0.06, -0.17, 0.315, 0.54, 0.07, 0.026),
        box(-0.06, 0.0, 0.315, 0.54, 0.07, 0.026),
        box(-0.06, 0.17, 0.315, 0.54, 0.07, 0.026),
        box(-0.38, 0, 0.18, 0.03, 0.22, 0.11, colour="wood"),
        box(0.18, 0, 0.18, 0.03, 0.22, 0.11, colour="wood"),
        tube(0.665, 0, 0.43, 0.026, 0.25, colour="second", turn=(90, 0, 0)),
        ball(-0.15, 0, 0.47, 0.25, 0.2, 0.16, colour="second", variants=(1,)),
        ring(-0.02, 0, 0.5, 0.14, 0.025, colour="wood", turn=(0, 90, 0), variants=(1,)),
        box(-0.15, 0, 0.48, 0.17, 0.17, 0.15, colour="second", variants=(2,)),
        box(-0.15, 0, 0.485, 0.045, 0.175, 0.153, colour="white", variants=(2,)),
        box(-0.15, 0, 0.485, 0.175, 0.045, 0.153, colour="white", variants=(2,)),
    ],
    "boat": [
        Part(FRUSTUM, (0, 0, 0.11), (0.42, 0.17, 0.17), shape=1.42),
        Part(FRUSTUM, (0, 0, 0.285), (0.61, 0.25, 0.02), colour="white"),
        tube(0.0, 0, 0.70, 0.022, 0.44, colour="wood"),
        Part(WEDGE, (0.27, 0, 0.72), (0.23, 0.012, 0.36), colour="white", shape=-1.0),
        Part(WEDGE, (-0.21, 0, 0.65), (0.18, 0.012, 0.29), colour="second", shape=1.0),
        Part(WEDGE, (0.09, 0, 1.11), (0.055, 0.012, 0.09), shape=0.0, turn=(0, 90, 0)),
        box(-0.22, 0, 0.34, 0.12, 0.1, 0.05, colour="white", variants=(1,)),
        ring(0.05, -0.235, 0.19, 0.075, 0.028, colour="white", turn=(68, 0, 0), variants=(0, 2)),
    ],
    "duck": [
        ball(-0.04, 0, 0.24, 0.46, 0.33, 0.27),
        ball(0.24, 0, 0.68, 0.24),
        tube(0.16, 0, 0.45, 0.2, 0.12, shape=0.85),
        tube(-0.45, 0, 0.40, 0.13, 0.16, shape=0.15, turn=(0, -42, 0)),
        ball(0.48, 0, 0.63, 0.13, 0.115, 0.045, colour="carrot"),
        ball(0.47, 0, 0.585, 0.10, 0.09, 0.035, colour="carrot"),
        ball(0.385, -0.155, 0.75, 0.042, colour="black", gloss=1.0),
        ball(0.385, 0.155, 0.75, 0.042, colour="black", gloss=1.0),
        ball(-0.1, -0.29, 0.29, 0.25, 0.07, 0.14, turn=(0, 15, 0)),
        ball(-0.1, 0.29, 0.29, 0.25, 0.07, 0.14, turn=(0, 15, 0)),
        ring(0.15, 0, 0.49, 0.185, 0.035, colour="second", variants=(1, 2)),
    ],
    "car": [
        box(0, 0, 0.22, 0.56, 0.25, 0.11, shape=0.96),
        ball(0.43, 0, 0.22, 0.17, 0.25, 0.11),
        ball(-0.43, 0, 0.22, 0.17, 0.25, 0.11),
        box(-0.06, 0, 0.42, 0.38, 0.235, 0.11, colour="glass", shape=0.72, gloss=1.0),
        box(-0.06, 0, 0.545, 0.29, 0.185, 0.025),
        box(-0.06, 0, 0.42, 0.03, 0.232, 0.112, shape=0.76),
        *_wheel(-0.33, -0.24),
        *_wheel(0.33, -0.24),
        tube(-0.33, 0.24, 0.13, 0.13, 0.055, colour="black", turn=(90, 0, 0)),
        tube(0.33, 0.24, 0.13, 0.13, 0.055, colour="black", turn=(90, 0, 0)),
        ball(0.565, -0.15, 0.25, 0.045, colour="light", glow=0.3),
        ball(0.565, 0.15, 0.25, 0.045, colour="light", glow=0.3),
        box(-0.06, 0, 0.60, 0.1, 0.14, 0.03, colour="second", variants=(1,)),
    ],
    "cone": [
        box(0, 0, 0.03, 0.36, 0.36, 0.03, colour="black"),
        tube(0, 0, 0.52, 0.27, 0.46, shape=0.2, pattern=BANDS),
    ],
    "tree": [
        tube(0, 0, 0.15, 0.085, 0.16, colour="wood", shape=0.8),
        tube(0, 0, 0.42, 0.43, 0.20, shape=0.25, variants=(0, 1)),
        tube(0, 0, 0.67, 0.34, 0.19, shape=0.2, variants=(0, 1)),
        tube(0, 0, 0.92, 0.25, 0.20, shape=0.0, variants=(0, 1)),
        ball(0, 0, 1.12, 0.05, colour="light", glow=0.3, variants=(1,)),
        ball(0, 0, 0.66, 0.34, 0.34, 0.32, variants=(2,)),
        ball(-0.22, -0.08, 0.54, 0.22, variants=(2,)),
        ball(0.23, -0.02, 0.57, 0.23, variants=(2,)),
        ball(0.04, -0.05, 0.86, 0.23, variants=(2,)),
        ball(-0.15, -0.32, 0.62, 0.055, colour="second", variants=(2,)),
        ball(0.18, -0.28, 0.70, 0.055, colour="second", variants=(2,)),
        ball(0.02, -0.34, 0.45, 0.055, colour="second", variants=(2,)),
    ],
    "house": [
        box(0, 0, 0.26, 0.38, 0.30, 0.26),
        Part(WEDGE, (0, 0, 0.725), (0.48, 0.37, 0.215), colour="second", shape=0.0),
        Part(WEDGE, (0, -0.085, 0.69), (0.36, 0.30, 0.17), shape=0.0),
        box(0.0, -0.29, 0.17, 0.085, 0.03, 0.17, colour="wood"),
        box(-0.23, -0.29, 0.32, 0.075, 0.025, 0.085, colour="light", glow=0.15),
        box(0.23, -0.29, 0.32, 0.075, 0.025, 0.085, colour="light", glow=0.15),
        box(-0.365, 0.0, 0.30, 0.03, 0.11, 0.09, colour="light", glow=0.15),
        box(0.365, 0.0, 0.30, 0.03, 0.11, 0.09, colour="light", glow=0.15),
        box(0.24, 0.08, 0.82, 0.065, 0.065, 0.16, colour="white", variants=(0, 1)),
        tube(0, -0.375, 0.66, 0.06, 0.012, colour="white", turn=(90, 0, 0), variants=(1, 2)),
    ],
    "mushroom": [
        tube(0, 0, 0.26, 0.20, 0.27, colour="cream", shape=0.72, glow=0.12),
        ball(0, 0, 0.06, 0.22, 0.22, 0.1, colour="cream", glow=0.12),
        ball(0, 0, 0.49, 0.48, 0.48, 0.44, cut=0.0),
        Part(FRUSTUM, (0, 0, 0.475), (0.36, 0.36, 0.02), colour="cream", shape=1.25),
        _cap(0, 38, 0.085),
        _cap(62, 22, 0.075),
        _cap(-58, 26, 0.08),
        _cap(28, 68, 0.075),
        _cap(-100, 55, 0.07),
        _cap(120, 40, 0.08),
        _cap(180, 35, 0.08),
        _cap(-30, 12, 0.05, variants=(1, 2)),
        _cap(30, 10, 0.05, variants=(2,)),
    ],
    "cake": [
        tube(0, 0, 0.03, 0.56, 0.025, colour="white", gloss=0.6),
        tube(0, 0, 0.23, 0.45, 0.18),
        ring(0, 0, 0.41, 0.41, 0.05, colour="white"),
        ring(0, 0, 0.08, 0.45, 0.045, colour="white"),
        tube(0, 0, 0.52, 0.27, 0.12, variants=(1, 2)),
        ring(0, 0, 0.64, 0.235, 0.04, colour="white", variants=(1, 2)),
        tube(0, 0, 0.225, 0.457, 0.045, colour="second", variants=(0, 2)),
        *_candle(0, -0.04, 0.62, 1, 2),
        *_candle(-0.15, 0.05, 0.62, 1, 2),
        *_candle(0.15, 0.05, 0.62, 1, 2),
        *_candle(0, -0.08, 0.40, 0),
        *_candle(-0.22, 0.08, 0.40, 0),
        *_candle(0.22, 0.08, 0.40, 0),
        ball(-0.02, -0.24, 0.47, 0.065, colour="second", variants=(0,)),
    ],
    "gift": [
        box(0, 0, 0.31, 0.38, 0.38, 0.31),
        box(0, 0, 0.56, 0.41, 0.41, 0.085, variants=(0, 1)),
        box(0, 0, 0.32, 0.085, 0.42, 0.332, colour="second"),
        box(0, 0, 0.32, 0.42, 0.085, 0.332, colour="second"),
        ring(-0.15, 0, 0.76, 0.125, 0.05, colour="second", turn=(78, 0, 20)),
        ring(0.15, 0, 0.76, 0.125, 0.05, colour="second", turn=(78, 0, -20)),
        ball(0, -0.02, 0.70, 0.075, colour="second"),
    ],
    "lamp": [
        tube(0, 0, 0.035, 0.24, 0.035, colour="steel", shape=0.85, gloss=0.8),
        tube(0, 0, 0.33, 0.032, 0.32, colour="steel", gloss=0.8, variants=(0,)),
        ball(0, 0, 0.26, 0.16, 0.16, 0.2, colour="second", gloss=0.6, variants=(1,)),
        tube(0, 0, 0.33, 0.09, 0.32, colour="second", shape=0.35, variants=(2,)),
        tube(0, 0, 0.52, 0.03, 0.12, colour="steel", variants=(1,)),
        tube(0, 0, 0.80, 0.40, 0.23, shape=0.52, glow=0.35),
        tube(0, 0, 0.585, 0.375, 0.018, colour="light", glow=1.0),
        ball(0, 0, 1.06, 0.035, colour="steel", variants=(0, 2)),
    ],
}
CLASSES = tuple(TOYS)
# how large each is made, so that all fill the picture alike; how deep it stands in water
SIZES = (0.92, 1.0, 0.90, 1.06, 1.0, 1.0, 0.92, 1.02, 1.0, 0.98, 1.08, 0.92)
FLOATS = {"boat": 0.07, "duck": 0.07}


@dataclass(frozen=True)
class Table:
    """All toys' parts as float64 tensors (12, P, ...); there: (3, 12, P) bool, the parts of each variant."""

    kind: Tensor
    centre: Tensor  # (12, P, 3)
    matrix: Tensor  # (12, P, 3, 3): half-sizes and turn, part's frame -> toy's frame
    shape: Tensor
    colour: Tensor  # index into SLOTS
    pattern: Tensor
    glow: Tensor
    gloss: Tensor
    there: Tensor


def _turn(x: float, y: float, z: float) -> np.ndarray:
    cx, cy, cz = (math.cos(math.radians(v)) for v in (x, y, z))
    sx, sy, sz = (math.sin(math.radians(v)) for v in (x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _table() -> Table:
    most = max(map(len, TOYS.values()))
    nothing = Part(ELLIPSOID, (0, 0, 0), (1, 1, 1), variants=())
    rows = [parts + [nothing] * (most - len(parts)) for parts in TOYS.values()]

    def of(read, dtype=torch.float64) -> Tensor:
        return torch.from_numpy(np.array([[read(p) for p in row] for row in rows])).to(dtype)

    return Table(
        kind=of(lambda p: p.kind, torch.long),
        centre=of(lambda p: p.centre),
        matrix=of(lambda p: _turn(*p.turn) @ np.diag(p.half)),
        shape=of(lambda p: p.shape),
        colour=of(lambda p: SLOTS.index(p.colour), torch.long),
        pattern=of(lambda p: p.pattern, torch.long),
        glow=of(lambda p: p.glow),
        gloss=of(lambda p: p.gloss),
        there=torch.stack([of(lambda p, v=v: v in p.variants, torch.bool) for v in range(3)]),
    )


TABLE = _table()
