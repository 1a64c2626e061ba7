"""Studies run: their cost said first, their numbers with what anyone needs to repeat them."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.work import Work, pace
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Entry
from pf_core.sampling.sweep import in_words

PARTS = "parts"  # of a report's folder: the pieces of its studies, so that a stopped one goes on
RESULTS = Path(__file__).resolve().parents[2] / "assets" / "results"  # NETWORK/STUDY.json: measured by `study all`
TRAINED = "trainings"  # in the place of NETWORK: of studies that read runs, or train networks of their own


def forwards(name: str, bundle: Bundle | None, settings: Mapping[str, Any]) -> int:
    """Forward passes of one image that a study takes, of a network or (None) of its own ones. Raises InputError for
    settings it lacks."""
    study = STUDIES[name]
    return study.fn.about.forwards(bundle, **study.settings(settings))


def cost(name: str, bundle: Bundle | None, settings: Mapping[str, Any], seconds: float | None = None) -> str:
    """What a study will take, in words; seconds: of one image's pass, timed here if they are not given."""
    count, study = forwards(name, bundle, settings), STUDIES[name]
    if seconds is None:
        seconds = pace(bundle) if bundle else study.fn.about.pace(**study.settings(settings))
    return f"{count:,} forward passes of an image, about {in_words(count * seconds)}"


def kept(name: str, network: str) -> dict[str, Any] | None:
    """The result of a study on a network, or of one of trainings, that was measured before and stands in the
    repository; None if there is none."""
    of = network if STUDIES[name].fn.about.reads == "network" else TRAINED
    return files.read_json(RESULTS / of / f"{name}.json") or None


def kept_of_trainings() -> list[dict[str, Any]]:
    """The results in the repository of studies that look at no one network: a report shows them as they are."""
    about = {name: entry.fn.about for name, entry in STUDIES.items() if entry.fn.about.reads != "network"}
    return [known for name in about if (known := kept(name, TRAINED))]


def made(result: Mapping[str, Any]) -> str:
    """Where a result comes from, in words."""
    return f"{result['checkpoint']} ({result['hash']}), {result['made']}, {in_words(result['seconds'])}"


def measure(
    name: str,
    bundle: Bundle | None,
    settings: Mapping[str, Any] = {},
    folder: Path | None = None,
    tell: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """A study's result on a network, or (None) on those that it trains: its numbers, and the study, network, hash,
    settings, command, date and seconds.

    folder: where its pieces are kept; tell, stop: see Work. Raises InputError for a network it cannot look at, Stopped.
    """
    study = STUDIES[name]
    given = study.settings(settings)
    work = Work(folder, forwards(name, bundle, settings), tell, stop)
    began = time.perf_counter()
    network = {"checkpoint": bundle.name, "hash": bundle.hash} if bundle else {}
    numbers = study.fn(*([bundle] if bundle else []), work=work, **given)
    return {
        "study": name,
        **network,
        **numbers,
        "settings": given,
        "command": command(study, bundle and bundle.name, settings),
        "made": date.today().isoformat(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def command(study: Entry, checkpoint: str | None, settings: Mapping[str, Any]) -> str:
    """What to type for the same numbers."""
    given = study.settings(settings)
    knobs = [(study.knobs[k].flag, str(given[k])) for k in settings if given[k] != study.knobs[k].default]
    of = ["--checkpoint", checkpoint] if checkpoint else ["--out", study.name]
    return shlex.join(["python", "-m", "pf_core", "study", study.name, *of, *(w for k in knobs for w in k)])


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
