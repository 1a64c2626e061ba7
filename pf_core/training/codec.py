"""In which codec's space a recipe trains: latents bring their own."""

from dataclasses import replace
from typing import Any

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models.codecs import Codec, build_codec
from pf_core.training.config import TrainRecipe


def settled(recipe: TrainRecipe, data: Any) -> TrainRecipe:
    """The recipe with the codec of its data: that which latents were made by, or pixels where the recipe has that of
    other latents, as one forked to images has. Raises InputError for latents with a codec of their own."""
    if not hasattr(data, "encoded_by"):
        images = recipe.codec == TrainRecipe.codec
        return recipe if images else replace(recipe, codec=TrainRecipe.codec, codec_settings={})
    codec, settings = data.encoded_by
    if recipe.codec != codec and recipe.codec_settings:
        raise InputError("--pixel-scale is a factor on pixels: latents have their autoencoder's. Leave it out.")
    return replace(recipe, codec=codec, codec_settings=settings)


def with_codec(recipe: TrainRecipe) -> TrainRecipe:
    """`settled` by the data that the recipe names. Raises InputError."""
    return settled(recipe, DATASETS[recipe.dataset].fn(**recipe.data_settings))


def codec_of(recipe: TrainRecipe) -> Codec:
    """That of a recipe's network. Raises InputError."""
    recipe = with_codec(recipe)
    return build_codec(recipe.codec, recipe.codec_settings)
