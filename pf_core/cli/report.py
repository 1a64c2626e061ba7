"""report: a Markdown table of evaluations, as in docs/RESULTS.md."""

import argparse
from pathlib import Path

from pf_core.errors import InputError
from pf_core.evaluation.evaluate import read_results

COLUMNS = "| network | sampler | guidance | NFE | images | asked class | Frechet distance | precision | recall |"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder of files that `evaluate` wrote, or a JSONL file of them")


def run(args: argparse.Namespace) -> None:
    print(table(Path(args.folder)))


def table(path: Path) -> str:
    """One row an evaluation, real images first, then by network, guidance, NFE and sampler. Raises InputError if there
    is none."""
    results = [r for r in read_results(path).values() if isinstance(r, dict) and "accuracy" in r]
    if not results:
        raise InputError(f"There are no evaluations in {path}.")
    rows = [COLUMNS, "|" + "---|" * (COLUMNS.count("|") - 1)]
    alike: dict[tuple, list[dict]] = {}
    for result in results:
        alike.setdefault(_order(result), []).append(result)
    return "\n".join(rows + [_row(one, _apart(one, alike[key])) for key in sorted(alike) for one in alike[key]])


def _apart(result: dict, alike: list[dict]) -> str:
    """What tells a row from others of the same network, sampler, guidance, NFE and images: the settings that differ."""
    said = [_told(each) for each in alike]
    names = dict.fromkeys(name for each in said for name in each)
    differ = [name for name in names if len({each.get(name) for each in said}) > 1]
    return "".join(f", {name} {_told(result).get(name, 'none')}" for name in differ)


def _told(result: dict) -> dict[str, str]:
    """All that a row was made with, as texts; of a sampler's settings each."""
    recipe = {name: value for name, value in result.get("recipe", {}).items() if name != "settings"}
    settings = result.get("recipe", {}).get("settings", {})
    beside = [(name, result[name]) for name in ("seeds", "split", "judge") if name in result]
    return {name: str(v) for name, v in (*settings.items(), *recipe.items(), *beside)}


def _order(result: dict) -> tuple:
    recipe = result.get("recipe")
    if recipe is None:
        return ("", result["images"])
    return (recipe["checkpoint"], recipe["cfg_scale"], result["nfe"], recipe["sampler"], result["images"])


def _row(result: dict, apart: str) -> str:
    recipe = result.get("recipe")
    named = (
        [recipe["checkpoint"], f"`{recipe['sampler']}`{apart}", f"{recipe['cfg_scale']:g}"]
        if recipe
        else ["real images", "", ""]
    )
    measured = [
        _percent(result["accuracy"]),
        _number(result["frechet"]),
        _percent(result["precision"]),
        # older intervals resample the real images only, so they are too narrow to be shown
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
