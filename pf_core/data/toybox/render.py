"""Ray tracing of scenes in torch, on any device: closest hit, soft shadows, one mirror image, four rays a pixel.

Work is in flat lists of (part, pixel) pairs: a part is tested only against rays of pixels that its projection covers.
The four rays of a pixel, each with its own point of the sun (for soft shadows), are the first axis of all lists.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pf_core.data.toybox import ground
from pf_core.data.toybox.primitives import NEVER, Vector, along, dot, enter, normal, unit
from pf_core.data.toybox.scene import WATER, Parts, Scene
from pf_core.data.toybox.toys import BANDS, SECTORS
from pf_core.data.toybox.view import SUN_SLACK, View, of, view

REGIONS = ("sky", "ground", "shadow", "object", "outline")
SKY, GROUND, SHADOW, OBJECT, OUTLINE = range(5)

_RAYS = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))  # within a pixel: column, row
_CHUNK = 2**17  # pixels worked on at a time, at most: what the processor's cache holds
_BITS = 14  # of a hit's key that name its part


@dataclass(frozen=True)
class Picture:
    """levels: (B, 3, S, S) uint8; regions: (B, S, S) indices into REGIONS; toys: (B, S, S) the toy's number, -1 for
    none."""

    levels: Tensor
    regions: Tensor
    toys: Tensor


def trace(scene: Scene, size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Picture:
    """The pictures of a scene's B images, on `device`. An image has the same bits in any batch."""
    count = len(scene.eye)
    step = max(1, min(64, _CHUNK // (size * size)))
    order = torch.sort(scene.parts.image, stable=True).indices
    parts = Parts(*(getattr(scene.parts, f.name)[order] for f in fields(Parts)))
    done = []
    for first in range(0, count, step):
        last = min(count, first + step)
        ends = torch.searchsorted(parts.image, torch.tensor([first, last])).tolist()
        own = Parts(*(getattr(parts, f.name)[slice(*ends)] for f in fields(Parts)))
        done.append(_chunk(view(scene, own, first, last, size, device, dtype)))
    return Picture(*(torch.cat([getattr(p, f.name) for p in done]) for f in fields(Picture)))


# which pixels a part may be seen in


def _frames(v: View, points: Tensor) -> Tensor:
    """Boxes (4, N): left, top, right, bottom pixel (right, bottom excluded) around world points (N, K, 3), float64."""
    image, size = v.image.cpu(), v.size
    eye, basis = v.eye.double().cpu(), v.basis.double().cpu()
    d = points - eye[image, None]
    squares = basis.square().sum(2)[image]  # (N, 3)
    forward, right, up = ((d * basis[image, None, i]).sum(2) / squares[:, None, i] for i in range(3))
    front = forward.clamp(min=0.02)
    columns, rows = (right / front + 1) * (size / 2), (1 - up / front) * (size / 2)
    low = torch.stack([columns.amin(1), rows.amin(1)])
    high = torch.stack([columns.amax(1), rows.amax(1)])
    behind = forward.amin(1) < 0.05
    low, high = torch.where(behind, 0.0, low), torch.where(behind, float(size), high)
    box = torch.cat([(low - 0.01).floor(), (high + 0.01).ceil()]).clamp(0, size).long()
    return box.to(v.image.device)


@dataclass(frozen=True)
class _Pairs:
    part: Tensor  # (Q,)
    pixel: Tensor  # (Q,) in the chunk
    x: Tensor  # (4, Q) where the rays meet the picture's plane, in [-1, 1]
    y: Tensor


def _pairs(v: View, parts: Tensor, frames: Tensor) -> _Pairs:
    left, top, right, bottom = frames[:, parts]
    wide, many = right - left, (right - left) * (bottom - top)
    part = torch.repeat_interleave(many)  # position in `parts`
    start = many.cumsum(0) - many
    at = torch.arange(len(part), device=part.device) - of(start, part)
    w = of(wide, part)
    row = torch.div(at, w, rounding_mode="floor")
    column = at - row * w + of(left, part)
    row = row + of(top, part)
    number = of(parts, part)
    pixel = (of(v.image, number) * v.size + row) * v.size + column
    return _Pairs(number, pixel, *_places(v, column, row))


def _places(v: View, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    rays = torch.tensor(_RAYS, dtype=v.eye.dtype, device=v.eye.device)
    x = (column.to(v.eye.dtype) + rays[:, 0, None]) * (2 / v.size) - 1
    y = 1 - (row.to(v.eye.dtype) + rays[:, 1, None]) * (2 / v.size)
    return x, y


# hits


@dataclass(frozen=True)
class _Hits:
    """H rays that hit a part: ray (number in 4 * pixels), part, distance t; the place on the picture's plane."""

    ray: Tensor
    part: Tensor
    t: Tensor
    x: Tensor
    y: Tensor


def _first_hits(v: View, frames: Tensor, mirrored: bool, open_pixels: Tensor | None = None) -> _Hits:
    """The first hit of every ray that hits a part above the ground. mirrored: of the ground's mirror image."""
    origin, toward = (v.mirror_origin, v.mirror_toward) if mirrored else (v.origin, v.toward)
    pixels = v.n * v.size * v.size
    nothing = torch.iinfo(torch.int64).max
    keys = torch.full((4 * pixels,), nothing, dtype=torch.int64, device=v.eye.device)
    for kind, parts in v.kinds:
        q = _pairs(v, parts, frames)
        if open_pixels is not None:
            keep = of(open_pixels, q.pixel).nonzero()[:, 0]
            q = _Pairs(of(q.part, keep), of(q.pixel, keep), of(q.x, keep), of(q.y, keep))
        if not len(q.part):
            continue
        o = tuple(of(origin, q.part))
        f, r, u = (tuple(of(toward[:, i], q.part)) for i in range(3))
        x, y = (_wobble(v, q.x, q.y, q.part), q.y) if mirrored else (q.x, q.y)
        d = tuple(a + b * x + c * y for a, b, c in zip(f, r, u, strict=True))
        t = enter(kind, o, d, of(v.shape, q.part))
        image = of(v.image, q.part)
        rise = of(v.basis[:, 0, 2], image) + y * of(v.basis[:, 2, 2], image)
        height = of(v.eye[:, 2], image) + t * rise  # below the mirror where it is mirrored
        good = (t > 0) & (t < NEVER) & ((height < -1e-3) if mirrored else (height > -1e-4))
        ray = q.pixel + torch.arange(4, device=t.device)[:, None] * pixels
        at = good.view(-1).nonzero()[:, 0]
        key = of(t.view(-1), at).float().view(torch.int32).long() << _BITS | of(q.part.expand_as(t).reshape(-1), at)
        keys.scatter_reduce_(0, of(ray.view(-1), at), key, "amin")
    ray = (keys != nothing).nonzero()[:, 0]
    key = of(keys, ray)
    part, t = key & (2**_BITS - 1), (key >> _BITS).int().view(torch.float32).to(v.eye.dtype)
    pixel = ray % pixels
    sub = torch.div(ray, pixels, rounding_mode="floor")
    rays = torch.tensor(_RAYS, dtype=v.eye.dtype, device=v.eye.device)
    column, row = pixel % v.size, torch.div(pixel, v.size, rounding_mode="floor") % v.size
    x = (column.to(t.dtype) + rays[sub, 0]) * (2 / v.size) - 1
    y = 1 - (row.to(t.dtype) + rays[sub, 1]) * (2 / v.size)
    if mirrored:
        x = _wobble(v, x, y, part)
    return _Hits(ray, part, t, x, y)


def _wobble(v: View, x: Tensor, y: Tensor, part: Tensor) -> Tensor:
    """Sideways shift of what water mirrors, in bands that narrow towards the horizon."""
    image = of(v.image, part)
    water = torch.where(of(v.shine, image) == WATER, 0.02, 0.0)
    down = -(of(v.basis[:, 0, 2], image) + y * of(v.basis[:, 2, 2], image))
    depth = of(v.eye[:, 2], image) / down.clamp(min=0.02)
    return x + water * (ground.wave(depth * 2.3) + 0.5 * ground.wave(depth * 5.1))


def _shade(v: View, h: _Hits, mirrored: bool) -> Tensor:
    """(3, H) light from the hits towards the eye."""
    origin, toward = (v.mirror_origin, v.mirror_toward) if mirrored else (v.origin, v.toward)
    n = [torch.zeros_like(h.t) for _ in range(3)]
    white = torch.zeros_like(h.t)
    kinds = of(v.kind, h.part)
    for kind, _ in v.kinds:
        at = (kinds == kind).nonzero()[:, 0]
        part, t, x, y = of(h.part, at), of(h.t, at), of(h.x, at), of(h.y, at)
        f, r, u = (tuple(of(toward[:, i], part)) for i in range(3))
        d = tuple(a + b * x + c * y for a, b, c in zip(f, r, u, strict=True))
        q = along(tuple(of(origin, part)), d, t)
        m = normal(kind, q, of(v.shape, part))
        w = of(v.inverse, part)
        for j in range(3):
            n[j][at] = m[0] * w[j] + m[1] * w[3 + j] + m[2] * w[6 + j]
        white[at] = _pattern(of(v.pattern, part), q).to(white)
    n = unit(tuple(n))
    image = of(v.image, h.part)
    flip = -1.0 if mirrored else 1.0
    b = of(v.basis.view(v.n, 9).T, image)
    d = tuple(b[j] + b[3 + j] * h.x + b[6 + j] * h.y for j in range(3))
    d = (d[0], d[1], d[2] * flip)
    eye = tuple(of(v.eye.T, image))
    p = along((eye[0], eye[1], eye[2] * flip), d, h.t)
    d = unit(d)
    facing = -dot(n, d)
    n = tuple(torch.where(facing < 0, -c, c) for c in n)
    facing = facing.abs()
    sub = torch.div(h.ray, v.n * v.size * v.size, rounding_mode="floor")
    sun = tuple(of(v.suns.view(-1, 3).T, image * 4 + sub))
    lit = dot(n, sun).clamp(min=0)
    if not mirrored:
        lit = torch.where(_in_shadow(v, h.part, sub, p, lit > 0), 0.0, lit)
    colour, (glow, gloss, metal) = tuple(of(v.look[:3], h.part)), of(v.look[3:], h.part)
    colour = tuple(c + (0.92 - c) * white for c in colour)
    sunlight = tuple(of(v.sunlight.T, image))
    zenith, horizon, earth = (tuple(of(c.T, image)) for c in (v.zenith, v.horizon, v.earth[:, 0]))
    close = (0.45 + 1.6 * p[2]).clamp(0.45, 1.0)  # little sky is seen from close to the ground
    above = 0.5 + 0.5 * n[2]
    ambient = tuple(
        ((0.36 * z + 0.24 * w) * above + 0.44 * e * (1 - above)) * close
        for z, w, e in zip(zenith, horizon, earth, strict=True)
    )
    back = 2 * facing
    r = tuple(a + back * c for a, c in zip(d, n, strict=True))
    around = ground.sky_colour(r[2], zenith, horizon)
    edge = (r[2] * 6 + 0.5).clamp(0, 1)
    around = tuple(0.75 * e + (s - 0.75 * e) * edge for s, e in zip(around, earth, strict=True))
    fresnel = 1 - facing
    fresnel = fresnel * fresnel
    fresnel = fresnel * fresnel * (1 - facing)
    share = gloss * (0.07 + 0.75 * fresnel)
    share = torch.where(metal > 0, 0.62 + 0.3 * fresnel, share)
    half = unit(tuple(s - a for s, a in zip(sun, d, strict=True)))
    spot = dot(n, half).clamp(min=0)
    for _ in range(5):
        spot = spot * spot
    spot = spot * gloss * torch.where(lit > 0, 0.75, 0.0)
    out = []
    for c, a, s, e in zip(colour, ambient, sunlight, around, strict=True):
        matte = c * (a + s * lit) + glow * c
        tint = torch.where(metal > 0, c * 1.15, 1.0)
        out.append(matte + (e * tint - matte) * share + spot * s)
    return torch.stack(out)


def _pattern(pattern: Tensor, q: Vector) -> Tensor:
    """1 where a part's pattern makes it white, else 0."""
    x, y, z = q
    sectors = torch.where(3 * x * x * y - y * y * y > 0, 1.0, 0.0)
    bands = torch.where(((z > -0.45) & (z < -0.05)) | ((z > 0.35) & (z < 0.7)), 1.0, 0.0)
    return torch.where(pattern == SECTORS, sectors, torch.where(pattern == BANDS, bands, 0.0))


# shadows


def _in_shadow(v: View, part: Tensor, sub: Tensor, p: Vector, asked: Tensor) -> Tensor:
    """(H,) bool for points p of parts: another part lies between the point and the ray's point of the sun."""
    dark = torch.zeros_like(asked)
    at = asked.nonzero()[:, 0]
    caster, start, many = v.casters
    own = of(part, at)
    count = of(many, own)
    which = torch.repeat_interleave(count)
    pair = torch.arange(len(which), device=which.device) - of(count.cumsum(0) - count - of(start, own), which)
    by = of(caster, pair)
    # in the sun's eyes: is the point behind the caster's box?
    place = of(torch.stack(p), at)
    axes = of(v.sun_axes, of(v.image, own))  # (9, H')
    u, w, depth = (dot(tuple(place), tuple(axes[3 * i : 3 * i + 3])) for i in range(3))
    box = of(v.sun_box, by)
    behind = box[4] - of(depth, which)
    slack = SUN_SLACK * behind
    u, w = of(u, which), of(w, which)
    near = (behind > 0) & (u > box[0] - slack) & (u < box[1] + slack) & (w > box[2] - slack) & (w < box[3] + slack)
    near = near.nonzero()[:, 0]
    hit, by = of(at, of(which, near)), of(by, near)
    kinds = of(v.kind, by)
    for kind, _ in v.kinds:
        some = (kinds == kind).nonzero()[:, 0]
        if not len(some):
            continue
        h, c = of(hit, some), of(by, some)
        t = _toward_sun(v, kind, c, of(sub, h), tuple(of(a, h) for a in p))
        dark[h[(t > 2e-3) & (t < NEVER)]] = True
    return dark


def _toward_sun(v: View, kind: int, part: Tensor, sub: Tensor, p: Vector) -> Tensor:
    w = of(v.inverse, part)
    o = of(v.offset, part)
    o = tuple(w[3 * j] * p[0] + w[3 * j + 1] * p[1] + w[3 * j + 2] * p[2] - o[j] for j in range(3))
    d = tuple(of(v.sunward.view(3, -1), sub * len(v.image) + part))
    return enter(kind, o, d, of(v.shape, part))


def _ground_shadow(v: View, hit: Tensor) -> Tensor:
    """(4 * pixels,) bool: rays that meet the ground in shadow. hit: rays that hit a part, which are left out."""
    pixels = v.n * v.size * v.size
    image = v.image.cpu()
    suns = v.suns.double().cpu()[image]  # (N, 4, 3)
    top = v.corners.clone()
    top[..., 2] = top[..., 2].clamp(min=0)
    cast = top[:, :, None] - suns[:, None] * (top[:, :, None, 2] / suns[:, None, :, 2])[..., None]
    frames = _frames(v, cast.reshape(len(image), -1, 3))
    dark = torch.zeros(4 * pixels, dtype=torch.bool, device=hit.device)
    for kind, parts in v.kinds:
        q = _pairs(v, parts, frames)
        if not len(q.part):
            continue
        image = of(v.image, q.part)
        fall = of(v.basis[:, 0, 2], image) + q.y * of(v.basis[:, 2, 2], image)
        ray = q.pixel + torch.arange(4, device=hit.device)[:, None] * pixels
        asked = (fall < -1e-3) & ~of(hit, ray.view(-1)).view_as(ray)
        at = asked.view(-1).nonzero()[:, 0]
        part = of(q.part.expand_as(q.x).reshape(-1), at)
        x, y, ray = of(q.x.view(-1), at), of(q.y.view(-1), at), of(ray.view(-1), at)
        t = -of(v.eye[:, 2], of(v.image, part)) / of(fall.view(-1), at)
        f, r, u = (tuple(of(v.toward[:, i], part)) for i in range(3))
        d = tuple(a + b * x + c * y for a, b, c in zip(f, r, u, strict=True))
        o = along(tuple(of(v.origin, part)), d, t)
        sub = torch.div(ray, pixels, rounding_mode="floor")
        sun = tuple(of(v.sunward.view(3, -1), sub * len(v.image) + part))
        s = enter(kind, o, sun, of(v.shape, part))
        dark[ray[(s > 1e-3) & (s < NEVER)]] = True
    return dark


# the picture


def _four(a: Tensor) -> Tensor:
    """Sum over the four rays of a pixel, always in the same order."""
    return (a[0] + a[1]) + (a[2] + a[3])


def _chunk(v: View) -> Picture:
    square, pixels, dtype = (v.n, v.size, v.size), v.n * v.size * v.size, v.eye.dtype
    frames = _frames(v, v.corners)
    hits = _first_hits(v, frames, mirrored=False)
    hit = torch.zeros(4 * pixels, dtype=torch.bool, device=v.eye.device)
    hit[hits.ray] = True
    colours = torch.zeros(3, 4 * pixels, dtype=dtype, device=v.eye.device)
    colours[:, hits.ray] = _shade(v, hits, mirrored=False)
    cover = _four(hit.view(4, *square).to(dtype)) / 4
    dark = _four(_ground_shadow(v, hit).view(4, *square).to(dtype)) / (4 * (1 - cover)).clamp(min=1)
    behind = ground.backdrop(v, v.size)
    mirror = _mirror(v, cover) if (v.shine > 0).any() else None
    ground_colour = _ground_light(v, behind, dark, mirror)
    out = []
    for j in range(3):
        back = behind.sky[j] + (ground_colour[j] - behind.sky[j]) * behind.share
        out.append(_four(colours[j].view(4, *square)) / 4 + back * (1 - cover))
    light = torch.stack(out, 1).clamp(0, 1)
    levels = (light.sqrt() * 255 + 0.5).to(torch.uint8)
    toys = _toys_seen(v, hits, pixels, square)
    return Picture(levels, _regions(cover, dark * (1 - cover), behind.share, toys), toys)


def _mirror(v: View, cover: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (3, n, S, S), summed over rays, and the share of rays that the ground reflects onto a part."""
    pixels, square = v.n * v.size * v.size, (v.n, v.size, v.size)
    points = v.corners.clone()
    points[..., 2] = -points[..., 2]
    frames = _frames(v, points)
    frames[0], frames[2] = (frames[0] - 2).clamp(min=0), (frames[2] + 2).clamp(max=v.size)  # what wobbles
    dull = v.shine[v.image] <= 0
    frames[2] = torch.where(dull, frames[0], frames[2])
    hits = _first_hits(v, frames, mirrored=True, open_pixels=cover.view(-1) < 1)
    hit = torch.zeros(4 * pixels, dtype=cover.dtype, device=cover.device)
    hit[hits.ray] = 1
    colours = torch.zeros(3, 4 * pixels, dtype=cover.dtype, device=cover.device)
    colours[:, hits.ray] = _shade(v, hits, mirrored=True)
    return torch.stack([_four(c.view(4, *square)) for c in colours]) / 4, _four(hit.view(4, *square)) / 4


def _ground_light(v: View, b: ground.Backdrop, dark: Tensor, mirror) -> list[Tensor]:
    one = [c[:, :, None, None] for c in (v.sunlight, v.zenith, v.horizon)]
    height = v.suns[:, :, 2].mean(1)[:, None, None]
    out = []
    near = _contact(v, b)
    for j in range(3):
        sun, zenith, horizon = (c[:, j] for c in one)
        water = v.shine[:, None, None] == WATER
        direct = sun * height * torch.where(water, 1 - 0.55 * dark, 1 - dark)
        own = b.earth[j] * ((0.36 * zenith + 0.24 * horizon) * near + direct)
        reflected = b.mirrored[j]
        if mirror is not None:
            reflected = reflected * (1 - mirror[1]) + mirror[0][j]
        own = own + (reflected - own) * b.mirror
        out.append(own + (horizon - own) * b.haze)
    return out


def _contact(v: View, b: ground.Backdrop) -> Tensor:
    """Share of the sky's light that reaches the ground: less close to a toy."""
    near = torch.ones_like(b.point[0])
    for x, y, r in v.feet:
        dx, dy = b.point[0] - x[:, None, None], b.point[1] - y[:, None, None]
        reach = r[:, None, None]
        s = (dx * dx + dy * dy) / (reach * reach).clamp(min=1e-6)
        near = near * (1 - 0.75 / (1 + s * s))
    return near


def _toys_seen(v: View, hits: _Hits, pixels: int, square) -> Tensor:
    """(n, S, S): the toy that at least half of a pixel's rays hit, else -1."""
    best, many = torch.full(square, -1, device=v.eye.device), torch.full(square, 1, device=v.eye.device)
    toy = of(v.toy, hits.part)
    for k in range(int(v.toy.max()) + 1):
        here = torch.zeros(4 * pixels, dtype=torch.long, device=v.eye.device)
        here[hits.ray[toy == k]] = 1
        count = _four(here.view(4, *square))
        best, many = torch.where(count > many, k, best), torch.maximum(count, many)
    return best


def _regions(cover: Tensor, dark: Tensor, share: Tensor, toys: Tensor) -> Tensor:
    regions = torch.where(share > 0.5, GROUND, SKY)
    regions = torch.where((dark > 0.5) & (share > 0.5), SHADOW, regions)
    regions = torch.where(cover >= 0.5, OBJECT, regions)
    label = torch.where(cover >= 0.5, toys + 2, 0).to(torch.float32)
    wide = torch.nn.functional.max_pool2d(label[:, None], 3, 1, 1)[:, 0]
    low = -torch.nn.functional.max_pool2d(-label[:, None], 3, 1, 1)[:, 0]
    return torch.where(wide != low, OUTLINE, regions)
