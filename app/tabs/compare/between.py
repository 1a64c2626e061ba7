"""What two of the shown runs differ by, for the viewer: a whole film of differences at once, and sentences.

A film of differences is: uint32 (little endian) length of the header; the header, JSON padded with spaces to a multiple
of four; then the RMS of each patch, float32 (K, N); then the signed difference, uint8 (K, H, W), of which 0 is
-SIGNED_SPAN and 255 is +SIGNED_SPAN. K counts the moments that were asked for.
"""

import json
import math
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from app.components.difference import RMS_MAP, RMS_SPAN, SIGNED_MAP, SIGNED_SPAN, made_of
from app.limits import COLUMNS, MAX_NFE
from app.server.routes import guarded, raw
from app.server.static import FRESH
from app.state import AppState
from app.store import StoredRun
from pf_core.errors import InputError
from pf_core.registry import number, whole
from pf_core.sampling.compare import THRESHOLD, film, measured, parting

MOST_MOMENTS = 2 * (MAX_NFE + 1)  # of two runs that never show a new frame together
AT_ONCE = 32  # moments that are held as floats
MOST_PIXELS = 8_000_000  # of a film's signed maps: beyond that they come at half, a third, ... of the size


def routes(state: AppState) -> list[Route]:
    def of_film(request: Request) -> Response:
        asked = request.query_params
        a, b = (state.runs.get(asked.get(name, "")) for name in ("a", "b"))
        image = whole("The image", asked.get("image", "0"), 0, len(a.spec.seeds) - 1)
        return raw(request, pack_film(a, b, _moments(asked.get("frames", "")), image, asked.get("of", "x1_hat")))

    def in_words(request: Request) -> Response:
        asked = request.query_params
        runs = [state.runs.get(i) for i in asked.get("runs", "").split(",")[: len(COLUMNS)]]
        threshold = number("The threshold", asked.get("threshold", THRESHOLD), 0.001, 10)
        one, other = (whole("The column", asked.get(k, d), 0, len(runs) - 1) for k, d in (("one", 0), ("other", 1)))
        partings = _partings(state, runs[one], runs[other], threshold)
        return JSONResponse({"sentences": sentences(state, runs), "partings": partings}, headers=FRESH)

    table = {"/pf/difference/film": of_film, "/pf/difference/words": in_words}
    return [Route(path, guarded(answer)) for path, answer in table.items()]


def sentences(state: AppState, runs: list[StoredRun], threshold: float = THRESHOLD) -> list[str]:
    """One for every column beside the first; where one cannot be compared, why. Computed once, however many ask."""

    def sentence(k: int) -> str:
        first, other, names = runs[0], runs[k], (COLUMNS[0], COLUMNS[k])
        key = made_of(first, other, "measured", names, threshold)
        try:
            return state.panels.get(key, lambda: measured(first.trajectory, other.trajectory, names, threshold))
        except InputError as e:
            return str(e)

    return [sentence(k) for k in range(1, len(runs))]


def _partings(state: AppState, a: StoredRun, b: StoredRun, threshold: float) -> list[dict[str, Any] | None]:
    """For each image where the states first part (see `parting`); None where they never do. Empty for runs that cannot
    be compared: the sentences say why."""

    def found() -> str:
        partings = parting(a.trajectory, b.trajectory, threshold)
        return json.dumps([None if p is None else {k: _rounded(v) for k, v in p._asdict().items()} for p in partings])

    try:
        return json.loads(state.panels.get(made_of(a, b, "partings", threshold), found))
    except InputError:
        return []


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _moments(text: str) -> list[tuple[int, int]]:
    """ "0:0,1:1,..." -> pairs of frames. Raises InputError."""
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    if len(pairs) > MOST_MOMENTS or not all(len(p) == 2 and all(_is_index(k) for k in p) for p in pairs):
        raise InputError(f"Frames are pairs such as 0:0,1:1, at most {MOST_MOMENTS}.")
    return [(int(i), int(j)) for i, j in pairs]


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6


def pack_film(a: StoredRun, b: StoredRun, moments: list[tuple[int, int]], image: int, of: str) -> bytes:
    """See the top of this file. Raises InputError where the runs cannot be compared."""
    grid = a.trajectory.grid
    every = max(1, math.ceil(math.sqrt(len(moments) * grid.height * grid.width / MOST_PIXELS)))
    levels, rms, patches = [], [], []
    for k in range(0, max(1, len(moments)), AT_ONCE):
        part = film(a.trajectory, b.trajectory, moments[k : k + AT_ONCE], image, of)
        levels.append(_levels(part.signed, every))
        rms += [round(v, 4) for v in part.rms.tolist()]
        patches.append(part.per_patch.numpy().astype("<f4"))
    _, height, width = levels[0].shape
    header = {
        "shape": [len(moments), height, width],
        "grid": [grid.rows, grid.cols],
        "rms": rms,
        "spans": {"signed": SIGNED_SPAN, "rms": RMS_SPAN},
        "palettes": _palettes(),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    length = np.uint32(len(text)).astype("<u4").tobytes()
    return b"".join([length, text, *(p.tobytes() for p in patches), *(part.tobytes() for part in levels)])


def _levels(signed: Tensor, every: int) -> np.ndarray:
    """(K, H, W), averaged over squares of `every` pixels -> uint8."""
    signed = torch.nn.functional.avg_pool2d(signed[:, None], every, ceil_mode=True)[:, 0]
    return ((signed / SIGNED_SPAN).clamp(-1, 1).add(1) * 127.5).round().byte().numpy()


@cache
def _palettes() -> dict[str, list[int]]:
    """256 RGB triples each."""
    maps = {"signed": SIGNED_MAP, "rms": RMS_MAP}
    return {k: matplotlib.colormaps[v](np.arange(256), bytes=True)[:, :3].ravel().tolist() for k, v in maps.items()}
