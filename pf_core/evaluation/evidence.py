"""Studies run: their cost said first, their numbers with what anyone needs to repeat them; and the results kept."""

import json
import logging
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from pf_core import files, memory
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, judges
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.work import Stopped, Work, key, pace
from pf_core.models import checkpoint, shipped
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Entry
from pf_core.sampling.run import versions
from pf_core.sampling.sweep import in_words

PARTS = "parts"  # of a report's folder: the pieces of its studies, so that a stopped one goes on
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "assets" / "results"  # NETWORK/STUDY.json: what `make results` keeps
TRAININGS = "trainings"  # the folder there of studies that look at trainings, not at one network
EVIDENCE = "evidence"  # the folder of a training run for results on its network; that of checkpoints/ for added ones
DIGITS, DRAWN, LONG = 5, 3, 16  # digits of a number that is kept; of those of longer lists, which are drawn alone
log = logging.getLogger("patch_forcing.studies")


def forwards(name: str, on: Bundle | list[Path] | None, settings: Mapping[str, Any]) -> int:
    """Forward passes of one image that a study takes, of a network, of the trainings in these folders or (None) of its
    own ones. Raises InputError for settings it lacks, and for a network or folders that it cannot look at."""
    study = STUDIES[name]
    if isinstance(on, Bundle):
        study.fn.about.check(on)
    return study.fn.about.forwards(on, **study.settings(settings))


def refusal(name: str, bundle: Bundle) -> str:
    """Why a study cannot look at a network; "" where it can."""
    try:
        STUDIES[name].fn.about.check(bundle)
    except InputError as e:
        return str(e)
    return ""


def cost(
    name: str,
    on: Bundle | list[Path] | None,
    settings: Mapping[str, Any],
    timed: Callable[[Bundle], float] = pace,
    device: str = "cpu",
) -> str:
    """What a study will take, in words; timed(network): seconds of one image's pass. device: where networks of
    trainings are put. Raises InputError, see `forwards`."""
    return in_full(name, on, settings, *passes(name, on, settings, timed, device))


def in_full(
    name: str, on: Bundle | list[Path] | None, settings: Mapping[str, Any], count: int, seconds: float
) -> str:  # fmt: skip
    """`cost`, of `passes` that are known."""
    about, given = STUDIES[name].fn.about, STUDIES[name].settings(settings)
    fp32 = given.get("fast") and about.reads != "nothing"  # a training's own pace is fast where it is
    took = f"about {in_words(seconds)}" + (", less in bf16 and compiled" if fp32 else "")
    told = f"{count:,} forward passes of an image, {took}"
    splits = (given["split"],) if "split" in given else ("search", "evaluation")
    if about.judged and (new := sum(not evaluate.references_known(on, split) for split in splits)):
        told += f"; this first time a judge also looks at {new * evaluate.REFERENCES:,} real images"
    return told


def passes(
    name: str,
    on: Bundle | list[Path] | None,
    settings: Mapping[str, Any],
    timed: Callable[[Bundle], float] = pace,
    device: str = "cpu",
) -> tuple[int, float]:
    """`forwards`, and their seconds here; the rest as in `cost`."""
    count, study = forwards(name, on, settings), STUDIES[name]
    about, given = study.fn.about, study.settings(settings)
    if isinstance(on, Bundle):
        return count, count * (about.pace(on, timed, **given) if about.pace else timed(on))
    return count, count * about.pace(*([on, device] if on else []), **given)


def folder_of(name: str, network: str) -> Path:
    """Where results of a study on a network are kept: of a published one assets/results/NETWORK, of an added one
    checkpoints/evidence/NETWORK, of a training run's runs/NAME/evidence, of a step below it; a study of trainings has
    one folder of its own."""
    if STUDIES[name].fn.about.reads != "network":
        return RESULTS / TRAININGS
    if checkpoint.is_run(network):
        _, run, *step = re.split("[/@]", network)
        return checkpoint.RUNS.joinpath(run, EVIDENCE, *step)
    return RESULTS / network if _published(network) else checkpoint.FOLDER / EVIDENCE / network


def _published(network: str) -> bool:
    """Is it part of this project, an exact denoiser included?"""
    return network in (*shipped.SHIPPED, *checkpoint.ORACLES)


