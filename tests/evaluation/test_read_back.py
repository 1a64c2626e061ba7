"""What a judge reads in pictures, beside what their prompts ask for."""

from dataclasses import replace

import numpy as np
import pytest
import text_world
from helpers import bundle

from pf_core.data.signs import Signs
from pf_core.data.toybox import Toybox
from pf_core.data.toybox.prompts import CATEGORIES, pictures, prompts
from pf_core.data.toybox.scene import RELATIONS
from pf_core.data.toybox.toys import CLASSES, COLOURS
from pf_core.data.toybox.understood import understood
from pf_core.errors import InputError
from pf_core.evaluation import shown
from pf_core.evaluation.composition import satisfied
from pf_core.evaluation.judges import Found, Reading
from pf_core.evaluation.read_back import Read, compared, pictured, read_back, way_of


def signs(**changes):
    """A network of signs, by its record."""
    net = text_world.bundle(input_size=(32, 96), **changes)
    net.training = {"recipe": {"dataset": "signs", "data_settings": {"variety": 0.0}}}
    return net


def test_wrong_letters_are_marked_and_counted():
    assert compared("CQT", "CAT") == Read("CAT", [("C", True), ("Q", False), ("T", True)], 1)
    assert compared("CT", "CAT") == Read("CAT", [("C", True), ("_", False), ("T", True)], 1)
    assert compared("", "CAT") == Read("CAT", [], 3)


def test_nothing_is_wrong_where_no_word_is_asked_for():
    assert compared("AX", "") == Read("", [("A", True), ("X", True)], 0)


def test_real_signs_read_what_they_say():
    pictures = Signs(variety=0.0).batch(range(2), texts=["CAT", "A7"]).images
    first, second = read_back(signs(), pictures, ['a sign that reads "CAT"', 'a cake saying "AX"'])
    assert first == compared("CAT", "CAT") and second == compared("A7", "AX") and second.edits == 1


def scenes():
    """A network of scenes, by its record."""
    net = text_world.bundle(input_size=64)
    net.training = {"recipe": {"dataset": "toybox", "data_settings": {"toys": 3, "captioned": True, "variety": 0.3}}}
    return net


def told(read):
    """The words of a scene, those that are wrong in brackets."""
    return "".join(text if right else f"[{text}]" for text, right in read.marks)


def test_what_a_person_asks_of_a_scene_is_understood():
    def toys(text):
        found = understood(text)
        return found and [(CLASSES[w.toy], w.colour if w.colour is None else [*COLOURS][w.colour]) for w in found.toys]

    assert toys("A photo of two shiny pink mushrooms on grass") == [("mushroom", "pink")] * 2
    assert toys("a snowman in red and an orange traffic cone") == [("snowman", "red"), ("cone", "orange")]
    assert toys("there is a lamp") == [("lamp", None)] and toys("3 boats") == [("boat", None)] * 3
    assert understood("a cartoon of a boathouse") is None and understood("") is None
    assert RELATIONS[understood("a car to the right of a red tree").relation] == "right of"
    assert understood("a car and a tree").relation is None and understood("two cars").category == "counting"
    assert len(toys("ten cones")) == len(toys("10 cones")) == 10 and understood("a house, no cars") is None
    assert understood("a house without any cars") is understood("a house without a car") is None
    assert len(toys("cones")) == 2 and understood("cones").category == "", "two at least, and as many as there are"
    assert toys("a red shiny car") == toys("a shiny red car") == [("car", "red")]
    assert understood("a house, behind it a car").relation is None


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_prompt_is_understood_as_it_was_made(category):
    for made in prompts(category, 40):
        mine = understood(made.text)
        if made.relation is not None and mine.toys != made.toys:  # "b right of a" is "a left of b"
            mirrored = {0: 1, 1: 0, 2: 3, 3: 2}
            mine = replace(mine, toys=mine.toys[::-1], relation=mirrored[mine.relation])
        assert (mine.toys, mine.relation) == (made.toys, made.relation), made.text


@pytest.mark.parametrize("category", CATEGORIES)
def test_nothing_is_wrong_in_a_scene_just_where_all_that_is_asked_for_is_there(category):
    """Whatever is found: in scenes that lack a toy, that have others, and that stand anyhow."""
    rng = np.random.default_rng(0)
    for asked in prompts(category, 60):
        wanted = [(w.toy, w.colour or 0) for w in asked.toys]
        for _ in range(6):
            made = [each for each in wanted if rng.random() < 0.8]
            made += [tuple(rng.integers(0, 8, 2).tolist()) for _ in range(rng.integers(0, 2))]
            toys = tuple(Found(*each, tuple(rng.normal(size=2)), (0.0, 0.0), 0.9) for each in made)
            marks = shown.shown(asked, Reading(toys, 0))
            assert all(right for _, right in marks) == satisfied(asked, Reading(toys, 0))["all"], (asked, toys, marks)


def test_real_scenes_show_what_they_were_asked_for_and_wrong_words_are_marked():
    data = Toybox(toys=3, captioned=True, variety=0.3)
    asked = prompts("position", 2) + prompts("counting", 1) + prompts("attribute binding", 1)
    other = "a yellow cake"
    read = read_back(scenes(), pictures(data, asked * 2), [*(p.text for p in asked), *[other] * 4])
    assert [each.edits for each in read[:4]] == [0, 0, 0, 0], [told(each) for each in read]
    assert all(each.edits and "[" in told(each) and each.asked == other for each in read[4:])
    (unasked,) = read_back(scenes(), pictures(data, asked[:1]), ["on grass"])
    assert unasked.asked == "" and not unasked.edits and " and " in told(unasked)


def test_a_scene_is_told_in_words():
    cone, house = (CLASSES.index(name) for name in ("cone", "house"))
    red, blue = (list(COLOURS).index(name) for name in ("red", "blue"))

    def seen(*toys):
        return Reading(tuple(Found(k, c, (x, 0.0), (0.0, 0.0), 0.9) for k, c, x in toys), 0)

    both = pictured(seen((house, red, 0.0), (cone, red, 1.0)), "a red cone left of a blue house")
    assert told(both) == "a red traffic cone [right of] a [red] house" and both.edits == 2
    assert both.asked == "a red traffic cone left of a blue house"
    lone = pictured(seen((cone, blue, 0.0)), "a cone and a house")
    assert told(lone) == "a blue traffic cone and [no house]" and lone.edits == 1
    counted = pictured(seen((house, red, 0.0), (house, blue, 1.0), (cone, red, 2.0)), "three red houses")
    assert told(counted) == "[one] red house and [one] [blue] house; also a red traffic cone"
    assert told(pictured(seen(), "two snowmen")) == "[no snowmen]" and pictured(seen(), "a view").marks == []


def test_networks_of_classes_and_of_pictures_that_no_judge_reads_are_not_read():
    assert way_of(signs())[0] == "reader" and way_of(scenes())[0] == "scenes" and way_of(bundle()) is None
    net = text_world.bundle(input_size=(32, 32))
    net.training = {"recipe": {"dataset": "folder"}}
    assert way_of(net) is None
    with pytest.raises(InputError, match="takes no prompts"):
        read_back(bundle(), Signs().batch(range(1)).images, [None])
