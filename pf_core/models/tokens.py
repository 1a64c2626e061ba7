"""A prompt as CLIP's tokens, and as rows of a table that holds only the tokens some data's captions can produce.

    vocabulary = Vocabulary(context=32, rows=rows_of(captions))
    vocabulary.encode('a neon sign that reads "AX7"')      # 32 rows: start, one a token, end, padding
    vocabulary.words('a neon sign that reads "AX7"')       # [Word("a", ...), ..., Word("x", ...), Word("7", ...), ...]

The whole table has CLIP's 49,408 rows (rows None). A pruned one has PADDING, UNKNOWN, one row each for the `rows`, then
start and end. Either way the end is the last row, and padding, all behind it, is row 0.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from pf_core.data.signs.words import spelt, straight
from pf_core.models.openclip import tokenizer

ALL, START, END = 49408, 49406, 49407  # CLIP's tokens in all; two of them
PADDING, UNKNOWN = 0, 1  # rows


@dataclass(frozen=True)
class Word:
    """A word of a prompt, in small letters, as the tokenizer parts them. places: of its tokens, counted from the start
    token, which is 0; none where the context ended before. known: whether training has met each of its tokens."""

    text: str
    places: tuple[int, ...]
    known: bool


@dataclass(frozen=True)
class Vocabulary:
    """context: tokens of a prompt at most, start and end counted. rows: CLIP's tokens that have a row of their own,
    rising; None: all have. taught: what tells those of them that training has met; None: all."""

    context: int
    rows: tuple[int, ...] | None = None
    taught: Callable[[], frozenset[int] | None] | None = field(default=None, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Rows of the table of token embeddings."""
        return ALL if self.rows is None else len(self.rows) + 4

    def row(self, token: int) -> int:
        """Where a token's embedding stands."""
        return token if self.rows is None else self._places.get(token, UNKNOWN)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {token: place for place, token in enumerate(self.rows, start=2)}

    def encode(self, text: str) -> list[int]:
        """`context` rows: start, tokens as far as they fit, end, padding. Words between double quotes are spelt apart,
        so that each of their characters is a token."""
        tokens = [token for _, some in pieces(text) for token in some][: self.context - 2]
        rows = [self.size - 2, *map(self.row, tokens), self.size - 1]
        return rows + [PADDING] * (self.context - len(rows))

    def words(self, text: str) -> list[Word]:
        """The words of a prompt, in order, those that are cut off too."""
        words, place = [], 1
        for piece, tokens in pieces(text):
            places = [p for p in range(place, place + len(tokens)) if p < self.context - 1]
            whole = places if len(places) == len(tokens) else []
            words.append(Word(piece, tuple(whole), all(map(self._knows, tokens))))
            place += len(tokens)
        return words

    def _knows(self, token: int) -> bool:
        met = self._met
        return self.rows is None or (self.row(token) != UNKNOWN and (met is None or token in met))

    @cached_property
    def _met(self) -> frozenset[int] | None:
        return self.taught() if self.taught else None


def as_typed(text: str, words: Iterable[str]) -> list[str]:
    """A prompt's words, in order, with the capitals that it was typed with, as far as they stand there as they are."""
    text = straight(text)
    return [word if at is None else text[at : at + len(word)] for word, at in _placed(text, words)]


def end_from(text: str, words: Sequence[str], first: int) -> str:
    """A prompt's end as it was typed, from its word of this number on; the words where they do not stand there so."""
    at = _placed(straight(text), words)[first][1]
    return " ".join(words[first:]) if at is None else text[at:]


def _placed(text: str, words: Iterable[str]) -> list[tuple[str, int | None]]:
    """(word, where it begins in the text, None where it does not stand next there)."""
    small, at, found = text.lower(), 0, []
    for word in words:
        place = small.find(word, at) if len(small) == len(text) else -1
        apart = place >= 0 and not text[at:place].strip()
        found.append((word, place if apart else None))
        at = place + len(word) if apart else at
    return found


@lru_cache(maxsize=4096)
def pieces(text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(word, CLIP's tokens) for each word of a prompt, quoted words spelt apart, and their quotes from what else stands
    beside them. What CLIP reads as the start or the end of a text is no word."""
    clip = tokenizer()
    words = clip.pat.findall(clip.clean_fn(spelt(straight(text)).replace('"', ' " ')))
    return tuple((word, tokens) for word in words if max(tokens := tuple(clip.encode(word))) < START)


def rows_of(texts: Iterable[str]) -> tuple[int, ...]:
    """CLIP's tokens that these texts produce, rising: the `rows` of a vocabulary for them."""
    return tuple(sorted({token for text in texts for _, tokens in pieces(text) for token in tokens}))
