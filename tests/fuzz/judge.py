"""Making calls, and what counts as a failure."""

import random
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from fuzz import calls
from fuzz.world import World
from pf_core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(str(ROOT / part) for part in ("app", "pf_core"))
DOOR = "app/server/access.py"  # every request goes through it


@dataclass
class Report:
    calls: int = 0
    seconds: float = 0.0
    ends: Counter = field(default_factory=Counter)  # how calls ended, by kind
    failures: dict[str, str] = field(default_factory=dict)  # one a place in our code: which call, what it was
    times: Counter = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")

    def fail(self, where: str, what: str) -> None:
        self.times[where] += 1
        self.failures.setdefault(where, what)

    def __str__(self) -> str:
        lines = [f"FAILED {self.times[where]} times at {where}\n{what}" for where, what in self.failures.items()]
        ends = ", ".join(f"{count:,} {how}" for how, count in sorted(self.ends.items()))
        lines.append(f"{self.calls:,} calls in {self.seconds:.0f} s: {ends}")
        lines.append(f"the slowest took {self.slowest[0]:.1f} s: {self.slowest[1][:200]}")
        lines.append(f"{len(self.failures)} kinds of failure" if self.failures else "no failure")
        return "\n".join(lines)


def fuzz(world: World, which, seed: int = 0, talk: bool = False) -> Report:
    report, begin = Report(), time.perf_counter()
    for k in which:
        rng = random.Random(f"{seed}/{k}")
        kind = rng.choices(list(calls.CALLS), calls.CALLS.values())[0]
        what, make = kind(world, rng)
        what = f"call {k}: {what}"
        if talk:
            print(what)
        started, told = time.perf_counter(), gr.Warning
        gr.Warning = gr.Info = lambda text: None  # outside of a request they have nobody to go to
        try:
            end = outcome(make, what, report)
        finally:
            gr.Warning = told
        took = time.perf_counter() - started
        report.ends[f"{kind.__name__} {end}"] += 1
        if talk:
            print(end)
        report.slowest = max(report.slowest, (took, what))
        if took > calls.SLOW:
            report.fail(f"{kind.__name__}: slower than {calls.SLOW:.0f} s", f"{what}\n{took:.0f} s")
        for error in world.caught.errors:
            if place(error)[1]:
                report.fail(place(error)[0], f"{what}, or one before it\n{told_of(error)}")
        world.caught.errors.clear()
        world.quiet()
        report.calls += 1
    report.seconds = time.perf_counter() - begin
    return report


def outcome(make, what: str, report: Report) -> str:
    """How a call ends: answered, refused, refused by Gradio; a failure is noted."""
    try:
        make()
        return "answered"
    except gr.Error as e:
        return "refused by Gradio (Error)" if not place(e)[1] or not e.print_exception else "FAILED"
    except InputError as e:
        str(e).encode("utf-8", "backslashreplace")
        return "refused"
    except Exception as e:
        where, ours = place(e)
        if not ours:
            return f"refused by Gradio ({type(e).__name__})"
        report.fail(where, f"{what}\n{told_of(e)}")
        return "FAILED"


def place(error: BaseException) -> tuple[str, bool]:
    """(where in our code, whether it is ours): it went through our code, or Gradio could not send what we answered."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(OURS) and not f.filename.endswith(DOOR)]
    answered = any(f.name in ("postprocess_data", "handle_streaming_outputs") for f in frames)
    checks = [f for f in frames if f.filename == calls.__file__ and f.name in ("make", "look_at")]
    if ours:
        return f"{type(error).__name__} {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}", True
    unsendable = bool(frames) and frames[-1].filename == calls.__file__  # the check of what was answered failed
    if answered or unsendable or isinstance(error, TimeoutError):
        return f"{type(error).__name__} {checks[-1].lineno if checks else ''}", True
    return type(error).__name__, False


def told_of(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    return "".join(lines[-8:])[-1800:]
