"""How it works: the method in words, with live miniatures. Nothing is sampled: states are made from one image."""

import base64
import threading
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.components.scripted import Scripted, packed
from app.server.routes import guarded
from app.state import Session
from pf_core.evaluation import inspect as lesson
from pf_core.models.codecs import to_uint8
from pf_core.presets import PFT, SIT
from pf_core.timesteps import TIMESTEPS

TITLE = "How it works"
ARTICLE = Path(__file__).with_name("how.html").read_text(encoding="utf-8")
SHOWN = 24  # maps a timestep sampler
_LESSONS: WeakKeyDictionary[Session, "Lesson"] = WeakKeyDictionary()


class Lesson:
    """The miniatures' numbers, computed when first asked for and then kept."""

    def __init__(self, session: Session):
        self.session, self._lock = session, threading.Lock()

    def content(self) -> dict[str, Any]:
        with self._lock:
            return self._content

    @cached_property
    def _content(self) -> dict[str, Any]:
        names = [name for name in (PFT, SIT) if name in self.session.networks()]
        found = names or self.session.networks()[:1]
        recordings = [run.id for run in self.session.recordings()[:1]]
        return {"recording": recordings[0] if recordings else None} | (self._pictures(found) if found else {})

    def _pictures(self, names: list[str]) -> dict[str, Any]:
        bundles = [self.session.bundle(name) for name in names]
        grid, seen = bundles[0].grid, lesson.picture(bundles[0])
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
                for name, found in lesson.all_draws(grid.n, SHOWN).items()
            ],
            "times": lesson.TIMES,
            "networks": [self._glimpses(bundle, seen) for bundle in bundles],
        }

    def _glimpses(self, bundle, seen: lesson.Picture) -> dict[str, Any]:
        """A network with a difficulty head sees a leaning map, the plain one, which knows one time only, a flat one."""
        t = lesson.leaning(bundle.grid) if bundle.predicts_difficulty else lesson.flat(bundle.grid)
        found = lesson.glimpse(bundle, seen, t)
        return {
            "name": bundle.name,
            "t": packed(t.per_patch),
            "x1_hat": base64.b64encode(to_uint8(bundle.codec.decode(found.x1_hat)).numpy().tobytes()).decode(),
            "sigma": None if found.sigma is None else packed(found.sigma),
            "error": packed(found.error),
        }


def routes(session: Session) -> list[Route]:
    def content(request: Request) -> Response:
        return JSONResponse(_LESSONS.setdefault(session, Lesson(session)).content())

    return [Route("/pf/how", guarded(content))]


class HowPage(Scripted):
    """The article; its script fills every element that has `data-mini`."""

    module = "how.js"
    markup = ARTICLE


def build(session: Session) -> HowPage:
    return HowPage(elem_id="how-page")
