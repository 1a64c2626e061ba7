"""The folder of a run: which file is what, and how each is written so that no half file is ever taken for a whole one.

config.json          the recipe, and under "run" what does not change the weights: intervals, parent, options
status.json          the trainer's last report (Status); replaced about once a second
job.json             written by the queue: place in it, process, how it was stopped (see pf_core.training.queue)
metrics.jsonl        one JSON object a line; lines with "total", "mse", ... , lines with "validation"
state.safetensors    everything the next step depends on; resume continues from here
network.safetensors  the averaged weights at that state, or at the end once the run has finished
NAME.safetensors     the same file under the run's name, once it has finished; not if NAME is one of these names
checkpoints/         0001500.safetensors: networks kept during training
samples/             0001500.png: sixteen images; -strip.png and .safetensors: four with their maps (a Trajectory)
orders/              commands: empty files named stop, pause, save or sample, obeyed after the next step
data.json            own pictures only: number, classes, digest; a run resumes with the same pictures only
log.txt, lock, reserve

Folders of the first versions hold latest.safetensors while training and NAME.safetensors when finished. In status.json
and job.json a start time is called "birth". Files may be damaged, half-written or from another version: reading them
raises an InputError that says what is wrong.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from errno import ENOSPC
from pathlib import Path
from typing import Any

from pf_core import bounded, files
from pf_core.data.own import paths
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.registry import parameters
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.state import state_header

COMMANDS = ("stop", "pause", "save", "sample")
FILE_KEYS = {"start_time": "birth"}  # field -> its key in status.json and job.json
MAX_LINE = 2**20  # bytes of a line of the metrics
RESERVE = 64 * 1024  # bytes deleted when the disk is full, so that the last report can be written


@dataclass(frozen=True)
class Status:
    """state: starting, running, paused, stopped, finished or failed, as the trainer last reported it.

    seconds: of training so far, over all training sessions; seconds_left: estimate, None before there is one;
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
    start_time: str | None = None
    updated: float = 0.0


