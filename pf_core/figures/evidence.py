"""The files of a study: its numbers, its figure, and a report of several that loads nothing."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from pf_core import files
from pf_core.charts import Chart
from pf_core.evaluation import evidence
from pf_core.evaluation.studies import STUDIES
from pf_core.figures import chart_file, static

SUFFIXES = (".png", ".pdf", ".svg")
_DPI, _SMALL = 110, 72  # of pictures in a report, of kept ones
_PLAIN, _SHADED, _PICTURED, _TIMED = 64, 96, 128, 256  # colours of a kept picture: lines; with maps, images, maps of t
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #1c1c1c }}
img {{ max-width: 100% }} figure {{ margin: 1em 0 }} blockquote {{ margin: 0.5em 0; font-style: italic }}
.verdict {{ font-weight: 600 }} .paper img {{ max-width: 420px }} code {{ background: #f2f2f2; padding: 0.1em 0.3em }}
section {{ border-top: 1px solid #ccc; padding: 1em 0 }} .about {{ color: #555; font-size: 0.9em }}
</style></head><body>
<h1>{title}</h1><p>{intro}</p>
{sections}
</body></html>
"""


def chart_of(result: dict[str, Any]) -> Chart:
    return STUDIES[result["study"]].fn.about.chart(result)


def write(result: dict[str, Any], folder: Path) -> list[Path]:
    """NAME.json, .png, .pdf and .svg of a study's result in a folder. Raises InputError if they cannot be written."""
    paths = [folder / f"{result['study']}{suffix}" for suffix in (".json", *SUFFIXES)]
    files.write_json(paths[0], result)
    figure = chart_file.draw(chart_of(result))
    for path in paths[1:]:
        save(figure, path)
    return paths


def save(figure: Figure, path: str | Path) -> None:
    """Of the format that the suffix says; the same figure gives the same bytes. Raises InputError."""
    with files.replacing(path) as temporary:
        static.save(figure, temporary)


def small(result: dict[str, Any], path: Path) -> None:
    """The figure as a PNG of few colours, to be kept in a repository. Raises InputError if it cannot be written."""
    made, chart = io.BytesIO(), chart_of(result)
    panels = [panel for row in chart.rows for panel in row]
    timed = any(p.map and p.map.time for p in panels)  # levels of t that merge would be another schedule
    colours = (
        _TIMED
        if timed
        else _PICTURED
        if any(p.picture for p in panels)
        else _SHADED
        if any(p.map for p in panels)
        else _PLAIN
    )
    chart_file.draw(chart).savefig(made, format="png", dpi=_SMALL, metadata={"Software": None})
    with files.replacing(path) as temporary:
        # one round of k-means: without it a band of few pixels gets another line's colour
        Image.open(made).convert("RGB").quantize(
            colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        ).save(temporary, optimize=True)


def report(results: Sequence[dict[str, Any]], path: Path, intro: str) -> None:
    """One page of HTML with everything in it: for each result the paper's sentence and figure, ours, the verdict, and
    the command. It has no scripts and loads nothing. Raises InputError if it cannot be written."""
    page = _PAGE.format(title="Patch Forcing, checked", intro=escape(intro), sections="\n".join(map(_section, results)))
    with files.replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _section(result: dict[str, Any]) -> str:
    study = STUDIES[result["study"]]
    about = study.fn.about
    parts = [f"<h2>{escape(study.label)}</h2>"]
    if about.claim:
        parts.append(f"<blockquote>{escape(about.claim.sentence)} ({escape(about.claim.where)})</blockquote>")
    if "refused" in result:
        parts.append(f"<p>Not measured on {escape(result['checkpoint'])}: {escape(result['refused'])}</p>")
        return f"<section>{''.join(parts)}</section>"
    try:
        parts += _found(result)
    except Exception as e:  # the other sections are drawn all the same
        parts.append(f"<p>Measured, but not drawn: {escape(evidence.fault(e)['refused'])}</p>")
    return f"<section>{''.join(parts)}</section>"


def _found(result: dict[str, Any]) -> list[str]:
    """Verdict, figure, the paper's, and how it was made."""
    about = STUDIES[result["study"]].fn.about
    parts = [f'<p class="verdict">{escape(about.verdict(result))}</p>']
    parts.append(f"<figure>{_picture(chart_of(result))}</figure>")
    if about.claim and about.claim.chart:
        parts.append(f'<figure class="paper">{_picture(about.claim.chart)}</figure>')
    parts.append(f'<p class="about">{escape(evidence.made(result))}: <code>{escape(result["command"])}</code></p>')
    return parts


def _picture(chart: Chart) -> str:
    made = io.BytesIO()
    chart_file.draw(chart).savefig(made, format="png", dpi=_DPI)
    text = base64.b64encode(made.getvalue()).decode()
    return f'<img alt="{escape(chart.title, quote=True)}" src="data:image/png;base64,{text}">'