def kept(name: str, network: str, digest: str = "") -> dict[str, Any] | None:
    """The result of a study on a network that was measured before; None if there is none. digest: the network's hash,
    if only a result on just this version of it counts."""
    places = folder_of(name, network), RESULTS / network  # an added network's once stood with the published ones
    result = next((found for folder in places if (found := files.read_json(folder / f"{name}.json"))), {})
    other = digest and result.get("hash", digest) != digest
    return None if other else result or None


def kept_of_trainings() -> list[dict[str, Any]]:
    """The results in the repository of studies that look at no one network: a report shows them as they are."""
    about = {name: entry.fn.about for name, entry in STUDIES.items() if entry.fn.about.reads != "network"}
    return [known for name in about if (known := kept(name, TRAININGS))]


def all_kept() -> Iterator[dict[str, Any]]:
    """What `keep` has kept to be published, network by network, in the order of the studies."""
    for folder in sorted(path for path in RESULTS.glob("*") if path.name == TRAININGS or _published(path.name)):
        for name in STUDIES:
            if result := files.read_json(folder / f"{name}.json"):
                yield result


def keep(result: dict[str, Any]) -> Path:
    """A study's result where `folder_of` looks for it, numbers to DIGITS digits; where it is. Raises InputError for one
    that is no study's, of another network by a shipped one's name, or if it cannot be written."""
    name = STUDIES[result.get("study", "")].name
    network = str(result.get("checkpoint", TRAININGS))
    if not checkpoint.is_run(network):
        network = Path(network).name.removesuffix(".safetensors")  # never a folder elsewhere
    if network in checkpoint.files_here() and result.get("hash") != checkpoint.load(network).hash:
        raise InputError(f"That is a result of another network than the {network} here: give its file another name.")
    path = folder_of(name, network) / f"{name}.json"
    text = json.dumps(_rounded(result), indent=1, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: " ".join(numbers[0].split()), text)  # a list of numbers: a line
    with files.replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def _rounded(value: Any, digits: int = DIGITS) -> Any:
    if isinstance(value, float):
        short = float(f"{value:.{digits}g}")
        return int(short) if short.is_integer() else short
    if isinstance(value, Mapping):
        return {key: _rounded(each, digits) for key, each in value.items()}
    if not isinstance(value, list | tuple):
        return value
    drawn = len(value) > LONG and all(isinstance(each, int | float) for each in value)
    return [_rounded(each, DRAWN if drawn else digits) for each in value]


def how(name: str, network: str) -> str:
    """What to type for a result of a study on a network that `kept` finds."""
    typed = ["python", "-m", "pf_core", "study", name]
    if STUDIES[name].fn.about.reads == "network" and not _published(network):
        where = folder_of(name, network)
        where = where.relative_to(ROOT) if where.is_relative_to(ROOT) else where
        return shlex.join([*typed, "--checkpoint", network, "--out", where.as_posix()])
    of = {"nothing": [], "runs": ["--runs", "runs"]}.get(STUDIES[name].fn.about.reads, ["--checkpoint", network])
    return f"{shlex.join([*typed, *of, '--out', 'D'])} && python -m pf_core results D"


def made(result: Mapping[str, Any]) -> str:
    """Where a result comes from, in words."""
    of = f"{result['checkpoint']} ({result['hash']})" if "hash" in result else result.get("network", TRAININGS)
    images = f"{result['images']} images, " if "images" in result else ""
    took = f", {in_words(result['seconds'])}" if "seconds" in result else ""  # not known of what was measured in parts
    return f"{of}, {images}{result['made']}{took}"


def measure(
    name: str,
    bundle: Bundle | None,
    settings: Mapping[str, Any] = {},
    folder: Path | None = None,
    tell: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    typed: Sequence[str] = (),
) -> dict[str, Any]:
    """A study's result on a network, or (None) on those that it trains: its numbers, and the study, network, hash,
    settings, command, versions, date and seconds.

    folder: where its pieces are kept; tell, stop: see Work; typed: the flags that name the network, if
    not just by its name. Raises InputError for a network it cannot look at, Stopped.
    """
    study = STUDIES[name]
    given = study.settings(settings)
    work = Work(folder, forwards(name, bundle, settings), tell, stop)
    network = {"checkpoint": bundle.name, "hash": bundle.hash} if bundle else {}
    judged = judges.named(evaluate.judge_of(bundle)) if bundle and study.fn.about.judged else {}
    with _timed(folder, [name, given, network], lambda: work.reused) as seconds:
        numbers = study.fn(*([bundle] if bundle else []), work=work, **given)
    return {
        "study": name,
        **network,
        **judged,
        **numbers,
        "settings": given,
        "command": _typed(study, typed, settings) if typed else command(study, bundle and bundle.name, settings),
        **_taken(seconds()),
    }


