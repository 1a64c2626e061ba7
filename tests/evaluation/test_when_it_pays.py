"""What is measured along a training, and the study that reads it: small networks, few images."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import bundle
from jobs_world import recipe
from PIL import Image

from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.data.splits import SEARCH, SEARCH_SEEDS
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, metrics, paired
from pf_core.evaluation.studies import common
from pf_core.models import checkpoint
from pf_core.sampling.run import SampleSpec
from pf_core.training.config import Intervals
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute

GAIN, PAYS = (vars(sys.modules[f"pf_core.evaluation.studies.{name}"]) for name in ("probe_gain", "when_it_pays"))
OFTEN = Intervals(save=0, log=1, validate=0, samples=0, weights=2, compass=2)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(evaluate, "REFERENCES", 100)
    monkeypatch.setattr(metrics, "REPEATS", 20)
    monkeypatch.setitem(GAIN, "COMPASS_IMAGES", 10)


def trained(path, of, intervals=OFTEN, **options):
    folder = RunFolder(path)
    for _ in execute(folder, False, of, intervals, "test", compass=GAIN["along"], **options):
        pass
    return folder


def test_a_compass_along_a_training_changes_nothing_and_is_written_down(tmp_path):
    watched = trained(tmp_path / "watched", recipe(4))
    plain = trained(tmp_path / "plain", recipe(4), replace(OFTEN, compass=0))
    entries = [e for e in watched.follow()[0] if "compass" in e]
    assert [(e["step"], e["images"]) for e in entries] == [(2, 4), (4, 8)]
    for weights in ("ema", "last"):
        found = entries[-1]["compass"][weights]
        assert found["split"] == "search" and set(found["t"]) == {"0.1", "0.2", "0.3"}
        assert set(found["t"]["0.1"]) == {f"{kind} {ratio}" for kind in ("own", "true") for ratio in ("1.4", "2", "3")}
    assert entries[-1]["compass"]["ema"]["t"] != entries[-1]["compass"]["last"]["t"]
    same = (checkpoint.load(str(folder.weights)).model.state_dict() for folder in (watched, plain))
    assert all(a.equal(b) for a, b in zip(*(s.values() for s in same), strict=True))


def test_the_train_command_has_a_compass(tmp_path, capsys):
    argv = ["train", "--model", "nano", "--steps", "2", "--batch-size", "2", "--samples-every", "0"]
    assert main([*argv, "--compass-every", "2", "--out", str(tmp_path / "run")]) == 0
    assert [e["step"] for e in RunFolder(tmp_path / "run").follow()[0] if "compass" in e] == [2]
    assert main([*argv, "--no-difficulty", "--compass-every", "2", "--out", str(tmp_path / "sit")]) == 2
    assert "no variance head" in capsys.readouterr().err


def test_a_compass_of_a_network_without_variance_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="no variance head"):
        trained(tmp_path / "run", recipe(4, difficulty=False))
    assert not (tmp_path / "run").exists()


def test_the_compass_looks_at_images_and_noise_of_search():
    _, x0, x1, _ = common.looked_at(bundle(), 5, "search")
    assert x1.equal(DATASETS["shapes"].fn().batch(SEARCH.first(5)).images)
    assert x0.equal(bundle().source.draw(list(SEARCH_SEEDS.first(5)), (3, 32, 32)))


def test_a_network_trained_without_labels_is_asked_for_none():
    net = replace(bundle(), training={"recipe": {"config": {"label_dropout": 1.0}}})
    assert checkpoint.labelled(net) == 0 and checkpoint.labelled(bundle()) == 10
    assert common.looked_at(net, 5, "search")[3].tolist() == [10] * 5
    rows = paired.paired(net, [SampleSpec("nano", "euler", nfe=1)], [None], 20)
    assert rows[0]["accuracy"] is None and "minus_base" not in rows[0]


def test_pairs_share_their_noise_so_that_a_row_does_not_differ_from_itself():
    specs = [SampleSpec("nano", "euler", nfe=n) for n in (2, 2, 3)]
    rows = paired.paired(bundle(), specs, [None, 0, 0], 30, split="search")
    assert rows[1]["minus_base"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert rows[2]["minus_base"]["value"] == pytest.approx(rows[2]["frechet"]["value"] - rows[0]["frechet"]["value"])
    wide = np.diff(rows[2]["frechet"]["interval"])
    assert np.diff(rows[2]["minus_base"]["interval"]) < wide
    assert [row["nfe"] for row in rows] == [2, 2, 3] and rows[0]["accuracy"]["value"] <= 1


def test_the_study_reads_runs_and_draws_its_figure(tmp_path, monkeypatch, capsys):
    trained(tmp_path / "runs" / "with", recipe(4))
    trained(tmp_path / "runs" / "without", recipe(2, difficulty=False, label_dropout=1.0), replace(OFTEN, compass=0))
    wild = recipe(2, dataset="shapes", data_settings=DATASETS["shapes"].settings({"size": 64}))
    trained(tmp_path / "runs" / "other", wild, replace(OFTEN, compass=0, weights=0))
    out, figure = tmp_path / "x.json", tmp_path / "x.png"
    argv = ["study", "when_it_pays", "--runs", str(tmp_path / "runs"), "--images", "20", "--nfe", "4", "--probed", "10"]
    assert main([*argv, "--out", str(out), "--figure", str(figure)]) == 0
    other, labelled, plain = json.loads(out.read_text())["runs"]
    assert [p["images"] for p in labelled["points"]] == [4, 8] and len(labelled["along"]) == 2
    rows = labelled["points"][-1]["samplers"]["rows"]
    assert [(r["sampler"], r["settings"].get("ratio")) for r in rows[2:5]] == [
        ("dual_loop", None), ("look_ahead", 1.4), ("look_ahead", 2.0)
    ]  # fmt: skip
    assert all(r["nfe"] <= 4 for r in rows) and all("interval" in r["minus_base"] for r in rows[1:])
    assert [r["cfg_scale"] for r in rows[-2:]] == [1.5, 2.0]
    assert labelled["points"][-1]["gain"]["t"]["0.2"]["own 2"]["interval"] and labelled["labels"]
    assert not plain["labels"] and plain["points"][-1]["gain"] is None
    assert len(plain["points"][-1]["samplers"]["rows"]) == 1
    assert other["points"][-1]["samplers"]["why"].startswith("No judge knows") and other["points"][-1]["gain"]
    said = capsys.readouterr().err
    drawn = 20 * sum(r["nfe"] * (1 if r["cfg_scale"] == 1 else 2) for r in rows)
    count = 2 * (210 + drawn) + 20 * 4 + 210  # probes and all samplers; Euler alone; probes alone
    assert Image.open(figure).size[0] > 900 and "100%" in said and f"runs: {count:,} forward passes of an image" in said

    chart = PAYS["_chart"](json.loads(out.read_text()))
    ways = [
        "random order",
        "dual-loop",
        "look-ahead, ratio 1.4",
        "look-ahead, ratio 2",
        "t = 0.1",
        "t = 0.2",
        "t = 0.3",
    ]
    assert chart.names == ["own context", "true context", *ways], "no name for each training"
    monkeypatch.setattr(evaluate.Run, "__iter__", None)  # all that was drawn is kept
    assert main([*argv, "--out", str(out)]) == 0
    capsys.readouterr()
    for wrong in (
        ["--runs", str(tmp_path / "none")],
        ["--runs", str(tmp_path / "runs"), "--device", "cuda:7"],
        [],
        ["--runs", "x", "--checkpoint", "shapes-pft"],
    ):
        assert main(["study", "when_it_pays", *wrong]) == 2
    assert main(["study", "probe_gain", "--runs", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 5


def test_snapshots_are_spread_over_a_run_with_its_last():
    spread = PAYS["_spread"]
    assert spread(list(range(10)), 0) == list(range(10)) and spread([1, 2], 5) == [1, 2]
    assert spread(list(range(10)), 2) == [4, 9] and spread(list(range(10)), 3)[-1] == 9


@pytest.mark.parametrize(
    "better, worse, of, said",
    [
        (1, 0, 21, "Does not appear here:"),
        (8, 7, 21, "Holds here in part:"),
        (8, 8, 21, "Does not appear here, or seldom:"),
        (1, 8, 21, "Does not appear here:"),
        (21, 0, 21, "Holds here:"),
    ],
)
def test_hits_that_chance_alone_gives_or_that_losses_outnumber_are_no_finding(better, worse, of, said):
    def point(k):
        low = -3.0 if k < better else 1.0 if k < better + worse else -1.0
        rows = [
            {
                "sampler": "dual_loop",
                "settings": {},
                "cfg_scale": 1,
                "minus_base": {"value": -1.0, "interval": [low, low + 2]},
            }
        ]
        base = {"sampler": "euler", "settings": {}, "cfg_scale": 1, "frechet": {"value": 100.0}}
        return {"images": k, "hash": str(k), "gain": None, "samplers": {"rows": [base, *rows]}}

    about = PAYS["when_it_pays"].about
    result = {"nfe": 8, "runs": [{"run": "a", "points": [point(k) for k in range(of)]}]}
    verdict = about.verdict(result)
    assert verdict.startswith(
        f"{said} {better} better and {worse} worse of {of} (by chance 1 each), against Euler at 8 NFE;"
    )
    assert about.line(result).startswith(verdict.partition(";")[0]) and "; the surest gain: dual-loop, " in about.line(
        result
    )
    assert "control" not in verdict
    for at in result["runs"][0]["points"]:
        at["samplers"]["rows"].append(at["samplers"]["rows"][1] | {"sampler": "random_order"})
    told = f"as a control, random order is better on {better} of {of} networks, worse on {worse}; its surest gain"
    assert about.verdict(result).startswith(verdict.removesuffix(".")) and told in about.verdict(result)


def test_of_nothing_nothing_is_said_to_hold():
    assert common.holds(0, 0) == "Cannot be told here"
