"""What studies share: the held-out images and the noise for a network."""

from typing import Any

from torch import Tensor

from pf_core.data.splits import CHOICES, images_of, seeds_of, take
from pf_core.models.checkpoint import Bundle, data_of, labelled
from pf_core.models.codecs import states_of
from pf_core.registry import Knob

SPLIT = Knob(help="images and seeds: evaluation, to report; search, to choose by", choices=CHOICES)


def looked_at(bundle: Bundle, images: int, split: str) -> tuple[Any, Tensor, Tensor, Tensor]:
    """(sample, x0, x1, y): held-out images of the network's data set; noise of their seeds and the images in the
    network's space, (B, C, H, W) each; classes (B,), the null class where there are none. At most as many as a finite
    set holds out. Raises InputError if none is held out."""
    data = data_of(bundle)
    indices = take(data, images_of(data, split), images)
    sample = data.batch(indices)
    x0 = bundle.source.draw(list(seeds_of(split).first(len(indices))), bundle.shape)
    if labelled(bundle):
        y = bundle.conditioner.of_data(sample.labels, data.names)
    else:
        y = bundle.conditioner.null(len(indices), sample.labels.device)
    return sample, x0, states_of(bundle.codec, data, sample.images), y
