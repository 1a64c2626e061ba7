"""Live: what a law of t draws beside what inference visits. Nothing runs: the numbers are pf_core's."""

import threading
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.components.scripted import packed
from app.server.static import FRESH
from app.state import AppState
from pf_core.evaluation import train_test
from pf_core.figures import chart_page
from pf_core.models.checkpoint import Bundle
from pf_core.registry import whole
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec
from pf_core.timesteps import TIMESTEPS

MOST_COLUMNS = 8


def columns_of(request: Request, name: str = "columns") -> int:
    """How many panels a figure may have in a row, as the page asks. Raises InputError."""
    return whole(name, request.query_params.get(name, MOST_COLUMNS), 1, MOST_COLUMNS)


class Laws:
    """The answers to the page's knobs, one after the other."""

    def __init__(self, state: AppState):
        self.state, self._lock = state, threading.Lock()

    def answer(self, request: Request) -> Response:
        """For ?network=&timesteps=&sampler=&KNOB=...: maps, figure and gap; what is not asked for is the network's own
        law and the last sampler."""
        asked = request.query_params
        bundle = self.state.bundle(asked.get("network", ""))
        own, settings = train_test.own_law(bundle) or (next(iter(TIMESTEPS)), {})
        entry = TIMESTEPS[asked.get("timesteps", own)]
        given = {knob: asked[knob] for knob in entry.knobs if knob in asked}
        settings = entry.settings(given or (settings if entry.name == own else {}))
        runs = train_test.visits(bundle, train_test.NFE)
        label = asked.get("sampler", "")
        label = label if label in runs else list(runs)[-1]
        with self._lock:
            visited, seen = self._visited(bundle, runs[label])
            found = train_test.beside(entry.name, settings, visited, label)
        return JSONResponse(
            {
                "choices": [_choice(name) for name in TIMESTEPS],
                "samplers": list(runs),
                "timesteps": entry.name,
                "settings": settings,
                "sampler": label,
                "own": own,
                "grid": {"rows": bundle.grid.rows, "cols": bundle.grid.cols},
                "law": packed(found.law.float()),
                "visited": packed(found.visited.float()),
                "seen": seen,
                "gap": found.gap,
                "sentence": found.sentence,
                "figure": chart_page.draw(found.chart.narrowed(columns_of(request))),
            },
            headers=FRESH,
        )

    def _visited(self, bundle: Bundle, spec: SampleSpec) -> tuple[np.ndarray, str]:
        """(images, passes, N) maps of t, and where they come from: a recorded run of this network, else the sampler
        alone."""
        for run in self.state.recordings():
            if (run.spec.sampler, run.spec.checkpoint_hash) == (spec.sampler, bundle.hash):
                maps = np.stack([frame.t.double().numpy() for frame in run.trajectory.frames], 1)
                return maps, f"of a recorded run, {run.spec.nfe} NFE"
        easy = "; which patches are easy is drawn at random here" if SAMPLERS[spec.sampler].fn.needs_difficulty else ""
        return train_test.scheduled(bundle, spec), f"{spec.nfe} NFE{easy}"


def _choice(name: str) -> dict[str, Any]:
    """A law and its knobs, for the page's controls."""
    knobs = [
        {
            "name": knob.name,
            "label": knob.label,
            "help": knob.knob.help,
            "low": knob.knob.low,
            "high": knob.knob.high,
            "whole": knob.type is int,
        }
        for knob in TIMESTEPS[name].knobs.values()
    ]
    return {"name": name, "label": TIMESTEPS[name].title, "knobs": knobs}
