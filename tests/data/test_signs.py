"""Signs: same bits always, words that training never sees, captions, regions, boxes, oblong pictures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.data.signs import REGIONS, Signs, glyphs, words
from pf_core.data.signs.render import render
from pf_core.data.signs.scene import _BOARDS, KINDS, NAMES, _pairs
from pf_core.data.splits import EVALUATION, JUDGE_TEST, JUDGE_TRAINING, REAL, SEARCH, TRAINING, VALIDATION
from pf_core.errors import InputError
from pf_core.evaluation.inspect import picture
from pf_core.evaluation.studies.uncertainty_tracks_error import _oracle
from pf_core.models import checkpoint

BACKGROUND, BUSY, SIGN, LETTERS = range(4)
WILD = {"variety": 1.0}


@pytest.fixture(scope="module")
def sample():
    return Signs(**WILD).batch(range(60))


def same(a, b, but=()):
    return all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items() if name not in but)


def test_it_is_registered_and_made_oblong_from_its_settings():
    entry = DATASETS["signs"]
    made = entry.fn(**entry.settings({"size": "24", "aspect": "2"}))
    some = made.batch([0, 1])
    assert made.size == (24, 48) and Signs(aspect=1).size == 32 and Signs().size == (32, 96)
    assert some.images.shape == (2, 3, 24, 48) and some.regions.shape == (2, 24, 48) and some.boxes.shape == (2, 6, 4)
    assert made.names == list(KINDS) and len(made) == 2**31


@pytest.mark.parametrize("wrong", [{"size": 8}, {"aspect": 0}, {"longest": 7}, {"variety": 1.1}, {"font": 1}])
def test_knobs_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        DATASETS["signs"].settings(wrong)


@pytest.mark.parametrize("settings", [{}, WILD | {"aspect": 1, "longest": 2}])
def test_an_image_has_the_same_bits_alone_and_in_any_batch(settings):
    data, batch = Signs(**settings), Signs(**settings).batch([3, 2**31 + 5, 11])
    for k, i in enumerate([3, 2**31 + 5, 11]):
        alone = data.batch([i])
        assert torch.equal(alone.images[0], batch.images[k]) and torch.equal(alone.regions[0], batch.regions[k])
        assert (alone.captions, alone.texts) == (batch.captions[k : k + 1], batch.texts[k : k + 1])
    assert not torch.equal(data.batch([3]).images, Signs(**settings, series=8).batch([3]).images)


def test_images_are_whole_grey_levels(sample):
    levels = (sample.images + 1) * 127.5
    assert sample.images.dtype == torch.float32 and sample.images.is_contiguous()
    assert (levels - levels.round()).abs().max() < 1e-4 and levels.min() >= 0 and levels.max() <= 255.001


def test_size_changes_the_picture_and_not_the_scene(sample):
    large = Signs(size=96, **WILD).batch(range(12))
    assert same(large.attributes, Signs(**WILD).batch(range(12)).attributes) and large.texts == sample.texts[:12]
    assert (F.avg_pool2d(large.images, 3) - sample.images[:12]).abs().mean((1, 2, 3)).max() < 0.08
    assert (large.boxes / 3 - sample.boxes[:12]).abs().max() < 1e-3


def test_no_word_of_training_is_a_word_of_validation():
    data = Signs(**WILD)
    seen, unseen = set(), set()
    for split in (TRAINING, JUDGE_TRAINING):
        seen |= set(data.texts(split.first(300)))
    for split in (VALIDATION, SEARCH, EVALUATION, JUDGE_TEST, REAL):
        unseen |= set(data.texts(split.first(60)))
    assert not seen & unseen
    assert not any(map(words.held_out, seen)) and all(map(words.held_out, unseen))
    assert {len(w) for w in seen} == {len(w) for w in unseen} == set(range(1, 7))
    assert set("".join(seen)) == set("".join(unseen)) == set(words.ALPHABET)


def test_which_words_are_held_out_never_changes():
    """Networks in people's folders were trained by it."""
    assert [c for c in words.ALPHABET if words.held_out(c)] == ["J", "1", "3", "6"]
    pairs = [a + b for a in words.ALPHABET for b in words.ALPHABET]
    assert 100 < sum(map(words.held_out, pairs)) < 160


def test_a_finite_set_begins_again_and_is_validated_on_other_words():
    few = Signs(count=3)
    assert torch.equal(few.batch([4]).images, Signs().batch([1]).images) and len(few) == 3
    assert few.texts([2**31]) == few.batch([2**31]).texts and words.held_out(few.texts([2**31])[0])


@pytest.mark.parametrize("variety, longest", [(0.0, 3), (0.5, 4), (1.0, 6)])
def test_variety_sets_length_fonts_and_kinds(variety, longest):
    scenes = [Signs(variety=variety)._scene(i) for i in range(250)]
    assert {len(s.text) for s in scenes} == set(range(1, longest + 1))
    assert len({s.font for s in scenes}) == {0: 2, 0.5: 8, 1: 15}[variety]
    assert {s.kind for s in scenes} == ({0} if variety == 0 else set(range(4)))
    assert set(map(len, Signs(variety=variety, longest=2).texts(range(50)))) == {1, 2}


def test_letters_lie_in_their_boxes_and_boxes_in_the_picture(sample):
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    for text, regions, boxes, box in zip(sample.texts, sample.regions, sample.boxes, sample.box, strict=True):
        own, inside = boxes[: len(text)], torch.zeros(32, 96, dtype=torch.bool)
        for left, top, right, bottom in own.tolist():
            assert 0 < left < right < 96 and 0 < top < bottom < 32
            each = (x > left - 1) & (x < right + 1) & (y > top - 1) & (y < bottom + 1)
            assert (regions[each] == LETTERS).sum() > 8
            inside |= each
        assert inside[regions == LETTERS].all() and not boxes[len(text) :].any()
        assert torch.equal(box, torch.cat([own[:, :2].amin(0), own[:, 2:].amax(0)]))


