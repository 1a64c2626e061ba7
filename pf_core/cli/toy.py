"""toy: train a small network on points of the plane (Fig. 5) and draw or measure the result."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pf_core import files
from pf_core.cli.common import add_knobs, add_registry_knobs, checked, given, given_of
from pf_core.errors import InputError
from pf_core.registry import Knob, Parameter, parameters
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import versions
from pf_core.timesteps import TIMESTEPS
from pf_core.toy.benchmark import benchmark
from pf_core.toy.data import TOYS
from pf_core.toy.experiment import DRAWN, ToyConfig, ToyState, data_knobs, figure5_data, trajectories
from pf_core.toy.metrics import measure
from pf_core.toy.points import fitted_points, pairs

PICTURES = (".png", ".pdf", ".svg")
MAX_FILE = 20 * 2**20
NFE = Parameter("nfe", int, 50, Knob(1, 1000, "of the picture: network evaluations a point"))
MOST_STARTS = 64  # trajectories of the picture
BUDGETS = (8, 16, 32)  # evaluations a point at which the samplers are compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default=ToyConfig.data, help=", ".join(TOYS))
    parser.add_argument("--points", metavar="FILE", help="a CSV of two columns, x and y, instead of --data")
    parser.add_argument("--timesteps", default=ToyConfig.timesteps, help=", ".join(TIMESTEPS))
    parser.add_argument("--sampler", default="euler", help="of the picture: " + ", ".join(SAMPLERS))
    parser.add_argument("--nfe", default=NFE.default, help=f"{NFE.knob.help}; default {NFE.default}")
    parser.add_argument(
        "--starts", default="", metavar="X,Y;...", help="of the picture's trajectories, as '--starts=-2,0.3;1,2'"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="x.png, x.pdf or x.svg: Fig. 5; x.json: numbers; default: print numbers"
    )
    add_knobs(parser, parameters(ToyConfig).values())
    for name, entry in TOYS.items():
        add_knobs(parser, data_knobs(entry).values(), owner=f"of {TOYS.kind} {name}")
    for registry in (TIMESTEPS, SAMPLERS):
        add_registry_knobs(parser, registry)


def run(args: argparse.Namespace) -> None:
    check_out(args.out)
    args.nfe, args.starts = NFE.check(args.nfe), pairs(args.starts, MOST_STARTS)
    state = ToyState(config(args))
    settings = SAMPLERS[args.sampler].settings(given_of(args, SAMPLERS))
    # raises InputError for a wrong setting
    trajectories(state.model, state.starts(1), args.sampler, args.nfe, settings)
    with one_thread():
        begin, worked = time.perf_counter(), time.thread_time()
        for _ in state:
            pass
        took = {"train_seconds": time.perf_counter() - begin, "train_cpu_seconds": time.thread_time() - worked}
    if args.out and Path(args.out).suffix in PICTURES:
        picture(state, args, settings)
        print(f"{args.out}: Fig. 5 after {state.config.steps:,} steps, {took['train_seconds']:.0f} s.")
        return
    result = measure(state) | {k: round(v, 3) for k, v in took.items()}
    result |= {"equal_nfe": [benchmark(state, b).to_dict() for b in BUDGETS], "recipe": recipe(state.config)}
    if args.out:
        files.write_json(args.out, result)
        print(f"{args.out}: the numbers after {state.config.steps:,} steps, {took['train_seconds']:.0f} s.")
    else:
        print(json.dumps(result, indent=1))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: a step of this small network is many small operations, which a second thread slows down,
    on a busy machine up to ten times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def config(args: argparse.Namespace) -> ToyConfig:
    """Raises InputError."""
    values = checked(ToyConfig, given(args, parameters(ToyConfig).values()))
    where = {"data": DRAWN, "array": load_points(args.points)} if args.points else {"data": args.data}
    if not args.points:
        where["data_settings"] = TOYS[args.data].settings(_of_data(args))
    settings = TIMESTEPS[args.timesteps].settings(given_of(args, TIMESTEPS))
    return ToyConfig(**values, **where, timesteps=args.timesteps, timestep_settings=settings)


def _of_data(args: argparse.Namespace) -> dict[str, Any]:
    """The given knobs of all data sets, by their own names."""
    every = {name: knob for entry in TOYS.values() for name, knob in data_knobs(entry).items()}
    return {name: value for name, knob in every.items() if (value := getattr(args, knob.name)) is not None}


def check_out(out: str | None) -> None:
    """Raises InputError, before any work, if nothing can be written to this name."""
    if out is None:
        return
    path = Path(out)
    files.check_names(path)
    if path.suffix not in (*PICTURES, ".json"):
        raise InputError(f"--out must end in .png, .pdf, .svg or .json, not {path.name!r}.")
    folder = next(p for p in path.absolute().parents if p.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"Cannot write {out}: choose a file in a folder that can be written.")


def load_points(name: str):
    """(M, 2). Raises InputError."""
    try:
        if os.path.getsize(name) > MAX_FILE:
            raise InputError(f"{name} is larger than {MAX_FILE // 2**20} MB: give fewer points.")
        points, sentence = fitted_points(Path(name).read_bytes(), name)
    except OSError as e:
        raise InputError(f"Cannot read {name}: {e.strerror}.") from None
    if sentence:
        print(sentence, file=sys.stderr)
    return points


def picture(state: ToyState, args: argparse.Namespace, settings: dict[str, Any]) -> None:
    from pf_core.figures import static

    starts = torch.tensor(args.starts, dtype=torch.float32) if args.starts else None
    figure = static.figure5(*figure5_data(state, args.sampler, args.nfe, settings, starts))
    with files.replacing(args.out) as temporary:
        static.save(figure, temporary)


def recipe(config: ToyConfig) -> dict[str, Any]:
    return config.to_dict() | {"versions": versions()}
