"""A run as data: what every forward pass saw and said, saved as one safetensors file with the recipe in its header."""

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pf_core import bounded, files, flow
from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.sampling.edits import parse, pictures_needed
from pf_core.types import Step

T = TypeVar("T")


@dataclass(frozen=True)
class Frame:
    """One forward pass, on the CPU. A patch's `logvar` is log(difficulty); NaN where a network predicts none.

    x, x1_hat: (B, C, H, W) float16; t, logvar, logvar_cond: (B, N) float32; easy: (B, N) bool, all False where nothing
    was ranked; threshold: (B,) difficulty under which a patch was called easy, or NaN. seconds since the run began.
    """

    phase: str
    outer: int
    nfe: int
    seconds: float
    x: Tensor
    x1_hat: Tensor
    t: Tensor
    logvar: Tensor
    logvar_cond: Tensor
    easy: Tensor
    threshold: Tensor

    @classmethod
    def of(cls, step: Step, grid: PatchGrid, seconds: float = 0.0) -> "Frame":
        """x1_hat is from the velocity after guidance. `seconds` since the run began."""
        b, n = step.t.shape
        prediction = step.prediction

        def patches(logvar: Tensor | None) -> Tensor:
            return torch.full((b, n), torch.nan) if logvar is None else flow.difficulty(logvar, grid).log().cpu()

        return cls(
            step.phase,
            step.outer,
            step.nfe,
            seconds,
            step.x.half().cpu(),
            flow.predict_x1(step.x, prediction.v, step.t, grid).half().cpu(),
            step.t.float().cpu().contiguous(),
            patches(prediction.logvar),
            patches(prediction.logvar_cond),
            torch.zeros(b, n, dtype=torch.bool) if step.easy is None else step.easy.cpu(),
            torch.full((b,), torch.nan) if step.threshold is None else step.threshold.float().cpu(),
        )


def negatives(frame: Frame) -> Tensor:
    """(B,) how many of a frame's difficulties were estimated as negative: they are kept at the lower end of what a
    log-variance may be. A head predicts none such."""
    return (frame.logvar <= flow.LOGVAR_RANGE[0] + 1e-3).sum(1)


def seconds_ranked(frames: list[Frame]) -> float | None:
    """The median time of the passes that took several network evaluations to rank patches; None where none did."""
    pairs = zip(frames, frames[1:], strict=False)
    took = [after.seconds - before.seconds for before, after in pairs if after.nfe - before.nfe > 1]
    return statistics.median(took) if took else None


_STACKED = ("x", "x1_hat", "t", "logvar", "logvar_cond", "easy", "threshold")
_LISTED = ("phase", "outer", "nfe", "seconds")
_WHOLE = ("x0", "x1", "edit_images")


@contextmanager
def _sentences(path: str | Path) -> Iterator[None]:
    """Whatever is wrong with a file, said as an InputError."""
    try:
        yield
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError) as e:
        raise InputError(f"{path} is not a recorded run, or is damaged ({type(e).__name__}: {e}).") from None


def _grid(sides: list) -> PatchGrid:
    """Raises ValueError for what `save` does not write."""
    if not all(type(side) is int for side in sides):
        raise ValueError(f"the grid's sides are not whole numbers: {sides}")
    return PatchGrid(*sides)


def _fit(shapes: dict[str, tuple[int, ...]], frames: int, grid: PatchGrid) -> None:
    """Raises ValueError unless tensors of these shapes make a run of so many frames: told before they are read."""
    b, *state = shapes["x0"]
    for name in _STACKED:
        each = (grid.n,) if name in ("t", "logvar", "logvar_cond", "easy") else () if name == "threshold" else state
        if shapes[name] != (frames, b, *each):
            raise ValueError(f"{name} has the shape {shapes[name]}, not {(frames, b, *each)}")
    if "edit_images" in shapes and list(shapes["edit_images"][1:]) != state:
        raise ValueError("the pictures of its edits are not of the run's shape")


