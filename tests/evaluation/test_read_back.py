"""What a judge reads in pictures, beside what their prompts ask for."""

import pytest
import text_world
from helpers import bundle

from pf_core.data.signs import Signs
from pf_core.errors import InputError
from pf_core.evaluation.read_back import Read, compared, read_back, readable


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


def test_networks_of_classes_and_of_pictures_without_words_are_not_read():
    scenes = signs()
    scenes.training = {"recipe": {"dataset": "toybox", "data_settings": {}}}
    assert readable(signs()) and not readable(scenes) and not readable(bundle())
    with pytest.raises(InputError, match="takes no prompts"):
        read_back(bundle(), Signs().batch(range(1)).images, [None])
