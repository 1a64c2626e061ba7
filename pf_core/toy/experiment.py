"""Experiments in the plane: a small network trained by `pf_core.training.loop.train`, and measurements of it.

A point is an image of 1 x 1 x 2 (see pf_core.toy.data), so path, loss, timestep samplers and inference samplers are the
same as for images. Points are (B, 2) everywhere here; so are times, one a coordinate.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pf_core.data.splits import VALIDATION
from pf_core.errors import InputError
from pf_core.flow import Source
from pf_core.guidance import guide
from pf_core.models.oracle import NORMAL
from pf_core.registry import Entry, Knob, Parameter
from pf_core.samplers import SAMPLERS, steps_for, uniform_grid
from pf_core.timesteps import TIMESTEPS
from pf_core.toy import mlp
from pf_core.toy.data import GRID, SHIFTED, TOYS, DrawnPoints, Toy
from pf_core.training.loop import TrainConfig, TrainStep, generator, train
from pf_core.types import PatchTime

DRAWN = "points"  # the data set's name if the points themselves are given
SOURCES = {"own": None, "shifted": SHIFTED, "normal": NORMAL}
MOST_DOTS = 20  # evaluations of a chosen trajectory: one dot each
FORKS = ((0.15, 0.5), (-0.05, 0.15), (-0.1, -0.1), (0.05, -0.9))  # Fig. 5's four starts, from the source's mean


def data_knobs(entry: Entry) -> dict[str, Parameter]:
    """A data set's knobs under flags that no timestep sampler's knob has: the points' --data-std, LTG's --std."""
    taken = {name for times in TIMESTEPS.values() for name in times.knobs}
    return {name: replace(k, name=f"data_{name}") if name in taken else k for name, k in entry.knobs.items()}


@dataclass(frozen=True)
class ToyConfig:
    """How a network for the plane is trained; the defaults are those that measured best (pf_core.toy.mlp).

    data: a name of TOYS, or "points" with `array`, rows of two numbers. timesteps: a name of TIMESTEPS.
    """

    steps: Annotated[int, Knob(1, 20_000, "optimizer steps")] = 2000
    batch_size: Annotated[int, Knob(2, 8192, "points in each step")] = 1024
    lr: Annotated[float, Knob(0.0, 0.1, "at its largest", label="Learning rate")] = 1e-2
    lam: Annotated[float, Knob(0.0, 10.0, "of the Gaussian NLL", label="Weight of the difficulty loss")] = 1.0
    stop_gradient: Annotated[bool, Knob(help="keep the gradient of the NLL away from the velocity")] = True
    source: Annotated[str, Knob(choices=tuple(SOURCES), help="distribution of the noise; own: the data set's")] = "own"
    width: Annotated[int, Knob(4, 256, "width of the network")] = 48
    depth: Annotated[int, Knob(1, 8, "residual blocks of the network")] = 3
    seed: Annotated[int, Knob(0, 2**31 - 1, "seed of the weights, the points and all draws")] = 0
    data: str = "two_modes"
    data_settings: dict[str, Any] = field(default_factory=dict)
    array: Any = None
    timesteps: str = "independent"
    timestep_settings: dict[str, Any] = field(default_factory=dict)

    def dataset(self) -> Toy:
        """The data set. Raises InputError for an unknown name, a wrong setting or unusable points."""
        if self.data == DRAWN:
            return DrawnPoints([] if self.array is None else self.array, seed=self.seed)
        entry = TOYS[self.data]
        return entry.fn(seed=self.seed, **entry.settings(self.data_settings))

    def train_config(self, source: Source) -> TrainConfig:
        """The same as a TrainConfig. Raises InputError."""
        return TrainConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            lam=self.lam,
            stop_gradient=self.stop_gradient,
            optimizer="adamw",
            lr=self.lr,
            label_dropout=0.0,
            seed=self.seed,
            timesteps=TIMESTEPS[self.timesteps].name,
            timestep_settings=TIMESTEPS[self.timesteps].settings(self.timestep_settings),
            source=source,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON, given points as a list."""
        array = None if self.array is None else np.asarray(self.array, dtype=float).tolist()
        return asdict(self) | {"array": array}


