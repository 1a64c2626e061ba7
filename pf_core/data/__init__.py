"""Data sets (`pf_core.types.Dataset`); people's own pictures are in `own`."""

from collections.abc import Mapping
from typing import Any

from pf_core.data.latents import LatentImages
from pf_core.data.own.dataset import Folder
from pf_core.data.shapes import Shapes
from pf_core.data.shards import Shards
from pf_core.data.signs import Signs
from pf_core.data.toybox import Toybox
from pf_core.registry import Registry

DATASETS = Registry("data set", [Shapes, Toybox, Folder, LatentImages, Signs, Shards])


def size_of(settings: Mapping[str, Any]) -> int | tuple[int, int] | None:
    """A data set's `size`, as far as its settings say it; nothing is read."""
    size, aspect = settings.get("size"), settings.get("aspect", 1)
    return size if size is None or aspect == 1 else (size, size * aspect)
