"""What decides a training run, and how often it is looked at."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

from pf_core.errors import InputError
from pf_core.flow import Source
from pf_core.registry import Knob, Parameter, parameters
from pf_core.training.loop import TrainConfig

SHAPE = [  # what `model_settings` may hold
    Parameter("depth", int, None, Knob(1, 100, "blocks, instead of the size's own")),
    Parameter("hidden_size", int, None, Knob(8, 8192, "width, instead of the size's own")),
    Parameter("num_heads", int, None, Knob(1, 128, "attention heads, instead of the size's own")),
    Parameter("patch_size", int, None, Knob(1, 64, "pixels, instead of the size's own")),
    Parameter("t_scale", float, None, Knob(0.001, 100000, "factor of t before its embedding")),
]
_EVERY = Knob(0, 10**9, "every so many steps; 0: never")


_KINDS = {"dataset": str, "data_settings": dict, "model": str, "model_settings": dict, "difficulty": bool}
_KINDS |= {"init": (str, type(None)), "rules": (int, type(None))}


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides a training run, as JSON. `difficulty` False trains the SiT baseline: no variance head.

    rules: by which version of the reading rules the data set's files were read when the run began; None where there are
    no files, or in recipes from before there were versions.
    """

    dataset: str = "shapes"
    data_settings: dict[str, Any] = field(default_factory=dict)
    model: str = "tiny"
    model_settings: dict[str, Any] = field(default_factory=dict)
    difficulty: bool = True
    init: str | None = None
    config: TrainConfig = field(default_factory=TrainConfig)
    rules: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TrainRecipe":
        """Raises ValueError, KeyError or TypeError for what is no recipe. Names of things may be unknown here: what
        they are is looked up when it is trained."""
        config, known = dict(d["config"]), parameters(TrainConfig)
        for part, given in ((cls, d), (TrainConfig, config)):
            if unknown := set(given) - {f.name for f in fields(part)}:
                raise InputError(f"it has {min(unknown)!r}, which this version does not know: it is of another one")
        config |= {name: known[name].check(value) for name, value in config.items() if name in known}
        recipe = cls(**{**d, "config": TrainConfig(**{**config, "source": Source(**config["source"])})})
        for where, kinds in ((recipe, _KINDS), (recipe.config, {"timesteps": str, "timestep_settings": dict})):
            for name, kind in kinds.items():
                if not isinstance(getattr(where, name), kind):
                    raise InputError(f"its {name} is {getattr(where, name)!r:.60}")
        return recipe


@dataclass(frozen=True)
class Intervals:
    """Every how many steps to save the state, log the losses, validate, draw samples, keep a network, and measure what
    look-ahead's probe gains (the compass); 0 is never."""

    save: Annotated[int, _EVERY] = 500
    log: Annotated[int, _EVERY] = 20
    validate: Annotated[int, _EVERY] = 1000
    samples: Annotated[int, _EVERY] = 1000
    weights: Annotated[int, _EVERY] = 0
    compass: Annotated[int, _EVERY] = 0
