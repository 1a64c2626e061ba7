"""`Folder`: own pictures. A finite data set in epochs, with a held-out share; classes and captions as in `scan`.

    data = Folder(path="flowers-3fa9c1d2", size=32)      # an imported set (`pf_core.data.own.importer`)
    data = Folder(path="/home/me/pictures", size=64)     # any folder: if allowed, see `pf_core.data.own.paths`
    data.names, data.facts                               # classes; pictures, held out, a digest of what is trained on
    data.batch(range(64)).images                         # (64, 3, size, size) in [-1, 1]

Index i < HELD_OUT is place i mod T of epoch i div T of the T training pictures; an epoch's order and its flips come
from (series, epoch) alone, so that a resumed run sees what it would have seen. From HELD_OUT on come the held-out ones,
never flipped, over and over.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pf_core.data.own import paths
from pf_core.data.own.cache import Packed, pack
from pf_core.data.own.library import listing_of
from pf_core.data.own.scan import RULES, Listing, Skipped, arrange, of_folder
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError
from pf_core.registry import Knob

HELD_OUT_SHARE = 0.1
NAMED = 3  # files that a sentence names; `python -m pf_core data` names all


@dataclass(frozen=True)
class Pictures:
    """images (B, 3, H, W) in [-1, 1]; labels (B,); captions, '' where there is none."""

    images: Tensor
    labels: Tensor
    captions: list[str]


class Folder:
    """Own pictures: classes from sub-folders.

    Centre-cropped and resized; captions (metadata.jsonl, or .txt beside a picture) are kept for what can read them.
    """

    name = "folder"
    channels = 3
    rules = RULES  # by which files are read: a run keeps the version that it began under

    def __init__(
        self,
        *,
        path: Annotated[str, Knob(help="folder of pictures, or the name of an imported set")] = "",
        size: Annotated[int, Knob(8, 512, "side in pixels")] = 32,
        flip: Annotated[bool, Knob(help="show half of the pictures mirrored, chosen anew each time")] = True,
        held_out: Annotated[float, Knob(0.0, 0.5, "share of the pictures kept for validation")] = HELD_OUT_SHARE,
        series: Annotated[int, Knob(0, 2**31 - 1, "which order and which flips", advanced=True)] = 0,
        skip_bad: Annotated[bool, Knob(help="go on without files that cannot be read")] = False,
    ):
        self.path, self.size, self.flip, self.series, self._skip_bad = path, size, flip, series, skip_bad
        self._root = paths.find(path)
        self._listing = _listing(self._root)
        self.names, self.skipped, self.notes = self._listing.classes, self._listing.skipped, self._listing.notes
        if not self._listing.items:
            raise InputError(_nothing(path, self.skipped))
        if not paths.is_set(path):  # these files have not been checked yet
            self._refuse_bad(skip_bad)
        self.labels = np.array([self._listing.items[i].label for i in self._kept])
        apart = np.array([self._listing.items[i].held for i in self._kept])
        self._train, self._held = _given(apart, path) if apart.any() else _split(self.labels, held_out)
        if apart.any() and held_out != HELD_OUT_SHARE:
            self.notes = [*self.notes, f"held_out {held_out:g} is not used: folders say which pictures are held out."]

    def __len__(self) -> int:
        """Pictures to train on: an epoch."""
        return len(self._train)

    @property
    def held(self) -> int:
        """Pictures held out."""
        return len(self._held)

    @property
    def facts(self) -> dict[str, Any]:
        """For records and for comparing: pictures, those held out, captions, files skipped, digest, the version of the
        reading rules, sentences on how they were read, classes' counts."""
        counts = np.bincount(self.labels, minlength=len(self.names)).tolist()
        return {
            "pictures": len(self.labels),
            "held_out": self.held,
            "captions": sum(bool(self._listing.items[i].caption) for i in self._kept),
            "skipped": len(self.skipped),
            "digest": self._packed.digest,
            "rules": self.rules,
            "notes": self.notes,
            "classes": dict(zip(self.names, counts, strict=True)),
        }

    def check_captions(self) -> None:
        """Raises InputError for captions that cannot be read, unless those may be left out."""
        if (unread := self._listing.unread) and not self._skip_bad:
            raise InputError(
                f"{len(unread)} of the captions in {self.path} cannot be read: {_some(unread)} Add skip_bad "
                "(--skip-bad) to go on with these pictures as pictures without a caption."
            )

    def vocabulary(self) -> list[str]:
        """All captions. Raises InputError if there is none."""
        captions = [self._listing.items[i].caption for i in self._kept]
        if not any(captions):
            raise InputError(f"None of the pictures in {self.path} has a caption, which a network of prompts needs.")
        return captions

    def batch(self, indices: range | list[int]) -> Pictures:
        places = [self._place(int(i)) for i in indices]
        rows, flipped = np.array([row for row, _ in places], int), np.array([flip for _, flip in places], bool)
        pixels = np.array(self._packed.pixels[rows])  # (B, 3, H, W)
        if self.flip:
            pixels[flipped] = pixels[flipped, :, :, ::-1]
        images = torch.from_numpy(pixels).float().div_(127.5).sub_(1)
        return Pictures(images, torch.from_numpy(self.labels[rows]), self.captions_of(indices))

    def captions_of(self, indices: range | list[int]) -> list[str]:
        """The captions of the pictures with these indices, '' where there is none."""
        return [self._listing.items[self._kept[self._place(int(i))[0]]].caption for i in indices]

    def _place(self, index: int) -> tuple[int, bool]:
        """(row, mirrored?)."""
        if index >= HELD_OUT:
            held = self._held if len(self._held) else self._train
            return int(held[(index - HELD_OUT) % len(held)]), False
        epoch, place = divmod(index, len(self._train))
        order, flips = _epoch(self.series, epoch, len(self._train))
        return int(self._train[order[place]]), bool(flips[place])

    @cached_property
    def _packed(self) -> Packed:
        packed = pack(self._listing.items, self.names, self.size)
        if packed.skipped and paths.is_set(self.path):
            raise InputError(f"The data set {self.path} is damaged ({packed.skipped[0]}) Import its pictures again.")
        return packed

    @property
    def _kept(self) -> range | list[int]:
        return range(len(self._listing.items)) if paths.is_set(self.path) else self._packed.kept

    def _refuse_bad(self, skip_bad: bool) -> None:
        bad, count = self._packed.skipped, len(self._listing.items)
        self.skipped = self.skipped + bad
        if len(bad) == count:
            raise InputError(_nothing(self.path, bad))
        if bad and not skip_bad:
            raise InputError(
                f"{len(bad)} of the {count} pictures in {self.path} cannot be read: {_some(bad)} "
                f"Add skip_bad (--skip-bad) to go on with the other {count - len(bad)}."
            )


