"""Training as a generator: the caller logs, draws, saves and stops.

Every step's images, times, noise and dropped labels are drawn from (seed, step) alone, so that a run resumed from a
saved state continues exactly like one that never stopped, and the number of processes does not change the data.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn

from pf_core import flow
from pf_core.data.splits import HELD_OUT, VALIDATION
from pf_core.errors import InputError
from pf_core.models import compiled
from pf_core.models.conditioning import Conditioner, conditioner_for
from pf_core.patches import PatchGrid
from pf_core.registry import Knob
from pf_core.timesteps import TIMESTEPS
from pf_core.training.ranks import GO, STOP, Ranks
from pf_core.types import PatchTime, Prediction

SEGMENTS = [(2 * k + 1) / 16 for k in range(8)]  # SD3's validation times


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults worked best for the demo networks (docs/RECIPE.md); they are not the paper's."""

    steps: Annotated[int, Knob(1, 100_000_000, "optimizer steps")] = 2000
    batch_size: Annotated[int, Knob(1, 65536, "images a step, over all processes")] = 64
    lam: Annotated[float, Knob(0.0, 10.0, "weight of the Gaussian NLL", label="Weight of the difficulty loss")] = (
        flow.LAMBDA
    )
    stop_gradient: Annotated[bool, Knob(help="keep the gradient of the NLL away from the velocity")] = True
    optimizer: Annotated[
        str, Knob(choices=("muon", "adamw"), help="muon: Muon for the blocks' matrices, AdamW for the rest")
    ] = "muon"
    lr: Annotated[float, Knob(0.0, 1.0, "AdamW's learning rate", label="Learning rate")] = 3e-3
    muon_lr: Annotated[float, Knob(0.0, 1.0, "Muon's learning rate", label="Muon's learning rate")] = 4.5e-3
    weight_decay: Annotated[float, Knob(0.0, 1.0, "pull of the weights towards 0")] = 0.0
    warmup: Annotated[int, Knob(0, 1_000_000, "steps of linear warm-up", label="Warm-up")] = 100
    decay: Annotated[
        float, Knob(0.0, 1.0, "last share of the run, in which the learning rate falls to 0", label="Final decay")
    ] = 0.5
    clip: Annotated[float, Knob(0.0, 1000.0, "largest gradient norm; 0: no limit", label="Gradient limit")] = 1.0
    ema: Annotated[float, Knob(0.0, 1.0, "decay of the averaged weights", label="Weight averaging (EMA)")] = 0.999
    label_dropout: Annotated[
        float, Knob(0.0, 1.0, "share of samples that train the null class", label="Dropped labels")
    ] = 0.1
    accumulate: Annotated[int, Knob(1, 1024, "number of parts a batch is split into", label="Parts of a batch")] = 1
    precision: Annotated[
        str, Knob(choices=("fp32", "bf16"), help="bf16: half the memory, faster where the machine has it")
    ] = "fp32"
    compile: Annotated[bool, Knob(help="torch.compile the network")] = False
    seed: Annotated[int, Knob(0, 2**31 - 1, "seed of the weights and of all draws")] = 0
    timesteps: str = "ltg"
    timestep_settings: dict[str, Any] = field(default_factory=dict)
    source: flow.Source = flow.STANDARD_NORMAL

    def __post_init__(self):
        if self.batch_size % self.accumulate:
            raise InputError(f"batch_size {self.batch_size} cannot be split into {self.accumulate} equal parts.")

    def rate(self, step: int) -> float:
        """Learning-rate factor of a step (0-based): linear warm-up, constant, linear decay."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        left = (self.steps - step) / max(self.decay * self.steps, 1)
        return warm * min(1.0, left)


@dataclass(frozen=True)
class Batch:
    """One step's draw: x0, x1 (B, C, H, W), t of (B, N), conditions y, (B,) labels or (B, L) tokens, with some
    dropped."""

    x0: Tensor
    x1: Tensor
    t: PatchTime
    y: Tensor

    def map(self, fn: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with `fn` applied to each tensor (another device, a slice)."""
        return Batch(fn(self.x0), fn(self.x1), self.t.map(fn), fn(self.y))


@dataclass(frozen=True)
class TrainStep:
    """After `step` steps (counted from 1): losses (scalar tensors), gradient norm, rate factor, and the trainer."""

    step: int
    losses: flow.Losses
    grad_norm: Tensor
    rate: float
    trainer: "Trainer"


