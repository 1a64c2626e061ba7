"""The study of what dropping the least certain images does: on made-up images of which it is known."""

import sys

import numpy as np
import pytest
from helpers import bundle

from pf_core.evaluation import evaluate, metrics
from pf_core.evaluation.metrics import moments
from pf_core.evaluation.studies import STUDIES
from pf_core.sampling.bulk import Bulk, BulkConfig
from pf_core.sampling.run import SampleSpec

study = sys.modules["pf_core.evaluation.studies.certainty"]  # the package's attribute is the function


def measured(uncertainty, features, right, asked, real):
    orders = {study.CERTAIN: uncertainty, study.BY_CLASS: study._within(uncertainty, asked)}
    kept = len(right) * 9 // 10
    rows = {row["label"]: row for row in study._rows(features, right, orders, kept, real)}
    return rows, study._of_dropped(right, uncertainty, kept)


@pytest.fixture
def images():
    """100 images of two classes: every tenth is far from the real ones and shows the wrong class."""
    rng = np.random.default_rng(0)
    bad = np.arange(100) % 10 == 0
    features = rng.normal(size=(100, 4)) + 5 * bad[:, None]
    return features, ~bad, np.arange(100) // 50, moments(rng.normal(size=(500, 4)))


def test_a_network_that_knows_its_bad_images_gains_by_dropping_them(images):
    features, right, asked, real = images
    rows, dropped = measured(np.where(right, 1.0, 2.0) + np.arange(100) / 1000, features, right, asked, real)
    for label in (study.CERTAIN, study.BY_CLASS):
        assert rows[label]["minus_random"]["interval"][1] < 0 and rows[label]["accuracy"]["value"] == 1
    assert "minus_random" not in rows[study.RANDOM] and rows[study.RANDOM]["accuracy"]["value"] < 1
    assert dropped["dropped"]["value"] == 0 and dropped["dropped_minus_kept"]["value"] == -1
    assert [tenth["value"] for tenth in dropped["tenths"]] == [1] * 9 + [0]


def test_a_network_that_does_not_know_them_gains_nothing(images):
    features, right, asked, real = images
    rows, dropped = measured(np.random.default_rng(3).normal(size=100), features, right, asked, real)
    low, high = rows[study.CERTAIN]["minus_random"]["interval"]
    assert low < 0 < high and dropped["dropped_minus_kept"]["interval"][1] >= 0


def test_within_a_class_each_loses_alike():
    asked = np.array([0, 0, 0, 1, 1, 1])
    places = study._within(np.array([1.0, 2.0, 3.0, 30.0, 10.0, 20.0]), asked)
    assert places.tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 1 / 3, 2 / 3])


def test_the_study_ranks_as_generate_does(monkeypatch, tmp_path):
    monkeypatch.setattr(metrics, "REPEATS", 2)
    monkeypatch.setattr(evaluate, "REFERENCES", 100)
    net = bundle()
    seen = []
    monkeypatch.setattr(study, "_within", lambda uncertainty, asked: seen.append((uncertainty, asked)) or uncertainty)
    found = STUDIES["certainty"].fn(net, images=40, nfe=4)
    (uncertainty, asked), first = seen[0], study.seeds_of("evaluation").start
    assert found["kept"] == 36 and found["uncertainty"]["dropped"] > found["uncertainty"]["kept"]
    classes = tuple(str(a) for a in asked)
    config = BulkConfig(num=40, first_seed=first, block=40, rank_by_certainty=True, classes=classes)
    bulk = Bulk(net, SampleSpec(net.name, "euler", nfe=4), config, tmp_path)
    list(bulk.draw())
    ranked = [int(line.split(",")[1]) for line in (tmp_path / "ranking.csv").read_text().splitlines()[1:]]
    assert ranked == np.argsort(uncertainty, kind="stable").tolist()
