"""Laboratories of the plane: each a training in a thread of its own, which draws its plots and obeys between steps."""

import json
import queue
import secrets
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.store import UnknownRun
from pf_core.errors import InputError
from pf_core.figures import interactive as plots
from pf_core.figures.static import limits
from pf_core.samplers import SAMPLERS
from pf_core.toylab import Field, ToyConfig, ToyState, calibration, distances, fields, trajectories, visited

MAX_LABS = 8
IDLE = 60.0  # seconds without a question after which a laboratory may be closed for a new one
FRAME = 0.07  # seconds of training between two pictures
POINTS, WAYS, LATTICE = 300, 8, 32
PLOTS = ["data", "generated", "uncertainty", "view", "losses"]
VIEWS = ["predicted uncertainty", "exact uncertainty", "their difference", "velocity", "calibration"]


class Lab:
    """One person's training. `plots` hold (version, JSON); `set` and `tell` are for other threads."""

    def __init__(self, config: ToyConfig):
        self.id, self.used = secrets.token_urlsafe(16), time.monotonic()
        self.version, self.plots, self.said = 0, {}, ""
        self.playing, self.burst, self.closed = False, None, False
        self.look = {"sampler": next(iter(SAMPLERS)), "settings": {}, "nfe": 20, "view": VIEWS[0], "t": (0.2, 0.2)}
        self._orders: queue.Queue[Callable[[], None]] = queue.Queue()
        self._adopt(ToyState(config))
        threading.Thread(target=self._work, name="toy", daemon=True).start()

    # for other threads

    def tell(self, order: Callable[[], None]) -> None:
        """Have the lab's own thread do something before its next step."""
        self._orders.put(order)

    def restart(self, config: ToyConfig) -> None:
        """Another data set or recipe, from step 0. Raises InputError before anything changes."""
        state = ToyState(config)
        self.tell(lambda: self._adopt(state))

    def set(self, **look: Any) -> None:
        """Change what is looked at."""
        self.tell(lambda: self.look.update(look))

    def start(self, steps_a_frame: int | None) -> None:
        def order():
            self.playing, self.burst, self.begin = not self.state.finished, steps_a_frame, time.perf_counter()

        self.tell(order)

    def pause(self) -> None:
        self.tell(lambda: setattr(self, "playing", False))

    def step(self) -> None:
        def order():
            self.playing = False
            self.state.step()

        self.tell(order)

    def rewind(self) -> None:
        def order():
            self.playing, self.seconds = False, 0.0
            self.state.rewind()

        self.tell(order)

    def add_start(self, x: float, y: float) -> None:
        """One more trajectory, from (x, y); the oldest goes when there are more than WAYS."""
        point = torch.tensor([[x, y]], dtype=torch.float32)
        self.tell(lambda: setattr(self, "picked", torch.cat([self.picked, point])[-WAYS:]))

    def forget_starts(self) -> None:
        self.tell(lambda: setattr(self, "picked", self.state.forks()))

    def since(self, version: int) -> str:
        """What was drawn after `version`, as JSON."""
        self.used = time.monotonic()
        new = [f"{json.dumps(name)}:{text}" for name, (made, text) in list(self.plots.items()) if made > version]
        head = {"version": self.version, "busy": self.playing, "said": self.said}
        return json.dumps(head)[:-1] + ', "plots": {' + ",".join(new) + "}}"

    # the lab's own thread

    def _adopt(self, state: ToyState) -> None:
        self.state, self.playing, self.seconds = state, False, 0.0
        self.noise, self.truth = state.starts(POINTS), state.truth(POINTS)
        self.low, self.high = limits(self.noise.numpy(), self.truth.numpy())
        spread = self.truth.var(0).mean() + state.source.std**2
        self.sigma = float(spread.sqrt())  # the colour scale's end, whatever the time
        self.picked, self._exact, self._data_drawn = state.forks(), {}, False

    def _work(self) -> None:
        self._draw()
        _warm_up()
        while not self.closed:
            try:
                self._obey()
                if self.playing:
                    self._train()
                self._draw()
            except InputError as e:
                self.playing, self.said = False, str(e)
                self.version += 1

    def _obey(self) -> None:
        """Do what was asked for; while nothing is to be trained, wait for it."""
        if not self.playing and self.version:
            self._orders.get()()
        while not self._orders.empty():
            self._orders.get()()

    def _train(self) -> None:
        begin = time.perf_counter()
        for _ in range(self.burst or 10_000):
            if self.state.step() is None or time.perf_counter() - begin > FRAME:
                break
        self.seconds += time.perf_counter() - begin
        if self.state.finished:
            self.playing = False

    def _draw(self) -> None:
        look, version = dict(self.look), self.version + 1
        run = (look["sampler"], look["nfe"], look["settings"])
        all_ = trajectories(self.state.model, self.noise, *run)
        made = {
            "generated": plots.generated(all_.x[all_.on_path].numpy(), _name(look["sampler"]), self.low, self.high),
            "uncertainty": self._ways(run),
            "view": self._view(look),
            "losses": self._losses(),
        }
        if not self._data_drawn:
            made["data"], self._data_drawn = plots.data(self.noise.numpy(), self.truth.numpy()), True
        for name, figure in made.items():
            self.plots[name] = (version, json.dumps(figure))
        self.said, self.version = self._sentence(all_.x[-1]), version

    def _ways(self, run: tuple) -> dict:
        ways = trajectories(self.state.model, self.picked, *run)
        on = ways.on_path
        off = [i for i in range(len(ways.phase)) if i not in on]
        shade, times = ways.uncertainty[on].numpy(), ways.t[on].numpy()
        seen = (self.noise.numpy(), self.truth.numpy(), ways.x[on].numpy(), shade, times, self.low, self.high)
        return plots.uncertainty(*seen, probes=ways.x[off].numpy())

    def _view(self, look: dict) -> dict:
        if look["view"] == VIEWS[4]:
            return self._calibration()
        tx, ty = look["t"]
        at = f"t_x {tx:.2f}, t_y {ty:.2f}"
        if look["view"] == VIEWS[3]:
            seen = self._fields(look["t"], 16)
            return plots.arrows(f"Velocity at {at}", seen.xs, seen.ys, seen.velocity, seen.exact_velocity)
        seen = self._fields(look["t"], LATTICE)
        heat = {VIEWS[0]: seen.sigma, VIEWS[1]: seen.exact_sigma, VIEWS[2]: seen.sigma - seen.exact_sigma}
        title = {VIEWS[0]: "Predicted sigma", VIEWS[1]: "Exact sigma", VIEWS[2]: "Predicted minus exact sigma"}
        span = (-self.sigma / 2, self.sigma / 2) if look["view"] == VIEWS[2] else (0.0, self.sigma)
        return plots.heat(f"{title[look['view']]} at {at}", seen.xs, seen.ys, heat[look["view"]], span, "sigma")

    def _fields(self, t: tuple[float, float], k: int) -> Field:
        """The network's, and the truth's from the last time it was asked for here."""
        key = (*t, k)
        if key not in self._exact:
            self._exact = {key: fields(self.state, t, self.low, self.high, k)}
        known = self._exact[key]
        now = fields(self.state, t, self.low, self.high, k, exact=False)
        return Field(now.xs, now.ys, now.velocity, known.exact_velocity, now.sigma, known.exact_sigma)

    def _calibration(self) -> dict:
        seen = calibration(self.state, visited(self.state, 200, 25))
        values = {
            "predicted": seen.predicted,
            "exact": seen.exact,
            "exact + the velocity's error": seen.exact + seen.error,
        }
        return plots.curves("Variance along Euler's way, by t", seen.t, values, "t", "mean variance")

    def _losses(self) -> dict:
        history = np.array(self.state.history or [(0, np.nan, np.nan)])
        size = max(1, len(history) // 200)
        cut = history[: len(history) // size * size].reshape(-1, size, 3).mean(1)
        return plots.curves("Losses", cut[:, 0], {"velocity MSE": cut[:, 1], "Gaussian NLL": cut[:, 2]}, "step", "loss")

    def _sentence(self, ends: Tensor) -> str:
        at, said = self.state, f"step {self.state.done:,} of {self.state.config.steps:,}"
        if self.seconds:
            said += f" in {self.seconds:.1f} s of training"
        if not self.playing:
            far, floor = distances(at, ends)
            said += f"; energy distance to the data {far:.4f} (two true samples: {floor:.4f})"
        return said + "."


@cache
def _warm_up() -> None:
    """What a process's first training step loads takes seconds on a busy machine: before anyone presses Start."""
    ToyState(ToyConfig(steps=1, batch_size=2)).step()


def _name(sampler: str) -> str:
    return SAMPLERS[sampler].label.split("(")[0].strip()


class Labs:
    """Ids -> labs, at most MAX_LABS; one that nobody looks at gives way to a new one."""

    def __init__(self):
        self._labs: dict[str, Lab] = {}
        self._lock = threading.Lock()

    def open(self, config: ToyConfig) -> Lab:
        """Raises InputError for a wrong config, or when all are in use."""
        with self._lock:
            self._make_room()
            lab = Lab(config)
            self._labs[lab.id] = lab
            return lab

    def get(self, lab_id: str | None) -> Lab:
        """Raises UnknownRun."""
        lab = self._labs.get(str(lab_id))
        if lab is None:
            raise UnknownRun("This laboratory is closed: reload the page for a new one.")
        return lab

    def _make_room(self) -> None:
        while len(self._labs) >= MAX_LABS:
            oldest = min(self._labs.values(), key=lambda lab: lab.used)
            if time.monotonic() - oldest.used < IDLE:
                raise InputError(f"{MAX_LABS} laboratories are in use already: try again in a minute.")
            oldest.closed = True
            oldest.tell(lambda: None)
            del self._labs[oldest.id]
