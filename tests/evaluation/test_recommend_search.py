"""The search for recommended settings, and the rule that picks the seeds of a comparison."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from helpers import bundle, write_checkpoint

from pf_core.cli import main
from pf_core.data.splits import SEARCH_SEEDS
from pf_core.errors import InputError
from pf_core.evaluation import metrics, recommend
from pf_core.models import checkpoint
from pf_core.models.recommended import Recommended
from pf_core.presets import PRESETS, opening_of, pair_of, rule
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec

REAL = np.random.default_rng(0).normal(size=(400, 4))


@pytest.fixture
def drawn(monkeypatch):
    """Images by decree: what is far from `best` is far from the real ones. Returns the splits that were drawn from."""
    best = {"p": 0.8, "ratio": 2.0, "n_inner": 4, "cfg_scale": 1.5}
    splits = []

    def images_of_row(net, spec, images, split, judge, folder=None):
        splits.append((split, spec.nfe))
        values = SAMPLERS[spec.sampler].settings(spec.settings) | {"cfg_scale": spec.cfg_scale}
        off = sum(abs(best[name] - values[name]) for name in values if name in best)
        return {"features": REAL[:images] + off}

    monkeypatch.setattr(metrics, "REPEATS", 50)
    monkeypatch.setattr(recommend, "images_of_row", images_of_row)
    monkeypatch.setattr(recommend, "references", lambda *of: REAL)
    return splits


def test_what_is_clearly_better_is_taken_and_measured_on_the_search_split(drawn):
    told = []
    found = recommend.search(bundle(), images=100, nfe=16, report=told.append)
    assert found["settings"] == {
        "dual_loop": {"p": 0.8, "n_inner": 4}, "look_ahead": {"p": 0.8, "ratio": 2.0},
        "early_look_ahead": {"p": 0.8, "ratio": 2.0},
    }  # fmt: skip
    assert found["cfg_scale"] == 1.5
    assert {split for split, _ in drawn} == {"search"} and SEARCH_SEEDS.start > 10**6
    assert told == found["measured"]["rows"] and found["measured"]["split"] == "search"
    asked = [json.dumps([r["sampler"], r["settings"], r["cfg_scale"]]) for r in told]
    assert len(set(asked)) == len(asked) == len(drawn)  # nothing twice


def test_a_fast_search_draws_every_row_in_bf16_and_compiled_and_says_so(drawn, monkeypatch):
    seen, plain = set(), recommend.images_of_row
    monkeypatch.setattr(
        recommend, "images_of_row",
        lambda net, spec, *more: seen.add((spec.precision, spec.compile)) or plain(net, spec, *more),
    )  # fmt: skip
    assert recommend.search(bundle(), images=100, nfe=16, fast=True)["measured"]["arithmetic"] == "bf16, compiled"
    assert seen == {("bf16", True)}


def test_what_is_better_by_chance_only_is_left_at_its_default(drawn, monkeypatch):
    noise = np.random.default_rng(1)
    changed = lambda *of, **more: {"features": REAL[:100] + noise.normal(scale=0.05, size=(100, 4))}  # noqa: E731
    monkeypatch.setattr(recommend, "images_of_row", changed)
    monkeypatch.setattr(recommend, "VALUES", {"p": (0.2, 0.4)})
    monkeypatch.setattr(recommend, "SCALES", (1.0, 2.0))
    found = recommend.search(bundle(), images=100, nfe=16)
    assert found["settings"]["look_ahead"] == {"p": 0.4} and found["cfg_scale"] == 1.0


def test_a_network_without_a_variance_head_has_guidance_alone(drawn):
    found = recommend.search(bundle(predict_uncertainty=False), images=50, nfe=8)
    assert found["settings"] == {} and found["cfg_scale"] == 1.5


def test_values_that_the_budget_is_not_enough_for_are_not_tried(drawn):
    found = recommend.search(bundle(), images=50, nfe=4)
    assert {row["settings"].get("n_inner", 1) for row in found["measured"]["rows"]} == {1, 2, 4}


@pytest.fixture
def confidence(monkeypatch):
    """What the judge says of 11 seeds: the second sampler is surer by more and more, but for a leap at seed 4."""
    rise = np.array([-0.05, -0.04, -0.03, -0.02, 0.6, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04])

    def images_of_row(net, spec, images, split, judge, folder=None):
        assert split == "evaluation" and images == 11
        labels = np.arange(images) % 10
        asked = np.zeros((images, 10))
        asked[np.arange(images), labels] = 0.3 + (rise if spec.sampler == "look_ahead" else 0)
        return {"asked": asked, "labels": labels}

    monkeypatch.setattr(recommend, "images_of_row", images_of_row)


def test_the_seed_of_the_largest_difference_and_a_typical_one(confidence):
    net = bundle()
    preset = PRESETS["euler-look-ahead"]
    found = recommend.opening(net, pair_of(preset, net), 11)
    assert (found.largest.seed, found.largest.label, found.largest.confidence) == (4, "star", [0.3, 0.9])
    assert (found.typical.seed, found.typical.confidence) == (6, [0.3, 0.3]) and found.surer == [5, 5]
    net.recommended = Recommended(openings={preset.name: asdict(found)})
    assert opening_of(preset, net) == found and opening_of(PRESETS["three-samplers"], net) is None
    said = rule(found, found.largest)
    assert "of seeds 0 to 10," in said and "seed 4 has the largest rise" in said
    assert "from Euler (0.300) to Look-ahead (0.900)" in said and "on 5 of 11" in said
    assert "the median" in rule(found, found.typical)
    net.recommended = Recommended({"look_ahead": {"ratio": 2.0}}, None, net.recommended.openings)
    assert opening_of(preset, net) is None  # of other settings than the comparison has by now
    net.recommended = Recommended(cfg_scale=2.0)
    assert recommend.opening(net, pair_of(preset, net), 11).cfg_scale == 2.0  # as the page begins with it


def test_samplers_of_unequal_cost_and_networks_without_classes_are_refused():
    with pytest.raises(InputError, match="equal cost"):
        recommend.opening(bundle(), [SampleSpec("nano", "euler", steps=8), SampleSpec("nano", "euler", steps=4)], 4)
    net = bundle()
    net.training = {"recipe": {"config": {"label_dropout": 1.0}}}
    with pytest.raises(InputError, match="has no classes"):
        recommend.opening(net, [SampleSpec("nano", nfe=4)] * 2, 4)


def test_the_command_writes_it_into_the_file_and_takes_it_out_again(tmp_path, monkeypatch, capsys):
    path = write_checkpoint(tmp_path, "net")
    content = path.read_bytes()
    monkeypatch.setattr(metrics, "REPEATS", 5)
    monkeypatch.setattr(recommend, "VALUES", {"ratio": (1.4, 3.0), "n_inner": (2, 4)})
    monkeypatch.setattr(recommend, "SCALES", (1.0, 2.0))
    monkeypatch.setattr(recommend, "references", lambda *of: np.random.default_rng(0).normal(size=(200, 64)))
    argv = ["recommend", "--checkpoint", str(path), "--images", "20", "--nfe", "8", "--among", "3"]
    assert main([*argv, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "found.json")]) == 0
    assert path.read_bytes() == content and "Nothing was written" in capsys.readouterr().out
    assert main([*argv, "--work", str(tmp_path / "work"), "--write"]) == 0
    bundle = checkpoint.load(str(path))
    assert any(row["settings"].get("refresh") == "every" for row in bundle.recommended.measured["rows"])  # a word
    found = json.loads((tmp_path / "found.json").read_text())
    assert asdict(bundle.recommended) == {k: found[k] for k in asdict(bundle.recommended)}
    assert opening_of(PRESETS["euler-look-ahead"], bundle).among == 3 and found["hash"] == bundle.hash
    assert main(["recommend", "--checkpoint", str(path), "--forget"]) == 0 and path.read_bytes() == content
    assert main(["recommend", "--checkpoint", "shapes-exact"]) == 2
