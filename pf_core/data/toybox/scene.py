"""From an image's uniform numbers to its scene: toys, ground, sky, light and camera.

A cell is a scene at a time of day and belongs to one toy: 12 cells, 12 toys. With `dependence` 1 the cell decides the
toy, its colours, the ground, the sky, the light and the pose; each of these is drawn independently of the cell with
probability 1 - dependence. All is float64. Each quantity has its own uniform number, so a setting changes values
continuously and never redraws another quantity.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pf_core.data.toybox.toys import CLASSES, COLOURS, FIXED, FLOATS, PLAIN, SIZES, TABLE

GROUNDS = ("plain", "checks", "planks", "water", "snow", "asphalt", "grass")
SKIES = ("morning", "noon", "evening", "cloudy")
SCENES = ("snow", "water", "road", "meadow", "table")
MATERIALS = ("matte", "shiny", "metal")
RELATIONS = ("left of", "right of", "behind", "in front of")  # where toy 0 is, seen from another
MOST_TOYS, MOST_CLUTTER = 3, 6
WATER = 1.0  # the shine of water, and of nothing else

#        scene,    sky,      ground,   main colours that go with it
_CELLS = {
    "snowman": ("snow", "noon", "snow", ("red", "blue", "purple")),
    "sledge": ("snow", "morning", "snow", ("red", "green", "orange")),
    "boat": ("water", "noon", "water", ("red", "blue", "turquoise")),
    "duck": ("water", "morning", "water", ("yellow", "orange", "pink")),
    "car": ("road", "noon", "asphalt", ("red", "blue", "yellow")),
    "cone": ("road", "cloudy", "asphalt", ("orange", "red", "yellow")),
    "tree": ("meadow", "morning", "grass", ("green", "turquoise", "orange")),
    "house": ("meadow", "noon", "grass", ("yellow", "pink", "blue")),
    "mushroom": ("meadow", "evening", "grass", ("red", "purple", "orange")),
    "cake": ("table", "morning", "checks", ("pink", "turquoise", "purple")),
    "gift": ("table", "noon", "planks", ("green", "purple", "pink")),
    "lamp": ("table", "evening", "planks", ("green", "yellow", "turquoise")),
}
_NAMES = tuple(COLOURS)
_SKIES = {  # zenith, horizon, the sun's colour; its azimuth (degrees, 0: behind the camera, > 0: right), height
    "morning": ((0.47, 0.66, 0.93), (1.00, 0.88, 0.80), (1.00, 0.90, 0.76), -52, 33),
    "noon": ((0.22, 0.52, 0.94), (0.76, 0.90, 1.00), (1.00, 0.98, 0.93), -24, 54),
    "evening": ((0.44, 0.40, 0.72), (1.00, 0.74, 0.56), (1.00, 0.87, 0.70), 56, 27),
    "cloudy": ((0.60, 0.68, 0.79), (0.87, 0.90, 0.93), (0.80, 0.81, 0.83), 30, 44),
}
_GROUNDS = {  # two colours each; plain and checks get theirs from a hue
    "plain": ((0.86, 0.80, 0.72), (0.80, 0.73, 0.64)),
    "checks": ((0.96, 0.94, 0.90), (0.55, 0.66, 0.80)),
    "planks": ((0.82, 0.66, 0.47), (0.70, 0.52, 0.35)),
    "water": ((0.10, 0.42, 0.58), (0.22, 0.60, 0.72)),
    "snow": ((0.95, 0.97, 1.00), (0.84, 0.89, 0.97)),
    "asphalt": ((0.40, 0.41, 0.44), (0.42, 0.56, 0.30)),
    "grass": ((0.43, 0.66, 0.26), (0.30, 0.53, 0.20)),
}
_CLUTTER = {  # what lies about
    "plain": (0.85, 0.45, 0.35),
    "checks": (0.92, 0.75, 0.35),
    "planks": (0.80, 0.30, 0.30),
    "water": (0.98, 0.98, 0.98),
    "snow": (0.95, 0.97, 1.00),
    "asphalt": (0.45, 0.44, 0.43),
    "grass": (0.62, 0.62, 0.60),
}


def _indices(column: int, known: tuple[str, ...]) -> Tensor:
    return torch.tensor([known.index(_CELLS[c][column]) for c in CLASSES])


def linear(grey: Tensor | tuple) -> Tensor:
    """Linear light of grey levels in [0, 1]: their square (gamma 2)."""
    grey = torch.as_tensor(grey, dtype=torch.float64)
    return grey * grey


CELL_SCENE, CELL_SKY, CELL_GROUND = _indices(0, SCENES), _indices(1, SKIES), _indices(2, GROUNDS)
_CELL_COLOURS = torch.tensor([[_NAMES.index(n) for n in _CELLS[c][3]] for c in CLASSES])
_SKY_TABLE = torch.tensor([[*a, *b, *c, d, e] for a, b, c, d, e in _SKIES.values()], dtype=torch.float64)
_GROUND_TABLE = torch.tensor([[*a, *b] for a, b in _GROUNDS.values()], dtype=torch.float64)
_CLUTTER_TABLE = torch.tensor(list(_CLUTTER.values()), dtype=torch.float64)
_MAIN_TABLE = torch.tensor(list(COLOURS.values()), dtype=torch.float64)
_FIXED_TABLE = torch.tensor(list(FIXED.values()), dtype=torch.float64)
_SIZES = torch.tensor(SIZES, dtype=torch.float64)
_FEET = torch.tensor([0.30, 0.42, 0.40, 0.40, 0.44, 0.36, 0.14, 0.42, 0.24, 0.52, 0.42, 0.26], dtype=torch.float64)
_SUNK = torch.tensor([FLOATS.get(c, 0.0) for c in CLASSES], dtype=torch.float64)

# the uniform numbers of an image, by name; what is added later goes to the end
_IMAGE = (
    "cell follow_ground ground follow_sky sky follow_light light_side light_up sun_side sun_up sky_hue ground_hue "
    "shiny_ground tex_scale ground_turn pitch lens near pan_x pan_y clouds cloud_x clutter relation1 relation2 side "
    "spread shade"
).split() + [f"clutter{k}_{w}" for k in range(MOST_CLUTTER) for w in ("x", "y", "size", "tone")]
_TOY = (
    "follow_toy toy follow_colour palette colour second follow_pose yaw turn variant follow_material material stretch "
    "widen tone second_tone second_colour size"
).split()
_CAPTIONED = ["number", "alike", "wording"]  # of captioned pictures alone
COLUMNS = {name: i for i, name in enumerate(_IMAGE + [f"{n}{k}" for k in range(MOST_TOYS) for n in _TOY] + _CAPTIONED)}


@dataclass(frozen=True)
class Parts:
    """Primitives of all images in one list (N): image, toy (-1: clutter), kind, shape; matrix (N, 3, 3) and centre (N,
    3) from the part's frame to the world; colours (N, 3) in linear light; pattern, glow, gloss, metal."""

    image: Tensor
    toy: Tensor
    kind: Tensor
    shape: Tensor
    matrix: Tensor
    centre: Tensor
    colour: Tensor
    pattern: Tensor
    glow: Tensor
    gloss: Tensor
    metal: Tensor


