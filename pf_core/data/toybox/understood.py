"""What a person's prompt asks of a scene, by the words that captions are made of.

    understood("a red mushroom to the left of a house")
    # Prompt(..., toys=(red mushroom, house), relation=left of)

Only between two toys a relation is looked for.
"""

import re

from pf_core.data.toybox.captions import NUMBERS
from pf_core.data.toybox.prompts import Prompt, Wanted
from pf_core.data.toybox.scene import MATERIALS, RELATIONS
from pf_core.data.toybox.toys import CLASSES, COLOURS

_PLURALS = {"snowmen": "snowman"} | {f"{name}s": name for name in CLASSES}
_KINDS = {name: k for k, name in enumerate(CLASSES)}
_TINT = "|".join(COLOURS)
_NUMBERS = (*NUMBERS, "ten")
_MATTER = rf"(?:(?:{'|'.join(MATERIALS)})\s+)*"
_TOY = re.compile(
    rf"\b(?:(?P<number>without(?:\s+(?:an?|any))?|an?|{'|'.join(_NUMBERS)}|\d{{1,2}})\s+)?{_MATTER}(?:(?P<before>{_TINT})\s+)?{_MATTER}"
    rf"(?:traffic\s+)?(?P<toy>{'|'.join([*_PLURALS, *CLASSES])})\b(?:\s+in\s+(?P<after>{_TINT})\b)?"
)
_POINTS_BACK = r"\s+(?:it|them|which)\b"  # "a house, behind it a car": what is told is the second toy's place


def understood(text: str) -> Prompt | None:
    """The toys of a prompt in the order of its words, with their colours, between two also the relation; category
    "counting" where it asks for so many alike, else "". None if it names no toy, or one that is not to be there. Other
    words, such as the ground's, are not looked at."""
    found = list(_TOY.finditer(text.lower()))
    toys = [wanted for match in found for wanted in _wanted(match)]
    if not toys or any((match["number"] or "").startswith(("no", "0", "without")) for match in found):
        return None
    if len(toys) != 2 or len(found) != 2:
        counted = len(found) == 1 and found[0]["number"] and len(toys) > 1
        return Prompt(text, "counting" if counted else "", tuple(toys))
    between = text.lower()[found[0].end() : found[1].start()]
    relation = next((k for k, name in enumerate(RELATIONS) if re.search(rf"{name}(?!{_POINTS_BACK})", between)), None)
    return Prompt(text, "", tuple(toys), relation)


def _wanted(match: re.Match) -> list[Wanted]:
    colour = match["before"] or match["after"]
    one = Wanted(_KINDS[_PLURALS.get(match["toy"], match["toy"])], None if colour is None else [*COLOURS].index(colour))
    number = match["number"] or ("two" if match["toy"] in _PLURALS else "a")  # "cars" are two at least
    return [one] * (_NUMBERS.index(number) if number in _NUMBERS else int(number) if number.isdigit() else 1)
