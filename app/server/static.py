"""Scripts and style sheets of the page: which files are served, under which address."""

import hashlib
import json
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

APP = Path(__file__).resolve().parents[1]
PARTS = (
    "tabs/compare",
    "components/tour",
    "components/glossary",
    "components/drawer",
    "tabs/how",
    "tabs/intervene",
    "components/painter",
    "tabs/explore",
    "tabs/evidence",
    "components/plot",
    "components/board",
    "tabs/train",
    "components/viewer",
)
SERVED = (APP, *(APP / part for part in PARTS))  # no name twice
FRESH = {"cache-control": "no-store"}
SHEET = "all.css"  # all style sheets in one file: a page waits for each of them before it paints
FIRST = 4  # frames of a run that the viewer asks for first (store.js): asked for ahead, they must be as many
_AHEAD = (
    "location.search || %s.forEach((href) => document.head.append(Object.assign(document.createElement('link'), "
    "{ rel: 'preload', as: 'fetch', crossOrigin: 'anonymous', href })))"
)
_TYPES = {".js": "text/javascript", ".css": "text/css"}


def version() -> str:
    """Of the viewer's files: it stands in their address, so that a browser never mixes two versions."""
    digest = hashlib.sha256()
    for path in static_files().values():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def static_files() -> dict[str, Path]:
    """Scripts and style sheets by name: the only files that are served."""
    return {p.name: p for folder in SERVED for p in sorted(folder.iterdir()) if p.suffix in _TYPES}


def head(recording: str | None = None) -> str:
    """Links for the page's head: to the style sheets as one (Gradio's own css options rewrite selectors, dark mode's
    too), to the viewer's scripts, which run at once, so that nothing is left to wait for when Gradio mounts the viewer,
    and, where the address asks for nothing, to the first frames of the recording that will play."""
    base, files = f"pf/static/{version()}", static_files()
    early = [name for name, path in files.items() if path.parent.name in ("viewer", APP.name) and path.suffix == ".js"]
    scripts = [f'<link rel="modulepreload" href="{base}/{name}">' for name in early]
    ahead = [f"pf/runs/{recording}", f"pf/runs/{recording}/frames?start=0&most={FIRST}"] if recording else []
    return "".join(
        [
            f'<link rel="stylesheet" href="{base}/{SHEET}">',
            *scripts,
            f'<script type="module" async src="{base}/viewer.js"></script>',
            f"<script>{_AHEAD % json.dumps(['pf/palettes', *ahead])}</script>",
        ]
    )


def static_file(request: Request) -> Response:
    name = request.path_params["name"]
    files = static_files()
    if name not in files and name != SHEET:
        return JSONResponse({"error": "There is no such file."}, 404)
    fresh = (
        {"cache-control": "public, max-age=31536000, immutable"}
        if request.path_params["version"] == version()
        else FRESH
    )
    if name == SHEET:
        sheets = (path.read_text("utf-8") for name, path in files.items() if name.endswith(".css"))
        return Response("\n".join(sheets), media_type=_TYPES[".css"], headers=fresh)
    return FileResponse(files[name], media_type=_TYPES[files[name].suffix], headers=fresh)
