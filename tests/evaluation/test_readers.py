"""Judges that read signs and scenes, and what is measured with them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pf_core.cli import main
from pf_core.data.signs import Signs
from pf_core.data.splits import JUDGE_TEST
from pf_core.data.toybox import prompts
from pf_core.data.toybox.scene import GROUNDS, RELATIONS
from pf_core.data.toybox.toys import CLASSES, COLOURS
from pf_core.errors import InputError
from pf_core.evaluation import composition, judges, spelling
from pf_core.evaluation.judges import reader, scenes

SIGNS = judges.Field("signs", {"variety": 0.0}, kind="reader")
SCENES = judges.Field("toybox", {"toys": 3, "captioned": True}, {"variety": (0.0, 1.0)}, "scenes")


def test_edits_are_counted():
    cases = {("", ""): 0, ("AX7", "AX7"): 0, ("AX7", "A7"): 1, ("AX7", "AY7Q"): 2, ("", "ABC"): 3, ("BA", "AB"): 2}
    for (a, b), edits in cases.items():
        assert spelling.edit_distance(a, b) == spelling.edit_distance(b, a) == edits


@pytest.mark.parametrize(
    ("read", "asked", "wrong"),
    [
        ("AX7", "AX7", ""),
        ("AY7", "AX7", "Y"),
        ("A7", "AX7", "_"),
        ("AX", "AX7", "_"),
        ("AX77", "AX7", "7"),
        ("QQ", "AX7", "QQ_"),
        ("", "A", ""),
    ],
)
def test_wrong_letters_are_marked(read, asked, wrong):
    marks = spelling.marked(read, asked)
    assert "".join(c for c, _ in marks).replace("_", "") == read
    assert sorted(c for c, right in marks if not right) == sorted(wrong)
    assert not read or sum(not right for _, right in marks) == spelling.edit_distance(read, asked)


def test_spelling_is_measured_over_all_words_and_by_length():
    asked = ["AB", "CDE", "F", "GH"] * 10
    found = spelling.measured(["AB", "CXE", "", "GH"] * 10, asked)
    assert found["characters"]["value"] == pytest.approx(6 / 8) and found["words"]["value"] == 0.5
    assert found["edits"]["value"] == 0.5 and found["by_length"][2]["words"]["value"] == 1.0
    assert found["by_length"][1] | {"images": 10, "distinct": 1} == found["by_length"][1]


def test_two_pictures_of_one_word_are_not_two_words():
    """A word that is drawn ten times counts as often, but the interval is as wide as of so few words."""
    asked = [f"A{k}" for k in range(20)]
    read = [word if k % 2 else "X" for k, word in enumerate(asked)]
    once, often = spelling.measured(read, asked), spelling.measured(read * 10, asked * 10)
    assert once["words"] == often["words"] and once["words"]["value"] == 0.5
    low, high = often["words"]["interval"]
    assert low < 0.4 and high > 0.6
    assert spelling.measured([], [])["characters"]["value"] == 1.0


def test_the_columns_that_a_reader_learns_give_the_word_back():
    """Also where letters repeat, and stand close to each other."""
    data = Signs(variety=0.0)
    sample = data.batch(JUDGE_TEST.first(60), texts=["II", "AA", "I1I", "WW", "00", "MIM"] * 10)
    columns = judges.Reader.truth(sample, data)["columns"]
    read = [reader._collapsed(torch.where(row < 0, reader.BLANK, row), shortest=1) for row in columns]
    assert read == sample.texts


def test_a_slip_of_one_column_is_not_read():
    a, b, no = 0, 1, reader.BLANK
    assert reader._collapsed(torch.tensor([no, a, a, b, a, a, no, b, b, no, b, b, a, no])) == "ABB"


@pytest.mark.parametrize("of", [SIGNS, SCENES], ids=lambda of: of.kind)
def test_a_new_one_learns(of):
    losses = [loss for _, loss, _ in judges.train_judge(of, steps=16, batch=16, distinct=64, width=8)]
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:4])


def test_a_checker_reads_its_own_truth_off_the_map(monkeypatch):
    """Perfect maps give every toy, colour, relation and ground that can be seen."""
    images, truth = SCENES.batch(JUDGE_TEST, 0, 60, seed=0)
    hill, owner, _ = scenes._hills(truth, 16)
    rows = torch.arange(60)[:, None, None]

    def one_hot(name, of):
        return F.one_hot(truth[name][rows, owner].clamp(min=0), of).movedim(-1, 1) * 10.0

    centre = torch.where(hill == 1, 5.0, -5.0)[:, None]
    place = truth["places"][rows, owner].movedim(-1, 1)
    maps = torch.cat([centre, one_hot("toys", len(CLASSES)), one_hot("colours", len(COLOURS)), place], 1)
    ground = F.one_hot(truth["ground"], len(GROUNDS)) * 10.0
    checker = judges.Checker(64, 8)
    monkeypatch.setattr(checker, "logits", lambda part: (maps, ground))
    totals = checker.right(images, truth)
    shares = {name: hits / of for name, (hits, of) in totals.items()}
    assert shares["ground"] == 1 and min(shares.values()) > 0.9  # two centres may share a cell


def test_a_mirrored_scene_has_left_and_right_exchanged():
    _, truth = SCENES.batch(JUDGE_TEST, 0, 20, seed=0)
    every = torch.ones(20, dtype=torch.bool)
    once = judges.Checker.mirrored(truth, every)
    twice = judges.Checker.mirrored(once, every)
    assert all(torch.equal(value, twice[name]) for name, value in truth.items())
    assert not torch.equal(once["boxes"], truth["boxes"]) and torch.equal(once["toys"], truth["toys"])
    several = (truth["toys"] >= 0).sum(1) > 1
    swapped = {"left of": "right of", "right of": "left of"}
    for one, other in zip(truth["places"][several].tolist(), once["places"][several].tolist(), strict=True):
        was, now = (RELATIONS[prompts.related_as(*places[:2])] for places in (one, other))
        assert now == swapped.get(was, was)


def found(toy, colour, place=(0.0, 0.0)):
    return judges.Found(CLASSES.index(toy), list(COLOURS).index(colour), place, (0, 0), 1.0)


def wanted(category, *toys, relation=None):
    toys = [(t, None) if isinstance(t, str) else t for t in toys]
    asked = tuple(prompts.Wanted(CLASSES.index(t), c and list(COLOURS).index(c)) for t, c in toys)
    return prompts.Prompt("", category, asked, relation and RELATIONS.index(relation))


def test_prompts_are_satisfied_by_what_they_ask_for_and_by_nothing_else():
    car, house = found("car", "red", (-0.5, 0.0)), found("house", "blue", (0.5, 0.0))
    picture = judges.Reading((car, house), 0)

    def all_of(*asked, **how):
        return composition.satisfied(wanted(*asked, **how), picture)["all"]

    assert all_of("single object", "car") and not all_of("single object", "boat")
    assert all_of("colours", ("car", "red")) and not all_of("colours", ("car", "blue"))
    assert all_of("two objects", "car", "house") and not all_of("two objects", "car", "car")
    assert all_of("counting", "car") and not all_of("counting", "car", "car")
    assert all_of("position", "car", "house", relation="left of")
    assert not all_of("position", "house", "car", relation="left of")
    assert all_of("attribute binding", ("car", "red"), ("house", "blue"))
    assert not all_of("attribute binding", ("car", "blue"), ("house", "red"))


def test_composition_is_measured_by_part_and_category_and_for_colours_never_seen():
    asked = prompts.prompts("colours", 10) + prompts.prompts("counting", 10)
    right = [
        judges.Reading(tuple(judges.Found(w.toy, w.colour or 0, (0, 0), (0, 0), 1.0) for w in p.toys), 0) for p in asked
    ]
    told = composition.measured(asked, right[:10] + [judges.Reading((), 0)] * 10)
    assert 2 <= sum(told["distinct"].values()) == len({p.text for p in asked}) <= 20
    assert told["by_category"]["colours"]["value"] == 1 and told["by_category"]["counting"]["value"] == 0
    colours = told["by_category"]["colours"]
    assert colours["interval"] == [pytest.approx(0.025 ** (1 / told["distinct"]["colours"])), 1], (
        "all right: the exact interval"
    )
    assert told["all"]["value"] == 0.5 and told["relation"] is None
    assert told["seen"]["value"] == told["unseen"]["value"] == 1


def test_readers_are_found_by_kind_and_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(judges.library, "FOLDER", tmp_path)
    for of, name in ((SIGNS, "a"), (SCENES, "b")):
        judge = judges.KINDS[of.kind].of(of, 4)
        record = {"dataset": of.dataset, "data": of.settings, "ranges": of.ranges | judge.covers(of)}
        judges.save(tmp_path / f"{name}.safetensors", judge, record)
    assert judges.find("signs", {"variety": 0.0}, kind="reader").stem == "a"
    assert judges.find("toybox", {"captioned": True, "toys": 2, "variety": 0.5}, kind="scenes").stem == "b"
    again, _ = judges.load(tmp_path / "b.safetensors")
    assert isinstance(again, judges.Checker) and len(again.read(torch.zeros(3, 3, 64, 64))) == 3
    with pytest.raises(InputError, match="No judge knows `toybox` of 64x64.*judge --dataset toybox --size 64"):
        judges.find("toybox", {}, 64)
    with pytest.raises(InputError, match="judge --dataset toybox --kind scenes --toys 2 --size 64"):
        judges.find("toybox", {"toys": 2}, 64, "scenes")
    with pytest.raises(InputError, match="no kind of judge 'smell'"):
        judges.find("signs", {}, kind="smell")
    with pytest.raises(InputError, match="shapes declares nothing.*reader could name: choose one of signs"):
        judges.Field("shapes", kind="reader")


def test_the_judge_command_trains_a_reader_of_scenes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pf_core.cli.judge.TESTED", 20)
    argv = "judge --dataset toybox --kind scenes --toys 3 --captioned true --steps 2 --batch-size 16 --width 4".split()
    assert main([*argv, "--out", str(tmp_path / "j.safetensors")]) == 0
    assert "relation 0.00%" in capsys.readouterr().out
    _, record = judges.load(tmp_path / "j.safetensors")
    assert record["kind"] == "scenes" and record["ranges"] == {"toys": [1, 3]}
    assert set(record["held_out_accuracy"]) == {*scenes.ATTRIBUTES, "images"}
    assert main(["judge", "--kind", "reader", "--dataset", "shapes", "--out", str(tmp_path / "k.safetensors")]) == 2
    assert "choose one of signs" in capsys.readouterr().err


def test_edits_of_a_long_misreading_are_all_counted_and_no_share_falls_below_nothing():
    found = spelling.measured(["ABCDE", "F"] * 10, ["X", "F"] * 10)
    assert found["edits"]["value"] == 2.5 and found["characters"]["value"] == 0.5