class RunFolder:
    """The files of one run. Lines of metrics.jsonl are appended; every other file is replaced whole."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    @property
    def start_weights(self) -> Path:
        """The network that a fork of a kept one begins with."""
        return self.path / "start.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def weights(self) -> Path:
        """Where the network is written, during and after training."""
        return self.path / checkpoint.NETWORK

    @property
    def named_weights(self) -> Path | None:
        """The finished run's network under the run's name; None if another file has that name."""
        named = self.path / f"{self.path.name}.safetensors"
        return None if self.path.name.casefold() in checkpoint.RESERVED else named

    @property
    def network(self) -> Path | None:
        """The newest network in the folder, of any version; None if there is none."""
        return checkpoint.newest_network(self.path)

    def publish(self) -> None:
        """Link the finished network under the run's name, and delete an older one."""
        (self.path / checkpoint.OLD_NETWORK).unlink(missing_ok=True)
        if named := self.named_weights:
            with suppress(InputError):  # e.g. the name is too long; network.safetensors exists in any case
                files.link(self.weights, named)

    def kept(self, step: int) -> Path:
        """The network kept at a step."""
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
        served = bool(os.environ.get(paths.SERVED))  # by whom it was asked for decides which links it follows
        about = {"intervals": asdict(intervals or Intervals()), "served": served, **about}
        files.write_json(self.path / "config.json", recipe.to_dict() | {"run": about})

    def _config(self) -> dict[str, Any]:
        try:
            config = bounded.read_json(self.path / "config.json")
            if not isinstance(config, dict):
                raise ValueError("not a JSON object")
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
        except InputError as e:
            raise InputError(f"{self.path}/config.json is damaged ({str(e).rstrip('.')}).") from None

    def about(self) -> dict[str, Any]:
        """The part "run" of config.json: created, intervals, parent, device. Raises InputError if there is no run or a
        value is invalid."""
        about = self._config().get("run", {})
        if not isinstance(about, dict):
            raise InputError(f"{self.path}/config.json is damaged (its run is not an object).")
        for name, valid in _ABOUT.items():
            if name in about and not valid(about[name]):
                raise InputError(f"{self.path}/config.json is damaged ({name} is {about[name]!r:.60}).")
        return about

    def intervals(self) -> Intervals:
        """Raises InputError."""
        known = parameters(Intervals)
        return Intervals(**{k: known[k].check(v) for k, v in self.about().get("intervals", {}).items() if k in known})

    # the status

    def status(self) -> Status | None:
        """None if there is none or it cannot be read."""
        return from_file(Status, files.read_json(self.path / "status.json"))

    def write_status(self, status: Status, durable: bool = True) -> None:
        files.write_json(self.path / "status.json", to_file(status), durable)

    def saved_step(self) -> int:
        """The step from which the run resumes; 0 if nothing is saved."""
        step = state_header(self.state).get("step", 0)
        return step if _count(step) else 0

    # metrics

    def append(self, **entry: Any) -> None:
        """Append a line, whole or not at all. Raises InputError if it cannot be written."""
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
        """Delete the lines logged after `step`, a half-written last line and unreadable lines: the resumed run logs
        them again."""
        if self.metrics.exists():
            lines = self.metrics.read_bytes().split(b"\n")
            # a last line without its newline is incomplete
            kept = [line for line in lines[:-1] if _logged_by(line, step)]
            if [*kept, b""] != lines:
                with files.replacing(self.metrics) as temporary:
                    temporary.write_bytes(b"".join(line + b"\n" for line in kept))

    def follow(self, token: str = "") -> tuple[list[dict[str, Any]], str, bool]:
        """(entries logged since `token`, the next token, whether entries read before are void).

        The first call passes "". If a resumed run has rewritten the file since, reading starts at its top again.
        """
        if not self.metrics.is_file():
            return [], "", True
        with open(self.metrics, "rb") as f:
            inode, size = os.fstat(f.fileno()).st_ino, os.fstat(f.fileno()).st_size
            file, _, offset = token.partition(":")
            fresh = file != str(inode) or not offset.isdigit() or int(offset) > size
            start = 0 if fresh else int(offset)
            f.seek(start)
            lines = f.read()
        whole = lines[: lines.rfind(b"\n") + 1]  # an unfinished line is read by the next call
        return [e for e in map(_entry, whole.split(b"\n")) if e], f"{inode}:{start + len(whole)}", fresh

    # commands to the trainer

    def send_command(self, command: str) -> None:
        files.touch(self.path / "orders" / command)

    def withdraw(self, *commands: str) -> None:
        for name in commands:
            (self.path / "orders" / name).unlink(missing_ok=True)

    def commands(self) -> set[str]:
        try:
            return {name for name in os.listdir(self.path / "orders") if name in COMMANDS}
        except OSError:
            return set()

    # one trainer at a time

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Lock the run for one trainer. Raises InputError if another running trainer has it."""
        with ExitStack() as held:
            try:
                held.enter_context(files.locked(self.path / "lock", patience=0))
            except TimeoutError:
                raise InputError(f"{self.path} is being trained by another process: stop that one first.") from None
            yield

    def sweep(self) -> None:
        """Delete temporary files of killed writers, and write the reserve for a full disk."""
        for folder in (self.path, self.path / "checkpoints", self.path / "samples"):
            for temporary in folder.glob(".*.tmp*"):
                temporary.unlink(missing_ok=True)
        with suppress(OSError):
            (self.path / "reserve").write_bytes(os.urandom(RESERVE))  # random: no file system can compress or share it

    def give_up_reserve(self) -> None:
        with suppress(OSError):
            (self.path / "reserve").unlink()


def to_file(record: Any) -> dict[str, Any]:
    """A dataclass (Status, Job) as its JSON file holds it."""
    return {FILE_KEYS.get(name, name): value for name, value in asdict(record).items()}


def from_file(kind: type, content: dict[str, Any]) -> Any:
    """The inverse of `to_file`; unknown entries are ignored. None if there are no known ones or a value is invalid."""
    keys = {field.name: FILE_KEYS.get(field.name, field.name) for field in fields(kind)}
    known = {name: content[key] for name, key in keys.items() if key in content}
    with suppress(InputError):
        return bounded.build(kind, known) if known else None
    return None


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1e15


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # False for NaN too


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_number, value))


def _parent(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and isinstance(value.get("run"), str) and _count(value.get("step"))
    )


_ABOUT = {  # entries of config.json's "run" -> whether a value is valid
    "created": lambda v: _number(v) and 0 <= v < 1e11,
    "intervals": lambda v: isinstance(v, dict),
    "parent": _parent,
    "device": lambda v: isinstance(v, str),
    "served": lambda v: isinstance(v, bool),
}


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line of the metrics; None if it cannot be read or a value is invalid."""
    try:
        entry = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not _count(entry.get("step")):
        return None
    return entry if all(_valid_entry(name, value) for name, value in entry.items()) else None


def _valid_entry(name: str, value: Any) -> bool:
    if name == "validation":
        return _numbers(value)
    if name == "calibration":
        return isinstance(value, list) and all(isinstance(part, dict) and _calibrated(part) for part in value)
    return _number(value) or not isinstance(value, int | float)  # a later version may log more


def _calibrated(part: dict[str, Any]) -> bool:
    return (
        all(_numbers(part.get(name)) for name in ("predicted", "real"))
        and len(part["predicted"]) == len(part["real"])
        and _number(part.get("t"))
    )


def _logged_by(line: bytes, step: int) -> bool:
    entry = _entry(line)
    return entry is not None and entry["step"] <= step
