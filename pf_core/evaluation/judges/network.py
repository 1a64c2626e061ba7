"""The one architecture of all judges: a small convolutional classifier with one head for each attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
