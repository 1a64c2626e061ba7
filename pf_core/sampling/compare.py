"""Two recorded runs against each other: where and when they differ, on one clock, and how much each one moved."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.registry import Registry
from pf_core.sampling.trajectory import Trajectory

THRESHOLD = 0.05  # RMS, where images span [-1, 1]; recorded states are rounded to about 0.001
_SAME = 1e-6  # of times: rounding


class Difference(NamedTuple):
    """b minus a. signed: (C, H, W) in the network's space; rms: over all of it; per_patch: (N,) RMS of each patch."""

    signed: Tensor
    rms: float
    per_patch: Tensor


def difference(
    a: Trajectory, b: Trajectory, at_a: int | None = None, at_b: int | None = None, image: int = 0, of: str = "x"
) -> Difference:
    """Image `image` of b minus that of a, at frames at_a and at_b; None or len(run) is the end.

    of: "x", the state, or "x1_hat", the one-step prediction; at the end both are the result. Raises InputError if the
    runs' grids, channels or number of images differ, or there is no such frame or image.
    """
    _check_pair(a, b)
    if not 0 <= image < a.x0.shape[0]:
        raise InputError(f"The runs have images 0 to {a.x0.shape[0] - 1}, not {image}.")
    if of not in ("x", "x1_hat"):
        raise InputError(f"Runs differ in x or in x1_hat, not in {of!r}.")
    signed = _state(b, at_b, of)[image].float() - _state(a, at_a, of)[image].float()
    per_patch = a.grid.to_patches(signed[None].square())[0].sqrt()
    return Difference(signed, signed.square().mean().sqrt().item(), per_patch)


class Film(NamedTuple):
    """b minus a at K moments of one image. signed: (K, H, W), the mean over channels; rms: (K,); per_patch: (K, N)."""

    signed: Tensor
    rms: Tensor
    per_patch: Tensor


def film(
    a: Trajectory, b: Trajectory, moments: Sequence[tuple[int | None, int | None]], image: int = 0, of: str = "x1_hat"
) -> Film:
    """`difference` at each moment (frame of a, frame of b). Raises InputError as it does, and where there is none."""
    if not moments:
        raise InputError("There are no frames to compare yet.")
    each = [difference(a, b, i, j, image, of) for i, j in moments]
    return Film(
        torch.stack([d.signed.mean(0) for d in each]),
        torch.tensor([d.rms for d in each]),
        torch.stack([d.per_patch for d in each]),
    )


def rms_in(result: Difference, patches: Tensor) -> float:
    """The RMS over some patches alone, (N,) bool; NaN where there are none."""
    return result.per_patch[patches].square().mean().sqrt().item()


def _check_pair(a: Trajectory, b: Trajectory) -> None:
    if a.grid != b.grid or a.x0.shape != b.x0.shape:
        raise InputError(
            f"Runs of {tuple(a.x0.shape)} and {tuple(b.x0.shape)} cannot be compared: "
            "grid, channels and number of images must be the same."
        )


def _state(run: Trajectory, at: int | None, of: str) -> Tensor:
    """(B, C, H, W)."""
    if at is None or at == len(run):
        if run.x1 is None:
            raise InputError("One of the runs was stopped before its end: compare it at one of its frames.")
        return run.x1
    if not 0 <= at < len(run):
        raise InputError(f"A run has frames 0 to {len(run) - 1} and its end, {len(run)}; there is no frame {at}.")
    return getattr(run.frames[at], of)


class Parting(NamedTuple):
    """Where two runs of one image first differ: at flow time t, by `rms`. `outer` and `nfe` are the outer steps and
    network evaluations that runs a and b had behind them when all their patches had come to t."""

    t: float
    rms: float
    outer: tuple[int, int]
    nfe: tuple[int, int]


def parting(a: Trajectory, b: Trajectory, threshold: float = THRESHOLD) -> list[Parting | None]:
    """For each image the first time at which the runs' states differ by more than `threshold` RMS; None if never.

    Compared at every t at which either run begins an outer step (and at its end). Between its own steps a run's state
    is taken from the straight line between them, patch by patch, so grids with other steps, or a grid per patch, can
    be compared as well. Raises InputError for runs of other shapes or without frames, or a threshold that is not
    positive.
    """
    _check_pair(a, b)
    if not threshold > 0:
        raise InputError(f"The threshold must be a positive number, not {threshold}.")
    paths = [_Path(a), _Path(b)]
    times = torch.cat([path.t.flatten() for path in paths]).double().unique()
    times = times[times <= min(path.t[-1].min() for path in paths) + _SAME]
    partings: list[Parting | None] = [None] * a.x0.shape[0]
    for t in times.tolist():
        apart = (paths[0].at(t) - paths[1].at(t)).square().mean((1, 2)).sqrt()
        for image, rms in enumerate(apart.tolist()):
            if partings[image] is None and rms > threshold:
                (outer_a, nfe_a), (outer_b, nfe_b) = (path.spent(t, image) for path in paths)
                partings[image] = Parting(t, rms, (outer_a, outer_b), (nfe_a, nfe_b))
        if None not in partings:
            break
    return partings