@dataclass(frozen=True)
class Scene:
    """B images, (B,) or (B, ...) each, float64. Colours are linear light; the unit of length is about a toy's size."""

    cell: Tensor
    scene: Tensor  # index into SCENES
    ground: Tensor  # into GROUNDS
    sky: Tensor  # into SKIES
    toys: Tensor  # (B, T) into CLASSES
    colours: Tensor  # (B, T) into the colours' names
    seconds: Tensor  # (B, T)
    materials: Tensor  # (B, T) into MATERIALS
    yaw: Tensor  # (B, T) radians
    relations: Tensor  # (B, T - 1) into RELATIONS: toy 0 is so to toy 1, 2
    azimuth: Tensor  # of the sun; radians, 0: behind the camera, > 0: to the right
    elevation: Tensor
    eye: Tensor  # (B, 3)
    basis: Tensor  # (B, 3, 3): forward, and right and up times the tangent of half the field of view
    sun: Tensor  # (B, 3) unit vector towards it
    sunlight: Tensor  # (B, 3)
    zenith: Tensor
    horizon: Tensor
    earth: Tensor  # (B, 2, 3) the ground's colours
    turn: Tensor  # of the ground's texture, radians
    scale: Tensor  # of the ground's texture
    shine: Tensor  # how much the ground mirrors; 0: nothing, WATER: it is water
    clouds: Tensor  # (B, 2): how many, and where
    feet: Tensor  # (B, T, 3): where toys stand, x, y, and how wide their foot is
    parts: Parts


