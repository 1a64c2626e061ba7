"""The judge that reads scenes: which toys of which colours stand where, by a map of centres (as CenterNet, Zhou et al.,
2019), and on what ground."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from pf_core.data.toybox.prompts import related_as
from pf_core.data.toybox.scene import GROUNDS, MOST_TOYS
from pf_core.data.toybox.toys import CLASSES, COLOURS

CELL = 4  # pixels, a side of the map's cells
SEEN = 4  # pixels: a toy of which less is visible, to a side, counts as hidden
PEAK = 0.4  # least height of a centre
FAR = 12  # pixels: a found toy further from a true one is another
_SPREAD = 0.8  # cells, of a centre's hill
_NEAR = 1.5  # cells: how far from a centre a toy's attributes are learned
_PARTS = (1, len(CLASSES), len(COLOURS), 2)  # of the map: centre, class, colour, place


@dataclass(frozen=True)
class Found:
    """A toy in a picture: toy, colour: indices into CLASSES, COLOURS; place: x to the right, y away, in units of the
    world; centre: column, row in pixels; score: height of its centre in the map, PEAK to 1."""

    toy: int
    colour: int
    place: tuple[float, float]
    centre: tuple[float, float]
    score: float


@dataclass(frozen=True)
class Reading:
    """What a picture shows: toys, the surest first, and the ground, an index into GROUNDS."""

    toys: tuple[Found, ...]
    ground: int


class Checker(nn.Module):
    """Reads (B, 3, size, size) pictures in [-1, 1] of up to three toys; values outside are clamped.

    A small U-Net gives, for each cell of 4 x 4 pixels, whether a toy's centre (of its visible part) lies there, and
    which toy, in which colour, at which place in the world it is.
    """

    kind = "scenes"
    mirrors = True

    def __init__(self, size: int, width: int = 32):
        super().__init__()
        self.size, self.width = size, width
        w = width
        self.stem = nn.ModuleList([_Conv(3, w, 2), _Conv(w, 2 * w, 2), _Conv(2 * w, 2 * w)])
        self.deep = nn.ModuleList([_Conv(2 * w, 4 * w, 2), _Conv(4 * w, 4 * w), _Conv(4 * w, 4 * w)])
        self.back = nn.Conv2d(4 * w, 2 * w, 1)
        self.late = _Conv(2 * w, 2 * w)
        self.head = nn.Conv2d(2 * w, sum(_PARTS), 1)
        self.ground = nn.Linear(4 * w, len(GROUNDS))
        nn.init.constant_(self.head.bias[:1], -3.0)  # few cells have a centre

    @classmethod
    def of(cls, field: Any, width: int) -> "Checker":
        return cls(field.settings["size"], width)

    @classmethod
    def check(cls, dataset: type) -> bool:
        """Can this judge a data set?"""
        return hasattr(dataset, "relations")

    @staticmethod
    def covers(field: Any) -> dict[str, tuple[float, float]]:
        """Captioned pictures have 1 to `toys` toys: who knows those of three knows those of two."""
        return {"toys": (1, field.settings["toys"])} if field.settings["captioned"] else {}

    @property
    def shape(self) -> dict[str, Any]:
        return {"size": self.size, "width": self.width}

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(maps (B, 23, size / 4, size / 4), ground (B, 7))."""
        h = images.clamp(-1, 1)
        for conv in self.stem:
            h = conv(h)
        deep = self.deep[0](h)
        for conv in self.deep[1:]:
            deep = deep + conv(deep)
        h = h + F.interpolate(self.back(deep), scale_factor=2.0, mode="nearest")
        return self.head(h + self.late(h)), self.ground(deep.mean((2, 3)))

    @staticmethod
    def truth(sample: Any, data: Any) -> dict[str, Tensor]:
        """toys, colours (B, 3), -1 where there is none to see; boxes (B, 3, 4) in pixels; places (B, 3, 2) in units;
        ground (B,); wide (B,), the pictures' width in pixels."""
        a, boxes = sample.attributes, sample.boxes
        lacking = MOST_TOYS - boxes.shape[1]
        boxes, places = (F.pad(v, (0, 0, 0, lacking)) for v in (boxes.float(), a.places.float()))
        toys, colours = (F.pad(v, (0, lacking), value=-1) for v in (a.toys, a.colours))
        hidden = (boxes[..., 2:] - boxes[..., :2]).amin(-1) < SEEN
        toys, colours = (v.masked_fill(hidden, -1) for v in (toys, colours))
        wide = torch.full((len(toys),), float(sample.images.shape[-1]))
        return {"toys": toys, "colours": colours, "boxes": boxes, "places": places, "ground": a.ground, "wide": wide}

    @staticmethod
    def mirrored(truth: dict[str, Tensor], which: Tensor) -> dict[str, Tensor]:
        """The truth of a batch of which these images (B,) are mirrored."""
        boxes, places, wide = truth["boxes"].clone(), truth["places"].clone(), truth["wide"][which, None]
        left, top, right, bottom = boxes[which].unbind(-1)
        boxes[which] = torch.stack([wide - right, top, wide - left, bottom], -1)
        places[which] *= torch.tensor([-1.0, 1.0])
        return truth | {"boxes": boxes, "places": places}

    def loss(self, output: tuple[Tensor, Tensor], truth: dict[str, Tensor]) -> Tensor:
        """CenterNet's focal loss of the centres; near them, weighted by the hill, cross entropies of class and colour
        and the places' distance; the ground's cross entropy."""
        maps, ground = (part.float() for part in output)
        truth = {name: value.to(maps.device) for name, value in truth.items()}
        centre, toy, colour, place = maps.split(_PARTS, 1)
        hill, owner, near = _hills(truth, maps.shape[-1])
        many = (truth["toys"] >= 0).sum().clamp(min=1)
        p, top = centre[:, 0], hill == 1
        sure = F.logsigmoid(p) * (1 - p.sigmoid()) ** 2
        unsure = F.logsigmoid(-p) * p.sigmoid() ** 2 * (1 - hill) ** 4
        loss = -torch.where(top, sure, unsure).sum() / many
        weight = hill[near] / hill[near].sum().clamp(min=1e-6)

        def at(value: Tensor) -> Tensor:  # the map's value (B, C, S, S) in the cells near centres -> (K, C)
            return value.movedim(1, -1)[near]

        def own(name: str) -> Tensor:  # the truth of the toys that these cells belong to
            rows = torch.arange(len(owner), device=owner.device)[:, None, None].expand_as(owner)[near]
            return truth[name][rows, owner[near]]

        for value, name in ((toy, "toys"), (colour, "colours")):
            loss = loss + (F.cross_entropy(at(value), own(name), reduction="none") * weight).sum()
        apart = F.smooth_l1_loss(at(place), own("places"), reduction="none", beta=0.1).sum(1)
        return loss + (apart * weight).sum() + 0.3 * F.cross_entropy(ground, truth["ground"])

    @torch.inference_mode()
    def read(self, images: Tensor, batch: int = 250) -> list[Reading]:
        """What each of any number of pictures shows."""
        device = self.head.weight.device
        parts = [self.logits(part.float().to(device)) for part in images.split(batch)]
        maps, grounds = (torch.cat([part[k] for part in parts]).cpu() for k in (0, 1))
        height = maps[:, :1].sigmoid()
        top = (height == F.max_pool2d(height, 3, 1, 1)) & (height > PEAK)
        found = [[] for _ in maps]
        for image, _, row, column in top.nonzero().tolist():
            found[image].append(_found(maps[image, :, row, column], row, column))
        readings = zip(found, grounds.argmax(1).tolist(), strict=True)
        return [Reading(tuple(sorted(toys, key=lambda f: -f.score)), ground) for toys, ground in readings]

    @staticmethod
    def packed(reading: Reading) -> dict[str, Any]:
        """What `read` says of one picture, as JSON can hold it."""
        return asdict(reading)

    @staticmethod
    def unpacked(packed: dict[str, Any]) -> Reading:
        toys = (f | {"place": tuple(f["place"]), "centre": tuple(f["centre"])} for f in packed["toys"])
        return Reading(tuple(Found(**f) for f in toys), packed["ground"])

    def right(self, images: Tensor, truth: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
        """name -> (hits, of): pictures whose number of toys is right; toys found with the right class, with the right
        colour, where those that were missed count as wrong; relations of the first toy; grounds; pictures in which all
        but the ground is right."""
        totals = np.array([_compared(*each) for each in zip(self.read(images), _rows(truth), strict=True)]).sum(0)
        return {name: (totals[k, 0], totals[k, 1]) for k, name in enumerate(ATTRIBUTES)}


ATTRIBUTES = ("count", "class", "colour", "relation", "ground", "all")


class _Conv(nn.Sequential):
    def __init__(self, a: int, b: int, stride: int = 1):
        super().__init__(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.SiLU())


def _hills(truth: dict[str, Tensor], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, side, side) each: heights, 1 in the cells of centres; the toy with the nearest centre; is that near?"""
    boxes = truth["boxes"]
    cells = ((boxes[..., :2] + boxes[..., 2:]) / 2 / CELL).floor().clamp(0, side - 1)
    axis = torch.arange(side, device=boxes.device)
    across, down = axis - cells[..., :1], axis - cells[..., 1:]  # (B, 3, side)
    squares = across[:, :, None] ** 2 + down[..., None] ** 2
    squares = squares.masked_fill((truth["toys"] < 0)[..., None, None], torch.inf)
    least = squares.min(1)
    return (-least.values / (2 * _SPREAD**2)).exp(), least.indices, least.values <= _NEAR**2


def _found(values: Tensor, row: int, column: int) -> Found:
    centre, toy, colour, place = values.split(_PARTS)
    x, y = ((k + 0.5) * CELL for k in (column, row))
    return Found(int(toy.argmax()), int(colour.argmax()), tuple(place.tolist()), (x, y), float(centre.sigmoid()))


def _rows(truth: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The truth by picture, of the toys that are to be seen."""
    rows = []
    for i in range(len(truth["toys"])):
        there = truth["toys"][i] >= 0
        row = {name: truth[name][i][there].tolist() for name in ("toys", "colours", "places")}
        row["centres"] = ((truth["boxes"][i, :, :2] + truth["boxes"][i, :, 2:]) / 2)[there].tolist()
        rows.append(row | {"ground": int(truth["ground"][i])})
    return rows


def _compared(reading: Reading, row: dict[str, Any]) -> list[tuple[float, float]]:
    """(hits, of) of each of ATTRIBUTES in one picture."""
    many = len(row["toys"])
    own = _matched(reading, row["centres"])
    classes = sum(f is not None and f.toy == toy for f, toy in zip(own, row["toys"], strict=True))
    colours = sum(f is not None and f.colour == colour for f, colour in zip(own, row["colours"], strict=True))
    relations = sum(
        None not in (own[0], f) and related_as(own[0].place, f.place) == related_as(row["places"][0], place)
        for f, place in zip(own[1:], row["places"][1:], strict=True)
    )
    counted = len(reading.toys) == many
    pairs = max(many - 1, 0)
    whole = counted and (classes, colours, relations) == (many, many, pairs)
    ground = reading.ground == row["ground"]
    return [(counted, 1), (classes, many), (colours, many), (relations, pairs), (ground, 1), (whole, 1)]


def _matched(reading: Reading, centres: list[list[float]]) -> list[Found | None]:
    """The found toy at each true centre, None where there is none within FAR pixels."""
    own: list[Found | None] = [None] * len(centres)
    if centres and reading.toys:
        apart = np.hypot(*(np.array(centres)[:, None] - np.array([f.centre for f in reading.toys])).transpose(2, 0, 1))
        for true, found in zip(*linear_sum_assignment(apart), strict=True):
            own[true] = reading.toys[found] if apart[true, found] <= FAR else None
    return own
