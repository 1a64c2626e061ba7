"""What is behind the toys: sky and ground, one colour a pixel, averaged by formulas over the pixel's footprint.

Dense tensors (n, S, S). As in primitives.py, only exactly rounded operations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pf_core.data.toybox.primitives import Vector
from pf_core.data.toybox.scene import GROUNDS, WATER

_HAZE = 45.0  # distance, in toys, at which half of the ground is lost in haze
_PAINT = (0.86, 0.86, 0.82)  # of a road's lines


@dataclass(frozen=True)
class Backdrop:
    """(n, S, S) each: the share of a pixel that is ground; the share of its light that the ground mirrors; the point of
    the ground (x, y); colours as triples: the sky, the ground's own, the sky mirrored in it; haze in [0, 1]."""

    share: Tensor
    mirror: Tensor
    point: tuple[Tensor, Tensor]
    sky: Vector
    earth: Vector
    mirrored: Vector
    haze: Tensor


def _mix(a, b, share):
    return tuple(p + (q - p) * share for p, q in zip(a, b, strict=True))


def wave(x: Tensor) -> Tensor:
    """A periodic wave in [-1, 1] of period 1, made of parabolas; close to a sine."""
    s = 2 * (x - torch.floor(x)) - 1  # -1 .. 1
    return -4 * s * (1 - s.abs())


def _stripes(x: Tensor, width: Tensor) -> Tensor:
    """Mean over [x - width / 2, x + width / 2] of a square wave of period 2 and values -1, 1."""

    def integral(v: Tensor) -> Tensor:
        v = v / 2
        f = v - torch.floor(v)
        return 1 - (2 * f - 1).abs()  # a triangle of slope 4 / 2: the wave's integral over 2

    return ((integral(x + width / 2) - integral(x - width / 2)) / width.clamp(min=1e-6)).clamp(-1, 1)


def _line(x: Tensor, width: Tensor, half: float) -> Tensor:
    """Share of [x - width / 2, x + width / 2] that lies in [-half, half]."""
    low, high = (x - width / 2).clamp(-half, half), (x + width / 2).clamp(-half, half)
    return (high - low) / width.clamp(min=1e-6)


def sky_colour(up: Tensor, zenith, horizon) -> Vector:
    """Colours of the sky. up: about the sine of the elevation above the horizon."""
    rise = (up * 2.6).clamp(0, 1)
    return _mix(horizon, zenith, rise * (1.6 - 0.6 * rise))


def backdrop(v, size: int) -> Backdrop:
    """Sky and ground of a chunk of images, for rays through S x S pixels."""
    forward, right, up = (tuple(v.basis[:, i, j, None, None] for j in range(3)) for i in range(3))
    centre = (torch.arange(size, dtype=v.eye.dtype, device=v.eye.device) + 0.5) * (2 / size) - 1
    x, y = centre[None, None, :], -centre[None, :, None]
    d = tuple(f + r * x + u * y for f, r, u in zip(forward, right, up, strict=True))
    pixel = up[2] * (2 / size)  # dz from one row to the next
    share = (0.5 - d[2] / pixel).clamp(0, 1)
    down = torch.minimum(d[2], -0.35 * pixel)
    t = -v.eye[:, 2, None, None] / down
    gx, gy = v.eye[:, 0, None, None] + t * d[0], v.eye[:, 1, None, None] + t * d[1]
    across = right[0] * (2 / size) * t  # footprint of a pixel: sideways, and in depth
    depth = t * pixel / -down
    haze = t * t / (t * t + _HAZE**2)
    length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt()
    steep = -down / length
    zenith, horizon = (tuple(c[:, j, None, None] for j in range(3)) for c in (v.zenith, v.horizon))
    sky = _clouds(v, d, length, sky_colour(d[2] / length, zenith, horizon))
    mirrored = sky_colour(steep, zenith, horizon)
    cos, sin, scale = v.turn_cos[:, None, None], v.turn_sin[:, None, None], v.scale[:, None, None]
    a, b = (cos * gx + sin * gy) / scale, (cos * gy - sin * gx) / scale  # along and across the texture's lines
    wa = (cos.abs() * across + sin.abs() * depth) / scale
    wb = (cos.abs() * depth + sin.abs() * across) / scale
    light, second, lines = (torch.zeros_like(t) for _ in range(3))
    for kind, of in v.grounds:
        light[of], second[of] = _KINDS[kind](a[of], b[of], wa[of], wb[of])
        if GROUNDS[kind] == "asphalt":
            lines[of] = _lane(a[of], b[of], wa[of], wb[of])
    one, two = (tuple(v.earth[:, i, j, None, None] for j in range(3)) for i in range(2))
    earth = tuple(c * (1 + light) for c in _mix(one, two, second))
    earth = _mix(earth, _PAINT, lines)
    grazing = (1 - steep).clamp(0, 1)
    fresnel = grazing * grazing
    fresnel = fresnel * fresnel * grazing
    shine = v.shine[:, None, None]
    mirror = torch.where(shine == WATER, 0.10 + 0.75 * fresnel, shine * (0.35 + 0.65 * fresnel))
    return Backdrop(share, mirror, (gx, gy), sky, earth, mirrored, haze)


