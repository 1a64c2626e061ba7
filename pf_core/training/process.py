"""Processes of this machine: telling them apart, whether they run, signals, priority and threads."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

PROC = Path("/proc")
_GONE = ("Z", "X", "x")  # a zombie has ended, whether or not its parent has waited for it


def start_time_of(pid: int) -> str | None:
    """When a running process was started, as a text; None if it has ended.

    A pid is used again after some time or a reboot. The pid and the start time together identify a process.
    """
    if (PROC / "self" / "stat").exists():
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in _GONE else f"{_boot()}:{fields[19]}"
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


@cache
def _boot() -> str:
    return (PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()


def alive(pid: int | None, start_time: str | None) -> bool:
    """Whether the process with this pid and this start time still runs."""
    return bool(pid) and start_time is not None and start_time_of(pid) == start_time


def send(pid: int | None, start_time: str | None, number: signal.Signals) -> bool:
    """Signal the process with this pid and this start time, never a later one with the same pid; False if it has
    ended."""
    if not pid:
        return False
    try:
        handle = os.pidfd_open(pid)  # the handle refers to this process even after it ends
    except (AttributeError, OSError):
        if alive(pid, start_time):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        return False
    try:
        if not alive(pid, start_time):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def be_nice(niceness: int) -> None:
    """Lower this process's priority. With autogroup, Linux applies niceness within a session only, so a trainer that
    leads its own session lowers the session's priority too. A shared session, such as a terminal's, is left alone,
    because its priority could not be raised again."""
    if not hasattr(os, "nice"):  # Windows
        return
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            (PROC / "self" / "autogroup").write_text(str(niceness))


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # glibc's mallopt(3)


def keep_memory(keep: bool = True) -> None:
    """Have this process keep the memory that it frees (glibc only; elsewhere nothing happens).

    By default glibc returns every large tensor's memory at once, and the kernel zeroes it again for the next tensor.
    Worth it for a process that needs its peak memory again every step, such as a trainer. `keep` False: glibc's
    default.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, 0 if keep else 65536)
        libc.mallopt(_MMAP_THRESHOLD, 2**25)  # the maximum of glibc's own dynamic threshold
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1 if keep else 2**26)


def cpu_threads(most: int | None = None) -> int:
    """How many threads this process should compute with: $OMP_NUM_THREADS if set, else the number of processors that
    its affinity allows, at most `most`."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 1024:
        return int(asked)
    try:
        here = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        here = os.cpu_count() or 1
    return max(1, here if most is None else min(here, most))
