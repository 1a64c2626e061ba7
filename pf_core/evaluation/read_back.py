"""What a judge reads in pictures that prompts asked for, letters of signs and toys of scenes, beside what they ask."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pf_core.data import DATASETS
from pf_core.data.signs.words import quoted
from pf_core.data.toybox.understood import understood
from pf_core.errors import InputError
from pf_core.evaluation import judges, shown
from pf_core.evaluation.judges import Checker, Reader, Reading
from pf_core.evaluation.prompted import judge_for
from pf_core.evaluation.spelling import edit_distance, marked
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle


class Read(NamedTuple):
    """asked: what of the prompt is looked for, "" if nothing is. marks: (text, is it right?) of what is read: a sign's
    characters, "_" for what is missing there, or words of the toys in a scene; all are right where nothing is asked
    for. edits: how many are not: of letters from what is read to what is asked for."""

    asked: str
    marks: list[tuple[str, bool]]
    edits: int


class Way(NamedTuple):
    """How a kind of judge is told of. read: (its reading, prompt) -> Read; verb: what a picture does; unit: what one
    edit is off by; lacks: what a prompt has not that asks for nothing."""

    read: Callable[[Any, str], Read]
    verb: str
    unit: str
    lacks: str


def compared(read: str, asked: str) -> Read:
    """A word that was read beside the one that was asked for."""
    if not asked:
        return Read("", [(character, True) for character in read], 0)
    return Read(asked, marked(read, asked), edit_distance(read, asked))


def pictured(reading: Reading, text: str) -> Read:
    """A scene that was read beside the toys, colours, number and relation that a prompt asks for."""
    prompt = understood(text)
    marks = shown.shown(prompt, reading)
    return Read(shown.asked(prompt), marks, sum(not right for _, right in marks))


WAYS = {
    Reader.kind: Way(lambda word, text: compared(word, quoted(text)), "reads", "letter", "word in quotes"),
    Checker.kind: Way(pictured, "shows", "thing", "toy by its name"),
}


def way_of(bundle: Bundle) -> tuple[str, Way] | None:
    """(kind of judge, its Way) for what a network draws by prompts; None where no kind reads that. There need not be
    such a judge."""
    if bundle.conditioner.takes != "prompt":
        return None
    try:
        dataset, _ = checkpoint.data_settings(bundle)
    except InputError:
        return None
    fits = (kind for kind in WAYS if judges.KINDS[kind].check(DATASETS[dataset].fn))
    return next(((kind, WAYS[kind]) for kind in fits), None)


def read_back(bundle: Bundle, pictures: Tensor, prompts: Sequence[str | None]) -> list[Read]:
    """pictures: (B, 3, H, W) in [-1, 1], decoded, one a prompt. Raises InputError where no judge reads them."""
    kind, way = way_of(bundle) or (Reader.kind, WAYS[Reader.kind])  # which then says why it does not
    judge, _ = judges.load(judge_for(bundle, kind))
    return [way.read(one, prompt or "") for one, prompt in zip(judge.read(pictures), prompts, strict=True)]
