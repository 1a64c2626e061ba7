"""Data sets. Each has `names` (classes), `size`, `channels` and `batch(indices) -> Sample`."""

from pf_core.data.shapes import shapes
from pf_core.registry import Registry

DATASETS = Registry("data set", [shapes])
