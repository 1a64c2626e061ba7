"""Routes of the plane's laboratories: the stream of plots, Fig. 5 as a file, the numbers, the points."""

import json
import tempfile
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.server.routes import guarded
from app.store import Store
from app.tabs.toy.lab import Lab
from app.tabs.toy.links import command_of, query_of
from pf_core.errors import InputError
from pf_core.figures import static

PICTURES = {"png": "image/png", "pdf": "application/pdf", "svg": "image/svg+xml"}


def links(lab_id: str) -> list[list[str]]:
    """(label, address) of what can be downloaded."""
    names = [f"figure5.{ending}" for ending in PICTURES] + ["numbers.json", "points.csv"]
    return [[name, f"pf/toy/{lab_id}/file/{name}"] for name in names]


def lab_routes(labs: Store[Lab]) -> list[Route]:
    def frame(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 12:
            raise InputError("after must be a whole number from 0.")
        lab = labs.get(request.path_params["lab_id"])
        about = {"query": query_of(lab), "command": command_of(lab)} if lab.touched else {}
        return Response(lab.since(int(after), about), media_type="application/json", headers=_FRESH)

    def file(request: Request) -> Response:
        lab, name = labs.get(request.path_params["lab_id"]), request.path_params["name"]
        if name not in [name for name, _ in links("")]:
            raise InputError(f"There is no file {name[:40]!r} of a laboratory.")
        content, kind = content_of(lab, name)
        return Response(
            content, media_type=kind, headers=_FRESH | {"content-disposition": f'attachment; filename="{name}"'}
        )

    return [Route("/pf/toy/{lab_id}/frame", guarded(frame)), Route("/pf/toy/{lab_id}/file/{name}", guarded(file))]


_FRESH = {"cache-control": "no-store"}


def content_of(lab: Lab, name: str) -> tuple[bytes, str]:
    """A file's bytes and media type. Raises InputError."""
    ending = name.rpartition(".")[2]
    if ending in PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            static.save(static.figure5(*lab.figure5()), path)
            return path.read_bytes(), PICTURES[ending]
    if ending == "json":
        return json.dumps(lab.numbers(), indent=1).encode(), "application/json"
    rows = "".join(f"{x:.5f},{y:.5f}\n" for x, y in lab.points().tolist())
    return ("x,y\n" + rows).encode(), "text/csv"
