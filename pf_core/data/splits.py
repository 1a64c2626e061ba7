"""Splits: which indices of a data set, and which seeds, serve which purpose. Defined here only.

Training uses TRAINING; nothing is trained on indices from HELD_OUT on. Choices (probe_gain along a training, guidance,
recommended settings) use SEARCH images and SEARCH_SEEDS; reported numbers use EVALUATION images and REPORTED_SEEDS, so
that no reported number is measured on data by which something was chosen.

    data.batch(take(data, SEARCH, 200)).images        # 200 images to choose by
    data.batch(take(data, EVALUATION, 500)).images    # 500 images for a reported number
    SEARCH_SEEDS.first(200), REPORTED_SEEDS.first(1000)

A finite set (own pictures) has one held-out share, a tenth unless told otherwise, which serves every purpose but
training: `take` gives at most as many as there are. A data set whose numbers were published before these splits
existed may name, as `published`, the range that they were measured on: `Shapes` does, so that its studies keep their
images. Those begin with the images of VALIDATION; nothing was ever chosen by them but the recipe of the training.
The judge that was shipped first (checkpoints/judges/shapes) was trained on TRAINING's first images, all later ones on
JUDGE_TRAINING.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pf_core.errors import InputError


@dataclass(frozen=True)
class Split:
    """Whole numbers from `start` up to, not including, `stop`: indices of images or seeds."""

    name: str
    start: int
    stop: int

    def first(self, count: int, skip: int = 0) -> range:
        """`count` of them, the first `skip` left out. Raises InputError if there are not so many."""
        if not 0 <= skip <= skip + count <= self.stop - self.start:
            raise InputError(
                f"{self.name} has {self.stop - self.start:,} numbers: ask for fewer than {skip + count:,}."
            )
        return range(self.start + skip, self.start + skip + count)

    def __contains__(self, number: int) -> bool:
        return self.start <= number < self.stop


HELD_OUT = 2**31  # of a data set's indices: from here on nothing is trained on (by generators)
_Q = 2**28

TRAINING = Split("training", 0, HELD_OUT)
VALIDATION = Split("validation", HELD_OUT, HELD_OUT + _Q)  # the loss that is watched while training
SEARCH = Split("search", HELD_OUT + _Q, HELD_OUT + 2 * _Q)
EVALUATION = Split("evaluation", HELD_OUT + 2 * _Q, HELD_OUT + 4 * _Q)
JUDGE_TEST = Split("judge test", 3 * 2**30, 3 * 2**30 + 50_000)  # and the real images that distances are taken to
REAL = Split("real", 3 * 2**30 + 50_000, 3 * 2**30 + _Q)  # real images in the place of a network's
JUDGE_TRAINING = Split("judge training", 3 * 2**30 + _Q, 3 * 2**30 + 2 * _Q)
SPLITS = (TRAINING, VALIDATION, SEARCH, EVALUATION, JUDGE_TEST, REAL, JUDGE_TRAINING)
PUBLISHED = Split("evaluation", HELD_OUT, HELD_OUT + _Q)  # see above

# Below 2**32: torch's CPU generator takes the low 32 bits of a seed alone, so greater ones repeat the noise of these.
REPORTED_SEEDS = Split("reported seeds", 0, 2**31)
SEARCH_SEEDS = Split("search seeds", 2**31, 2**32)

CHOICES = ("evaluation", "search")  # of what measures networks: to report, or to choose by


def images_of(data: Any, split: str) -> Split:
    """The range of a data set that "evaluation" or "search" looks at."""
    return SEARCH if _searching(split) else getattr(data, "published", EVALUATION)


def seeds_of(split: str) -> Split:
    """The seeds that go with it."""
    return SEARCH_SEEDS if _searching(split) else REPORTED_SEEDS


def references_of(split: str) -> Split:
    """The real images that distances are taken to."""
    return SEARCH if _searching(split) else JUDGE_TEST


def _searching(split: str) -> bool:
    if split not in CHOICES:
        raise InputError(f"split must be one of {', '.join(CHOICES)}, not {split!r:.60}.")
    return split == "search"


def take(data: Any, split: Split, count: int) -> range:
    """Indices of `count` images of a split; of a finite set at most as many as are held out. Raises InputError if
    none is."""
    held = getattr(data, "held", None)
    if held == 0 and split is not TRAINING:
        raise InputError(
            "None of these pictures is held out, so nothing can be measured on pictures that were not trained on."
        )
    return split.first(count if held is None else min(count, held))


def repeated(indices: Iterable[int], count: int) -> list[int]:
    """Indices of an endless data set of which only the first `count` images are trained on, over and over; 0: all.
    Those that are held out are never among them."""
    return [int(i) % count if count and i < HELD_OUT else int(i) for i in indices]
