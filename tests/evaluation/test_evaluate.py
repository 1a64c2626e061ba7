import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import text_world
import torch
from helpers import bundle, write_checkpoint

from pf_core import flow
from pf_core.cli import main
from pf_core.cli.report import table
from pf_core.data.shapes import SHAPES, Shapes
from pf_core.data.splits import images_of
from pf_core.data.toybox import Toybox
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, judges
from pf_core.evaluation.evaluate import captioned, compare, draw, real_against_real, references, shards, summarise
from pf_core.evaluation.studies import STUDIES
from pf_core.models import checkpoint
from pf_core.models.codecs import Pixels
from pf_core.models.conditioning import ClassLabels
from pf_core.sampling.run import SampleSpec
from pf_core.types import Prediction


def test_real_images_are_as_good_as_it_gets():
    found = real_against_real(400)
    assert found["accuracy"]["value"] > 0.98 and found["precision"]["value"] > 0.8 and found["recall"]["value"] > 0.8
    seen = judges.load()[0].judge(Shapes().batch(range(400)).images.flip(3).roll(5, 3).mul(0.7))
    heads = {name: values.numpy() for name, values in seen.probabilities.items()}
    labels = Shapes().batch(range(400)).labels.numpy()
    spoilt = compare(heads, seen.features.numpy(), labels, references(bundle()))
    assert spoilt["frechet"]["interval"][0] > 1.5 * found["frechet"]["interval"][1]


def test_shards_take_classes_and_seeds_in_turn():
    parts = shards(SampleSpec("n"), range(7, 127), 10)
    assert [len(p.seeds) for p in parts] == [50, 50, 20]
    assert [s for p in parts for s in p.seeds] == list(range(7, 127))
    assert all(label == seed % 10 for p in parts for seed, label in zip(p.seeds, p.labels, strict=True))


def test_an_evaluation_resumes_and_gives_the_same_numbers(tmp_path):
    parts = shards(SampleSpec("nano", "euler", nfe=2), range(100), 10)
    first = list(draw(bundle(), parts, tmp_path))
    files = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert len(files) == 2
    broken = next(iter(files))
    broken.write_bytes(broken.read_bytes()[:100])
    again = list(draw(bundle(), parts, tmp_path))
    assert [p for p in files if p.stat().st_mtime_ns != files[p]] == [broken]
    assert all(np.allclose(a["features"], b["features"]) for a, b in zip(first, again, strict=True))
    found = summarise(again, references(bundle()))
    assert found["images"] == 100 and found["nfe"] == 2 and 0 <= found["accuracy"]["value"] <= 1
    low, high = found["frechet"]["interval"]
    assert 0 < low < high


