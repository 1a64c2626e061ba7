"""Benchmark and ablation in the plane: samplers at equal cost, and training without the stop-gradient."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pf_core.errors import InputError
from pf_core.samplers import SAMPLERS, steps_for
from pf_core.toy.experiment import ToyConfig, ToyState, trajectories
from pf_core.toy.metrics import distances, measure


@dataclass(frozen=True)
class Benchmark:
    """Energy distances to the data after at most `budget` NFE a point. results: {sampler: (nfe, distance)}, Euler
    first; floor: the distance of two samples of the data; late: samplers whose single step costs more than `budget`;
    step_for_step: {sampler: Euler's distance after as many steps as this sampler took}."""

    budget: int
    floor: float
    results: dict[str, tuple[int, float]]
    late: tuple[str, ...] = ()
    step_for_step: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        samplers = {name: {"nfe": nfe, "energy_distance": far} for name, (nfe, far) in self.results.items()}
        for name, far in self.step_for_step.items():
            samplers[name]["plain_at_equal_steps"] = far
        return {"nfe_budget": self.budget, "floor": self.floor, "samplers": samplers}


def benchmark(state: ToyState, budget: int, count: int = 2000) -> Benchmark:
    """Every sampler with its default settings from the same `count` starts, as many steps as `budget` NFE allow."""
    starts, results, late, floor = state.starts(count), {}, [], float("nan")
    plain, equal = next(iter(SAMPLERS)), {}
    for name in SAMPLERS:
        try:
            paths = trajectories(state.model, starts, name, budget)
        except InputError:
            late.append(name)
            continue
        far, floor = distances(state, paths.x[-1])
        results[name] = (paths.nfe, far)
        steps = steps_for(name, budget, SAMPLERS[name].settings({}))
        if _runs_ahead(name) and steps < budget:
            equal[name] = distances(state, trajectories(state.model, starts, plain, steps).x[-1])[0]
    return Benchmark(budget, floor, results, tuple(late), equal)


def _runs_ahead(name: str) -> bool:
    """Does a share of the coordinates run ahead of the others within a step?"""
    return "p" in SAMPLERS[name].knobs


def verdict(run: Benchmark) -> str:
    """One sentence: does a coordinate that runs ahead help here, compared with Euler?"""
    plain, *others = run.results
    ahead = [n for n in others if _runs_ahead(n)]
    if not ahead:
        return f"{run.budget} NFE are too few for one step of the other samplers."
    base = run.results[plain][1]
    compared = ", ".join(f"{SAMPLERS[n].title} {_times(run.results[n][1], base)}" for n in ahead)
    best = min(ahead, key=lambda n: run.results[n][1])
    gain = run.results[best][1] / max(base, 1e-12)
    why = "running ahead changes nothing"
    if gain < 0.95:
        why = f"running ahead helps, most by {SAMPLERS[best].title}"
    elif gain > 1.05:
        why = "running ahead hurts: its steps are fewer and longer, and the context does not outweigh that"
    nearest = min(run.results, key=lambda n: run.results[n][1])
    return (
        f"At {run.budget} NFE {SAMPLERS[plain].title} ends {base:.4f} from the data (two samples of the data: "
        f"{run.floor:.4f}), {compared}."
        f" Here {why}.{_step_for_step(run)} The nearest is {SAMPLERS[nearest].title}."
    )


def _step_for_step(run: Benchmark) -> str:
    """The comparison with as many (longer) steps of Euler, which shows the effect of the context alone."""
    compared = [f"{SAMPLERS[n].title} {_times(run.results[n][1], far)}" for n, far in run.step_for_step.items()]
    return f" Against as many plain steps, {', '.join(compared)}." if compared else ""


def _times(far: float, base: float) -> str:
    if far < base:
        return f"{base / max(far, 1e-12):.1f} times nearer"
    return f"{far / max(base, 1e-12):.1f} times as far"


def ablation(config: ToyConfig, **measured: int) -> dict[str, dict[str, float]]:
    """The same training with and without the stop-gradient, as {"kept": numbers, "removed": numbers}, see `measure`."""
    results = {}
    for name, kept in (("kept", True), ("removed", False)):
        state = ToyState(replace(config, stop_gradient=kept))
        for _ in state:
            pass
        results[name] = measure(state, **measured) | {"losses": _last(state)}
    return results


def _last(state: ToyState, share: float = 0.05) -> dict[str, float]:
    """Mean losses over the last part of a training."""
    tail = np.array(state.history[-max(1, int(share * state.done)) :])
    return {"mse": float(tail[:, 1].mean()), "nll": float(tail[:, 2].mean())}


def removal(kept: dict[str, float], removed: dict[str, float]) -> str:
    """One sentence on the effect of removing the stop-gradient, from `measure` of two equally long trainings."""
    parts = []
    for key, words in (
        ("velocity_relative_error", "the velocity's squared error"),
        ("variance_relative_error", "the variance's error"),
    ):
        parts.append(f"{words} is {_percent(removed[key])} of the exact variance instead of {_percent(kept[key])}")
    parts.append(f"the energy distance {removed['energy_distance']:.4f} instead of {kept['energy_distance']:.4f}")
    return f"Without the stop-gradient {', '.join(parts[:-1])}, {parts[-1]}."


def _percent(x: float) -> str:
    return f"{100 * x:.2g}%"
