"""The paper's table by network, and the search for better knobs and rules, on networks and answers that are known."""

import json
import sys

import numpy as np
import pytest
from helpers import bundle, lively, write_checkpoint

from pf_core.data.shapes import SHAPES
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, evidence, judges, kept, metrics
from pf_core.evaluation.metrics import Resampled
from pf_core.evaluation.studies import STUDIES, common
from pf_core.evaluation.work import Work
from pf_core.models import checkpoint
from pf_core.sampling.run import SampleSpec

KNOBS = vars(sys.modules["pf_core.evaluation.studies.knobs"])
FEW = {"images": 20, "nfe": 4}
FRESH = {"images": 20, "fresh": 20, "nfe": 4}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(metrics, "REPEATS", 5)
    monkeypatch.setattr(evaluate, "REFERENCES", 100)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Two sizes, the small one with a plain twin, and a network of no size that any other has."""
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    write_checkpoint(tmp_path, "wide", hidden_size=48)
    write_checkpoint(tmp_path, "small")
    write_checkpoint(tmp_path, "plain", predict_uncertainty=False)
    write_checkpoint(tmp_path, "deep-plain", predict_uncertainty=False, depth=3)
    return tmp_path


def test_the_table_finds_twins_and_sizes_among_what_is_shipped(shipped):
    of = checkpoint.load("wide")
    assert evidence.forwards("table", of, FEW) == 20 * (3 * 4 + 2 * 4 + 2 * 3)  # look-ahead: 3 of 4
    result = evidence.measure("table", of, FEW, shipped / "parts")
    assert [net["network"] for net in result["networks"]] == ["small", "wide"]  # by size
    small, wide = result["networks"]
    assert small["baseline"]["network"] == "plain" and wide["baseline"] is None
    assert [row["label"] for row in small["rows"]] == ["SiT, Euler", "Euler", "dual-loop", "look-ahead"]
    rows = {row["label"]: row for row in small["rows"]}
    base, ahead = rows["SiT, Euler"]["frechet"]["value"], rows["look-ahead"]
    assert ahead["over_sit"]["value"] == pytest.approx(ahead["frechet"]["value"] / base - 1)
    assert all(row["nfe"] <= 4 for row in small["rows"]) and "over_sit" not in wide["rows"][1]
    about = STUDIES["table"].fn.about
    assert "small: Euler against SiT" in about.verdict(result) and "wide: dual-loop against" in about.verdict(result)
    assert len(about.chart(result).rows) == 3


def test_the_same_sampler_compares_a_network_with_its_plain_twin(shipped):
    """With more than one image trained on apart it says so; a network without a twin is refused, a named one taken."""
    few = {"images": 20, "budgets": "2,4"}
    result = evidence.measure("parallel_euler", checkpoint.load("small"), few, shipped / "parts")
    assert [(row["label"], row["network"], row["nfe"]) for row in result["rows"]] == [
        ("SiT", "plain", 2), ("Patch Forcing", "small", 2), ("SiT", "plain", 4), ("Patch Forcing", "small", 4)
    ]  # fmt: skip
    (one, ours), about = result["rows"][:2], STUDIES["parallel_euler"].fn.about
    assert ours["over_sit"]["value"] == pytest.approx(ours["frechet"]["value"] / one["frechet"]["value"] - 1)
    verdict = about.verdict(result | {"trained_on": [600, 280]})
    assert (
        "at 2 NFE" in verdict and "of plain" in verdict and verdict.endswith("on 600 images against SiT's 280 images.")
    )
    assert about.verdict(result).partition(":")[0] == about.line(result).partition(":")[0] and about.chart(result).rows
    wide = checkpoint.load("wide")
    with pytest.raises(InputError, match="No network here is wide with one time for all patches"):
        evidence.forwards("parallel_euler", wide, few)
    assert evidence.forwards("parallel_euler", wide, few | {"baseline": "plain"}) == 20 * 2 * (2 + 4)


def test_the_table_is_priced_at_the_pace_of_each_network_and_with_its_real_images(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "kept")
    of, seconds = checkpoint.load("wide"), {"wide": 1.0, "small": 0.0, "plain": 0.0}
    told = [evidence.cost("table", of, FEW, lambda net: seconds[net.name])]
    assert told == [
        "520 forward passes of an image, about 3 min 40 s; this first time a judge also looks at 100 real images"
    ]
    evaluate._real_features.cache_clear()
    evaluate.references(of)
    assert evidence.cost("table", of, FEW, lambda net: 1.0).endswith("about 8 min 40 s")
    quick = evidence.forwards("table", of, STUDIES["table"].fn.about.quick)
    assert quick == evidence.forwards("table", of, {"images": 50, "nfe": 32, "beside": ""}) < 50 * 32 * 4


def test_a_distance_of_another_judge_is_measured_again(shipped, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setitem(KNOBS, "references", lambda *of: np.eye(3)[np.arange(30) % 3])
    seen = {"features": np.random.default_rng(0).normal(size=(20, 3))}
    monkeypatch.setitem(KNOBS, "images_of_row", lambda *of, **more: drawn.append(of) or seen)
    of = checkpoint.load("small")
    for digest in ("one", "one", "other"):
        monkeypatch.setattr(judges, "digest", lambda path, digest=digest: digest)
        KNOBS["_apart"](of, {"a": SampleSpec("small", "euler", nfe=2)}, 20, "search", Work(tmp_path / "parts"))
    assert len(drawn) == 2


@pytest.mark.parametrize(("name", "few"), [("table", FEW), ("knobs", FRESH), ("order", {"images": 20, "most": 8})])
def test_fast_is_of_every_image_that_is_drawn(monkeypatch, name, few):
    module, specs = vars(sys.modules[f"pf_core.evaluation.studies.{name}"]), []
    seen = {"features": np.random.default_rng(0).normal(size=(20, 3))}
    monkeypatch.setitem(module, "references", lambda *of: np.eye(3)[np.arange(30) % 3])
    monkeypatch.setitem(module, "images_of_row", lambda net, spec, *of, **more: specs.append(spec) or seen)
    result = STUDIES[name].fn(bundle(), **few, **({"beside": ""} if name == "table" else {}), fast=True)
    assert specs and all((spec.precision, spec.compile) == ("bf16", True) for spec in specs)
    assert result["arithmetic"] == "bf16, compiled"


def test_coverage_is_of_as_many_real_images_as_were_drawn_with_labels_or_without(monkeypatch):
    module, sizes, rng = vars(sys.modules["pf_core.evaluation.studies.schedules"]), [], np.random.default_rng(0)
    nothing = {"value": 0, "interval": [0, 0]}
    monkeypatch.setitem(module, "coverage", lambda real, drawn, k: sizes.append((len(real), len(drawn))) or nothing)
    judged = {"features": rng.normal(size=(150, 4)), "asked": np.eye(10)[rng.integers(0, 10, 150)], "seconds": [1.0]}
    for label in (3, -1):
        of = judged | {"labels": np.full(150, label)}
        list(module["_measured"]([(module["PARALLEL"], SampleSpec("x", nfe=4), of)], rng.normal(size=(300, 4)), 4))
    assert sizes == [(150, 150)] * 2


def test_of_several_twins_the_one_trained_as_long_is_taken(shipped):
    """Else what a head gains would be measured against a plain network that has seen twice the images."""
    for name, images in (("late-plain", 600), ("mid-plain", 280)):
        checkpoint.save(
            shipped / f"{name}.safetensors", lively(predict_uncertainty=False), list(SHAPES), trained(images)
        )
    for name, images in (("early", 280), ("late", 600)):
        checkpoint.save(shipped / f"{name}.safetensors", lively(), list(SHAPES), trained(images))
    assert [common.twin_of(checkpoint.load(name)).name for name in ("early", "late")] == ["mid-plain", "late-plain"]
    assert common.twin_of(checkpoint.load("mid-plain")) is None


def test_a_network_trained_longer_than_its_plain_one_decides_nothing():
    better = {"value": -0.2, "interval": [-0.3, -0.1]}
    rows = [{"label": "Euler", "over_sit": better}]
    rows += [{"label": label, "over_euler": better} for label in ("dual-loop", "look-ahead")]
    net = {"network": "own", "trained_on": 600, "baseline": {"trained_on": 600}, "rows": rows}
    nets = [net | {"parameters": 1}, net | {"parameters": 2}]
    about, result = STUDIES["table"].fn.about, {"nfe": 16, "networks": nets, "checkpoint": "own"}
    assert about.verdict(result).startswith("Holds here. At 16") and about.line(result).startswith("Holds here: look-")
    net["baseline"]["trained_on"] = 280
    assert about.verdict(result).startswith("Holds here. At 16") and "alike: images 600, 280" in about.verdict(result)
    rows[1]["over_euler"] = {"value": 0.2, "interval": [0.1, 0.3]}
    assert about.verdict(result).startswith("Holds here in part. At 16")
    nets[1]["parameters"] = 1.5
    assert about.verdict(result).startswith("Cannot be told here: of nearly one size, these networks say nothing of")
    assert about.line(result).startswith("Cannot be told here, of one size: look-ahead changes Euler's distance by ")


def trained(images):
    return {"recipe": {"dataset": "shapes"}, "images": images}


def test_a_persons_own_network_stands_beside_the_shipped_ones_or_alone(shipped):
    own = shipped.parent / f"{shipped.name}-own.safetensors"
    checkpoint.save(own, lively(depth=3), list(SHAPES), {"command": "none"})
    mine = checkpoint.load(str(own))
    names = [net["network"] for net in STUDIES["table"].fn(mine, **FEW, beside="small")["networks"]]
    assert names == ["small", mine.name]
    [alone] = STUDIES["table"].fn(mine, **FEW, beside="")["networks"]
    assert alone["baseline"]["network"] == "deep-plain"
    [told] = STUDIES["table"].fn(mine, **FEW, beside="", baseline="plain")["networks"]
    assert told["baseline"]["network"] == "plain"
    own.unlink()


def test_what_the_table_cannot_compare_is_said(shipped):
    with pytest.raises(InputError, match="predicts no difficulty"):
        STUDIES["table"].fn(checkpoint.load("plain"), **FEW)
    with pytest.raises(InputError, match="predicts no difficulty"):
        STUDIES["table"].fn(checkpoint.load("small"), **FEW, beside="plain")
    other = {"recipe": {"dataset": "shapes", "data_settings": {"variety": 1.0}}}
    checkpoint.save(shipped / "wild.safetensors", lively(predict_uncertainty=False), list(SHAPES), other)
    with pytest.raises(InputError, match="different data"):
        STUDIES["table"].fn(checkpoint.load("small"), **FEW, baseline="wild")


def landscape(lower):
    """In the place of distances: 100, `lower(split, sampler, settings)` less, and a little spread that all share."""

    def apart(net, specs, images, split, work):
        values = {key: 100 - lower(split, spec.sampler, spec.settings) for key, spec in specs.items()}
        for spec in specs.values():
            work.did(images * KNOBS["resolve"](spec, net).nfe)
        return {key: Resampled(v, v + np.linspace(-1, 1, 9)) for key, v in values.items()}

    return apart


@pytest.mark.parametrize(
    ("fresh_gain", "words"), [(9, "A rule wins"), (4, "No other rule wins"), (-3, "No other rule wins")]
)
def test_a_rule_must_beat_tuned_knobs_on_fresh_seeds(monkeypatch, fresh_gain, words):
    """Ratio 2 is the best knob, and worth 5; a probe every second step is the best rule where it is chosen."""

    def lower(split, sampler, settings):
        if settings.get("every") == 2:
            return 12 if split == "search" else fresh_gain
        if settings.get("order") == 2:
            return 5 * (sampler == "dual_loop" and settings["n_inner"] == 4)
        return 5 * (sampler == "look_ahead" and settings["ratio"] == 2.0 and settings["p"] == 0.4)

    monkeypatch.setitem(KNOBS, "_apart", landscape(lower))
    told = []
    few = {"images": 20, "fresh": 20, "nfe": 16}
    result = evidence.measure("knobs", bundle(), few, tell=lambda *at: told.append(at))
    assert told[-1][0] == told[-1][1]
    rows = {row["role"]: row for row in result["fresh"]}
    assert rows["tuned"]["label"] == "look-ahead, p 0.4, ratio 2" and rows["rule"]["label"] == "probe every 2nd step"
    assert rows["second"]["settings"]["order"] == 2 and rows["second"]["minus_multistep"]["value"] == -5
    assert rows["rule"]["minus_tuned"]["value"] == pytest.approx(5 - fresh_gain)
    assert result["wins"] == (fresh_gain == 9)
    assert STUDIES["knobs"].fn.about.verdict(result).startswith(words)
    ahead = result["surfaces"][0]
    assert len(ahead["rows"]) == 12 and min(r["minus_euler"]["value"] for r in ahead["rows"]) == -5


def test_an_absolute_level_lets_the_same_share_of_all_patches_pass(tmp_path):
    """What is chosen by the network's own difficulties, and drawn once."""
    result = evidence.measure("knobs", bundle(), FRESH, tmp_path)
    levels = list(result["levels"].values())
    assert levels == sorted(levels) and len(set(levels)) == 3
    labels = [row["label"] for row in result["rules"]]
    assert "absolute level, 40% under it" in labels and set(KNOBS["RULES"]) < set(labels)
    assert [s["rows"][-1]["across"] for s in result["surfaces"]] == [3.0, 4, 0.2, 4]  # 8 inner steps cost too much
    json.dumps(result)
