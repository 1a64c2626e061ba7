"""What the plane teaches, in numbers: samplers against each other at equal cost, and a training against another one."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pf_core.errors import InputError
from pf_core.samplers import SAMPLERS, steps_for
from pf_core.toy.experiment import ToyConfig, ToyState, trajectories
from pf_core.toy.metrics import distances, measure


@dataclass(frozen=True)
class Benchmark:
    """Energy distances from the data after about `budget` evaluations a point: {sampler: (nfe, distance)}, the first of
    them plain; floor: that of two true samples of the same size; late: names that one step costs more than `budget`;
    step_for_step: {sampler: the plain one's distance after as many steps as this one took}."""

    budget: int
    floor: float
    results: dict[str, tuple[int, float]]
    late: tuple[str, ...] = ()
    step_for_step: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        found = {name: {"nfe": nfe, "energy_distance": far} for name, (nfe, far) in self.results.items()}
        for name, far in self.step_for_step.items():
            found[name]["plain_at_equal_steps"] = far
        return {"nfe_budget": self.budget, "floor": self.floor, "samplers": found}


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
        if SAMPLERS[name].fn.needs_difficulty and steps < budget:
            equal[name] = distances(state, trajectories(state.model, starts, plain, steps).x[-1])[0]
    return Benchmark(budget, floor, results, tuple(late), equal)


def verdict(run: Benchmark) -> str:
    """One sentence: does letting a coordinate run ahead help here, or hurt, against the plain sampler?"""
    plain, *others = run.results
    ahead = [n for n in others if SAMPLERS[n].fn.needs_difficulty]
    if not ahead:
        return f"{run.budget} NFE are too few for one step of the others: nothing to compare."
    base = run.results[plain][1]
    told = ", ".join(f"{short(n)} {_times(run.results[n][1], base)}" for n in ahead)
    best = min(ahead, key=lambda n: run.results[n][1])
    gain = run.results[best][1] / max(base, 1e-12)
    why = "running ahead changes nothing"
    if gain < 0.95:
        why = f"running ahead helps, most by {short(best)}"
    elif gain > 1.05:
        why = "running ahead hurts: its steps are fewer and longer, and the context does not make up for that"
    return (
        f"At {run.budget} NFE {short(plain)} ends {base:.4f} from the data (two true samples: {run.floor:.4f}), {told}."
        f" Here {why}.{_step_for_step(run)} Nearest of all: {short(min(run.results, key=lambda n: run.results[n][1]))}."
    )


def _step_for_step(run: Benchmark) -> str:
    """What the same number of longer steps of the plain sampler would have given: there the context shows its worth."""
    told = [f"{short(n)} {_times(run.results[n][1], far)}" for n, far in run.step_for_step.items()]
    return f" Against as many plain steps, {', '.join(told)}." if told else ""


def _times(far: float, base: float) -> str:
    if far < base:
        return f"{base / max(far, 1e-12):.1f} times nearer"
    return f"{far / max(base, 1e-12):.1f} times as far"


def short(sampler: str) -> str:
    """A sampler's label up to its bracket."""
    return SAMPLERS[sampler].label.split("(")[0].strip()


def ablation(config: ToyConfig, **measured: int) -> dict[str, dict[str, float]]:
    """The same training with and without the stop-gradient: {"kept": numbers, "removed": numbers}, see `measure`."""
    found = {}
    for name, kept in (("kept", True), ("removed", False)):
        state = ToyState(replace(config, stop_gradient=kept))
        for _ in state:
            pass
        found[name] = measure(state, **measured) | {"losses": _last(state)}
    return found


def _last(state: ToyState, share: float = 0.05) -> dict[str, float]:
    """Mean losses over the last part of a training."""
    tail = np.array(state.history[-max(1, int(share * state.done)) :])
    return {"mse": float(tail[:, 1].mean()), "nll": float(tail[:, 2].mean())}


def removal(kept: dict[str, float], removed: dict[str, float]) -> str:
    """One sentence on what changes without the stop-gradient, from two `measure`s of equally long trainings."""
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