class _Draws:
    def __init__(self, u: Tensor):
        self._u = u

    def __getitem__(self, name: str) -> Tensor:
        return self._u[:, COLUMNS[name]]

    def between(self, name: str, low: float, high: float) -> Tensor:
        return low + (high - low) * self[name]

    def pick(self, name: str, n: int) -> Tensor:
        return (self[name] * n).long().clamp(max=n - 1)

    def toy(self, name: str, count: int) -> Tensor:
        """(B, count): a toy's number for each of the first toys."""
        return torch.stack([self[f"{name}{k}"] for k in range(count)], 1)


Recast = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def build(
    u: Tensor,
    toys: int,
    dependence: float,
    variety: float,
    labels: Tensor | None = None,
    recast: Recast = lambda *drawn: drawn,
) -> Scene:
    """The scenes of u (B, len(COLUMNS)), float64 in [0, 1). labels: (B,) classes of the first toys; recast: other toys,
    colours and second colours, (B, T) each, for those that were drawn."""
    d = _Draws(u)

    def follows(name: str) -> Tensor:
        return d[name] < dependence

    cell = d.pick("cell", len(CLASSES))
    ground = torch.where(follows("follow_ground"), CELL_GROUND[cell], d.pick("ground", len(GROUNDS)))
    sky = torch.where(follows("follow_sky"), CELL_SKY[cell], d.pick("sky", len(SKIES)))
    kinds = _toys(d, toys, dependence, cell, labels)
    azimuth, elevation, sunlight = _light(d, follows("follow_light"), CELL_SKY[cell], variety)
    zenith, horizon = _sky(d, sky)
    kinds, colours, seconds = recast(kinds, *_colours(d, toys, dependence, cell))
    turn = d.between("ground_turn", -0.5, 0.5) * (0.25 + 1.4 * variety)
    yaw = _yaw(d, toys, dependence, cell, turn, variety)
    relations, places = _places(d, toys)
    eye, basis = _camera(d, places, variety)
    sun = torch.stack([elevation.cos() * azimuth.sin(), -elevation.cos() * azimuth.cos(), elevation.sin()], 1)
    materials = _materials(d, toys, dependence, cell)
    return Scene(
        cell=cell,
        scene=CELL_SCENE[cell],
        ground=ground,
        sky=sky,
        toys=kinds,
        colours=colours,
        seconds=seconds,
        materials=materials,
        yaw=yaw,
        relations=relations,
        azimuth=azimuth,
        elevation=elevation,
        eye=eye,
        basis=basis,
        sun=sun,
        sunlight=sunlight,
        zenith=zenith,
        horizon=horizon,
        earth=_earth(d, ground),
        turn=turn,
        scale=1 + variety * d.between("tex_scale", -0.45, 0.6) + d.between("tex_scale", -0.1, 0.1),
        shine=_shine(d, ground),
        clouds=torch.stack([d["clouds"] * torch.where(sky == 3, 0.4, 1.0), d["cloud_x"] * 20], 1),
        feet=torch.cat([places, (_FEET[kinds] * _SIZES[kinds])[..., None]], 2),
        parts=_parts(d, kinds, colours, seconds, materials, yaw, places, ground, variety),
    )


def _toys(d: _Draws, count: int, dependence: float, cell: Tensor, labels: Tensor | None) -> Tensor:
    """(B, T) classes: the first from the cell, further ones from the same scene; `labels` replaces the first."""
    classes = [torch.where(d["follow_toy0"] < dependence, cell, d.pick("toy0", len(CLASSES)))]
    if labels is not None:
        classes = [labels.long().to(cell.device)]
    same = CELL_SCENE[cell][:, None] == CELL_SCENE  # (B, 12)
    for k in range(1, count):
        nth = (d[f"toy{k}"] * same.sum(1)).long()
        friend = (same.long().cumsum(1) == nth[:, None] + 1).long().argmax(1)
        classes.append(torch.where(d[f"follow_toy{k}"] < dependence, friend, d.pick(f"toy{k}", len(CLASSES))))
    return torch.stack(classes, 1)


