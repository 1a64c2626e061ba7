"""The Train tab's routes: the list of runs, their curves, strips, logs and downloads. Names are checked by Jobs."""

from functools import cache, partial

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.server.routes import count, guarded
from app.state import AppState
from app.tabs.train.curves import Curves
from app.tabs.train.rows import rows
from pf_core.errors import InputError

_FRESH = {"cache-control": "no-store"}
LOG_BYTES = 20_000


def routes(state: AppState) -> list[Route]:
    drawn = cache(lambda: Curves(state.training))  # made when the first plot is asked for

    def listed(request: Request) -> Response:
        return JSONResponse(rows(state.training), headers=_FRESH)

    def curves(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 12:
            raise InputError("after must be a whole number from 0.")
        names = [name for name in request.path_params["names"].split(",") if name]
        return JSONResponse(drawn().reply(names, int(after)), headers=_FRESH)

    def drawn_pictures(kind: str, request: Request) -> Response:
        step = count("step", request.path_params["step"])
        path = state.training.file(request.path_params["name"], kind, step)
        return FileResponse(path, headers={"cache-control": "private, max-age=86400"})

    def log(request: Request) -> Response:
        path = state.training.folder(request.path_params["name"]).log
        text = path.read_bytes()[-LOG_BYTES:].decode(errors="replace") if path.is_file() else ""
        return JSONResponse({"log": text.replace("\r", "\n")}, headers=_FRESH)

    def weights(request: Request) -> Response:
        name = request.path_params["name"]
        return FileResponse(state.training.network(name), filename=f"{name}.safetensors", headers=_FRESH)

    def packed(request: Request) -> Response:
        name = request.path_params["name"]
        attached = _FRESH | {"content-disposition": f'attachment; filename="{name}.zip"'}
        return StreamingResponse(state.training.packed(name), media_type="application/zip", headers=attached)

    table = {
        "/pf/train/runs": listed,
        "/pf/train/plots/{names}": curves,
        "/pf/train/{name}/sheet/{step}": partial(drawn_pictures, "sheet"),
        "/pf/train/{name}/strip/{step}": partial(drawn_pictures, "strip"),
        "/pf/train/{name}/log": log,
        "/pf/train/{name}/weights": weights,
        "/pf/train/{name}/zip": packed,
    }
    return [Route(path, guarded(answer)) for path, answer in table.items()]