def _taken(seconds: float | None) -> dict[str, Any]:
    known = {} if seconds is None else {"seconds": seconds}
    return {"versions": versions(), "made": date.today().isoformat()} | known


@contextmanager
def _timed(
    folder: Path | None, what: list[Any], reused: Callable[[], bool] = lambda: False
) -> Iterator[Callable[[], float | None]]:
    """Yields what tells the seconds that this work has taken, in all calls together where a folder keeps its pieces: a
    study that was stopped goes on, and its first hours count. None where pieces were found when it first began, which
    something else has made."""
    path, began = folder and folder / f"{key(what)}.seconds.json", time.perf_counter()
    before = files.read_json(path) if path else {}

    def others() -> bool:
        return before.get("others", reused())

    def seconds() -> float:
        return round(before.get("seconds", 0.0) + time.perf_counter() - began, 1)

    try:
        yield lambda: None if others() else seconds()
    finally:
        if path:
            files.write_json(path, {"seconds": seconds(), "others": others()})


def of_runs(
    name: str,
    runs: list[Path],
    settings: Mapping[str, Any],
    folder: Path | None = None,
    device: str = "cpu",
    tell: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The same of a study that looks at trainings, in these folders. folder: where its pieces are kept. device: where
    their networks are put. tell(done, of): after every network."""
    study = STUDIES[name]
    given = study.settings(settings)
    others = bool(folder and any(folder.glob("*.safetensors")))  # pictures that something else has drawn
    with _timed(folder, [name, given, sorted(map(str, runs))], lambda: others) as seconds:
        numbers = study.fn(runs, keep=folder, device=device, tell=tell, **given)
    typed = _typed(study, [word for run in runs for word in ("--runs", str(run))], settings)
    return {"study": name} | numbers | {"settings": given, "command": typed} | _taken(seconds())


def command(study: Entry, checkpoint: str | None, settings: Mapping[str, Any]) -> str:
    """What to type for the same numbers."""
    return _typed(study, ["--checkpoint", checkpoint] if checkpoint else ["--out", study.name], settings)


def _typed(study: Entry, on: Sequence[str], settings: Mapping[str, Any]) -> str:
    """The command, on what, with the flags of all settings that are no defaults."""
    given = study.settings(settings)
    knobs = [(study.knobs[k].flag, str(given[k])) for k in settings if given[k] != study.knobs[k].default]
    return shlex.join(["python", "-m", "pf_core", "study", study.name, *on, *(word for knob in knobs for word in knob)])


def everything(
    networks: Mapping[str, str],
    load: Callable[[str], Bundle],
    settings: Mapping[str, Mapping[str, Any]],
    folder: Path,
    also: Sequence[str] = (),
    **watched: Any,
) -> Iterator[dict[str, Any]]:
    """The result of each study on the network whose name `networks` has for it, with its `settings`; of one that cannot
    look at that network {"study", "checkpoint", "refused": why}; of one that ended in another error "failed", True, as
    well: the others are measured all the same. All keep their pieces in one folder. also: flags that were typed for
    every network. Raises Stopped."""
    for name, network in networks.items():
        about = {"study": name, "checkpoint": network}
        try:
            bundle = load(network)
            about["checkpoint"] = bundle.name
            typed = ["--checkpoint", network, *also]
            result = measure(name, bundle, settings.get(name, {}), folder / PARTS, typed=typed, **watched)
        except Stopped:
            raise
        except Exception as e:
            result = about | fault(e)
        yield result


def fault(e: Exception) -> dict[str, Any]:
    """{"refused": why} of what a study ended in, for people; "failed", True, and a line of the log where it is no fault
    of theirs."""
    if isinstance(e, InputError):
        return {"refused": str(e)} | ({"failed": True} if isinstance(e, files.NotFinite) else {})
    if memory.ran_out(e):
        memory.give_up(e)
        return {"refused": "memory ran out: fewer images, or a smaller network, need less.", "failed": True}
    log.error("a study failed", exc_info=e)
    return {"refused": f"it failed inside the program ({type(e).__name__}: {e}).", "failed": True}
