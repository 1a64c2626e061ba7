"""runs: list the trainings in a folder, and pause, stop, resume or delete them."""

import argparse
import time
from pathlib import Path

from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.training.queue import Jobs
from pf_core.training.status import Info

PLAIN = ("pause", "resume", "stop", "force-stop", "save-now", "sample-now")  # methods of Jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="list", help=f"list, {', '.join(PLAIN)} or delete; default list")
    parser.add_argument("name", nargs="?", help="name of the run; without one, list shows all")
    parser.add_argument("--root", default=str(checkpoint.RUNS), help="the folder that holds the runs")


def run(args: argparse.Namespace) -> None:
    jobs = Jobs(Path(args.root))
    if args.action == "list":
        found = [jobs.get(args.name)] if args.name else jobs.all()
        for info in found:
            print(line(info))
        if not found:
            print(f"No runs in {args.root} yet: python -m pf_core train --out {Path(args.root) / 'first'} starts one.")
        return
    if args.action not in (*PLAIN, "delete"):
        raise InputError(f"runs cannot {args.action!r}. Known: list, {', '.join(PLAIN)}, delete.")
    if not args.name:
        raise InputError(f"Name a run: python -m pf_core runs {args.action} NAME.")
    if args.action == "delete":
        jobs.delete(args.name)
        print(f"{args.name} is deleted.")
    else:
        print(line(getattr(jobs, args.action.replace("-", "_"))(args.name)))


def line(info: Info) -> str:
    """One run as a line of the list."""
    speed = f"{info.images_per_second:.0f} images/s" if info.images_per_second and info.state == "running" else ""
    left = f"{clock(info.seconds_left)} left" if info.seconds_left else ""
    place = f"place {info.place}" if info.place else ""
    facts = ", ".join(f for f in (place, speed, left, info.error or info.message) if f)
    return f"{info.name:24} {info.state:12} {info.step:>9,} of {info.steps:<9,} {facts}"


def clock(seconds: float) -> str:
    """62 -> 1:02, 3700 -> 1:01:40."""
    return time.strftime("%H:%M:%S", time.gmtime(min(seconds, 359_999))).removeprefix("00:").removeprefix("0")
