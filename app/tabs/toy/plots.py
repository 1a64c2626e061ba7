"""What a laboratory shows: its plots as JSON, each made anew only when something that it shows has changed."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from pf_core.figures import interactive as plots
from pf_core.figures.static import limits
from pf_core.samplers import SAMPLERS
from pf_core.timesteps import TIMESTEPS
from pf_core.toy.benchmark import Benchmark, benchmark
from pf_core.toy.experiment import Field, Paths, ToyState, fields, trajectories, visited
from pf_core.toy.metrics import calibration

POINTS, LATTICE, ARROWS, MEASURED = 300, 32, 16, 2000
PLOTS = ["data", "generated", "uncertainty", "view", "losses"]
PREDICTED, EXACT, DIFFERENCE, VELOCITY, CALIBRATION, CLOCKS, TIMES, BENCHMARK = VIEWS = [
    "predicted uncertainty",
    "exact uncertainty",
    "predicted minus exact",
    "velocity field",
    "calibration by t",
    "clocks of the last start",
    "training times",
    "samplers at equal NFE",
]
PLANES = VIEWS[:4]  # their axes are x and y
_TITLES = {PREDICTED: "Predicted sigma", EXACT: "Exact sigma", DIFFERENCE: "Predicted minus exact sigma"}


class LabPlots:
    """The plots of one state. `made` holds {name: (version, JSON)}; `keys` what each was made of."""

    def __init__(self, state: ToyState, before: tuple[np.ndarray, str] | None = None):
        self.state, self.before = state, before
        self.made: dict[str, tuple[int, str]] = {}
        self.keys: dict[str, Any] = {}
        self.noise, self.truth = state.starts(POINTS), state.truth(POINTS)
        self.low, self.high = limits(self.noise.numpy(), self.truth.numpy())
        spread = self.truth.var(0) + state.source.std**2
        self.sigma = float(spread.max().sqrt())  # the colour scale's end, whatever the time
        self._exact: dict[tuple, Field] = {}
        self._kept: dict[str, tuple[Any, Any]] = {}

    def update(self, version: int, look: dict, picked, playing: bool) -> bool:
        """Make what is out of date; `picked` (K, 2) are the chosen starts. True if anything was."""
        done, run = self.state.done, (look["sampler"], look["nfe"], tuple(look["settings"].items()))
        starts = tuple(map(tuple, picked.tolist()))
        paths = self.kept("paths", (done, run, starts), lambda: self._paths(look, picked))
        every, chosen = paths.part(slice(0, POINTS)), paths.part(slice(POINTS, None))
        view = (look["view"], look["t"], look["coordinate"])
        wanted = {
            "data": ((), lambda: plots.data(self.noise.numpy(), self.truth.numpy())),
            "generated": ((done, run), lambda: self._generated(every, look)),
            "uncertainty": ((done, run, starts), lambda: self._chosen(chosen)),
            "view": self._view(view, done, run, starts, chosen, look, playing),
            "losses": ((done,), self._losses),
        }
        new = [name for name, (key, _) in wanted.items() if self.keys.get(name, self) != key]
        for name in new:
            self.keys[name], make = wanted[name]
            self.made[name] = (version, json.dumps(make()))
        return bool(new)

    def kept(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """The thing called `name`, made again when its key is another."""
        if self._kept.get(name, (self,))[0] != key:
            self._kept[name] = (key, make())
        return self._kept[name][1]

    def benchmark(self, budget: int) -> Benchmark:
        """Every sampler's distance from the data, of the network as it is."""
        return self.kept("benchmark", (self.state.done, budget), lambda: benchmark(self.state, budget, MEASURED))

    def _paths(self, look: dict, picked) -> Paths:
        starts = np.concatenate([self.noise.numpy(), picked.numpy()])
        run = (look["sampler"], look["nfe"], look["settings"])
        return trajectories(self.state.model, self.noise.new_tensor(starts), *run)

    def _generated(self, paths: Paths, look: dict) -> dict:
        return plots.generated(paths.x[paths.on_path].numpy(), SAMPLERS[look["sampler"]].title, self.low, self.high)

    def _chosen(self, paths: Paths) -> dict:
        on = paths.on_path
        off = [i for i in range(len(paths.phase)) if i not in on]
        shade, times = paths.uncertainty[on].numpy(), paths.t[on].numpy()
        arrays = (self.noise.numpy(), self.truth.numpy(), paths.x[on].numpy(), shade, times, self.low, self.high)
        return plots.uncertainty(*arrays, probes=paths.x[off].numpy())

    def _view(self, asked, done, run, starts, chosen, look, playing) -> tuple[Any, Callable[[], dict]]:
        """What the view is made of, and how."""
        view, t, coordinate = asked
        if view == CALIBRATION:
            return (view, done), self._calibration
        if view == CLOCKS:
            return (view, done, run, starts), lambda: self._clocks(chosen, look)
        if view == TIMES:
            return (view,), self._times
        if view == BENCHMARK and playing and self.keys.get("view", ("",))[0] == BENCHMARK:
            return self.keys["view"], dict  # it costs as much as many steps: while these run, the last one stands
        if view == BENCHMARK:
            return (view, done, look["nfe"]), lambda: self._benchmark(look["nfe"])
        if view == VELOCITY:
            return (view, done, t), lambda: self._arrows(t)
        moving = () if view == EXACT else (done,)
        return (*asked, *moving), lambda: self._heat(view, t, coordinate)

    def _heat(self, view: str, t: tuple[float, float], of: str) -> dict:
        field = self._fields(t, LATTICE)
        z = {PREDICTED: lambda: field.sigma(of), EXACT: lambda: field.sigma(of, exact=True)}.get(
            view, lambda: field.sigma(of) - field.sigma(of, exact=True)
        )()
        span = (-self.sigma / 2, self.sigma / 2) if view == DIFFERENCE else (0.0, self.sigma)
        name = _TITLES[view] + ("" if of == "both" else f" of {of}")
        ends = ("too small", "too large") if view == DIFFERENCE else ("", "")
        return plots.heat(f"{name} at {_at(t)}", field.xs, field.ys, z, span, "sigma", ends)

    def _arrows(self, t: tuple[float, float]) -> dict:
        field = self._fields(t, ARROWS)
        return plots.arrows(f"Velocity at {_at(t)}", field.xs, field.ys, field.velocity, field.exact_velocity)

    def _fields(self, t: tuple[float, float], k: int) -> Field:
        """The network's, and the truth's from the last time it was asked for here."""
        key = (*t, k)
        if key not in self._exact:
            self._exact = {key: fields(self.state, t, self.low, self.high, k)}
        known = self._exact[key]
        now = fields(self.state, t, self.low, self.high, k, exact=False)
        return Field(now.xs, now.ys, now.velocity, known.exact_velocity, now.variance, known.exact_variance)

    def _calibration(self) -> dict:
        curves = calibration(self.state, visited(self.state, 100, 20))
        values = {
            "predicted": curves.predicted,
            "exact": curves.exact,
            "exact + the velocity's error": curves.exact + curves.error,
        }
        return plots.curves("Variance along Euler's trajectories, by t", curves.t, values, "t", "mean variance")

    def _clocks(self, chosen: Paths, look: dict) -> dict:
        t = chosen.t[:, -1].numpy()
        title = f"Clocks of the last start ({SAMPLERS[look['sampler']].title})"
        values = {"t_x": t[:, 0], "t_y": t[:, 1]}
        return plots.curves(title, np.arange(len(t)), values, "forward pass", "t", shape="hv")

    def _times(self) -> dict:
        name = TIMESTEPS[self.state.config.timesteps].title
        return plots.times(f"Times drawn in training ({name})", self.state.times(600).numpy())

    def _benchmark(self, budget: int) -> dict:
        result = self.benchmark(budget)
        names = [f"{SAMPLERS[n].title} ({nfe})" for n, (nfe, _) in result.results.items()]
        values = np.array([far for _, far in result.results.values()])
        title = f"Distance from the data, at most {budget} NFE each"
        return plots.bars(title, names, values, result.floor, "energy distance", "two true samples")

    def _losses(self) -> dict:
        x, ys = smooth(self.state.history)
        before = None
        if self.before:
            x0, ys0 = smooth(self.before[0])
            before = x0, {f"{name}, {self.before[1]}": y for name, y in ys0.items()}
        drawn = plots.curves("Losses", x, ys, "step", "loss", before, skip=0.05)
        if before or self.state.history:
            return drawn
        return plots.awaited(drawn, "Press Start: the losses appear here.")


def smooth(history) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(step, mse, nll) rows -> at most about 200 means of each."""
    history = np.array(history if len(history) else [(0, np.nan, np.nan)])
    size = max(1, len(history) // 200)
    cut = history[: len(history) // size * size].reshape(-1, size, 3).mean(1)
    return cut[:, 0], {"velocity MSE": cut[:, 1], "Gaussian NLL": cut[:, 2]}


def _at(t: tuple[float, float]) -> str:
    return f"t_x {t[0]:.2f}, t_y {t[1]:.2f}"
