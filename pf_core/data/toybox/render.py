"""Ray tracing of scenes in torch, on any device: closest hit, soft shadows, one mirror image, four rays a pixel.

Work is in flat lists of (part, pixel) pairs: a part is only met by the rays of the pixels that its projection covers.
Four rays a pixel, each with a sun of its own (so that shadows have soft edges), lie along the first axis of all lists.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pf_core.data.toybox import ground
from pf_core.data.toybox.primitives import NEVER, Vector, along, dot, enter, normal, unit
from pf_core.data.toybox.scene import WATER, Parts, Scene
from pf_core.data.toybox.toys import BANDS, SECTORS, TORUS

REGIONS = ("sky", "ground", "shadow", "object", "outline")
SKY, GROUND, SHADOW, OBJECT, OUTLINE = range(5)

_RAYS = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))  # within a pixel: column, row
_SUNS = ((0.7, 0.7), (-0.7, 0.7), (-0.7, -0.7), (0.7, -0.7))  # about the sun's middle, in its radius
_SUN_RADIUS = 0.055  # tangent of its angle
_SUN_SLACK = 1.05 * 2**0.5 * _SUN_RADIUS
_CHUNK = 2**17  # pixels worked on at a time, at most: what the processor's cache holds
_BITS = 14  # of a hit's key that name its part


@dataclass(frozen=True)
class Picture:
    """levels: (B, 3, S, S) uint8; regions (B, S, S) indices into REGIONS; toys (B, S, S): a toy's number, -1: none."""

    levels: Tensor
    regions: Tensor
    toys: Tensor


@dataclass(frozen=True)
class _View:
    """A chunk's images, (n, ...), in the renderer's precision on its device; parts' numbers as rows, (..., N)."""

    n: int
    size: int
    eye: Tensor
    basis: Tensor
    suns: Tensor  # (n, 4, 3)
    sunlight: Tensor
    zenith: Tensor
    horizon: Tensor
    earth: Tensor
    turn_cos: Tensor
    turn_sin: Tensor
    scale: Tensor
    shine: Tensor
    clouds: Tensor
    grounds: list[tuple[int, list[int]]]  # which images have which ground
    feet: list[tuple[Tensor, Tensor, Tensor]]  # where toys stand: x, y, radius, (n,) each
    image: Tensor  # (N,) of each part
    toy: Tensor
    kinds: list[tuple[int, Tensor]]  # parts by kind
    kind: Tensor
    corners: Tensor  # (N, 8, 3) of a box around each part
    sun_axes: Tensor  # (9, n): sideways, upwards, towards the sun
    sun_box: Tensor  # (5, N) see _casters
    casters: tuple[Tensor, Tensor, Tensor]
    inverse: Tensor  # (9, N) world -> part
    origin: Tensor  # (3, N) the eye in the part's frame
    toward: Tensor  # (3, 3, N): forward, right, up (second axis) in the part's frame
    mirror_origin: Tensor
    mirror_toward: Tensor
    offset: Tensor  # (3, N) inverse @ centre
    sunward: Tensor  # (3, 4, N) suns in the part's frame
    shape: Tensor
    look: Tensor  # (6, N): colour, glow, gloss, metal
    pattern: Tensor


