"""Types shared by all rooms: per-patch times, predictions, steps and the protocols of models and samplers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from pf_core.patches import PatchGrid


@dataclass(frozen=True)
class PatchTime:
    """Flow time per patch, in [0, 1], together with the few distinct values a sample holds.

    A network's modulation depends on t alone, so it is computed once per level and then looked up by patch.

    levels: (B, K) the distinct times of each sample.
    index:  (B, N) which level a patch is at, or None if levels broadcast over patches (K = 1 or K = N).
    n:      number of patches N.
    """

    levels: Tensor
    index: Tensor | None
    n: int

    @classmethod
    def shared(cls, t: Tensor, n: int) -> "PatchTime":
        """All patches of a sample at one time; t: (B,)."""
        return cls(t[:, None], None, n)

    @classmethod
    def dense(cls, t: Tensor) -> "PatchTime":
        """Every patch at a time of its own; t: (B, N)."""
        return cls(t, None, t.shape[1])

    @classmethod
    def grouped(cls, t: Tensor, index: Tensor, k: int) -> "PatchTime":
        """Patches in k groups, t (B, N) constant within each; index: (B, N) group numbers. A group may be empty."""
        index = index.long()
        levels = t.new_zeros(t.shape[0], k).scatter(1, index, t)  # equal values meet: any order gives the same
        return cls(levels, index, t.shape[1])

    def spread(self, per_level: Tensor) -> Tensor:
        """(B, K, D) a value per level -> (B, N or 1, D) per patch (1 where it broadcasts)."""
        if self.index is None:
            return per_level
        b, k = per_level.shape[:2]
        rows = self.index + k * torch.arange(b, device=self.index.device)[:, None]
        return per_level.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, rows.shape)  # a gather takes longer

    @property
    def per_patch(self) -> Tensor:
        """(B, N)."""
        return self.spread(self.levels[:, :, None])[:, :, 0].expand(-1, self.n)

    def map(self, fn: Callable[[Tensor], Tensor]) -> "PatchTime":
        """The same patches with `fn` applied to levels and index (repeat for CFG, slicing, another device)."""
        return PatchTime(fn(self.levels), None if self.index is None else fn(self.index), self.n)


class Prediction(NamedTuple):
    """What a network says of a state. Velocities (B, C, H, W); log-variances (B, 1, H, W), or None without that head.

    `v`, `logvar` are after guidance, `v_cond`, `logvar_cond` before it (the same tensors when guidance is off).
    An extrapolated `logvar` decides which patches are easy, but is no calibrated variance any more. `difficulty`
    (B, N), where it is given, decides in its place: an estimate that may be negative or, where unknown, NaN.
    """

    v: Tensor
    logvar: Tensor | None
    v_cond: Tensor
    logvar_cond: Tensor | None
    difficulty: Tensor | None = None


Phase = Literal["outer", "inner", "probe", "final"]


@dataclass(frozen=True)
class Step:
    """One forward pass of a sampler; the last Step of a run, `final`, is only the state at t = 1.

    x: (B, C, H, W) and t: (B, N) are what that forward pass saw; easy: (B, N) bool or None; nfe counts from 1;
    threshold: (B,) difficulty below which a patch was called easy, None where the sampler ranks nothing.
    """

    phase: Phase
    outer: int
    x: Tensor
    t: Tensor
    prediction: Prediction | None
    easy: Tensor | None
    nfe: int
    threshold: Tensor | None = None


class Model(Protocol):
    """A velocity network. x: (B, C, H, W); t: per patch; cond: whatever its conditioner encodes."""

    grid: PatchGrid
    channels: int

    def __call__(self, x: Tensor, t: PatchTime, cond: Any) -> Prediction: ...


class Dataset(Protocol):
    """Images in [-1, 1], (channels, height, width), each with a class: an index into `names`. size: their side, or
    (height, width).

    batch(indices).images is (B, C, H, W), .labels (B,). Item i depends on i and the set's settings alone; there is an
    item for every index; which are for what stands in `pf_core.data.splits`. A finite set also has `held`, how many
    pictures are held out, and `facts`, a dict with the `digest` of what is trained on. A made set has `regions`, names,
    of which some are `easy` and some `hard`; batch(indices).regions (B, H, W) are indices of them. `heads`, name ->
    choices, are what a judge names: the first is the class, the others are fields of batch(indices).attributes, (B,).
    A captioned set has batch(indices).captions, B texts, `captions_of(indices)`, the same with nothing drawn, and
    `vocabulary()`, texts that hold every word of any caption, whatever the settings; `met()`, where settings leave some
    out, texts with those that are left.
    A set of latents has `encoded_by`, (name, settings) of a codec: its images are a network's states, of any range.
    """

    names: list[str]
    channels: int
    size: int | tuple[int, int]

    def __len__(self) -> int: ...
    def batch(self, indices: Any) -> Any: ...


class Codec(Protocol):
    """Between images, (B, 3, H, W) in [-1, 1], and the space a network works in, of sides `factor` times smaller.

    `preview` gives images of the same size as `decode` at next to no cost; `full`: decode is more than that; `lack`:
    what is missing for that, as a sentence, "" where images are states, or decoded. `check` raises InputError where
    decode would; `found` is the same codec as it can be had on this machine.
    """

    factor: int
    full: bool
    lack: str

    def encode(self, images: Tensor) -> Tensor: ...
    def decode(self, x: Tensor) -> Tensor: ...
    def preview(self, x: Tensor) -> Tensor: ...
    def check(self) -> None: ...
    def found(self) -> "Codec": ...


Denoise = Callable[[Tensor, PatchTime], Prediction]  # condition and CFG already bound
Sampler = Callable[..., Iterator[Step]]
