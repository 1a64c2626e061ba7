"""What decides the result of a training run, and how often it is logged, validated and saved."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pf_core import bounded
from pf_core.registry import Knob, Parameter
from pf_core.timesteps import TIMESTEPS
from pf_core.training.loop import TrainConfig

NETWORK_SETTINGS = [  # the entries of `model_settings`
    Parameter("depth", int, None, Knob(1, 100, "number of blocks, instead of the size's")),
    Parameter("hidden_size", int, None, Knob(8, 8192, "width of the blocks, instead of the size's")),
    Parameter("num_heads", int, None, Knob(1, 128, "attention heads, instead of the size's")),
    Parameter("patch_size", int, None, Knob(1, 64, "side of a patch in pixels, instead of the size's")),
    Parameter("t_scale", float, None, Knob(0.001, 100000, "factor on t before its embedding")),
]
CONDITIONS = ("classes", "text", "none")  # what a network learns to draw by
TEXT_SETTINGS = [  # the entries of `text_settings`
    Parameter("text_width", int, 96, Knob(8, 8192, "width of the text tower")),
    Parameter("text_layers", int, 2, Knob(1, 100, "blocks of the text tower")),
    Parameter("text_context", int, 32, Knob(4, 1024, "tokens of a prompt at most, start and end counted")),
    Parameter("text_weights", str, "", Knob(help="file of open_clip's weights: its text tower, instead of a new one")),
    Parameter("text_trained", bool, False, Knob(help="train the text tower of --text-weights along")),
    Parameter("text_quick_gelu", bool, False, Knob(help="--text-weights are of OpenAI's own networks")),
]
OF_TEXT = {"ltg": {"loc": 0.5}}  # defaults of timestep samplers for networks that learn from captions: the paper's


def _every(what: str, label: str = "") -> Knob:
    return Knob(0, 10**9, f"steps from one {what} to the next; 0: never", label=label)


@dataclass(frozen=True)
class RepaConfig:
    """Representation alignment (repa.py): what tokens are pulled to, and how strongly. `repa` "" is off."""

    repa: Annotated[
        str, Knob(help="REPA: file with a CLIP's weights, to whose picture tokens a block's are pulled")
    ] = ""
    repa_model: Annotated[str, Knob(help="its sizes: open_clip's name of it, or a JSON file")] = "ViT-B-16"
    repa_weight: Annotated[float, Knob(0.0, 100.0, "weight of REPA's loss")] = 0.5
    repa_block: Annotated[int, Knob(1, 100, "block after which tokens are pulled")] = 8
    repa_cache: Annotated[bool, Knob(help="keep the encoder's tokens of a finite data set on the disk")] = False


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides a training run, as JSON. `difficulty` False trains the SiT baseline: no variance head.
    condition: one of CONDITIONS: the data's classes, its captions, or nothing; text_settings: of the text tower.

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
    condition: str = "classes"
    text_settings: dict[str, Any] = field(default_factory=dict)
    repa: RepaConfig = field(default_factory=RepaConfig)

    def to_dict(self) -> dict[str, Any]:
        recipe = json.loads(json.dumps(asdict(self)))
        if self.condition == "classes":  # the recipes of all runs before there were others
            del recipe["condition"], recipe["text_settings"]
        if not self.repa.repa:  # the recipes of all trainings before there was one
            del recipe["repa"]
        return recipe

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TrainRecipe":
        """Raises InputError for what is no recipe, a part of a sentence. Names of things may be unknown here: what they
        are is looked up when it is trained."""
        return bounded.build(cls, d, needs=("config",))


def timestep_settings(timesteps: str, given: Mapping[str, Any], condition: str = "classes") -> dict[str, Any]:
    """A timestep sampler's settings: the given ones, checked, and for the rest its defaults under this condition.
    Raises InputError."""
    defaults = OF_TEXT.get(timesteps, {}) if condition == "text" else {}
    return TIMESTEPS[timesteps].settings({**defaults, **given})


@dataclass(frozen=True)
class Intervals:
    """Intervals in steps; 0 is never."""

    save: Annotated[int, _every("saving of the state")] = 500
    log: Annotated[int, _every("line of the losses")] = 20
    validate: Annotated[int, _every("validation")] = 1000
    samples: Annotated[int, _every("drawing of samples", "Draw samples")] = 1000
    weights: Annotated[int, _every("kept network")] = 0
    compass: Annotated[int, _every("look at what look-ahead's probe gains")] = 0
