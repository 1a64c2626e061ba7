"""A trainer's desk: says how the training stands, takes orders between steps, leaves a last word whatever ends it."""

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

HEARTBEAT = 1.0  # seconds between two words of a trainer that has nothing new to say


class Desk:
    """Used as a context around a training. SIGTERM and the first Ctrl+C mean: save and end; a second one ends now."""

    def __init__(self, folder: RunFolder, steps: int, saved: int):
        self.folder, self._stop, self._said = folder, False, 0.0
        self.status = Status("starting", step=saved, steps=steps, saved_step=saved, resumed_from=saved)
        self._open = ExitStack()

    def __enter__(self) -> "Desk":
        at, steps = self.status.step, self.status.steps
        with ExitStack() as opening:
            opening.enter_context(self.folder.claimed())
            self._listen(opening)
            self.folder.withdraw("stop", "pause")  # given to a trainer before this one
            self.folder.sweep()
            self.say("starting", message=f"Goes on from step {at:,} of {steps:,}." if at else "")
            self._open = opening.pop_all()  # all went well: to be closed at the end
        return self

    def __exit__(self, kind, error: BaseException | None, traceback) -> None:
        try:
            if self.status.state not in ("finished", "stopped"):
                self._last_word(error)
        finally:
            self._open.close()

    def say(self, state: str, **news: Any) -> None:
        """Write status.json. Raises InputError if the disk is full."""
        me = {"pid": os.getpid(), "birth": process.birth(os.getpid()), "updated": time.time()}
        durable = state != self.status.state  # a beat that a power cut loses is no loss
        self.status = replace(self.status, state=state, **me, **news)
        self._said = time.monotonic()
        self.folder.write_status(self.status, durable)

    def note(self, **news: Any) -> None:
        """Remember for the next word, which may be the last."""
        self.status = replace(self.status, **news)

    def silent(self) -> bool:
        """Whether it is time for another word."""
        return time.monotonic() - self._said >= HEARTBEAT

    def beat(self, **news: Any) -> None:
        """As `say("running")`, but not more often than is worth it."""
        if self.status.state != "running" or self.silent():
            self.say("running", **news)

    def orders(self) -> set[str]:
        return self.folder.orders() | ({"stop"} if self._stop else set())

    def _listen(self, opening: ExitStack) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python delivers signals to the main thread alone; orders still come as files
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, self._heard)
            opening.callback(signal.signal, number, before)

    def _heard(self, number: int, frame: Any) -> None:
        if self._stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stop = True

    def _last_word(self, error: BaseException | None) -> None:
        at = f"at step {self.status.step:,}; step {self.status.saved_step:,} is saved"
        if isinstance(error, GeneratorExit | KeyboardInterrupt) or error is None:
            state, news = "stopped", {"message": f"Left {at}."}
        else:
            said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            state, news = "failed", {"error": said, "message": f"Failed {at}."}
        self.folder.give_up_reserve()
        with suppress(InputError):
            self.say(state, **news)