def _light(d: _Draws, follows: Tensor, sky: Tensor, variety: float) -> tuple[Tensor, Tensor, Tensor]:
    row = _SKY_TABLE[sky]
    azimuth = torch.where(follows, row[:, 9] + d.between("sun_side", -8, 8), d.between("light_side", -75, 75))
    azimuth = azimuth * (1 + 0.25 * variety * (2 * d["sun_side"] - 1))
    elevation = torch.where(follows, row[:, 10] + d.between("sun_up", -4, 4), d.between("light_up", 22, 62))
    colour = torch.where(follows[:, None], row[:, 6:9], _SKY_TABLE[d.pick("sun_up", len(SKIES)), 6:9])
    azimuth, elevation = azimuth.deg2rad(), elevation.deg2rad()
    strength = 0.62 / (0.30 + 0.70 * elevation.sin())  # as a camera exposes: a low sun darkens the ground but little
    return azimuth, elevation, linear(colour) * strength[:, None] * 1.10


def _sky(d: _Draws, sky: Tensor) -> tuple[Tensor, Tensor]:
    row, shift = _SKY_TABLE[sky], (d["sky_hue"] - 0.5)[:, None]
    warm = torch.tensor([0.10, 0.0, -0.10], dtype=torch.float64)
    return linear((row[:, 0:3] + shift * warm).clamp(0, 1)), linear((row[:, 3:6] + 0.6 * shift * warm).clamp(0, 1))


def _colours(d: _Draws, count: int, dependence: float, cell: Tensor) -> tuple[Tensor, Tensor]:
    n = len(_NAMES)
    follows = d.toy("follow_colour", count) < dependence
    # the same number makes the sky warmer or colder: its tint tells which of the scene's colours the toy has
    tint = (d["sky_hue"] * 3).long().clamp(max=2)[:, None]
    other = (d.toy("palette", count) * 3).long().clamp(max=2)
    which = torch.where(torch.arange(count) == 0, tint, other)
    main = torch.where(follows, _CELL_COLOURS[cell].gather(1, which), (d.toy("colour", count) * n).long())
    step = torch.where(follows, 2 + cell[:, None] % 5, 2 + (d.toy("second", count) * 5).long())
    return main, (main + step) % n


def _yaw(d: _Draws, count: int, dependence: float, cell: Tensor, turn: Tensor, variety: float) -> Tensor:
    """Turn of each toy: the scene's own, along the ground's lines, or any (at variety 0: towards the camera)."""
    own = (torch.where(cell % 2 == 0, 1.0, -1.0) * 0.42)[:, None] + turn[:, None]
    reach = 0.75 + 2.4 * variety
    free = (2 * d.toy("turn", count) - 1) * reach
    jitter = (2 * d.toy("yaw", count) - 1) * (0.12 + 0.5 * variety)
    return torch.where(d.toy("follow_pose", count) < dependence, own + jitter, free)


def _materials(d: _Draws, count: int, dependence: float, cell: Tensor) -> Tensor:
    u = d.toy("material", count)
    free = torch.where(u < 0.45, 0, torch.where(u < 0.85, 1, 2))
    own = torch.where(u < 0.12, 2, torch.where(CELL_SCENE[cell][:, None] % 2 == 0, 0, 1))
    return torch.where(d.toy("follow_material", count) < dependence, own, free)


