"""Patches <-> pixels. This file is the only code that knows how an image is cut into patches."""

from dataclasses import dataclass

from einops import rearrange, repeat
from torch import Tensor

from pf_core.errors import InputError


@dataclass(frozen=True)
class PatchGrid:
    """A `height x width` (latent) image cut into square patches of `patch_size` pixels, counted row by row.

    Raises InputError if a side is not a positive multiple of `patch_size`.
    """

    height: int
    width: int
    patch_size: int

    def __post_init__(self):
        if min(self.height, self.width, self.patch_size) < 1:
            raise InputError(f"Height, width and patch size must be positive, not {self}.")
        if self.height % self.patch_size or self.width % self.patch_size:
            raise InputError(
                f"An image of {self.height}x{self.width} cannot be cut into patches of {self.patch_size} pixels: "
                f"choose sides that are multiples of {self.patch_size}."
            )

    @classmethod
    def of(cls, size: int | tuple[int, int], patch_size: int) -> "PatchGrid":
        """size: a side, or (height, width), as a data set or a network's configuration has it."""
        height, width = (size, size) if isinstance(size, int) else size
        return cls(height, width, patch_size)

    @property
    def rows(self) -> int:
        return self.height // self.patch_size

    @property
    def cols(self) -> int:
        return self.width // self.patch_size

    @property
    def n(self) -> int:
        """Number of patches N."""
        return self.rows * self.cols

    def to_pixels(self, p: Tensor) -> Tensor:
        """(B, N) one value a patch -> (B, 1, H, W), the value spread over the patch's pixels."""
        k = self.patch_size
        return repeat(p, "b (r c) -> b 1 (r i) (c j)", r=self.rows, c=self.cols, i=k, j=k)

    def to_patches(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N), the mean over a patch's pixels and channels."""
        return self.split(x).mean(-1)

    def split(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, patch_size^2 * C), each token laid out (row, column, channel)."""
        k = self.patch_size
        return rearrange(x, "b c (r i) (q j) -> b (r q) (i j c)", r=self.rows, q=self.cols, i=k, j=k)

    def join(self, tokens: Tensor) -> Tensor:
        """(B, N, patch_size^2 * C) -> (B, C, H, W), the inverse of `split`."""
        k = self.patch_size
        return rearrange(tokens, "b (r q) (i j c) -> b c (r i) (q j)", r=self.rows, q=self.cols, i=k, j=k)
