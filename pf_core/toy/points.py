"""Points that a person gives, drawn or as CSV text: read, checked, and fitted to the plane that the toy works on."""

import math

import numpy as np
import torch
from torch import Tensor

from pf_core.errors import InputError

MAX_POINTS = 20_000
MAX_COORDINATE = 1e4
REACH, FITTED = 4.0, 2.5  # coordinates up to REACH are left alone; others are scaled so that the largest is FITTED
SMALLEST = 0.5  # and so are sets narrower than this


def check_points(array) -> Tensor:
    """(M, 2) float32. Raises InputError unless there are 2 to MAX_POINTS points, finite, in range, not all the same."""
    try:
        found = torch.as_tensor(np.asarray(array, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError("The points must be rows of two numbers, x and y.") from None
    if found.numel() == 0:
        raise InputError("There is no point: draw or give at least two.")
    if found.ndim != 2 or found.shape[1] != 2:
        raise InputError(f"A point has two numbers, x and y: give an array of (M, 2), not {tuple(found.shape)}.")
    if len(found) == 1:
        raise InputError("There is only one point: draw or give at least two.")
    if len(found) > MAX_POINTS:
        raise InputError(_too_many(len(found)))
    if not found.isfinite().all():
        raise InputError("A coordinate is NaN or infinite: every one must be a finite number.")
    if found.abs().max() > MAX_COORDINATE:
        raise InputError(f"Coordinates must lie between -{MAX_COORDINATE:g} and {MAX_COORDINATE:g}.")
    if (found == found[0]).all():
        raise InputError("All points are the same: draw or give at least two different ones.")
    return found.float()


def _too_many(count: int) -> str:
    return f"There are {count:,} points, more than the limit of {MAX_POINTS:,}: give fewer."


def read_points(text: str) -> Tensor:
    """CSV text -> (M, 2) float32: two columns parted by comma, semicolon, tab or blanks; one header line may lead.

    Raises InputError, one sentence, for text that does not hold 2 to MAX_POINTS finite points.
    """
    if text.count("\n") > 2 * MAX_POINTS:  # before any work is done
        raise InputError(_too_many(text.count("\n")))
    rows = [(i, _cells(line)) for i, line in enumerate(text.lstrip("\ufeff").splitlines(), 1) if line.strip()]
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        rows = rows[1:]
    return check_points([_point(i, cells) for i, cells in rows])


def _cells(line: str) -> list[str]:
    for mark in (",", ";"):
        line = line.replace(mark, "\t") if mark in line else line
    return [cell.strip().strip('"') for cell in (line.split("\t") if "\t" in line.strip(" ") else line.split())]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _point(line: int, cells: list[str]) -> list[float]:
    if len(cells) != 2:
        raise InputError(f"Line {line} has {len(cells)} columns where two, x and y, are needed.")
    for cell in cells:
        if not _is_number(cell):
            raise InputError(f"Line {line} holds {cell[:20]!r} where a number is needed.")
        if not math.isfinite(float(cell)):
            raise InputError(f"Line {line} holds {cell[:20]!r}: every coordinate must be a finite number.")
    return [float(cell) for cell in cells]


def fit_points(given: Tensor) -> tuple[Tensor, str]:
    """Points (M, 2) that lie far out or very close together, moved to the middle and scaled (both axes alike).

    Returns the points, (M, 2) float32, and a sentence that says so; an empty one if nothing had to be done.
    """
    low, high = given.double().amin(0), given.double().amax(0)
    span, middle = (high - low).max().item(), (low + high) / 2
    if given.abs().max() <= REACH and span >= SMALLEST:
        return given, ""
    scale = 2 * FITTED / span
    moved = ((given.double() - middle) * scale).float()
    where = ", ".join(f"{m:.4g}" for m in middle.tolist())
    return moved, f"The points were moved (their middle, {where}, to 0, 0) and scaled by {scale:.4g} to fit the plane."
