"""Laboratories of the plane: each trains in its own thread, which also draws its plots and runs commands."""

import json
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from app.store import Store
from app.tabs.toy.plots import BENCHMARK, PLANES, PREDICTED, LabPlots
from pf_core.errors import InputError
from pf_core.samplers import SAMPLERS
from pf_core.toy.benchmark import removal, verdict
from pf_core.toy.experiment import COORDINATES, Fig5, ToyConfig, ToyState, figure5_data, trajectories
from pf_core.toy.metrics import distances, measure

IDLE = 60.0  # seconds without a question after which a laboratory may be closed for a new one
UNSEEN = 15.0  # seconds without a question after which it stops training until somebody looks again
FRAME = 0.065  # seconds of training between two pictures
MOST_STARTS = 8
JUDGED = 2000  # points generated for the energy distance
FIGURE_NFE = 50  # of Fig. 5 as a file, at least
LOOK = {
    "sampler": next(iter(SAMPLERS)),
    "settings": {},
    "nfe": 20,
    "view": PREDICTED,
    "coordinate": COORDINATES[0],
    "t": (0.2, 0.2),
}
log = logging.getLogger("patch_forcing.app")


class Lab:
    """One person's training. Methods are called by other threads, except those under "the lab's own thread"."""

    pinned, bytes = False, 0

    def __init__(self, config: ToyConfig, look: dict[str, Any] = {}, picked: list[tuple[float, float]] = []):
        self.id, self.used = secrets.token_urlsafe(16), time.monotonic()
        self.version, self.status, self.note, self.touched = 0, "", "", False
        self.playing, self.burst, self.closed, self.seconds = False, None, False, 0.0
        self.look = {**LOOK, **look}
        self.ablation: dict[bool, dict[str, float]] = {}
        self._commands: queue.Queue[Callable[[], None]] = queue.Queue()
        self._adopt(ToyState(config))
        if picked:
            self.picked = torch.tensor(picked, dtype=torch.float32)[-MOST_STARTS:]
        threading.Thread(target=self._work, name="toy", daemon=True).start()

    @property
    def busy(self) -> bool:
        return time.monotonic() - self.used < IDLE

    def close(self) -> None:
        self.closed = True
        self.tell(lambda: None)

    def tell(self, command: Callable[[], None]) -> None:
        """Have the lab's own thread do something before its next step."""
        self._commands.put(command)

    def ask(self, question: Callable[[], Any], seconds: float = 60) -> Any:
        """The answer of the lab's own thread. Raises InputError if it takes too long."""
        answer: Future = Future()

        def command():
            try:
                answer.set_result(question())
            except Exception as e:
                answer.set_exception(e)

        self.tell(command)
        try:
            return answer.result(seconds)
        except TooLong:
            raise InputError("The laboratory is busy: try again in a moment.") from None

    def restart(self, config: ToyConfig) -> None:
        """Another data set or recipe, from step 0; nothing if it is the same. Raises InputError before a change."""
        if not _but_for(self.state.config, config):
            return
        state = ToyState(config)
        self.touched = True
        self.tell(lambda: self._adopt(state))

    def set(self, **look: Any) -> None:
        """Change what is looked at."""
        self.touched = True
        self.tell(lambda: self.look.update(look))

    def start(self, steps_a_frame: int | None) -> None:
        def command():
            self.playing, self.burst, self.touched = not self.state.finished, steps_a_frame, True
            if self.state.finished:
                self.note = "The training has ended: Rewind starts again from the same seed, Reset from a new one."

        self.tell(command)

    def pace(self, steps_a_frame: int | None) -> None:
        self.tell(lambda: setattr(self, "burst", steps_a_frame))

    def pause(self) -> None:
        self.tell(lambda: setattr(self, "playing", False))

    def step(self) -> None:
        def command():
            self.playing, self.touched = False, True
            self._steps(1)

        self.tell(command)

    def rewind(self) -> None:
        def command():
            self.playing, self.seconds = False, 0.0
            self.state.rewind()
            self.plots = LabPlots(self.state, self.plots.before)

        self.tell(command)

    def add_start(self, x: float, y: float) -> None:
        """One more trajectory, from (x, y); the oldest goes when there are more than MOST_STARTS."""
        self.touched = True
        point = torch.tensor([[x, y]], dtype=torch.float32)
        self.tell(lambda: setattr(self, "picked", torch.cat([self.picked, point])[-MOST_STARTS:]))

    def forget_starts(self) -> None:
        self.tell(lambda: setattr(self, "picked", self.state.forks()))

    def figure5(self) -> Fig5:
        """Fig. 5 of the network as it is, with the chosen starts."""
        look = self.look
        run = (look["sampler"], max(look["nfe"], FIGURE_NFE), look["settings"])
        return self.ask(lambda: figure5_data(self.state, *run, picked=self.picked))

    def numbers(self) -> dict[str, Any]:
        """How right the network is (see pf_core.toy.experiment.measure), and its recipe."""
        at = self.ask(lambda: measure(self.state) | {"step": self.state.done})
        return at | {"train_seconds": round(self.seconds, 3), "recipe": self.state.config.to_dict()}

    def points(self) -> torch.Tensor:
        """(M, 2): the points given, or 2,000 of an endless set."""
        array = self.state.config.array
        return self.state.truth(2000) if array is None else torch.as_tensor(np.asarray(array))

    @property
    def shows_the_plane(self) -> bool:
        """Whether a click into the view is a place of the plane."""
        return self.look["view"] in PLANES

    def since(self, version: int, about: dict[str, str] = {}) -> str:
        """What was drawn after `version`, as JSON, with what else there is to say about the laboratory."""
        self.used = time.monotonic()
        current = self.version  # before the plots are listed: one that is made meanwhile is sent again, not missed
        new = [f"{json.dumps(name)}:{text}" for name, (made, text) in list(self.plots.made.items()) if made > version]
        head = {"version": current, "busy": self.playing, "status": self.status, **about}
        return json.dumps(head)[:-1] + ', "plots": {' + ",".join(new) + "}}"

    # the lab's own thread

    def _adopt(self, state: ToyState) -> None:
        before = getattr(self, "state", None)
        if before and _but_for(before.config, state.config) != ["stop_gradient"]:
            self.ablation = {}
        ghost = None
        if before and before.done > 10 and before.config.data == state.config.data:
            ghost = np.array(before.history), _changed(before.config, state.config)
        self.state, self.playing, self.seconds = state, False, 0.0
        self.plots, self.picked = LabPlots(state, ghost), state.forks()

    def _work(self) -> None:
        self._said(self._draw)
        _warm_up()
        while not self.closed:
            self._said(self._turn)

    def _turn(self) -> None:
        self.note = ""
        self._run_commands()
        if self.playing:
            self._train()
        self._draw()

    def _said(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong becomes a sentence, and the thread lives on."""
        try:
            work()
        except InputError as e:
            self._fail(str(e))
        except Exception:
            log.exception("a laboratory failed")
            self._fail("Something went wrong inside the program; its log says what. Rewind starts again.")

    def _fail(self, sentence: str) -> None:
        self.playing, self.status = False, sentence
        self.version += 1

    def _run_commands(self) -> None:
        """Do what was asked for; while nothing is to be trained, wait for it."""
        if not self.playing and self.version:
            self._commands.get()()
        while self.playing and not self.closed and time.monotonic() - self.used > UNSEEN:
            with suppress(queue.Empty):
                self._commands.get(timeout=0.25)()
        while not self._commands.empty():
            self._commands.get()()

    def _train(self) -> None:
        self._steps(self.burst or 10_000)
        if self.state.finished:
            self.playing = False

    def _steps(self, most: int) -> None:
        begin = time.perf_counter()
        for _ in range(most):
            if self.state.step() is None or time.perf_counter() - begin > FRAME:
                break
        self.seconds += time.perf_counter() - begin
        if self.state.done and not np.isfinite(self.state.history[-1]).all():
            self.playing = False

    def _draw(self) -> None:
        look = dict(self.look)
        self.plots.update(self.version + 1, look, self.picked, self.playing)
        self.status = self.note or self._sentence(look)
        self.version += 1

    def _sentence(self, look: dict[str, Any]) -> str:
        at = self.state
        if at.done and not np.isfinite(at.history[-1]).all():
            return f"The training diverged at step {at.done:,}: lower the learning rate, then Start."
        sentence = f"Step {at.done:,} of {at.config.steps:,}"
        if self.seconds:
            sentence += f", {self.seconds:.1f} s of training"
        if self.playing:
            return sentence + "."
        run = (look["sampler"], look["nfe"], look["settings"])
        far, floor = self.plots.kept("judged", (at.done, str(run)), lambda: self._distances(run))
        sentence += f"; energy distance to the data {far:.4f} (two true samples: {floor:.4f})."
        if look["view"] == BENCHMARK:
            sentence += " " + verdict(self.plots.benchmark(look["nfe"]))
        return sentence + self._ablation()

    def _distances(self, run: tuple) -> tuple[float, float]:
        ends = trajectories(self.state.model, self.state.starts(JUDGED), *run).x[-1]
        return distances(self.state, ends)

    def _ablation(self) -> str:
        """What the stop-gradient changes, once this training has run to its end with it and without it."""
        config = self.state.config
        if not self.state.finished:
            return ""
        if config.stop_gradient not in self.ablation:
            self.ablation[config.stop_gradient] = measure(self.state, 500, 25)
        if len(self.ablation) == 2:
            return " " + removal(self.ablation[True], self.ablation[False])
        return ""


def _but_for(a: ToyConfig, b: ToyConfig) -> list[str]:
    """The names of what differs."""
    one, other = asdict(replace(a, array=None)), asdict(replace(b, array=None))
    same = np.array_equal(a.array if a.array is not None else [], b.array if b.array is not None else [])
    return [k for k in one if one[k] != other[k]] + ([] if same else ["array"])


def _changed(old: ToyConfig, new: ToyConfig) -> str:
    """What the older one had, in words for a legend."""
    names = _but_for(old, new)
    if not names:
        return "before"
    value = getattr(old, names[0])
    words = names[0].replace("_", " ")
    if isinstance(value, bool):
        return ("with " if value else "without ") + words.replace("stop gradient", "stop-gradient")
    return f"{words} {value}" if isinstance(value, int | float | str) else "before"


@cache
def _warm_up() -> None:
    """What a process's first training step loads takes seconds on a busy machine: before anyone presses Start."""
    ToyState(ToyConfig(steps=1, batch_size=2)).step()


def open_lab(
    labs: Store[Lab], config: ToyConfig, look: dict[str, Any] = {}, picked: list[tuple[float, float]] = []
) -> Lab:
    """A new laboratory; the oldest idle one is closed for it. Raises InputError for a wrong config, or when all are in
    use."""
    if len(labs) >= labs.most and all(lab.busy for lab in labs.all()):
        raise InputError(f"{labs.most} laboratories are in use already: try again in a minute.")
    return labs.add(Lab(config, look, picked))
