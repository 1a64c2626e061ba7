"""Interventions: from a chosen outer step on, chosen patches run ahead, lag behind, or are made clean.

An edit is a law for the time grid of its patches. It leaves the past alone, keeps the grid rising and lets all patches
arrive at t = 1 together; so the samplers, which take a grid per patch, need to know nothing of it. A run with edits is
cut at the steps where edits begin: up to the first of them it is the run without edits, bit for bit, and the same
random generators, and the patches' past, go on through all its stretches. Clean patches from step 0 on are inpainting.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import PlainValidator, SkipValidation
from torch import Tensor

from pf_core import bounded
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.flow import predict_x1
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import states_of
from pf_core.patches import PatchGrid
from pf_core.registry import Knob, Registry, whole
from pf_core.samplers import nfe_of
from pf_core.samplers.common import Past, time_of
from pf_core.types import Denoise, Step

MAX_EDITS = 64
OWN = "x1_hat"  # the source of clean patches that is the run's own one-step prediction


def head_start(
    ts: Tensor, *, amount: Annotated[float, Knob(0.0, 1.0, "how far ahead in t", label="Head start")] = 0.2
) -> Tensor:
    """Head start (chosen patches run ahead in t).

    The first step takes them ahead, then the lead shrinks with the time that is left: t + amount (1 - t) / (1 - t_k).
    """
    return torch.cat([ts[:1], (ts + amount * _left(ts)).clamp(max=1)[1:]])


def hold_back(
    ts: Tensor, *, amount: Annotated[float, Knob(0.0, 1.0, "how far behind in t", label="Lag")] = 0.2
) -> Tensor:
    """Hold back (chosen patches wait, then lag behind in t).

    They stand still until the lag is there, then make up for it: max(t_k, t - amount (1 - t) / (1 - t_k)).
    """
    return (ts - amount * _left(ts)).maximum(ts[:1])


def clean(ts: Tensor) -> Tensor:
    """Make clean (chosen patches are painted in, and stay).

    They are set to a clean source and sit at t = 1. From step 0 on this is inpainting.
    """
    return torch.ones_like(ts)


EDITS = Registry("edit", [head_start, hold_back, clean])  # laws: ts[0] = t_k, ts[-1] = 1 (T, ...) -> (T, ...)


def _left(ts: Tensor) -> Tensor:
    """The share of the time from ts[0] on that is left: 1 at ts[0], 0 at t = 1."""
    return (1 - ts) / (1 - ts[:1]).clamp(min=1e-12)


_MOST = Knob(0, 2**31 - 1)


def _whole(name: str, value: Any) -> int:
    return whole(name, value, _MOST.low, _MOST.high)


def _patches(patches: Any) -> tuple[int, ...]:
    if not isinstance(patches, list | tuple) or not patches:
        raise InputError(f"An edit needs a list of patches, not {patches!r:.60}.")
    return tuple(sorted({_whole("patch", p) for p in patches}))


@dataclass(frozen=True)
class Edit:
    """What is done to `patches` (numbers, row by row) of one image, or of all (None), when outer step `outer` begins.

    kind: a name in EDITS. amount: of head_start and hold_back, in units of t; a head start is 1 - t_k at most.
    source: of clean patches; "x1_hat", the run's own one-step prediction there (one more forward pass, a `probe`);
    {"given": j}, the j-th picture given beside the recipe; or {"dataset", "index", "settings"}.
    """

    kind: Annotated[str, PlainValidator(lambda name: EDITS[name].name)]
    patches: Annotated[tuple[int, ...], PlainValidator(_patches)]
    outer: Annotated[int, _MOST] = 0
    image: Annotated[int | None, PlainValidator(lambda i: None if i is None else _whole("image", i))] = None
    amount: Annotated[float | None, SkipValidation] = None  # by the law's knob, below
    source: Any = None

    @classmethod
    def from_dict(cls, d: Any) -> "Edit":
        """From JSON. Raises InputError if that is no edit."""
        edit = bounded.build(cls, d, "An edit has a kind, patches and any of outer, image, amount, source; this one")
        law, cleans = EDITS[edit.kind], edit.kind == clean.__name__
        for name, takes in (("amount", "amount" in law.knobs), ("source", cleans)):
            if not takes and getattr(edit, name) is not None:
                raise InputError(f"{edit.kind} takes no {name}.")
        settings = law.settings({} if edit.amount is None else {"amount": edit.amount})
        source = _source(OWN if edit.source is None else edit.source) if cleans else None
        return replace(edit, amount=settings.get("amount"), source=source)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `Edit.from_dict(e.to_dict()) == e`."""
        d = {f.name: getattr(self, f.name) for f in fields(self)} | {"patches": list(self.patches)}
        return {k: v for k, v in d.items() if v is not None or k == "image"}

    def check(self, ts: Tensor, batch: int, n: int) -> None:
        """Raises InputError unless this edit fits a run of `batch` images of n patches on the time grid ts (S + 1,)."""
        if self.outer > len(ts) - 2:
            raise InputError(f"The run has outer steps 0 to {len(ts) - 2}: nothing can be edited at step {self.outer}.")
        if self.image is not None and self.image >= batch:
            raise InputError(f"The run has images 0 to {batch - 1}, not {self.image}.")
        if self.patches[-1] >= n:
            raise InputError(f"Patch {self.patches[-1]} lies outside the grid: patches are numbered 0 to {n - 1}.")
        t = ts[self.outer].item()
        if self.kind == head_start.__name__ and self.amount > 1 - t + 1e-9:
            raise InputError(f"From t = {t:.3g} on a head start is {1 - t:.3g} at most, not {self.amount:g}.")

    def chosen(self, batch: int, n: int, device: torch.device | None = None) -> Tensor:
        """(B, N) bool."""
        mask = torch.zeros(batch, n, dtype=torch.bool)
        mask[slice(None) if self.image is None else self.image, list(self.patches)] = True
        return mask.to(device)


