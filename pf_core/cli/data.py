"""data: check own pictures before training, import them, list and remove imported sets; render toybox ahead."""

import argparse
from pathlib import Path

from tqdm import tqdm

from pf_core.cli.common import add_knobs, given_of
from pf_core.data import DATASETS
from pf_core.data.own import importer, paths
from pf_core.data.own.library import remove, sets
from pf_core.errors import InputError
from pf_core.registry import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="folders, zips or pictures; none: list the imported sets"
    )
    parser.add_argument("--keep", action="store_true", help="import the readable ones as a data set")
    parser.add_argument("--title", help="title of the imported set; default: the file's name")
    parser.add_argument("--remove", metavar="NAME", help="delete an imported set")
    ahead = [name for name, entry in DATASETS.items() if hasattr(entry.fn, "render_ahead")]
    parser.add_argument("--render", metavar="N", help=f"render N images of {', '.join(ahead)} ahead, with its settings")
    for name in ahead:
        add_knobs(parser, DATASETS[name].knobs.values(), owner=f"of data set {name}")


def run(args: argparse.Namespace) -> None:
    if args.render is not None:
        _render(args)
    elif args.remove:
        remove(args.remove)
        print(f"{args.remove} is removed.")
    elif args.paths:
        _inspect(args)
    else:
        _list()


def _list() -> None:
    for s in sets():
        print(f"{s.name}: {importer.describe(s.pictures, s.classes, s.captions, 0, s.bytes)}")
    if not sets():
        print(f"No data sets in {paths.home()} yet: python -m pf_core data PATH --keep imports pictures.")


def _render(args: argparse.Namespace) -> None:
    if len(args.paths) != 1 or not hasattr(DATASETS[args.paths[0]].fn, "render_ahead"):
        raise InputError("Name one rendered data set: python -m pf_core data toybox --render 600000.")
    entry, count = DATASETS[args.paths[0]], whole("--render", args.render, 1, 2**31 - 1)
    data = entry.fn(**entry.settings(given_of(args, DATASETS)))
    with tqdm(total=count, desc="rendering", unit="image", disable=None) as bar:
        for done in data.render_ahead(count):
            bar.update(done - bar.n)
    print(f"{done:,} images in {data.cache.path}: training with these settings reads them.")


def _inspect(args: argparse.Namespace) -> None:
    for path in args.paths:
        if not Path(path).exists():
            raise InputError(f"There is no file or folder {path}.")
    with tqdm(unit="picture", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update()

        report = importer.take(args.paths, args.title or "", progress=progress)
    for skipped in report.skipped:
        print(f"  {skipped}")
    print(report.summary)
    if args.keep:
        name = importer.keep(report.id)
        print(f"Kept as {name}: python -m pf_core train --dataset folder --path {name} --out runs/{name}")
    else:
        importer.drop(report.id)
