"""What a scene shows beside what its prompt asks for, word by word."""

from collections.abc import Iterator, Sequence
from itertools import product

from pf_core.data.toybox.captions import listed, related, several, toy
from pf_core.data.toybox.prompts import Prompt, Wanted, related_as
from pf_core.data.toybox.scene import RELATIONS
from pf_core.data.toybox.toys import CLASSES, COLOURS
from pf_core.evaluation.judges.scenes import Found, Reading

Marks = list[tuple[str, bool]]


def shown(prompt: Prompt | None, reading: Reading) -> Marks:
    """(words, are they right?) of what a picture shows: first, in the prompt's order, the toys that it asks for or what
    stands in their place, then those that it does not ask for, which are no fault except in a count. All is right
    where the prompt asks for no toy (None). No mark is wrong where `composition.satisfied` says that all is."""
    if prompt is None:
        return _apart([[(_named(found), True)] for found in reading.toys])
    if prompt.category == "counting":
        return _counted(prompt.toys, reading.toys)
    mine, others = _matched(prompt.toys, reading.toys)
    marks = [_compared(wanted, found) for wanted, found in zip(prompt.toys, mine, strict=True)]
    between = None if prompt.relation is None or None in mine else _relation(prompt, mine, reading.toys)
    return _apart(marks, between) + _further(others)


def asked(prompt: Prompt | None) -> str:
    """What of a prompt is looked for, "" for nothing."""
    if prompt is None:
        return ""
    if prompt.category == "counting":
        return several(len(prompt.toys), prompt.toys[0].toy, prompt.toys[0].colour)
    names = [toy(wanted.toy, wanted.colour) for wanted in prompt.toys]
    return listed(names) if prompt.relation is None else related(names[0], prompt.relation, names[1])


def _matched(wanted: Sequence[Wanted], found: Sequence[Found]) -> tuple[list[Found | None], list[Found]]:
    """For each toy that is asked for the one that suits it best, and those that are left over."""
    fits = (
        lambda w, f: f.toy == w.toy and f.colour == w.colour,
        lambda w, f: f.toy == w.toy,
        lambda w, f: f.colour == w.colour,
        lambda w, f: True,
    )
    mine: list[Found | None] = [None] * len(wanted)
    left = list(found)
    for fit, (k, one) in product(fits, enumerate(wanted)):
        best = next((f for f in left if fit(one, f)), None)
        if mine[k] is None and best is not None:
            mine[k] = best
            left.remove(best)
    return mine, left


def _compared(wanted: Wanted, found: Found | None) -> Marks:
    """The words for one toy: a colour that nobody asked for is told, and right."""
    if found is None:
        return [(f"no {_bare(wanted.toy)}", False)]
    right = {CLASSES[found.toy]: found.toy == wanted.toy, _colour(found): wanted.colour in (None, found.colour)}
    return [(word, right.get(word, True)) for word in _named(found).split(" ")]


def _relation(prompt: Prompt, mine: Sequence[Found], found: Sequence[Found]) -> tuple[str, bool]:
    """How the two stand, as the prompt has it if any two of their kinds do."""
    kinds = [wanted.toy for wanted in prompt.toys]
    pairs = [(a, b) for a in found for b in found if a is not b and [a.toy, b.toy] == kinds]
    if any(related_as(a.place, b.place) == prompt.relation for a, b in pairs):
        return RELATIONS[prompt.relation], True
    stands = related_as(mine[0].place, mine[1].place)
    return RELATIONS[stands], stands == prompt.relation


def _counted(wanted: Sequence[Wanted], found: Sequence[Found]) -> Marks:
    """Toys that are alike, by their colours: their number is right or wrong."""
    kind, colour = wanted[0].toy, wanted[0].colour
    mine = [f for f in found if f.toy == kind]
    if not mine:
        return [(several(0, kind), False)] + _further(found)
    enough, parts = len(mine) == len(wanted), []
    for tint in dict.fromkeys(f.colour for f in mine):
        number = sum(f.colour == tint for f in mine)
        words = (several(number, kind, tint) if number > 1 else f"one {_bare(kind, tint)}").split(" ")
        own = [(word, word != tuple(COLOURS)[tint] or colour in (None, tint)) for word in words[1:]]
        parts.append([(words[0], enough), *own])
    return _apart(parts) + _further([f for f in found if f.toy != kind])


def _further(found: Sequence[Found]) -> Marks:
    return [("; also " + listed([_named(f) for f in found]), True)] if found else []


def _apart(parts: Sequence[Marks], between: tuple[str, bool] | None = None) -> Marks:
    """The toys' words with spaces, and between the toys what stands there: a relation, commas, "and"."""
    return list(_joined(parts, between))


def _joined(parts: Sequence[Marks], between: tuple[str, bool] | None) -> Iterator[tuple[str, bool]]:
    for k, part in enumerate(parts):
        if k and between:
            yield from ((" ", True), between, (" ", True))
        elif k:
            yield (" and " if k == len(parts) - 1 else ", "), True
        for i, mark in enumerate(part):
            yield from ([(" ", True)] if i else [])
            yield mark


def _named(found: Found) -> str:
    """ "a red mushroom"."""
    return toy(found.toy, found.colour)


def _bare(kind: int, colour: int | None = None) -> str:
    """ "red mushroom", "mushroom"."""
    return toy(kind, colour).partition(" ")[2]


def _colour(found: Found) -> str:
    return tuple(COLOURS)[found.colour]
