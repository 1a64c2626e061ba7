"""Data sets (`pf_core.types.Dataset`). Own pictures: `folder`, what `intake` takes in, and where they lie: `places`."""

from pf_core.data.folder import folder
from pf_core.data.shapes import shapes
from pf_core.data.toybox import toybox
from pf_core.registry import Registry

DATASETS = Registry("data set", [shapes, toybox, folder])
