"""Networks that people add to the server: uploaded, or by a path under a folder that the operator allowed."""

import re
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.limits import ADDED_BYTES, UPLOAD_BYTES
from app.store import ACTIVE, DONE, FAILED, RUNNING
from pf_core.errors import InputError
from pf_core.memory import in_words
from pf_core.models import autoencoder, checkpoint
from pf_core.models.importing import KINDS, Imported, adopt, is_checkpoint, take

NOTHING = "none: previews only"  # in the list of autoencoders
TOLD = "as the file tells"  # in the list of kinds
SPARE = 2**30  # bytes of disk that are left to others


@dataclass(eq=False)
class Adding:
    """A file on its way into the lists: what is being done, and in the end what became of it."""

    name: str
    state: str = RUNNING
    sentence: str = ""
    result: Imported | None = None

    @property
    def busy(self) -> bool:
        return self.state in ACTIVE

    @property
    def report(self) -> str:
        """Lines for people."""
        if self.result is None:
            return self.sentence
        return "\n".join([f"{self.name} is in the lists of networks now: {self.result.summary}", *self.result.notes])


class Additions:
    """One at a time, each in a thread of its own; no page waits, and none is needed for it to go on.

    roots: the folders under which a path that a browser names may lie; nothing else is opened.
    """

    def __init__(self, roots: list[Path] | None = None):
        self._named, self._lock, self._uploaded = roots, threading.Lock(), 0
        self.last: Adding | None = None

    @property
    def roots(self) -> list[Path]:
        """The checkpoints' and the runs' folder, unless the server was started with others."""
        return [root.resolve() for root in self._named or [checkpoint.FOLDER, checkpoint.RUNS]]

    def autoencoders(self) -> list[str]:
        """The folders of autoencoders that may be chosen."""
        return [str(folder) for folder in autoencoder.below(self.roots)]

    def found(self, text: Any) -> Path:
        """The file that a browser's text names, absolute or from a root. Raises InputError; whether there is a file
        outside of the roots is not told."""
        text, roots = str(text or "").strip(), self.roots
        where = " or ".join(map(str, roots))
        if not text:
            raise InputError(f"Choose a file to upload, or name one that lies under {where}.")
        try:
            tried = [(root / text).resolve() for root in roots]
            under = [path for path in tried if any(path.is_relative_to(root) for root in roots)]
            path = next((path for path in under if path.is_file()), None)
        except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a circle of links
            raise InputError(f"{text[:80]!r} is not the name of a file.") from None
        if not under:
            raise InputError(
                f"{text[:200]} lies outside of the folders that files are taken from here ({where}): the server's "
                "operator can allow more with --networks-from FOLDER."
            )
        if path is None:
            raise InputError(f"There is no file {text[:200]} under {where}.")
        return path

    def upload(self, path: str, called: str, **choices: Any) -> Adding:
        """Take a file that was uploaded, which is deleted afterwards. Raises InputError."""
        if not Path(path).is_file():
            raise InputError("The file is no longer kept: upload it again.")
        size = Path(path).stat().st_size
        if size > UPLOAD_BYTES:
            raise InputError(
                f"Uploads end at {in_words(UPLOAD_BYTES)}, and this file has {in_words(size)}: copy it to the server "
                "and name its path."
            )
        if self._uploaded + size > ADDED_BYTES:
            raise InputError(
                f"This server takes {in_words(ADDED_BYTES)} of uploaded networks in all: name a path instead."
            )

        def then(added: bool) -> None:
            self._uploaded += size if added else 0
            with suppress(OSError):
                Path(path).unlink()

        return self._start(Path(path), called, then=then, **choices)

    def path(self, text: str, **choices: Any) -> Adding:
        """Take a file that is on the server. Raises InputError."""
        path = self.found(text)
        return self._start(path, path.name, **choices)

    def _start(
        self,
        path: Path,
        called: str,
        name: str = "",
        kind: str = TOLD,
        encoder: str = NOTHING,
        then: Callable[[bool], Any] = lambda added: None,
    ) -> Adding:
        if Path(called).suffix.lower() not in KINDS:
            raise InputError(f"{called[:80]!r} is no file of a network: their names end in {', '.join(KINDS)}.")
        out = self._target(name or Path(called).stem)
        size, free = path.stat().st_size, shutil.disk_usage(out.parent).free
        if free < 2 * size + SPARE:
            raise InputError(
                f"The server's disk is too full: {in_words(2 * size)} are needed, {in_words(free)} are free."
            )
        encoder = None if encoder in (NOTHING, None, "") else self._autoencoder(encoder)
        kind = None if kind in (TOLD, None, "") else kind
        with self._lock:
            if self.last is not None and self.last.busy:
                raise InputError(f"{self.last.name} is being added just now: wait until it is done.")
            self.last = adding = Adding(out.stem)

        def work() -> Imported:
            if is_checkpoint(path):
                self._check_places(path)
                return adopt(path, out)
            return take(
                path, out, kind=kind, encoder=encoder, named=called, say=lambda text: setattr(adding, "sentence", text)
            )

        threading.Thread(target=_follow, args=(adding, work, then, path, called), name="adding", daemon=True).start()
        return adding

    def _target(self, name: str) -> Path:
        """Where a network of this name goes. Raises InputError for one that cannot be had."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(name).strip().removesuffix(".safetensors"))[:64].strip("-.")
        if not re.fullmatch(checkpoint.RUN_NAME, name):
            raise InputError("Give the network a name of letters, digits, dots, dashes and underscores.")
        out = checkpoint.FOLDER / f"{name}.safetensors"
        if name in checkpoint.ORACLES or out.exists():
            raise InputError(f"There is a network {name} already: give this one another name.")
        return out

    def _autoencoder(self, asked: Any) -> str:
        if asked not in self.autoencoders():
            raise InputError("That autoencoder is not in the list (any more): choose another.")
        return asked

    def _check_places(self, path: Path) -> None:
        """Raises InputError where a file names an autoencoder outside of the roots: it would be opened later."""
        settings = checkpoint.read_header(path).get("codec_settings") or {}
        folder = settings.get("autoencoder") if isinstance(settings, dict) else None
        if folder and not any(Path(str(folder)).resolve().is_relative_to(root) for root in self.roots):
            raise InputError(
                f"The file names an autoencoder outside of the folders that files are taken from here "
                f"({str(folder)[:200]})."
            )


def _follow(adding: Adding, work: Callable[[], Imported], then: Callable[[bool], Any], path: Path, called: str) -> None:
    """Work, call then(whether it was added), and only then say that it is over."""
    try:
        adding.result = work()
    except InputError as e:
        adding.sentence = str(e).replace(str(path), called)
    except Exception:
        adding.sentence = "It failed inside the program; the server's log says where."
        raise
    finally:
        then(adding.result is not None)
        adding.state = FAILED if adding.result is None else DONE
