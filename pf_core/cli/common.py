"""Shared by the commands: flags made from knobs, and errors as one sentence."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.models import autoencoder
from pf_core.registry import Parameter, Registry, parameters, ranged
from pf_core.sampling.run import NUMBERS
from pf_core.training import ranks


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one sentence and exit status 2."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message.rstrip('.')}. See {self.prog} --help.\n")
        raise SystemExit(2)


def add_autoencoder(parser: argparse.ArgumentParser) -> None:
    """--autoencoder, for every command that works with a network: its latents may need one."""
    parser.add_argument(
        "--autoencoder", metavar="FOLDER", help="for networks on latents whose file names none, or one that moved"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device, for every command that does not look for a GPU by itself."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...; default cpu")


def use_autoencoder(args: argparse.Namespace) -> None:
    """--autoencoder and --device are what decodes. Raises InputError for a folder that holds none, or no device."""
    if hasattr(args, "checkpoint"):
        autoencoder.use(args.autoencoder)
        autoencoder.decode_on(working(own_device(args.device)) if hasattr(args, "device") else None)


def add_shared_folder(parser: argparse.ArgumentParser, command: str) -> None:
    """--out of a command that completes a folder, and whose work several processes may share."""
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="a folder; one that this command has begun is completed. Several processes share the work: "
        f"python -m torch.distributed.run --nproc_per_node N -m -- pf_core {command} ...",
    )


def own_device(name: str) -> str:
    """Of several processes on one machine each takes a GPU of its own; "auto": as far as there are so many."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or name not in ("auto", "cuda") or (name == "auto" and not torch.cuda.is_available()):
        return name
    return f"cuda:{int(local) % torch.cuda.device_count() if name == 'auto' else local}"


def share(work: Callable[[int, int], Iterator[int]], total: int, unit: str) -> bool:
    """Do this process's part of work(index, processes), which yields how much of `total` it has done, with a bar in the
    first process. True in the first one, which speaks for all."""
    index, processes = ranks.rank(), ranks.processes()
    with tqdm(total=total // processes, unit=unit, disable=None if index == 0 else True) as bar:
        for done in work(index, processes):
            bar.update(done)
    return index == 0


def add_knobs(parser: argparse.ArgumentParser, knobs: Iterable[Parameter], owner: str = "") -> None:
    """One flag a knob, added once if several entries share it: its help then says what holds for which. The knob checks
    the value, not argparse. owner: "of KIND NAME"."""
    for knob in knobs:
        action = parser._option_string_actions.get(knob.flag)
        if action is None:
            extra = {"nargs": "?", "const": "true"} if knob.type is bool else {}
            action = parser.add_argument(knob.flag, metavar=knob.type.__name__.upper(), **extra)
            action.owners = {}
        if hasattr(action, "owners"):  # else a flag of the command's own
            action.owners.setdefault(_about(knob), []).append(owner)
            action.help = _help(action.owners)


def _about(knob: Parameter) -> tuple[str, str]:
    """What a knob is, and which values it takes."""
    values = [] if knob.default in ("", None) else [f"default {knob.default}"]
    if knob.knob.choices:
        values.insert(0, "one of " + ", ".join(map(str, knob.knob.choices)))
    elif knob.knob.low is not None:
        values.insert(0, f"{knob.knob.low} to {knob.knob.high}")
    return knob.knob.help, "; ".join(values)


def _help(owners: Mapping[tuple[str, str], list[str]]) -> str:
    """What the flag is and takes, and whose it is; where it is not the same for all, in turn for each."""
    parts, last = [], None
    for (about, values), names in owners.items():
        told = "; ".join(filter(None, [about if about != last else "", values]))
        whose = ", ".join(name.rpartition(" ")[2] for name in names)
        parts.append(
            f"{whose}: {told}" if len(owners) > 1 else f"{told}; {names[0].rpartition(' ')[0]} {whose}".rstrip("; ")
        )
        last = about
    return ". ".join(parts).replace("%", "%%")


def add_registry_knobs(parser: argparse.ArgumentParser, registry: Registry) -> None:
    for name, entry in registry.items():
        add_knobs(parser, entry.knobs.values(), owner=f"of {registry.kind} {name}")


def given(args: argparse.Namespace, knobs: Iterable[Parameter]) -> dict[str, Any]:
    """The values of these knobs on the command line, unchecked."""
    return {k.name: getattr(args, k.name) for k in knobs if getattr(args, k.name, None) is not None}


def given_of(args: argparse.Namespace, registry: Registry) -> dict[str, Any]:
    """The given values of all knobs of a registry; the chosen entry refuses those that are not its own."""
    return given(args, (k for entry in registry.values() for k in entry.knobs.values()))


def checked(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a dataclass with Knob fields, each checked."""
    knobs = parameters(cls)
    return {name: knobs[name].check(value) for name, value in values.items()}


def seeds(text: str) -> list[int]:
    """'0-15', '3', '1,4,9-12' -> list. Raises InputError."""
    numbers: list[int] = []
    for part in map(str.strip, str(text).split(",")):
        if not re.fullmatch(r"[0-9]{1,19}(-[0-9]{1,19})?", part):
            raise InputError(f"--seeds takes numbers and ranges such as 0-15 or 1,4,9, not {text!r:.60}.")
        numbers += ranged("--seeds", part, NUMBERS["seed"].check, 1_000_000)
    return numbers


def interval(text: str | None) -> tuple[str, str]:
    """'0.1,0.8' -> its two ends, unchecked; None is (0, 1). Raises InputError."""
    parts = tuple(("0,1" if text is None else text).split(","))
    if len(parts) != 2:
        raise InputError(f"--guidance-interval takes two numbers such as 0.1,0.8, not {text!r:.60}.")
    return parts
