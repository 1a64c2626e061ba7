"""What a pass leaves for the next one, so that only some patches need pass: the keys and values of the others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pf_core.types import PatchTime


@dataclass
class Moving:
    """Which patches pass, of (B, N) bool: index (B, M) their numbers, M the most of any image; valid (B, M): images
    with fewer are filled up with patches of which nothing is kept, so that no image depends on its batch."""

    index: Tensor
    valid: Tensor

    @classmethod
    def of(cls, moving: Tensor) -> "Moving":
        most = int(moving.sum(1).max())
        index = moving.int().sort(dim=1, descending=True, stable=True).indices[:, :most]
        return cls(index, moving.gather(1, index))

    def take(self, tokens: Tensor, dim: int = 1) -> Tensor:
        """(B, ..., N, D) -> (B, ..., M, D), N at `dim`."""
        return tokens.gather(dim, self._like(tokens, dim))

    def put(self, kept: Tensor, new: Tensor, dim: int = 1) -> Tensor:
        """kept (B, ..., N, D) with the valid of new (B, ..., M, D) in their places."""
        index, valid = self._like(new, dim), self._expand(self.valid, new, dim)
        return kept.scatter(dim, index, torch.where(valid, new, kept.gather(dim, index)))

    def at(self, t: PatchTime) -> PatchTime:
        """The times of the patches that pass."""
        if t.index is not None:
            return PatchTime(t.levels, t.index.gather(1, self.index), self.index.shape[1])
        shared = t.levels.shape[1] == 1
        return PatchTime(t.levels if shared else t.levels.gather(1, self.index), None, self.index.shape[1])

    def _like(self, tokens: Tensor, dim: int) -> Tensor:
        return self._expand(self.index, tokens, dim)

    @staticmethod
    def _expand(a: Tensor, tokens: Tensor, dim: int) -> Tensor:
        shape = [1] * tokens.ndim
        shape[0], shape[dim] = a.shape
        sizes = list(tokens.shape)
        sizes[dim] = a.shape[1]
        return a.view(shape).expand(sizes)


class Context:
    """Keys and values of every block, (B, heads, N, d), and the last layer's tokens, (B, N, outputs), each patch's from
    its own last pass. `moving`: None while all patches pass."""

    def __init__(self):
        self.blocks: list[tuple[Tensor, Tensor]] = []
        self.out: Tensor | None = None
        self.moving: Moving | None = None
        self._block = 0

    def begin(self, moving: Tensor | None) -> None:
        self.moving, self._block = None if moving is None else Moving.of(moving), 0

    def attend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values that this block's queries see, called block by block with the new ones."""
        if self.moving is not None:
            k, v = (self.moving.put(a, b, 2) for a, b in zip(self.blocks[self._block], (k, v), strict=True))
            self.blocks[self._block] = k, v
        elif len(self.blocks) > self._block:
            self.blocks[self._block] = k, v
        else:
            self.blocks.append((k, v))
        self._block += 1
        return k, v

    def output(self, tokens: Tensor) -> Tensor:
        """All patches' (B, N, outputs), of the new ones."""
        self.out = tokens if self.moving is None else self.moving.put(self.out, tokens)
        return self.out
