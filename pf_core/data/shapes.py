"""`shapes`: an endless procedural data set. Easy background, hard outline and texture: what the method is about.

Image i comes from the pair (series, i) alone. A shape is a signed distance field, drawn once per class on a fine table
and looked up with rotation, scale and place; its coverage is anti-aliased over one pixel.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pf_core.data.splits import PUBLISHED, repeated
from pf_core.registry import Knob

SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart", "cross", "ring", "crescent", "arrow")
TEXTURES = ("flat", "striped", "checkered", "dotted")
REGIONS = ("background", "outline", "texture", "fill")  # texture: inside a textured shape; fill: inside a flat one
OUTLINE_WIDTH = 1.0  # pixels on either side of the edge

_TABLE, _REACH, _DRAWS = 256, 2.0, 24  # table side, its half-extent in radii, uniform numbers an image


@dataclass(frozen=True)
class Attributes:
    """What is truly in each image of a batch; all tensors (B,), colours (B, 3) in [-1, 1], lengths in pixels."""

    shape: Tensor  # index into SHAPES: the class
    texture: Tensor  # index into TEXTURES
    radius: Tensor
    angle: Tensor  # radians
    centre: Tensor  # (B, 2): column, row
    period: Tensor  # of the texture
    background: Tensor  # (B, 2, 3): the gradient's two colours
    colours: Tensor  # (B, 2, 3): fill, and the texture's second colour


@dataclass(frozen=True)
class Sample:
    """images (B, 3, H, W) in [-1, 1]; regions (B, H, W) indices into REGIONS; attributes."""

    images: Tensor
    regions: Tensor
    attributes: Attributes

    @property
    def labels(self) -> Tensor:
        return self.attributes.shape


class Shapes:
    """Procedural shapes, ten classes.

    A flat, striped, checkered or dotted shape on a smooth two-colour gradient; item i depends on (series, i) alone.
    """

    name = "shapes"
    names = list(SHAPES)
    channels = 3
    heads = {"shape": SHAPES, "texture": TEXTURES}  # what a judge names: the class, and fields of Attributes
    published = PUBLISHED
    regions, easy, hard = REGIONS, ("background",), ("outline", "texture")

    def __init__(
        self,
        *,
        size: Annotated[int, Knob(help="side in pixels", choices=(32, 64))] = 32,
        variety: Annotated[float, Knob(0.0, 1.0, "0 calm: near the centre, upright; 1 wild: any turn and place")] = 0.0,
        series: Annotated[int, Knob(0, 2**31 - 1, "which endless series of images")] = 0,
        count: Annotated[int, Knob(0, 2**31 - 1, "only the first so many images, over and over; 0: endless")] = 0,
    ):
        self.size, self.variety, self.series, self.count = size, variety, series, count

    def __len__(self) -> int:
        return self.count or 2**31  # as good as endless

    def batch(self, indices: range | list[int], labels: Tensor | None = None) -> Sample:
        """The images of these indices; `labels` (B,) overrides their classes and nothing else. `count` repeats what is
        trained on alone: images from HELD_OUT on are always new."""
        draws = torch.from_numpy(np.stack([_uniforms(self.series, i) for i in repeated(indices, self.count)]))
        attributes = _attributes(draws, self.size, self.variety, labels)
        return _render(attributes, self.size)


def _uniforms(series: int, index: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[series, index])).random(_DRAWS, dtype=np.float32)


def _attributes(u: Tensor, size: int, variety: float, labels: Tensor | None) -> Attributes:
    """u: (B, 24) uniform numbers, one column a meaning, so that knobs change an image without reshuffling it."""

    def between(column: int, low: float, high: float) -> Tensor:
        return low + (high - low) * u[:, column]

    def blend(calm: float, wild: float) -> float:
        return calm + (wild - calm) * variety

    shape = (u[:, 0] * len(SHAPES)).long() if labels is None else labels.long()
    tilt = blend(math.radians(15), math.pi)
    radius = between(2, blend(0.25, 0.16), blend(0.34, 0.38)) * size
    slack = blend(0.06, 1.0) * (size / 2 - radius)
    low, high = blend(4.0, 2.5) * size / 32, 7.0 * size / 32
    return Attributes(
        shape=shape,
        texture=(u[:, 1] * len(TEXTURES)).long(),
        radius=radius,
        angle=between(3, -tilt, tilt),
        centre=size / 2 + torch.stack([between(4, -1, 1), between(5, -1, 1)], 1) * slack[:, None],
        period=between(6, low, high),
        background=_background(u[:, 7:13]),
        colours=_colours(u[:, 7:20]),
    )


def _background(u: Tensor) -> Tensor:
    """Two neighbouring hues, both dark or both light."""
    light = u[:, 0] < 0.5
    hue = torch.stack([u[:, 1], u[:, 1] + 0.24 * (u[:, 2] - 0.5)], 1)
    value = torch.where(light[:, None], 0.78 + 0.2 * u[:, 3:5], 0.1 + 0.22 * u[:, 3:5])
    saturation = torch.where(light, 0.12 + 0.3 * u[:, 5], 0.3 + 0.4 * u[:, 5])[:, None].expand(-1, 2)
    return _rgb(hue, saturation, value)


def _colours(u: Tensor) -> Tensor:
    """A saturated fill that stands off the background, and a second colour that stands off the fill."""
    light, hue = u[:, 0] < 0.5, u[:, 6]
    fill_value = torch.where(light, 0.3 + 0.35 * u[:, 7], 0.75 + 0.25 * u[:, 7])
    second_value = torch.where(light, 0.95 - 0.1 * u[:, 8], 0.38 + 0.1 * u[:, 8])
    second_hue = hue + 0.15 + 0.7 * u[:, 9]
    saturation = torch.stack([0.75 + 0.25 * u[:, 10], torch.where(light, 0.55 + 0.3 * u[:, 11], 0.9)], 1)
    return _rgb(torch.stack([hue, second_hue], 1), saturation, torch.stack([fill_value, second_value], 1))


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(B, K) each, hue in turns, the others in [0, 1] -> (B, K, 3) in [-1, 1]."""
    k = (torch.tensor([5.0, 3.0, 1.0]) + 6 * (hue[..., None] % 1)) % 6
    ramp = torch.minimum(k, 4 - k).clamp(0, 1)
    return 2 * (value[..., None] * (1 - saturation[..., None] * ramp)) - 1


