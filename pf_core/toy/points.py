"""Points that a person gives, drawn or as CSV text: read, checked, and fitted to the plane that the toy works on."""

import csv
import math
import re

import numpy as np
import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.files import decoded
from pf_core.registry import number

MAX_POINTS = 20_000
MAX_COORDINATE = 1e4
REACH, FITTED = 4.0, 2.5  # coordinates up to REACH are left alone; others are scaled so that the largest is FITTED
SMALLEST = 0.5  # and so are sets narrower than this


TOO_CLOSE = 1e-150  # apart: what cannot be scaled up in numbers of 64 bits


def check_points(array) -> Tensor:
    """(M, 2) float32. Raises InputError unless there are 2 to MAX_POINTS points, finite, in range, not all the same."""
    points = _checked(array).float()
    if (points == points[0]).all():
        raise InputError("The points differ by less than the precision of 32 bits: move them to 0 and scale them.")
    return points


def _checked(array) -> Tensor:
    """As check_points, in float64."""
    try:
        points = torch.as_tensor(np.asarray(array, dtype=np.float64))
    except (TypeError, ValueError, OverflowError):
        raise InputError("The points must be rows of two numbers, x and y.") from None
    if points.numel() == 0:
        raise InputError("There is no point: draw or give at least two.")
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"A point has two numbers, x and y: give an array of (M, 2), not {tuple(points.shape)}.")
    if len(points) == 1:
        raise InputError("There is only one point: draw or give at least two.")
    if len(points) > MAX_POINTS:
        raise InputError(_too_many(len(points)))
    if not points.isfinite().all():
        raise InputError("A coordinate is NaN or infinite: every one must be a finite number.")
    if points.abs().max() > MAX_COORDINATE:
        raise InputError(f"Every coordinate must lie between \u2212{MAX_COORDINATE:,.0f} and {MAX_COORDINATE:,.0f}.")
    if (points == points[0]).all():
        raise InputError("All points are the same: draw or give at least two different ones.")
    if (points.amax(0) - points.amin(0)).max() < TOO_CLOSE:
        raise InputError("The points differ too little to be scaled up: give larger ones.")
    return points


def pairs(text: str, most: int) -> list[tuple[float, float]]:
    """The first `most` points of a text such as `-2.1,0.3;-2,-0.5`. Raises InputError."""
    found = [pair.split(",") for pair in text.split(";")[:most] if pair]
    if any(len(pair) != 2 for pair in found):
        raise InputError("starts are pairs such as -2.1,0.3;-2,-0.5")
    return [tuple(number("a start", c, -MAX_COORDINATE, MAX_COORDINATE) for c in pair) for pair in found]


def _too_many(count: int) -> str:
    return f"There are {count:,} points, more than the limit of {MAX_POINTS:,}: give fewer."


def fitted_points(content: bytes, name: str = "The file") -> tuple[Tensor, str]:
    """A CSV file's content -> (M, 2) float32 that fit the plane, and a sentence on how they were fitted, if they were.

    Two columns, separated by comma, semicolon, tab or blanks; a header line may come first. As spreadsheets and
    programs write it: decimal commas where columns are separated otherwise, a first line `sep=;`, empty cells,
    comments (#), columns beside `x` and `y` that the header names, a column of row numbers. Raises InputError for
    content without 2 to MAX_POINTS finite points.
    """
    return fit_points(_checked(_rows(decoded(content, name))))