def _clouds(v, d, length, sky):
    up = (d[2] / length).clamp(min=0.02)
    x, y = d[0] / length / (up + 0.12), 1 / (up + 0.12)
    shift = v.clouds[:, 1, None, None]
    field = wave(0.21 * x + 0.13 * y + shift) + 0.7 * wave(0.37 * x - 0.19 * y + 1.7 * shift)
    field = field + 0.45 * wave(0.9 * x + 0.31 * y - shift) + 0.3 * wave(1.3 * x - 0.5 * y + 0.6 * shift)
    cover = ((field - 1.5 + 1.5 * v.clouds[:, 0, None, None]) * 0.8).clamp(0, 1)
    cover = cover * cover * (3 - 2 * cover) * (up * 7 - 0.3).clamp(0, 1) * 0.7
    white = tuple(0.55 + 0.45 * v.horizon[:, j, None, None] for j in range(3))
    return _mix(sky, white, cover)


def _fade(width: Tensor, period: float) -> Tensor:
    """1 where a pixel is much finer than the period, 0 where it is coarser."""
    return (1.4 - width * (1.6 / period)).clamp(0, 1)


def _plain(a, b, wa, wb):
    light = 0.03 * wave(0.31 * a + 0.12 * b) + 0.03 * wave(0.17 * a - 0.41 * b)
    return light, torch.zeros_like(a)


def _checks(a, b, wa, wb):
    product = _stripes(a * 2.2, wa * 2.2) * _stripes(b * 2.2, wb * 2.2)
    return torch.zeros_like(a), 0.5 - 0.5 * product


def _planks(a, b, wa, wb):
    """Boards along the texture's lines: each with its own tone, with a dark joint between two."""
    v = b * 2.4
    board = torch.floor(v)
    tone = board * 0.618034
    tone = tone - torch.floor(tone)
    joint = v - torch.floor(v + 0.5)
    dark = _line(joint, wb * 2.4, 0.035)
    fade = _fade(wb, 0.42)
    grain = 0.05 * wave(a * 0.9 + board * 0.37) * _fade(wa, 1.0) + 0.04 * wave(v * 4 + 0.3 * wave(a)) * _fade(wb, 0.11)
    return (0.22 * (tone - 0.5)) * fade + grain - 0.5 * dark, tone * fade + 0.5 * (1 - fade)


def _water(a, b, wa, wb):
    bend = 0.18 * wave(a * 0.7 + 0.3 * b)
    ripple = wave(b * 2.1 + bend + 0.2 * a) * _fade(wb, 0.48) + 0.6 * wave(b * 3.7 - 0.9 * a + bend) * _fade(wb, 0.27)
    return 0.10 * ripple, (0.5 + 0.3 * ripple).clamp(0, 1)


def _snow(a, b, wa, wb):
    soft = wave(0.43 * a + 0.21 * b) + wave(0.27 * a - 0.52 * b) + 0.6 * wave(0.9 * b + 0.35 * a) * _fade(wb, 1.1)
    return 0.02 * soft, (0.4 + 0.22 * soft).clamp(0, 1)


_ROAD = 1.9  # half its width


def _asphalt(a, b, wa, wb):
    """A road along the texture's lines with grass on both sides."""
    grain = 0.06 * wave(5.3 * a + 2.9 * b) * _fade(wa + wb, 0.3) + 0.05 * wave(0.8 * a - 3.1 * b) * _fade(wb, 0.32)
    road = _line(b, wb, _ROAD)
    return grain, 1 - road


def _lane(a, b, wa, wb):
    """White: a dashed line in the middle, whole ones near the edges."""
    dash = 0.5 + 0.5 * _stripes(a * 1.4, wa * 1.4)
    edge = _line(b.abs() - (_ROAD - 0.22), wb, 0.06)
    return 0.9 * torch.maximum(_line(b - 0.75, wb, 0.06) * dash, edge)


def _grass(a, b, wa, wb):
    tufts = wave(1.9 * a + 1.1 * b) * wave(2.3 * b - 0.7 * a) * _fade(wb, 0.45)
    blades = wave(7.1 * a + 0.9 * wave(2.0 * b)) * wave(3.3 * b + 1.7 * a) * _fade(wa + wb, 0.22)
    soft = wave(0.31 * a + 0.22 * b) + wave(0.19 * a - 0.37 * b)
    return 0.10 * tufts + 0.12 * blades, (0.45 + 0.22 * soft + 0.25 * tufts).clamp(0, 1)


_KINDS = (_plain, _checks, _planks, _water, _snow, _asphalt, _grass)
