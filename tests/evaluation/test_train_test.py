"""The train-test gap: nothing where training shows what inference does, and inference's times without a run."""

import numpy as np
import pytest
import torch
from helpers import bundle

from pf_core.charts import Map
from pf_core.evaluation import train_test
from pf_core.figures.maps import cells
from pf_core.sampling.run import Run


@pytest.mark.parametrize("label", train_test.VISITING)
def test_times_without_a_run_are_those_of_a_run(label):
    """But for which patches are easy, and how many where two tie."""
    net = bundle()
    spec = train_test.visits(net, 12)[label]
    told = train_test.summary(train_test.scheduled(net, spec)[0])
    with torch.inference_mode():
        run = np.stack([step.t[0].double().numpy() for step in Run(net, spec) if step.phase != "final"])
    assert told.shape == (len(run), 3) and np.allclose(told, train_test.summary(run), atol=0.03)


def test_every_patch_is_counted_in_the_hexagon_whose_centre_is_nearest():
    rng = np.random.default_rng(0)
    of_image, t = np.r_[rng.random(38), 0, 1], np.r_[rng.random((38, 5)), np.zeros((1, 5)), np.ones((1, 5))]
    rows = train_test.hexagons(of_image, t)
    shown = Map(rows, (0, 1), (0, 1), "", hexagonal=True)
    centres, values, corners = cells(shown)
    nearly_regular = np.array([corners[1, 0] * 2, corners[0, 1] * 3**0.5])  # both the width of a cell, were it regular
    points = np.stack([of_image.repeat(5), t.ravel()], 1) / nearly_regular
    nearest = ((points[:, None] - centres / nearly_regular) ** 2).sum(-1).argmin(1)
    assert np.allclose(values, 100 * np.bincount(nearest, minlength=len(centres)) / t.size, atol=1e-4)
    assert [len(row) for row in rows[:3]] == [21, 20, 21] and len(rows) % 2
    assert centres.min(0).tolist() == [0, 0] and centres.max(0).tolist() == [1, 1]


def test_a_law_that_shows_what_inference_does_has_no_gap():
    flat = train_test.scheduled(bundle(), train_test.visits(bundle(), 64)["Euler"])
    alike = train_test.beside("uniform", {}, flat, "Euler")
    other = train_test.beside("independent", {}, flat, "Euler")
    assert alike.gap["value"] < 0.02 and other.gap["interval"][0] > 0.3
    assert f"{other.gap['value']:.3f}" in other.sentence and set(other.apart) == set(train_test.SUMMARY)
    assert alike.law.shape == alike.visited.shape == (8, bundle().grid.n) and len(alike.chart.rows[0]) == 4
    assert alike.visited.amin(1).diff().min() > 0  # in the order of inference
