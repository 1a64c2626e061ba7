"""A laboratory in the page's address: its recipe, what is looked at, the chosen starts, and the laboratory itself.

Names with a dot are settings: data.NAME of the data set, times.NAME of the timestep sampler, by.NAME of the sampler.
Nothing of an address is trusted: every value is checked like any other.
"""

import shlex
from typing import Any
from urllib.parse import urlencode

from app.tabs.toy.lab import FIGURE_NFE, LOOK, MOST_STARTS, Lab
from app.tabs.toy.plots import VIEWS
from pf_core.errors import InputError
from pf_core.registry import number, parameters
from pf_core.samplers import SAMPLERS, steps_for
from pf_core.timesteps import TIMESTEPS
from pf_core.toy.data import TOYS
from pf_core.toy.experiment import COORDINATES, DRAWN, ToyConfig, data_knobs
from pf_core.toy.points import pairs

PLAIN = parameters(ToyConfig)  # steps, seed, ...: what has a knob


def query_of(lab: Lab) -> str:
    """The query of a laboratory's address; default values are left out."""
    config, look, default = lab.state.config, lab.look, ToyConfig()
    parts: dict[str, Any] = {"tab": "toy", "data": config.data, "timesteps": config.timesteps}
    parts |= {k: getattr(config, k) for k in PLAIN if getattr(config, k) != getattr(default, k)}
    parts |= {k: look[k] for k in ("sampler", "nfe", "view", "coordinate") if look[k] != LOOK[k]}
    if look["t"] != LOOK["t"]:
        parts |= {"tx": look["t"][0], "ty": look["t"][1]}
    for prefix, settings in (
        ("data", config.data_settings),
        ("times", config.timestep_settings),
        ("by", look["settings"]),
    ):
        parts |= {f"{prefix}.{k}": v for k, v in settings.items()}
    if starts := _starts(lab):
        parts["starts"] = starts
    return urlencode({**parts, "lab": lab.id})


def _starts(lab: Lab) -> str:
    """The chosen starts as text; "" where they are the usual ones."""
    picked = lab.picked.tolist()
    usual = picked == lab.state.forks().tolist()
    return "" if usual else ";".join(f"{x:.3f},{y:.3f}" for x, y in picked)


def command_of(lab: Lab) -> str:
    """The command line that makes the same figure5.png."""
    config, look, default = lab.state.config, lab.look, ToyConfig()
    words = ["--points points.csv" if config.data == DRAWN else f"--data {config.data}"]
    words += [f"--timesteps {config.timesteps}"] if config.timesteps != default.timesteps else []
    words += [f"{p.flag} {getattr(config, k)}" for k, p in PLAIN.items() if getattr(config, k) != getattr(default, k)]
    words += [f"--sampler {look['sampler']} --nfe {max(look['nfe'], FIGURE_NFE)}"]
    words += [shlex.quote(f"--starts={starts}")] if (starts := _starts(lab)) else []
    chosen = [(TIMESTEPS[config.timesteps].knobs, config.timestep_settings)]
    chosen += [(SAMPLERS[look["sampler"]].knobs, look["settings"])]
    chosen += [] if config.data == DRAWN else [(data_knobs(TOYS[config.data]), config.data_settings)]
    for knobs, settings in chosen:
        words += [f"{k.flag} {settings[n]}" for n, k in knobs.items() if settings.get(n, k.default) != k.default]
    return " ".join(["python -m pf_core toy", *words, "--out figure5.png"])


def config_from(asked: dict[str, str]) -> ToyConfig:
    """Raises InputError at the first value that is wrong."""
    data, timesteps = asked.get("data", ToyConfig.data), asked.get("timesteps", ToyConfig.timesteps)
    if data == DRAWN:
        raise InputError("points drawn by hand are not in a link: draw them again, or give their CSV file")
    return ToyConfig(
        **{k: knob.check(asked[k]) for k, knob in PLAIN.items() if k in asked},
        data=TOYS[data].name,
        data_settings=TOYS[data].settings(_under("data", asked)),
        timesteps=TIMESTEPS[timesteps].name,
        timestep_settings=TIMESTEPS[timesteps].settings(_under("times", asked)),
    )


def look_from(asked: dict[str, str], most_nfe: int) -> dict[str, Any]:
    """Raises InputError."""
    sampler = SAMPLERS[asked.get("sampler", LOOK["sampler"])]
    settings = sampler.settings(_under("by", asked))
    nfe = int(number("nfe", asked.get("nfe", LOOK["nfe"]), 1, most_nfe))
    steps_for(sampler.name, nfe, settings)
    view, coordinate = asked.get("view", LOOK["view"]), asked.get("coordinate", LOOK["coordinate"])
    if view not in VIEWS or coordinate not in COORDINATES:
        raise InputError(f"there is no view {view[:40]!r} of {coordinate[:40]!r}")
    return {
        "sampler": sampler.name,
        "settings": settings,
        "nfe": nfe,
        "view": view,
        "coordinate": coordinate,
        "t": tuple(number(k, asked.get(k, LOOK["t"][i]), 0, 1) for i, k in enumerate(("tx", "ty"))),
    }


def starts_from(asked: dict[str, str]) -> list[tuple[float, float]]:
    """The chosen starts; none if the link names none. Raises InputError."""
    return pairs(asked.get("starts", ""), MOST_STARTS)


def _under(prefix: str, asked: dict[str, str]) -> dict[str, str]:
    return {k.partition(".")[2]: v for k, v in asked.items() if k.startswith(prefix + ".")}
