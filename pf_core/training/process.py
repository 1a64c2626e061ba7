"""Processes of this machine: who is who, who still lives, and how to be polite to the others."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

PROC = Path("/proc")
_GONE = ("Z", "X", "x")  # a zombie has ended, whether or not somebody has waited for it


def birth(pid: int) -> str | None:
    """When a living process was started, as a text that no other process of this pid ever has; None if it is gone.

    A pid alone says nothing: after a while, or a reboot, another process has it.
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


def alive(pid: int | None, born: str | None) -> bool:
    """Whether the very process that had this pid and birth still runs."""
    return bool(pid) and born is not None and birth(pid) == born


def send(pid: int | None, born: str | None, number: signal.Signals) -> bool:
    """Signal that very process and never another one that has got its pid; False if it is gone."""
    if not pid:
        return False
    try:
        handle = os.pidfd_open(pid)  # from here on the handle means this process, even if it ends
    except (AttributeError, OSError):
        if alive(pid, born):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        return False
    try:
        if not alive(pid, born):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def be_nice(niceness: int) -> None:
    """Lower this process's priority. Linux groups processes by session, and then niceness counts within a session
    only: a trainer in a session of its own has that made nice as well. A session that others live in, such as the
    terminal's, is left as it is: it could never be made less nice again."""
    if not hasattr(os, "nice"):  # Windows
        return
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            (PROC / "self" / "autogroup").write_text(str(niceness))


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # glibc's mallopt(3)


def keep_memory(keep: bool = True) -> None:
    """Have this process keep the memory that it frees (glibc only; elsewhere nothing happens).

    Otherwise glibc gives every large tensor back at once and the kernel blanks it again for the next. For a process
    whose peak comes back every step, as a trainer's does. `keep` False: as glibc does by itself.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, 0 if keep else 65536)
        libc.mallopt(_MMAP_THRESHOLD, 2**25)  # where glibc's own, which grows, ends
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1 if keep else 2**26)


def cpu_threads(most: int | None = None) -> int:
    """How many threads this process should compute with: $OMP_NUM_THREADS, or else as many as it has processors (those
    that its affinity allows), and then at most `most`."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 1024:
        return int(asked)
    try:
        here = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        here = os.cpu_count() or 1
    return max(1, here if most is None else min(here, most))
