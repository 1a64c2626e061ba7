"""A grid of patches to paint on by hand: Gradio's side of it. The brush itself is painter.js beside this file."""

import math
from collections.abc import Sequence
from typing import Any

from app.components.scripted import Scripted
from pf_core.errors import InputError
from pf_core.patches import PatchGrid

VALUES, CHOSEN = "values", "chosen"
SAME = object()  # "leave it as it is", where None says something else


class Painter(Scripted):
    """A picture with the patch grid over it, and a brush.

    mode: "values", each patch carries a number (`what`, within `span`; `brush` is the first to paint with), or
    "chosen", each patch is in a set or not.

    Value: {"grid": [rows, cols], "image": data address or None, "values": [N numbers] or None, "chosen": [patch
    numbers]}. An update may leave out any of them: what is left out stays as it is, so that an answer from the server
    never takes back a stroke that was painted meanwhile. As an input it is what the page shows now.
    Event `painted`, after every stroke and after undo and redo. Listen with trigger_mode="always_last" (else Gradio
    drops the strokes that come while a handler is at work) and take the Painter itself as an input: of strokes in
    quick succession the event's own data may be an older one's, the value is always the last. `values_of` and
    `chosen_of` check what the browser sent.
    """

    module = "painter.js"
    markup = '<div class="pf-painter"></div>'
    may_trigger = ("painted",)

    def __init__(
        self,
        value: dict | None = None,
        *,
        mode: str = CHOSEN,
        what: str = "t",
        span: tuple[float, float] = (0.0, 1.0),
        brush: float = 0.5,
        title: str = "Patches",
        **kwargs,
    ):
        look = {"mode": mode, "what": what, "span": list(span), "brush": brush, "title": title}
        super().__init__(value or {}, **look, **kwargs)


def painting(
    grid: PatchGrid | None = None,
    *,
    image: Any = SAME,
    values: Sequence[float] | None = None,
    chosen: Sequence[int] | None = None,
) -> dict[str, Any]:
    """An update of a Painter: what is not given stays as it is. image: a data address, None to take the picture away.

    With a grid of another shape the page begins anew, its undo steps too.
    """
    update: dict[str, Any] = {}
    if grid is not None:
        update["grid"] = [grid.rows, grid.cols]
    if image is not SAME:
        update["image"] = image
    if values is not None:
        update["values"] = [round(float(v), 6) for v in values]
    if chosen is not None:
        update["chosen"] = [int(p) for p in chosen]
    return update


def values_of(painted: Any, grid: PatchGrid, low: float = 0.0, high: float = 1.0) -> list[float]:
    """One number a patch out of a Painter's value. Raises InputError for anything else."""
    values = painted.get("values") if isinstance(painted, dict) else None
    if not isinstance(values, list) or len(values) != grid.n or not all(_is_number(v) for v in values):
        raise InputError(f"The painting must hold a number for each of {grid.n} patches: paint it again.")
    if not all(low <= v <= high for v in values):
        raise InputError(f"Painted values must lie between {low:g} and {high:g}.")
    return [float(v) for v in values]


def chosen_of(painted: Any, grid: PatchGrid) -> list[int]:
    """The chosen patches, sorted, out of a Painter's value. Raises InputError for anything else."""
    chosen = painted.get("chosen") if isinstance(painted, dict) else None
    if not isinstance(chosen, list) or not all(_is_number(p) and p == int(p) and 0 <= p < grid.n for p in chosen):
        raise InputError(f"The painting must hold patches, numbered 0 to {grid.n - 1}: paint it again.")
    return sorted({int(p) for p in chosen})


def _is_number(value: Any) -> bool:
    if isinstance(value, int):  # however long: isfinite raises where no float can hold it
        return not isinstance(value, bool)
    return isinstance(value, float) and math.isfinite(value)
