"""Intersections of rays with the five primitives, each in its own frame (see toys.py): entry point and normal.

Only sums, products, quotients, square roots and comparisons: these are rounded exactly, so a pixel has the same bits
whatever else is in the batch.
"""

import torch
from torch import Tensor

from pf_core.data.toybox.toys import BOX, ELLIPSOID, FRUSTUM, TORUS, WEDGE

Vector = tuple[Tensor, Tensor, Tensor]
_TINY, _HUGE, _STEPS = 1e-9, 1e30, 12
NEVER = float("inf")


def dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def along(o: Vector, d: Vector, t: Tensor) -> Vector:
    return tuple(a + t * b for a, b in zip(o, d, strict=True))


def unit(v: Vector) -> Vector:
    scale = 1 / dot(v, v).clamp(min=1e-20).sqrt()
    return tuple(c * scale for c in v)


def enter(kind: int, o: Vector, d: Vector, shape: Tensor) -> Tensor:
    """The t at which the ray o + t d enters the primitive, NEVER where it misses. o, d (triples), shape: broadcast
    together."""
    # from the point next to the origin on, numbers are small: thin parts are hit to a hundred-thousandth of their size
    square = dot(d, d)
    near = -dot(o, d) / square
    p = along(o, d, near)
    return near + _ENTER[kind](p, d, shape, square)


def _ellipsoid(p: Vector, d: Vector, cut: Tensor, square: Tensor) -> Tensor:
    half = ((1 - dot(p, p)).clamp(min=0) / square).sqrt()
    low, high = _clip(-half, half, cut - p[2], -d[2])
    return torch.where(low < high, low, NEVER)


