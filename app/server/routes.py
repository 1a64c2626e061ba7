"""The app's own routes, beside Gradio's: frames, what a run is, exports, scripts. Refusals are JSON."""

import asyncio
import gzip
import inspect
from functools import cache

import matplotlib
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.private import logged_in
from app.server import prompts, slides
from app.server.exports import attachment
from app.server.frames import describe, file_name, pack_reply, status
from app.server.static import FRESH, static_file
from app.state import AppState
from app.store import Busy, Unknown
from pf_core.errors import InputError
from pf_core.sampling.export import SIGMA_MAP, SIGMA_RANGE, TIME_MAP, WORD_MAP, WRITERS


def routes(state: AppState) -> list[Route]:
    """To be given to Gradio's FastAPI app, before its own."""

    def run_info(request: Request) -> Response:
        run = state.runs.get(request.path_params["run_id"])
        return JSONResponse(describe(run, state.waits(run)) | prompts.about(state, run), headers=FRESH)

    def run_frames(request: Request) -> Response:
        run = state.runs.get(request.path_params["run_id"])
        start = count("start", request.query_params.get("start", "0"))
        most = request.query_params.get("most")
        most = None if most is None else count("most", most)

        def reply() -> bytes:
            return pack_reply(run, start, status(run, state.waits(run)), most)

        if run.pinned and _zips(request):  # a recording: what all who come ask for is compressed once
            return _zipped(state.replies.get((run.id, start, most), lambda: gzip.compress(reply(), 5)))
        return raw(request, reply())

    async def run_export(request: Request) -> Response:
        run = state.runs.get(request.path_params["run_id"])
        suffix = "." + request.query_params.get("format", "safetensors")
        if suffix not in WRITERS:
            raise InputError(f"There is no export format {suffix[1:]!r}. Known: {', '.join(k[1:] for k in WRITERS)}.")
        return attachment(await state.exports.open(run, suffix), file_name(run.spec, suffix))

    table = {
        "/pf/runs/{run_id}": run_info,
        "/pf/runs/{run_id}/frames": run_frames,
        "/pf/runs/{run_id}/export": run_export,
        **slides.routes(state),
        **prompts.routes(state),
    }
    table |= {"/pf/palettes": lambda request: JSONResponse(palettes()), "/pf/static/{version}/{name}": static_file}
    return [Route(path, guarded(answer)) for path, answer in table.items()]


_BYTES = "application/octet-stream"


def raw(request: Request, reply: bytes) -> Response:
    """Numbers for a script, compressed where the browser takes that."""
    if _zips(request):
        return _zipped(gzip.compress(reply, 5))
    return Response(reply, media_type=_BYTES, headers=FRESH)


def _zips(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _zipped(reply: bytes) -> Response:
    return Response(reply, media_type=_BYTES, headers=FRESH | {"content-encoding": "gzip"})


def guarded(answer):
    """Gradio's login, where there is one, counts for these routes too; an InputError becomes a sentence as JSON.
    What is no coroutine is called in a thread."""

    async def endpoint(request: Request) -> Response:
        if not await logged_in(request):
            return JSONResponse({"error": "Log in first."}, 401)
        try:
            found = answer(request) if inspect.iscoroutinefunction(answer) else asyncio.to_thread(answer, request)
            return await found
        except Unknown as e:
            return JSONResponse({"error": str(e)}, 404)
        except Busy as e:  # no fault of the question: pages ask again after a 5xx
            return JSONResponse({"error": str(e)}, 503)
        except InputError as e:
            return JSONResponse({"error": str(e)}, 400)

    return endpoint


def count(name: str, text: str) -> int:
    """A whole number of an address. Raises InputError."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise InputError(f"{name} must be a whole number from 0, not {text[:40]!r}.")
    return int(text)


@cache
def palettes() -> dict:
    """The colour maps as 256 RGB triples each, and the fixed range of sigma."""

    def table(name: str) -> list[int]:
        return matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3].ravel().tolist()

    tables = {"t": table(TIME_MAP), "sigma": table(SIGMA_MAP), "word": table(WORD_MAP)}
    return {**tables, "sigma_range": list(SIGMA_RANGE)}
