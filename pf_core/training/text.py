"""The text tower of a training: a new one for the data's captions, or a given one."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.text import TextConfig, read_tower
from pf_core.models.tokens import UNKNOWN, pieces, rows_of
from pf_core.training.config import TEXT_SETTINGS, TrainRecipe

HEAD = 32  # width of an attention head of a new tower
SOME = 256  # captions of a made set that are looked at
MOST_UNKNOWN = 0.5  # of the captions' words: a network that knows fewer of them learns next to nothing from them


def config_of(recipe: TrainRecipe, data: Any, own: Path | None = None) -> TextConfig:
    """That of the recipe's text tower: of the network that it begins with if that has one, else of a file or a new
    one with a row for each token that the data's captions can produce. own: the run's own network where it goes on.
    Raises InputError, also without captions."""
    if own and (mine := _of_network(str(own))):
        return mine
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


def check(recipe: TrainRecipe, data: Any) -> None:
    """Of a training that is to start. Raises InputError for captions that cannot be read, for settings of the text
    tower that would not be looked at, and where the network that it begins with does not know most of the words."""
    if hasattr(data, "check_captions"):
        data.check_captions()
    of_file = {k.name for k in TEXT_SETTINGS if k.name in ("text_trained", "text_quick_gelu")}
    given = recipe.text_settings.get("text_weights")
    for knob in TEXT_SETTINGS:
        asked = recipe.text_settings.get(knob.name, knob.default) != knob.default
        if asked and knob.name != "text_weights" and (knob.name in of_file) != bool(given):
            why = "--text-weights have their own" if given else "it is about --text-weights, which are not given"
            raise InputError(f"{knob.flag} would not be looked at: {why}. Leave it out.")
    share, some = _unknown(recipe, data)
    if share > MOST_UNKNOWN:
        raise InputError(f"{recipe.init} does not know {share:.0%} of the captions' words ({some}): leave --init out.")


def notes(recipe: TrainRecipe, data: Any) -> list[str]:
    """Sentences on what of its captions a training loses: words that the network which it begins with does not know,
    and those behind the end of the context."""
    if recipe.condition != "text":
        return []
    (share, some), context = _unknown(recipe, data), config_of(recipe, data).context
    captions = data.captions_of(range(SOME)) if hasattr(data, "regions") else data.vocabulary()  # a made set's: phrases
    cut = sum(sum(len(tokens) for _, tokens in pieces(caption)) > context - 2 for caption in captions) / len(captions)
    said = [f"{recipe.init} does not know {share:.1%} of the captions' words: {some}."] if share else []
    return [*said, f"{cut:.1%} of the captions are cut after {context - 2} tokens (--text-context)."] if cut else said


def _unknown(recipe: TrainRecipe, data: Any) -> tuple[float, str]:
    """(share of the captions' different words that `init`'s vocabulary lacks, some of them)."""
    brought = _of_network(recipe.init) if recipe.init else None
    if brought is None or brought.rows is None:
        return 0.0, ""
    row = brought.vocabulary.row
    words = {word: tokens for caption in data.vocabulary() for word, tokens in pieces(caption)}
    unknown = [word for word, tokens in words.items() if UNKNOWN in map(row, tokens)]
    return len(unknown) / max(1, len(words)), ", ".join(unknown[:5]) + ", ..." * (len(unknown) > 5)


def _of_network(name: str) -> TextConfig | None:
    return checkpoint.config_of(checkpoint.find(name)).text


@lru_cache(maxsize=8)
def _rows(dataset: str, settings: str) -> tuple[int, ...]:
    return rows_of(DATASETS[dataset].fn(**json.loads(settings)).vocabulary())


def read_weights(recipe: TrainRecipe, model: nn.Module) -> None:
    """Put the weights of a given tower into a new network. Raises InputError."""
    if path := recipe.text_settings.get("text_weights"):
        model.text.tower.load_state_dict(read_tower(path)[1])
