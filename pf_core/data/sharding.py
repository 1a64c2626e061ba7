"""Shards written: samples of a data set into tar files as `shards` reads them, one file after the other.

What a tar file holds follows from the plan alone, and it is there as soon as it is whole: so a command that was stopped
goes on where it was, and several processes may share the work. Samples that the data set holds out are spread over the
files, the last ones of each; shards.json says how many.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pf_core import bounded, files
from pf_core.data.shards import CLASSES, CODEC, PLAN, index_of, tars
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError

Files = dict[str, bytes]  # of one sample: ending (.png, .cls, ...) -> content


@dataclass(frozen=True)
class Plan:
    """train, held: samples of either kind; size: samples of a tar file, at most; recipe: what they are, for records;
    names: of the classes; codec: (name, settings) where the samples are latents."""

    train: int
    held: int
    size: int
    recipe: dict[str, Any]
    names: list[str]
    codec: tuple[str, dict[str, Any]] | None = None

    @property
    def shards(self) -> int:
        """Tar files: each has a sample to train on."""
        return min(-(-(self.train + self.held) // self.size), self.train)

    def indices(self, shard: int) -> list[int]:
        """The data set's indices of a shard's samples, those held out last."""
        held = _share(self.held, shard, self.shards)
        return [*_share(self.train, shard, self.shards), *(HELD_OUT + i for i in held)]

    def name(self, shard: int) -> str:
        return f"{shard:06d}.tar"

    def to_dict(self) -> dict[str, Any]:
        held = {self.name(k): len(_share(self.held, k, self.shards)) for k in range(self.shards)}
        return json.loads(json.dumps({"recipe": self.recipe, "train": self.train, "size": self.size, "held": held}))


def _share(count: int, part: int, parts: int) -> range:
    return range(count * part // parts, count * (part + 1) // parts)


def write(
    folder: str | Path,
    plan: Plan,
    pack: Callable[[list[int]], list[Files]],
    batch: int = 16,
    index: int = 0,
    processes: int = 1,
) -> Iterator[int]:
    """Write what process `index` of `processes` has to write and is not there yet; yields the number of samples of each
    of its tar files. Whoever finds that none is missing writes the index. pack(indices) are the samples' files, and is
    asked for `batch` at a time. Raises InputError, also for a folder of other samples."""
    folder = Path(folder)
    with files.locked(folder / f".{PLAN}.lock"):
        _begin(folder, plan)
    for shard in range(index, plan.shards, processes):
        indices = plan.indices(shard)
        if not (folder / plan.name(shard)).exists():
            _write(folder / plan.name(shard), indices, pack, batch)
        yield len(indices)
    with files.locked(folder / f".{PLAN}.lock"):
        if not missing(folder, plan):
            for left in folder.glob(".*.tmp.tar"):  # by a writer that was killed: now nobody writes any more
                left.unlink(missing_ok=True)
            index_of(folder)


def missing(folder: str | Path, plan: Plan) -> int:
    """Tar files that are not there yet."""
    return sum(not (Path(folder) / plan.name(shard)).exists() for shard in range(plan.shards))


def _begin(folder: Path, plan: Plan) -> None:
    """Write down what is written, or check it."""
    told = plan.to_dict()
    try:
        _ = [bounded.parse_json(json.dumps(value, indent=1)) for value in (told, plan.names)]
    except ValueError:
        raise InputError(
            f"{plan.shards:,} tar files and {len(plan.names):,} classes are more than {PLAN} and {CLASSES} can tell: "
            "make fewer tar files, with a larger --per-shard."
        ) from None
    if (folder / PLAN).exists():
        if files.read_json(folder / PLAN) != told:
            raise InputError(
                f"{folder} holds shards of other samples: repeat its command to go on with it, or name another folder."
            )
        return
    if tars(folder):
        raise InputError(f"{folder} holds tar files already: name an empty folder.")
    if plan.names:
        files.write_json(folder / CLASSES, plan.names)
    if plan.codec:
        files.write_json(folder / CODEC, dict(zip(("name", "settings"), plan.codec, strict=True)))
    files.write_json(folder / PLAN, told)


def _write(path: Path, indices: list[int], pack: Callable[[list[int]], list[Files]], batch: int) -> None:
    """One tar file, the same bytes for the same samples."""
    with files.replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for start in range(0, len(indices), batch):
            for number, sample in enumerate(pack(indices[start : start + batch]), start):
                for ending, content in sample.items():
                    member = tarfile.TarInfo(f"{path.stem}-{number:06d}{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
