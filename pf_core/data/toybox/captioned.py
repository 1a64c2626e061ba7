"""Captioned scenes: one to `most` toys in a picture, some alike so that they can be counted, and combinations of class
and colour that no network is trained on.

Held out of training is one colour of each class: of class k (in CLASSES) colour (3 - k) mod 8 (in COLOURS), such as a
green snowman. It is the one such rule under which no toy loses a colour that its own scene prefers. A toy drawn with
it gets the next colour instead in images of TRAINING; every other range of indices keeps it, JUDGE_TRAINING too, as a
judge must read what it judges. A second colour, which no caption names, may be any.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pf_core.data.splits import TRAINING
from pf_core.data.toybox.scene import COLUMNS, Parts, Scene, build
from pf_core.data.toybox.toys import CLASSES, COLOURS

ALIKE = 0.3  # of pictures with several toys: all of one class and colour
ABSENT = -1  # in place of a class or a relation that a picture has not
_AWAY = 1e4  # where toys stand that are not there
_HELD = (3 - torch.arange(len(CLASSES))) % len(COLOURS)  # colours, by class


def held_out(toy: int, colour: int) -> bool:
    """Is this combination of class and colour kept from training?"""
    return int(_HELD[toy]) == colour


HELD_OUT = tuple((name, tuple(COLOURS)[_HELD[k]]) for k, name in enumerate(CLASSES))


@dataclass(frozen=True)
class Plan:
    """What captions need beside the scene: number of toys (B,), whether all are alike (B,) bool, wording (B,) in
    [0, 1)."""

    number: Tensor
    alike: Tensor
    wording: Tensor


def plan(u: Tensor, most: int) -> Plan:
    """u: (B, len(COLUMNS)) uniform numbers."""
    number = 1 + (u[:, COLUMNS["number"]] * most).long().clamp(max=most - 1)
    return Plan(number, (u[:, COLUMNS["alike"]] < ALIKE) & (number > 1), u[:, COLUMNS["wording"]])


def scenes(
    u: Tensor, indices: list[int], most: int, dependence: float, variety: float, labels: Tensor | None = None
) -> tuple[Scene, Plan]:
    """The scenes of u (B, len(COLUMNS)), the uniform numbers of these indices; toys and relations that are not there
    are ABSENT. labels: (B,) classes of the first toys."""
    planned, trained = plan(u, most), torch.tensor([i in TRAINING for i in indices])
    groups = []
    for number in planned.number.unique().tolist():
        rows = (planned.number == number).nonzero()[:, 0]
        recast = _recast(planned.alike[rows], trained[rows])
        own = None if labels is None else labels[rows]
        groups.append((rows, build(u[rows], number, dependence, variety, own, recast)))
    return _merged(groups, most), planned


def _recast(alike: Tensor, trained: Tensor):
    """See `build`: toys like the first where they are alike, and no combination that is held out of training."""

    def recast(kinds: Tensor, colours: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kinds, colours, seconds = (torch.where(alike[:, None], v[:, :1], v) for v in (kinds, colours, seconds))
        other = trained[:, None] & (_HELD[kinds] == colours)
        return kinds, torch.where(other, (colours + 1) % len(COLOURS), colours), seconds

    return recast


def _merged(groups: list[tuple[Tensor, Scene]], most: int) -> Scene:
    """One scene of images that have different numbers of toys."""
    back = torch.cat([rows for rows, _ in groups]).argsort()
    wide = {"toys": most, "colours": most, "seconds": most, "materials": most, "yaw": most, "feet": most}
    wide["relations"] = most - 1

    def field(name: str) -> Tensor:
        values = [getattr(scene, name) for _, scene in groups]
        if name in wide:
            values = [_padded(v, wide[name], _AWAY if name == "feet" else ABSENT) for v in values]
        return torch.cat(values)[back]

    parts = {
        f.name: torch.cat(
            [rows[s.parts.image] if f.name == "image" else getattr(s.parts, f.name) for rows, s in groups]
        )
        for f in fields(Parts)
    }
    return Scene(**{f.name: field(f.name) for f in fields(Scene) if f.name != "parts"}, parts=Parts(**parts))


def _padded(v: Tensor, many: int, value: float) -> Tensor:
    """(B, k, ...) -> (B, many, ...)."""
    return torch.cat([v, v.new_full((len(v), many - v.shape[1], *v.shape[2:]), value)], 1)
