"""Studies run: their cost said first, their numbers with what anyone needs to repeat them."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pf_core.errors import InputError
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.work import Work, pace
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Entry

PARTS = "parts"  # of a report's folder: the pieces of its studies, so that a stopped one goes on


def forwards(name: str, bundle: Bundle, settings: Mapping[str, Any]) -> int:
    """Forward passes of one image that a study of a network takes. Raises InputError for settings it lacks."""
    study = STUDIES[name]
    return study.fn.about.forwards(bundle, **study.settings(settings))


def cost(name: str, bundle: Bundle, settings: Mapping[str, Any]) -> str:
    """What a study will take, as a sentence, timed on this machine."""
    count = forwards(name, bundle, settings)
    return f"{count:,} forward passes of an image, about {_duration(count * pace(bundle))}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.0f} minutes" if seconds > 100 else f"{seconds:.0f} seconds"


def measure(
    name: str,
    bundle: Bundle,
    settings: Mapping[str, Any] = {},
    folder: Path | None = None,
    tell: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """A study's result on a network: its numbers, and the study, network, hash, settings, command, date and seconds.

    folder: where its pieces are kept; tell, stop: see Work. Raises InputError for a network it cannot look at, Stopped.
    """
    study = STUDIES[name]
    given = study.settings(settings)
    work = Work(folder, forwards(name, bundle, settings), tell, stop)
    began = time.perf_counter()
    numbers = study.fn(bundle, work=work, **given)
    return {
        "study": name,
        "checkpoint": bundle.name,
        "hash": bundle.hash,
        **numbers,
        "settings": given,
        "command": command(study, bundle.name, settings),
        "made": date.today().isoformat(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def command(study: Entry, checkpoint: str, settings: Mapping[str, Any]) -> str:
    """What to type for the same numbers."""
    given = study.settings(settings)
    knobs = [(study.knobs[k].flag, str(given[k])) for k in settings if given[k] != study.knobs[k].default]
    words = ["python", "-m", "pf_core", "study", study.name, "--checkpoint", checkpoint, *(w for k in knobs for w in k)]
    return shlex.join(words)


def everything(
    networks: Mapping[str, Bundle], settings: Mapping[str, Mapping[str, Any]], folder: Path, **watched: Any
) -> Iterator[dict[str, Any]]:
    """The result of each study on the network that `networks` has for it, with its `settings`; of one that cannot look
    at that network {"study", "checkpoint", "refused": why}. All keep their pieces in one folder. Raises Stopped."""
    for name, bundle in networks.items():
        try:
            yield measure(name, bundle, settings.get(name, {}), folder / PARTS, **watched)
        except InputError as e:
            yield {"study": name, "checkpoint": bundle.name, "refused": str(e)}
