"""What a judge reads in pictures that prompts asked for, letter by letter beside what they asked for."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pf_core.data import DATASETS
from pf_core.data.signs.words import quoted
from pf_core.errors import InputError
from pf_core.evaluation import judges
from pf_core.evaluation.judges import Reader
from pf_core.evaluation.prompted import judge_for
from pf_core.evaluation.spelling import edit_distance, marked
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle


class Read(NamedTuple):
    """asked: the characters that the prompt asks for, "" if it asks for none. marks: (character, is it right?) of what
    is read, "_" for what is missing there; all are right where nothing is asked for. edits: from what is read to what
    is asked for."""

    asked: str
    marks: list[tuple[str, bool]]
    edits: int


def readable(bundle: Bundle) -> bool:
    """Whether a network draws, by prompts, pictures with words that a judge could read; there need not be one."""
    if bundle.conditioner.takes != "prompt":
        return False
    try:
        dataset, _ = checkpoint.data_settings(bundle)
        return Reader.check(DATASETS[dataset].fn)
    except InputError:
        return False


def read_back(bundle: Bundle, pictures: Tensor, prompts: Sequence[str | None]) -> list[Read]:
    """pictures: (B, 3, H, W) in [-1, 1], decoded, one a prompt. Raises InputError where no judge reads them."""
    reader, _ = judges.load(judge_for(bundle, Reader.kind))
    texts = reader.read(pictures)
    return [compared(text, quoted(prompt or "")) for text, prompt in zip(texts, prompts, strict=True)]


def compared(read: str, asked: str) -> Read:
    """A word that was read beside the one that was asked for."""
    if not asked:
        return Read("", [(character, True) for character in read], 0)
    return Read(asked, marked(read, asked), edit_distance(read, asked))
