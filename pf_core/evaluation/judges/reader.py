"""The judge that reads signs: a character for each column of pixels, or none, by convolutions over the width."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pf_core.data.signs.words import ALPHABET, MOST
from pf_core.evaluation.spelling import counts

BLANK = len(ALPHABET)  # the class of a column without a character
IGNORED = -100
SHORTEST = 2  # columns: what is a character in one alone is a slip between two, on real signs too
_CENTRE, _EDGE = 0.3, 0.55  # of a character's width: how far its columns reach from its centre, and where blanks begin


class Reader(nn.Module):
    """Reads (B, 3, size, W) pictures in [-1, 1] of signs, W any even number; values outside are clamped.

    Four levels of convolutions make the picture 1/8 as high and half as wide; one as high as the rest takes the height
    away. Each column then gives characters for two columns of pixels. What is read are the columns' most probable
    classes, equal neighbours taken together and blanks left out, as in CTC (Graves et al., 2006), and what holds for
    fewer than SHORTEST columns left out before. It is trained by CTC's loss, and by the true columns of the characters,
    which spares it the search for them.
    """

    kind = "reader"
    mirrors = False  # a mirrored letter is another

    def __init__(self, size: int, width: int = 32):
        super().__init__()
        self.size, self.width = size, width
        channels = [3, width, 2 * width, 3 * width, 4 * width]
        strides = [(2, 2), (2, 1), (2, 1), (1, 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, s, 1) for a, b, s in zip(channels, channels[1:], strides, strict=False)
        )
        top = channels[-1]
        self.fold = nn.Conv2d(top, top, (size // 8, 3), padding=(0, 1))
        self.along = nn.ModuleList(nn.Conv1d(top, top, 5, padding=2) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in channels[1:])
        self.late_norms = nn.ModuleList(nn.BatchNorm1d(top) for _ in range(3))
        self.head = nn.Linear(top, 2 * (BLANK + 1))

    @classmethod
    def of(cls, field: Any, width: int) -> "Reader":
        return cls(field.settings["size"], width)

    @classmethod
    def check(cls, dataset: type) -> bool:
        """Can this judge a data set?"""
        return hasattr(dataset, "texts")

    @staticmethod
    def covers(field: Any) -> dict[str, tuple[float, float]]:
        """Signs with fewer characters than the longest: with `variety` to 1 or `longest` 6 all."""
        all_lengths = field.settings["longest"] == MOST or field.ranges.get("variety", (0, 0))[1] == 1
        return {"longest": (0, MOST)} if all_lengths else {}

    @property
    def shape(self) -> dict[str, Any]:
        return {"size": self.size, "width": self.width}

    def logits(self, images: Tensor) -> Tensor:
        """(B, W, 37): ALPHABET and the blank, for each column of pixels."""
        h = images.clamp(-1, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.silu(norm(conv(h)))
        h = F.silu(self.late_norms[0](self.fold(h)[:, :, 0]))
        for conv, norm in zip(self.along, self.late_norms[1:], strict=True):
            h = h + F.silu(norm(conv(h)))
        return self.head(h.transpose(1, 2)).unflatten(2, (2, BLANK + 1)).flatten(1, 2)

    @staticmethod
    def truth(sample: Any, data: Any) -> dict[str, Tensor]:
        """letters (B, 6) indices into ALPHABET, -1 past a word's end; columns (B, W): the class of each column."""
        known = torch.full((len(sample.texts), MOST), -1)
        for row, text in zip(known, sample.texts, strict=True):
            row[: len(text)] = torch.tensor([ALPHABET.index(c) for c in text])
        return {"letters": known, "columns": _columns(known, sample.boxes, sample.images.shape[-1])}

    def loss(self, logits: Tensor, truth: dict[str, Tensor]) -> Tensor:
        """CTC's loss a character, and the cross entropy of columns."""
        logp = logits.float().log_softmax(-1)
        known = truth["letters"].to(logp.device)
        lengths = (known >= 0).sum(1)
        frames = torch.full_like(lengths, logp.shape[1])
        ctc = F.ctc_loss(logp.transpose(0, 1), known.clamp(min=0), frames, lengths, BLANK, "none", True)
        by_column = F.nll_loss(logp.flatten(0, 1), truth["columns"].to(logp.device).flatten(), ignore_index=IGNORED)
        return (ctc / lengths).mean() + by_column

    @torch.inference_mode()
    def read(self, images: Tensor, batch: int = 250) -> list[str]:
        """What the signs in any number of pictures say, "" where nothing can be read."""
        device = self.head.weight.device
        best = [self.logits(part.float().to(device)).argmax(-1).cpu() for part in images.split(batch)]
        return [_collapsed(row) for part in best for row in part]

    @staticmethod
    def packed(reading: str) -> str:
        """What `read` says of one picture, as JSON can hold it; and back."""
        return reading

    unpacked = packed

    def right(self, images: Tensor, truth: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
        """name -> (hits, of): characters, less edits, and whole words."""
        asked = ["".join(ALPHABET[k] for k in row if k >= 0) for row in truth["letters"].tolist()]
        edits, characters, words, many, _ = counts(self.read(images), asked).sum(0)
        return {"characters": (characters - edits, characters), "words": (words, many)}


def _collapsed(row: Tensor, shortest: int = SHORTEST) -> str:
    classes, columns = torch.unique_consecutive(row, return_counts=True)
    runs = classes[(columns >= shortest) | (classes == BLANK)].unique_consecutive().tolist()
    return "".join(ALPHABET[k] for k in runs if k != BLANK)


def _columns(known: Tensor, boxes: Tensor, wide: int) -> Tensor:
    """(B, W) the class of each column: a character about its centre, the blank between characters, IGNORED where one
    begins or ends. known: (B, 6); boxes: (B, 6, 4) in pixels."""
    place = torch.arange(wide) + 0.5
    centre, width = (boxes[..., 0] + boxes[..., 2]) / 2, boxes[..., 2] - boxes[..., 0]
    away = (place - centre[..., None]).abs()  # (B, 6, W)
    away[known < 0] = torch.inf
    nearest = away.min(1)
    own = nearest.indices
    half = width.gather(1, own)
    inside = nearest.values <= (_CENTRE * half).clamp(min=0.75)
    blank = nearest.values > (_EDGE * half).clamp(min=1.75)
    return torch.where(inside, known.gather(1, own), torch.where(blank, BLANK, IGNORED))
