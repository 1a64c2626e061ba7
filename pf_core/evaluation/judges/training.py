"""Training a judge, of any kind, on real images only, over the whole range of a data set's settings, and measuring
it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pf_core.data import DATASETS
from pf_core.data.splits import JUDGE_TEST, JUDGE_TRAINING, Split
from pf_core.errors import InputError
from pf_core.evaluation.judges.kinds import KINDS
from pf_core.evaluation.judges.network import Judge

MIXED, CORNERS = 4, 2  # settings that are drawn for a batch; of them at the ends of the ranges, where it is hardest


@dataclass(frozen=True)
class Field:
    """What a judge is trained on: a data set with its settings, and `ranges`, name -> (lowest, highest), of the
    settings that vary from image to image; kind: of judge, one of KINDS. Raises InputError for a data set that has
    nothing for it to say, or a wrong range."""

    dataset: str
    settings: dict[str, Any] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    kind: str = "classes"

    def __post_init__(self):
        entry, judge = DATASETS[self.dataset], KINDS[self.kind]
        if not judge.check(entry.fn):
            known = ", ".join(name for name, entry in DATASETS.items() if judge.check(entry.fn))
            raise InputError(
                f"{self.dataset} declares nothing that a judge of {self.kind} could name: choose one of {known}."
            )
        object.__setattr__(self, "settings", entry.settings(self.settings))
        for name, (low, high) in self.ranges.items():
            entry.settings({name: low}), entry.settings({name: high})
            if entry.knobs[name].type is not float or low > high:
                raise InputError(f"{name} cannot be drawn from {low} to {high}.")

    @property
    def heads(self) -> dict[str, list[str]]:
        """Name -> choices; the first is the class."""
        return {name: list(choices) for name, choices in DATASETS[self.dataset].fn.heads.items()}

    def data(self, **settings: Any) -> Any:
        return DATASETS[self.dataset].fn(**self.settings | settings)

    def batch(
        self, split: Split, skip: int, count: int, seed: int, corners: int = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(images (count, 3, H, W) in [-1, 1], head -> true choices (count,)): images `skip` ... of a split, in MIXED
        parts with their own settings, drawn uniformly from (seed, skip); `corners` of them at the ranges' ends."""
        rng = np.random.default_rng([seed, skip])
        parts = np.array_split(np.array(split.first(count, skip)), MIXED if self.ranges else 1)
        drawn = []
        for i, part in enumerate(parts):
            u = rng.random(len(self.ranges))
            u = u.round() if i < corners else u
            settings = {
                k: low + (high - low) * float(a) for a, (k, (low, high)) in zip(u, self.ranges.items(), strict=True)
            }
            drawn.append(read(self.data(**settings), part.tolist(), self.kind))
        images, truth = zip(*drawn, strict=True)
        return torch.cat(images), {name: torch.cat([t[name] for t in truth]) for name in truth[0]}

    def corners(self) -> Iterator[dict[str, float]]:
        """The settings at the ends of all ranges."""
        for values in product(*self.ranges.values()):
            yield dict(zip(self.ranges, values, strict=True))


def read(data: Any, indices: Any, kind: str = "classes") -> tuple[Tensor, dict[str, Tensor]]:
    """(images (B, 3, H, W), what a kind of judge is to say of them: name -> (B, ...)); for classes head -> true choices
    (B,), the first head's the labels."""
    sample = data.batch(indices)
    return sample.images, KINDS[kind].truth(sample, data)


def train_judge(
    of: Field,
    steps: int = 1200,
    batch: int = 64,
    *,
    distinct: int = 0,
    width: int = 32,
    lr: float = 3e-3,
    seed: int = 0,
    bf16: bool = False,
    device: str | torch.device = "cpu",
) -> Iterator[tuple[int, float, Judge]]:
    """Train from scratch on the first steps * batch images of JUDGE_TRAINING; yields (step, loss, judge) after each
    step.

    distinct: for images that are costly to make, only about this many are made, and shown again in another order, half
    of them mirrored where that changes nothing or the truth is known.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = KINDS[of.kind].of(of, width).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    pool = _Pool(of, batch, seed, distinct // batch or steps)
    for step in range(steps):
        images, truth = pool.batch(step)
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            output = judge.train().logits(images)
        loss = judge.loss(output, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step + 1, loss.item(), judge.eval()


class _Pool:
    """Training batches: `fresh` new ones, then the same images repeatedly, shuffled and mirrored."""

    def __init__(self, of: Field, size: int, seed: int, fresh: int):
        self.of, self.size, self.seed, self.fresh, self.kept = of, size, seed, fresh, []

    def batch(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        epoch, place = divmod(step, self.fresh)
        if not epoch:
            images, truth = self.of.batch(JUDGE_TRAINING, step * self.size, self.size, self.seed, CORNERS)
            self.kept.append(((images * 127.5 + 127.5).round().byte(), truth))
            return images, truth
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.fresh * self.size)[place * self.size : (place + 1) * self.size]
        rows = [(self.kept[i // self.size], i % self.size) for i in order.tolist()]
        images = torch.stack([images[k] for (images, _), k in rows]).float().div_(127.5).sub_(1)
        truth = {name: torch.stack([truth[name][k] for (_, truth), k in rows]) for name in rows[0][0][1]}
        if not KINDS[self.of.kind].mirrors:
            return images, truth
        mirrored = torch.from_numpy(np.random.default_rng([self.seed, step, 1]).random(self.size) < 0.5)
        images[mirrored] = images[mirrored].flip(3)
        return images, KINDS[self.of.kind].mirrored(truth, mirrored)


def accuracy(judge: Judge, of: Field, count: int = 2000, batch: int = 500) -> dict[str, float]:
    """Name -> share in [0, 1] of what held-out real images (JUDGE_TEST, over all ranges) show that it says correctly,
    for classes by head, and "images", their number."""
    totals: dict[str, np.ndarray] = {}
    for skip in range(0, count, batch):
        images, truth = of.batch(JUDGE_TEST, skip, min(batch, count - skip), seed=1)
        for name, hits in judge.right(images, truth).items():
            totals[name] = totals.get(name, 0) + np.array(hits, float)
    return {name: float(hits / max(of, 1)) for name, (hits, of) in totals.items()} | {"images": count}
