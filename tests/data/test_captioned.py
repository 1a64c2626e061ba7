"""Captioned pictures: what captions say is there, held-out combinations, prompts by category, vocabularies."""

import re

import pytest
import torch

from pf_core.data import DATASETS
from pf_core.data.signs import Signs
from pf_core.data.splits import EVALUATION, JUDGE_TRAINING, TRAINING
from pf_core.data.toybox import CLASSES, Toybox, prompts
from pf_core.data.toybox.captioned import HELD_OUT, held_out
from pf_core.data.toybox.captions import related, toy
from pf_core.data.toybox.scene import RELATIONS
from pf_core.data.toybox.toys import COLOURS
from pf_core.errors import InputError

MANY = 600
NAMES = {"cone": "traffic cone"}


@pytest.fixture(scope="module")
def data():
    return Toybox(toys=3, captioned=True, dependence=0.0, size=16)


def combinations(data, indices):
    scene = data.scenes(list(indices))
    return {
        (t, c) for t, c in zip(scene.toys.flatten().tolist(), scene.colours.flatten().tolist(), strict=True) if t >= 0
    }


def chunks(text):
    """What CLIP's tokenizer splits at first."""
    return re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())


def test_pictures_without_captions_keep_their_bits_and_their_cache(data):
    plain = Toybox(toys=3, dependence=0.0, size=16, variety=1.0)
    sample = plain.batch(range(6))
    assert sample.images.mean().item() == pytest.approx(0.29112038, abs=1e-4)  # from the version before captions
    assert sample.captions[5] == (
        "a turquoise car behind a shiny green duck and in front of a shiny pink cake on wooden planks at noon"
    )
    assert plain.cache.path != data.cache.path and "captioned" not in plain.facts["digest"]
    assert DATASETS["toybox"].settings({})["captioned"] is False


def test_a_captioned_picture_has_the_same_bits_alone_and_in_any_batch(data):
    batch = data.batch(range(24))
    for i in (0, 7, 23):
        alone = data.batch([i])
        assert torch.equal(alone.images[0], batch.images[i]) and torch.equal(alone.boxes[0], batch.boxes[i])
        assert alone.captions == [batch.captions[i]] == data.captions_of([i])


def test_the_caption_counts_names_and_places_what_is_there(data):
    sample = data.batch(range(MANY))
    a, colours = sample.attributes, list(COLOURS)
    numbers = (a.toys >= 0).sum(1)
    assert all((numbers == n).float().mean() > 0.25 for n in (1, 2, 3))
    seen = set()
    for i, caption in enumerate(sample.captions):
        number, kinds = int(numbers[i]), [CLASSES[k] for k in a.toys[i].tolist() if k >= 0]
        alike = re.search(r"\b(two|three)\b", caption)
        if alike:
            assert len(set(kinds)) == 1 and {"two": 2, "three": 3}[alike[1]] == number
            seen.add("counting")
        else:
            assert all(("cone" if k == "cone" else k) in caption for k in kinds)
        for colour in (c for c in colours if re.search(rf"\b{c}\b", caption)):
            assert colours.index(colour) in a.colours[i, :number].tolist()
            seen.add("colours")
        first = next((r for r in RELATIONS if f" {r} " in caption or f" {r.split()[0]} of " in caption), None)
        if first and number == 2 and not alike:
            own = a.relations[i, 0].item()
            ends = [caption.index(NAMES.get(k, k)) for k in kinds]
            forward = ends[0] <= ends[1]
            opposite = [1, 0, 3, 2]
            assert RELATIONS[own if forward else opposite[own]] == first or kinds[0] == kinds[1]
            seen.add("position")
    assert seen == {"counting", "colours", "position"} and len(set(sample.captions)) > 0.9 * MANY
    assert (sample.boxes[numbers == 1][:, 1:] == 0).all()


def test_training_never_shows_the_combinations_that_are_held_out_and_evaluation_does(data):
    kept = {(CLASSES.index(t), list(COLOURS).index(c)) for t, c in HELD_OUT}
    assert len(kept) == len(CLASSES) and all(held_out(*pair) for pair in kept)
    everything = {(t, c) for t in range(len(CLASSES)) for c in range(len(COLOURS))}
    assert combinations(data, TRAINING.first(2 * MANY)) == everything - kept
    assert combinations(data, EVALUATION.first(MANY)) & kept and combinations(data, JUDGE_TRAINING.first(MANY)) & kept
    said = " ".join(f" {c} " for c in data.captions_of(TRAINING.first(2 * MANY)))
    assert not any(f" {toy(*pair)} " in said for pair in kept)


@pytest.mark.parametrize("category", prompts.CATEGORIES)
def test_prompts_say_what_must_be_true_and_stay_what_they_are(category, data):
    made = prompts.prompts(category, 40)
    assert made[7:9] == prompts.prompts(category, 2, first=7) and len({p.text for p in made}) > 9
    known = {c for phrase in data.vocabulary() for c in chunks(phrase)}
    for i, p in enumerate(made):
        assert p.category == category and set(chunks(p.text)) <= known
        assert all(CLASSES[w.toy][:5] in p.text for w in p.toys) or "snowm" in p.text
        assert all(w.colour is None or list(COLOURS)[w.colour] in p.text for w in p.toys)
        assert p.unseen == (category in ("colours", "attribute binding") and i % 2 == 1)
        assert (p.relation is not None) == (category == "position")
    assert prompts.prompts("counting", 1)[0].toys[0] == prompts.prompts("counting", 1)[0].toys[-1]


def test_an_unknown_category_is_a_sentence():
    with pytest.raises(InputError, match="no category 'size' of prompts"):
        prompts.prompts("size", 1)


def test_relations_are_those_by_which_the_world_places_toys(data):
    scene = data.scenes(list(range(200)))
    for feet, relations in zip(scene.feet.tolist(), scene.relations.tolist(), strict=True):
        for other, relation in zip(feet[1:], relations, strict=True):
            if relation >= 0:
                assert prompts.related_as(feet[0], other) == relation
    assert related("a", RELATIONS.index("behind"), "b", 1) == "b in front of a"


@pytest.mark.parametrize(
    "made", [Signs(variety=1.0), Toybox(toys=3, captioned=True), Toybox(toys=2)], ids=["signs", "captioned", "toybox"]
)
def test_a_vocabulary_holds_every_word_of_the_captions(made):
    known = {c for phrase in made.vocabulary() for c in chunks(phrase)}
    indices = range(500) if made.name == "toybox" else range(40)
    captions = made.captions_of(indices)
    assert made.batch(indices[:3]).captions == captions[:3]
    spelt = made.batch(indices).spelt if made.name == "signs" else captions
    assert {c for caption in spelt for c in chunks(caption)} <= known
