"""What a scene shows beside what its prompt asks for, word by word."""

from collections.abc import Iterator, Sequence

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
    pairs = _matched(prompt.toys, reading.toys)
    marks = [_compared(wanted, found) for wanted, found in pairs]
    between = None
    if prompt.relation is not None and all(found for _, found in pairs):
        between = _relation(prompt, [found for _, found in pairs], reading.toys)
    others = [found for found in reading.toys if not any(found is mine for _, mine in pairs)]
    return _apart(marks, between) + _further(others)


def asked(prompt: Prompt | None) -> str:
    """What of a prompt is looked for, "" for nothing."""
    if prompt is None:
        return ""
    if prompt.category == "counting":
        return several(len(prompt.toys), prompt.toys[0].toy, prompt.toys[0].colour)
    names = [toy(wanted.toy, wanted.colour) for wanted in prompt.toys]
    return listed(names) if prompt.relation is None else related(names[0], prompt.relation, names[1])


def _matched(wanted: Sequence[Wanted], found: Sequence[Found]) -> list[tuple[Wanted, Found | None]]:
    """To each toy that is asked for the one that suits it best, each once."""
    fits = (
        lambda w, f: f.toy == w.toy and f.colour == w.colour,
        lambda w, f: f.toy == w.toy,
        lambda w, f: f.colour == w.colour,
        lambda w, f: True,
    )
    mine: dict[int, Found] = {}
    for fit in fits:
        for k, one in enumerate(wanted):
            free = (
                f for f in found if k not in mine and not any(f is taken for taken in mine.values()) and fit(one, f)
            )
            if (best := next(free, None)) is not None:
                mine[k] = best
    return [(one, mine.get(k)) for k, one in enumerate(wanted)]


def _compared(wanted: Wanted, found: Found | None) -> Marks:
    """The words for one toy: a colour that nobody asked for is told, and right."""
    if found is None:
        return [(f"no {toy(wanted.toy).partition(' ')[2]}", False)]
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
        return [(f"no {several(2, kind).partition(' ')[2]}", False)] + _further(found)
    enough, parts = len(mine) == len(wanted), []
    for tint in dict.fromkeys(f.colour for f in mine):
        number = sum(f.colour == tint for f in mine)
        words = (several(number, kind, tint) if number > 1 else f"one {_named(mine[0], tint)}").split(" ")
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


def _named(found: Found, colour: int | None = None) -> str:
    """ "a red mushroom"; with a colour without its article."""
    name = toy(found.toy, found.colour if colour is None else colour)
    return name if colour is None else name.partition(" ")[2]


def _colour(found: Found) -> str:
    return tuple(COLOURS)[found.colour]
