"""What the server keeps for people: each thing under an unguessable id, bounded in number and bytes."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pf_core.errors import InputError
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.trajectory import Trajectory
from pf_core.types import Codec

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"
ACTIVE = (WAITING, RUNNING)


class Unknown(InputError):
    """Nothing is kept under this id (any more)."""


class Busy(InputError):
    """Too many wait already: the same may be asked again in a moment."""


class Kept(Protocol):
    """What a Store can hold. `busy`: in use, never thrown out; `pinned`: neither counted nor thrown out."""

    id: str

    @property
    def bytes(self) -> int: ...
    @property
    def busy(self) -> bool: ...
    @property
    def pinned(self) -> bool: ...


T = TypeVar("T", bound=Kept)
V = TypeVar("V", str, bytes)


class Store(Generic[T]):
    """Ids -> things, oldest first. `gone`: the sentence for an id that is not here; `closed(thing)` is called with what
    is thrown out."""

    def __init__(self, most: int, most_bytes: int, gone: str, closed: Callable[[T], Any] = lambda thing: None):
        self.most, self.most_bytes, self.gone, self._closed = most, most_bytes, gone, closed
        self._things: dict[str, T] = {}
        self._lock = threading.Lock()

    def add(self, thing: T) -> T:
        with self._lock:
            self._things[thing.id] = thing
        self.trim()
        return thing

    def get(self, key: Any) -> T:
        """Raises Unknown."""
        thing = self._things.get(key) if isinstance(key, str) else None
        if thing is None:
            raise Unknown(self.gone)
        return thing

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._things

    def __len__(self) -> int:
        return len(self._things)

    def all(self) -> list[T]:
        with self._lock:
            return list(self._things.values())

    def drop(self, key: str) -> None:
        """Throw one out, if it is here."""
        with self._lock:
            thing = self._things.pop(key, None)
        if thing is not None:
            self._closed(thing)

    def trim(self) -> None:
        """Throw out the oldest that are not in use until both bounds hold; the newest always stays."""
        out = []
        with self._lock:
            kept = [t for t in self._things.values() if not t.pinned]
            total, number = sum(t.bytes for t in kept), len(kept)
            for thing in kept[:-1]:
                if number <= self.most and total <= self.most_bytes:
                    break
                if not thing.busy:
                    out.append(self._things.pop(thing.id))
                    total, number = total - thing.bytes, number - 1
        for thing in out:
            self._closed(thing)


class Once(Generic[V]):
    """Texts or bytes that are computed once a key, one at a time, however many ask at once; the newest `most_bytes`
    are kept."""

    def __init__(self, most_bytes: int):
        self._most, self._known, self._lock = most_bytes, OrderedDict[Hashable, V](), threading.Lock()

    def known(self, key: Hashable) -> V | None:
        """What is kept, without waiting for what is being computed."""
        return self._known.get(key)

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        with self._lock:
            if key not in self._known:
                self._known[key] = make()
                while len(self._known) > 1 and sum(map(len, self._known.values())) > self._most:
                    self._known.popitem(last=False)
            return self._known[key]


@dataclass(eq=False)  # a run is itself: comparing its tensors would say nothing
class StoredRun:
    """A run, whatever its state: what was asked (spec), what was recorded so far (trajectory) and, packed for the
    browser, one bytes object a frame. `job` is the pf_core.sampling.Run that is iterated, None for a recording."""

    spec: SampleSpec
    trajectory: Trajectory
    codec: Codec
    label: str
    job: Any = None
    guided: bool = False
    takes: str = "class"  # what its network draws: a class, or a prompt
    passes: int = 0  # forward passes of the whole run; 0: as many as its NFE
    state: str = WAITING
    message: str = ""
    pinned: bool = False  # shipped with the app: never thrown out
    origin: str = ""  # where it came from, if it was not run here: "recorded", "from a file"
    packed: list[bytes] = field(default_factory=list)
    heads: list[dict] = field(default_factory=list)
    size: tuple[int, int] | None = None  # height and width of a decoded image, once there is one
    stop: threading.Event = field(default_factory=threading.Event)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def busy(self) -> bool:
        return self.state in ACTIVE

    @property
    def edit_images(self) -> Any:
        """The uploaded pictures that its edits paint with, or None."""
        return self.trajectory.edit_images

    @property
    def bytes(self) -> int:
        """About what this run holds: the packed frames, and the recorded tensors that exports are made from."""
        first = self.trajectory.frames[:1]
        held = sum(v.nbytes for f in first for v in vars(f).values() if hasattr(v, "nbytes")) * len(self.trajectory)
        given = 0 if self.edit_images is None else self.edit_images.nbytes
        return held + given + sum(map(len, self.packed))
