"""Where own data lie, and which folders may be named.

Imported sets live under `home()`: $PATCH_FORCING_DATA, or data/sets (not in runs/, which is kept small by
throwing away what runs can spare). Other folders may be named if they lie under one of `roots()`: those of
$PATCH_FORCING_DATA_ROOTS (separated as in $PATH), or else the project's data/. The command line belongs to whoever runs
it and may name any folder: it works inside `any_path()`.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from pf_core.errors import InputError

PROJECT = Path(__file__).resolve().parents[3]
MANIFEST = "manifest.json"
SERVED = "PATCH_FORCING_SERVED"  # set in a server's environment, and so in that of the trainers which it starts
_anywhere = ContextVar("anywhere", default=False)


def home() -> Path:
    return Path(os.environ.get("PATCH_FORCING_DATA") or PROJECT / "data" / "sets").resolve()


def roots() -> list[Path]:
    named = os.environ.get("PATCH_FORCING_DATA_ROOTS")
    return [Path(p).expanduser().resolve() for p in named.split(os.pathsep) if p] if named else [PROJECT / "data"]


@contextmanager
def any_path() -> Iterator[None]:
    """Inside, any folder may be named, in this thread: for the command line."""
    token = _anywhere.set(True)
    try:
        yield
    finally:
        _anywhere.reset(token)


def anywhere() -> bool:
    return _anywhere.get()


def follows_links(folder: Path) -> bool:
    """Whether links out of a folder are followed: on the command line. A trainer that a server has started follows none
    out of a folder that a page may name: there they were left out."""
    return anywhere() and not (os.environ.get(SERVED) and _shared(folder))


def as_served(served: bool | None) -> None:
    """Follow links as the run did that goes on, whoever starts its trainer. None: it does not say."""
    if served:
        os.environ[SERVED] = "1"
    elif served is not None:
        os.environ.pop(SERVED, None)


def _shared(folder: Path) -> bool:
    return any(folder.is_relative_to(root) for root in [home(), *roots()])


def is_set(name: str) -> bool:
    """Whether this is the name of an imported set."""
    return bool(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,80}", name)) and (home() / name / MANIFEST).is_file()


def find(path: str) -> Path:
    """The folder of an imported set, by name, or a folder by its path: absolute, or from a root or from here.

    Raises InputError for a folder that may not be named or is not there.
    """
    path = str(path).strip()
    if not path:
        raise InputError("Name a folder of pictures with path, or an imported set (python -m pf_core data).")
    if is_set(path):
        return home() / path
    try:
        tried = [p.resolve() for p in [*(root / path for root in roots()), Path(path).expanduser()]]
        allowed = [p for p in tried if anywhere() or _shared(p)]
        folder = next((p for p in allowed if p.is_dir()), None)
    except (OSError, ValueError, RuntimeError):  # too long a name, a zero byte, an unknown ~user
        raise InputError(f"{path[:80]!r} is not the name of a folder.") from None
    if not allowed:
        where = ", ".join(map(str, roots()))
        raise InputError(
            f"{path} lies outside of the folders whose pictures may be used here ({where}). "
            "The server's operator can allow more with PATCH_FORCING_DATA_ROOTS."
        )
    if folder is None:
        raise InputError(f"There is no folder {path}, and no data set of that name.")
    return folder


def named() -> list[str]:
    """What can be chosen without typing a path: imported sets, newest first, then the roots' sub-folders."""
    sets = [p.parent for p in home().glob(f"*/{MANIFEST}") if is_set(p.parent.name)]
    sets.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    under = [p for root in roots() if root.is_dir() for p in sorted(root.iterdir()) if p.is_dir() and p != home()]
    return [p.name for p in sets] + [str(p) for p in under if not p.name.startswith(".")]
