"""How it works: the method in words, with live miniatures. Nothing is sampled: states are made from one image."""

import base64
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.components.scripted import Scripted, packed
from app.server.routes import guarded
from app.state import AppState
from pf_core.evaluation import inspect
from pf_core.models.codecs import to_uint8
from pf_core.presets import PFT, SIT
from pf_core.timesteps import TIMESTEPS

TITLE = "How it works"
ARTICLE = Path(__file__).with_name("how.html").read_text(encoding="utf-8")
SHOWN = 24  # maps a timestep sampler


class Lesson:
    """The miniatures' numbers, computed when first asked for and then kept."""

    def __init__(self, state: AppState):
        self.state, self._lock = state, threading.Lock()

    def content(self) -> dict[str, Any]:
        with self._lock:
            return self._content

    @cached_property
    def _content(self) -> dict[str, Any]:
        names = [name for name in (PFT, SIT) if name in self.state.networks()]
        found = names or self.state.networks()[:1]
        recordings = [run.id for run in self.state.recordings(1)]
        return {"recording": recordings[0] if recordings else None} | (self._pictures(found) if found else {})

    def _pictures(self, names: list[str]) -> dict[str, Any]:
        bundles = [self.state.bundle(name) for name in names]
        grid, seen = bundles[0].grid, inspect.picture(bundles[0])
        bundles = [bundle for bundle in bundles if bundle.shape == tuple(seen.x1.shape[1:])]
        return {
            "grid": {"rows": grid.rows, "cols": grid.cols},
            "size": [grid.height, grid.width],
            "label": seen.name,
            "x0": packed(seen.x0[0].permute(1, 2, 0)),
            "x1": packed(seen.x1[0].permute(1, 2, 0)),
            "timesteps": [
                {
                    "name": name,
                    "label": TIMESTEPS[name].label,
                    "maps": packed(found.maps),
                    "mean": found.mean.tolist(),
                    "largest": found.largest.tolist(),
                }
                for name, found in inspect.all_draws(grid.n, SHOWN).items()
            ],
            "times": inspect.TIMES,
            "networks": [self._glimpses(bundle, seen) for bundle in bundles],
        }

    def _glimpses(self, bundle, seen: inspect.Picture) -> dict[str, Any]:
        """A network with a difficulty head sees a leaning map, the plain one, which knows one time only, a flat one."""
        t = inspect.leaning(bundle.grid) if bundle.predicts_difficulty else inspect.flat(bundle.grid)
        found = inspect.evaluate_maps(bundle, seen, t)
        return {
            "name": bundle.name,
            "t": packed(t.per_patch),
            "x1_hat": base64.b64encode(to_uint8(bundle.codec.decode(found.x1_hat)).numpy().tobytes()).decode(),
            "sigma": None if found.sigma is None else packed(found.sigma),
            "error": packed(found.error),
        }


def routes(state: AppState) -> list[Route]:
    lesson = Lesson(state)

    def content(request: Request) -> Response:
        return JSONResponse(lesson.content())

    return [Route("/pf/how", guarded(content))]


class HowPage(Scripted):
    """The article; its script fills every element that has `data-mini`."""

    module = "how.js"
    markup = ARTICLE


def build(state: AppState) -> HowPage:
    return HowPage(elem_id="how-page")
