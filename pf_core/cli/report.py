"""report: a Markdown table of evaluation files, as the README holds it."""

import argparse
from pathlib import Path
from typing import Any

from pf_core import bounded
from pf_core.errors import InputError

COLUMNS = "| network | sampler | guidance | NFE | images | asked class | Frechet distance | precision | recall |"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="of files that `evaluate` wrote")


def run(args: argparse.Namespace) -> None:
    print(table(Path(args.folder)))


def table(folder: Path) -> str:
    """One row a file, real images first, then by network, guidance, NFE and sampler. InputError if there is none."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    found = [result for result in found if isinstance(result, dict) and "accuracy" in result]
    if not found:
        raise InputError(f"There are no evaluation files in {folder}.")
    rows = [COLUMNS, "|" + "---|" * (COLUMNS.count("|") - 1)]
    return "\n".join(rows + [_row(result) for result in sorted(found, key=_order)])


def _read(path: Path) -> Any:
    """Raises InputError."""
    try:
        return bounded.read_json(path)
    except (ValueError, OSError) as e:
        raise InputError(f"{path} cannot be read ({e}): mend it or take it away.") from None


def _order(result: dict) -> tuple:
    recipe = result.get("recipe")
    if recipe is None:
        return ("", result["images"])
    return (recipe["checkpoint"], recipe["cfg_scale"], result["nfe"], recipe["sampler"], result["images"])


def _row(result: dict) -> str:
    recipe = result.get("recipe")
    named = (
        [recipe["checkpoint"], f"`{recipe['sampler']}`", f"{recipe['cfg_scale']:g}"]
        if recipe
        else ["real images", "", ""]
    )
    measured = [
        _percent(result["accuracy"]),
        _number(result["frechet"]),
        _percent(result["precision"]),
        # older files' intervals left out the chance in which images were generated: too narrow to be shown
        _percent(result["recall"]) if "resampled" in result else f"{result['recall']['value']:.1%}",
    ]
    return "| " + " | ".join([*named, str(result.get("nfe", "")), str(result["images"]), *measured]) + " |"


def _percent(measured: dict | None) -> str:
    if measured is None:  # a network without classes
        return ""
    low, high = measured["interval"]
    return f"{measured['value']:.1%} ({low:.1%} to {high:.1%})"


def _number(measured: dict) -> str:
    low, high = measured["interval"]
    return f"{measured['value']:.2f} ({low:.2f} to {high:.2f})"
