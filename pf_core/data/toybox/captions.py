"""Sentences for scenes: "a red mushroom left of a blue house on grass in the evening".

`captions` is in one wording and names everything; `varied` is in many, names part of it, and counts toys that are
alike: what captioned pictures have (captioned.py). Prompts (prompts.py) are made of the same phrases.
"""

from collections.abc import Sequence
from itertools import product

from pf_core.data.toybox.captioned import Plan
from pf_core.data.toybox.scene import GROUNDS, MATERIALS, RELATIONS, SKIES, Scene
from pf_core.data.toybox.toys import CLASSES, COLOURS

_GROUND = {
    "plain": "on a plain floor",
    "checks": "on a checked floor",
    "planks": "on wooden planks",
    "water": "on water",
    "snow": "in the snow",
    "asphalt": "on a road",
    "grass": "on grass",
}
_SKY = {"morning": "in the morning", "noon": "at noon", "evening": "in the evening", "cloudy": "under clouds"}
_COLOURS = tuple(COLOURS)
_OPENINGS = ("{0}", "a photo of {0}", "{0}", "a picture of {0}", "{0}", "there is {0}")
_LEFT_OF, _RIGHT_OF, _BEHIND, _BEFORE = range(len(RELATIONS))
_PHRASES = {  # of a relation; {0}, {1}: the toys
    _LEFT_OF: ("{0} left of {1}", "{0} to the left of {1}", "{1} right of {0}", "{1} to the right of {0}"),
    _RIGHT_OF: ("{0} right of {1}", "{0} to the right of {1}", "{1} left of {0}", "{1} to the left of {0}"),
    _BEHIND: ("{0} behind {1}", "{1} in front of {0}"),
    _BEFORE: ("{0} in front of {1}", "{1} behind {0}"),
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def captions(s: Scene) -> list[str]:
    """One sentence an image, from its scene alone."""
    return [_caption(s, i) for i in range(len(s.cell))]


def _caption(s: Scene, i: int) -> str:
    toys = [toy(*row) for row in zip(*(v[i].tolist() for v in (s.toys, s.colours, s.materials)), strict=True)]
    sentence = toys[0]
    relations = zip(s.relations[i].tolist(), toys[1:], strict=True)
    sentence += " and".join(f" {RELATIONS[r]} {other}" for r, other in relations)
    return f"{sentence} {_GROUND[GROUNDS[s.ground[i]]]} {_SKY[SKIES[s.sky[i]]]}"


def toy(kind: int, colour: int | None = None, material: int = 0) -> str:
    """A toy with its article: "a red mushroom", "an orange car", "a shiny boat"."""
    words = _named(CLASSES[kind], colour, material)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _named(name: str, colour: int | None, material: int) -> str:
    name = {"cone": "traffic cone", "cones": "traffic cones"}.get(name, name)
    tint = [] if colour is None else [_COLOURS[colour]]
    if name in ("snowman", "snowmen"):  # it is white; what it wears has the colour
        return " in ".join([name, *tint])
    return " ".join([*([] if MATERIALS[material] == "matte" else [MATERIALS[material]]), *tint, name])


def several(number: int, kind: int, colour: int | None = None) -> str:
    """Toys that are alike: "two red mushrooms"."""
    name = CLASSES[kind]
    plural = {"snowman": "snowmen"}.get(name, f"{name}s")
    return f"{NUMBERS[number] if number < len(NUMBERS) else number} {_named(plural, colour, 0)}"


def related(first: str, relation: int, second: str, which: int = 0) -> str:
    """ "a red mushroom left of a blue house", in wording `which` of several."""
    phrases = _PHRASES[relation]
    return phrases[which % len(phrases)].format(first, second)


def listed(toys: Sequence[str]) -> str:
    """ "a red mushroom, a blue house and a green tree"."""
    return " and ".join([", ".join(toys[:-1]), toys[-1]]) if len(toys) > 1 else toys[0]


class Choices:
    """Choices that all come from one number in [0, 1)."""

    def __init__(self, number: float):
        self._rest = number

    def below(self, count: int) -> int:
        self._rest *= count
        chosen = min(int(self._rest), count - 1)
        self._rest -= chosen
        return chosen


def varied(s: Scene, plan: Plan) -> list[str]:
    """One sentence an image, in a wording of its own."""
    return [_varied(s, plan, i) for i in range(len(s.cell))]


def _varied(s: Scene, plan: Plan, i: int) -> str:
    choose, number = Choices(plan.wording[i].item()), int(plan.number[i])
    kinds, colours, materials = (v[i, :number].tolist() for v in (s.toys, s.colours, s.materials))
    coloured = choose.below(5) > 0
    tints = colours if coloured else [None] * number
    if plan.alike[i]:
        sentence = several(number, kinds[0], tints[0])
    elif number == 1:
        sentence = toy(kinds[0], tints[0], materials[0] if choose.below(3) == 0 else 0)
    else:
        toys = [toy(*each) for each in zip(kinds, tints, strict=True)]
        sentence = _several_toys(toys, s.relations[i].tolist(), choose)
    opening = _OPENINGS[choose.below(len(_OPENINGS))]
    opening = "there are {0}" if opening.startswith("there") and plan.alike[i] else opening
    place = ["", _GROUND[GROUNDS[s.ground[i]]]][choose.below(2)]
    time = ["", "", _SKY[SKIES[s.sky[i]]]][choose.below(3)]
    return " ".join(filter(None, [opening.format(sentence), place, time]))


def _several_toys(toys: list[str], relations: list[int], choose: Choices) -> str:
    if choose.below(3) == 0:
        return listed(toys)
    if len(toys) == 2:
        return related(toys[0], relations[0], toys[1], choose.below(4))
    each = [f"{RELATIONS[r]} {other}" for r, other in zip(relations, toys[1:], strict=True)]
    return f"{toys[0]} {' and '.join(each)}"


def vocabulary() -> list[str]:
    """Phrases that hold every word of any caption or prompt."""
    singles = [toy(k, c, m) for k, (c, m) in product(range(len(CLASSES)), ((None, 0), (0, 1), (1, 2)))]
    colours = [toy(1, c) for c in range(len(_COLOURS))]
    many = [several(n, k) for n, k in product((2, 3), range(len(CLASSES)))]
    relations = [related("a car", r, "a boat", w) for r, phrases in _PHRASES.items() for w in range(len(phrases))]
    lists = [listed(["a car", "a boat", "a cake"])]
    openings = [o.format("a car") for o in (*_OPENINGS, "there are {0}")]
    return [*singles, *colours, *many, *relations, *lists, *openings, *_GROUND.values(), *_SKY.values()]