def _render(a: Attributes, size: int) -> Sample:
    axis = torch.arange(size, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    dx, dy = x - a.centre[:, 0, None, None], y - a.centre[:, 1, None, None]  # (B, H, W)
    cos, sin = a.angle.cos()[:, None, None], a.angle.sin()[:, None, None]
    along, across = cos * dx + sin * dy, cos * dy - sin * dx  # in the shape's own frame
    radius = a.radius[:, None, None]
    where = torch.stack([along / radius, across / radius], -1) / _REACH
    distance = F.grid_sample(_fields()[a.shape], where, padding_mode="border", align_corners=True)[:, 0] * radius
    inside = (0.5 - distance).clamp(0, 1)[:, None]

    mix = _texture(a, along, across)[:, None]
    fill, second = (a.colours[:, i, :, None, None] for i in range(2))
    shape = fill + (second - fill) * mix
    ramp = ((x + y) / (2 * size))[None, None]
    near, far = (a.background[:, i, :, None, None] for i in range(2))
    images = (near + (far - near) * ramp) * (1 - inside) + shape * inside

    interior = torch.where(a.texture == 0, 3, 2)[:, None, None]
    regions = torch.where(distance < 0, interior, 0)
    regions = torch.where(distance.abs() <= OUTLINE_WIDTH, 1, regions)
    return Sample(images.contiguous(), regions, a)


def _texture(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) share of the second colour, anti-aliased; `period` is the distance between nearest repeats."""
    p = a.period[:, None, None]

    def stripes(s: Tensor, repeat: Tensor) -> Tensor:  # signed distance to the nearest stripe's edge, in pixels
        return repeat / 4 - ((s + repeat / 4) % repeat - repeat / 2).abs()

    sx, sy = stripes(x, p * 2**0.5), stripes(y, p * 2**0.5)  # checks repeat along their diagonals
    checks = torch.where(sx * sy > 0, 1, -1) * torch.minimum(sx.abs(), sy.abs())
    dots = p * 0.34 - torch.hypot((x + p / 2) % p - p / 2, (y + p / 2) % p - p / 2)
    kinds = torch.stack([torch.full_like(sx, -1.0), stripes(y, p), checks, dots])
    return (0.5 + kinds[a.texture, torch.arange(len(p))]).clamp(0, 1)


@cache
def _fields() -> Tensor:
    """(10, 1, 256, 256) signed distances in radii, negative inside, over [-2, 2]^2 (column = x, row = y, y down)."""
    axis = np.linspace(-_REACH, _REACH, _TABLE)
    x, y = np.meshgrid(axis, axis)
    fields = [_polygon_distance(x, y, _outline(name)) for name in SHAPES]
    hole = SHAPES.index("ring")
    fields[hole] = np.maximum(fields[hole], 0.52 - np.hypot(x, y))
    return torch.from_numpy(np.stack(fields)[:, None]).float()


def _outline(name: str) -> np.ndarray:
    """(V, 2) vertices (x, y) in radii, y down."""

    def regular(turns: np.ndarray, radius=1.0) -> np.ndarray:
        return np.stack([np.sin(2 * np.pi * turns), -np.cos(2 * np.pi * turns)], 1) * np.reshape(radius, (-1, 1))

    many = np.arange(96) / 96
    if name in ("circle", "ring"):
        return regular(many)
    if name == "square":
        return np.array([[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]])
    if name == "triangle":
        return regular(np.arange(3) / 3, 1.15) + [0, 0.15]
    if name == "diamond":
        return np.array([[0, -1.15], [0.66, 0], [0, 1.15], [-0.66, 0]])
    if name == "star":
        return regular(np.arange(10) / 10, np.where(np.arange(10) % 2, 0.48, 1.15))
    if name == "heart":
        s = 2 * np.pi * many
        across = 16 * np.sin(s) ** 3
        up = 13 * np.cos(s) - 5 * np.cos(2 * s) - 2 * np.cos(3 * s) - np.cos(4 * s)
        return np.stack([across / 15, -(up + 2.5) / 15], 1)
    if name == "cross":
        a, b = 0.36, 1.05
        return np.array(
            [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a], [a, b], [-a, b], [-a, a], [-b, a], [-b, -a], [-a, -a]]
        )
    if name == "crescent":
        outer = regular(np.linspace(0.07, 0.93, 64), 1.08)
        inner = regular(np.linspace(0.93, 0.07, 48)) * [-1, 1]
        start, end = outer[-1], outer[0]
        # the inner arc leaves from the outer arc's ends and bulges down, along a circle through both
        centre, bulge = np.array([0.0, -0.5]), np.hypot(*(end - [0.0, -0.5]))
        first, last = np.arctan2(*(start - centre)[::-1]), np.arctan2(*(end - centre)[::-1])
        sweep = np.linspace(first, last - 2 * np.pi if last > first else last, len(inner))[1:-1]
        return np.concatenate([outer, centre + bulge * np.stack([np.cos(sweep), np.sin(sweep)], 1)])
    if name == "arrow":
        return np.array(
            [[0, -1.15], [0.95, -0.1], [0.38, -0.1], [0.38, 1.1], [-0.38, 1.1], [-0.38, -0.1], [-0.95, -0.1]]
        )
    raise AssertionError(name)


def _polygon_distance(x: np.ndarray, y: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Exact signed distance to a polygon, negative inside (even-odd rule)."""
    nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey + 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * ex, y - ay - along * ey))
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < ax + (y - ay) * ex / (ey if ey else 1))
    return np.where(inside, -nearest, nearest)
