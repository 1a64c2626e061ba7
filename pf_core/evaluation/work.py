"""A long measurement in pieces: each is computed once and kept, progress is told, and it can be stopped between."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from pf_core import files
from pf_core.evaluation import metrics
from pf_core.evaluation.kept import code_of
from pf_core.models.checkpoint import Bundle
from pf_core.types import PatchTime

_CODE = (  # what pieces come from
    "data", "evaluation", "flow.py", "guidance.py", "models", "patches.py", "registry.py", "samplers", "sampling",
    "timesteps", "types.py",
)  # fmt: skip


class Stopped(Exception):
    """Somebody asked the work to stop; what it computed is kept."""


class Work:
    """folder: where pieces are kept, so that a stopped study goes on and two studies share what both need; None: they
    are not. total: forward passes of an image that the whole will take. tell(done, total) after every piece.
    stop() -> bool, asked after every pass of a batch."""

    def __init__(
        self,
        folder: str | Path | None = None,
        total: int = 0,
        tell: Callable[[int, int], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ):
        self.folder = Path(folder) if folder else None
        self.total, self.done = total, 0
        self.reused = False  # whether a piece was found that something else has made
        self._own: set[str] = set()  # names of the pieces that this has looked for
        self._tell, self._stop = tell, stop
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)

    def piece(self, what: dict[str, Any], make: Callable[[], dict[str, Any]], forwards: int = 0) -> dict[str, Any]:
        """make()'s JSON object, or the one that is kept under `what`: everything it depends on but the code and the
        number of resamples, which are seen to here. Raises Stopped."""
        return self._kept(f"{key(what)}.json", make, files.read_json, files.write_json, forwards)

    def arrays(
        self, what: dict[str, Any], make: Callable[[], dict[str, np.ndarray]], forwards: int = 0
    ) -> dict[str, np.ndarray]:
        """The same of arrays by name, kept bit for bit: of many numbers, which are no JSON that would be read back."""
        return self._kept(f"{key(what)}.safetensors", make, _read, _write, forwards)

    def _kept(
        self,
        name: str,
        make: Callable[[], dict[str, Any]],
        read: Callable[[Path], dict[str, Any]],
        write: Callable[[Path, dict[str, Any]], None],
        forwards: int,
    ) -> dict[str, Any]:
        path = self.folder and self.folder / name
        value = read(path) if path else {}
        self.found(name, bool(value))
        if not value:
            value = make()
            if path:
                write(path, value)
        self.did(forwards)
        return value

    def by_parts(
        self,
        what: dict[str, Any],
        tensors: Sequence[Tensor],
        most: int,
        make: Callable[..., dict[str, np.ndarray]],
        forwards: int,
    ) -> dict[str, np.ndarray]:
        """make(*part) of at most so many rows of the tensors (B, ...) at a time, each kept, joined again; what: all
        that the arrays depend on but which rows; forwards: of one row."""
        parts = zip(*(tensor.split(most) for tensor in tensors), strict=True)
        made = [
            self.arrays(
                what | {"first": k * most, "rows": len(part[0])}, lambda part=part: make(*part), forwards * len(part[0])
            )
            for k, part in enumerate(parts)
        ]
        return {name: np.concatenate([each[name] for each in made]) for name in made[0]}

    def unkept(self) -> "Work":
        """The same work, told and stopped alike, of which nothing is kept."""
        other = Work()
        other.did, other.pause = self.did, self.pause
        return other

    def found(self, name: str, there: bool) -> None:
        """A piece was looked for; there: it was kept."""
        self.reused |= there and name not in self._own
        self._own.add(name)

    def did(self, forwards: int) -> None:
        """Counts forward passes as done. Raises Stopped."""
        self.done += forwards
        if self._tell:
            self._tell(min(self.done, self.total), self.total)
        self.pause()

    def pause(self) -> None:
        """Between two passes: where it can be stopped, and others may have their turn. Raises Stopped."""
        if self._stop and self._stop():
            raise Stopped


UNWATCHED = Work()  # keeps nothing and tells nobody


def _read(path: Path) -> dict[str, np.ndarray]:
    """{} if there is none, or none that can be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return {}


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with files.replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)


def key(what: Any) -> str:
    """The name that something is kept under: another one when the code, or the number of resamples, is another."""
    of = {"what": what, "code": code_of(*_CODE), "resamples": metrics.REPEATS}
    return hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:24]


def mean_pace(planned: Sequence[tuple[Bundle, int]], timed: Callable[[Bundle], float] | None = None) -> float:
    """Seconds of one of all the passes that several networks are to make; planned: (network, its passes); timed: `pace`
    unless it is given."""
    total = sum(count for _, count in planned)
    return sum((timed or pace)(bundle) * count for bundle, count in planned) / max(total, 1)


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