def _places(d: _Draws, count: int) -> tuple[Tensor, Tensor]:
    """Relations (B, T - 1), and the toys' places (B, T, 2) about their middle."""
    if count == 1:
        return torch.zeros(len(d["cell"]), 0, dtype=torch.long), torch.zeros(len(d["cell"]), 1, 2, dtype=torch.float64)
    first = d.pick("relation1", 4)
    second = (first + 1 + d.pick("relation2", 3)) % 4
    relations = torch.stack([first, second], 1)[:, : count - 1]
    side = torch.where(d["side"] < 0.5, -1.0, 1.0).double()
    wide = d.between("spread", 0.95, 1.15)
    # where the other stands, seen from toy 0
    beside = torch.stack([wide, -wide, side * 0.62, side * 0.62], 1)
    along = torch.tensor([0.0, 0.0, -0.85, 0.95], dtype=torch.float64).expand_as(beside)
    # two depth relations stand on opposite sides
    others = torch.stack([beside.gather(1, relations), along.gather(1, relations)], 2)
    if count == 3:
        both = (first >= 2) & (second >= 2)
        others[:, 1, 0] = torch.where(both, -others[:, 1, 0], others[:, 1, 0])
        one_side = (first < 2) & (second >= 2)  # the third keeps clear of the second
        others[:, 1, 0] = torch.where(one_side, -0.62 * others[:, 0, 0].sign(), others[:, 1, 0])
        other_side = (first >= 2) & (second < 2)
        others[:, 0, 0] = torch.where(other_side, -0.62 * others[:, 1, 0].sign(), others[:, 0, 0])
    places = torch.cat([torch.zeros_like(others[:, :1]), others], 1)
    middle = (places.amax(1, keepdim=True) + places.amin(1, keepdim=True)) / 2
    return relations, places - middle


def _camera(d: _Draws, places: Tensor, variety: float) -> tuple[Tensor, Tensor]:
    pitch = (9.5 + (2 * d["pitch"] - 1) * (1.5 + 4.5 * variety)).deg2rad()
    lens = 0.32 * (1 + 0.3 * variety * (2 * d["lens"] - 1))
    share = 0.61 + 0.04 * (2 * d["near"] - 1) * (1 + 1.6 * variety) - 0.07 * variety
    span, count = places[..., 0].amax(1) - places[..., 0].amin(1), places.shape[1]
    away = 1 / (share * 2 * lens) * (1.0 if count == 1 else ((span + 1.45) * 0.62).clamp(min=1.45))
    pan = (0.03 + 0.22 * variety) * (2 * d["pan_x"] - 1)
    up = 0.54 + (0.02 + 0.1 * variety) * (2 * d["pan_y"] - 1) + 0.04 * (count - 1)
    eye = torch.stack([pan, -away * pitch.cos(), up + away * pitch.sin()], 1)
    zero, one = torch.zeros_like(pitch), torch.ones_like(pitch)
    forward = torch.stack([zero, pitch.cos(), -pitch.sin()], 1)
    right = torch.stack([one, zero, zero], 1) * lens[:, None]
    upward = torch.stack([zero, pitch.sin(), pitch.cos()], 1) * lens[:, None]
    return eye, torch.stack([forward, right, upward], 1)


def _earth(d: _Draws, ground: Tensor) -> Tensor:
    """(B, 2, 3) colours of the ground. Plain and checks take any soft hue, the others vary a little."""
    base = _GROUND_TABLE[ground].view(-1, 2, 3)
    lean = (d["ground_hue"] - 0.5)[:, None, None] * torch.tensor([0.10, 0.0, -0.10], dtype=torch.float64)
    angle = 2 * math.pi * (d["ground_hue"][:, None] + torch.tensor([0.0, 1 / 3, 2 / 3], dtype=torch.float64))
    soft = 0.72 + 0.20 * angle.cos()
    free = torch.stack([soft, soft * 0.9], 1)
    free = torch.where((ground == 1)[:, None, None], torch.stack([torch.full_like(soft, 0.95), soft * 0.95], 1), free)
    tone = 1 + 0.12 * (d["shade"] - 0.5)[:, None, None]
    return linear(torch.where((ground <= 1)[:, None, None], free, (base + lean) * tone).clamp(0, 1))


def _shine(d: _Draws, ground: Tensor) -> Tensor:
    most = torch.tensor([0.30, 0.32, 0.30, WATER, 0.0, 0.0, 0.0], dtype=torch.float64)[ground]
    return torch.where(ground == 3, most, torch.where(d["shiny_ground"] < 0.45, most, 0.0))