def _source(source: Any) -> str | dict[str, Any]:
    """A clean source, checked, in its normal form."""
    if source == OWN:
        return OWN
    if isinstance(source, Mapping) and set(source) == {"given"}:
        return {"given": _whole("given", source["given"])}
    if isinstance(source, Mapping) and {"dataset", "index"} <= set(source) <= {"dataset", "index", "settings"}:
        entry, settings = DATASETS[source["dataset"]], source.get("settings") or {}
        if not isinstance(settings, Mapping):
            raise InputError(f"The settings of {entry.name} must be names with values, not {settings!r:.60}.")
        index = _whole("index", source["index"])
        return {"dataset": entry.name, "settings": entry.settings(settings), "index": index}
    raise InputError(
        f'Clean patches come from "{OWN}", {{"given": number}} or {{"dataset", "settings", "index"}}, '
        f"not {source!r:.100}."
    )


def parse(edits: Any) -> list[Edit]:
    """A recipe's list of edits. Raises InputError."""
    if not isinstance(edits, list) or len(edits) > MAX_EDITS:
        raise InputError(f"edits must be a list of at most {MAX_EDITS} edits.")
    return [Edit.from_dict(d) for d in edits]


# sources as pictures


def pictures_needed(edits: Iterable[Edit]) -> int:
    """How many pictures must be given beside the recipe."""
    return max((e.source["given"] + 1 for e in edits if isinstance(e.source, dict) and "given" in e.source), default=0)


def with_pictures(edits: list[Edit], bundle: Bundle, given: Tensor | None) -> list[Edit]:
    """The same edits with pictures, (C, H, W) in the network's space, for sources other than the run's own.

    given: (E, C, H, W) in the network's space, or None. Raises InputError if one is missing or does not fit.
    """
    need, have = pictures_needed(edits), 0 if given is None else len(given)
    if need > have:
        raise InputError(
            f"This recipe paints with {need} picture{'s' * (need > 1)} that must be given beside it, and {have} came: "
            "repeat it from the run's .safetensors export, which carries them."
        )
    return [e if e.source in (None, OWN) else replace(e, source=picture(e.source, bundle, given)) for e in edits]


