"""Judges: one architecture for all data sets, found by what they know; the first one unchanged."""

import json
import struct

import numpy as np
import pytest
import torch

from pf_core.cli import main
from pf_core.data.shapes import Shapes
from pf_core.data.splits import JUDGE_TRAINING
from pf_core.errors import InputError
from pf_core.evaluation import judges
from pf_core.evaluation.judges import library, training

CALM, ANY = judges.Field("shapes"), judges.Field("shapes", ranges={"variety": (0.0, 1.0)})


def header(path):
    with open(path, "rb") as f:
        return json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["__metadata__"]


def test_the_shipped_judge_recognises_held_out_shapes_and_textures():
    judge, record = judges.load()
    found = judges.accuracy(judge, CALM, 1000)
    assert min(found["shape"], found["texture"]) >= 0.98
    assert record["command"] and min(record["held_out_accuracy"][k] for k in ("shape", "texture")) >= 0.98


def test_the_first_judge_says_what_it_said_before_there_were_others():
    """Numbers from the code that it was trained with."""
    seen = judges.load()[0].judge(Shapes().batch(range(2**31 + 38, 2**31 + 48)).images)
    assert seen.probabilities["shape"][0].argmax() == 5 and seen.probabilities["texture"][0].argmax() == 1
    assert seen.features[0, :4].tolist() == pytest.approx([3.5511222, 8.8731308, 10.506940, 1.3598182], rel=1e-4)


def test_a_judge_that_is_there_is_not_trained_over(capsys):
    assert main(["judge", "--steps", "1"]) == 2 and "is there already: name another file" in capsys.readouterr().err