class ToyState:
    """A training that can be paused, stepped and rewound; the same config always gives the same training.

    data, exact (a Model without a network), source, model (trained in place), done steps and `history`, one
    (step, mse, nll) a step. Raises InputError if the config is wrong.
    """

    def __init__(self, config: ToyConfig):
        if config.source not in SOURCES:
            raise InputError(f"There is no source {config.source!r}. Known: {', '.join(SOURCES)}.")
        self.config, self.data = config, config.dataset()
        self.source = SOURCES[config.source] or self.data.source
        self.exact = self.data.exact(self.source)
        self.kept: dict[Any, Any] = {}  # cached measurements of the data
        self.rewind()

    def rewind(self) -> None:
        """Return to step 0, with the same initial weights and draws."""
        cfg = self.config
        self.model = mlp.build(cfg.seed, width=cfg.width, depth=cfg.depth)
        self.history: list[tuple[int, float, float]] = []
        self._steps = train(self.model, self.data, cfg.train_config(self.source))

    @property
    def done(self) -> int:
        return len(self.history)

    @property
    def finished(self) -> bool:
        return self.done >= self.config.steps

    def step(self) -> TrainStep | None:
        """One optimizer step; None after the last."""
        at = next(self._steps, None)
        if at is not None:
            self.history.append((at.step, at.losses.mse.item(), at.losses.nll.item()))
        return at

    def __iter__(self) -> Iterator[TrainStep]:
        """All remaining steps."""
        while (at := self.step()) is not None:
            yield at

    def starts(self, count: int, first: int = 0) -> Tensor:
        """(count, 2) points of the source, the same in every call."""
        return self.source.draw(list(range(first, first + count)), (1, 1, 2)).view(-1, 2)

    def truth(self, count: int, first: int = 0) -> Tensor:
        """(count, 2) points of the data set that were not trained on (of a drawn set: drawn again)."""
        return self.data.batch(VALIDATION.first(count, skip=first)).images.view(-1, 2)

    def times(self, count: int) -> Tensor:
        """(count, 2) times as training draws them."""
        sampler = TIMESTEPS[self.config.timesteps]
        rng = generator(self.config.seed)
        return sampler.fn(count, 2, rng, **sampler.settings(self.config.timestep_settings)).per_patch

    def forks(self) -> Tensor:
        """(4, 2) starts around the source's mean, spread as in Fig. 5."""
        unit = torch.tensor(FORKS) / SHIFTED.std
        return self.source.shift(unit.view(-1, 1, 1, 2)).view(-1, 2)


@dataclass(frozen=True)
class Paths:
    """What a sampler did, forward pass by forward pass: x, t (S, B, 2); logvar (S - 1, B, 2), of each pass; `phase`,
    S names, the last one "final"; easy (S, B, 2) bool. Passes called "probe" only look: they are not on the path."""

    x: Tensor
    t: Tensor
    logvar: Tensor
    phase: list[str]
    easy: Tensor
    nfe: int

    @property
    def on_path(self) -> list[int]:
        """Indices of the states that the points really pass through, the last included."""
        return [i for i, phase in enumerate(self.phase) if phase != "probe"]

    def part(self, which: slice) -> "Paths":
        """Those of some points."""
        x, t, logvar, easy = (a[:, which] for a in (self.x, self.t, self.logvar, self.easy))
        return Paths(x, t, logvar, self.phase, easy, self.nfe)

    @property
    def variance(self) -> Tensor:
        """(S - 1, B): predicted variance, the mean of both coordinates."""
        return self.logvar.exp().mean(-1)

    @property
    def uncertainty(self) -> Tensor:
        """(S, B): `variance` brought to [0, 1] over all that is here, as Fig. 5 colours it; the end as the pass before
        it."""
        v = torch.cat([self.variance, self.variance[-1:]])
        return (v - v.min()) / (v.max() - v.min()).clamp(min=1e-12)


