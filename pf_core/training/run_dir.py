"""The folder of a run: which file is what, and how each is written so that no half file is ever taken for a whole one.

config.json          the recipe, and under "run" what does not change the weights: intervals, parent, options
status.json          what the trainer last said of itself (Status); replaced whole, about once a second
job.json             what the one who started it knows: place in the queue, process, order (see pf_core.training.queue)
metrics.jsonl        one JSON object a line; lines with "total", "mse", ... , lines with "validation"
state.safetensors    all that the next step depends on; resume goes on from here
network.safetensors  the averaged weights as of that state, and of the end once the run has finished
NAME.safetensors     the same file under the run's name, once it has finished; not where NAME is one of these names
checkpoints/         0001500.safetensors: networks kept on the way
samples/             0001500.png: sixteen images; -strip.png and .safetensors: four with their maps (a Trajectory)
orders/              empty files named stop, pause, save, sample: what the trainer is to do after its next step
data.json            of own pictures: how many, their classes, a digest; a run goes on with the same or not at all
log.txt, lock, reserve

Folders of the first versions have latest.safetensors while they run and NAME.safetensors when they have finished.
Whatever is read here may be damaged, half-written or of another version: what it cannot be is said as an InputError.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from errno import ENOSPC
from math import isfinite
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pf_core import bounded, files
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.registry import parameters
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.state import state_header

ORDERS = ("stop", "pause", "save", "sample")
MOST_LINE = 2**20  # bytes of a line of the metrics
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
        """Where the network is written, running and finished."""
        return self.path / checkpoint.NETWORK

    @property
    def named_weights(self) -> Path | None:
        """The finished run's network under the run's name, as scripts ask for it; None if that is another file."""
        named = self.path / f"{self.path.name}.safetensors"
        return None if self.path.name.casefold() in checkpoint.RESERVED else named

    @property
    def network(self) -> Path | None:
        """The newest network that there is, in whatever version's folder."""
        return checkpoint.newest_network(self.path)

    def publish(self) -> None:
        """The network of a run that has finished, under the run's name too, and no older one beside it."""
        (self.path / checkpoint.OLD_NETWORK).unlink(missing_ok=True)
        if named := self.named_weights:
            with suppress(InputError):  # too long a name, say: the network is there in any case
                files.link(self.weights, named)

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
            config = bounded.read_json(self.path / "config.json")
            if not isinstance(config, dict):
                raise ValueError("it is no object")
        except FileNotFoundError:
            raise InputError(f"{self.path} holds no run to resume.") from None
        except (ValueError, OSError) as e:
            raise InputError(f"{self.path}/config.json is damaged ({e}).") from None
        return config

    def recipe(self) -> TrainRecipe:
        """Raises InputError."""
        config = {k: v for k, v in self._config().items() if k != "run"}
        try:
            return TrainRecipe.from_dict(config)
        except (ValueError, KeyError, TypeError) as e:
            reason = f"{e} is missing" if isinstance(e, KeyError) else str(e).rstrip(".")
            raise InputError(f"{self.path}/config.json is damaged ({reason}).") from None

    def about(self) -> dict[str, Any]:
        """What config.json says of the run besides its recipe. Raises InputError if there is no run, or if what it says
        makes no sense."""
        about = self._config().get("run", {})
        if not isinstance(about, dict):
            raise InputError(f"{self.path}/config.json is damaged (its run is no object).")
        for name, right in _ABOUT.items():
            if name in about and not right(about[name]):
                raise InputError(f"{self.path}/config.json is damaged (its {name} is {about[name]!r:.60}).")
        return about

    def intervals(self) -> Intervals:
        """Raises InputError."""
        known = parameters(Intervals)
        return Intervals(**{k: known[k].check(v) for k, v in self.about().get("intervals", {}).items() if k in known})

    # what the trainer says

    def status(self) -> Status | None:
        """None if there is none, or none that can be read."""
        return known_fields(Status, files.read_json(self.path / "status.json"))

    def write_status(self, status: Status, durable: bool = True) -> None:
        files.write_json(self.path / "status.json", asdict(status), durable)

    def saved_step(self) -> int:
        """The step that a resumed run goes on from; 0 if nothing is saved."""
        step = state_header(self.state).get("step", 0)
        return step if _count(step) else 0

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
        """Drop metrics logged after `step`, a half-written last line and lines that cannot be read: the resumed run
        will log them again."""
        if self.metrics.exists():
            lines = self.metrics.read_bytes().split(b"\n")
            kept = [line for line in lines[:-1] if _logged_by(line, step)]  # a last line without its end is half a line
            if [*kept, b""] != lines:
                with files.replacing(self.metrics) as temporary:
                    temporary.write_bytes(b"".join(line + b"\n" for line in kept))

    def follow(self, token: str = "") -> tuple[list[dict[str, Any]], str, bool]:
        """(entries logged since `token`, the next token, whether all that was read before is void).

        The first call is with ""; a token of a file that a resumed run has since rewritten starts again from its top.
        """
        if not self.metrics.is_file():
            return [], "", True
        with open(self.metrics, "rb") as f:
            inode, size = os.fstat(f.fileno()).st_ino, os.fstat(f.fileno()).st_size
            of, _, offset = token.partition(":")
            fresh = of != str(inode) or not offset.isdigit() or int(offset) > size
            start = 0 if fresh else int(offset)
            f.seek(start)
            lines = f.read()
        whole = lines[: lines.rfind(b"\n") + 1]  # a line still being written is read next time
        return [e for e in map(_entry, whole.split(b"\n")) if e], f"{inode}:{start + len(whole)}", fresh

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
        with ExitStack() as held:
            try:
                held.enter_context(files.locked(self.path / "lock", patience=0))
            except TimeoutError:
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


