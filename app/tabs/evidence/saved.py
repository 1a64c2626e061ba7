"""A study's result as a file, as `python -m pf_core study` writes it: its numbers or its figure."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from starlette.responses import Response

from app.server.exports import attachment
from app.state import AppState
from pf_core import files
from pf_core.errors import InputError
from pf_core.figures import chart_file
from pf_core.figures import evidence as drawn
from pf_core.models import checkpoint

FORMATS = ("json", *(suffix[1:] for suffix in drawn.SUFFIXES))


async def sent(state: AppState, result: dict[str, Any], kind: str) -> Response:
    """The file of a kind, one of FORMATS, made once while it is kept. Raises InputError. To be called in the event
    loop."""
    if kind not in FORMATS:
        raise InputError(f"There is no format {kind!r:.40} of a study. Known: {', '.join(FORMATS)}.")
    key = hashlib.sha256(json.dumps(result).encode()).hexdigest()
    file = await state.exports.file(f"{key}.{kind}", f".{kind}", lambda path: _write(result, path))
    return attachment(file, _name(result, kind))


def _write(result: dict[str, Any], path: Path) -> None:
    if path.suffix == ".json":
        files.write_json(path, result)
    else:
        drawn.save(chart_file.draw(drawn.chart_of(result)), path)


def _name(result: dict[str, Any], kind: str) -> str:
    of = checkpoint.last_name(str(result.get("checkpoint", "trainings")))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"{result['study']}-{of}")[:100] + f".{kind}"