def measured(a: Trajectory, b: Trajectory, names: tuple[str, str], threshold: float = THRESHOLD) -> str:
    """One sentence about two runs that have ended, over all their images: how far apart they end, where most, and since
    when they have been further apart than `threshold` (see `parting`). RMS in the network's space.

    Raises InputError as `difference` and `parting` do.
    """
    images = [difference(a, b, image=k) for k in range(a.x0.shape[0])]
    rms = torch.tensor([each.rms for each in images]).square().mean().sqrt().item()
    patches = torch.stack([each.per_patch for each in images])  # (B, N)
    image, patch = divmod(int(patches.argmax()), a.grid.n)
    met = [(p.t, k, p) for k, p in enumerate(parting(a, b, threshold)) if p is not None]
    several = len(images) > 1
    ends = f"{names[1]} ends {rms:.3f} RMS from {names[0]}" + (f" over {len(images)} images" if several else "")
    if rms < _SAME:
        ends = f"{names[1]} ends in the same image{'s' * several} as {names[0]}"
    else:
        place = f"row {patch // a.grid.cols + 1}, column {patch % a.grid.cols + 1}"
        ends += f", most in {place}{f' of image {image + 1}' * several} ({patches.max():.3f})"
    if not met:
        return f"{ends}; at no t are their states more than {threshold:g} apart."
    t, k, first = min(met, key=lambda each: each[:2])
    where = f" in image {k + 1}" * several
    if t > 1 - _SAME:
        return f"{ends}; only at the end are their states more than {threshold:g} apart{where}."
    steps = f"outer step {first.outer[0]} of {names[0]} and {first.outer[1]} of {names[1]}"
    return f"{ends}; their states are first more than {threshold:g} apart at t {t:.2f}{where}, after {steps}."


class _Path:
    """A run's states at the beginning of its outer steps, and its end. t: (K, B, N); x: (K, B, N, D). Raises InputError
    for a run without any."""

    def __init__(self, run: Trajectory):
        before = [0, *(f.nfe for f in run.frames)]  # a pass may cost more than one, where the velocity ranks
        begins = [(f, spent) for f, spent in zip(run.frames, before, strict=False) if f.phase == "outer"]
        if not begins:
            raise InputError("A run without frames parts from no other.")
        states, times = [f.x.float() for f, _ in begins], [f.t for f, _ in begins]
        self.behind = [(f.outer, spent) for f, spent in begins]  # (outer steps, NFE)
        if run.x1 is not None:
            states, times = [*states, run.x1], [*times, torch.ones_like(times[-1])]
            self.behind.append((run.frames[-1].outer + 1, run.frames[-1].nfe))
        self.t, self.x = torch.stack(times), torch.stack([run.grid.split(x) for x in states])

    def at(self, t: float) -> Tensor:
        """(B, N, D): every patch when it is at t."""
        k = ((self.t <= t + _SAME).sum(0) - 1).clamp(0, max(0, len(self.t) - 2))[None]  # (1, B, N): the step it is in
        after = (k + 1).clamp(max=len(self.t) - 1)
        t0, t1 = self.t.gather(0, k), self.t.gather(0, after)
        part = ((t - t0) / (t1 - t0).clamp(min=_SAME)).clamp(0, 1)[..., None]
        x0, x1 = (self.x.gather(0, i[..., None].expand(-1, -1, -1, self.x.shape[-1])) for i in (k, after))
        return torch.lerp(x0, x1, part)[0]

    def spent(self, t: float, image: int) -> tuple[int, int]:
        """(outer steps, NFE) behind the run when the last patch of an image has come to t."""
        come = (self.t[:, image].amin(1) >= t - _SAME).nonzero()
        return self.behind[int(come[0]) if len(come) else -1]


def by_nfe(run: Trajectory) -> list[float]:
    """Equal NFE (forward pass by forward pass)."""
    return [float(f.nfe) for f in run.frames] + [run.frames[-1].nfe + 1.0]


def by_outer(run: Trajectory) -> list[float]:
    """Equal outer step (the state with which a step begins)."""
    clock = [float(f.outer) if f.phase == "outer" else float("nan") for f in run.frames]  # of an edit's own look none
    return [*clock, max((f.outer for f in run.frames), default=-1) + 1.0]


def by_seconds(run: Trajectory) -> list[float]:
    """Equal wall time (seconds since the run began)."""
    return [f.seconds for f in run.frames] + [run.seconds]


CLOCKS: Registry = Registry("clock", [by_nfe, by_outer, by_seconds])


def align(a: Trajectory, b: Trajectory, clock: str | Callable[[Trajectory], list[float]] = "by_nfe") -> list[tuple]:
    """Pairs (frame of a, frame of b) that belong together, one for each moment at which either run shows another frame.

    len(run) stands for a run's end, and a run that is over stays there; one that was stopped stays at its last frame.
    clock: a name in CLOCKS. Raises InputError for another one, or for a run without frames.
    """
    tick = CLOCKS[clock].fn if isinstance(clock, str) else clock
    if not a.frames or not b.frames:
        raise InputError("A run without frames cannot be aligned.")
    clocks = [[(value, i) for i, value in enumerate(tick(run)[: _shown(run)]) if value == value] for run in (a, b)]
    moments = sorted({value for clock in clocks for value, _ in clock}) or [0.0]  # no step has begun yet
    return [tuple(max((i for value, i in clock if value <= m), default=0) for clock in clocks) for m in moments]


def _shown(run: Trajectory) -> int:
    """How many things a run has to show: its frames, and its end if it came to it."""
    return len(run) + (run.x1 is not None)


def patch_updates(run: Trajectory) -> list[int]:
    """How many patch moves each image's run committed: the sum, over its forward passes, of the patches that moved on
    because of it.

    A probe's jump ahead is taken back and does not count, nor does a patch that stands still: Euler, look-ahead and
    Heun move every patch once an outer step, the dual loop its easy patches once and its hard ones n_inner times.
    """
    times = [f.t for f in run.frames if f.phase in ("outer", "inner")]
    if not times:  # a recording that holds its end alone
        return [0] * run.x0.shape[0]
    times += [torch.ones_like(times[-1])] if run.x1 is not None else []
    t = torch.stack(times)
    return (t[1:] > t[:-1] + _SAME).sum((0, 2)).tolist()
