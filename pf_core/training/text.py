"""The text tower of a training: a new one for the data's captions, or a given one."""

import json
from functools import lru_cache
from typing import Any

from torch import nn

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import SiTConfig, checkpoint
from pf_core.models.text import TextConfig, read_tower
from pf_core.models.tokens import rows_of
from pf_core.training.config import TEXT_SETTINGS, TrainRecipe

HEAD = 32  # width of an attention head of a new tower


def config_of(recipe: TrainRecipe, data: Any) -> TextConfig:
    """That of the recipe's text tower: of the network that it begins with if that has one, else of a file or a new
    one with a row for each token that the data's captions can produce. Raises InputError, also without captions."""
    if not hasattr(data, "vocabulary"):
        raise InputError(f"The data set {recipe.dataset} has no captions, which a network of prompts needs.")
    settings = {knob.name: knob.check(recipe.text_settings.get(knob.name, knob.default)) for knob in TEXT_SETTINGS}
    if recipe.init and (brought := _of_network(recipe.init)):
        if recipe.text_settings:
            raise InputError(f"{recipe.init} brings its text tower along: leave the settings of the text tower out.")
        return brought
    if settings["text_weights"]:
        return read_tower(settings["text_weights"], settings["text_quick_gelu"], settings["text_trained"])[0]
    width, heads = settings["text_width"], max(1, settings["text_width"] // HEAD)
    rows = _rows(recipe.dataset, json.dumps(recipe.data_settings, sort_keys=True))
    return TextConfig(width, settings["text_layers"], heads, settings["text_context"], rows)


def _of_network(name: str) -> TextConfig | None:
    return SiTConfig(**checkpoint.read_header(checkpoint.find(name))["model"]).text


@lru_cache(maxsize=8)
def _rows(dataset: str, settings: str) -> tuple[int, ...]:
    return rows_of(DATASETS[dataset].fn(**json.loads(settings)).vocabulary())


def read_weights(recipe: TrainRecipe, model: nn.Module) -> None:
    """Put the weights of a given tower into a new network. Raises InputError."""
    if path := recipe.text_settings.get("text_weights"):
        model.text.tower.load_state_dict(read_tower(path)[1])
