"""What decides the result of a training run, and how often it is logged, validated and saved."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from pf_core import bounded
from pf_core.registry import Knob, Parameter
from pf_core.training.loop import TrainConfig

NETWORK_SETTINGS = [  # the entries of `model_settings`
    Parameter("depth", int, None, Knob(1, 100, "number of blocks, instead of the size's")),
    Parameter("hidden_size", int, None, Knob(8, 8192, "width of the blocks, instead of the size's")),
    Parameter("num_heads", int, None, Knob(1, 128, "attention heads, instead of the size's")),
    Parameter("patch_size", int, None, Knob(1, 64, "side of a patch in pixels, instead of the size's")),
    Parameter("t_scale", float, None, Knob(0.001, 100000, "factor on t before its embedding")),
]
_EVERY = Knob(0, 10**9, "interval in steps; 0: never")


@dataclass(frozen=True)
class RepaConfig:
    """Representation alignment (repa.py): what tokens are pulled to, and how strongly. `repa` "" is off."""

    repa: Annotated[
        str, Knob(help="REPA: file with a CLIP's weights, to whose picture tokens a block's are pulled")
    ] = ""
    repa_model: Annotated[str, Knob(help="its sizes: open_clip's name of it, or a JSON file")] = "ViT-B-16"
    repa_weight: Annotated[float, Knob(0.0, 100.0, "weight of REPA's loss")] = 0.5
    repa_block: Annotated[int, Knob(1, 100, "block after which tokens are pulled")] = 8


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides a training run, as JSON. `difficulty` False trains the SiT baseline: no variance head.

    rules: the version of the rules by which the data set's files were read when the run started; None without files and
    in recipes older than these versions.
    """

    dataset: str = "shapes"
    data_settings: dict[str, Any] = field(default_factory=dict)
    model: str = "tiny"
    model_settings: dict[str, Any] = field(default_factory=dict)
    difficulty: bool = True
    init: str | None = None
    config: TrainConfig = field(default_factory=TrainConfig)
    rules: int | None = None
    codec: str = "pixels"
    codec_settings: dict[str, Any] = field(default_factory=dict)
    repa: RepaConfig = field(default_factory=RepaConfig)

    def to_dict(self) -> dict[str, Any]:
        recipe = json.loads(json.dumps(asdict(self)))
        if not self.repa.repa:  # the recipes of all trainings before there was one
            del recipe["repa"]
        return recipe

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TrainRecipe":
        """Raises InputError for what is no recipe, a part of a sentence. Names of things may be unknown here: what they
        are is looked up when it is trained."""
        return bounded.build(cls, d, needs=("config",))


@dataclass(frozen=True)
class Intervals:
    """Intervals in steps of: saving the state, logging the losses, validating, drawing samples, keeping a network, and
    measuring what look-ahead's probe gains (the compass). 0 is never."""

    save: Annotated[int, _EVERY] = 500
    log: Annotated[int, _EVERY] = 20
    validate: Annotated[int, _EVERY] = 1000
    samples: Annotated[int, replace(_EVERY, label="Draw samples")] = 1000
    weights: Annotated[int, _EVERY] = 0
    compass: Annotated[int, _EVERY] = 0
