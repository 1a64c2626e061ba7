"""The shipped networks are as good as the README says: small new samples agree with the recorded evaluations."""

from pathlib import Path

import pytest

from pf_core.cli.record import FOLDER
from pf_core.cli.report import table
from pf_core.evaluation.evaluate import draw, read_results, real_against_real, references, shards, summarise
from pf_core.evaluation.studies import STUDIES
from pf_core.models import checkpoint
from pf_core.presets import PFT, SIT
from pf_core.presets import RECORDED as RECORDED_SAMPLERS
from pf_core.sampling.export import read_recipe
from pf_core.sampling.run import SampleSpec

RESULTS = Path(__file__).parents[2] / "docs" / "results.jsonl"
RECORDED = read_results(RESULTS)
EVALUATIONS = [name for name, result in RECORDED.items() if "recipe" in result]


def overlap(a, b):
    return a["interval"][0] <= b["interval"][1] and b["interval"][0] <= a["interval"][1]


def test_recorded_evaluations_are_of_the_shipped_files():
    assert EVALUATIONS
    for name in EVALUATIONS:
        recipe = RECORDED[name]["recipe"]
        assert recipe["checkpoint_hash"] == checkpoint.load(recipe["checkpoint"]).hash, name
    assert table(RESULTS).count("\n") > len(EVALUATIONS)


def test_the_page_opens_with_a_shipped_network_and_recordings_of_it():
    assert {PFT, SIT} <= set(checkpoint.files_here())
    recordings = sorted(FOLDER.glob("*.safetensors"))
    recipes = [read_recipe(path) for path in recordings]
    assert [recipe["sampler"] for recipe in recipes] == list(RECORDED_SAMPLERS.values())
    for recipe in recipes:  # else: make recordings
        assert (recipe["checkpoint"], recipe["checkpoint_hash"]) == (PFT, checkpoint.load(PFT).hash)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVALUATIONS)
def test_new_seeds_agree_with_the_recorded_numbers(name, tmp_path):
    recorded = RECORDED[name]
    net = checkpoint.load(recorded["recipe"]["checkpoint"])
    recipe = {
        k: v for k, v in recorded["recipe"].items() if k in ("checkpoint", "sampler", "settings", "nfe", "cfg_scale")
    }
    parts = shards(SampleSpec(**recipe), range(10_000_000, 10_000_100), 10)
    again = summarise(list(draw(net, parts, tmp_path)), references(net))
    assert (
        overlap(again["accuracy"], recorded["accuracy"])
        or abs(again["accuracy"]["value"] - recorded["accuracy"]["value"]) < 0.03
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pft-heun-16", "sit-euler-16"])
def test_new_seeds_agree_in_all_that_the_judge_measures(name, tmp_path):
    """As many images as were recorded, since distances shrink with their number; the two rows that cost least."""
    recorded = RECORDED[f"{name}.json"]
    recipe = {k: recorded["recipe"][k] for k in ("checkpoint", "sampler", "settings", "nfe", "cfg_scale")}
    parts = shards(SampleSpec(**recipe), range(20_000_000, 20_000_000 + recorded["images"]), 10)
    net = checkpoint.load(recipe["checkpoint"])
    again = summarise(list(draw(net, parts, tmp_path)), references(net))
    for measured in ("accuracy", "texture_confidence", "frechet", "precision", "recall"):
        assert overlap(again[measured], recorded[measured]), measured
    assert again["nfe"] == recorded["nfe"] and again["forwards"] == recorded["forwards"]


@pytest.mark.slow
def test_real_images_agree_with_the_recorded_ones():
    for name in (name for name in RECORDED if name.startswith("real")):
        recorded = RECORDED[name]
        again = real_against_real(recorded["images"], first=2**33)
        for measured in ("accuracy", "frechet", "precision", "recall"):
            assert overlap(again[measured], recorded[measured]), (name, measured)


@pytest.mark.slow
def test_the_gain_of_a_probe_agrees_with_the_recorded_study():
    recorded = RECORDED["probe_gain.json"]
    again = STUDIES["probe_gain"].fn(checkpoint.load("shapes-pft"), images=100)
    for t, numbers in again["t"].items():
        for name, measured in numbers.items():
            assert overlap(measured, recorded["t"][t][name]), (t, name)


@pytest.mark.slow
def test_difficulty_agrees_with_the_recorded_study():
    recorded = RECORDED["difficulty.json"]
    again = STUDIES["difficulty"].fn(checkpoint.load("shapes-pft"), images=100)
    for t, numbers in again["t"].items():
        for name, measured in numbers.items():
            assert overlap(measured, recorded["t"][t][name]), (t, name)
