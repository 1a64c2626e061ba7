"""Edits on their way from the page to a run: what a person painted, and pictures brought along."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from app.state import AppState
from pf_core.data.own import image_io
from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that a person brought, (C, H, W) in a network's space."""

    x: Tensor
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    busy: bool = False
    pinned: bool = False

    @property
    def bytes(self) -> int:
        return self.x.nbytes


def bring(state: AppState, path: str, bundle: Bundle, height: int, width: int) -> str:
    """A picture file, made safe and of the network's size, as an id. Raises InputError."""
    image = image_io.read(path, height, width, name=Path(path).name)
    return state.pictures.add(Picture(bundle.codec.encode(image[None].to(bundle.device))[0].float().cpu())).id


def stack(state: AppState, names: list[str]) -> Tensor | None:
    """(E, C, H, W), or None for none. Raises InputError, also where they are of different networks' sizes."""
    pictures = [state.pictures.get(name).x for name in names]
    if len({x.shape for x in pictures}) > 1:
        raise InputError("Those pictures were uploaded for networks of different sizes: upload them again.")
    return torch.stack(pictures) if pictures else None


def used(edits: list[dict[str, Any]], pictures: list[T]) -> tuple[list[dict[str, Any]], list[T]]:
    """The same edits with their pictures numbered from 0, and only the pictures, or their ids, that they paint with."""
    numbers = sorted({e["source"]["given"] for e in edits if _given(e)})
    if numbers and numbers[-1] >= len(pictures):
        raise InputError("An edit uses a picture that was not uploaded: upload it again.")
    new = {old: k for k, old in enumerate(numbers)}
    return (
        [e | {"source": {"given": new[e["source"]["given"]]}} if _given(e) else e for e in edits],
        [pictures[old] for old in numbers],
    )


def _given(edit: dict[str, Any]) -> bool:
    return isinstance(edit.get("source"), dict) and "given" in edit["source"]
