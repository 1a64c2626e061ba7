"""The folder of a run: which file is what, and how each is written so that no half file is ever taken for a whole one.

config.json          the recipe, and under "run" what does not change the weights: intervals, parent, options
status.json          what the trainer last said of itself (Status); replaced whole, about once a second
job.json             what the one who started it knows: place in the queue, process, order (see pf_core.training.queue)
metrics.jsonl        one JSON object a line; lines with "total", "mse", ... , lines with "validation"
state.safetensors    all that the next step depends on; resume goes on from here
latest.safetensors   the averaged weights as of that state; NAME.safetensors once the run has finished
checkpoints/         0001500.safetensors: networks kept on the way
samples/             0001500.png: sixteen images; -strip.png and .safetensors: four with their maps (a Trajectory)
orders/              empty files named stop, pause, save, sample: what the trainer is to do after its next step
data.json            of own pictures: how many, their classes, a digest; a run goes on with the same or not at all
log.txt, lock, reserve
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from errno import ENOSPC
from pathlib import Path
from typing import Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.state import state_header

ORDERS = ("stop", "pause", "save", "sample")
RESERVE = 64 * 1024  # bytes given up on a full disk, so that the last words can be written


@dataclass(frozen=True)
class Status:
    """state: starting, running, paused, stopped, finished or failed, in the trainer's words (a dead one's last).

    seconds: of training so far, all sittings together; seconds_left: estimate, None before there is one;
    saved_step, resumed_from: steps; updated: time.time(); error: why it failed, one sentence.
    """

    state: str
    step: int = 0
    steps: int = 0
    images_per_second: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    saved_step: int = 0
    resumed_from: int = 0
    message: str = ""
    error: str | None = None
    pid: int | None = None
    birth: str | None = None
    updated: float = 0.0


class RunFolder:
    """The files of one run. Lines of metrics.jsonl are appended and flushed; everything else is replaced whole."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def weights(self) -> Path:
        """The finished run's network."""
        return self.path / f"{self.path.name}.safetensors"

    @property
    def latest(self) -> Path:
        """The unfinished run's network."""
        return self.path / "latest.safetensors"

    def kept(self, step: int) -> Path:
        """A network kept on the way."""
        return self.path / "checkpoints" / f"{step:07d}.safetensors"

    def sample(self, step: int, kind: str = ".png") -> Path:
        """kind: .png, -strip.png or .safetensors."""
        return self.path / "samples" / f"{step:07d}{kind}"

    # the recipe

    def start(self, recipe: TrainRecipe, intervals: Intervals | None = None, **about: Any) -> None:
        """Write config.json. Raises InputError if the folder already holds a run."""
        if (self.path / "config.json").exists():
            raise InputError(
                f"{self.path} already holds a run: add --resume to go on with it, or choose another --out."
            )
        about = {"intervals": asdict(intervals or Intervals()), **about}
        files.write_json(self.path / "config.json", recipe.to_dict() | {"run": about})

    def _config(self) -> dict[str, Any]:
        try:
            config = json.loads((self.path / "config.json").read_text())
        except FileNotFoundError:
            raise InputError(f"{self.path} holds no run to resume.") from None
        except (ValueError, OSError) as e:
            raise InputError(f"{self.path}/config.json is damaged ({e}).") from None
        return config if isinstance(config, dict) else {}

    def recipe(self) -> TrainRecipe:
        """Raises InputError."""
        config = {k: v for k, v in self._config().items() if k != "run"}
        try:
            return TrainRecipe.from_dict(config)
        except (ValueError, KeyError, TypeError) as e:
            raise InputError(f"{self.path}/config.json is damaged ({e}).") from None

    def about(self) -> dict[str, Any]:
        """What config.json says of the run besides its recipe. Raises InputError if there is no run."""
        about = self._config().get("run", {})
        return about if isinstance(about, dict) else {}

    def intervals(self) -> Intervals:
        known = {f.name for f in fields(Intervals)}
        return Intervals(**{k: v for k, v in self.about().get("intervals", {}).items() if k in known})

    # what the trainer says

    def status(self) -> Status | None:
        """None if there is none, or none that can be read."""
        said = files.read_json(self.path / "status.json")
        try:
            return Status(**said) if said else None
        except TypeError:
            return None

    def write_status(self, status: Status, durable: bool = True) -> None:
        files.write_json(self.path / "status.json", asdict(status), durable)

    def saved_step(self) -> int:
        """The step that a resumed run goes on from; 0 if nothing is saved."""
        return int(state_header(self.state).get("step", 0))

    # metrics

    def append(self, **entry: Any) -> None:
        """One more line, whole or not at all. Raises InputError if it cannot be written."""
        line = (json.dumps(entry) + "\n").encode()
        try:
            with open(self.metrics, "ab", buffering=0) as f:
                before = f.seek(0, os.SEEK_END)
                written = f.write(line)
                if written < len(line):
                    f.truncate(before)
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
        except OSError as e:
            raise InputError(f"Cannot write {self.metrics}: {e.strerror or e}.") from None

    def forget_after(self, step: int) -> None:
        """Drop metrics logged after `step`, and a half-written last line: the resumed run will log them again."""
        if self.metrics.exists():
            lines = self.metrics.read_text().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _logged_by(line, step)]
            if kept != lines:
                with files.replacing(self.metrics) as temporary:
                    temporary.write_text("".join(kept))

    def follow(self, token: str = "") -> tuple[list[dict[str, Any]], str, bool]:
        """(entries logged since `token`, the next token, whether all that was read before is void).

        The first call is with ""; a token of a file that a resumed run has since rewritten starts again from its top.
        """
        if not self.metrics.exists():
            return [], "", True
        with open(self.metrics, "rb") as f:
            inode, size = os.fstat(f.fileno()).st_ino, os.fstat(f.fileno()).st_size
            of, _, offset = token.partition(":")
            fresh = of != str(inode) or not offset.isdigit() or int(offset) > size
            start = 0 if fresh else int(offset)
            f.seek(start)
            lines = f.read()
        whole = lines[: lines.rfind(b"\n") + 1]  # a line still being written is read next time
        return [e for e in map(_entry, whole.splitlines()) if e], f"{inode}:{start + len(whole)}", fresh

    # orders, from anybody to the trainer

    def order(self, what: str) -> None:
        files.touch(self.path / "orders" / what)

    def withdraw(self, *what: str) -> None:
        for name in what:
            (self.path / "orders" / name).unlink(missing_ok=True)

    def orders(self) -> set[str]:
        try:
            return {name for name in os.listdir(self.path / "orders") if name in ORDERS}
        except OSError:
            return set()

    # who may write

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the run for one trainer. Raises InputError if another has it; a dead one holds nothing."""
        with open(self.path / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"{self.path} is being trained by another process: stop that one first.") from None
            yield

    def sweep(self) -> None:
        """Remove what writers that were killed have left behind, and set aside the reserve for a full disk."""
        for place in (self.path, self.path / "checkpoints", self.path / "samples"):
            for left in place.glob(".*.tmp*"):
                left.unlink(missing_ok=True)
        with suppress(OSError):
            (self.path / "reserve").write_bytes(os.urandom(RESERVE))  # no file system can compress or share it

    def give_up_reserve(self) -> None:
        with suppress(OSError):
            (self.path / "reserve").unlink()


def _entry(line: bytes | str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        return entry if isinstance(entry["step"], int) else None
    except (ValueError, KeyError, TypeError):
        return None


def _logged_by(line: str, step: int) -> bool:
    entry = _entry(line)
    return entry is not None and entry["step"] <= step
