"""What decides a training run, and how often it is looked at."""

import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pf_core import bounded
from pf_core.registry import Knob, Parameter
from pf_core.training.loop import TrainConfig

SHAPE = [  # what `model_settings` may hold
    Parameter("depth", int, None, Knob(1, 100, "blocks, instead of the size's own")),
    Parameter("hidden_size", int, None, Knob(8, 8192, "width, instead of the size's own")),
    Parameter("num_heads", int, None, Knob(1, 128, "attention heads, instead of the size's own")),
    Parameter("patch_size", int, None, Knob(1, 64, "pixels, instead of the size's own")),
    Parameter("t_scale", float, None, Knob(0.001, 100000, "factor of t before its embedding")),
]
_EVERY = Knob(0, 10**9, "every so many steps; 0: never")


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
        """Raises InputError for what is no recipe, a part of a sentence. Names of things may be unknown here: what they
        are is looked up when it is trained."""
        return bounded.build(cls, d, needs=("config",))


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
