"""Codecs: between images, (B, 3, H, W) in [-1, 1], and the space a network works in."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor

from pf_core.errors import InputError
from pf_core.registry import Knob, Registry
from pf_core.types import Codec


@dataclass(frozen=True)
class Pixels:
    """Pixels (the network's space is the image, times a factor).

    Noise keeps its size, so that with a factor under 1 an image is decided later in t: smooth images of many pixels
    are otherwise decided near t = 0.1.
    """

    name = "pixels"
    channels = 3
    scale: Annotated[float, Knob(0.01, 10.0, "factor on pixels; the noise keeps its size")] = 1.0

    def __str__(self) -> str:
        return f"pixels times {self.scale:g}"

    def encode(self, images: Tensor) -> Tensor:
        return images if self.scale == 1 else images * self.scale

    def decode(self, x: Tensor) -> Tensor:
        """Unclamped: what shows it clamps it."""
        return x if self.scale == 1 else x / self.scale


@dataclass(frozen=True)
class Latents:
    """Latents of an autoencoder (the network's space is 1/8 of the image's size).

    Without the autoencoder there is only a preview: the first three channels as colours, in the latents' own size.
    """

    name = "latents"
    channels: Annotated[int, Knob(3, 64, "of the latents")] = 4
    scale: Annotated[float, Knob(0.001, 1000.0, "factor on the autoencoder's output")] = 0.18215

    def encode(self, images: Tensor) -> Tensor:
        raise InputError("This network works on an autoencoder's latents, and images need that autoencoder first.")

    def decode(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> a preview (B, 3, H, W): latents of scale 1 spread over about [-1, 1]."""
        return x[:, :3] / 2


CODECS = Registry("codec", [Pixels, Latents])


def build_codec(name: str, settings: dict[str, Any]) -> Codec:
    """The codec of a header or a recipe. Raises InputError."""
    return CODECS[name].fn(**CODECS[name].settings(settings))


@dataclass(frozen=True)
class Encoded:
    """A data set whose images are a network's states: `batch(...).images` is (B, channels, H, W), encoded; all else is
    the data set's own."""

    data: Any
    codec: Codec

    def batch(self, indices: Sequence[int]) -> Any:
        sample = copy(self.data.batch(indices))
        object.__setattr__(sample, "images", self.codec.encode(sample.images))  # a data set's samples may be frozen
        return sample

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


def to_uint8(images: Tensor) -> Tensor:
    """(..., 3, H, W) in [-1, 1], clamped -> (..., H, W, 3) uint8 = truncate(clamp(127.5 x + 128)), the paper's rule."""
    return (images.float() * 127.5 + 128).clamp(0, 255).byte().movedim(-3, -1).contiguous()