def test_judges_are_found_by_what_they_know(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    for name, data, ranges in (
        ("a", {"variety": 0.0}, {}),
        ("b", {"variety": 0.0}, {"variety": [0.0, 1.0]}),
        ("c", {"variety": 0.0}, {"variety": [0.2, 0.6]}),
        ("d", {"size": 64}, {}),
    ):
        of = judges.Field("shapes", data)
        judge = judges.Judge(of.settings["size"], of.heads, width=4)
        record = {"dataset": "shapes", "data": of.settings, "ranges": ranges}
        judges.save(tmp_path / f"{name}.safetensors", judge, record)
    (tmp_path / "e.safetensors").write_bytes(b"damaged")

    def found(**settings):
        return judges.find("shapes", settings).stem

    assert (found(), found(variety=0.1), found(variety=0.5), found(size=64)) == ("a", "b", "c", "d")
    assert found(series=7, count=9) == "a"
    with pytest.raises(InputError, match="No judge knows `shapes` of 64x64 .variety 0.5.*variety 0.2 to 0.6"):
        found(size=64, variety=0.5)
    with pytest.raises(InputError, match="No judge knows `folder` of 32x32. The judges here know:.*[^:]$"):
        judges.find("folder", {"path": "nowhere"})


def test_a_file_gives_back_the_judge_that_was_saved(tmp_path):
    *_, (_, _, judge) = judges.train_judge(ANY, steps=3, batch=16, width=4)
    judges.save(tmp_path / "j.safetensors", judge, {"dataset": "shapes", "data": ANY.settings})
    again, record = judges.load(tmp_path / "j.safetensors")
    images = Shapes(variety=1.0).batch(range(8)).images
    for name, values in judge.judge(images).probabilities.items():
        torch.testing.assert_close(again.judge(images).probabilities[name], values, atol=0.02, rtol=0.05)
    assert (
        record["heads"]["shape"] == list(Shapes.heads["shape"]) and (tmp_path / "j.safetensors").stat().st_size < 60_000
    )


def test_a_new_judge_learns():
    losses = [loss for _, loss, _ in judges.train_judge(CALM, steps=25, batch=32)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_images_that_are_dear_are_shown_again_mirrored_and_in_another_order():
    pool = training._Pool(ANY, 16, 0, 2)
    first = torch.cat([pool.batch(k)[0] for k in (0, 1)])
    (a, told_a), (b, told_b) = pool.batch(2), pool.batch(3)
    for image, shape in zip(torch.cat([a, b]), torch.cat([told_a["shape"], told_b["shape"]]), strict=True):
        apart = torch.minimum((first - image).abs().amax((1, 2, 3)), (first - image.flip(2)).abs().amax((1, 2, 3)))
        assert apart.min() < 0.01
        assert (
            pool.of.batch(JUDGE_TRAINING, 16 * (apart.argmin() // 16).item(), 16, 0, training.CORNERS)[1]["shape"][
                apart.argmin() % 16
            ]
            == shape
        )
    assert not torch.equal(a, first[:16])


def test_a_batch_is_drawn_over_the_whole_range_from_images_that_networks_do_not_see():
    images, truth = ANY.batch(JUDGE_TRAINING, 0, 400, seed=0)
    again, _ = ANY.batch(JUDGE_TRAINING, 0, 400, seed=0)
    assert torch.equal(images, again) and len(truth["shape"]) == len(truth["texture"]) == 400
    ends, _ = ANY.batch(JUDGE_TRAINING, 0, 400, seed=0, corners=4)
    calm, wild = (Shapes(variety=v).batch(JUDGE_TRAINING.first(100)).images for v in (0.0, 1.0))
    assert torch.equal(ends[:100], calm) or torch.equal(ends[:100], wild)
    assert not torch.equal(images[:100], calm) and not torch.equal(images[:100], wild)


@pytest.mark.parametrize("content", [b"", b"text"])
def test_a_wrong_judge_file_is_a_sentence(tmp_path, content):
    (tmp_path / "judge.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a judge"):
        judges.load(tmp_path / "judge.safetensors")
    with pytest.raises(InputError, match="no judge"):
        judges.load(tmp_path / "none.safetensors")


def test_the_judge_command_trains_over_a_whole_range(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pf_core.cli.judge.TESTED", 100)
    argv = ["judge", "--whole", "variety", "--steps", "2", "--batch-size", "16", "--width", "4", "--size", "64"]
    assert main([*argv, "--out", str(tmp_path / "j.safetensors")]) == 0
    record = json.loads(header(tmp_path / "j.safetensors")["patch_forcing_judge"])
    assert record["ranges"] == {"variety": [0.0, 1.0]} and record["size"] == 64 and record["images"] == 32
    assert [end["variety"] for end in record["at_the_ends"]] == [0.0, 1.0]
    assert "at variety 1: shape" in capsys.readouterr().out
    for wrong in (["--whole", "series"], ["--whole", "nothing"], ["--dataset", "folder"]):
        assert main(["judge", *wrong, "--out", str(tmp_path / "k.safetensors")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 3 and not (tmp_path / "k.safetensors").exists()


def test_the_judge_of_toybox_names_toy_colour_and_ground():
    judge, record = judges.load(judges.find("toybox", {"variety": 0.5}, 64))
    assert min(record["held_out_accuracy"][k] for k in ("toy", "colour", "ground")) >= 0.98
    found = judges.accuracy(judge, judges.Field("toybox", {"variety": 0.5}), 200)
    assert min(found[k] for k in ("toy", "colour", "ground")) >= 0.97


def test_the_judge_of_wild_shapes_knows_them_where_the_first_one_does_not():
    judge, record = judges.load(judges.find("shapes", {"variety": 0.7}))
    assert min(record["held_out_accuracy"][k] for k in ("shape", "texture")) >= 0.98
    found, calm = (judges.accuracy(j, ANY, 1000) for j in (judge, judges.load()[0]))
    assert min(found["shape"], found["texture"]) >= 0.97 > calm["shape"] + 0.1


def test_the_judge_of_signs_reads_words_that_it_never_saw():
    for settings in ({"variety": 0.0}, {"variety": 0.5, "longest": 4}):
        reader, record = judges.load(judges.find("signs", settings, kind="reader"))
    assert record["held_out_accuracy"]["characters"] >= 0.99
    of = judges.Field("signs", {"variety": 0.0}, kind="reader")  # two fonts: glyphs take their time
    assert judges.accuracy(reader, of, 100)["characters"] >= 0.98
