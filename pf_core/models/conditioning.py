"""Conditions: what a person asks for -> what a network takes, with a null for guidance and for dropped labels.

A class is known by the type of what asks for it: an int is its index, a string its name, None the null class. Text that
is typed (a command line, a box, an axis of a sweep) may be an index in digits, too, where no class has that name.

A network of prompts has `Prompts` in the place of `ClassLabels`, with the same duties: what asks is a prompt, as text,
or None. In a recipe both stand as `labels`. `conditioner_of` says which of the two a network has.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.models import openclip
from pf_core.models.tokens import Vocabulary, Word, end_from

MOST_CHARACTERS = 300  # of a prompt
MOST_PARTS = 32  # between commas, of one name that is not in quotes
NULL_WORDS = ("none", "no class", "(no class)")  # the null class in words: the first that no class has for its name


@dataclass(frozen=True)
class ClassLabels:
    """Classes by name or index. The null class is the last row of the network's table, index `num_classes`.

    With no names, a class is called by its index. An unconditional network has num_classes 0: only the null class.
    Raises InputError unless there is a name for each class, or none at all.
    """

    num_classes: int
    names: list[str] = field(default_factory=list)
    takes = "class"  # what asks for a picture is called

    def __post_init__(self):
        if len(self.names) not in (0, self.num_classes):
            raise InputError(f"{len(self.names)} names cannot name {self.num_classes} classes.")
        if not all(isinstance(name, str) for name in self.names):
            raise InputError(f"Class names must be text, not {self.names!r:.60}.")

    @property
    def choices(self) -> list[str]:
        """What a list offers: all classes, and the null class."""
        return [self.name(i) for i in range(self.num_classes + 1)]

    def offered(self, asked: str | int | None) -> str | None:
        """An entry of such a list as it is; None for what is none."""
        return asked if asked in self.choices else None

    @property
    def null_word(self) -> str:
        """What the null class is called: "none", unless that is a class."""
        return next((word for word in NULL_WORDS if word not in self.names), "")

    def index(self, asked: str | int | None) -> int:
        """The class index of a name, an index, or None (null). "" and `null_word` are null, too; digits are an index
        where they are no name. Raises InputError if there is no such class."""
        if asked is None:
            return self.num_classes
        if not isinstance(asked, str):
            return self._checked(asked)
        for name in (asked, asked.strip()):
            if name in self.names:
                return self.names.index(name)
        if asked.strip() in ("", self.null_word):
            return self.num_classes
        text = asked.strip()
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < self.num_classes:
            return int(text)
        raise self._unknown(text)

    def _checked(self, asked: int) -> int:
        try:
            index = -1 if isinstance(asked, bool) else operator.index(asked)
        except TypeError:
            index = -1
        if not 0 <= index < self.num_classes:
            raise self._unknown(str(asked))
        return index

    def _unknown(self, text: str) -> InputError:
        if self.num_classes == 0:
            return InputError("This network has no classes: leave the label out.")
        indices = f"an index from 0 to {self.num_classes - 1}"
        shown = ", ".join(self.names[:40]) + (f" and {len(self.names) - 40} more" if len(self.names) > 40 else "")
        known = f"{shown} (or {indices})" if self.names else indices
        return InputError(f"There is no class {text!r:.60}. Known: {known}.")

    def name(self, index: int) -> str:
        """A class's name, for people; the null class's is `null_word`."""
        return self.asked(index) if index != self.num_classes else self.null_word

    def asked(self, index: int) -> str | None:
        """What a recipe asks for to get this class: its name (its index in digits where it has none), None for null."""
        if index == self.num_classes:
            return None
        return self.names[index] if self.names else str(index)

    def named(self, asked: str | int | None) -> str | None:
        """The same class as a recipe asks for it. Raises InputError."""
        return self.asked(self.index(asked))

    def split(self, text: str) -> list[str]:
        """Several classes, written with commas between them. A name with a comma stands in double quotes, or is known
        as it is where its parts are no classes: `"red, green", blue`."""
        return split(text, self.names)

    def of_data(self, labels: Tensor, names: Sequence[str]) -> Tensor:
        """A data set's labels (B,), indices into its names, as this network's: by name, whatever the order. All are
        null for a network without classes. Raises InputError for a class that the network does not have."""
        if self.num_classes == 0:
            return torch.zeros_like(labels)
        if not self.names or list(names) == self.names:
            return labels
        present = sorted({int(i) for i in labels})
        if missing := [names[i] for i in present if names[i] not in self.names]:
            lacks, knows = (", ".join(n[:10]) + ", ..." * (len(n) > 10) for n in (list(map(repr, missing)), self.names))
            raise InputError(f"The network has no class {lacks}, which the pictures have; it knows {knows}.")
        table = torch.zeros(len(names), dtype=labels.dtype, device=labels.device)
        for i in present:
            table[i] = self.names.index(names[i])
        return table[labels]

    def of_sample(self, sample: Any, names: Sequence[str]) -> Tensor:
        """The conditions (B,) of a data set's pictures, which it calls by these names. Raises InputError."""
        return self.of_data(sample.labels, names)

    def asked_of(self, sample: Any, names: Sequence[str]) -> list[str | None]:
        """The same as a recipe asks for them."""
        return [self.asked(int(i)) for i in self.of_sample(sample, names)]

    def encode(self, asked: list, device: torch.device | str = "cpu") -> Tensor:
        """(B,) class indices."""
        return torch.tensor([self.index(a) for a in asked], device=device)

    def notes(self, asked: str | int | None) -> list[str]:
        """Sentences on how little of what was asked for the network takes in: of a class always all."""
        return []

    def null(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        return torch.full((batch,), self.num_classes, device=device)

    def drop(self, y: Tensor, probability: float, rng: torch.Generator) -> Tensor:
        """y with each label replaced by the null class with this probability (for classifier-free guidance)."""
        dropped = torch.rand(y.shape, generator=rng, device=rng.device) < probability
        return torch.where(dropped.to(y.device), self.num_classes, y)


@dataclass(frozen=True)
class Prompts:
    """Prompts, as rows of tokens (see Vocabulary). The null condition is the empty prompt, which None asks for.

    For what lists classes it has none, but the null one. examples: captions to begin with.
    """

    vocabulary: Vocabulary
    examples: tuple[str, ...] = field(default=(), compare=False)
    num_classes = 0
    null_word = "(no prompt)"
    takes = "prompt"

    @property
    def names(self) -> list[str]:
        return []

    @property
    def choices(self) -> list[str]:
        """What a list offers, in which any other prompt can be written: examples, and no prompt."""
        return [*(self.examples or [EXAMPLE]), self.null_word]

    def offered(self, asked: str | int | None) -> str | None:
        """What such a list says of a prompt; None for what is none."""
        try:
            return self.named(asked) or self.null_word
        except InputError:
            return None

    def named(self, asked: str | int | None) -> str | None:
        """The prompt as a recipe holds it: blanks at the ends and double ones taken out; None for an empty one, and for
        `null_word`. Raises InputError for what is no text, or too long."""
        if asked is None:
            return None
        if not isinstance(asked, str):
            raise InputError(f"This network draws what a prompt says, such as {EXAMPLE!r}, not class {asked!r:.60}.")
        prompt = " ".join(asked.encode("utf-8", "replace").decode().split())  # half a character is none
        if len(prompt) > MOST_CHARACTERS:
            raise InputError(f"A prompt has at most {MOST_CHARACTERS} characters, not {len(prompt):,}.")
        return None if prompt in ("", self.null_word) else prompt

    def index(self, asked: str | int | None) -> int:
        """That of the null class, the only one. Raises InputError for a prompt."""
        if self.named(asked) is None:
            return 0
        raise InputError("This network takes prompts, which have no numbers.")

    def name(self, index: int) -> str:
        return self.null_word

    def asked(self, index: int) -> str | None:
        return None

    def split(self, text: str) -> list[str]:
        """Several prompts, with semicolons or on lines of their own; one with a semicolon in double quotes."""
        return [part for part in split_prompts(text) if part]

    def of_sample(self, sample: Any, names: Sequence[str] = ()) -> Tensor:
        """The conditions (B, L) of a data set's pictures: their captions. Raises InputError where there are none."""
        return self._rows(_captions(sample))

    def asked_of(self, sample: Any, names: Sequence[str] = ()) -> list[str | None]:
        """The same as a recipe asks for them, of a caption that is too long its first words."""
        return [self.named(caption[:MOST_CHARACTERS]) for caption in _captions(sample)]

    def encode(self, asked: list, device: torch.device | str = "cpu") -> Tensor:
        """(B, L) rows of tokens."""
        return self._rows([self.named(a) or "" for a in asked]).to(device)

    def null(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        return self._empty.to(device).expand(batch, -1)

    def drop(self, y: Tensor, probability: float, rng: torch.Generator) -> Tensor:
        """y with each prompt replaced by the empty one with this probability (for classifier-free guidance)."""
        dropped = torch.rand(len(y), generator=rng, device=rng.device) < probability
        return torch.where(dropped.to(y.device)[:, None], self._empty.to(y.device), y)

    def words(self, asked: str | None) -> list[Word]:
        """A prompt's words as the tokenizer parts them. Raises InputError."""
        return self.vocabulary.words(self.named(asked) or "")

    def notes(self, asked: str | int | None) -> list[str]:
        """Sentences on what of a prompt the network does not take in: words behind its context's end, and those that it
        has never met. Raises InputError."""
        words = self.words(asked)
        taken = sum(bool(word.places) for word in words)  # what is cut off stands at the end
        unknown = list(dict.fromkeys(word.text for word in words if word.places and not word.known))
        known_as = [word if word.isalnum() else f"“{word}”" for word in unknown]
        notes = [f"This network does not know: {', '.join(known_as)}."] if unknown else []
        if taken == len(words):
            return notes
        end = end_from(self.named(asked) or "", [word.text for word in words], taken)
        return [f"The prompt is too long for this network, which drops: {end}.", *notes]

    def _rows(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([self.vocabulary.encode(text) for text in texts])

    @cached_property
    def _empty(self) -> Tensor:
        return self._rows([""])


EXAMPLE = 'a neon sign that reads "AX7"'
Conditioner = ClassLabels | Prompts


def _captions(sample: Any) -> list[str]:
    if (captions := getattr(sample, "captions", None)) is None:
        raise InputError("These pictures have no captions, which a network of prompts needs: choose other data.")
    return captions


def conditioner_of(
    config: Any,
    names: Sequence[str] = (),
    examples: Sequence[str] = (),
    taught: Callable[[], frozenset[int] | None] | None = None,
) -> Conditioner:
    """That of a network with this SiTConfig; names: of its classes; examples: of its prompts; taught: see Vocabulary.
    Raises InputError if they do not fit."""
    if config.text is None:
        return ClassLabels(config.num_classes, list(names))
    prompts = Prompts(replace(config.text.vocabulary, taught=taught))
    return replace(prompts, examples=tuple(filter(prompts.offered, map(str, examples))))


def conditioner_for(model: Any, data: Any) -> Conditioner:
    """That of a network which is trained on a data set: with its captions or without any classes where the network's
    configuration says so, else with its classes."""
    config = getattr(model, "config", None)
    if getattr(config, "num_classes", 1):  # networks of other kinds do as the data set says
        return ClassLabels(len(data.names), list(data.names))
    return conditioner_of(config)


def imagenet_names() -> list[str]:
    """The 1,000 classes of ImageNet in words, in order; of two with one name the second is numbered."""
    return list(_imagenet_names())


@cache
def _imagenet_names() -> tuple[str, ...]:
    names: list[str] = []
    for name in openclip.part("zero_shot_metadata").IMAGENET_CLASSNAMES:
        names.append(name if name not in names else f"{name} (2)")
    return tuple(names)


def split_prompts(text: str) -> list[str]:
    """Prompts, with semicolons between them or on lines of their own; one with a semicolon stands in double quotes.
    Quotes about anything else are the prompt's own: they are what a sign is to read."""
    return split(text, (), r";\n", whole=r'[;\n"]')


def split(text: str, names: Sequence[str] = (), marks: str = ",", whole: str = "") -> list[str]:
    """Parts of a text between the marks, stripped, those in double quotes whole. Neighbours that are no names but, as
    written with what is between them, are one, stay together. whole: quotes are taken off what has such a character."""
    pattern = rf'\s*"((?:[^"]|"")*)"\s*(?=[{marks}]|$)|[^{marks}]*'
    parts: list[tuple[int, int, str | None]] = []  # begin, end, what was quoted
    at = 0
    while True:
        match = re.compile(pattern).match(text, at)
        quoted = match[1]
        parts.append((at, match.end(), None if quoted is None else quoted.replace('""', '"')))
        if match.end() >= len(text):
            break
        at = match.end() + 1
    labels, i = [], 0
    while i < len(parts):
        begin, end, quoted = parts[i]
        one = text[begin:end].strip()
        if quoted is None and names and one not in names:
            for j in range(min(len(parts), i + MOST_PARTS) - 1, i, -1):
                joined = text[begin : parts[j][1]].strip()
                if joined in names:
                    one, i = joined, j
                    break
        labels.append(one if quoted is None or not re.search(whole, quoted) else quoted)
        i += 1
    return labels


def quoted(name: str) -> str:
    """A name as `split` reads it back, whatever is in it."""
    plain = name == name.strip() and name and not re.search('[",;\n]', name)
    return name if plain else '"' + name.replace('"', '""') + '"'
