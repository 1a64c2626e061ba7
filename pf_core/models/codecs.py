"""Codecs: between images, (B, 3, H, W) in [-1, 1], and the space a network works in."""

from torch import Tensor

from pf_core.registry import Registry


class pixels:  # noqa: N801
    """Pixels (the network's space is the image)."""

    channels = 3

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, x: Tensor) -> Tensor:
        """Unclamped: what shows it clamps it."""
        return x


CODECS = Registry("codec", [pixels])


def to_uint8(images: Tensor) -> Tensor:
    """(..., 3, H, W) in [-1, 1], clamped -> (..., H, W, 3) uint8 = truncate(clamp(127.5 x + 128)), the paper's rule."""
    return (images.float() * 127.5 + 128).clamp(0, 255).byte().movedim(-3, -1).contiguous()
