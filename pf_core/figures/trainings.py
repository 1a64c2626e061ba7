"""The figure of the study `when_it_pays`: data in, figure out. Nothing is computed here but colours and places."""

from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

TIME, RATIO = "0.2", "2"  # of the probe's gain that is drawn: the middle ones of those measured
_STYLE = {"font.size": 10, "font.family": "DejaVu Sans", "svg.fonttype": "path", "pdf.fonttype": 42}
_ZERO = {"color": "#888888", "linewidth": 0.8, "zorder": 0}


def when_it_pays(result: dict[str, Any], sampler: str = "look_ahead") -> Figure:
    """Four panels of a result of `when_it_pays`: the probe's gain, own and true, and the sampler's distance minus the
    first one's, as a share of that, against images seen; the same at the end of each run against the data's dependence
    and the network's depth. Below zero adaptive sampling pays. Bars are 95% intervals; hollow: without labels."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(12, 8.5), layout="constrained")
        FigureCanvasAgg(figure)
        (gain, lead), (dependence, depth) = figure.subplots(2, 2)
        for i, run in enumerate(result["runs"]):
            style = {"color": f"C{i % 10}", "markerfacecolor": f"C{i % 10}" if run["labels"] else "white"}
            _gain(gain, run, style)
            _lead(lead, run, sampler, style)
            last = list(_leads(run, sampler))[-1:]
            for point, settings, measured in last:
                _bar(dependence, [run["dependence"]], [measured], style, _marker(settings))
                _bar(depth, [point["depth"]], [measured], style, _marker(settings))
        _dress(gain, f"What the probe gains, t = {TIME}, ratio {RATIO}", "images seen", "hard patches' error, %")
        label = f"{sampler.replace('_', '-')} minus Euler, {result['nfe']} NFE"
        _dress(lead, label, "images seen", "of Euler's Frechet distance, %")
        _dress(dependence, "At the end of each run", "dependence of the data", "of Euler's distance, %")
        _dress(depth, "At the end of each run", "depth", "of Euler's distance, %")
        _legend(figure, gain, result["runs"])
    return figure


def _gain(axes: Axes, run: dict[str, Any], style: dict[str, Any]) -> None:
    """Lines of what a run's compass logged (averaged weights; dotted: the last ones), dots of the networks kept."""
    for kind, line in (("own", "-"), ("true", "--")):
        for weights, width in (("ema", 1.4), ("last", 0.6)):
            logged = [(e["images"], e["compass"][weights]["t"][TIME]) for e in run["along"]]
            values = [100 * t[f"{kind} {RATIO}"]["value"] for _, t in logged]
            axes.plot([x for x, _ in logged], values, line, color=style["color"], linewidth=width)
        kept = [(p["images"], p["gain"]["t"][TIME][f"{kind} {RATIO}"]) for p in run["points"] if p["gain"]]
        _bar(axes, [x for x, _ in kept], [m for _, m in kept], style, "o" if kind == "own" else "^", line)


def _leads(run: dict[str, Any], sampler: str) -> Iterator[tuple[dict, dict, dict]]:
    """(point, settings, difference as a share of the base's distance) of each row of this sampler."""
    for point in run["points"]:
        rows = point["samplers"].get("rows", [])
        for row in rows:
            if row["sampler"] == sampler and "minus_base" in row:
                base = rows[0]["frechet"]["value"]
                measured = row["minus_base"]
                share = {"value": measured["value"] / base, "interval": [v / base for v in measured["interval"]]}
                yield point, row["settings"], share


def _lead(axes: Axes, run: dict[str, Any], sampler: str, style: dict[str, Any]) -> None:
    by_settings: dict[str, list] = {}
    for point, settings, measured in _leads(run, sampler):
        by_settings.setdefault(_marker(settings), []).append((point["images"], measured))
    for marker, points in by_settings.items():
        _bar(axes, [x for x, _ in points], [m for _, m in points], style, marker, "-" if marker == "o" else "--")


def _marker(settings: dict[str, Any]) -> str:
    return "o" if settings.get("ratio", 1.4) < 2 else "s"


def _bar(axes: Axes, x: list, measured: list[dict], style: dict[str, Any], marker: str, line: str = "") -> None:
    if not x:
        return
    values = [100 * m["value"] for m in measured]
    below = [v - 100 * m["interval"][0] for v, m in zip(values, measured, strict=True)]
    above = [100 * m["interval"][1] - v for v, m in zip(values, measured, strict=True)]
    ends = [[max(b, 0) for b in below], [max(a, 0) for a in above]]
    axes.errorbar(x, values, ends, marker=marker, linestyle=line, markersize=5, capsize=2, linewidth=1, **style)


def _dress(axes: Axes, title: str, across: str, up: str) -> None:
    axes.axhline(0, **_ZERO)
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, axes: Axes, runs: list[dict[str, Any]]) -> None:
    names = [Line2D([], [], color=f"C{i % 10}", label=run["run"]) for i, run in enumerate(runs)]
    kinds = [
        Line2D([], [], color="k", marker="o", label="own context"),
        Line2D([], [], color="k", marker="^", linestyle="--", label="true context"),
        Line2D([], [], color="k", marker="s", linestyle="--", label="ratio 2 (right and below)"),
    ]
    axes.legend(handles=kinds, fontsize=8, framealpha=0.9)
    figure.legend(handles=names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8)