def test_the_evaluate_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    write_checkpoint(tmp_path, "net")
    argv = ["evaluate", "--checkpoint", "net", "--sampler", "euler", "--nfe", "1", "--samples", "20"]
    assert main([*argv, "--seeds", "5", "--out", str(tmp_path / "x.json")]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["images"] == 20 and found["seeds"] == "5-24" and found["recipe"]["sampler"] == "euler"
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", "net", "--out", str(tmp_path / "x.txt")]) == 2
    assert main(["evaluate", "--checkpoint", "net", "--nfe", "0", "--out", str(tmp_path / "y.json")]) == 2
    assert main(["evaluate", "--out", str(tmp_path / "y.json")]) == 2
    assert main([*argv, "--seeds", "0-19", "--out", str(tmp_path / "y.json")]) == 2  # --samples stands there too
    assert main([*argv[:-2], "--seeds", "0-19,3", "--out", str(tmp_path / "y.json")]) == 2
    assert main(["evaluate", "--checkpoint", "net", "--variety", "1", "--out", str(tmp_path / "y.json")]) == 2
    assert main([*argv, "--split", "training", "--out", str(tmp_path / "y.json")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 7 and not (tmp_path / "y.json").exists()


def test_what_is_chosen_by_has_seeds_and_images_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    monkeypatch.setattr(evaluate, "REFERENCES", 150)
    write_checkpoint(tmp_path, "net")
    argv = ["evaluate", "--checkpoint", "net", "--sampler", "euler", "--nfe", "1", "--samples", "20"]
    for split in ("evaluation", "search"):
        assert main([*argv, "--split", split, "--out", str(tmp_path / f"{split}.json")]) == 0
    told, chosen = (json.loads((tmp_path / f"{split}.json").read_text()) for split in ("evaluation", "search"))
    assert told["split"] == "evaluation" and chosen["split"] == "search" and told["judge"] == "shapes"
    assert told["frechet"]["value"] != chosen["frechet"]["value"]
    assert not np.array_equal(references(bundle()), references(bundle(), "search"))


def test_seeds_may_have_gaps_and_a_stopped_evaluation_goes_on_to_the_same_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    write_checkpoint(tmp_path, "net")
    argv = ["evaluate", "--checkpoint", "net", "--sampler", "euler", "--nfe", "1", "--seeds", "3,90-148,200-259"]

    def found(name):
        assert main([*argv, "--out", str(tmp_path / f"{name}.json")]) == 0
        numbers = json.loads((tmp_path / f"{name}.json").read_text())
        assert numbers.pop("seconds_per_image")["value"] > 0
        return numbers

    whole = found("whole")
    assert whole["seeds"] == "3,90-148,200-259" and whole["images"] == 120

    judge, seen = judges.Judge.judge, []

    def stop(self, images, **options):
        if len(images) <= 50 and len(seen) == 2:  # a shard of ours, the third
            raise KeyboardInterrupt
        seen.append(len(images))
        return judge(self, images, **options)

    monkeypatch.setattr(judges.Judge, "judge", stop)
    with suppress(KeyboardInterrupt):
        main([*argv, "--out", str(tmp_path / "stopped.json")])
    assert not (tmp_path / "stopped.json").exists() and len(list((tmp_path / "stopped.parts").iterdir())) == 2
    monkeypatch.setattr(judges.Judge, "judge", judge)
    assert found("stopped") == whole


def test_a_network_without_classes_is_judged_without_them(tmp_path):
    net = replace(bundle(num_classes=0), conditioner=ClassLabels(0, []))
    parts = shards(SampleSpec("nano", "euler", nfe=1), range(20), 0)
    found = summarise(list(draw(net, parts, tmp_path)), references(net))
    assert found["accuracy"] is None and 0 <= found["texture_confidence"]["value"] <= 1
    (tmp_path / "x.json").write_text(json.dumps(found | {"recipe": parts[0].to_dict()}))
    assert "| nano | `euler` | 1 | 1 | 20 |  |" in table(tmp_path)
    other = parts[0].to_dict() | {"settings": {"p": 0.8}}
    (tmp_path / "y.json").write_text(json.dumps(found | {"recipe": other, "split": "search"}))
    assert "`euler`, p 0.8, split search |" in table(tmp_path) and "`euler`, p none, split none |" in table(tmp_path)


def prompted(dataset, settings, **changes):
    """A network of prompts, by its record trained on this data."""
    net = text_world.bundle(**changes)
    net.training = {"recipe": {"dataset": dataset, "data_settings": settings}}
    return net


def test_a_network_of_prompts_is_asked_for_captions_that_no_training_sees(tmp_path):
    net = prompted("toybox", {}, input_size=(64, 64), patch_size=16)
    parts = captioned(net, shards(SampleSpec("words", "euler", nfe=1), range(3, 63), 0), "evaluation")
    begin = images_of(Toybox, "evaluation").start
    captions = Toybox().batch([begin + 3, begin + 62]).captions
    assert [parts[0].labels[0], parts[1].labels[-1]] == captions and len(parts[0].labels) == 50
    (chosen,) = captioned(net, shards(SampleSpec("words"), [2**31], 0), "search")
    assert chosen.labels == Toybox().batch([images_of(Toybox, "search").start]).captions
    found = next(draw(net, [replace(parts[1], seeds=parts[1].seeds[:2], labels=parts[1].labels[:2])], tmp_path))
    assert found["labels"].tolist() == [-1, -1] and found["heads"][0] == "toy"
    classes = shards(SampleSpec("nano"), range(3), 10)
    assert captioned(bundle(), classes, "evaluation") == classes


@pytest.mark.parametrize(
    ("dataset", "changes", "says"),
    [
        ("signs", {"input_size": (32, 96)}, "know square images; words draws 96x32.*study text_rendering --checkpoint"),
        ("toybox", {"input_size": (32, 32)}, "No judge knows `toybox` of 32x32.*study composition --checkpoint words"),
    ],
)
def test_without_a_judge_of_classes_a_network_of_prompts_is_shown_what_measures_it(dataset, changes, says):
    with pytest.raises(InputError, match=says):
        evaluate.judge_of(prompted(dataset, {}, **changes))


def test_what_the_judge_does_not_know_is_refused(tmp_path):
    with pytest.raises(InputError, match="No judge knows `shapes` of 64x64 .*judges here know: .*Train one:"):
        next(draw(bundle(input_size=64), shards(SampleSpec("nano"), range(1), 10), tmp_path))


class Truthful(torch.nn.Module):
    """Predicts no motion, and exactly how wrong that is."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.grid, self.channels, self.scale, self.i = bundle().grid, 3, scale, 0
        sample = Shapes().batch(range(2**31, 2**31 + 40))
        x0 = flow.Source().draw(list(range(40)), (3, 32, 32))
        self.error = self.grid.to_patches((sample.images - x0) ** 2)

    def __call__(self, x, t, y):
        logvar = self.grid.to_pixels((self.error * self.scale).log())
        return Prediction(torch.zeros_like(x), logvar, torch.zeros_like(x), logvar)


def study(model):
    net = SimpleNamespace(
        hash="none",
        model=model, grid=model.grid, shape=(3, 32, 32), source=flow.Source(), training={}, name="truth",
        predicts_difficulty=True, device=torch.device("cpu"), codec=Pixels(), conditioner=ClassLabels(10, SHAPES),
    )  # fmt: skip
    return STUDIES["difficulty"].fn(net, images=40)


def test_a_network_that_knows_its_error_scores_one():
    for numbers in study(Truthful())["t"].values():
        assert numbers["spearman"]["value"] == pytest.approx(1)
        assert numbers["predicted_over_true"]["value"] == pytest.approx(1, rel=1e-4)


def test_an_overconfident_network_is_found_out():
    numbers = study(Truthful(0.5))["t"]["0.5"]
    assert numbers["predicted_over_true"]["value"] == pytest.approx(0.5, rel=1e-4)
    low, high = numbers["background_over_hard_sigma"]["interval"]
    assert low <= numbers["background_over_hard_sigma"]["value"] <= high


def test_a_network_without_difficulty_is_refused():
    with pytest.raises(InputError, match="predicts no difficulty"):
        STUDIES["difficulty"].fn(bundle(predict_uncertainty=False))


def test_a_table_is_the_same_from_a_folder_and_from_lines(tmp_path):
    lines = (Path(__file__).parents[2] / "docs" / "results.jsonl").read_text().splitlines()
    (tmp_path / "some").mkdir()
    for line in lines:
        result = json.loads(line)
        (tmp_path / "some" / result.pop("file")).write_text(json.dumps(result))
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    assert table(tmp_path / "some") == table(tmp_path / "x.jsonl")
    for bad in ("{}", "[1]", "no JSON"):
        (tmp_path / "x.jsonl").write_text(bad)
        with pytest.raises(InputError, match="each line must be a JSON object"):
            table(tmp_path / "x.jsonl")
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError):
            table(missing)
