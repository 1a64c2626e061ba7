"""TrainerStatus: writes how a training stands, reads commands between steps, and reports how it ended."""

import os
import signal
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from pf_core.errors import InputError
from pf_core.training import process
from pf_core.training.run_dir import RunFolder, Status

HEARTBEAT = 1.0  # seconds between two reports of a trainer that has nothing new to report


class TrainerStatus:
    """A context around a training. SIGTERM and the first Ctrl+C mean "save and end"; a second Ctrl+C ends at once.

    record: the Status that status.json holds, or will hold after the next report.
    """

    def __init__(self, folder: RunFolder, steps: int, saved: int):
        self.folder, self._stop, self._reported = folder, False, 0.0
        self.record = Status("starting", step=saved, steps=steps, saved_step=saved, resumed_from=saved)
        self._open = ExitStack()

    def __enter__(self) -> "TrainerStatus":
        step, steps = self.record.step, self.record.steps
        with ExitStack() as opening:
            opening.enter_context(self.folder.claimed())
            self._listen(opening)
            self.folder.withdraw("stop", "pause")  # meant for an earlier trainer
            self.folder.sweep()
            self.report("starting", message=f"Resumes from step {step:,} of {steps:,}." if step else "")
            self._open = opening.pop_all()  # nothing failed: closed at the end
        return self

    def __exit__(self, kind, error: BaseException | None, traceback) -> None:
        try:
            if self.record.state not in ("finished", "stopped"):
                self._report_end(error)
        finally:
            self._open.close()

    def report(self, state: str, **changes: Any) -> None:
        """Write status.json. Raises InputError if the disk is full."""
        me = {"pid": os.getpid(), "start_time": process.start_time_of(os.getpid()), "updated": time.time()}
        durable = state != self.record.state  # losing a heartbeat in a power cut does no harm
        self.record = replace(self.record, state=state, **me, **changes)
        self._reported = time.monotonic()
        self.folder.write_status(self.record, durable)

    def update(self, **changes: Any) -> None:
        """Change the record without writing it: the next report includes the changes."""
        self.record = replace(self.record, **changes)

    def due(self) -> bool:
        """Whether the last report is HEARTBEAT seconds old."""
        return time.monotonic() - self._reported >= HEARTBEAT

    def heartbeat(self, **changes: Any) -> None:
        """As `report("running")`, but only if one is due."""
        if self.record.state != "running" or self.due():
            self.report("running", **changes)

    def commands(self) -> set[str]:
        return self.folder.commands() | ({"stop"} if self._stop else set())

    def _listen(self, opening: ExitStack) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python delivers signals to the main thread only; commands still arrive as files
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, self._on_signal)
            opening.callback(signal.signal, number, before)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stop = True

    def _report_end(self, error: BaseException | None) -> None:
        at = f"at step {self.record.step:,}; step {self.record.saved_step:,} is saved"
        if isinstance(error, GeneratorExit | KeyboardInterrupt) or error is None:
            state, changes = "stopped", {"message": f"Stopped {at}."}
        else:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            state, changes = "failed", {"error": reason, "message": f"Failed {at}."}
        self.folder.give_up_reserve()
        with suppress(InputError):
            self.report(state, **changes)
