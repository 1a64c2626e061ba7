"""`toybox`: an endless ray-traced world of twelve toys, in which the scene tells the toy."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pf_core.data.toybox.render import REGIONS, render
from pf_core.data.toybox.scene import COLUMNS, build
from pf_core.data.toybox.toys import CLASSES
from pf_core.registry import Knob


@dataclass(frozen=True)
class Sample:
    images: Tensor
    regions: Tensor
    attributes: object

    @property
    def labels(self) -> Tensor:
        return self.attributes.toys[:, 0]


class toybox:  # noqa: N801
    """Ray-traced toys, twelve classes.

    A toy on a ground under a sky; item i depends on (series, i) alone.
    """

    names = list(CLASSES)
    channels = 3

    def __init__(
        self,
        *,
        size: Annotated[int, Knob(16, 512, "side in pixels")] = 64,
        toys: Annotated[int, Knob(1, 3, "how many toys stand in a picture")] = 1,
        dependence: Annotated[float, Knob(0.0, 1.0, "how surely the scene tells the toy; 0: not at all")] = 0.9,
        variety: Annotated[float, Knob(0.0, 1.0, "0 calm .. 1 wild: camera, pose, textures, clutter")] = 0.3,
        series: Annotated[int, Knob(0, 2**31 - 1, "which endless series of images")] = 0,
        count: Annotated[int, Knob(0, 2**31 - 1, "only the first so many images, over and over; 0: endless")] = 0,
    ):
        self.size, self.toys, self.dependence, self.variety = size, toys, dependence, variety
        self.series, self.count = series, count

    def __len__(self) -> int:
        return self.count or 2**31

    def batch(self, indices, labels: Tensor | None = None) -> Sample:
        draws = np.stack([_uniforms(self.series, int(i) % self.count if self.count else int(i)) for i in indices])
        scene = build(torch.from_numpy(draws), self.toys, self.dependence, self.variety, labels)
        picture = render(scene, self.size)
        return Sample(picture.levels.float() * (2 / 255) - 1, picture.regions, scene)


def _uniforms(series: int, index: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[series, index])).random(len(COLUMNS))
