"""The Train tab's routes: the list of runs, their curves, strips, logs and downloads. Names are checked by Jobs."""

from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.server.routes import guarded
from app.state import Session
from app.tabs.train.curves import Curves
from app.tabs.train.rows import rows
from pf_core.errors import InputError
from pf_core.training.queue import Jobs

_FRESH = {"cache-control": "no-store"}
LOG_BYTES = 20_000
_JOBS: WeakKeyDictionary[Session, tuple[Jobs, Curves]] = WeakKeyDictionary()


def jobs(session: Session) -> Jobs:
    """One a server."""
    return _both(session)[0]


def _both(session: Session) -> tuple[Jobs, Curves]:
    if session not in _JOBS:
        found = Jobs(watch=True)
        _JOBS[session] = found, Curves(found)
    return _JOBS[session]


def routes(session: Session) -> list[Route]:
    def listed(request: Request) -> Response:
        return JSONResponse(rows(jobs(session)), headers=_FRESH)

    def curves(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 12:
            raise InputError("after must be a whole number from 0.")
        names = [name for name in request.path_params["names"].split(",") if name]
        return JSONResponse(_both(session)[1].reply(names, int(after)), headers=_FRESH)

    def strip(request: Request) -> Response:
        path = jobs(session).file(request.path_params["name"], "strip", request.path_params["step"])
        return FileResponse(path, headers={"cache-control": "private, max-age=86400"})

    def log(request: Request) -> Response:
        path = jobs(session).folder(request.path_params["name"]).log
        text = path.read_bytes()[-LOG_BYTES:].decode(errors="replace") if path.is_file() else ""
        return JSONResponse({"log": text.replace("\r", "\n")}, headers=_FRESH)

    def weights(request: Request) -> Response:
        name = request.path_params["name"]
        return FileResponse(jobs(session).network(name), filename=f"{name}.safetensors", headers=_FRESH)

    def packed(request: Request) -> Response:
        name = request.path_params["name"]
        attached = _FRESH | {"content-disposition": f'attachment; filename="{name}.zip"'}
        return StreamingResponse(jobs(session).packed(name), media_type="application/zip", headers=attached)

    table = {
        "/pf/train/runs": listed,
        "/pf/train/plots/{names}": curves,
        "/pf/train/{name}/strip/{step:int}": strip,
        "/pf/train/{name}/log": log,
        "/pf/train/{name}/weights": weights,
        "/pf/train/{name}/zip": packed,
    }
    return [Route(path, guarded(answer)) for path, answer in table.items()]
