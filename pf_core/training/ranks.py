"""The processes of one training: what the first one decides reaches all of them, between two steps.

Only the first process (rank 0) reads commands, validates, draws and writes. After a step the others listen: they go on,
end, or help to gather what is spread over all. This goes through a group of its own, on the CPU: a word costs no wait
for a GPU, and a pause may last as long as it likes.
"""

import atexit
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

GO, STOP, GATHER = 1, 2, 3  # the words; GATHER + k asks for help with the k-th thing that is spread
PATIENCE = timedelta(days=365)  # for which a pause may last


@atexit.register
def _leave() -> None:
    """The groups' threads end before the process does: one that is still there may abort it, though all is done."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


class Ranks:
    """index of `count` processes, which torch.distributed.run has started; a single process has nobody to talk to."""

    def __init__(self):
        together = dist.is_available() and dist.is_initialized()
        self.index, self.count = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE) if self.count > 1 else None

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def own(self) -> slice:
        """This process's images of a batch: every count-th."""
        return slice(self.index, None, self.count)

    def tell(self, word: int) -> None:
        """Of the first process, to all others."""
        if self.count > 1:
            dist.broadcast(torch.tensor(word), 0, group=self._group)

    def hear(self) -> int:
        """What the first process tells next. Raises RuntimeError if it has died."""
        word = torch.tensor(0)
        dist.broadcast(word, 0, group=self._group)
        return int(word)

    def mean(self, values: list[torch.Tensor]) -> list[torch.Tensor]:
        """Scalars, averaged over all processes."""
        if self.count == 1:
            return values
        together = torch.stack(values)
        dist.all_reduce(together)
        return list(together / self.count)


def rank() -> int:
    """This process's number as torch.distributed.run has told it, before there is any group; 0 for a single one."""
    return int(os.environ.get("RANK", 0))


def processes() -> int:
    """How many torch.distributed.run has started; 1 for a single one."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def deaf() -> Iterator[None]:
    """SIGTERM and Ctrl+C reach every process, but only the first one acts on them, and tells the others."""
    with ExitStack() as after:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                after.callback(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        yield
