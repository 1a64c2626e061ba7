"""`signs`: an endless data set of signs that read 1 to 6 characters, with captions.

    data = Signs(size=32, aspect=3, variety=0.5)
    sample = data.batch(range(8))
    sample.images, sample.texts, sample.captions, sample.spelt, sample.regions, sample.boxes

Image i depends on (series, i) alone: uniform numbers give the scene (scene.py), whose lengths are in heights of the
picture; letters come from fonts (glyphs.py) and all is drawn with numpy (render.py). Which words are trained on is said
in words.py. Pixels are whole grey levels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core.data.signs import words
from pf_core.data.signs.captions import caption, vocabulary
from pf_core.data.signs.render import REGIONS, render
from pf_core.data.signs.scene import KINDS, Scene, box, build, length_of
from pf_core.data.splits import repeated
from pf_core.errors import InputError
from pf_core.registry import Knob

VERSION = 1  # of the pixels: raised whenever they change
_DRAWS = 32  # uniform numbers an image: more than COLUMNS, so that one more changes no word


@dataclass(frozen=True)
class Attributes:
    """The true contents of each image, (B,) each. Indices into KINDS, NAMES (of colours), FONTS, BUSY, SIDES."""

    kind: Tensor  # the class
    board: Tensor
    letters: Tensor
    font: Tensor
    length: Tensor  # characters
    busy: Tensor
    side: Tensor
    angle: Tensor  # radians, clockwise
    cap: Tensor  # height of the capitals, in heights of the picture


class Sample:
    """images: (B, 3, H, W) in [-1, 1], grey levels k as 2 k / 255 - 1. regions: (B, H, W) indices into REGIONS."""

    def __init__(self, images: Tensor, regions: Tensor, scenes: list[Scene]):
        self.images, self.regions, self._scenes = images, regions, scenes

    @property
    def texts(self) -> list[str]:
        """The words that the signs read."""
        return [s.text for s in self._scenes]

    @property
    def captions(self) -> list[str]:
        """A sentence an image, the word between double quotes."""
        return [caption(s) for s in self._scenes]

    @property
    def spelt(self) -> list[str]:
        """The captions with the word spelt apart: a token a character."""
        return [words.spelt(c) for c in self.captions]

    @property
    def labels(self) -> Tensor:
        """(B,) kinds of signs."""
        return self.attributes.kind

    @cached_property
    def attributes(self) -> Attributes:
        whole = {k: [getattr(s, k) for s in self._scenes] for k in ("kind", "board", "letters", "font", "busy", "side")}
        whole["length"] = [len(s.text) for s in self._scenes]
        real = {k: torch.tensor([getattr(s, k) for s in self._scenes]) for k in ("angle", "cap")}
        return Attributes(**{k: torch.tensor(v, dtype=torch.long) for k, v in whole.items()}, **real)

    @property
    def boxes(self) -> Tensor:
        """(B, 6, 4) left, top, right, bottom of each character, in pixels; all 0 past the word's end."""
        found = torch.zeros(len(self._scenes), words.MOST, 4)
        for i, s in enumerate(self._scenes):
            found[i, : len(s.text)] = torch.from_numpy(box(s, s.word.inks) * self.images.shape[-2])
        return found

    @property
    def box(self) -> Tensor:
        """(B, 4) left, top, right, bottom of the words, in pixels."""
        each = [box(s, s.word.inks) for s in self._scenes]
        ends = [np.concatenate([e[:, :2].min(0), e[:, 2:].max(0)]) for e in each]
        return torch.from_numpy(np.array(ends, np.float32).reshape(-1, 4) * self.images.shape[-2])


class Signs:
    """Signs with words, four kinds.

    A plate, neon sign, chalkboard or cake that reads 1 to 6 characters, with captions, on a scene with an easy and a
    busy part. Words of validation are never trained on. Image i depends on (series, i) alone.
    """

    name = "signs"
    names = list(KINDS)
    channels = 3
    regions, easy, hard = REGIONS, ("background",), ("busy", "letters")

    def __init__(
        self,
        *,
        size: Annotated[int, Knob(16, 256, "height in pixels")] = 32,
        aspect: Annotated[int, Knob(1, 6, "width in heights; 1: square")] = 3,
        variety: Annotated[float, Knob(0.0, 1.0, "0 calm: plates, two fonts, 1 to 3 characters; 1 wild")] = 0.5,
        longest: Annotated[int, Knob(0, words.MOST, "most characters; 0: 3 (calm) to 6 (wild)")] = 0,
        series: Annotated[int, Knob(0, 2**31 - 1, "which endless series of images")] = 0,
        count: Annotated[int, Knob(0, 2**31 - 1, "only the first so many images, over and over; 0: endless")] = 0,
    ):
        self.height, self.aspect, self.variety, self.longest = size, aspect, float(variety), longest
        self.series, self.count = series, count
        self.size = size if aspect == 1 else (size, size * aspect)  # a side, or (height, width)

    def __len__(self) -> int:
        return self.count or 2**31  # as good as endless

    @property
    def facts(self) -> dict[str, Any]:
        """For a run's records: the number of images, and a digest that changes with the pixels' VERSION."""
        return {"pictures": len(self), "digest": f"signs {VERSION}"}

    def batch(self, indices: range | list[int], labels: Tensor | None = None, texts: list[str] | None = None) -> Sample:
        """The images with these indices. labels: (B,) other kinds of signs; texts: B other words for them to read.
        `count` repeats what is trained on alone: images from HELD_OUT on are always new. Raises InputError for a text
        that no sign can read."""
        wanted = repeated(indices, self.count)
        kinds = [None] * len(wanted) if labels is None else [int(k) for k in labels]
        if texts is not None and len(texts) != len(wanted):
            raise InputError(f"{len(wanted)} images need as many texts, not {len(texts)}.")
        read = [None] * len(wanted) if texts is None else [words.checked(t) for t in texts]
        scenes = [self._scene(*one) for one in zip(wanted, kinds, read, strict=True)]
        drawn = [render(s, self.height) for s in scenes]
        shape = (len(drawn), self.height, self.height * self.aspect)
        levels, regions = np.empty((shape[0], 3, *shape[1:]), np.uint8), np.empty(shape, np.uint8)
        for i, (level, region) in enumerate(drawn):
            levels[i], regions[i] = level, region
        return Sample(torch.from_numpy(levels).float().mul_(2 / 255).sub_(1), torch.from_numpy(regions).long(), scenes)

    def texts(self, indices: range | list[int]) -> list[str]:
        """The words that the images with these indices read; nothing is drawn."""
        return [self._draws(i)[1] for i in repeated(indices, self.count)]

    def captions_of(self, indices: range | list[int]) -> list[str]:
        """The captions of the images with these indices, the words not spelt apart; nothing is drawn."""
        return [caption(self._scene(i)) for i in repeated(indices, self.count)]

    def vocabulary(self) -> list[str]:
        """Phrases that hold every word of any caption whose sign's word is spelt apart."""
        return vocabulary()

    def met(self) -> list[str]:
        """Those of them that pictures with these settings show."""
        return vocabulary(KINDS if self.variety else KINDS[:1])

    def _draws(self, index: int) -> tuple[np.ndarray, str]:
        """An image's uniform numbers and its word."""
        rng = np.random.Generator(np.random.Philox(key=[self.series, index]))
        u = rng.random(_DRAWS)
        return u, words.draw(rng, index, length_of(u, self.variety, self.longest))

    def _scene(self, index: int, kind: int | None = None, text: str | None = None) -> Scene:
        u, own = self._draws(index)
        return build(u, text or own, self.aspect, self.variety, kind)
