"""Figures as files, with matplotlib: data in, figure out. Nothing is computed here but colours and limits."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

NOISE, TRUTH, MADE, INK = "#d95f02", "#1b9e77", "#7570b3", "#000000"
TIME_MAP, UNCERTAINTY_MAP = "viridis", "magma"
_STYLE = {"font.size": 12, "font.family": "DejaVu Sans", "svg.fonttype": "path", "pdf.fonttype": 42}


def figure5(
    noise: np.ndarray,
    truth: np.ndarray,
    paths: np.ndarray,
    chosen: np.ndarray,
    uncertainty: np.ndarray,
    made_by: str = "Euler",
) -> Figure:
    """The paper's Fig. 5: data; generated points with their trajectories; chosen trajectories coloured by uncertainty.

    noise (M, 2), truth (M, 2); paths (S, B, 2) of all points; chosen (S, K, 2) with uncertainty (S, K) in [0, 1].
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(15.7, 4.9), layout="constrained")
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3, sharex=True, sharey=True)
        _data(left, noise, truth)
        _generated(middle, paths, made_by)
        dots = _uncertainty(right, noise, truth, chosen, uncertainty)
        bar = figure.colorbar(dots, cax=right.inset_axes([1.04, 0.02, 0.033, 0.96]), ticks=[0, 0.5, 1])
        bar.set_label("Normalized uncertainty")
        low, high = limits(noise, truth)
        for axes in (left, middle, right):
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelleft=True)
            _whole_ticks(axes)
    return figure


def limits(*clouds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners (2,), (2,) of a frame around all points, a little air included."""
    points = np.concatenate(clouds)
    low, high = points.min(0), points.max(0)
    air = 0.06 * (high - low).max()
    return low - air, high + air


def _data(axes: Axes, noise: np.ndarray, truth: np.ndarray) -> None:
    _cloud(axes, noise, NOISE, 0.25)
    _cloud(axes, truth, TRUTH, 0.5)
    axes.set_title("Data")
    _legend(axes, [_dot(NOISE, 0.4, "noise"), _dot(TRUTH, 0.7, "ground truth")])


def _generated(axes: Axes, paths: np.ndarray, made_by: str) -> None:
    _cloud(axes, paths[0], NOISE, 0.25)
    axes.add_collection(LineCollection(paths.transpose(1, 0, 2), colors=INK, linewidths=0.6, alpha=0.05, zorder=2))
    _cloud(axes, paths[-1], MADE, 0.5, zorder=3)
    axes.set_title(f"Generated ({made_by})")
    _legend(axes, [_dot(MADE, 0.7, "generated"), _dot(NOISE, 0.3, "starts")])


def _uncertainty(axes: Axes, noise: np.ndarray, truth: np.ndarray, chosen: np.ndarray, uncertainty: np.ndarray):
    _cloud(axes, noise, NOISE, 0.16)
    _cloud(axes, truth, TRUTH, 0.2)
    for way in chosen.transpose(1, 0, 2):
        axes.plot(*way.T, color="#333333", linewidth=1.2, zorder=3)
    inner = slice(1, -1)  # a cross and a star stand at the ends
    dots = axes.scatter(
        *chosen[inner].reshape(-1, 2).T,
        c=uncertainty[inner].ravel(),
        cmap=UNCERTAINTY_MAP,
        vmin=0,
        vmax=1,
        s=36,
        edgecolors="#333333",
        linewidths=0.6,
        zorder=4,
    )
    axes.scatter(*chosen[0].T, marker="x", color=INK, s=80, linewidths=1.8, zorder=5)
    axes.scatter(*chosen[-1].T, marker="*", color=INK, s=130, linewidths=0, zorder=5)
    axes.set_title("Sampling trajectories with uncertainty")
    ends = [_mark("x", 9, "trajectory start"), _mark("*", 12, "trajectory end")]
    _legend(axes, [_dot(NOISE, 0.25, "noise"), _dot(TRUTH, 0.3, "ground truth"), *ends])
    return dots


def _cloud(axes: Axes, points: np.ndarray, colour: str, alpha: float, zorder: int = 1) -> None:
    axes.scatter(*points.T, s=9, color=colour, alpha=alpha, linewidths=0.7, zorder=zorder, rasterized=True)


def _dot(colour: str, alpha: float, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", markersize=3.5, color=colour, alpha=alpha, label=label)


def _mark(marker: str, size: float, label: str) -> Line2D:
    edge = 1.8 if marker == "x" else 0
    return Line2D([], [], linestyle="", marker=marker, markersize=size, color=INK, markeredgewidth=edge, label=label)


def _legend(axes: Axes, handles: list[Line2D]) -> None:
    axes.legend(handles=handles, loc="upper left", framealpha=0.9, handletextpad=0.8)


def _whole_ticks(axes: Axes) -> None:
    """A tick at every whole number where there is room for them."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if high - low <= 12:
            axis.set_ticks(np.arange(np.ceil(low), np.floor(high) + 1))


def save(figure: Figure, path: str | Path) -> None:
    """Write .png, .pdf or .svg, by the name's ending. Nothing in the file depends on when it was written."""
    path = Path(path)
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {"Software": None}}[path.suffix]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "pf"}):
        figure.savefig(path, dpi=150, metadata=undated)