def test_every_region_is_seen_and_the_busy_part_is_busier(sample):
    assert REGIONS == ("background", "busy", "sign", "letters")
    assert sample.regions.unique().tolist() == [0, 1, 2, 3]
    step = (sample.images[..., 1:] - sample.images[..., :-1]).abs().mean(1)
    at = sample.regions[..., 1:]
    alike = at == sample.regions[..., :-1]
    assert step[alike & (at == BUSY)].mean() > 5 * step[alike & (at == BACKGROUND)].mean()


def test_letters_stand_off_their_sign():
    data = Signs(**WILD)
    for kind in range(len(KINDS)):
        some = data.batch(range(25), labels=torch.full((25,), kind))
        for image, regions in zip(some.images, some.regions, strict=True):
            letters, sign = (image[:, regions == r].mean(1) for r in (LETTERS, SIGN))
            assert (letters - sign).abs().max() > 0.3


def test_every_board_has_letters_that_can_be_read_on_it():
    for kind in KINDS:
        assert len(_pairs(kind)) == len(_BOARDS[kind].split()) and all(letters for _, letters in _pairs(kind))


def test_a_kind_or_a_word_that_is_asked_for_changes_nothing_else():
    data = Signs(variety=0.5)
    own, other = data.batch(range(8)), data.batch(range(8), labels=torch.arange(8) % 4)
    assert other.labels.tolist() == [0, 1, 2, 3] * 2 and other.texts == own.texts
    asked = data.batch(range(2), texts=["ax7", "K"])
    assert asked.texts == ["AX7", "K"] and torch.equal(asked.labels, own.labels[:2])
    assert torch.equal(data.batch([0], texts=own.texts[:1]).images[0], own.images[0])
    for wrong in ("", "A B", "ÄX", "ABCDEFG"):
        with pytest.raises(InputError, match="reads 1 to 6"):
            data.batch([0], texts=[wrong])
    with pytest.raises(InputError, match="as many"):
        data.batch([0], texts=["A", "B"])


def test_captions_say_the_word_and_the_colours_in_many_wordings(sample):
    for text, caption, spelt in zip(sample.texts, sample.captions, sample.spelt, strict=True):
        assert caption.split('"')[1] == text and spelt.split('"')[1] == " ".join(text)
    a = sample.attributes
    said = [{NAMES[i] for i in pair} & set(c.replace('"', " ").split()) for pair, c in
            zip(zip(a.board.tolist(), a.letters.tolist(), strict=True), sample.captions, strict=True)]  # fmt: skip
    assert sum(map(bool, said)) > 30 and max(map(len, said)) == 2
    wordings = {c.replace(f'"{t}"', "") for c, t in zip(sample.captions, sample.texts, strict=True)}
    assert len(wordings) > 45


def test_quoted_words_are_spelt_apart_and_nothing_else():
    assert words.spelt('a neon sign that reads "AX7", "K 9"') == 'a neon sign that reads "A X 7", "K 9"'
    assert words.spelt("no quotes") == "no quotes" and words.spelt('half a "quote') == 'half a "quote'


def test_single_quotes_count_about_a_word_that_a_sign_can_read():
    assert words.straight("reads 'AX7'") == words.straight("reads ‘AX7’") == 'reads "AX7"'
    for plain in ("a '90s car beside the dogs' house", "it's the cats'", "'a long sentence'", "\"A\" and 'B'"):
        assert words.straight(plain) == plain


def test_every_font_draws_every_character_of_its_own():
    for font in (glyphs.FONTS[0], glyphs.FONTS[8]):
        fields = [glyphs.glyph(font, c) for c in words.ALPHABET]
        assert all((f.field < 0).sum() > 100 and 0.3 < f.ink[3] - f.ink[1] < 1.5 for f in fields)
        assert len({f.field.tobytes() for f in fields}) == 36
    assert len(set(glyphs.FONTS)) == 15 and all(glyphs.glyph(f, "0").field.min() < 0 for f in glyphs.FONTS)


def test_drawing_one_picture_leaves_others_alone():
    scenes = [Signs(**WILD)._scene(i) for i in (1, 2)]
    first = render(scenes[0], 32)[0].copy()
    render(scenes[1], 32)
    assert np.array_equal(first, render(scenes[0], 32)[0])


def test_an_oblong_network_trains_on_signs(tmp_path):
    run = ["train", "--dataset", "signs", "--count", "5", "--model", "nano", "--steps", "2"]
    assert main([*run, "--batch-size", "2", "--out", str(tmp_path / "net")]) == 0
    net = checkpoint.load(str(tmp_path / "net" / "network.safetensors"))
    assert net.shape == (3, 32, 96) and net.training["data"]["digest"].startswith("signs")
    assert _oracle(net)[0].grid == net.grid and picture(net).x1.shape == (1, 3, 32, 96)


def test_what_a_prompt_asks_a_sign_to_read_is_between_its_quotes():
    straight = ('a sign that reads "ax7"', 'a sign saying "A X 7" beside a hedge')
    for prompt in (*straight, "“AX7” on a cake", "„AX7“ on a cake", "«AX7» on a cake"):
        assert words.quoted(prompt) == "AX7"
    assert words.quoted("a red cake") == words.quoted('a "') == ""
