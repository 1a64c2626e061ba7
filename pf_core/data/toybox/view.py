"""What the renderer needs of a chunk of images before it casts rays: cameras, suns, and all parts' numbers as rows."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pf_core.data.toybox.scene import Parts, Scene
from pf_core.data.toybox.toys import BOX, FRUSTUM, TORUS

SUN_RADIUS = 0.055  # tangent of its angle
SUN_SLACK = 1.05 * 2**0.5 * SUN_RADIUS  # how far, per distance, a ray to a point of the sun leaves that to its middle
_SUNS = ((0.7, 0.7), (-0.7, 0.7), (-0.7, -0.7), (0.7, -0.7))  # about the sun's middle, in its radius


def of(v: Tensor, i: Tensor) -> Tensor:
    """v[..., i] for a list of indices, five times as fast."""
    return v.index_select(v.ndim - 1, i)


@dataclass(frozen=True)
class View:
    """A chunk's images (n, ...), in the renderer's precision on its device; parts' numbers as rows (..., N)."""

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


def view(s: Scene, parts: Parts, first: int, last: int, size: int, device, dtype) -> View:
    """Images first .. last - 1 of a scene; parts: their indices. Computed in float64 on the CPU, then moved to the
    device."""
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
    wide = torch.where((parts.kind == BOX) | (parts.kind == FRUSTUM), parts.shape.clamp(min=1), stretch)
    high = torch.where(parts.kind == TORUS, parts.shape, 1.0)
    cube = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=torch.float64)
    local = cube * torch.stack([wide, wide, high], 1)[:, None]  # (N, 8, 3)
    m = parts.matrix[:, None]
    corners = m[..., 0] * local[..., None, 0] + m[..., 1] * local[..., None, 1] + m[..., 2] * local[..., None, 2]
    corners = corners + parts.centre[:, None]
    sun_box, casters = _casters(image, parts.kind, axes, corners)
    look = torch.cat([parts.colour, torch.stack([parts.glow, parts.gloss, parts.metal], 1)], 1)
    return View(
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
    """(N, 3, 3) inverses, by cofactors: the same bits in any batch."""
    a, b, c = m[..., 0], m[..., 1], m[..., 2]  # columns
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)
    size = a[..., 0] * rows[:, 0, 0] + a[..., 1] * rows[:, 0, 1] + a[..., 2] * rows[:, 0, 2]
    return rows / size[:, None, None]


def _sun_axes(sun: Tensor) -> Tensor:
    """(n, 3) -> (n, 3, 3): unit vectors sideways, upwards, and the one towards the sun."""
    up = torch.tensor([0.0, 0.0, 1.0], dtype=sun.dtype).expand_as(sun)
    side = F.normalize(torch.linalg.cross(up, sun), dim=1)
    return torch.stack([side, torch.linalg.cross(sun, side), sun], 1)


def _suns(axes: Tensor) -> Tensor:
    """(n, 3, 3) -> (n, 4, 3): unit vectors to four points of the sun's disc."""
    points = [axes[:, 2] + SUN_RADIUS * (a * axes[:, 0] + b * axes[:, 1]) for a, b in _SUNS]
    return F.normalize(torch.stack(points, 1), dim=2)


def _casters(image: Tensor, kind: Tensor, axes: Tensor, corners: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Boxes (5, N) around parts in the sun's frame: sideways, upwards, nearest; and for each part the parts that may
    cast a shadow on it, as (casters in a list by receiver, where a receiver's begin, how many they are)."""
    projected = (corners[:, :, None] * axes[image][:, None]).sum(3)  # (N, 8, 3)
    low, high = projected.amin(1), projected.amax(1)
    box = torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1], high[:, 2]])
    receiver, caster = (image[:, None] == image).nonzero().T
    ahead = high[caster, 2] - low[receiver, 2]
    slack = (SUN_SLACK * ahead)[:, None]
    meet = ((low[caster, :2] - slack < high[receiver, :2]) & (high[caster, :2] + slack > low[receiver, :2])).all(1)
    keep = meet & (ahead > 0) & ((caster != receiver) | (kind[caster] == TORUS))
    many = torch.bincount(receiver[keep], minlength=len(image))
    return box, (caster[keep], many.cumsum(0) - many, many)
