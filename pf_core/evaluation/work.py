"""A long measurement in pieces: each is computed once and kept, progress is told, and it can be stopped between."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pf_core import files
from pf_core.models.checkpoint import Bundle
from pf_core.types import PatchTime


class Stopped(Exception):
    """Somebody asked the work to stop; what it computed is kept."""


class Work:
    """folder: where pieces are kept, so that a stopped study goes on and two studies share what both need; None: they
    are not. total: forward passes of an image that the whole will take. tell(done, total) after every piece.
    stop() -> bool, asked after every piece."""

    def __init__(
        self,
        folder: str | Path | None = None,
        total: int = 0,
        tell: Callable[[int, int], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ):
        self.folder = Path(folder) if folder else None
        self.total, self.done = total, 0
        self._tell, self._stop = tell, stop
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)

    def piece(self, what: dict[str, Any], make: Callable[[], dict[str, Any]], forwards: int = 0) -> dict[str, Any]:
        """make()'s JSON object, or the one that is kept under `what`: everything it depends on. Raises Stopped."""
        path = self.folder and self.folder / f"{_key(what)}.json"
        value = files.read_json(path) if path else {}
        if not value:
            value = make()
            if path:
                files.write_json(path, value)
        self.did(forwards)
        return value

    def unkept(self) -> "Work":
        """The same work, told and stopped alike, of which nothing is kept."""
        other = Work()
        other.did = self.did
        return other

    def did(self, forwards: int) -> None:
        """Counts forward passes as done. Raises Stopped."""
        self.done += forwards
        if self._tell:
            self._tell(min(self.done, self.total), self.total)
        if self._stop and self._stop():
            raise Stopped


UNWATCHED = Work()  # keeps nothing and tells nobody


def _key(what: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]


def pace(bundle: Bundle, batch: int = 25) -> float:
    """Seconds that one image's forward pass takes here, in a batch: the median of three."""
    x = torch.zeros(batch, *bundle.shape, device=bundle.device)
    times = PatchTime.shared(torch.full((batch,), 0.5, device=bundle.device), bundle.grid.n)
    y = bundle.conditioner.null(batch, bundle.device)
    seconds = []
    with torch.inference_mode():
        for _ in range(3):
            began = time.perf_counter()
            float(bundle.model(x, times, y).v.sum())  # waits for the device
            seconds.append(time.perf_counter() - began)
    return sorted(seconds)[1] / batch
