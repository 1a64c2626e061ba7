"""How it works: the method in words, with live miniatures. Nothing is sampled: states are made from one image."""

import base64
import threading
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.components.scripted import Scripted, packed
from app.server.routes import guarded
from app.state import AppState
from pf_core.evaluation import evidence, inspect
from pf_core.evaluation.studies import STUDIES
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import to_uint8
from pf_core.presets import PFT, SCHEDULES, SIT, TRAINING_TIMES
from pf_core.samplers import SAMPLERS
from pf_core.sampling import schedule
from pf_core.timesteps import TIMESTEPS, density
from pf_core.types import PatchTime

TITLE = "How it works"
ARTICLE = Path(__file__).with_name("how.html").read_text(encoding="utf-8")
SHOWN = 24  # maps a timestep sampler
FINDINGS = {"helps": "context_helps", "reduces": "context_reduces_uncertainty"}
TRAINED = 6  # of these maps, with a forward pass each, in the picture of training


class Miniatures:
    """The miniatures' numbers, computed at the first request and kept."""

    def __init__(self, state: AppState):
        self.state, self._lock = state, threading.Lock()

    def content(self) -> dict[str, Any]:
        with self._lock:
            return self._content

    @cached_property
    def _content(self) -> dict[str, Any]:
        names = [name for name in (PFT, SIT) if name in self.state.networks()]
        on_pixels = (name for name in self.state.networks() if checkpoint.codec_of(name).factor == 1)
        shown = names or list(islice(filter(self._fits, on_pixels), 1))
        recordings = [run.id for run in self.state.recordings(1)]
        found = {"recording": recordings[0] if recordings else None, "densities": densities(), "schedules": schedules()}
        found["findings"] = findings(self.state.bundle(PFT)) if PFT in names else {}
        return found | (self._pictures(shown) if shown else {})

    def _fits(self, name: str) -> bool:
        """Whether the picture has the network's size: those that stand in for people's pictures may have another."""
        bundle = self.state.bundle(name)
        return bundle.shape == tuple(inspect.picture(bundle).x1.shape[1:])

    def _pictures(self, names: list[str]) -> dict[str, Any]:
        bundles = [self.state.bundle(name) for name in names]
        grid, picture = bundles[0].grid, inspect.picture(bundles[0])
        bundles = [bundle for bundle in bundles if bundle.shape == tuple(picture.x1.shape[1:])]
        draws = inspect.all_draws(grid.n, SHOWN)
        in_training = PatchTime.dense(draws[TRAINING_TIMES].maps[:TRAINED])
        return {
            "grid": {"rows": grid.rows, "cols": grid.cols},
            "size": [grid.height, grid.width],
            "label": picture.about,
            "x0": packed(picture.x0[0].permute(1, 2, 0)),
            "x1": packed(picture.x1[0].permute(1, 2, 0)),
            "timesteps": [
                {
                    "name": name,
                    "label": TIMESTEPS[name].label,
                    "maps": packed(drawn.maps),
                    "mean": drawn.mean.tolist(),
                    "largest": drawn.largest.tolist(),
                }
                for name, drawn in draws.items()
            ],
            "first": TRAINING_TIMES,
            "times": inspect.TIMES,
            "networks": [self._evaluations(bundle, picture) for bundle in bundles],
            "training": evaluations(bundles[0], picture, in_training),
        }

    def _evaluations(self, bundle: Bundle, picture: inspect.Picture) -> dict[str, Any]:
        """Real forward passes: a network with a difficulty head gets leaning maps, one without gets flat maps."""
        t = inspect.leaning(bundle.grid) if bundle.predicts_difficulty else inspect.flat(bundle.grid)
        return evaluations(bundle, picture, t)


def evaluations(bundle: Bundle, picture: inspect.Picture, t: PatchTime) -> dict[str, Any]:
    """One real forward pass at each map of times."""
    evaluated = inspect.evaluate_maps(bundle, picture, t)
    return {
        "name": bundle.name,
        "t": packed(t.per_patch),
        "x1_hat": base64.b64encode(to_uint8(bundle.codec.decode(evaluated.x1_hat)).cpu().numpy().tobytes()).decode(),
        "sigma": None if evaluated.sigma is None else packed(evaluated.sigma),
        "error": packed(evaluated.error),
    }


def densities() -> dict[str, Any]:
    """Of t_max for several (loc, scale), and of t below several t_max for several widths."""
    return {
        "maximum": [{"pair": pair, "t": packed(c.t), "p": packed(c.density)} for pair, c in density.maxima()],
        "below": [
            {
                "t_max": t_max,
                "curves": [
                    {"t": packed(each.curve.t), "p": packed(each.curve.density)}
                    | {"std": each.std, "width": each.width, "redrawn": each.redrawn, "mean": each.mean}
                    for each in density.below(t_max)
                ],
            }
            for t_max in density.MAXIMA
        ],
    }


def schedules() -> dict[str, Any]:
    """Which times nine patches go through, for several shares p of easy patches."""
    return {
        "side": schedule.SIDE,
        "shares": schedule.SHARES,
        "runs": [
            [
                {"label": SAMPLERS[name].label, "steps": run.steps, "t": packed(run.t)}
                | {"phase": run.phase, "outer": run.outer, "nfe": run.nfe}
                for name, run in schedule.schedules(SCHEDULES, p).items()
            ]
            for p in schedule.SHARES
        ],
    }


def findings(bundle: Bundle) -> dict[str, Any]:
    """What is kept in the repository of the two findings about context, on just this network: by key, how it was
    measured, the verdict, and curves at each t; a key is absent where nothing is kept."""
    kept = {key: evidence.kept(study, bundle.name, bundle.hash) for key, study in FINDINGS.items()}
    return {
        key: {
            "study": FINDINGS[key],
            "verdict": STUDIES[FINDINGS[key]].fn.about.line(result),
            "made": evidence.made(result),
            "ratio": result["settings"].get("ratio"),
            "t": {t: _CURVES[key](numbers) for t, numbers in result["t"].items()},
        }
        for key, result in kept.items()
        if result
    }


def _helps(numbers: dict[str, Any]) -> dict[str, Any]:
    """Change of the hard region's loss, with its interval, at each timestep of its context."""
    change = numbers["own"]["change"]
    ends = [[c["interval"][k] for c in change] for k in range(2)]
    return {"x": numbers["contexts"], "change": [c["value"] for c in change], "low": ends[0], "high": ends[1]}


def _reduces(numbers: dict[str, Any]) -> dict[str, Any]:
    """Densities of the hard patches' log-variance."""
    density = numbers["density"]
    return {"x": density["at"], "plain": density["plain"], "own": density["own"]}


_CURVES = {"helps": _helps, "reduces": _reduces}


def routes(state: AppState) -> list[Route]:
    miniatures = Miniatures(state)

    def content(request: Request) -> Response:
        return JSONResponse(miniatures.content())

    return [Route("/pf/how", guarded(content))]


class HowPage(Scripted):
    """The article; its script fills every element that has `data-mini`."""

    module = "how.js"
    markup = ARTICLE


def build(state: AppState) -> HowPage:
    return HowPage(elem_id="how-page")
