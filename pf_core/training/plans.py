"""Ready-made trainings, their cost on this machine, and SiT and Patch Forcing trained as a pair."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models.codecs import CODECS
from pf_core.registry import parameters
from pf_core.timesteps import TIMESTEPS
from pf_core.training.config import (
    NETWORK_SETTINGS,
    OF_TEXT,
    TEXT_SETTINGS,
    Intervals,
    RepaConfig,
    TrainRecipe,
    timestep_settings,
)
from pf_core.training.estimate import Estimate
from pf_core.training.loop import TrainConfig
from pf_core.training.runner import check, checked_device

HERE = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds, longest measurement


@dataclass(frozen=True)
class Plan:
    """A ready-made training. seconds: its duration with one thread on the machine it was written for (130, 65 and 25
    images a second)."""

    name: str
    label: str
    caption: str
    seconds: float
    recipe: TrainRecipe
    intervals: Intervals


PLANS = {
    plan.name: plan
    for plan in (
        Plan(
            "two-minutes",
            "Two minutes",
            "A small network: it draws blobs of the right colours, and its difficulty separates background from "
            "object.",
            120,
            TrainRecipe(
                model="mini", config=TrainConfig(steps=400, batch_size=32, lr=6e-3, muon_lr=9e-3, ema=0.98, warmup=20)
            ),
            Intervals(save=50, log=5, validate=100, samples=100),
        ),
        Plan(
            "a-coffee",
            "A coffee break",
            "The size of the demo network: it draws shapes that can be told apart.",
            900,
            TrainRecipe(model="tiny", config=TrainConfig(steps=850, batch_size=64, ema=0.995)),
            Intervals(save=50, log=10, validate=100, samples=100),
        ),
        Plan(
            "overnight",
            "Overnight",
            "A deeper and wider network, trained long enough to draw outlines and textures.",
            8 * 3600,
            TrainRecipe(model="small", config=TrainConfig(steps=11_000, batch_size=64, ema=0.9995)),
            Intervals(save=100, log=20, validate=500, samples=500, weights=2500),
        ),
    )
}


def fitting(model: str) -> TrainConfig:
    """Settings that fit a size of network: those of the first ready-made training of that size, else the defaults."""
    return next((plan.recipe.config for plan in PLANS.values() if plan.recipe.model == model), TrainConfig())


def pair(recipe: TrainRecipe) -> tuple[TrainRecipe, TrainRecipe]:
    """(SiT, Patch Forcing) with the same seed, data and compute: SiT has one t a sample and no difficulty head, Patch
    Forcing the recipe's own timestep sampler (LTG if that draws one t a sample)."""
    sit = replace(recipe.config, timesteps="uniform", timestep_settings={})
    timesteps = {} if recipe.config.timesteps not in ("uniform", "logit_normal", "ltg_shared") else {"timesteps": "ltg"}
    if timesteps:
        own = timestep_settings("ltg", {}, recipe.condition) if recipe.condition == "text" else {}
        timesteps["timestep_settings"] = own
    pft = replace(recipe.config, **timesteps)
    return replace(recipe, difficulty=False, config=sit), replace(recipe, difficulty=True, config=pft)


# The knobs of the codec that a training begins with, by their own names, under flags that no other knob has: a timestep
# sampler's scale is another thing than pixels'.
CODEC_KNOBS = {
    name: replace(knob, name=f"{TrainRecipe.codec.removesuffix('s')}_{name}")
    for name, knob in CODECS[TrainRecipe.codec].knobs.items()
}


def command(recipe: TrainRecipe, out: str, intervals: Intervals | None = None) -> list[str]:
    """The arguments of `python -m pf_core train` that train this recipe, without settings at their defaults.
    Raises InputError for an unknown setting."""
    argv = ["--dataset", recipe.dataset, "--timesteps", recipe.config.timesteps, "--model", recipe.model]
    argv += [] if recipe.difficulty else ["--no-difficulty"]
    argv += ["--init", recipe.init] if recipe.init else []
    argv += ["--condition", recipe.condition] if recipe.condition != TrainRecipe.condition else []
    data, times = DATASETS[recipe.dataset], TIMESTEPS[recipe.config.timesteps]
    own = recipe.codec_settings if recipe.codec == TrainRecipe.codec else {}  # latents bring their codec along
    others = OF_TEXT.get(recipe.config.timesteps, {}) if recipe.condition == "text" else {}  # defaults
    time_knobs = [replace(knob, default=others.get(knob.name, knob.default)) for knob in times.knobs.values()]
    for knobs, values in (
        (data.knobs.values(), data.settings(recipe.data_settings)),
        (time_knobs, times.settings(recipe.config.timestep_settings)),
        (CODEC_KNOBS.values(), {CODEC_KNOBS[name].name: value for name, value in own.items()}),
        (NETWORK_SETTINGS, recipe.model_settings),
        (TEXT_SETTINGS, recipe.text_settings),
        (parameters(TrainConfig).values(), vars(recipe.config)),
        (parameters(RepaConfig).values(), vars(recipe.repa)),
    ):
        for knob in knobs:
            if knob.name in values and values[knob.name] != knob.default:
                argv += [knob.flag, str(values[knob.name])]
    for field in fields(Intervals):
        if intervals and getattr(intervals, field.name) != field.default:
            argv += [f"--{field.name}-every", str(getattr(intervals, field.name))]
    return [*argv, "--out", out]


def estimate(recipe: TrainRecipe, intervals: Intervals, threads: int = 1, nice: int = 0) -> Estimate:
    """Measured now, in a process like the trainer's, in a few seconds. Raises InputError."""
    measuring = Measuring(recipe, intervals, threads, nice)
    while (found := measuring.found(1.0)) is None:
        pass
    return found


class Measuring:
    """An estimate under way: `found(wait)` is None until it is there; `stop` ends it. device: as in runner.DEVICES.
    Raises InputError."""

    def __init__(
        self, recipe: TrainRecipe, intervals: Intervals, threads: int = 1, nice: int = 0, device: str = "auto"
    ):
        check(recipe)
        argv = [sys.executable, "-m", "pf_core", "train", *command(recipe, "runs/measured", intervals)]
        argv += ["--measure", "--threads", str(threads), "--nice", str(nice), "--device", checked_device(device)]
        self._begin = time.monotonic()
        self._process = subprocess.Popen(
            argv,
            cwd=HERE,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its niceness applies to it alone: see process.be_nice
        )

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begin

    def found(self, wait: float) -> Estimate | None:
        """The estimate, awaited for at most `wait` seconds."""
        try:
            out, err = self._process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            if self.seconds <= PATIENCE:
                return None
            self.stop()
            raise InputError(
                f"A few steps took more than {PATIENCE:.0f} s: the network is too large for this machine, or the "
                f"machine is busy."
            ) from None
        if self._process.returncode:
            reason = (err.strip().splitlines() or ["it was killed, perhaps because memory ran out"])[-1]
            raise InputError(f"The training cannot be measured: {reason}")
        return Estimate(**json.loads(out.strip().splitlines()[-1]))

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
