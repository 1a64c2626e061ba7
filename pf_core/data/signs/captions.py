"""A sentence for each sign, in one of many wordings: `a red neon sign that reads "AX7" beside a hedge`."""

from collections.abc import Sequence

from pf_core.data.signs.scene import BUSY, KINDS, NAMES, SIDES, Scene
from pf_core.data.signs.words import ALPHABET

_SIGNS = {  # what a sign is called; {0}: the board's colour, {1}: the letters'
    "plate": ("a {0} plate with {1} letters", "a {0} sign with {1} letters", "a {0} plate", "a plate"),
    "neon": ("a {1} neon sign", "glowing {1} letters", "a neon sign with {1} letters", "a neon sign"),
    "chalkboard": ("a {0} chalkboard with {1} chalk", "a chalkboard with {1} letters", "a chalkboard"),
    "cake": ("a {0} cake with {1} icing", "a cake with {0} frosting and {1} letters", "a {0} cake", "a cake"),
}
_READS = ('{0} that reads "{1}"', '{0} saying "{1}"', '"{1}" on {0}', '{0} with the text "{1}"', '{0}, it says "{1}"')
_NEON_READS = ('"{1}" in {0}', '{0} spelling "{1}"')  # for what is letters itself
_BEHIND = {
    "bricks": ("a brick wall", "bricks"),
    "hedge": ("a hedge", "green leaves"),
    "fence": ("a wooden fence", "a fence"),
    "tiles": ("a tiled wall", "checked tiles"),
    "windows": ("lit windows", "a house with windows"),
}
_WHERE = {
    "left": ("beside {0}", "with {0} on the left"),
    "right": ("beside {0}", "with {0} on the right"),
    "bottom": ("above {0}", "with {0} below"),
    "top": ("below {0}", "with {0} above"),
}


def caption(s: Scene) -> str:
    """One sentence, with the word between double quotes; the wording comes from the scene's own number."""
    rest = s.wording

    def pick(choices: tuple[str, ...]) -> str:
        nonlocal rest
        rest *= len(choices)
        chosen = choices[int(rest)]
        rest -= int(rest)
        return chosen

    sign = _named(pick(_SIGNS[KINDS[s.kind]]), NAMES[s.board], NAMES[s.letters])
    sentence = pick(_NEON_READS if sign.startswith("glowing") else _READS).format(sign, s.text)
    if pick(("without", "with")) == "without":
        return sentence
    thing = pick(_BEHIND[BUSY[s.busy]])
    return f"{sentence} {pick(_WHERE[SIDES[s.side]]).format(thing)}"


def _named(form: str, board: str, letters: str) -> str:
    return form.format(board, letters).replace("a orange", "an orange")


def vocabulary(kinds: Sequence[str] = KINDS) -> list[str]:
    """Phrases that hold every word of any caption of signs of these kinds, and each character as a word of its own."""
    signs = [_named(form, colour, colour) for kind in kinds for form in _SIGNS[kind] for colour in NAMES]
    reads = [form.format("a sign", "A B") for form in (*_READS, *(_NEON_READS if "neon" in kinds else ()))]
    things = [thing for names in _BEHIND.values() for thing in names]
    places = [form.format(thing) for forms in _WHERE.values() for form in forms for thing in things]
    return list(dict.fromkeys([*signs, *reads, *places, *ALPHABET]))
