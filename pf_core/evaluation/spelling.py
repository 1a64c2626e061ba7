"""How well pictures spell: characters and words that are read right, with intervals, over all words and by length."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pf_core.evaluation.metrics import Resampled

MISSING = "_"  # no sign has it


def edit_distance(a: str, b: str) -> int:
    """Fewest characters inserted, left out or replaced that make b of a (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (one != other)))
    return row[-1]


def marked(read: str, asked: str) -> list[tuple[str, bool]]:
    """(character, is it right?) of what was read, by the alignment with the fewest edits, with MISSING where something
    that was asked for has no counterpart: for a page that marks wrong letters."""
    table = [[edit_distance(read[i:], asked[j:]) for j in range(len(asked) + 1)] for i in range(len(read) + 1)]
    marks, i, j = [], 0, 0
    while i < len(read) or (read and j < len(asked)):
        if i == len(read):
            marks, j = [*marks, (MISSING, False)], j + 1
        elif j < len(asked) and read[i] == asked[j] and table[i + 1][j + 1] == table[i][j]:
            marks, i, j = [*marks, (read[i], True)], i + 1, j + 1
        elif j < len(asked) and table[i][j] == table[i][j + 1] + 1:  # a character is missing
            marks, j = [*marks, (MISSING, False)], j + 1
        else:
            replaced = j < len(asked) and table[i][j] == table[i + 1][j + 1] + 1
            marks, i, j = [*marks, (read[i], False)], i + 1, j + replaced
    return marks


def counts(read: Sequence[str], asked: Sequence[str]) -> np.ndarray:
    """(M, 5) of each picture: its edits, but at most as many as it has characters; characters; 1 if the word is right;
    1; its edits."""
    rows = []
    for one, other in zip(read, asked, strict=True):
        edits = edit_distance(one, other)
        rows.append((min(edits, len(other)), len(other), one == other, 1, edits))
    return np.array(rows, float).reshape(-1, 5)


STATISTICS = {
    "characters": lambda c: 1 - c[0] / max(c[1], 1),  # share of characters that are right
    "words": lambda c: c[2] / max(c[3], 1),  # share of words without any edit
    "edits": lambda c: c[4] / max(c[3], 1),  # edit distance, mean over words
}


def resampled(read: Sequence[str], asked: Sequence[str]) -> dict[str, Resampled]:
    """STATISTICS of pictures, bootstrapped over the words that were asked for, each with all its pictures: two of one
    word are not two words. Two readings of the same words and seeds differ paired."""
    table, of_word = counts(read, asked), np.unique(list(asked), return_inverse=True)[1]
    words = np.zeros((of_word.max(initial=-1) + 1, table.shape[1]))
    np.add.at(words, of_word, table)
    of = Resampled.of_each(lambda i: [f(words[i].sum(0)) for f in STATISTICS.values()], len(words))
    return dict(zip(STATISTICS, of, strict=True))


def measured(read: Sequence[str], asked: Sequence[str]) -> dict[str, Any]:
    """name -> {"value", "interval"} for each of STATISTICS, and "by_length": length -> the same, with "images" and how
    many "distinct" words they ask for."""
    by_length = {}
    for length in sorted({len(word) for word in asked}):
        rows = [i for i, word in enumerate(asked) if len(word) == length]
        words = [asked[i] for i in rows]
        sizes = {"images": len(rows), "distinct": len(set(words))}
        by_length[length] = _told([read[i] for i in rows], words) | sizes
    return _told(read, asked) | {"by_length": by_length}


def _told(read: Sequence[str], asked: Sequence[str]) -> dict[str, Any]:
    told, words = resampled(read, asked), len(set(asked))
    return {name: each.within() if name == "edits" else each.of_share(words) for name, each in told.items()}
