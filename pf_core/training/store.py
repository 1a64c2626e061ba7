"""RunCatalog: reads the runs under one folder; it starts and changes nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.registry import Knob, parameters
from pf_core.training import disk
from pf_core.training.run_dir import RunFolder
from pf_core.training.status import QUEUED, UNREADABLE, Info, read_job, try_read_info


@dataclass(frozen=True)
class Settings:
    """In .settings.json beside the runs, a name that no run can have; settings.json in the first versions."""

    parallel: Annotated[
        int, Knob(1, 16, "trainings at the same time; others wait in the queue", label="Trainings at once")
    ] = 1
    threads: Annotated[int, Knob(1, 256, "CPU threads of a training", label="CPU threads")] = 1
    nice: Annotated[
        int, Knob(0, 19, "niceness: how far a training yields to sampling and other programs", label="Yield to others")
    ] = 19
    disk_gb: Annotated[
        float, Knob(0.01, 100_000, "gigabytes of disk that all runs together may use", label="Disk space")
    ] = 10.0
    max_steps: Annotated[int, Knob(1, 100_000_000, "largest number of steps of a training")] = 1_000_000
    max_batch: Annotated[int, Knob(1, 65536, "largest batch of a training, images a step")] = 1024
    max_millions: Annotated[int, Knob(1, 10_000, "largest network, million parameters")] = 700


class RunCatalog:
    """The runs under `root`, by name."""

    def __init__(self, root: Path | None = None):
        self.root = Path(root or checkpoint.RUNS)

    # listing

    def folder(self, name: str) -> RunFolder:
        """Raises InputError for an invalid name or one that no run has."""
        folder = self.root / checked_name(name)
        if not _holds_run(folder):
            raise InputError(f"There is no run {name!r}.")
        return RunFolder(folder)

    def names(self) -> list[str]:
        """Of all runs with a valid name, the newest first."""
        return [p.name for p in self._folders() if _NAME.fullmatch(p.name)]

    def _folders(self) -> list[Path]:
        """Every folder that holds a run, the newest first."""
        folders = [p for p in self.root.glob("*") if not p.name.startswith(".") and _holds_run(p)]
        return sorted(folders, key=lambda p: (_mtime(p / "config.json"), p.name), reverse=True)

    def all(self) -> list[Info]:
        """All runs as they are now, the newest first; one that cannot be read is UNREADABLE and its message says
        why."""
        infos = []
        for path in self._folders():
            if _NAME.fullmatch(path.name):
                infos.append(try_read_info(RunFolder(path)))
            else:
                infos.append(Info(path.name, UNREADABLE, f"cannot be read: rename its folder. {_RULE}"))
        order = self.queue()
        return [replace(i, place=order.index(i.name) + 1) if i.name in order else i for i in infos]

    def get(self, name: str) -> Info:
        """As in `all`. Raises InputError for a name that no run has."""
        info = try_read_info(self.folder(name))
        return next((i for i in self.all() if i.name == name), info) if info.state == QUEUED else info

    def queue(self) -> list[str]:
        """The names of the runs in the queue, in the order they will start."""
        queued = [(at, name) for name in self.names() if (at := read_job(RunFolder(self.root / name)).queued)]
        return [name for _, name in sorted(queued)]

    def usage(self, name: str | None = None) -> int:
        """Bytes of one run, or of all."""
        return disk.usage(self.folder(name).path if name else self.root)

    # files of a run

    def network(self, name: str, step: int | None = None) -> Path:
        """The file of a run's newest network, or of the one kept at a step. Raises InputError if there is none
        (yet)."""
        self.folder(name)
        return checkpoint.run_file(name, step, self.root)

    def kept(self, name: str) -> list[int]:
        """The steps at which networks were kept."""
        return _steps(self.folder(name).path.glob("checkpoints/*.safetensors"))

    def samples(self, name: str) -> list[int]:
        """The steps at which samples were drawn."""
        return _steps(self.folder(name).path.glob("samples/*.png"))

    def file(self, name: str, kind: str, step: int = 0) -> Path:
        """A file for download or display. kind: sheet, strip, trajectory (of samples at `step`), config, metrics, log,
        state. Raises InputError if there is none."""
        folder = self.folder(name)
        paths = {
            "sheet": folder.sample(int(step)),
            "strip": folder.sample(int(step), "-strip.png"),
            "trajectory": folder.sample(int(step), ".safetensors"),
            "config": folder.path / "config.json",
            "metrics": folder.metrics,
            "log": folder.log,
            "state": folder.state,
        }
        if kind not in paths or not paths[kind].is_file():
            raise InputError(f"{name} has no {kind} of step {step}." if step else f"{name} has no {kind} yet.")
        return paths[kind]

    def packed(self, name: str, most: int = 4 * 2**30) -> Iterator[bytes]:
        """The whole run as a zip, in pieces. Raises InputError, before the first piece, if it is too large."""
        folder = self.folder(name)
        if (size := disk.usage(folder.path)) > most:
            raise InputError(f"{name} takes {size / 2**30:.1f} GB; at most {most / 2**30:.0f} GB can be packed.")
        return disk.packed(folder)

    # settings

    @property
    def settings(self) -> Settings:
        known = parameters(Settings)
        saved = files.read_json(self.root / SETTINGS) or files.read_json(self.root / OLD_SETTINGS)
        try:
            return Settings(**{k: known[k].check(v) for k, v in saved.items() if k in known})
        except InputError:
            return Settings()


SETTINGS, OLD_SETTINGS = ".settings.json", "settings.json"
_NAME = re.compile(checkpoint.RUN_NAME)
_RULE = "A run's name has letters, digits, dots, dashes and underscores, 1 to 64 of them, a letter or digit first."
_RUN_FILES = ("config.json", "status.json", "job.json", "metrics.jsonl", "state.safetensors", checkpoint.NETWORK)


def _holds_run(folder: Path) -> bool:
    """Whether a run was started in this folder, complete or not."""
    return folder.is_dir() and not folder.is_symlink() and any((folder / name).is_file() for name in _RUN_FILES)


def checked_name(name: Any) -> str:
    """Raises InputError unless the name is that of a folder directly under the root."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{str(name)[:80]!r} is not a name for a run: use letters, digits, dots, dashes and underscores, 1 to 64 "
            f"of them, "
            "a letter or digit first."
        )
    return name


def _steps(paths) -> list[int]:
    return sorted(int(p.stem) for p in paths if re.fullmatch(r"[0-9]{1,12}", p.stem))


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
