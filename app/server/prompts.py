"""What the viewer asks about prompts, on demand: where a recorded pass looks for their words, what its results read."""

import json
from collections.abc import Callable, Hashable
from typing import Any

import torch
from starlette.requests import Request
from starlette.responses import Response

from app import links
from app.server.static import FRESH
from app.state import AppState
from app.store import Once, StoredRun
from pf_core.errors import InputError
from pf_core.evaluation.read_back import read_back, way_of
from pf_core.models.checkpoint import Bundle
from pf_core.models.conditioning import Prompts
from pf_core.models.tokens import as_typed
from pf_core.registry import whole
from pf_core.sampling.word_maps import Maps, WordMaps, word_maps

DIGITS = 5  # of a share, in JSON


def routes(state: AppState) -> dict[str, Callable]:
    async def words(request: Request) -> Response:
        """Maps of all words of an image's prompt at one frame: one forward pass, made once."""
        run, asked = state.runs.get(request.path_params["run_id"]), request.query_params
        image = whole("image", asked.get("image", "0"), 0, len(run.spec.seeds) - 1)
        frame = whole("frame", asked.get("frame", "0"), 0, max(0, len(run.trajectory) - 1))
        return await once(state, state.attended, *_attended(state, run, frame, image))

    async def read(request: Request) -> Response:
        """What a judge reads in each picture of a run that has ended."""
        run = state.runs.get(request.path_params["run_id"])
        if run.trajectory.x1 is None:
            raise InputError("This run has no result that could be read.")
        return await once(state, state.readings, run.id, lambda: json.dumps(readings(state, run)))

    return {"/pf/runs/{run_id}/words": words, "/pf/runs/{run_id}/read": read}


async def once(state: AppState, kept: Once[str], key: Hashable, make: Callable[[], str]) -> Response:
    """JSON that is made once. Its making takes seconds: who waits for it holds no thread, as frames need those."""
    if (text := kept.known(key)) is None:
        text = await state.exports.look(lambda: kept.get(key, make))
    return Response(text, media_type="application/json", headers=FRESH)


def attended(state: AppState, run: StoredRun, frame: int, image: int) -> str:
    """`attention` as JSON, made once. Raises InputError."""
    return state.attended.get(*_attended(state, run, frame, image))


def _attended(state: AppState, run: StoredRun, frame: int, image: int) -> tuple[Hashable, Callable[[], str]]:
    return (run.id, frame, image), lambda: json.dumps(attention(state, run, frame, image))


def maps_of(state: AppState, run: StoredRun) -> Maps | None:
    """Maps of the words of a run's prompts, for a slide; None without prompts, or where its network is not here."""
    if not about(state, run):
        return None
    grid = run.trajectory.grid

    def maps(frame: int, image: int) -> WordMaps:
        told = json.loads(attended(state, run, frame, image))
        return WordMaps(told["words"], torch.tensor(told["maps"]).view(-1, grid.rows, grid.cols))

    return maps


def about(state: AppState, run: StoredRun) -> dict[str, Any]:
    """Parts of what a run is, of one of prompts whose network is here: each image's words, whether the network takes
    them in and knows them, sentences on those that it does not, and how to tell what a judge reads in its
    results (None where no kind of judge reads such pictures)."""
    if run.takes != Prompts.takes:
        return {}
    try:
        bundle = network_of(state, run)
        words = {label: _words(bundle, label) for label in set(run.spec.labels)}
        losses = {label: " ".join(bundle.conditioner.notes(label)) for label in words}
    except InputError:
        return {}
    told = {"words": words, "losses": losses}
    each = {name: [of[label] for label in run.spec.labels] for name, of in told.items()}
    found = way_of(bundle)
    return each | {"reads": found and {"verb": found[1].verb, "unit": found[1].unit, "lacks": found[1].lacks}}


def _words(bundle: Bundle, prompt: str | None) -> list[dict[str, Any]]:
    words = bundle.conditioner.words(prompt)
    texts = as_typed(prompt or "", [word.text for word in words])
    return [{"text": t, "taken": bool(w.places), "known": w.known} for t, w in zip(texts, words, strict=True)]


def network_of(state: AppState, run: StoredRun) -> Bundle:
    """The one that made the run. Raises InputError where it is not here, or another one under its name."""
    bundle = state.bundle(links.here(state, run.spec).checkpoint)
    if bundle.hash != run.spec.checkpoint_hash or bundle.grid != run.trajectory.grid:
        raise InputError(f"The run was made with another {bundle.name} than the one here.")
    return bundle


def attention(state: AppState, run: StoredRun, frame: int, image: int) -> dict[str, Any]:
    """{"words", "maps": each word's share of each patch's cross-attention, (words, N)}. Raises InputError."""
    if not len(run.trajectory):
        raise InputError("This run has no frames yet: wait for the first one.")
    there = run.trajectory.frames[frame]
    words, maps = word_maps(network_of(state, run), there.x[image], there.t[image], run.spec.labels[image])
    return {"words": words, "maps": [[round(v, DIGITS) for v in each] for each in maps.flatten(1).tolist()]}


def readings(state: AppState, run: StoredRun) -> dict[str, Any]:
    """{"images": [{"asked", "marks", "edits"}]}, as read_back.Read has them. Raises InputError."""
    bundle = network_of(state, run)
    pictures = bundle.codec.decode(run.trajectory.x1.float().to(bundle.device)).cpu()
    return {"images": [each._asdict() for each in read_back(bundle, pictures, run.spec.labels)]}
