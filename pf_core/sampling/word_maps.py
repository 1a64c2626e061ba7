"""Where the words of a prompt are looked at: cross-attention in one more forward pass at a recorded state."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.sampling.trajectory import Trajectory
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


Maps = Callable[[int, int], WordMaps]  # of a run's frame and image


def maps_over(bundle: Bundle, run: Trajectory) -> Maps:
    """Those of a run that the network made, each made when it is first asked for."""

    @lru_cache(maxsize=4096)
    def maps(frame: int, image: int) -> WordMaps:
        there, labels = run.frames[frame], run.recipe["labels"]
        return word_maps(bundle, there.x[image], there.t[image], labels[image if len(labels) > 1 else 0])

    return maps


class Word:
    """One word over a run's frames: `place` among a prompt's words, from 0; -1: where it stands first."""

    def __init__(self, text: str, maps: Maps, place: int = -1):
        self.text, self._maps, self._place = text, maps, place

    @property
    def title(self) -> str:
        return f'"{self.text}"'

    def over(self, frame: int, images: Sequence[int]) -> np.ndarray:
        """(images, rows, columns) of attention, NaN for an image whose prompt has not the word there."""
        found = [self._maps(frame, image) for image in images]
        places = [self._at(each.words) for each in found]
        blank = np.full(np.asarray(found[0].maps).shape[1:], np.nan)
        return np.stack([blank if k is None else np.asarray(f.maps[k]) for f, k in zip(found, places, strict=True)])

    def _at(self, words: Sequence[str]) -> int | None:
        places = [k for k, word in enumerate(words) if word == self.text.lower()]
        return next((k for k in places if self._place in (-1, k)), None)
