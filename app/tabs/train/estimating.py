"""Estimate: answers at once, says how long it takes, and can be cancelled."""

import threading
from collections.abc import Callable, Iterator

import gradio as gr
from gradio.components import Component

from app.handlers import Refusal, StatusLine
from pf_core.errors import InputError
from pf_core.training.plans import Estimate, Measuring

PAUSE = 0.5  # seconds between two words of progress


class Estimating:
    """One estimate at a time on this server; `cancelled` belongs to the page that asked last with this key."""

    def __init__(self, said: Component, cancel: gr.Button, status: StatusLine):
        self.said, self.cancel, self.status = said, cancel, status
        self._turn, self._stops = threading.Lock(), dict[str, threading.Event]()

    def run(self, page: str, begin: Callable[[], Measuring], words: Callable[[Estimate], str]) -> Iterator[dict]:
        """What a handler yields, from its first answer to the estimate."""
        self.stop(page)
        stop = self._stops[page] = threading.Event()
        yield self._busy("Measuring a few steps of this training here ...")
        while not self._turn.acquire(timeout=PAUSE):
            if stop.is_set():
                yield self._over("Cancelled.")
                return
            yield self._busy("Waiting: another page measures just now ...")
        measuring = None
        try:
            measuring = begin()
            while (found := measuring.found(PAUSE)) is None and not stop.is_set():
                yield self._busy(f"Measuring a few steps of this training here: {measuring.seconds:.0f} s ...")
            yield self._over("Cancelled." if found is None else words(found))
        except InputError as e:
            yield self._over("") | {self.status: Refusal(e)}
        finally:
            if measuring is not None:
                measuring.stop()
            self._turn.release()
            if self._stops.get(page) is stop:
                del self._stops[page]

    def stop(self, page: str) -> None:
        """Cancel what this page measures, if it does."""
        if page in self._stops:
            self._stops[page].set()

    def _busy(self, words: str) -> dict[Component, object]:
        return {self.said: words, self.cancel: gr.update(visible=True), self.status: ""}

    def _over(self, words: str) -> dict[Component, object]:
        return {self.said: words, self.cancel: gr.update(visible=False), self.status: ""}