def _rows(text: str) -> list[list[float]]:
    lines = re.split(r"\r\n|\n|\r", text.lstrip("\ufeff"), maxsplit=2 * MAX_POINTS + 1)
    if len(lines) > 2 * MAX_POINTS + 1:  # before any work is done
        raise InputError(_too_many(text.count("\n") or text.count("\r")))
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    mark = ""
    if numbered and (declared := re.fullmatch(r"\s*\"?sep=(.)\"?\s*", numbered[0][1], re.IGNORECASE)):
        mark = declared[1]
        numbered = numbered[1:]
    mark = mark or _mark([line for _, line in numbered])
    rows = [(i, _cells(line, mark)) for i, line in numbered]
    rows = [(i, cells) for i, cells in rows if any(cells)]  # a spreadsheet's empty rows are marks alone
    width = max((len(cells) for _, cells in rows), default=0)
    while width > 2 and all(len(cells) < width or not cells[width - 1] for _, cells in rows):
        width -= 1  # a mark at every line's end
    rows = [(i, cells[: max(width, 1)]) for i, cells in rows]
    header: list[str] = []
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        header, rows = [cell.lower() for cell in rows[0][1]], rows[1:]
    return [_point(i, cells, mark) for i, cells in _two_columns(header, rows)]


def _mark(lines: list[str]) -> str:
    """What parts the columns: commas only where nothing else does, and not where they stand inside of both of two
    numbers with blanks between. '' for blanks."""
    for mark in (";", "\t"):
        if any(mark in line.strip(" ") for line in lines):
            return mark
    decimal = r"\s*[+\-\u2212]?\d+(?:,\d+)?(?:e[+-]?\d+)?"
    numbers = [line for line in lines if any(c.isdigit() for c in line)]
    if numbers and all(re.fullmatch(rf"{decimal}\s{decimal}\s*", line, re.IGNORECASE) for line in numbers):
        return ""
    return "," if any("," in line for line in lines) else ""


def _cells(line: str, mark: str) -> list[str]:
    if not mark:
        return [cell.strip('"') for cell in line.split()]
    try:
        return [cell.strip().strip('"') for cell in next(csv.reader([line], delimiter=mark, skipinitialspace=True))]
    except csv.Error:
        return [line]


def _two_columns(header: list[str], rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Those that the header calls x and y, or, of more than two, those beside row numbers."""
    if header.count("x") == header.count("y") == 1:
        chosen = [header.index("x"), header.index("y")]
        return [(i, [cells[k] for k in chosen] if len(cells) > max(chosen) else cells) for i, cells in rows]
    if rows and all(len(cells) == 3 for _, cells in rows):
        first = [cells[0] for _, cells in rows]
        counted = len(first) > 1 and any(first == [str(k) for k in range(n, n + len(first))] for n in (0, 1))
        if counted or header[:1] in ([""], ["index"], ["unnamed: 0"]):
            return [(i, cells[1:]) for i, cells in rows]
    return rows


def _number(cell: str) -> float:
    """Raises ValueError. A comma in a cell is a decimal mark; a minus may be the typographic one."""
    text = cell.strip().replace("\u2212", "-")
    return float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _point(line: int, cells: list[str], mark: str) -> list[float]:
    if len(cells) != 2:
        hint = ": separate them by semicolons if commas are decimal marks" if mark == "," and len(cells) == 4 else ""
        raise InputError(f"Line {line} has {len(cells)} columns where two, x and y, are needed{hint}.")
    for cell in cells:
        if not _is_number(cell):
            raise InputError(f"Line {line} holds {cell[:20]!r} where a number is needed.")
        if not math.isfinite(_number(cell)):
            raise InputError(f"Line {line} holds {cell[:20]!r}: every coordinate must be a finite number.")
    return [_number(cell) for cell in cells]


def fit_points(given: Tensor) -> tuple[Tensor, str]:
    """Points (M, 2) that lie far out or very close together, moved to the middle and scaled (both axes alike).

    given: float32, or float64 where they lie so far out that their differences need it. Returns the points, (M, 2)
    float32, and a sentence that says so; an empty one if nothing had to be done.
    """
    low, high = given.double().amin(0), given.double().amax(0)
    span, middle = (high - low).max().item(), (low + high) / 2
    if given.abs().max() <= REACH and span >= SMALLEST:
        return given.float(), ""
    scale = 2 * FITTED / span
    moved = ((given.double() - middle) * scale).float()
    where = ", ".join(f"{m:.4g}" for m in middle.tolist())
    return moved, f"The points were moved (their middle, {where}, to 0, 0) and scaled by {scale:.4g} to fit the plane."
