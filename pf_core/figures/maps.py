"""Where a map's hexagons and the densities at its sides are drawn, for every kind of figure."""

from collections.abc import Sequence
from urllib.parse import quote

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize, to_hex

from pf_core.charts import Map

SIDE, GAP = 0.17, 0.02  # of a map: what a density at its side takes, and between the two
_EDGE, _FAINTEST = "#888888", 0.3  # around cells that the dark page would hide; the most light that such a cell has
_PIXELS = 1200  # a side of a picture of hexagons
_WIDE = 14  # of them, the edge's width, half of it unseen
_PLAIN = " '/:=<>"  # letters of an SVG that a data URI may hold as they are
_CORNERS = np.array([[0, 2], [3, 1], [3, -1], [0, -2], [-3, -1], [-3, 1]]) / 6  # in cells and pairs of rows


def cells(shown: Map) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a hexagonal map's cells that are not empty where it is logarithmic, else of all: centres (M, 2), values (M,);
    and the corners (6, 2) around a centre."""
    low, high = (np.array(ends) for ends in zip(shown.x, shown.y, strict=True))
    pitch = (high - low) / (len(shown.values[0]) - 1, (len(shown.values) - 1) / 2)
    places = [(k + row % 2 / 2, row / 2) for row, values in enumerate(shown.values) for k in range(len(values))]
    values = np.concatenate(shown.values)
    there = values > 0 if shown.log else np.full(len(values), True)
    return (low + np.array(places) * pitch)[there], values[there], _CORNERS * pitch


def norm(shown: Map) -> Normalize:
    low, high = shown.ends or (None, None)
    return LogNorm(low, high) if shown.log else Normalize(low, high)


def hexagons(shown: Map, scale: str | Colormap) -> str:
    """A hexagonal map's cells, without axes, as the data URI of an SVG that is stretched over its rectangle."""
    centres, values, corners = cells(shown)
    low, high = (np.array(ends) for ends in zip(shown.x, shown.y, strict=True))
    pixels = np.array([_PIXELS, -_PIXELS]) / (high - low)
    at, around = (centres - low) * pixels + [0, _PIXELS], corners * pixels
    edge = "l".join(f"{x:.0f} {y:.0f}" for x, y in np.diff(around.round(), axis=0))
    paths: dict[str, str] = {}
    colours = ScalarMappable(norm(shown), scale).to_rgba(values)
    cells_at = [f"M{x:.0f} {y:.0f}l{edge}z" for x, y in (at + around[0]).round()]
    for place, colour in zip(cells_at, colours, strict=True):
        paths[to_hex(colour)] = paths.get(to_hex(colour), "") + place
    outlined = "".join(place for place, hidden in zip(cells_at, _faint(colours), strict=True) if hidden)
    drawn = f"<path fill='none' stroke='{_EDGE}' stroke-width='{_WIDE}' d='{outlined}'/>" if outlined else ""
    drawn += "".join(f"<path fill='{each}' stroke='{each}' d='{path}'/>" for each, path in paths.items())
    sized = f"width='{_PIXELS}' height='{_PIXELS}' viewBox='0 0 {_PIXELS} {_PIXELS}' preserveAspectRatio='none'"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' {sized}>{drawn}</svg>"
    return f"data:image/svg+xml,{quote(svg, safe=_PLAIN)}"


def _faint(colours: np.ndarray) -> np.ndarray:
    """(M,) which of these colours (M, 4) hardly differ from a dark ground."""
    return colours[:, :3] @ (0.2126, 0.7152, 0.0722) < _FAINTEST


def steps(density: Sequence[float], ends: tuple[float, float]) -> tuple[list[float], list[float]]:
    """The outline of a density in even bins between these ends, from zero to zero: where, and how high."""
    edges = np.linspace(*ends, len(density) + 1).round(5).tolist()
    return [edge for edge in edges for _ in (0, 1)], [0.0, *(high for high in density for _ in (0, 1)), 0.0]