@dataclass
class Trajectory:
    """All frames of a run; x0, x1 (B, C, H, W) float32, unclamped, in the network's space (x1 None if stopped).

    edit_images: (E, C, H, W) pictures given beside the recipe for its edits to paint with, None where there are none.
    """

    grid: PatchGrid
    recipe: dict[str, Any]
    x0: Tensor
    frames: list[Frame] = field(default_factory=list)
    x1: Tensor | None = None
    seconds: float = 0.0
    forwards: int = 0
    edit_images: Tensor | None = None
    token_forwards: float | None = None  # forwards by the share of patches that passed; None: all did

    def __len__(self) -> int:
        return len(self.frames)

    def save(self, path: str | Path, images: Tensor | None = None) -> None:
        """One safetensors file: x, x1_hat (S, B, C, H, W), t, logvar, logvar_cond, easy (S, B, N), threshold (S, B),
        x0, x1 (B, C, H, W), edit_images (E, C, H, W) where there are any; JSON header entries phase, outer, nfe,
        seconds (one a forward pass), recipe, run. A run that was stopped has no x1, and run says finished: false.
        images: (B, H, W, 3) uint8, the decoded result, for readers without its codec; `load` leaves it."""
        if not self.frames:
            raise InputError("The run was stopped before its first forward pass: there is nothing to save.")
        tensors = {k: torch.stack([getattr(f, k) for f in self.frames]).contiguous() for k in _STACKED}
        tensors |= {"easy": tensors["easy"].to(torch.uint8), "x0": self.x0.contiguous()}
        for name, x in (("x1", self.x1), ("edit_images", self.edit_images)):
            if x is not None:
                tensors[name] = x.float().cpu().contiguous()
        tensors |= {} if images is None else {"images": images.cpu().contiguous()}
        header = {k: json.dumps([getattr(f, k) for f in self.frames]) for k in _LISTED}
        run = {
            "grid": [self.grid.height, self.grid.width, self.grid.patch_size],
            "seconds": self.seconds,
            "forwards": self.forwards,
            "finished": self.x1 is not None,
        }
        run |= {} if self.token_forwards is None else {"token_forwards": self.token_forwards}
        header |= {"recipe": json.dumps(self.recipe), "run": json.dumps(run)}
        with files.replacing(path) as temporary:
            save_file(tensors, temporary, metadata=header)

    @classmethod
    def load(
        cls, path: str | Path, accept: Callable[[int, tuple[int, ...]], None] = lambda frames, shape: None
    ) -> "Trajectory":
        """accept(number of frames, (B, C, H, W)) may raise InputError before anything large is read. Raises InputError
        for a file that `save` did not write."""
        if not Path(path).is_file():
            raise InputError(f"There is no file {path}.")
        with _sentences(path), bounded.tensors(path) as f:
            metadata = f.metadata() or {}
            header = {k: bounded.parse_json(metadata[k]) for k in (*_LISTED, "recipe", "run")}
            run, grid = header["run"], _grid(header["run"]["grid"])
            shapes = {k: tuple(f.get_slice(k).get_shape()) for k in f.keys()}
            _fit(shapes, len(header["phase"]), grid)
        accept(len(header["phase"]), shapes["x0"])
        with _sentences(path):
            with bounded.tensors(path) as f:
                tensors = {k: f.get_tensor(k) for k in (*_STACKED, *_WHOLE) if k in shapes and k != "edit_images"}
                if "edit_images" in shapes and (need := pictures_needed(parse(header["recipe"].get("edits", [])))):
                    tensors["edit_images"] = f.get_slice("edit_images")[:need]  # a file may bring any number
            rows = zip(*(header[k] for k in _LISTED), *(tensors[k] for k in _STACKED), strict=True)
            frames = [Frame(**dict(zip(_LISTED + _STACKED, row, strict=True))) for row in rows]
            frames = [Frame(**{**vars(f), "easy": f.easy.bool()}) for f in frames]
            x1 = tensors.get("x1")
            trajectory = cls(grid, header["recipe"], tensors["x0"], frames, x1, run["seconds"], run["forwards"])
            trajectory.edit_images, trajectory.token_forwards = tensors.get("edit_images"), run.get("token_forwards")
            trajectory.check()
            return trajectory

    def check(self) -> None:
        """Raises ValueError unless all parts fit together: a file may come from anywhere."""
        b, *state = self.x0.shape
        maps = {"t", "logvar", "logvar_cond", "easy"}
        if state[1:] != [self.grid.height, self.grid.width] or b < 1 or not self.frames:
            raise ValueError("the noise does not fit the grid, or there are no frames")
        for frame in self.frames:
            for name in _STACKED:
                want = (b, self.grid.n) if name in maps else (b,) if name == "threshold" else (b, *state)
                value = getattr(frame, name)
                if tuple(value.shape) != want or not (name == "easy" or value.is_floating_point()):
                    raise ValueError(f"{name} has the shape {tuple(value.shape)}, not {want}")
            counted = isinstance(frame.outer, int) and isinstance(frame.nfe, int) and math.isfinite(frame.seconds)
            if frame.phase not in ("outer", "inner", "probe") or not counted or min(frame.outer, frame.nfe) < 0:
                raise ValueError("a frame's header is invalid")
            if not frame.t.isfinite().all():
                raise ValueError("t is not finite")
        if self.x1 is not None and self.x1.shape != self.x0.shape:
            raise ValueError("the result has another shape than the noise")
        if not isinstance(self.token_forwards, float | None) or not math.isfinite(self.token_forwards or 0):
            raise ValueError("the record of the run is invalid")
        if not math.isfinite(self.seconds) or not isinstance(self.forwards, int) or not isinstance(self.recipe, dict):
            raise ValueError("the record of the run is invalid")


def passes_in_words(forwards: int, token_forwards: float | None) -> str:
    """'16 forwards', or '16 forwards, 12.4 token-forwards' where only some patches passed."""
    return f"{forwards} forwards" + ("" if token_forwards is None else f", {token_forwards:.1f} token-forwards")


@dataclass
class Clock:
    """Seconds spent within an iterator, not between two of its items: others may work meanwhile."""

    seconds: float = 0.0

    def timed(self, items: Iterable[T]) -> Iterator[T]:
        items = iter(items)
        while True:
            begin = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - begin
            yield item


def follow(run: Iterable[Step], trajectory: Trajectory) -> Iterator[Frame]:
    """Record a run step by step, yielding each frame as it comes; `trajectory` fills on the way."""
    clock, trajectory.edit_images = Clock(), getattr(run, "edit_images", None)
    for step in clock.timed(run):
        trajectory.seconds = getattr(run, "seconds", clock.seconds)
        trajectory.forwards = getattr(run, "forwards", step.nfe)
        trajectory.token_forwards = getattr(run, "token_forwards", None)
        if step.phase == "final":
            trajectory.x1 = step.x.float().cpu()
            return
        frame = Frame.of(step, trajectory.grid, trajectory.seconds)
        trajectory.frames.append(frame)
        yield frame


def record(run) -> Trajectory:
    """A `sample.Run` to its end."""
    trajectory = Trajectory(run.bundle.grid, run.spec.to_dict(), run.x0)
    for _ in follow(run, trajectory):
        pass
    return trajectory
