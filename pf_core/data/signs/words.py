"""Words of 1 to 6 characters, and which of them no network is trained on.

A word of any length is held out if its SHA-256 begins with a number below a tenth: a tenth of all words; of those of
one character J, 1, 3 and 6. TRAINING and JUDGE_TRAINING (pf_core.data.splits) have the other words alone, every other
range of indices has held-out words alone. A held-out word's characters occur in other words of training (unless all
words have one character), and it may be part of a longer one: "AX7" is another word than "AX".
"""

import hashlib
import re

import numpy as np

from pf_core.data.splits import JUDGE_TRAINING, TRAINING
from pf_core.errors import InputError

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MOST = 6  # characters
HELD_SHARE = 0.1


def held_out(word: str) -> bool:
    """Is this word kept from training? By a hash of its characters alone, whatever its length."""
    digest = hashlib.sha256(f"sign: {word}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_SHARE * 2**64


def trains(index: int) -> bool:
    """Does the image of this index show a word that may be trained on?"""
    return index in TRAINING or index in JUDGE_TRAINING


def draw(rng: np.random.Generator, index: int, length: int) -> str:
    """A word of this length for an image, uniform among those of its range. Characters come by sixes, whatever the
    length, so that most words of an image begin alike if a setting makes them longer."""
    wanted = not trains(index)
    while True:
        word = "".join(ALPHABET[k] for k in rng.integers(0, len(ALPHABET), MOST)[:length])
        if held_out(word) == wanted:
            return word


def checked(word: str) -> str:
    """The word in capitals. Raises InputError if no sign can read it."""
    found = str(word).upper()
    if not 1 <= len(found) <= MOST or set(found) - set(ALPHABET):
        raise InputError(f"A sign reads 1 to {MOST} characters of A-Z and 0-9, not {word!r:.60}.")
    return found


_DOUBLE = str.maketrans({mark: '"' for mark in "“”„‟«»＂〝〞〟"})  # as phones and keyboards write them
_WORD = f"[A-Za-z0-9]{{1,{MOST}}}|[A-Za-z0-9](?: [A-Za-z0-9]){{1,{MOST - 1}}}"  # as a sign reads it, or spelt apart
_SINGLE = re.compile(rf"(?<!\w)['‘‚‹]({_WORD})['’‘›](?!\w)")


def straight(prompt: str) -> str:
    """A prompt, as long as it was, with straight double quotes for whatever quotation marks it has. Single ones count
    about a word that a sign can read, where there are no double ones."""
    text = prompt.translate(_DOUBLE)
    return text if '"' in text else _SINGLE.sub(r'"\1"', text)


def quoted(prompt: str) -> str:
    """What a prompt asks a sign to read: the characters between its first quotes that hold some, in capitals; "" where
    there are none."""
    within = re.findall(r'"([^"]*)"', straight(prompt))
    return next(filter(None, ("".join(c for c in text.upper() if c in ALPHABET) for text in within)), "")


def spelt(text: str) -> str:
    """A prompt with the words between its double quotes spelt apart, `reads "AX7"` -> `reads "A X 7"`: CLIP's tokenizer
    then gives each character a token of its own. What is spelt apart already stays."""
    return re.sub(r'"([^"]*)"', lambda m: '"' + " ".join(m[1].replace(" ", "")) + '"', text)
