"""Bulk sampling: tens of thousands of images by one recipe, in blocks of fixed seeds, by any number of processes.

Image i has the seed `first_seed + i` and the classes come in turn. A block is what one process draws at a time; which
process draws it does not matter, so that the files are the same whatever their number. The processes do not talk to
each other: each looks at the folder, so that one that dies takes no other with it, and what it left is drawn when the
command is given again.
"""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

from pf_core import files, flow
from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.models.codecs import to_uint8
from pf_core.registry import Knob
from pf_core.sampling.run import MAX_IMAGES, MAX_SEED, Run, SampleSpec
from pf_core.types import Step

PLAN, BLOCKS, ARRAY, RANKING = "generate.json", "blocks", "samples.npz", "ranking.csv"
FORMATS = ("png", "npz")


@dataclass(frozen=True)
class BulkConfig:
    """What is drawn, beside the recipe: `classes` in turn (as a recipe asks for them; empty: no classes)."""

    num: Annotated[int, Knob(1, 100_000_000, "images")] = 50_000
    first_seed: Annotated[int, Knob(0, MAX_SEED, "seed of the first image; the others follow")] = 0
    block: Annotated[int, Knob(1, MAX_IMAGES, "images a block: drawn together, and lost together at a stop")] = 50
    format: Annotated[
        str, Knob(choices=FORMATS, help="a folder of PNG files, or arr_0 of one npz, as FID evaluators read them")
    ] = "png"
    threads: Annotated[int, Knob(1, 1024, "CPU threads of each process: their number may change rounding")] = 1
    rank_by_certainty: Annotated[
        bool,
        Knob(help=f"write {RANKING}: the images by the variance that the network predicted along their paths"),
    ] = False
    classes: tuple[str | None, ...] = ()

    def __post_init__(self):
        if self.first_seed + self.num > MAX_SEED:
            raise InputError(f"The last image's seed would be over {MAX_SEED}: start at a smaller one.")

    @property
    def blocks(self) -> int:
        return -(-self.num // self.block)

    def images(self, block: int) -> range:
        """Numbers of a block's images, from 0."""
        return range(block * self.block, min((block + 1) * self.block, self.num))

    def label(self, image: int) -> str | None:
        return self.classes[image % len(self.classes)] if self.classes else None


def every_class(bundle: Bundle) -> tuple[str | None, ...]:
    """All classes that a network can be asked for, as a recipe asks for them."""
    return tuple(bundle.conditioner.asked(i) for i in range(labelled(bundle)))


class Bulk:
    """A folder in which the images of one recipe are drawn. The first process writes down what is drawn there; all
    others, and later calls, must want the same.

    folder: made if it is missing. spec: its seeds and labels are left aside. Raises InputError.
    """

    def __init__(self, bundle: Bundle, spec: SampleSpec, config: BulkConfig, folder: str | Path):
        self.bundle, self.config, self.folder = bundle, config, Path(folder)
        self.completed = False  # by this process
        if config.rank_by_certainty and not bundle.predicts_difficulty:
            raise InputError(f"{bundle.name} predicts no difficulty, so its images cannot be ranked.")
        if config.rank_by_certainty and spec.difficulty != "head":
            raise InputError("Images are ranked by what the network's head predicts: leave --difficulty out.")
        bundle.codec.check()
        self.spec = Run(bundle, self._of(spec, range(1))).spec
        recipe = {k: v for k, v in self.spec.to_dict().items() if k not in ("seeds", "labels")}
        self.plan = json.loads(json.dumps({"recipe": recipe, "config": asdict(config), "device": bundle.device.type}))
        self._check_empty()
        with self._locked():
            self._begin()

    def draw(self, index: int = 0, processes: int = 1) -> Iterator[int]:
        """Draw what process `index` of `processes` has to draw and is not there yet; yields the number of images of
        each of its blocks. Whoever finds that nothing is missing any more completes the folder."""
        for block in range(index, self.config.blocks, processes):
            if not self._drawn(block):
                self._draw(block)
            yield len(self.config.images(block))
        with self._locked():
            if not self.missing():
                self._complete()

    @property
    def complete(self) -> bool:
        return self._ended and (not self.config.rank_by_certainty or _whole(self.folder / RANKING))

    @property
    def _ended(self) -> bool:
        """Whether all was drawn once, and the array of an npz folder is still there."""
        ended = files.read_json(self.folder / PLAN).get("complete", False) is True
        return ended and (self.config.format != "npz" or _whole(self.folder / ARRAY))

    def missing(self) -> int:
        """Blocks that are not drawn yet."""
        return 0 if self.complete else sum(not self._drawn(block) for block in range(self.config.blocks))

    def _drawn(self, block: int) -> bool:
        """Whether its record and images are there; a file without content is what a power cut leaves."""
        if self.config.format == "npz":
            return _whole(self._path(block)) and (_whole(self._pixels(block)) or self._ended)
        return _whole(self._path(block)) and all(_whole(self.image(i)) for i in self.config.images(block))

    # the folder

    def _locked(self):
        return files.locked(self.folder / f".{PLAN}.lock")

    def _check_empty(self) -> None:
        """Raises InputError for a folder of pictures without a plan, before anything is written there."""
        there = self.folder.is_dir() and any(file.suffix in (".png", ".npz") for file in self.folder.iterdir())
        if there and not (self.folder / PLAN).exists():  # a plan is written before its pictures
            raise InputError(f"{self.folder} holds other pictures already: name an empty folder with --out.")

    def _begin(self) -> None:
        """Write down what is drawn, or check it. Raises InputError for a folder of other images."""
        path = self.folder / PLAN
        if not path.exists():
            files.write_json(path, self.plan)
            return
        there = files.read_json(path)
        for part in ("recipe", "config", "device"):
            if there.get(part) != self.plan[part]:
                raise InputError(
                    f"{self.folder} holds images of another {_difference(there.get(part), self.plan[part], part)}: "
                    "repeat its command to go on with it, or name another folder with --out."
                )

    def _path(self, block: int) -> Path:
        """A block's record, written after its images: there is one as soon as the block is whole."""
        return self.folder / BLOCKS / f"{block:07d}.json"

    def _pixels(self, block: int) -> Path:
        return self._path(block).with_suffix(".npy")

    def image(self, number: int) -> Path:
        return self.folder / f"{number:0{max(6, len(str(self.config.num - 1)))}d}.png"

    # one block

    def recipe(self, block: int) -> SampleSpec:
        return self._of(self.spec, self.config.images(block))

    def _of(self, spec: SampleSpec, images: range) -> SampleSpec:
        config = self.config
        return replace(spec, seeds=[config.first_seed + i for i in images], labels=[config.label(i) for i in images])

    def _draw(self, block: int) -> None:
        images, run = self.config.images(block), Run(self.bundle, self.recipe(block))
        certainty = Uncertainty(self.bundle.grid) if self.config.rank_by_certainty else None
        for step in run:
            if certainty is not None:
                certainty.add(step)
        pixels = to_uint8(self.bundle.codec.decode(step.x.float())).cpu().numpy()
        if self.config.format == "npz":
            with files.replacing(self._pixels(block), durable=False) as temporary, open(temporary, "wb") as f:
                np.save(f, pixels, allow_pickle=False)
        else:
            for i, tile in zip(images, pixels, strict=True):
                self._save(i, tile)
        record: dict[str, Any] = {"sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}
        if certainty is not None:
            record["uncertainty"] = certainty.total.tolist()
        files.write_json(self._path(block), record, durable=False)

    def _save(self, number: int, tile: np.ndarray) -> None:
        """One image with its own recipe inside: `sample --recipe` draws it again."""
        info = PngImagePlugin.PngInfo()
        info.add_text("recipe", json.dumps(self._of(self.spec, range(number, number + 1)).to_dict()))
        with files.replacing(self.image(number), durable=False) as temporary:
            Image.fromarray(tile).save(temporary, "PNG", pnginfo=info)

    # the end

    def _complete(self) -> None:
        if not self.complete:
            if self.config.rank_by_certainty:
                self._rank()
            if self.config.format == "npz" and not self._ended:
                self._pack()
            files.write_json(self.folder / PLAN, self.plan | {"complete": True, "images": self.config.num})
            self.completed = True
        rest = [*self.folder.glob(".*.tmp*"), *(self.folder / BLOCKS).glob(".*.tmp*")]  # of processes that were killed
        for path in [*rest, *(self.folder / BLOCKS).glob("*.npy")]:
            with suppress(OSError):
                path.unlink()

    def _rank(self) -> None:
        """RANKING: most certain first; of equals the smaller number."""
        total = np.concatenate([files.read_json(self._path(b))["uncertainty"] for b in range(self.config.blocks)])
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["rank", "image", "seed", "class", "uncertainty"])
        for rank, i in enumerate(np.argsort(total, kind="stable").tolist()):
            table.writerow([rank, i, self.config.first_seed + i, self.config.label(i) or "", repr(float(total[i]))])
        with files.replacing(self.folder / RANKING) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")

    def _pack(self) -> None:
        """All blocks as arr_0 (N, H, W, 3) uint8 of one npz, block by block: no more than one is in memory."""
        shape = (self.config.num, *np.load(self._pixels(0), mmap_mode="r", allow_pickle=False).shape[1:])
        entry = zipfile.ZipInfo("arr_0.npy")  # of 1980, so that equal images make an equal file
        with (
            files.replacing(self.folder / ARRAY) as temporary,
            zipfile.ZipFile(temporary, "w") as archive,
            archive.open(entry, "w", force_zip64=True) as f,
        ):
            np.lib.format.write_array_header_2_0(f, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for block in range(self.config.blocks):
                f.write(np.load(self._pixels(block), allow_pickle=False).tobytes())


class Uncertainty:
    """The predicted variance of the velocity, summed along the path: of each outer step the mean over the patches of
    the conditional prediction's difficulty, times the step's length in t. `total` (B,) float64."""

    def __init__(self, grid):
        self.grid, self.total, self._last = grid, 0.0, None

    def add(self, step: Step) -> None:
        if step.phase not in ("outer", "final"):
            return
        t = _float64(step.t).mean(1).cpu()  # all patches share one time at an outer step
        if self._last is not None:
            begin, variance = self._last
            self.total = self.total + variance * (t - begin)
        if step.prediction is not None:
            variance = _float64(flow.difficulty(step.prediction.logvar_cond, self.grid)).mean(1).cpu()
            self._last = t, variance


def _float64(x: Tensor) -> Tensor:
    return (x.cpu() if x.device.type == "mps" else x).double()  # Apple's GPUs have no float64


def _whole(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _difference(there: Any, wanted: dict[str, Any], part: str) -> str:
    """Of two records, what differs, in words."""
    if not isinstance(there, dict) or not isinstance(wanted, dict):
        return f"{part} ({there}, not {wanted})"
    name = next((k for k in {**wanted, **there} if wanted.get(k) != there.get(k)), part)
    return f"{re.sub('_', ' ', name)} ({there.get(name)!r:.60}, not {wanted.get(name)!r:.60})"
