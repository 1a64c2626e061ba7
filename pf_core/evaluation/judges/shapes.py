"""A judge of the `shapes` data set: which shape, which texture, and features for distances between sets.

Trained on real images only. It is for measuring generators, never for training or tuning one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pf_core import files
from pf_core.data.shapes import SHAPES, TEXTURES, shapes
from pf_core.errors import InputError

FOLDER = Path(__file__).resolve().parents[3] / "checkpoints" / "judges"
HEADER = "patch_forcing_judge"
HELD_OUT = 3 * 2**30  # items from here on are neither trained on nor validated on by generators


@dataclass(frozen=True)
class Verdict:
    """shape (B, 10) and texture (B, 4) probabilities, features (B, 64)."""

    shape: Tensor
    texture: Tensor
    features: Tensor


class ShapesJudge(nn.Module):
    """A small convolutional classifier of 32 x 32 images, (B, 3, 32, 32) in [-1, 1] (values beyond are clamped)."""

    def __init__(self, width: int = 32, features: int = 64):
        super().__init__()
        sizes = [3, width, 2 * width, 3 * width, 4 * width]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, 1 if i == 0 else 2, 1) for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in sizes[1:])
        self.features = nn.Linear(4 * width * 16, features)
        self.shape = nn.Linear(features, len(SHAPES))
        self.texture = nn.Linear(features, len(TEXTURES))

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(shape logits, texture logits, features)."""
        h = images.clamp(-1, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.silu(norm(conv(h)))
        features = F.silu(self.features(h.flatten(1)))
        return self.shape(features), self.texture(features), features

    @torch.inference_mode()
    def judge(self, images: Tensor, batch: int = 250) -> Verdict:
        """Any number of images, in batches."""
        parts = [self.logits(part.float()) for part in images.split(batch)]
        shape, texture, features = (torch.cat(p) for p in zip(*parts, strict=True))
        return Verdict(shape.softmax(-1), texture.softmax(-1), features)


def train_judge(
    data: shapes, steps: int = 1200, batch: int = 64, lr: float = 3e-3, seed: int = 0
) -> Iterator[tuple[int, float, ShapesJudge]]:
    """Train from scratch on items 0 .. steps * batch; yields (step, loss, judge) after each step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = ShapesJudge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for step in range(steps):
        sample = data.batch(range(step * batch, (step + 1) * batch))
        shape, texture, _ = judge.train().logits(sample.images)
        loss = F.cross_entropy(shape, sample.labels) + F.cross_entropy(texture, sample.attributes.texture)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step + 1, loss.item(), judge.eval()


def accuracy(judge: ShapesJudge, data: shapes, count: int = 2000) -> dict[str, float]:
    """Shares of held-out real images whose shape and whose texture are recognised."""
    sample = data.batch(range(HELD_OUT, HELD_OUT + count))
    seen = judge.judge(sample.images)
    return {
        "shape": (seen.shape.argmax(1) == sample.labels).float().mean().item(),
        "texture": (seen.texture.argmax(1) == sample.attributes.texture).float().mean().item(),
        "images": count,
    }


def save(path: Path, judge: ShapesJudge, record: dict[str, Any]) -> None:
    with files.replacing(path) as temporary:
        save_file(
            {k: v.contiguous() for k, v in judge.state_dict().items()}, temporary, metadata={HEADER: json.dumps(record)}
        )


def load(path: str | Path | None = None) -> tuple[ShapesJudge, dict[str, Any]]:
    """(judge, record), the shipped one by default. Raises InputError for a missing or wrong file."""
    path = Path(path or FOLDER / "shapes.safetensors")
    if not path.is_file():
        raise InputError(f"There is no judge at {path}: train one with `python -m pf_core judge --out {path}`.")
    try:
        with safe_open(path, framework="pt") as f:
            record = json.loads((f.metadata() or {})[HEADER])
            weights = {k: f.get_tensor(k) for k in f.keys()}
        judge = ShapesJudge()
        judge.load_state_dict(weights)
    except (SafetensorError, KeyError, ValueError, RuntimeError):
        raise InputError(f"{path} is not a judge of shapes, or is damaged.") from None
    return judge.eval().requires_grad_(False), record
