"""What a person's prompt asks of a scene, by the words that captions are made of.

understood("a photo of a red mushroom to the left of two houses")
# Prompt with a red mushroom and two houses; of three toys no relation is checked
"""

import re

from pf_core.data.toybox.captions import NUMBERS
from pf_core.data.toybox.prompts import Prompt, Wanted
from pf_core.data.toybox.scene import MATERIALS, RELATIONS
from pf_core.data.toybox.toys import CLASSES, COLOURS

_PLURALS = {"snowmen": "snowman"} | {f"{name}s": name for name in CLASSES}
_KINDS = {name: k for k, name in enumerate(CLASSES)}
_TINT = "|".join(COLOURS)
_TOY = re.compile(
    rf"\b(?:(?P<number>an?|{'|'.join(NUMBERS[1:])}|[1-9])\s+)?(?:(?:{'|'.join(MATERIALS)})\s+)*"
    rf"(?:(?P<before>{_TINT})\s+)?(?:traffic\s+)?(?P<toy>{'|'.join([*_PLURALS, *CLASSES])})\b"
    rf"(?:\s+in\s+(?P<after>{_TINT})\b)?"
)


def understood(text: str) -> Prompt | None:
    """The toys of a prompt in the order of its words, with their colours; between two toys also the relation. None
    if it names no toy. Other words, such as the ground's, are not looked at."""
    found = list(_TOY.finditer(text.lower()))
    toys = [wanted for match in found for wanted in _wanted(match)]
    if not toys:
        return None
    if len(toys) != 2 or len(found) != 2:
        counted = len(found) == 1 and len(toys) > 1
        return Prompt(text, "counting" if counted else "", tuple(toys))
    between = text.lower()[found[0].end() : found[1].start()]
    relation = next((k for k, name in enumerate(RELATIONS) if name in between), None)
    return Prompt(text, "", tuple(toys), relation)


def _wanted(match: re.Match) -> list[Wanted]:
    colour = match["before"] or match["after"]
    one = Wanted(_KINDS[_PLURALS.get(match["toy"], match["toy"])], None if colour is None else [*COLOURS].index(colour))
    number = match["number"] or "a"
    return [one] * (int(number) if number.isdigit() else max(1, NUMBERS.index(number) if number in NUMBERS else 1))
