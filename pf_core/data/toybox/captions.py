"""A sentence for each scene: "a red mushroom left of a blue house on grass in the evening"."""

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


def captions(s: Scene) -> list[str]:
    """One sentence an image, from its scene alone."""
    return [_caption(s, i) for i in range(len(s.cell))]


def _caption(s: Scene, i: int) -> str:
    toys = [_toy(*row) for row in zip(*(v[i].tolist() for v in (s.toys, s.colours, s.materials)), strict=True)]
    sentence = toys[0]
    relations = zip(s.relations[i].tolist(), toys[1:], strict=True)
    sentence += " and".join(f" {RELATIONS[r]} {toy}" for r, toy in relations)
    return f"{sentence} {_GROUND[GROUNDS[s.ground[i]]]} {_SKY[SKIES[s.sky[i]]]}"


def _toy(toy: int, colour: int, material: int) -> str:
    name, colour, material = CLASSES[toy], _COLOURS[colour], MATERIALS[material]
    if name == "snowman":  # it is white; what it wears has the colour
        return f"a snowman in {colour}"
    words = " ".join([*([] if material == "matte" else [material]), colour, "traffic cone" if name == "cone" else name])
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