def ask(model: nn.Module, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """x, t (B, 2) -> velocity and log-variance, (B, 2) each, on the CPU."""
    device = next(model.parameters(), x).device
    with torch.inference_mode():
        prediction = model(x.view(-1, 1, 1, 2).to(device), PatchTime.dense(t.to(device)), None)
    return prediction.v.reshape(-1, 2).cpu(), prediction.logvar.reshape(-1, 2).cpu()


def trajectories(
    model: nn.Module,
    starts: Tensor,
    sampler: str = "euler",
    nfe: int = 50,
    settings: dict[str, Any] = {},
    seed: int = 0,
) -> Paths:
    """Run an inference sampler from starts (B, 2) with at most `nfe` evaluations. Raises InputError."""
    entry = SAMPLERS[sampler]
    settings = entry.settings(settings)
    ts = uniform_grid(steps_for(sampler, nfe, settings))
    rng = _Generators(range(seed, seed + len(starts)))
    device = next(model.parameters(), starts).device
    x = starts.view(-1, 1, 1, 2).to(device)
    with torch.inference_mode():
        steps = list(entry.fn(guide(model, None), x, GRID, ts, rng, **settings))
    none = torch.zeros(len(starts), 2, dtype=torch.bool)
    return Paths(
        torch.stack([s.x.reshape(-1, 2) for s in steps]).cpu(),
        torch.stack([s.t for s in steps]).cpu(),
        torch.stack([s.prediction.logvar.reshape(-1, 2) for s in steps[:-1]]).cpu(),
        [s.phase for s in steps],
        torch.stack([none if s.easy is None else s.easy.cpu() for s in steps]),
        steps[-1].nfe,
    )


class Fig5(NamedTuple):
    """The arguments of figures.static.figure5, arrays all: see there."""

    noise: np.ndarray
    truth: np.ndarray
    paths: np.ndarray
    chosen: np.ndarray
    uncertainty: np.ndarray
    made_by: str


def figure5_data(
    state: "ToyState", sampler: str, nfe: int, settings: dict[str, Any], picked: Tensor | None = None, count: int = 2000
) -> Fig5:
    """What the paper's Fig. 5 shows of this network: `count` points, and the chosen starts (the four forks if None)
    followed with at most MOST_DOTS evaluations, one dot each, as in the paper."""
    noise, starts = state.starts(count), state.forks() if picked is None else picked
    all_ = trajectories(state.model, noise, sampler, nfe, settings)
    chosen = trajectories(state.model, starts, sampler, min(nfe, MOST_DOTS), settings)
    on = chosen.on_path
    drawn = (all_.x[all_.on_path], chosen.x[on], chosen.uncertainty[on])
    label = SAMPLERS[sampler].title
    return Fig5(*(a.numpy() for a in (noise, state.truth(count), *drawn)), label)


class _Generators:
    """One generator a point, made when first asked for: most samplers draw nothing."""

    def __init__(self, seeds: range):
        self.seeds, self._made = seeds, []

    def __iter__(self) -> Iterator[torch.Generator]:
        self._made = self._made or [torch.Generator().manual_seed(s) for s in self.seeds]
        return iter(self._made)


@dataclass(frozen=True)
class Field:
    """Values on a square lattice at one time (t_x, t_y). xs, ys (K,); arrays (K, K, 2), one a coordinate, rows along
    y. `variance` is the predicted one, of the velocity's error."""

    xs: np.ndarray
    ys: np.ndarray
    velocity: np.ndarray
    exact_velocity: np.ndarray
    variance: np.ndarray
    exact_variance: np.ndarray

    def sigma(self, of: str = "both", exact: bool = False) -> np.ndarray:
        """(K, K): the square root of the variance of coordinate "x" or "y", or of the mean of "both"."""
        variance = self.exact_variance if exact else self.variance
        return np.sqrt(variance.mean(-1) if of == "both" else variance[..., COORDINATES.index(of) - 1])


COORDINATES = ("both", "x", "y")


def lattice(low: tuple[float, float], high: tuple[float, float], k: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """xs, ys (K,) and the K * K points (K * K, 2) between two corners."""
    xs, ys = (np.linspace(a, b, k) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    return xs, ys, torch.from_numpy(grid).float()


def fields(state: ToyState, t: tuple[float, float], low, high, k: int = 40, exact: bool = True) -> Field:
    """Network and truth on a lattice between the corners `low` and `high`, at (t_x, t_y) in [0, 1]^2.

    Without `exact` those arrays are NaN (an oracle's cost much more than the network's).
    """
    xs, ys, x = lattice(low, high, k)
    times = torch.tensor([t], dtype=torch.float32).expand(len(x), 2)

    def shaped(v: Tensor, logvar: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return v.view(k, k, 2).numpy(), logvar.exp().view(k, k, 2).numpy()

    predicted = shaped(*ask(state.model, x, times))
    nothing = (np.full((k, k, 2), np.nan),) * 2
    true = shaped(*ask(state.exact, x, times)) if exact else nothing
    return Field(xs, ys, predicted[0], true[0], predicted[1], true[1])


def visited(state: ToyState, count: int = 2000, steps: int = 50) -> Paths:
    """The states that Euler visits from `count` starts in `steps` steps."""
    return trajectories(state.model, state.starts(count), "euler", steps)
