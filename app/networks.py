"""Loaded networks, kept by bytes: the longest unused leave when all together are more than the limit."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from app.limits import LOADED_BYTES
from pf_core import memory
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle

INSTEAD = "close what else runs on this machine, or take a smaller network"


class Loaded:
    """Each network is loaded once, and again when its file changes; one that is being loaded keeps nobody waiting who
    asks for another. `freed()` is called when some have left."""

    def __init__(
        self,
        most_bytes: int = LOADED_BYTES,
        freed: Callable[[], object] = lambda: None,
        device: torch.device | str = "cpu",
    ):
        self.most_bytes, self.device, self._freed = most_bytes, torch.device(device), freed
        self._kept: OrderedDict[str, tuple[tuple, Bundle]] = OrderedDict()
        self._lock, self._loading = threading.Lock(), dict[str, threading.Lock]()

    def get(self, name: str) -> Bundle:
        """Raises InputError, also where memory does not suffice."""
        _file(name)  # refused before it is given a lock, which is kept for good
        with self._lock:
            turn = self._loading.setdefault(name, threading.Lock())
        with turn:
            path = _file(name)
            seen = version(path)
            with self._lock:
                if name in self._kept and self._kept[name][0] == seen:
                    self._kept.move_to_end(name)
                    return self._kept[name][1]
                self._kept.pop(name, None)
            need = 0 if path is None else checkpoint.loaded_bytes(path)
            self.trim(self.most_bytes - need)
            memory.check(need, f"The network {name}", self.device, INSTEAD)
            with memory.sentences(f"loading {name}", INSTEAD):
                bundle = checkpoint.load(name, self.device)
            with self._lock:
                self._kept[name] = (seen, bundle)
            return bundle

    def trim(self, most_bytes: int) -> None:
        """Let the longest unused go until the rest is not larger. Runs that are going on hold what they need."""
        left = False
        with self._lock:
            while self._kept and sum(size_of(bundle) for _, bundle in self._kept.values()) > most_bytes:
                self._kept.popitem(last=False)
                left = True
        if left:
            self._freed()

    def forget(self) -> None:
        """Let all of them go."""
        with self._lock:
            self._kept.clear()
        self._freed()

    def names(self) -> list[str]:
        """Those that are loaded, the longest unused first."""
        with self._lock:
            return list(self._kept)


def _file(name: str) -> Path | None:
    """None for an oracle. Raises InputError where there is none."""
    return None if name in checkpoint.ORACLES else checkpoint.find(name)


def version(path: Path | None) -> tuple:
    """Changes whenever a file does."""
    return () if path is None else (str(path), *checkpoint.version(path))


def size_of(bundle: Bundle) -> int:
    """Bytes of a network's numbers, those for passes in bf16 among them where there has been one."""
    networks = [bundle.model, vars(bundle).get("in_bf16")]
    parts = [(*n.parameters(), *n.buffers()) for n in networks if isinstance(n, torch.nn.Module)]
    return sum(each.nbytes for each in {id(each): each for held in parts for each in held}.values())