def _parts(d, kinds, colours, seconds, materials, yaw, places, ground, variety) -> Parts:
    """Toys' parts, then clutter's, in one list."""
    b, count = kinds.shape
    kind = TABLE.kind[kinds]  # (B, T, P)
    variant = (d.toy("variant", count) * 3).long().clamp(max=2)
    stretch = 1 + (0.08 + 0.10 * variety) * (2 * d.toy("stretch", count) - 1)
    widen = 1 + (0.06 + 0.08 * variety) * (2 * d.toy("widen", count) - 1)
    size = _SIZES[kinds] * (1 + (0.05 + 0.1 * variety) * (2 * d.toy("size", count) - 1))
    cos, sin, zero = yaw.cos(), yaw.sin(), torch.zeros_like(yaw)
    wide, tall = size * widen, size * stretch
    rows = [[cos * wide, -sin * wide, zero], [sin * wide, cos * wide, zero], [zero, zero, tall]]
    stand = torch.stack([torch.stack(row, -1) for row in rows], -2)[:, :, None]  # (B, T, 1, 3, 3)
    sunk = torch.where(ground[:, None] == 3, _SUNK[kinds], 0.0) * size
    offset = torch.cat([places, -sunk[..., None]], -1)[:, :, None]
    matrix = _product(stand, TABLE.matrix[kinds])
    centre = _product(stand, TABLE.centre[kinds][..., None])[..., 0] + offset
    main, second = (_MAIN_TABLE[c] * t for c, t in zip((colours, seconds), _tones(d, count), strict=True))
    palette = torch.cat([torch.stack([main, second], 2), _FIXED_TABLE.expand(b, count, -1, -1)], 2)
    slot = TABLE.colour[kinds]
    colour = linear(palette.gather(2, slot[..., None].expand(-1, -1, -1, 3)).clamp(0, 1))
    coloured = slot < 2
    gloss = torch.maximum(TABLE.gloss[kinds], torch.where(coloured & (materials > 0)[..., None], 0.8, 0.0))
    metal = torch.where(coloured & (materials == 2)[..., None], 1.0, 0.0)
    there = TABLE.there[variant, kinds]
    image = torch.arange(b)[:, None, None].expand_as(kind)
    toy = torch.arange(count)[None, :, None].expand_as(kind)
    fields = (image, toy, kind, TABLE.shape[kinds], matrix, centre, colour)
    fields += (TABLE.pattern[kinds], TABLE.glow[kinds], gloss, metal)
    toys = [f[there] for f in fields]
    clutter = _clutter(d, ground, variety)
    return Parts(*(torch.cat(pair) for pair in zip(toys, clutter, strict=True)))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for small matrices, summed in a fixed order: the bits must not depend on the batch's size."""
    return a[..., 0:1] * b[..., 0:1, :] + a[..., 1:2] * b[..., 1:2, :] + a[..., 2:3] * b[..., 2:3, :]


def _tones(d: _Draws, count: int) -> tuple[Tensor, Tensor]:
    """Factors (B, T, 1) on the main and the second colour, so that shades of a colour vary."""
    return tuple((0.90 + 0.14 * d.toy(name, count))[..., None] for name in ("tone", "second_tone"))


def _clutter(d: _Draws, ground: Tensor, variety: float) -> list[Tensor]:
    """Low lumps on the ground, at the sides and behind; the larger `variety`, the more."""
    many = (variety * d["clutter"] * (MOST_CLUTTER + 1)).long()
    b, k = len(many), torch.arange(MOST_CLUTTER)
    u = {w: torch.stack([d[f"clutter{i}_{w}"] for i in range(MOST_CLUTTER)], 1) for w in ("x", "y", "size", "tone")}
    there = k < many[:, None]
    side = torch.where(u["x"] < 0.5, -1.0, 1.0)
    x = side * (0.75 + 2.2 * (2 * u["x"] % 1))
    y = -0.3 + 3.2 * u["y"]
    size = 0.07 + 0.13 * u["size"] * u["size"]
    centre = torch.stack([x, y, size * 0.35], -1)
    matrix = torch.diag_embed(torch.stack([size * 1.25, size, size * 0.75], -1))
    colour = linear((_CLUTTER_TABLE[ground][:, None] * (0.8 + 0.25 * u["tone"][..., None])).clamp(0, 1))
    zero = torch.zeros(b, MOST_CLUTTER, dtype=torch.float64)
    whole = zero.long()
    image = torch.arange(b)[:, None].expand_as(whole)
    fields = (image, whole - 1, whole, zero - 1, matrix, centre, colour, whole + PLAIN, zero, zero, zero)
    return [f[there] for f in fields]
