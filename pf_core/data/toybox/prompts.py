"""Prompts for captioned scenes by category, those of GenEval and T2I-CompBench, and what must be true of a picture.

    prompts("position", 100)[0]      # Prompt("a red mushroom left of a blue house", ...)

Prompt i of a category is the same always, and comes from numbers of EVALUATION images, which no training sees. Every
other prompt with colours has a combination that is held out of training (captioned.py). `related_as` says which
relation two places have: it is how the world itself places toys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pf_core.data.splits import EVALUATION
from pf_core.data.toybox import Toybox
from pf_core.data.toybox.captioned import held_out
from pf_core.data.toybox.captions import listed, related, several, toy
from pf_core.data.toybox.render import trace
from pf_core.data.toybox.scene import COLUMNS, RELATIONS, build
from pf_core.data.toybox.toys import CLASSES, COLOURS
from pf_core.errors import InputError

CATEGORIES = ("single object", "two objects", "counting", "colours", "position", "attribute binding")
_DEEP = 0.43  # of a unit: two toys further apart in depth stand one behind the other, else side by side


@dataclass(frozen=True)
class Wanted:
    """A toy that a prompt asks for: indices into CLASSES and COLOURS; colour None: any."""

    toy: int
    colour: int | None = None


@dataclass(frozen=True)
class Prompt:
    """toys: what the picture must show, in a count (category "counting") just so many; relation: of the first
    to the second, an index into RELATIONS; unseen: it asks for a combination of class and colour that is held out."""

    text: str
    category: str
    toys: tuple[Wanted, ...]
    relation: int | None = None

    @property
    def unseen(self) -> bool:
        return any(w.colour is not None and held_out(w.toy, w.colour) for w in self.toys)


def prompts(category: str, count: int, first: int = 0) -> list[Prompt]:
    """Prompts `first`, first + 1, ... of a category. Raises InputError for an unknown one."""
    if category not in CATEGORIES:
        raise InputError(f"There is no category {category!r:.60} of prompts: they are {', '.join(CATEGORIES)}.")
    return [_prompt(category, i) for i in range(first, first + count)]


def _prompt(category: str, i: int) -> Prompt:
    rng = np.random.Generator(np.random.Philox(key=[2**32 + CATEGORIES.index(category), EVALUATION.first(1, i)[0]]))
    kinds = [int(k) for k in rng.choice(len(CLASSES), 2, replace=False)]
    colours = _colours(rng, kinds, i % 2 == 1)
    number, relation, wording = (int(rng.integers(*ends)) for ends in ((2, 4), (0, len(RELATIONS)), (0, 4)))
    bare = tuple(Wanted(k) for k in kinds)
    full = tuple(Wanted(k, c) for k, c in zip(kinds, colours, strict=True))
    names, coloured = ([toy(w.toy, w.colour) for w in each] for each in (bare, full))
    text, toys, how = {
        "single object": (names[0], bare[:1], None),
        "two objects": (listed(names), bare, None),
        "counting": (several(number, kinds[0]), bare[:1] * number, None),
        "colours": (coloured[0], full[:1], None),
        "position": (related(names[0], relation, names[1], wording), bare, relation),
        "attribute binding": (listed(coloured), full, None),
    }[category]
    return Prompt(text, category, toys, how)


def _colours(rng: np.random.Generator, kinds: Sequence[int], unseen: bool) -> list[int]:
    """Two different colours; the first toy's is held out of training with it, or, not `unseen`, neither's is."""
    while True:
        drawn = [int(c) for c in rng.choice(len(COLOURS), 2, replace=False)]
        if [held_out(k, c) for k, c in zip(kinds, drawn, strict=True)] == [unseen, False]:
            return drawn


def related_as(first: Sequence[float], second: Sequence[float]) -> int:
    """The relation of a toy to another, an index into RELATIONS; both places x (to the right), y (away), in units."""
    across, deep = first[0] - second[0], first[1] - second[1]
    if abs(deep) > _DEEP:
        return RELATIONS.index("behind" if deep > 0 else "in front of")
    return RELATIONS.index("left of" if across < 0 else "right of")


def pictures(data: Toybox, asked: Sequence[Prompt], first: int = 0) -> Tensor:
    """Real pictures that show what prompts ask for, (B, 3, S, S) in [-1, 1], with a data set's size, variety and
    dependence: what a judge of such pictures reads right is the most that it can find in a network's. first: the number
    of the first prompt among those of a study, so that no two pictures have one scene."""
    images = torch.empty(len(asked), 3, data.size, data.size)
    for number in {len(p.toys) for p in asked}:
        rows = [i for i, p in enumerate(asked) if len(p.toys) == number]
        some = [asked[i] for i in rows]
        u = data.draws([EVALUATION.start + first + i for i in rows])
        for row, p in zip(u, some, strict=True):
            if p.relation is not None:
                row[COLUMNS["relation1"]] = (p.relation + 0.5) / len(RELATIONS)
        scene = build(u, number, data.dependence, data.variety, recast=_cast(some))
        images[rows] = trace(scene, data.size).levels.float() * (2 / 255) - 1
    return images


def _cast(asked: list[Prompt]):
    """See `build`: the toys that prompts ask for, of the colours that are drawn where they ask for none."""
    kinds = torch.tensor([[w.toy for w in p.toys] for p in asked])
    wanted = torch.tensor([[-1 if w.colour is None else w.colour for w in p.toys] for p in asked])
    alike = torch.tensor([[p.category == "counting"] for p in asked])

    def recast(_: Tensor, colours: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        colours, seconds = (torch.where(alike, c[:, :1], c) for c in (colours, seconds))
        return kinds, torch.where(wanted < 0, colours, wanted), seconds

    return recast
