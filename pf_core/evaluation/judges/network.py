"""The judge of classes: a small convolutional classifier with one head for each attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAST_SIDE = 4  # pixels, of the last convolution's output
SMALL = 32  # pixels


@dataclass(frozen=True)
class Verdict:
    """probabilities: head -> (B, choices), the class first; features: (B, D), for distances between sets."""

    probabilities: dict[str, Tensor]
    features: Tensor


class Judge(nn.Module):
    """Classifies (B, 3, size, size) images in [-1, 1]; values outside are clamped.

    heads: name -> its choices; the first is the class that networks are conditioned on. Convolutions of stride 2 until
    a side has at most LAST_SIDE pixels, after one of stride 1 for images of at most SMALL pixels; each level has
    `width` more channels, up to 4 * width.
    """

    kind = "classes"
    mirrors = True  # a mirrored image is as good to learn from

    def __init__(self, size: int, heads: Mapping[str, Sequence[str]], width: int = 32, features: int = 64):
        super().__init__()
        self.size, self.width = size, width
        self.choices = {name: list(choices) for name, choices in heads.items()}
        first = 1 if size <= SMALL else 2
        channels, side = [3, width], (size + first - 1) // first
        while side > LAST_SIDE:
            channels.append(min(len(channels), 4) * width)
            side = (side + 1) // 2
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2 if i else first, 1)
            for i, (a, b) in enumerate(zip(channels, channels[1:], strict=False))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in channels[1:])
        self.features = nn.Linear(channels[-1] * side**2, features)
        self.heads = nn.ModuleDict({name: nn.Linear(features, len(c)) for name, c in self.choices.items()})

    @classmethod
    def of(cls, field: Any, width: int) -> "Judge":
        """A new one for a `training.Field`."""
        return cls(field.settings["size"], field.heads, width)

    @classmethod
    def check(cls, dataset: type) -> bool:
        """Can this judge a data set?"""
        return bool(getattr(dataset, "heads", None))

    @staticmethod
    def covers(field: Any) -> dict[str, tuple[float, float]]:
        """Settings, besides those that are drawn, whose whole range a judge of this field knows."""
        return {}

    @property
    def shape(self) -> dict[str, Any]:
        return {"heads": self.choices, "size": self.size, "width": self.width}

    @staticmethod
    def truth(sample: Any, data: Any) -> dict[str, Tensor]:
        """Head -> true choices (B,); the first head's choices are the labels."""
        first, *others = data.heads
        return {first: sample.labels} | {name: getattr(sample.attributes, name) for name in others}

    @staticmethod
    def mirrored(truth: dict[str, Tensor], which: Tensor) -> dict[str, Tensor]:
        """The truth of a batch of which these images are mirrored."""
        return truth

    def loss(self, output: tuple[dict[str, Tensor], Tensor], truth: dict[str, Tensor]) -> Tensor:
        """The sum of the heads' cross entropies."""
        logits, _ = output
        return sum(F.cross_entropy(logits[name].float(), truth[name].to(logits[name].device)) for name in truth)

    def right(self, images: Tensor, truth: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
        """Head -> (hits, of)."""
        found = self.judge(images).probabilities
        return {name: (int((found[name].argmax(1) == truth[name]).sum()), len(images)) for name in self.choices}

    def logits(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """(logits (B, choices) of each head, features (B, D))."""
        h = images.clamp(-1, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.silu(norm(conv(h)))
        features = F.silu(self.features(h.flatten(1)))
        return {name: head(features) for name, head in self.heads.items()}, features

    @torch.inference_mode()
    def judge(self, images: Tensor, batch: int = 250) -> Verdict:
        """The verdict on any number of images, on the CPU; computed in batches on the judge's own device."""
        device = self.features.weight.device
        parts = [self.logits(part.float().to(device)) for part in images.split(batch)]
        logits = {name: torch.cat([part[name] for part, _ in parts]).cpu() for name in self.choices}
        features = torch.cat([features for _, features in parts]).cpu()
        return Verdict({name: values.softmax(-1) for name, values in logits.items()}, features)
