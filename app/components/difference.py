"""Two stored runs against each other, as a panel: signed map, RMS of each patch, and when they first part."""

import base64
import html
import io
from typing import Any

import matplotlib
import numpy as np
from PIL import Image
from torch import Tensor

from app.store import StoredRun
from pf_core.errors import InputError
from pf_core.sampling.compare import Difference, difference, parting

SIDE = 224  # px: about how wide a map is shown
SIGNED_MAP, RMS_MAP = "RdBu_r", "magma"
SIGNED_SPAN, RMS_SPAN = 0.25, 0.2  # fixed, so that two panels can be compared; images span [-1, 1]


def panel(
    a: StoredRun, b: StoredRun, image: int, at: tuple[int | None, int | None], threshold: float, names: tuple[str, str]
) -> str:
    """HTML. at: a frame of each run, None the end. Raises InputError where the runs cannot be compared (yet)."""
    for run in (a, b):
        if not run.trajectory.frames:
            raise InputError("One of the runs has no frames to compare: wait for them, or press Run.")
    places = [None if k is None or k >= len(run.trajectory) else k for k, run in zip(at, (a, b), strict=True)]
    diff = difference(a.trajectory, b.trajectory, *places, image=image)
    where = "at the end" if places == [None, None] else f"{_place(a, places[0])} and {_place(b, places[1])}"
    grid = a.trajectory.grid
    patch = int(diff.per_patch.argmax())
    sentence = (
        f"<b>{names[1]} minus {names[0]}</b>, image {image + 1}, {html.escape(where)}: RMS <b>{diff.rms:.3f}</b>. "
        f"Most in row {patch // grid.cols + 1}, column {patch % grid.cols + 1}: {diff.per_patch[patch]:.3f}."
    )
    shown = _maps(diff, grid) + _partings(a, b, threshold)
    return f'<div class="pfd"><p>{sentence}</p><div class="pfd-maps">{shown}</div></div>'


def made_of(a: StoredRun, b: StoredRun, *how: Any) -> tuple:
    """What a comparison depends on: the runs as far as they have come, and how they are compared."""
    return a.id, b.id, *(r for run in (a, b) for r in (len(run.trajectory), run.trajectory.x1 is None)), *how


def _place(run: StoredRun, k: int | None) -> str:
    return "the end" if k is None else f"NFE {run.trajectory.frames[k].nfe} ({run.trajectory.frames[k].phase})"


def _maps(diff: Difference, grid) -> str:
    signed = coloured((diff.signed.mean(0) / SIGNED_SPAN + 1) / 2, SIGNED_MAP)
    patches = coloured(diff.per_patch.view(grid.rows, grid.cols) / RMS_SPAN, RMS_MAP)
    signed, patches = (data_address(Image.fromarray(pixels)) for pixels in (signed, patches))
    shape = f"aspect-ratio: {grid.width} / {grid.height}"
    return figure("Signed difference", signed, SIGNED_MAP, [f"-{SIGNED_SPAN:g}", "0", f"+{SIGNED_SPAN:g}"], shape) + (
        figure("RMS of each patch", patches, RMS_MAP, ["0", f"{RMS_SPAN / 2:g}", f"{RMS_SPAN:g} or more"], shape)
    )


def coloured(values: Tensor, name: str) -> np.ndarray:
    """(H, W) in [0, 1] -> (H, W, 3) uint8."""
    return matplotlib.colormaps[name](np.clip(values.numpy(), 0, 1), bytes=True)[..., :3]


def data_address(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def figure(title: str, source: str, palette: str, ticks: list[str], shape: str) -> str:
    marks = "".join(f"<span>{tick}</span>" for tick in ticks)
    return (
        f'<figure><figcaption>{title}</figcaption><img src="{source}" alt="{title}" style="{shape}; width: {SIDE}px">'
        f'<div class="pfd-ramp" style="background: {ramp(palette)}"></div>'
        f'<div class="pfd-ticks">{marks}</div></figure>'
    )


def ramp(palette: str) -> str:
    """A colour map as a CSS background, from left to right."""
    stops = (matplotlib.colormaps[palette](np.linspace(0, 1, 9), bytes=True)[:, :3]).tolist()
    return f"linear-gradient(90deg, {', '.join(f'rgb({r},{g},{b})' for r, g, b in stops)})"


def _partings(a: StoredRun, b: StoredRun, threshold: float) -> str:
    """When each image's two runs first differ by more than the threshold."""
    partings = parting(a.trajectory, b.trajectory, threshold)
    rows = "".join(
        f"<tr><th>image {i + 1}</th>"
        + (
            "<td colspan=3>never</td>"
            if p is None
            else f"<td>t {p.t:.2f}</td><td>step {p.outer[0]} / {p.outer[1]}</td><td>NFE {p.nfe[0]} / {p.nfe[1]}</td>"
        )
        + "</tr>"
        for i, p in enumerate(partings)
    )
    return f'<div class="pfd-part"><p>First difference of more than {threshold:g} RMS</p><table>{rows}</table></div>'
