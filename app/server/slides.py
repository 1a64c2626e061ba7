"""Routes of the export for slides: what a file will be, how it looks, the file."""

import io
import re
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.server import prompts
from app.server.exports import attachment, recorded, state_of
from app.server.frames import file_name
from app.server.static import FRESH
from app.state import AppState
from app.store import StoredRun
from pf_core import bounded
from pf_core.errors import InputError
from pf_core.figures.slide_files import STRIP, SUFFIXES, estimate, save
from pf_core.figures.slides import MOST_RUNS, Deck, Shown, Slides
from pf_core.registry import whole

_LONGEST = 4000  # characters of what is asked for


class Asked(NamedTuple):
    """What a browser asks for: runs, kind of file, choices, and the frame at which each run stands."""

    runs: list[StoredRun]
    kind: str
    slides: Slides
    at: list[int]
    key: str

    def deck(self, state: AppState) -> Deck:
        maps = prompts.maps_of if self.slides.word else lambda state, run: None
        shown = [Shown(recorded(run), run.codec, run.label, maps(state, run)) for run in self.runs]
        return Deck(shown, self.slides)


def routes(state: AppState) -> dict[str, Callable]:
    """Paths and what answers them: query parameters runs (ids), kind, slides (JSON of Slides), at (frames)."""

    async def cost(request: Request) -> Response:
        asked = read(state, request)
        found = await state.exports.look(lambda: estimate(asked.deck(state), asked.kind).to_dict())
        return JSONResponse(found, headers=FRESH)

    async def preview(request: Request) -> Response:
        asked = read(state, request)
        shown = await state.exports.look(lambda: picture(asked.deck(state), asked))
        return Response(shown, media_type="image/png", headers=FRESH)

    async def made(request: Request) -> Response:
        asked = read(state, request)
        suffix = SUFFIXES[asked.kind]
        file = await state.exports.file(
            asked.key, suffix, lambda path: save(asked.deck(state), asked.kind, path, asked.at or None)
        )
        return attachment(file, name_of(asked.runs, asked.kind))

    return {"/pf/slides": made, "/pf/slides/cost": cost, "/pf/slides/preview": preview}


def read(state: AppState, request: Request) -> Asked:
    """Nothing here trusts the browser. Raises InputError."""
    query = request.query_params
    if len(str(query)) > _LONGEST:
        raise InputError("This asks for too much at once: choose fewer images.")
    ids = query.get("runs", "").split(",")
    if len(ids) > MOST_RUNS:
        raise InputError(f"A slide shows one to {MOST_RUNS} runs, not {len(ids)}.")
    runs = [state.runs.get(each) for each in ids]
    kind = query.get("kind", "gif")
    if kind not in SUFFIXES:
        raise InputError(f"There is no slide {kind!r:.40}. Known: {', '.join(SUFFIXES)}.")
    try:
        given = bounded.parse_json(query.get("slides", "{}"))
    except ValueError:
        raise InputError("The choices for the slide are not JSON.") from None
    slides = bounded.build(Slides, given, "The slide", "The slide's")
    at = [whole("A frame", each, 0, 10**6) for each in query["at"].split(",")] if query.get("at") else []
    if at and len(at) != len(runs):
        raise InputError("Give a frame for every run.")
    return Asked(runs, kind, slides, at, f"{[state_of(run) for run in runs]}{kind}{slides}{at}")


def picture(deck: Deck, asked: Asked) -> bytes:
    """PNG of the strip, or of an animation's page where the runs stand."""
    image = deck.strip() if asked.kind == STRIP else deck.now(asked.at or [0] * len(asked.runs))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def name_of(runs: list[StoredRun], kind: str) -> str:
    """What the file is called: safe in a header and on any disk."""
    suffix = SUFFIXES[kind]
    if len(runs) == 1:
        return file_name(runs[0].spec, suffix)
    stem = "-and-".join(run.spec.sampler for run in runs) + f"-seed{runs[0].spec.seeds[0]}"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:100] + suffix
