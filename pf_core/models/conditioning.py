"""Conditions: what a person asks for -> what a network takes, with a null for guidance and for dropped labels."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pf_core.errors import InputError


@dataclass(frozen=True)
class ClassLabels:
    """Classes by name or index. The null class is the last row of the network's table, index `num_classes`.

    With no names, a class is called by its index. An unconditional network has num_classes 0: only the null class.
    Raises InputError unless there is a name for each class, or none at all.
    """

    num_classes: int
    names: list[str] = field(default_factory=list)

    def __post_init__(self):
        if len(self.names) not in (0, self.num_classes):
            raise InputError(f"{len(self.names)} names cannot name {self.num_classes} classes.")
        if not all(isinstance(name, str) for name in self.names):
            raise InputError(f"Class names must be text, not {self.names!r:.60}.")

    def index(self, asked: str | int | None) -> int:
        """The class index of a name, an index, or None (null). Raises InputError if there is no such class."""
        if asked is None:
            return self.num_classes
        text = str(asked).strip()
        if text in self.names:
            return self.names.index(text)
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < self.num_classes:
            return int(text)
        if self.num_classes == 0:
            raise InputError("This network has no classes: leave the label out.")
        indices = f"an index from 0 to {self.num_classes - 1}"
        known = f"{', '.join(self.names)} (or {indices})" if self.names else indices
        raise InputError(f"There is no class {text!r:.60}. Known: {known}.")

    def name(self, index: int) -> str:
        return self.names[index] if index < len(self.names) else "none" if index == self.num_classes else str(index)

    def encode(self, asked: list, device: torch.device | str = "cpu") -> Tensor:
        """(B,) class indices."""
        return torch.tensor([self.index(a) for a in asked], device=device)

    def null(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        return torch.full((batch,), self.num_classes, device=device)

    def drop(self, y: Tensor, probability: float, rng: torch.Generator) -> Tensor:
        """y with each label replaced by the null class with this probability (for classifier-free guidance)."""
        dropped = torch.rand(y.shape, generator=rng, device=rng.device) < probability
        return torch.where(dropped.to(y.device), self.num_classes, y)