def _listing(root: Path) -> Listing:
    if (root / paths.MANIFEST).is_file() and root.parent == paths.home():
        return listing_of(root)
    return arrange(*of_folder(root, outside=paths.follows_links(root)))


def _given(held: np.ndarray, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, where folders say which (val, test). Raises InputError."""
    if held.all():
        raise InputError(f"All pictures in {path} that can be used are held out: there is none to train on.")
    return np.flatnonzero(~held), np.flatnonzero(held)


def _split(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out; the last picture of a class is never held out."""
    count = len(labels)
    wanted = min(max(1, round(count * share)), count - 1) if share else 0
    left, held = np.bincount(labels), []
    for row in np.random.default_rng([2026, count]).permutation(count):
        if len(held) < wanted and left[labels[row]] > 1:
            held.append(row)
            left[labels[row]] -= 1
    return np.setdiff1d(np.arange(count), held), np.array(sorted(held), int)


@lru_cache(maxsize=4)
def _epoch(series: int, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of the training pictures and which are mirrored."""
    rng = np.random.default_rng([series, epoch])
    return rng.permutation(count), rng.random(count) < 0.5


def _some(skipped: list[Skipped]) -> str:
    more = f" And {len(skipped) - NAMED} more." if len(skipped) > NAMED else ""
    return " ".join(str(s) for s in skipped[:NAMED]) + more


def _nothing(path: str, skipped: list[Skipped]) -> str:
    return f"There is no picture that can be used in {path}." + (f" {_some(skipped)}" if skipped else "")
