"""results: keep studies' results in the repository, and write docs/RESULTS.md's part that is made of them."""

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
        "folder", nargs="*", type=Path, help="folders that `study NAME|all --out DIR` wrote: their results are kept"
    )


def run(args: argparse.Namespace) -> None:
    for folder in args.folder:
        for path in take(folder):
            print(path)
    page = PAGE.read_text(encoding="utf-8")
    with files.replacing(PAGE) as temporary:
        temporary.write_text(written(page), encoding="utf-8")
    print(PAGE)


def take(folder: Path) -> list[Path]:
    """Keep the result of each study in a folder, and its picture; where they are. Raises InputError if there is
    none."""
    from pf_core.figures import evidence as drawn  # here, as matplotlib takes its time

    results = [result for name in STUDIES if (result := files.read_json(folder / f"{name}.json"))]
    if not results:
        raise InputError(f"There are no results of studies in {folder}: make some with study all --out {folder}.")
    kept = []
    for result in results:
        path = evidence.keep(result)
        drawn.small(result, path.with_suffix(SUFFIX))
        kept += [path, path.with_suffix(SUFFIX)]
    return kept


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
    place = evidence.folder_of(study.name, result.get("checkpoint", "")) / f"{study.name}.json"
    shown = f"../{place.relative_to(PAGE.parents[1]).as_posix()}"
    yield f"Measured on {evidence.made(result)}: `{result['command']}` ([numbers]({shown}))."
    yield f"![{about.chart(result).title}]({Path(shown).with_suffix(SUFFIX).as_posix()})"