def _clip(low: Tensor, high: Tensor, value: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The part of [low, high] in which value + t slope <= 0."""
    slope = slope + _TINY
    t = -value / slope
    rises = (slope > 0).to(t.dtype)  # sums with huge numbers, not `where`: a guess that a processor cannot get wrong
    return torch.maximum(low, t - _HUGE * rises), torch.minimum(high, t + (_HUGE - _HUGE * rises))


def _slab(low: Tensor, high: Tensor, p: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The part of [low, high] in which |p + t d| <= 1."""
    inverse = 1 / (d + _TINY)
    middle, half = -p * inverse, inverse.abs()
    return torch.maximum(low, middle - half), torch.minimum(high, middle + half)


def _everywhere(square: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full_like(square, -NEVER), torch.full_like(square, NEVER)


def _box(p: Vector, d: Vector, top: Tensor, square: Tensor) -> Tensor:
    middle, grow = (1 + top) / 2, (top - 1) / 2
    low, high = _slab(*_everywhere(square), p[2], d[2])
    width, widens = middle + grow * p[2], grow * d[2]
    for i in (0, 1):
        for sign in (1, -1):
            low, high = _clip(low, high, sign * p[i] - width, sign * d[i] - widens)
    return torch.where(low < high, low, NEVER)


def _wedge(p: Vector, d: Vector, apex: Tensor, square: Tensor) -> Tensor:
    low, high = _slab(*_everywhere(square), p[1], d[1])
    low, high = _clip(low, high, -1 - p[2], -d[2])
    for sign in (1, -1):
        lean = (sign * apex - 1) / 2
        low, high = _clip(low, high, sign * p[0] - 1 - lean * (p[2] + 1), sign * d[0] - lean * d[2])
    return torch.where(low < high, low, NEVER)


def _frustum(p: Vector, d: Vector, top: Tensor, square: Tensor) -> Tensor:
    """The nearest of four intersections: two with the side between the ends, two with the end discs."""
    middle, grow = (1 + top) / 2, (top - 1) / 2
    radius, widens = middle + grow * p[2], grow * d[2]
    a = d[0] * d[0] + d[1] * d[1] - widens * widens
    b = p[0] * d[0] + p[1] * d[1] - radius * widens
    c = p[0] * p[0] + p[1] * p[1] - radius * radius
    inside = b * b - a * c
    root = inside.clamp(min=0).sqrt()
    a = a + _TINY
    best = torch.full_like(square, NEVER)
    for t in ((-b - root) / a, (-b + root) / a):
        good = (inside > 0) & ((p[2] + t * d[2]).abs() <= 1)
        best = torch.where(good, torch.minimum(best, t), best)
    inverse = 1 / (d[2] + _TINY)
    for end, limit in ((1.0, top * top), (-1.0, 1.0)):
        t = (end - p[2]) * inverse
        x, y = p[0] + t * d[0], p[1] + t * d[1]
        best = torch.where(x * x + y * y <= limit, torch.minimum(best, t), best)
    return best


def _torus(p: Vector, d: Vector, tube: Tensor, square: Tensor) -> Tensor:
    """Sphere tracing: steps of the distance to the torus, from where the ray enters the ball around it."""
    length = square.sqrt()
    reach = 1 + tube
    half = ((reach * reach - dot(p, p)).clamp(min=0)).sqrt()
    e = tuple(c / length for c in d)
    t = -half
    gap = None
    for _ in range(_STEPS):
        gap = _ring_distance(along(p, e, t), tube)
        t = t + gap
    gap = _ring_distance(along(p, e, t), tube)
    return torch.where((gap < 0.02) & (t < half), t / length, NEVER)


def _ring_distance(q: Vector, tube: Tensor) -> Tensor:
    out = (q[0] * q[0] + q[1] * q[1]).sqrt() - 1
    return (out * out + q[2] * q[2]).sqrt() - tube


_ENTER = {ELLIPSOID: _ellipsoid, BOX: _box, FRUSTUM: _frustum, WEDGE: _wedge, TORUS: _torus}


def normal(kind: int, q: Vector, shape: Tensor) -> Vector:
    """The outward normal, of any length, at a point q of the primitive's surface."""
    zero = torch.zeros_like(q[0])
    if kind == ELLIPSOID:
        flat = (q[2] < shape + 1e-3) & (dot(q, q) < 0.999)
        return torch.where(flat, 0.0, q[0]), torch.where(flat, 0.0, q[1]), torch.where(flat, -1.0, q[2])
    if kind == TORUS:
        out = (q[0] * q[0] + q[1] * q[1]).clamp(min=1e-12).sqrt()
        pull = 1 - 1 / out
        return q[0] * pull, q[1] * pull, q[2]
    if kind == FRUSTUM:
        grow = (shape - 1) / 2
        radius = (1 + shape) / 2 + grow * q[2]
        edge = q[0] * q[0] + q[1] * q[1] < (radius * radius) * 0.998
        end = (q[2].abs() > 0.999) & edge
        side = -grow * radius
        return (
            torch.where(end, 0.0, q[0]),
            torch.where(end, 0.0, q[1]),
            torch.where(end, torch.where(q[2] > 0, 1.0, -1.0), side),
        )
    one = torch.ones_like(zero)
    if kind == BOX:
        grow = (shape - 1) / 2
        width = (1 + shape) / 2 + grow * q[2]
        faces = [(s * q[i] - width, s * one if i == 0 else zero, s * one if i == 1 else zero, -grow * one)
                 for i in (0, 1) for s in (1, -1)]  # fmt: skip
        faces += [(s * q[2] - 1, zero, zero, s * one) for s in (1, -1)]
    else:
        faces = [(s * q[1] - 1, zero, s * one, zero) for s in (1, -1)] + [(-1 - q[2], zero, zero, -one)]
        for s in (1, -1):
            lean = (s * shape - 1) / 2
            faces.append((s * q[0] - 1 - lean * (q[2] + 1), s * one, zero, -lean * one))
    best, *normals = faces[0]
    for value, *n in faces[1:]:
        more = value > best
        best = torch.where(more, value, best)
        normals = [torch.where(more, a, b) for a, b in zip(n, normals, strict=True)]
    return tuple(normals)
