"""Scripts and style sheets of the page: which files are served, under which address."""

import hashlib
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
    "components/plot",
    "components/board",
    "tabs/train",
    "components/viewer",
)
SERVED = (APP, *(APP / part for part in PARTS))  # no name twice
FRESH = {"cache-control": "no-store"}
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


def head() -> str:
    """Links for the page's head: to the style sheets (Gradio's own css options rewrite selectors, dark mode's too), and
    to the viewer's scripts, which run at once, so that nothing is left to wait for when Gradio mounts the viewer."""
    base, files = f"pf/static/{version()}", static_files()
    sheets = [f'<link rel="stylesheet" href="{base}/{name}">' for name in files if name.endswith(".css")]
    early = [name for name, path in files.items() if path.parent.name in ("viewer", APP.name) and path.suffix == ".js"]
    scripts = [f'<link rel="modulepreload" href="{base}/{name}">' for name in early]
    return "".join([*sheets, *scripts, f'<script type="module" async src="{base}/viewer.js"></script>'])


def static_file(request: Request) -> Response:
    name = request.path_params["name"]
    files = static_files()
    if name not in files:
        return JSONResponse({"error": "There is no such file."}, 404)
    fresh = (
        {"cache-control": "public, max-age=31536000, immutable"}
        if request.path_params["version"] == version()
        else FRESH
    )
    return FileResponse(files[name], media_type=_TYPES[files[name].suffix], headers=fresh)