def known_fields(kind: type, said: dict[str, Any]) -> Any:
    """A `kind` (Status, Job) from what its file says; entries that this version does not know are left out. None if
    there is nothing, or a value is of another kind than it should be."""
    hints = get_type_hints(kind)
    known = {k: v for k, v in said.items() if k in hints}
    if any(isinstance(v, bool) or not isinstance(v, _as_said(hints[k])) for k, v in known.items()):
        return None
    if any(isinstance(v, float) and not isfinite(v) for v in known.values()):
        return None
    try:
        return kind(**known) if known else None
    except TypeError:  # a field that has no default is missing
        return None


def _as_said(hint: Any) -> Any:
    """What isinstance takes: JSON writes 3.0 as 3 in some programs, so an int will do for a float."""
    return hint | int if hint is float or float in get_args(hint) else hint


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1e15


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # so NaN is none


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_number, value))


def _parent(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and isinstance(value.get("run"), str) and _count(value.get("step"))
    )


_ABOUT = {  # entries of config.json's "run", and whether a value makes sense
    "created": lambda v: _number(v) and 0 <= v < 1e11,
    "intervals": lambda v: isinstance(v, dict),
    "parent": _parent,
    "device": lambda v: isinstance(v, str),
}


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line of the metrics; None for one that cannot be read, or says what no trainer says."""
    try:
        entry = json.loads(line) if len(line) <= MOST_LINE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not _count(entry.get("step")):
        return None
    return entry if all(_said_well(name, value) for name, value in entry.items()) else None


def _said_well(name: str, value: Any) -> bool:
    if name == "validation":
        return _numbers(value)
    if name == "calibration":
        return isinstance(value, list) and all(isinstance(part, dict) and _calibrated(part) for part in value)
    return _number(value) or not isinstance(value, int | float)  # a later version may say more


def _calibrated(part: dict[str, Any]) -> bool:
    return (
        all(_numbers(part.get(name)) for name in ("predicted", "real"))
        and len(part["predicted"]) == len(part["real"])
        and _number(part.get("t"))
    )


def _logged_by(line: bytes, step: int) -> bool:
    entry = _entry(line)
    return entry is not None and entry["step"] <= step