def trace(scene: Scene, size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Picture:
    count = len(scene.eye)
    step = max(1, min(64, _CHUNK // (size * size)))
    order = torch.sort(scene.parts.image, stable=True).indices
    parts = Parts(*(getattr(scene.parts, f.name)[order] for f in fields(Parts)))
    done = []
    for first in range(0, count, step):
        last = min(count, first + step)
        ends = torch.searchsorted(parts.image, torch.tensor([first, last])).tolist()
        own = Parts(*(getattr(parts, f.name)[slice(*ends)] for f in fields(Parts)))
        done.append(_chunk(_view(scene, own, first, last, size, device, dtype)))
    return Picture(*(torch.cat([getattr(p, f.name) for p in done]) for f in fields(Picture)))


def _view(s: Scene, parts: Parts, first: int, last: int, size: int, device, dtype) -> _View:
    own = slice(first, last)
    image = parts.image - first
    inverse = _inverse(parts.matrix)
    eye, basis = s.eye[own], s.basis[own]
    axes = _sun_axes(s.sun[own])
    suns = _suns(axes)

    def inside(v: Tensor) -> Tensor:  # world vectors (N, 3) in the parts' frames
        return inverse[..., 0] * v[:, None, 0] + inverse[..., 1] * v[:, None, 1] + inverse[..., 2] * v[:, None, 2]

    def put(v: Tensor) -> Tensor:
        return v.to(device, dtype).contiguous()

    offset = inside(parts.centre)
    flip = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    from_eye = [inside(v[image]) - offset for v in (eye, eye * flip)]
    toward = [torch.stack([inside((basis[:, i] * f)[image]) for i in range(3)]) for f in (1, flip)]
    grounds = s.ground[own].tolist()
    stretch = torch.where(parts.kind == TORUS, 1 + parts.shape, 1.0)
    wide = torch.where((parts.kind == 1) | (parts.kind == 2), parts.shape.clamp(min=1), stretch)
    high = torch.where(parts.kind == TORUS, parts.shape, 1.0)
    cube = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=torch.float64)
    local = cube * torch.stack([wide, wide, high], 1)[:, None]  # (N, 8, 3)
    m = parts.matrix[:, None]
    corners = m[..., 0] * local[..., None, 0] + m[..., 1] * local[..., None, 1] + m[..., 2] * local[..., None, 2]
    corners = corners + parts.centre[:, None]
    sun_box, casters = _casters(image, parts.kind, axes, corners)
    look = torch.cat([parts.colour, torch.stack([parts.glow, parts.gloss, parts.metal], 1)], 1)
    return _View(
        n=last - first,
        size=size,
        eye=put(eye),
        basis=put(basis),
        suns=put(suns),
        sunlight=put(s.sunlight[own]),
        zenith=put(s.zenith[own]),
        horizon=put(s.horizon[own]),
        earth=put(s.earth[own]),
        turn_cos=put(s.turn[own].cos()),
        turn_sin=put(s.turn[own].sin()),
        scale=put(s.scale[own]),
        shine=put(s.shine[own]),
        clouds=put(s.clouds[own]),
        grounds=[(k, [i for i, g in enumerate(grounds) if g == k]) for k in sorted(set(grounds))],
        feet=[
            tuple(put(f[own, k]) for f in (s.feet[..., 0], s.feet[..., 1], s.feet[..., 2]))
            for k in range(s.feet.shape[1])
        ],
        image=image.to(device),
        toy=parts.toy.to(device),
        kinds=[(k, (parts.kind == k).nonzero()[:, 0].to(device)) for k in sorted(set(parts.kind.tolist()))],
        kind=parts.kind.to(device),
        corners=corners,
        sun_axes=put(axes.reshape(-1, 9).T),
        sun_box=put(sun_box),
        casters=tuple(c.to(device) for c in casters),
        inverse=put(inverse.reshape(-1, 9).T),
        origin=put(from_eye[0].T),
        toward=put(toward[0].permute(2, 0, 1)),
        mirror_origin=put(from_eye[1].T),
        mirror_toward=put(toward[1].permute(2, 0, 1)),
        offset=put(offset.T),
        sunward=put(torch.stack([inside(suns[image, i]) for i in range(4)]).permute(2, 0, 1)),
        shape=put(parts.shape),
        look=put(look.T),
        pattern=parts.pattern.to(device),
    )


def _inverse(m: Tensor) -> Tensor:
    """(N, 3, 3), by cofactors: the same bits in any batch."""
    a, b, c = m[..., 0], m[..., 1], m[..., 2]  # columns
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)
    size = a[..., 0] * rows[:, 0, 0] + a[..., 1] * rows[:, 0, 1] + a[..., 2] * rows[:, 0, 2]
    return rows / size[:, None, None]


def _sun_axes(sun: Tensor) -> Tensor:
    """(n, 3) -> (n, 3, 3): unit vectors sideways, upwards, and the one towards the sun."""
    up = torch.tensor([0.0, 0.0, 1.0], dtype=sun.dtype).expand_as(sun)
    side = torch.nn.functional.normalize(torch.linalg.cross(up, sun), dim=1)
    return torch.stack([side, torch.linalg.cross(sun, side), sun], 1)


def _suns(axes: Tensor) -> Tensor:
    """(n, 3, 3) -> (n, 4, 3): unit vectors to four points of the sun's disc."""
    points = [axes[:, 2] + _SUN_RADIUS * (a * axes[:, 0] + b * axes[:, 1]) for a, b in _SUNS]
    return torch.nn.functional.normalize(torch.stack(points, 1), dim=2)


# which pixels a part may be seen in


def _frames(v: _View, points: Tensor) -> Tensor:
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
    found = torch.cat([(low - 0.01).floor(), (high + 0.01).ceil()]).clamp(0, size).long()
    return found.to(v.image.device)


def _of(v: Tensor, i: Tensor) -> Tensor:
    """v[..., i], five times as fast."""
    return v.index_select(v.ndim - 1, i)


@dataclass(frozen=True)
class _Pairs:
    part: Tensor  # (Q,)
    pixel: Tensor  # (Q,) in the chunk
    x: Tensor  # (4, Q) where the rays meet the picture's plane, in [-1, 1]
    y: Tensor


def _pairs(v: _View, parts: Tensor, frames: Tensor) -> _Pairs:
    left, top, right, bottom = frames[:, parts]
    wide, many = right - left, (right - left) * (bottom - top)
    part = torch.repeat_interleave(many)  # position in `parts`
    start = many.cumsum(0) - many
    at = torch.arange(len(part), device=part.device) - _of(start, part)
    w = _of(wide, part)
    row = torch.div(at, w, rounding_mode="floor")
    column = at - row * w + _of(left, part)
    row = row + _of(top, part)
    number = _of(parts, part)
    pixel = (_of(v.image, number) * v.size + row) * v.size + column
    return _Pairs(number, pixel, *_places(v, column, row))


def _places(v: _View, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    rays = torch.tensor(_RAYS, dtype=v.eye.dtype, device=v.eye.device)
    x = (column.to(v.eye.dtype) + rays[:, 0, None]) * (2 / v.size) - 1
    y = 1 - (row.to(v.eye.dtype) + rays[:, 1, None]) * (2 / v.size)
    return x, y


# hits


@dataclass(frozen=True)
class _Hits:
    """H rays that hit: ray (number in 4 * pixels), its part, t; place on the picture's plane."""

    ray: Tensor
    part: Tensor
    t: Tensor
    x: Tensor
    y: Tensor


def _first_hits(v: _View, frames: Tensor, mirrored: bool, open_pixels: Tensor | None = None) -> _Hits:
    """The first hit of every ray that hits something above the ground. Mirrored: of the ground's mirror image."""
    origin, toward = (v.mirror_origin, v.mirror_toward) if mirrored else (v.origin, v.toward)
    pixels = v.n * v.size * v.size
    nothing = torch.iinfo(torch.int64).max
    keys = torch.full((4 * pixels,), nothing, dtype=torch.int64, device=v.eye.device)
    for kind, parts in v.kinds:
        q = _pairs(v, parts, frames)
        if open_pixels is not None:
            keep = _of(open_pixels, q.pixel).nonzero()[:, 0]
            q = _Pairs(_of(q.part, keep), _of(q.pixel, keep), _of(q.x, keep), _of(q.y, keep))
        if not len(q.part):
            continue
        o = tuple(_of(origin, q.part))
        f, r, u = (tuple(_of(toward[:, i], q.part)) for i in range(3))
        x, y = (_wobble(v, q.x, q.y, q.part), q.y) if mirrored else (q.x, q.y)
        d = tuple(a + b * x + c * y for a, b, c in zip(f, r, u, strict=True))
        t = enter(kind, o, d, _of(v.shape, q.part))
        image = _of(v.image, q.part)
        rise = _of(v.basis[:, 0, 2], image) + y * _of(v.basis[:, 2, 2], image)
        height = _of(v.eye[:, 2], image) + t * rise  # below the mirror where it is mirrored
        good = (t > 0) & (t < NEVER) & ((height < -1e-3) if mirrored else (height > -1e-4))
        ray = q.pixel + torch.arange(4, device=t.device)[:, None] * pixels
        at = good.view(-1).nonzero()[:, 0]
        key = _of(t.view(-1), at).float().view(torch.int32).long() << _BITS | _of(q.part.expand_as(t).reshape(-1), at)
        keys.scatter_reduce_(0, _of(ray.view(-1), at), key, "amin")
    ray = (keys != nothing).nonzero()[:, 0]
    key = _of(keys, ray)
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


def _wobble(v: _View, x: Tensor, y: Tensor, part: Tensor) -> Tensor:
    """Water bends what it mirrors sideways, in bands that narrow towards the horizon."""
    image = _of(v.image, part)
    water = torch.where(_of(v.shine, image) == WATER, 0.02, 0.0)
    down = -(_of(v.basis[:, 0, 2], image) + y * _of(v.basis[:, 2, 2], image))
    depth = _of(v.eye[:, 2], image) / down.clamp(min=0.02)
    return x + water * (ground.wave(depth * 2.3) + 0.5 * ground.wave(depth * 5.1))


def _shade(v: _View, h: _Hits, mirrored: bool) -> Tensor:
    """(3, H) light from the hits towards the eye."""
    origin, toward = (v.mirror_origin, v.mirror_toward) if mirrored else (v.origin, v.toward)
    n = [torch.zeros_like(h.t) for _ in range(3)]
    white = torch.zeros_like(h.t)
    kinds = _of(v.kind, h.part)
    for kind, _ in v.kinds:
        at = (kinds == kind).nonzero()[:, 0]
        part, t, x, y = _of(h.part, at), _of(h.t, at), _of(h.x, at), _of(h.y, at)
        f, r, u = (tuple(_of(toward[:, i], part)) for i in range(3))
        d = tuple(a + b * x + c * y for a, b, c in zip(f, r, u, strict=True))
        q = along(tuple(_of(origin, part)), d, t)
        m = normal(kind, q, _of(v.shape, part))
        w = _of(v.inverse, part)
        for j in range(3):
            n[j][at] = m[0] * w[j] + m[1] * w[3 + j] + m[2] * w[6 + j]
        white[at] = _pattern(_of(v.pattern, part), q).to(white)
    n = unit(tuple(n))
    image = _of(v.image, h.part)
    flip = -1.0 if mirrored else 1.0
    b = _of(v.basis.view(v.n, 9).T, image)
    d = tuple(b[j] + b[3 + j] * h.x + b[6 + j] * h.y for j in range(3))
    d = (d[0], d[1], d[2] * flip)
    eye = tuple(_of(v.eye.T, image))
    p = along((eye[0], eye[1], eye[2] * flip), d, h.t)
    d = unit(d)
    facing = -dot(n, d)
    n = tuple(torch.where(facing < 0, -c, c) for c in n)
    facing = facing.abs()
    sub = torch.div(h.ray, v.n * v.size * v.size, rounding_mode="floor")
    sun = tuple(_of(v.suns.view(-1, 3).T, image * 4 + sub))
    lit = dot(n, sun).clamp(min=0)
    if not mirrored:
        lit = torch.where(_in_shadow(v, h.part, sub, p, lit > 0), 0.0, lit)
    colour, (glow, gloss, metal) = tuple(_of(v.look[:3], h.part)), _of(v.look[3:], h.part)
    colour = tuple(c + (0.92 - c) * white for c in colour)
    sunlight = tuple(_of(v.sunlight.T, image))
    zenith, horizon, earth = (tuple(_of(c.T, image)) for c in (v.zenith, v.horizon, v.earth[:, 0]))
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
    """1 where a part is white for its pattern, else 0."""
    x, y, z = q
    sectors = torch.where(3 * x * x * y - y * y * y > 0, 1.0, 0.0)
    bands = torch.where(((z > -0.45) & (z < -0.05)) | ((z > 0.35) & (z < 0.7)), 1.0, 0.0)
    return torch.where(pattern == SECTORS, sectors, torch.where(pattern == BANDS, bands, 0.0))


# shadows


def _in_shadow(v: _View, part: Tensor, sub: Tensor, p: Vector, asked: Tensor) -> Tensor:
    """(H,) bool for points p of parts: does another part hide the ray's sun?"""
    dark = torch.zeros_like(asked)
    at = asked.nonzero()[:, 0]
    caster, start, many = v.casters
    own = _of(part, at)
    count = _of(many, own)
    which = torch.repeat_interleave(count)
    pair = torch.arange(len(which), device=which.device) - _of(count.cumsum(0) - count - _of(start, own), which)
    by = _of(caster, pair)
    # in the sun's eyes: is the point behind the caster's box?
    place = _of(torch.stack(p), at)
    axes = _of(v.sun_axes, _of(v.image, own))  # (9, H')
    u, w, depth = (dot(tuple(place), tuple(axes[3 * i : 3 * i + 3])) for i in range(3))
    box = _of(v.sun_box, by)
    behind = box[4] - _of(depth, which)
    slack = _SUN_SLACK * behind
    u, w = _of(u, which), _of(w, which)
    near = (behind > 0) & (u > box[0] - slack) & (u < box[1] + slack) & (w > box[2] - slack) & (w < box[3] + slack)
    near = near.nonzero()[:, 0]
    hit, by = _of(at, _of(which, near)), _of(by, near)
    kinds = _of(v.kind, by)
    for kind, _ in v.kinds:
        some = (kinds == kind).nonzero()[:, 0]
        if not len(some):
            continue
        h, c = _of(hit, some), _of(by, some)
        t = _toward_sun(v, kind, c, _of(sub, h), tuple(_of(a, h) for a in p))
        dark[h[(t > 2e-3) & (t < NEVER)]] = True
    return dark


def _toward_sun(v: _View, kind: int, part: Tensor, sub: Tensor, p: Vector) -> Tensor:
    w = _of(v.inverse, part)
    o = _of(v.offset, part)
    o = tuple(w[3 * j] * p[0] + w[3 * j + 1] * p[1] + w[3 * j + 2] * p[2] - o[j] for j in range(3))
    d = tuple(_of(v.sunward.view(3, -1), sub * len(v.image) + part))
    return enter(kind, o, d, _of(v.shape, part))


def _casters(image: Tensor, kind: Tensor, axes: Tensor, corners: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Boxes (5, N) in the sun's eyes around parts: sideways, upwards, nearest; and for each part the parts that may
    throw a shadow on it, as (casters in a list by receiver, where in it a receiver's begin, how many they are)."""
    seen = (corners[:, :, None] * axes[image][:, None]).sum(3)  # (N, 8, 3)
    low, high = seen.amin(1), seen.amax(1)
    box = torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1], high[:, 2]])
    receiver, caster = (image[:, None] == image).nonzero().T
    ahead = high[caster, 2] - low[receiver, 2]
    slack = (_SUN_SLACK * ahead)[:, None]
    meet = ((low[caster, :2] - slack < high[receiver, :2]) & (high[caster, :2] + slack > low[receiver, :2])).all(1)
    keep = meet & (ahead > 0) & ((caster != receiver) | (kind[caster] == TORUS))
    many = torch.bincount(receiver[keep], minlength=len(image))
    return box, (caster[keep], many.cumsum(0) - many, many)


def _ground_shadow(v: _View, hit: Tensor) -> Tensor:
    """(4 * pixels,) bool: rays that meet the ground where their sun is hidden. hit: rays that need not be asked."""
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
        of = _of(v.image, q.part)
        fall = _of(v.basis[:, 0, 2], of) + q.y * _of(v.basis[:, 2, 2], of)
        ray = q.pixel + torch.arange(4, device=hit.device)[:, None] * pixels
        asked = (fall < -1e-3) & ~_of(hit, ray.view(-1)).view_as(ray)
        at = asked.view(-1).nonzero()[:, 0]
        part = _of(q.part.expand_as(q.x).reshape(-1), at)
        x, y, ray = _of(q.x.view(-1), at), _of(q.y.view(-1), at), _of(ray.view(-1), at)
        t = -_of(v.eye[:, 2], _of(v.image, part)) / _of(fall.view(-1), at)
        f, r, u = (tuple(_of(v.toward[:, i], part)) for i in range(3))
        d = tuple(a + b * x + c * y for a, b, c in zip(f, r, u, strict=True))
        o = along(tuple(_of(v.origin, part)), d, t)
        sub = torch.div(ray, pixels, rounding_mode="floor")
        sun = tuple(_of(v.sunward.view(3, -1), sub * len(v.image) + part))
        s = enter(kind, o, sun, _of(v.shape, part))
        dark[ray[(s > 1e-3) & (s < NEVER)]] = True
    return dark


# the picture


def _four(a: Tensor) -> Tensor:
    """Sum over the rays of a pixel, always in this order."""
    return (a[0] + a[1]) + (a[2] + a[3])


def _chunk(v: _View) -> Picture:
    square, pixels, dtype = (v.n, v.size, v.size), v.n * v.size * v.size, v.eye.dtype
    frames = _frames(v, v.corners)
    hits = _first_hits(v, frames, mirrored=False)
    seen = torch.zeros(4 * pixels, dtype=torch.bool, device=v.eye.device)
    seen[hits.ray] = True
    colours = torch.zeros(3, 4 * pixels, dtype=dtype, device=v.eye.device)
    colours[:, hits.ray] = _shade(v, hits, mirrored=False)
    cover = _four(seen.view(4, *square).to(dtype)) / 4
    dark = _four(_ground_shadow(v, seen).view(4, *square).to(dtype)) / (4 * (1 - cover)).clamp(min=1)
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


def _mirror(v: _View, cover: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (3, n, S, S), summed over rays, and the share of rays that the ground throws onto something."""
    pixels, square = v.n * v.size * v.size, (v.n, v.size, v.size)
    points = v.corners.clone()
    points[..., 2] = -points[..., 2]
    frames = _frames(v, points)
    frames[0], frames[2] = (frames[0] - 2).clamp(min=0), (frames[2] + 2).clamp(max=v.size)  # what wobbles
    dull = v.shine[v.image] <= 0
    frames[2] = torch.where(dull, frames[0], frames[2])
    hits = _first_hits(v, frames, mirrored=True, open_pixels=cover.view(-1) < 1)
    seen = torch.zeros(4 * pixels, dtype=cover.dtype, device=cover.device)
    seen[hits.ray] = 1
    colours = torch.zeros(3, 4 * pixels, dtype=cover.dtype, device=cover.device)
    colours[:, hits.ray] = _shade(v, hits, mirrored=True)
    return torch.stack([_four(c.view(4, *square)) for c in colours]) / 4, _four(seen.view(4, *square)) / 4


def _ground_light(v: _View, b: ground.Backdrop, dark: Tensor, mirror) -> list[Tensor]:
    one = [c[:, :, None, None] for c in (v.sunlight, v.zenith, v.horizon)]
    height = v.suns[:, :, 2].mean(1)[:, None, None]
    out = []
    near = _contact(v, b)
    for j in range(3):
        sun, zenith, horizon = (c[:, j] for c in one)
        water = v.shine[:, None, None] == WATER
        direct = sun * height * torch.where(water, 1 - 0.55 * dark, 1 - dark)
        own = b.earth[j] * ((0.36 * zenith + 0.24 * horizon) * near + direct)
        seen = b.mirrored[j]
        if mirror is not None:
            seen = seen * (1 - mirror[1]) + mirror[0][j]
        own = own + (seen - own) * b.mirror
        out.append(own + (horizon - own) * b.haze)
    return out


def _contact(v: _View, b: ground.Backdrop) -> Tensor:
    """What of the sky the ground sees: less close to a toy."""
    near = torch.ones_like(b.point[0])
    for x, y, r in v.feet:
        dx, dy = b.point[0] - x[:, None, None], b.point[1] - y[:, None, None]
        reach = r[:, None, None]
        s = (dx * dx + dy * dy) / (reach * reach).clamp(min=1e-6)
        near = near * (1 - 0.75 / (1 + s * s))
    return near


def _toys_seen(v: _View, hits: _Hits, pixels: int, square) -> Tensor:
    """(n, S, S): the toy that is seen in at least half of a pixel's rays, else -1."""
    best, many = torch.full(square, -1, device=v.eye.device), torch.full(square, 1, device=v.eye.device)
    toy = _of(v.toy, hits.part)
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
