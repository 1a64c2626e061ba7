"""Does a network learn the exact velocity and sigma? Against the oracle of its own finite data set."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core import flow
from pf_core.charts import Chart, Panel, Series
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.evaluation.metrics import pearson, with_intervals
from pf_core.evaluation.studies.common import conditions, in_space, needs_classes, number, oracles, percent, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.models.oracle import Oracle, from_dataset
from pf_core.registry import Knob
from pf_core.timesteps import TIMESTEPS
from pf_core.training.loop import generator
from pf_core.types import PatchTime

_PART = 50  # states a pass
_NAMES = {  # key -> what it is, as a title
    "velocity_error_share": "velocity error / mean square",
    "logvar_correlation": "log-variance, correlation with its target's",
    "predicted_over_true": "predicted variance / its target",
}


def _chart(result: dict[str, Any]) -> Chart:
    panels = [
        Panel(title, "", "", [Series.measured("network", [result["checkpoint"]], [result[key]], kind="bars")])
        for key, title in _NAMES.items()
        if key in result
    ]
    note = f"{result['states']} states drawn as in training; bars are 95% intervals, bootstrap over states."
    return Chart(f"{result['checkpoint']} against the exact denoiser of its data", [panels], note)


def _verdict(result: dict[str, Any]) -> str:
    told = f"Velocity error {percent(result['velocity_error_share'])} of its mean square"
    if "logvar_correlation" in result:
        told += f"; log-variance correlates {number(result['logvar_correlation'], 2)} with its target's"
    return f"{told}."


def _needs_finite(bundle: Bundle) -> None:
    if not bundle.training.get("recipe", {}).get("data_settings", {}).get("count", 0):
        raise InputError(f"{bundle.name} was not trained on a finite data set: train one with --count 8, say.")
    needs_classes(bundle)


@study(forwards=lambda bundle, states, **_: states, chart=_chart, verdict=_verdict, check=_needs_finite)
def exactness(
    bundle: Bundle,
    *,
    states: Annotated[int, Knob(10, 100_000, "states looked at")] = 256,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """A network against the oracle of its own small data set.

    States are drawn as in training (its timestep sampler, its images, new noise). Reported: the mean squared velocity
    error over the exact velocity's mean square; the correlation over patches of predicted logvar with its target's; and
    the mean predicted variance over the mean of its target. The target: exact variance plus squared velocity error,
    which is what the loss asks of a head. Intervals are 95%, bootstrap over states. Raises InputError for a network
    that was not trained on a finite data set.
    """
    _needs_finite(bundle)
    recipe = bundle.training["recipe"]
    count = recipe["data_settings"]["count"]
    data = in_space(bundle, DATASETS[recipe["dataset"]].fn(**recipe["data_settings"]))
    grid, rng = bundle.grid, generator(2026, states)
    sample = data.batch(range(states))
    y = conditions(bundle, data, sample)
    config = recipe.get("config", {"timesteps": "ltg", "timestep_settings": {}})  # an oracle was never trained
    t = TIMESTEPS[config["timesteps"]].fn(states, grid.n, rng, **config["timestep_settings"])
    x0 = bundle.source.shift(torch.randn(sample.images.shape, generator=rng))
    oracle = from_dataset(data, count, grid, bundle.source)
    values = work.by_parts(
        {"study": "exactness", "network": bundle.hash, "states": states},
        (x0, sample.images, y, oracles(bundle, data, sample), torch.arange(states)),
        _PART,
        lambda *part: _compared(bundle, oracle, *part[:-1], t.map(lambda v: v[part[-1]]), work.pause),
        1,
    )
    return {"states": states, "images": count} | _numbers(values)


@torch.inference_mode()
def _compared(
    bundle: Bundle,
    oracle: Oracle,
    x0: Tensor,
    x1: Tensor,
    y: Tensor,
    asked: Tensor,
    t: PatchTime,
    pause: Callable[[], None],
) -> dict[str, np.ndarray]:
    """(B, N) each: squared velocity error and the exact velocity's square; of a network with a head the predicted and
    the exact variance. y, asked: conditions of the network and of the oracle. pause: called after every pass, and may
    raise."""
    grid = bundle.grid
    look = flow.evaluate_at(oracle, x0, x1, t, asked, grid)
    pause()
    exact, there = look.prediction, t.map(lambda v: v.to(bundle.device))
    prediction = bundle.model(look.xt.to(bundle.device), there, y.to(bundle.device))
    pause()
    values = {"error": grid.to_patches((prediction.v.cpu() - exact.v) ** 2), "power": grid.to_patches(exact.v**2)}
    if prediction.logvar is not None:
        values["predicted"] = flow.difficulty(prediction.logvar.cpu(), grid)
        values["true"] = flow.difficulty(exact.logvar, grid)
    return {name: value.numpy() for name, value in values.items()}


def _numbers(values: dict[str, np.ndarray]) -> dict[str, Any]:
    error, power = values["error"], values["power"]
    statistics = {"velocity_error_share": lambda i: error[i].sum() / power[i].sum()}
    if "predicted" in values:
        predicted, target = values["predicted"], values["true"] + error
        statistics |= {
            "logvar_correlation": lambda i: pearson(np.log(predicted[i]).ravel(), np.log(target[i]).ravel()),
            "predicted_over_true": lambda i: predicted[i].mean() / target[i].mean(),
        }
    return with_intervals(statistics, len(error))
