"""Where the words of a prompt are looked at: cross-attention in one more forward pass at a recorded state."""

from typing import NamedTuple

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.types import PatchTime


class WordMaps(NamedTuple):
    """words: those of the prompt that the network takes in, in order, in small letters, quoted ones spelt apart. maps
    (words, rows, columns of patches): a word's share of each patch's cross-attention, the mean over blocks and heads; a
    patch's words, the prompt's start and its end together have 1."""

    words: list[str]
    maps: Tensor


@torch.inference_mode()
def word_maps(bundle: Bundle, x: Tensor, t: Tensor, prompt: str | None) -> WordMaps:
    """One forward pass at a state x (C, H, W), its patches at times t (N,), as a Frame has them for each image. Raises
    InputError for a network of classes, a wrong prompt, and a state of another network."""
    if bundle.conditioner.takes != "prompt":
        raise InputError(f"{bundle.name} takes no prompts, so no word can be looked for in its pictures.")
    if tuple(x.shape) != bundle.shape or tuple(t.shape) != (bundle.grid.n,):
        raise InputError(f"The state has shape {tuple(x.shape)}, and {bundle.name} works on {bundle.shape}.")
    words = [word for word in bundle.conditioner.words(prompt) if word.places]
    x, t = x[None].float().to(bundle.device), PatchTime.dense(t[None].float().to(bundle.device))
    shares = bundle.model.attention_to_tokens(x, t, bundle.conditioner.encode([prompt], bundle.device))[0].cpu()
    maps = [shares[list(word.places)].sum(0) for word in words]
    grid = bundle.grid
    shape = (len(words), grid.rows, grid.cols)
    return WordMaps([word.text for word in words], torch.stack(maps).view(shape) if maps else torch.zeros(shape))
