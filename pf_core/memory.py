"""Memory: how much is free, and, where it runs out, a sentence and not the end."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from pf_core.errors import InputError

CGROUP = Path("/sys/fs/cgroup")
SMALL = 2**28  # bytes that are always thought to be there
SHARE = 0.9  # of what is free, that one thing may take
_WORDS = ("not enough memory", "can't allocate memory", "out of memory")


class OutOfMemory(InputError):
    """Memory ran out, or would."""


def available(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be had: of a GPU, or of this machine or the part of it that this process may use."""
    device = torch.device(device)
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for us
        return torch.cuda.mem_get_info(device)[0] + kept
    import psutil  # here, as on Linux it needs what other systems lack

    return min([psutil.virtual_memory().available, *_left_of_group()])


def _left_of_group() -> Iterator[int]:
    """What a container's limit leaves, where there is one: control groups of version 2, then of version 1."""
    for folder, most, used, files in (
        (CGROUP, "memory.max", "memory.current", "inactive_file"),
        (CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            limit, taken = (int((folder / name).read_text()) for name in (most, used))
            lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield limit - taken + sum(int(count) for name, count in lines if name == files)


def check(need: int, what: str, device: torch.device | str = "cpu", instead: str = "") -> None:
    """Raises OutOfMemory if `what`, the sentence's subject, needs more bytes than are free; `instead`: what to do."""
    if need <= SMALL:
        return
    free = available(device)
    if need > SHARE * free:
        where = "on the GPU" if torch.device(device).type == "cuda" else "here"
        raise OutOfMemory(
            f"{what} needs about {in_words(need)} of memory, and {in_words(max(0, free))} are free {where}: "
            f"{instead or 'close what else runs on this machine'}."
        )


def in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def ran_out(e: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    if isinstance(e, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(e, RuntimeError) and any(word in str(e).lower() for word in _WORDS)


def give_up(e: BaseException) -> None:
    """Let go of what the failed work held: the variables of its frames, and what PyTorch keeps of a GPU's memory."""
    while e is not None:
        traceback.clear_frames(e.__traceback__)
        e = e.__cause__ or e.__context__
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def sentences(doing: str, instead: str = "fewer images, or a smaller network, need less") -> Iterator[None]:
    """Where memory runs out inside, all of it is let go and OutOfMemory raised. `doing` ends "Memory ran out while"."""
    try:
        yield
    except (MemoryError, RuntimeError) as e:
        if not ran_out(e):
            raise
        give_up(e)
        raise OutOfMemory(f"Memory ran out while {doing}: {instead}.") from None
