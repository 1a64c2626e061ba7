"""Data sets (`pf_core.types.Dataset`); people's own pictures are in `own`."""

from pf_core.data.latents import LatentImages
from pf_core.data.own.dataset import Folder
from pf_core.data.shapes import Shapes
from pf_core.data.shards import Shards
from pf_core.data.signs import Signs
from pf_core.data.toybox import Toybox
from pf_core.registry import Registry

DATASETS = Registry("data set", [Shapes, Toybox, Folder, LatentImages, Signs, Shards])
