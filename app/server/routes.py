"""The app's own routes, beside Gradio's: frames, what a run is, exports, scripts. Refusals are JSON."""

import asyncio
import gzip
import inspect
import mimetypes
import tempfile
from copy import copy
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.server.frames import describe, file_name, pack_reply, status
from app.server.static import FRESH, static_file
from app.state import Session
from app.store import StoredRun, UnknownRun
from pf_core.errors import InputError
from pf_core.sampling.export import SIGMA_MAP, SIGMA_RANGE, TIME_MAP, WRITERS, export


def routes(session: Session) -> list[Route]:
    """To be given to Gradio's FastAPI app, before its own."""

    def run_info(request: Request) -> Response:
        run = session.store.get(request.path_params["run_id"])
        return JSONResponse(describe(run, session.ahead(run)), headers=FRESH)

    def run_frames(request: Request) -> Response:
        run = session.store.get(request.path_params["run_id"])
        start = _start(request.query_params.get("start", "0"))
        reply = pack_reply(run, start, status(run, session.ahead(run)))
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(gzip.compress(reply, 5), media_type=_BYTES, headers=FRESH | {"content-encoding": "gzip"})
        return Response(reply, media_type=_BYTES, headers=FRESH)

    def run_export(request: Request) -> Response:
        run = session.store.get(request.path_params["run_id"])
        suffix = "." + request.query_params.get("format", "safetensors")
        if suffix not in WRITERS:
            raise InputError(f"There is no export format {suffix[1:]!r}. Known: {', '.join(k[1:] for k in WRITERS)}.")
        return Response(
            exported(run, suffix),
            media_type=mimetypes.types_map.get(suffix, _BYTES),
            headers={"content-disposition": f'attachment; filename="{file_name(run.spec, suffix)}"'},
        )

    table = {
        "/pf/runs/{run_id}": run_info,
        "/pf/runs/{run_id}/frames": run_frames,
        "/pf/runs/{run_id}/export": run_export,
    }
    table |= {"/pf/palettes": lambda request: JSONResponse(palettes()), "/pf/static/{version}/{name}": static_file}
    return [Route(path, guarded(answer)) for path, answer in table.items()]


_BYTES = "application/octet-stream"


def guarded(answer):
    """Gradio's login, where there is one, counts for these routes too; an InputError becomes a sentence as JSON."""

    async def endpoint(request: Request) -> Response:
        if not await logged_in(request):
            return JSONResponse({"error": "Log in first."}, 401)
        try:
            return await asyncio.to_thread(answer, request)
        except UnknownRun as e:
            return JSONResponse({"error": str(e)}, 404)
        except InputError as e:
            return JSONResponse({"error": str(e)}, 400)

    return endpoint


async def logged_in(request: Request) -> bool:
    """True where Gradio has no login configured, or this request's cookie belongs to someone who has logged in."""
    app = request.app
    if getattr(app, "auth_dependency", None) is not None:
        user = app.auth_dependency(request)
        return (await user if inspect.isawaitable(user) else user) is not None
    if getattr(app, "auth", None) is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)


def _start(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise InputError(f"start must be a whole number from 0, not {text[:40]!r}.")
    return int(text)


def exported(run: StoredRun, suffix: str) -> bytes:
    """A run as a file's content. Raises InputError while there is nothing to export."""
    trajectory = copy(run.trajectory)
    trajectory.frames = list(trajectory.frames)
    if not trajectory.frames:
        raise InputError("This run has no frames yet: wait for the first one.")
    if trajectory.x1 is None and suffix != ".safetensors":
        trajectory.x1 = trajectory.frames[-1].x.float()  # pictures of a run that was stopped end where it ended
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run{suffix}"
        export(trajectory, run.codec, path)
        return path.read_bytes()


@cache
def palettes() -> dict:
    """The colour maps as 256 RGB triples each, and the fixed range of sigma."""

    def table(name: str) -> list[int]:
        return matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3].ravel().tolist()

    return {"t": table(TIME_MAP), "sigma": table(SIGMA_MAP), "sigma_range": list(SIGMA_RANGE)}
