"""The record of its training in a checkpoint's header: what it says of the weights."""

from typing import Any

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models.text import TextConfig
from pf_core.models.tokens import rows_of


def read(given: Any) -> dict[str, Any]:
    """The record of training, whose readers count on what its parts are. Raises ValueError, or what dict() does."""
    training = dict(given)
    recipe = _typed(training, images=int, images_before=int, prompts=list, recipe=dict).get("recipe", {})
    config = _typed(recipe, dataset=str, data_settings=dict, config=dict).get("config", {})
    _typed(config, timesteps=str, timestep_settings=dict, label_dropout=int | float)
    return training


def _typed(part: dict[str, Any], **kinds: Any) -> dict[str, Any]:
    for name, kind in kinds.items():
        if name in part and not isinstance(part[name], kind):
            raise ValueError(f"in its record of training {name} is {part[name]!r:.60}")
    return part


def images_of(training: dict[str, Any]) -> int | None:
    """Images that weights with this record of training have seen, with those of the network that it began with, which
    records of the first versions do not tell; None: unknown."""
    images, begun = training.get("images"), training.get("recipe", {}).get("init")
    before = training.get("images_before", None if begun else 0)
    return None if images is None or before is None else images + before


def taught(recipe: dict[str, Any], text: TextConfig) -> frozenset[int] | None:
    """CLIP's tokens that the training's pictures show, where its settings leave some of its data's out; None: all of
    the table's, also where the table was made for other data."""
    try:
        known = DATASETS[recipe.get("dataset", "")]
        if not hasattr(known.fn, "met"):
            return None
        data = known.fn(**known.settings(recipe.get("data_settings", {})))
    except InputError:  # of another version
        return None
    return frozenset(rows_of(data.met())) if rows_of(data.vocabulary()) == text.rows else None