def generator(*key: int) -> Generator:
    """A CPU generator seeded by these numbers, well mixed."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return Generator().manual_seed(seed)


EVERYTHING = slice(None)


def draw(
    data, cfg: TrainConfig, conditioner: Conditioner, grid: PatchGrid, step: int, own: slice = EVERYTHING
) -> Batch:
    """All random draws of a step (0-based), which depend on (cfg.seed, step) and the data set's seed alone. own: of the
    batch, what this process trains on; images of others are not made. Raises InputError: see `check_images`."""
    check_images(step + 1, cfg.batch_size)
    rng = generator(cfg.seed, step)
    first = step * cfg.batch_size
    sample = data.batch(range(first, first + cfg.batch_size)[own])
    sampler = TIMESTEPS[cfg.timesteps]
    t = sampler.fn(cfg.batch_size, grid.n, rng, **sampler.settings(cfg.timestep_settings))
    x0 = cfg.source.shift(torch.randn((cfg.batch_size, *sample.images.shape[1:]), generator=rng))
    asked = conditioner.of_sample(sample, data.names)
    y = asked.new_zeros((cfg.batch_size, *asked.shape[1:]))
    y[own] = asked
    y = conditioner.drop(y, cfg.label_dropout, rng)
    return Batch(x0[own], sample.images, t.map(lambda v: v[own]), y[own])


class Trainer:
    """Network, its EMA copy, optimizers and step count, with their state to save and load."""

    def __init__(self, model: nn.Module, cfg: TrainConfig, accelerator: Accelerator | None = None):
        self.cfg, self.step, self.grid, self._passed = cfg, 0, model.grid, False
        # Accelerate's precision is fixed once a process, so autocast is ours: see _backward
        self.accelerator = accelerator or Accelerator(mixed_precision="no")
        check_split(cfg, self.accelerator.num_processes)
        self.ranks = Ranks()
        self.model = model.to(self.accelerator.device)
        self._ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._spread(self.model, cfg)
        # listed once, and the optimizers used without accelerate's wrapper, which adds only look-ups here: for a small
        # network these cost more than its arithmetic
        self._parameters, self._averaged = list(self.model.parameters()), list(self._ema.parameters())
        self.optimizers = _optimizers(self.model, cfg)
        if cfg.compile:  # part by part: the blocks share one compilation, and the state dict keeps its names
            for part in (self.model.t_embedder, *self.model.blocks, self.model.final_layer):
                part.compile()
        self._forward = self._prepared()
        self._rates = [[g["lr"] for g in o.param_groups] for o in self.optimizers]

    @property
    def ema(self) -> nn.Module:
        """The averaged network."""
        return self._ema

    def train_step(self, batch: Batch) -> TrainStep:
        """One optimizer step on this process's share of a batch (see `draw`); losses are those of the whole batch."""
        self.model.train()
        rate = self.cfg.rate(self.step)
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, lr in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = lr * rate
        parts = []
        for k, part in enumerate(self._parts(batch)):
            with self._alone(last=k == self.cfg.accumulate - 1):
                parts.append(self._backward(part))
        losses = self._mean(parts)
        norm = self._clip(self.cfg.clip or float("inf"))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._average()
        self.step += 1
        return TrainStep(self.step, losses, norm, rate, self)

    def _parts(self, batch: Batch) -> list[Batch]:
        """A batch, split for accumulation, on this process's device."""
        size = len(batch.y) // self.cfg.accumulate
        starts, device = range(0, len(batch.y), size), self.accelerator.device
        return [batch.map(lambda v, i=i: v[i : i + size].to(device)) for i in starts]

    # what differs where weights are spread over several processes: see sharded.py

    def _spread(self, model: nn.Module, cfg: TrainConfig) -> None:
        """Every process holds the whole network."""

    def _prepared(self) -> nn.Module:
        """What a training pass calls: the network, whose gradients are averaged over the processes."""
        return self.accelerator.prepare(self.model)

    def _alone(self, last: bool) -> AbstractContextManager:
        """Around one part of a batch: only the last one's gradients are averaged, with the earlier ones in them."""
        return nullcontext() if last or self.ranks.count == 1 else self._forward.no_sync()

    def _clip(self, limit: float) -> Tensor:
        """The gradient's norm, by which it is cut to `limit`."""
        return self.accelerator.clip_grad_norm_(self._parameters, limit)

    def _also(self, batch: Batch) -> Tensor | float:
        """A further loss of the pass that was just made; see repa.py."""
        return 0.0

    def help(self, word: int) -> None:
        """Of the other processes, where the first one gathers what is spread: here nothing is."""

    def _mean(self, parts: list[flow.Losses]) -> flow.Losses:
        """Over the parts and processes of a batch."""
        losses = flow.Losses(*(None if p[0] is None else torch.stack(p).mean() for p in zip(*parts, strict=True)))
        there = [v for v in losses if v is not None]
        means = iter(self.ranks.mean(there))
        return flow.Losses(*(None if v is None else next(means) for v in losses))

    def _backward(self, b: Batch) -> flow.Losses:
        with torch.autocast(b.x0.device.type, torch.bfloat16, enabled=self.cfg.precision == "bf16"):
            look = flow.evaluate_at(self._predict, b.x0, b.x1, b.t, b.y, self.grid)
        losses = flow.loss(look.prediction, look.u, self.cfg.lam, self.cfg.stop_gradient)
        self.accelerator.backward((losses.total + self._also(b)) / self.cfg.accumulate)
        return flow.Losses(losses.total.detach(), losses.mse, losses.nll)

    def _predict(self, x: Tensor, t: PatchTime, y: Tensor) -> Prediction:
        """One forward pass. A process's first one compiles the network; raises InputError if that fails."""
        if not self.cfg.compile or self._passed:
            return self._forward(x, t, y)
        try:
            prediction = self._forward(x, t, y)
        except Exception as e:
            if not type(e).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
            raise InputError(f"Compiling the network failed: leave --compile out. ({reason})") from e
        self._passed = True
        return prediction

    def _average(self) -> None:
        with torch.no_grad():
            torch._foreach_lerp_(self._averaged, self._parameters, 1 - self.cfg.ema)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on: step, weights, EMA weights, optimizer states (nested dicts of
        tensors)."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self._ema.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self._ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._decay()

    def _decay(self) -> None:
        """The configuration's weight decay, where a loaded optimizer has brought that of another training along."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["weight_decay"] = self.cfg.weight_decay


def on_gpu() -> bool:
    """Whether this process trains on a GPU: see runner.use_device."""
    return torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU") != "true"


def check_images(steps: int, batch_size: int) -> None:
    """Raises InputError for steps that would come to the images which are held out."""
    if steps * batch_size > HELD_OUT:
        raise InputError(
            f"{steps:,} steps of {batch_size:,} images are more than the {HELD_OUT:,} images that may be trained on; "
            f"those behind them are held out: ask for at most {HELD_OUT // batch_size:,} steps."
        )


def check_compiler(cfg: TrainConfig) -> None:
    """Raises InputError if a network is to be compiled on a CPU and there is no working C++ compiler."""
    if cfg.compile and not on_gpu():
        compiled.check_compiler()


def check_split(cfg: TrainConfig, processes: int) -> None:
    """Raises InputError for a batch that these processes cannot share."""
    if cfg.batch_size % (cfg.accumulate * processes):
        parts = f"{cfg.accumulate} parts on {processes} processes"
        raise InputError(f"batch_size {cfg.batch_size} cannot be split evenly into {parts}.")


_BLOCKS = ("blocks.", "text.tower.transformer.")


def _optimizers(model: nn.Module, cfg: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices of the blocks, a text tower's too, and AdamW for the rest."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    inner = [p for n, p in named if cfg.optimizer == "muon" and n.startswith(_BLOCKS) and p.ndim == 2]
    chosen = {id(p) for p in inner}
    rest = [p for _, p in named if id(p) not in chosen]
    optimizers = [torch.optim.AdamW(rest, lr=cfg.lr, weight_decay=cfg.weight_decay, foreach=True)]
    if inner:
        optimizers.append(
            torch.optim.Muon(inner, lr=cfg.muon_lr, weight_decay=cfg.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def train(
    model: nn.Module,
    data,
    cfg: TrainConfig,
    state: dict | None = None,
    conditioner: Conditioner | None = None,
    kind: Callable[..., Trainer] = Trainer,
) -> Iterator[TrainStep]:
    """Train in place, from `state` (Trainer.state_dict()) if given; yields a TrainStep after each optimizer step.

    Of several processes all must iterate; the first one's caller decides: when it stops iterating, all end."""
    check_compiler(cfg)
    conditioner = conditioner or conditioner_for(model, data)
    trainer = kind(model, cfg)
    if state is not None:
        trainer.load_state_dict(state)
    if trainer.step >= cfg.steps:
        return
    ranks, word = trainer.ranks, GO
    try:
        while trainer.step < cfg.steps and word == GO:
            yield trainer.train_step(draw(data, cfg, conditioner, trainer.grid, trainer.step, ranks.own))
            if ranks.first and trainer.step < cfg.steps:
                ranks.tell(GO)
            if not ranks.first:
                while (word := ranks.hear()) not in (GO, STOP):
                    trainer.help(word)
    finally:
        if ranks.first:
            with suppress(RuntimeError):  # another process has died, which is an error of its own
                ranks.tell(STOP)


@torch.no_grad()
def held_out(
    model: nn.Module, data, images: int = 64, source: flow.Source = flow.STANDARD_NORMAL
) -> Iterator[tuple[float, flow.Look]]:
    """(t, evaluation at t) for t = 1/16, 3/16, ..., 15/16, shared by all patches, with the same held-out images and
    noise at every t."""
    device = next(model.parameters()).device
    sample = data.batch(VALIDATION.first(images))
    x0 = source.draw(list(range(images)), tuple(sample.images.shape[1:])).to(device)
    y = conditioner_for(model, data).of_sample(sample, data.names).to(device)
    x1, grid = sample.images.to(device), model.grid
    for t in SEGMENTS:
        times = PatchTime.shared(torch.full((images,), t, device=device), grid.n)
        yield t, flow.evaluate_at(model, x0, x1, times, y, grid)
