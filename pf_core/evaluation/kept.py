"""Arrays that take long to compute and never change, kept under home()/.kept: what a judge sees in real images.

A file's name is a digest of all that the numbers hang on: what was asked for, the code of the data sets and judges, and
torch's version. So nothing old is ever read, and a removed folder is filled again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pf_core
from pf_core import files
from pf_core.data.own import paths
from pf_core.errors import InputError

_CODE = "data", "evaluation/judges"  # of pf_core: what draws images, and what looks at them


def kept(of: dict[str, Any], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """compute()'s array, of any shape, or the same from the disk. of: all that it hangs on beside the code, as JSON can
    say it. A folder that cannot be written is no error."""
    path = _path(of)
    with suppress(OSError, ValueError, EOFError):
        return np.load(path, allow_pickle=False)
    found = compute()
    with suppress(InputError), files.replacing(path, durable=False) as temporary, open(temporary, "wb") as f:
        np.save(f, found, allow_pickle=False)
    return found


def is_kept(of: dict[str, Any]) -> bool:
    """Whether `kept` would find a file."""
    return _path(of).exists()


def _path(of: dict[str, Any]) -> Path:
    key = json.dumps(of | {"code": code_of(*_CODE), "torch": torch.__version__}, sort_keys=True)
    return folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"


def folder() -> Path:
    return paths.home() / ".kept"


def _sources(part: Path) -> Iterable[Path]:
    return [part] if part.is_file() else part.rglob("*.py")


@cache
def code_of(*parts: str) -> str:
    """A digest of source files: of these ones of pf_core, and of those in these folders."""
    root, digest = Path(pf_core.__file__).parent, hashlib.sha256()
    for path in sorted(path for part in parts for path in _sources(root / part)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
