"""results: keep studies' results in the repository, draw all kept ones, and write docs/RESULTS.md's part of them."""

import argparse
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.evaluation import evidence
from pf_core.evaluation.studies import STUDIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "RESULTS.md"
BEGIN, END = "<!-- evidence -->\n", "<!-- /evidence -->"
SUFFIX = ".png"  # of a kept result's picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="*",
        type=Path,
        help="folders that `study NAME|all --out DIR` wrote: their results are kept; all kept pictures are drawn anew",
    )


def run(args: argparse.Namespace) -> None:
    for folder in args.folder:
        for path in take(folder):
            print(path)
    for line in redraw():
        print(line)
    page = PAGE.read_text(encoding="utf-8")
    with files.replacing(PAGE) as temporary:
        temporary.write_text(written(page), encoding="utf-8")
    print(PAGE)


def take(folder: Path) -> list[Path]:
    """Keep the result of each study in a folder, with its picture where `redraw` makes none; where they are. Raises
    InputError if there is none."""
    results = [result for name in STUDIES if (result := files.read_json(folder / f"{name}.json"))]
    if not results:
        raise InputError(f"There are no results of studies in {folder}: make some with study all --out {folder}.")
    kept = []
    for result in results:
        kept.append(path := evidence.keep(result))
        if not path.is_relative_to(evidence.RESULTS):
            kept.append(_drawn(result, path))
    return kept


def redraw() -> Iterator[str]:
    """Draw the picture of every result in the repository, so that none is older than the code that draws it: where each
    is. One that cannot be drawn stays as it was, and a sentence says why."""
    for result in evidence.all_kept():
        path = _place(result)
        try:
            yield str(_drawn(result, path))
        except Exception as e:
            yield f"{path.with_suffix(SUFFIX)} stays as it was: {evidence.fault(e)['refused']}"


def _drawn(result: dict[str, Any], path: Path) -> Path:
    """The picture beside a kept result."""
    from pf_core.figures import evidence as drawn  # here, as matplotlib takes its time

    drawn.small(result, path.with_suffix(SUFFIX))
    return path.with_suffix(SUFFIX)


def _place(result: dict[str, Any]) -> Path:
    return evidence.folder_of(result["study"], result.get("checkpoint", "")) / f"{result['study']}.json"


def written(page: str) -> str:
    """The page with its part between the marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{text()}\n{END}{after}"


def text() -> str:
    """Every kept result in Markdown: the paper's sentence, what came out, how it was measured, its picture."""
    blocks = []
    for network, results in groupby(evidence.all_kept(), key=lambda r: r.get("checkpoint", evidence.TRAININGS)):
        blocks.append(f"### {network if network == evidence.TRAININGS else f'`{network}`'}")
        blocks += [block for result in results for block in _blocks(result)]
    return "\n\n".join(blocks)


def _blocks(result: dict[str, Any]) -> Iterator[str]:
    study = STUDIES[result["study"]]
    about = study.fn.about
    yield f"#### {study.label}"
    if about.claim:
        yield f"> {about.claim.sentence} ({about.claim.where})"
    yield about.verdict(result)
    shown = f"../{_place(result).relative_to(PAGE.parents[1]).as_posix()}"
    yield f"Measured on {evidence.made(result)}: `{result['command']}` ([numbers]({shown}))."
    yield f"![{about.chart(result).title}]({Path(shown).with_suffix(SUFFIX).as_posix()})"