def picture(source: dict[str, Any], bundle: Bundle, given: Tensor | None = None) -> Tensor:
    """(C, H, W) on the bundle's device. Raises InputError if it is not of the network's shape or not finite."""
    if "given" in source:
        x = given[source["given"]]
    else:
        data = DATASETS[source["dataset"]].fn(**source["settings"])
        if source["index"] >= len(data):
            raise InputError(f"{source['dataset']} has {len(data)} images; there is none with index {source['index']}.")
        x = states_of(bundle.codec, data, data.batch([source["index"]]).images.to(bundle.device))[0]
    if tuple(x.shape) != bundle.shape or not torch.isfinite(x).all():
        raise InputError(
            f"A clean source must hold finite numbers of shape {bundle.shape}, as {bundle.name} does, "
            f"not {tuple(x.shape)}."
        )
    return x.float().to(bundle.device)


# running


class Stretch(NamedTuple):
    """Outer steps `first`, `first` + 1, ... of a run: the edits that begin it, the times just before them, and the grid
    after them. start: () or (B, N); ts: (T + 1,) while nothing is edited yet, then (T + 1, B, N)."""

    first: int
    edits: list[Edit]
    start: Tensor
    ts: Tensor

    @property
    def looks(self) -> bool:
        """Does it begin with a forward pass for the run's own one-step prediction?"""
        return any(isinstance(e.source, str) for e in self.edits)


def stretches(edits: list[Edit], ts: Tensor, batch: int, n: int) -> list[Stretch]:
    """A run on the grid ts (S + 1,), cut where edits begin; edits of one step act in their order. Raises InputError."""
    if not edits:
        return [Stretch(0, [], ts[0], ts)]
    for edit in edits:
        edit.check(ts, batch, n)
    times = ts[:, None, None].repeat(1, batch, n)  # (S + 1, B, N), edited from the left to the right
    cuts, parts = sorted({0, len(ts) - 1, *(e.outer for e in edits)}), []
    for first, last in pairwise(cuts):
        here = [e for e in edits if e.outer == first]
        untouched = not any(e.outer < first for e in edits)
        start = ts[first] if untouched else times[first].clone()
        for edit in here:
            mask = edit.chosen(batch, n)
            settings = {} if edit.amount is None else {"amount": edit.amount}
            times[first:, mask] = EDITS[edit.kind].fn(times[first:, mask], **settings)
        stretch = ts[first : last + 1] if untouched and not here else times[first : last + 1].clone()
        parts.append(Stretch(first, here, start, stretch))
    return parts


def nfe(sampler: str, settings: dict, parts: list[Stretch], ranking: int = 1) -> int:
    """Network evaluations of an edited run: its stretches', and one for each that looks at its own prediction.
    ranking: those of a pass that ranks patches."""
    return sum(nfe_of(sampler, part.ts, settings, ranking, part.first) + part.looks for part in parts)


def run(
    denoise: Denoise,
    sampler: Callable[[Tensor, Tensor, int], Iterator[Step]],
    x: Tensor,
    grid: PatchGrid,
    parts: list[Stretch],
    past: Past,
) -> Iterator[Step]:
    """The stretches one after another, as one run: Steps counted through, one `final`. sampler(x, ts, first) -> Steps,
    first the number of the stretch's first.

    Sources other than the run's own must be pictures by now (`with_pictures`). past: what the sampler remembers; an
    edited image begins anew in all its patches, as those beside an edit see another picture than at their last step.
    """
    spent = 0
    for part in parts:
        own = x
        if part.looks:
            t = part.start.to(x).expand(x.shape[0], grid.n)
            prediction = denoise(x, time_of(part.start, x, grid))
            yield Step("probe", part.first, x, t, prediction, None, spent := spent + 1)
            own = predict_x1(x, prediction.v, t, grid)
        for edit in part.edits:
            chosen = edit.chosen(x.shape[0], grid.n, x.device)
            past.forget(chosen.any(1, keepdim=True))
            if edit.source is not None:
                mask = grid.to_pixels(chosen)
                x = torch.where(mask, own if isinstance(edit.source, str) else edit.source, x)
        for step in sampler(x, part.ts, part.first):
            step = replace(step, outer=part.first + step.outer, nfe=spent + step.nfe)
            if step.phase != "final" or part is parts[-1]:
                yield step
        x, spent = step.x, step.nfe
