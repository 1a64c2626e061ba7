"""Judges as files, chosen by what they say and were trained on: kind, data set, image size and ranges of settings."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pf_core import files
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.evaluation.judges.kinds import KINDS
from pf_core.evaluation.judges.network import Judge
from pf_core.registry import Entry

FOLDER = Path(__file__).resolve().parents[3] / "checkpoints" / "judges"
HEADER = "patch_forcing_judge"
ALIKE = ("series", "count")  # settings that choose images, and not what they look like


@dataclass(frozen=True)
class Known:
    """What a judge was trained on: images of a data set, `size` pixels wide, with settings inside `ranges` (name ->
    lowest and highest) and otherwise equal to `settings`; kind: what it says of them, one of KINDS."""

    name: str
    dataset: str
    size: int
    settings: dict[str, Any]
    ranges: dict[str, tuple[float, float]]
    kind: str = "classes"

    @classmethod
    def of(cls, name: str, record: dict[str, Any]) -> "Known":
        """From a header. The first judge's header gives only the settings of `shapes`."""
        dataset, ranges = record.get("dataset", "shapes"), record.get("ranges", {})
        settings = DATASETS[dataset].settings(record["data"])
        ranges = {k: (v[0], v[1]) for k, v in ranges.items()}
        return cls(name, dataset, int(settings["size"]), settings, ranges, record.get("kind", "classes"))

    def fits(self, dataset: str, size: int, settings: dict[str, Any]) -> bool:
        return (self.dataset, self.size) == (dataset, size) and all(
            self._allows(k, v) for k, v in settings.items() if k not in (*ALIKE, "size")
        )

    def _allows(self, knob: str, value: Any) -> bool:
        if knob in self.ranges:
            return self.ranges[knob][0] <= value <= self.ranges[knob][1]
        return knob not in self.settings or value == self.settings[knob]

    @property
    def breadth(self) -> float:
        return sum(high - low for low, high in self.ranges.values())

    def __str__(self) -> str:
        ranges = ", ".join(f"{k} {low:g} to {high:g}" for k, (low, high) in self.ranges.items())
        free = [k for k in self.settings if k not in (*ALIKE, "size") and k not in self.ranges]
        rest = ", ".join(f"{k} {self.settings[k]}" for k in free)
        about = ", ".join(a for a in (ranges, rest) if a)
        return f"`{self.dataset}` of {_extent(self.size, self.settings)}" + (f" ({about})" if about else "")


def _extent(height: int, settings: dict[str, Any]) -> str:
    """Width and height of pictures, in words."""
    return f"{height * settings.get('aspect', 1)}x{height}"


def known() -> Iterator[tuple[Known, Path]]:
    """Name -> what it was trained on, of all judges here; unreadable files are left out."""
    for path in sorted(FOLDER.glob("*.safetensors")):
        try:
            yield Known.of(path.stem, _open(path)[0]), path
        except InputError:
            continue


def find(dataset: str, settings: dict[str, Any], size: int | None = None, kind: str = "classes") -> Path:
    """The file of the judge of a kind for a data set's images with these settings; of several, the most specific.
    size: height in pixels. Raises InputError if there is none."""
    entry = DATASETS[dataset]
    settings = entry.settings(settings)
    size = settings.get("size") if size is None else size
    all_known = [(k, path) for k, path in known() if k.kind == kind]
    fitting = [(k.breadth, k.name, path) for k, path in all_known if k.fits(dataset, size, settings)]
    if fitting:
        return min(fitting)[2]
    can = KINDS[kind].check(entry.fn)
    chosen = {k: v for k, v in settings.items() if can and k not in (*ALIKE, "size")}
    asked = ", ".join(f"{k} {v}" for k, v in chosen.items())
    here = "; ".join(str(k) for k, _ in all_known) or "none"
    what = f"`{dataset}` of {_extent(size, settings)}" + (f" ({asked})" if asked else "")
    hint = f" Train one: `{_command(entry, chosen, size, kind)}`." if can else ""
    raise InputError(f"No judge knows {what}. The judges here know: {here}.{hint}")


def _command(entry: Entry, settings: dict[str, Any], size: int, kind: str) -> str:
    """What to type for a judge of a data set with these settings."""
    flags = [] if kind == "classes" else ["--kind", kind]
    for name, value in settings.items():
        if value != entry.knobs[name].default:
            flags += [entry.knobs[name].flag, str(value).lower()]
    name = "-".join([entry.name, kind, str(size), *(f"{k}-{v}".lower() for k, v in settings.items())])
    out = ["--size", str(size), "--out", str(Path("checkpoints", "judges", f"{name}.safetensors"))]
    return shlex.join(["python", "-m", "pf_core", "judge", "--dataset", entry.name, *flags, *out])


def save(path: Path, judge: Judge, record: dict[str, Any]) -> None:
    """Weights (matrices in bf16) and the header, atomically."""
    shape = judge.shape | ({} if judge.kind == "classes" else {"kind": judge.kind})
    weights = {k: (v.to(torch.bfloat16) if v.ndim > 1 else v).cpu().contiguous() for k, v in judge.state_dict().items()}
    with files.replacing(path) as temporary:
        save_file(weights, temporary, metadata={HEADER: json.dumps(shape | record)})


@lru_cache(maxsize=4)
def _loaded(path: Path, modified: int) -> tuple[Judge, dict[str, Any]]:
    record, weights = _open(path, with_weights=True)
    try:
        judge, weights = _built(record, weights)
        judge.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise _damaged(path) from None
    return judge.eval().requires_grad_(False), record


def _built(record: dict[str, Any], weights: dict[str, torch.Tensor]) -> tuple[Judge, dict[str, torch.Tensor]]:
    """(a judge of the header's shape, the weights under its names)."""
    size, width = record.get("size", record["data"]["size"]), record.get("width", 32)
    kind = record.get("kind", "classes")
    if kind != "classes":
        return KINDS[kind](size, width), weights
    heads = record.get("heads") or DATASETS["shapes"].fn.heads
    if "heads" not in record:  # the first judge's heads had no prefix
        weights = {f"heads.{k}" if k.split(".")[0] in heads else k: v for k, v in weights.items()}
    return Judge(size, heads, width), weights


def named(path: Path) -> dict[str, str]:
    """What a result says of the judge that its distances and shares are by. Raises OSError."""
    return {"judge": path.stem, "judge_hash": digest(path)[:16]}


def digest(path: Path) -> str:
    """A judge's file's, in hex, by which what it said is kept. Raises OSError."""
    return _digest(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, modified: int) -> str:
    return files.sha256(path)


def load(path: str | Path | None = None) -> tuple[Judge, dict[str, Any]]:
    """(judge, header); by default the first judge. Raises InputError for a missing or wrong file."""
    path = Path(path or FOLDER / "shapes.safetensors")
    if not path.is_file():
        raise InputError(f"There is no judge at {path}: train one with `python -m pf_core judge --out {path}`.")
    return _loaded(path, path.stat().st_mtime_ns)


def _open(path: Path, with_weights: bool = False) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as f:
            record = json.loads((f.metadata() or {})[HEADER])
            weights = {k: f.get_tensor(k) for k in f.keys()} if with_weights else {}
        Known.of(path.stem, record)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        raise _damaged(path) from None
    return record, weights


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is not a judge, or is damaged.")
