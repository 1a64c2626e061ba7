"""Data sets (`pf_core.types.Dataset`); people's own pictures are in `own`."""

from pf_core.data.own.dataset import folder
from pf_core.data.shapes import shapes
from pf_core.data.toybox import toybox
from pf_core.registry import Registry

DATASETS = Registry("data set", [shapes, toybox, folder])
