"""Edits on their way from the page to a run: what a person painted, pictures brought along, and what is allowed."""

import secrets
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pf_core.data import DATASETS
from pf_core.data.own import image_io as pictures
from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.sampling.edits import MAX_EDITS
from pf_core.sampling.selections import own_data

MAX_PICTURES, MAX_BYTES = 256, 64 * 2**20


class Pictures:
    """Pictures that people brought, in a network's space, under unguessable ids; the oldest goes first."""

    def __init__(self, most: int = MAX_PICTURES, most_bytes: int = MAX_BYTES):
        self.most, self.most_bytes = most, most_bytes
        self._held: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def add(self, x: Tensor) -> str:
        """x: (C, H, W)."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._held[name] = x
            while len(self._held) > self.most or sum(x.nbytes for x in self._held.values()) > self.most_bytes:
                del self._held[next(iter(self._held))]
        return name

    def get(self, name: Any) -> Tensor:
        """Raises InputError for one that is not here (any more)."""
        found = self._held.get(name) if isinstance(name, str) else None
        if found is None:
            raise InputError("That picture is not kept here any more: bring it again.")
        return found

    def read(self, path: str, bundle: Bundle, height: int, width: int) -> str:
        """A picture file, made safe and of the network's size, as an id. Raises InputError."""
        image = pictures.read(path, height, width, name=Path(path).name)
        return self.add(bundle.codec.encode(image[None].to(bundle.device))[0].float().cpu())

    def stack(self, names: list[str]) -> Tensor | None:
        """(E, C, H, W), or None for none. Raises InputError, also where they are of different networks' sizes."""
        found = [self.get(name) for name in names]
        if len({x.shape for x in found}) > 1:
            raise InputError("Those pictures were brought for networks of different sizes: bring them again.")
        return torch.stack(found) if found else None


def used(edits: list[dict[str, Any]], names: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The same edits with their pictures numbered from 0, and only the pictures that they paint with."""
    numbers = sorted({e["source"]["given"] for e in edits if _given(e)})
    if numbers and numbers[-1] >= len(names):
        raise InputError("An edit paints with a picture that did not come: bring it again.")
    new = {old: k for k, old in enumerate(numbers)}
    return (
        [e | {"source": {"given": new[e["source"]["given"]]}} if _given(e) else e for e in edits],
        [names[old] for old in numbers],
    )


def _given(edit: dict[str, Any]) -> bool:
    return isinstance(edit.get("source"), dict) and "given" in edit["source"]


def allowed(edits: list[dict[str, Any]], bundle: Bundle) -> None:
    """Raises InputError for edits that the app does not run: too many, or with data that a settings' text (a folder's
    place, say) would fetch from the server's disk. The network's own data set is known to the server already."""
    if len(edits) > MAX_EDITS:
        raise InputError(f"A run has at most {MAX_EDITS} edits, not {len(edits)}.")
    for edit in edits:
        source = edit.get("source")
        if not isinstance(source, dict) or "dataset" not in source:
            continue
        entry = DATASETS[source["dataset"]]
        if not any(k.type is str and not k.knob.choices for k in entry.knobs.values()):
            continue
        if own_data(bundle) != {"dataset": entry.name, "settings": entry.settings(source.get("settings") or {})}:
            raise InputError(f"The app paints with images of {bundle.name}'s own data only: upload a picture instead.")
