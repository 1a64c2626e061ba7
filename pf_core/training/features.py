"""What a frozen encoder says of pictures, computed once a picture and kept on the disk: REPA's cache.

One growing file under home()/.repa for each encoder, data set, size and grid. A row is a picture's digest and its
tokens; rows are found by what the picture is, so that neither order nor mirroring nor resuming matters, and several
processes and trainings share them. A removed file is computed again.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pf_core import files
from pf_core.data.own import paths
from pf_core.errors import InputError

ENDLESS = 2**28  # a data set of more pictures never shows one twice
SPARE = 2**30  # bytes of disk that are left to others: where there are no more, nothing is added


class Features:
    """key: whatever the tokens depend on besides the picture. shape: (N, D) of a picture's tokens."""

    def __init__(self, key: dict[str, Any], shape: tuple[int, int]):
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        self.path = paths.home() / ".repa" / f"{name}.rows"
        self._row = np.dtype([("picture", "V16"), ("check", "<u4"), ("tokens", "<f2", shape)])
        self._rows: np.ndarray | None = None
        self._known: dict[bytes, int] = {}
        self._inode = 0  # of the file that the rows are of

    def of(self, pictures: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, N, D) float32 in half precision's steps, be they read or made: the tokens of pictures (B, ...); make:
        what computes those that are not there yet."""
        digests = [_digest(picture) for picture in pictures.detach().float().cpu()]
        there = {digest: self._read(digest) for digest in digests}
        if any(tokens is None for tokens in there.values()):
            self._look()  # another process may have added them
            there = {digest: self._read(digest) for digest in digests}
        new = {digest: k for k, digest in enumerate(digests) if there[digest] is None}
        if new:
            made = make(pictures[list(new.values())]).half().cpu().numpy()
            self._add(list(new), made)
            there |= dict(zip(new, made, strict=True))
        together = np.stack([there[digest] for digest in digests]).astype(np.float32)
        return torch.from_numpy(together).to(pictures.device)

    def __len__(self) -> int:
        """Pictures known, when last looked at."""
        return len(self._known)

    def _read(self, digest: bytes) -> np.ndarray | None:
        """A picture's tokens; None if they are not there, or damaged, as a power cut leaves them."""
        if (place := self._known.get(digest)) is None:
            return None
        row = self._rows[place]
        tokens = np.array(row["tokens"])
        return tokens if bytes(row["picture"]) == digest and zlib.crc32(tokens) == row["check"] else None

    def _look(self) -> None:
        """Map the file as it is now."""
        first = 0 if self._rows is None else len(self._rows)
        about = self.path.stat() if self.path.exists() else None
        count, inode = (about.st_size // self._row.itemsize, about.st_ino) if about else (0, 0)
        if count < first or inode != self._inode:  # removed, and begun anew
            self._rows, self._known, self._inode, first = None, {}, inode, 0
        if count > first:
            self._rows = np.memmap(self.path, self._row, "r", shape=(count,))
            self._known |= {bytes(d): first + k for k, d in enumerate(self._rows["picture"][first:])}

    def _add(self, digests: list[bytes], tokens: np.ndarray) -> None:
        """Raises InputError if the file cannot be written."""
        rows = np.zeros(len(digests), self._row)
        rows["picture"] = np.frombuffer(b"".join(digests), "V16")
        rows["tokens"] = tokens
        rows["check"] = [zlib.crc32(np.ascontiguousarray(each)) for each in tokens]
        with files.locked(self.path.with_suffix(".lock")):
            if shutil.disk_usage(self.path.parent).free < SPARE + rows.nbytes:
                return
            try:
                with open(self.path, "ab") as f:
                    f.truncate(f.seek(0, os.SEEK_END) // self._row.itemsize * self._row.itemsize)  # less half a row
                    f.write(rows.tobytes())
            except OSError as e:
                raise InputError(f"Cannot write {self.path}: {e.strerror or e}.") from None
        self._look()


def _digest(picture: Tensor) -> bytes:
    return hashlib.blake2b(picture.numpy().tobytes(), digest_size=16).digest()


def key_of(weights: str | Path, sizes: Any, data: Any) -> dict[str, Any]:
    """What tokens depend on, and the data set, so that each has a file. Raises InputError for one without end."""
    if len(data) > ENDLESS:
        raise InputError("--repa-cache keeps what each picture gave, and this data set has no end: leave it out.")
    facts = getattr(data, "facts", None) or {}
    try:
        return {"encoder": files.sha256(weights), "sizes": sizes, "data": facts.get("digest", data.name)}
    except OSError as e:
        raise InputError(f"Cannot read {weights}: {e.strerror or e}.") from None
