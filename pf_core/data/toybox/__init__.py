"""`toybox`: an endless data set of ray-traced toys in twelve classes, whose scene predicts the toy.

    data = Toybox(size=64, dependence=0.9, variety=0.3)
    sample = data.batch(range(8))
    sample.images, sample.labels, sample.captions, sample.regions, sample.boxes

Image i depends on (series, i) alone: uniform numbers give the scene (scene.py), made of parts (toys.py), which are
ray-traced (render.py, primitives.py) in front of a sky and a ground (ground.py). Pixels are whole grey levels, so
images rendered ahead (cache.py) are the same bits. `captioned` pictures have 1 to `toys` toys, captions in many
wordings, and combinations of class and colour that training never sees (captioned.py); prompts.py has prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core.data.splits import repeated
from pf_core.data.toybox import captioned as captioned_scenes
from pf_core.data.toybox import captions as wordings
from pf_core.data.toybox.cache import Cache
from pf_core.data.toybox.render import REGIONS, Picture, trace
from pf_core.data.toybox.scene import COLUMNS, GROUNDS, RELATIONS, Scene, build
from pf_core.data.toybox.toys import CLASSES, COLOURS
from pf_core.registry import Knob

VERSION = 1  # of the pixels: raised whenever they change
CAPTIONED_VERSION = 1  # the same of captioned pictures, and of which combinations are held out


@dataclass(frozen=True)
class Attributes:
    """The true contents of each image: (B,) of the image or of its first toy, (B, T) of all toys. Indices into CLASSES,
    COLOURS, MATERIALS, GROUNDS, SKIES, SCENES, RELATIONS (scene.py, toys.py); -1 for toys that are not there."""

    toy: Tensor  # the class
    colour: Tensor  # its main colour
    material: Tensor
    yaw: Tensor  # radians
    ground: Tensor
    sky: Tensor
    scene: Tensor
    azimuth: Tensor  # of the sun, radians: 0 behind the camera, positive to the right
    elevation: Tensor
    toys: Tensor
    colours: Tensor
    seconds: Tensor  # second colours
    materials: Tensor
    relations: Tensor  # (B, T - 1): toy 0 is RELATIONS[...] toy 1, 2
    places: Tensor  # (B, T, 2): where toys stand in units, x to the right, y away


class Sample:
    """images: (B, 3, S, S) in [-1, 1], grey levels k as 2 k / 255 - 1. Annotations are computed when they are asked
    for."""

    def __init__(
        self, images: Tensor, scene: Scene, picture: Picture | None, plan: captioned_scenes.Plan | None = None
    ):
        self.images, self._scene, self._picture, self._plan = images, scene, picture, plan

    @property
    def labels(self) -> Tensor:
        """(B,) class indices of the first toys."""
        return self._scene.toys[:, 0]

    @property
    def captions(self) -> list[str]:
        """A sentence an image."""
        return _captions(self._scene, self._plan)

    @cached_property
    def attributes(self) -> Attributes:
        s = self._scene
        first = {"toy": s.toys[:, 0], "colour": s.colours[:, 0], "material": s.materials[:, 0], "yaw": s.yaw[:, 0]}
        first["places"] = s.feet[..., :2]
        rest = {f.name: getattr(s, f.name) for f in fields(Attributes) if f.name not in first}
        return Attributes(**first, **rest)

    @property
    def regions(self) -> Tensor:
        """(B, S, S) indices into REGIONS."""
        return self._seen.regions

    @property
    def boxes(self) -> Tensor:
        """(B, T, 4) left, top, right, bottom of the visible part of each toy, in pixels; all 0 for a hidden toy."""
        toys = self._seen.toys
        return torch.stack([_box(toys == k) for k in range(self._scene.toys.shape[1])], 1)

    @property
    def _seen(self) -> Picture:
        if self._picture is None:  # the images came from the cache
            self._picture = trace(self._scene, self.images.shape[-1])
        return self._picture


class Toybox:
    """Ray-traced toys, twelve classes.

    One to three toys on a ground under a sky, with shadows and mirror images. `dependence` sets how strongly the scene
    determines the toy. Image i depends on (series, i) alone.
    """

    name = "toybox"
    names = list(CLASSES)
    channels = 3
    # what a judge names: the class, and fields of Attributes
    heads = {"toy": CLASSES, "colour": tuple(COLOURS), "ground": GROUNDS}
    relations = RELATIONS
    regions, easy, hard = REGIONS, ("sky", "ground"), ("object", "outline")

    def __init__(
        self,
        *,
        size: Annotated[int, Knob(16, 512, "side in pixels")] = 64,
        variety: Annotated[float, Knob(0.0, 1.0, "0 calm .. 1 wild: camera, pose, textures, clutter")] = 0.3,
        dependence: Annotated[float, Knob(0.0, 1.0, "how strongly the scene determines the toy; 0: not at all")] = 0.9,
        toys: Annotated[int, Knob(1, 3, "number of toys in a picture; captioned: the most")] = 1,
        captioned: Annotated[bool, Knob(help="for text: 1 to `toys` toys, many wordings, held-out colours")] = False,
        series: Annotated[int, Knob(0, 2**31 - 1, "which endless series of images")] = 0,
        count: Annotated[int, Knob(0, 2**31 - 1, "only the first so many images, over and over; 0: endless")] = 0,
    ):
        self.size, self.variety, self.dependence, self.toys = size, float(variety), float(dependence), toys
        self.series, self.count, self.captioned = series, count, captioned
        named = {"size": size, "variety": self.variety, "dependence": self.dependence, "toys": toys, "series": series}
        named |= {"captioned": CAPTIONED_VERSION} if captioned else {}
        self.cache = Cache(named | {"version": VERSION}, size)

    def __len__(self) -> int:
        return self.count or 2**31  # as good as endless

    @property
    def facts(self) -> dict[str, Any]:
        """For a run's records: the number of images, and a digest that changes with the pixels' VERSION."""
        captioned = f", captioned {CAPTIONED_VERSION}" if self.captioned else ""
        return {"pictures": len(self), "digest": f"toybox {VERSION}{captioned}"}

    def batch(self, indices: range | list[int], labels: Tensor | None = None) -> Sample:
        """The images with these indices. labels: (B,) classes of the first toys; all else stays the same. `count`
        repeats what is trained on alone: images from HELD_OUT on are always new."""
        wanted = repeated(indices, self.count)
        scene, plan = self._planned(wanted, labels)
        levels, picture = self.cache.read(wanted) if labels is None else None, None
        if levels is None:
            picture = trace(scene, self.size)
            levels = picture.levels
        return Sample(torch.as_tensor(levels).float().mul_(2 / 255).sub_(1), scene, picture, plan)

    def scenes(self, indices: list[int], labels: Tensor | None = None) -> Scene:
        """The scenes of these images, for `render.trace` on another device or at another size."""
        return self._planned(indices, labels)[0]

    def draws(self, indices: list[int]) -> Tensor:
        """(B, len(COLUMNS)) the uniform numbers, float64, from which these images come."""
        return torch.from_numpy(np.stack([_uniforms(self.series, i) for i in indices]))

    def captions_of(self, indices: range | list[int]) -> list[str]:
        """The captions of the images with these indices; nothing is drawn."""
        return _captions(*self._planned(repeated(indices, self.count)))

    def vocabulary(self) -> list[str]:
        """Phrases that hold every word of any caption or prompt."""
        return wordings.vocabulary()

    def _planned(self, indices: list[int], labels: Tensor | None = None) -> tuple[Scene, captioned_scenes.Plan | None]:
        draws = self.draws(indices)
        if self.captioned:
            return captioned_scenes.scenes(draws, indices, self.toys, self.dependence, self.variety, labels)
        return build(draws, self.toys, self.dependence, self.variety, labels), None

    def render_ahead(self, count: int) -> Iterator[int]:
        """Render images 0 .. count - 1 into the cache; yields the number of images in it so far. Raises InputError if
        the disk is too full."""
        return self.cache.fill(count, lambda some: trace(self.scenes(list(some)), self.size).levels.numpy())


def _captions(scene: Scene, plan: captioned_scenes.Plan | None) -> list[str]:
    return wordings.captions(scene) if plan is None else wordings.varied(scene, plan)


def _uniforms(series: int, index: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[series, index])).random(len(COLUMNS))


def _box(mask: Tensor) -> Tensor:
    """(B, S, S) bool -> (B, 4) left, top, right, bottom; all 0 where nothing is set."""
    columns, rows = mask.any(1), mask.any(2)
    size = mask.shape[-1]
    ends = [columns.long().argmax(1), rows.long().argmax(1)]
    ends += [size - columns.flip(1).long().argmax(1), size - rows.flip(1).long().argmax(1)]
    return torch.where(mask.flatten(1).any(1)[:, None], torch.stack(ends, 1), 0)
