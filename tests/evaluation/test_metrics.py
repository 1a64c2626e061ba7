import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import spearmanr

from pf_core.evaluation.metrics import (
    Resampled,
    bootstrap,
    coverage,
    interval_of_mean,
    moments,
    moments_distance,
    precision_recall,
    spearman,
)


def cloud(n, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6)) + shift


def test_frechet_distance_is_the_textbook_formula():
    a, b = cloud(300), cloud(400, 1.0, seed=1)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert moments_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-6)
    assert moments_distance(moments(a), moments(a)) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_a_shift_is_its_square():
    a = cloud(500)
    assert moments_distance(moments(a), moments(a + 2)) == pytest.approx(6 * 4)


def test_precision_falls_with_outliers_and_recall_with_missing_modes():
    real = np.concatenate([cloud(200) * 0.1, cloud(200) * 0.1 + 50])
    one_mode = real[:200] + 1e-3
    precision, recall = precision_recall(one_mode, real)
    assert precision["value"] > 0.95 and 0.4 < recall["value"] < 0.6
    precision, recall = precision_recall(real + 500, real)
    assert precision["value"] == recall["value"] == 0


def test_the_interval_of_coverage_holds_for_other_draws_of_both_sets():
    """Its width is that of the spread over new sets, not only over new points for the same centres."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(12, 12))
    draws = [
        coverage(rng.normal(size=(120, 12)) @ mix, rng.normal(size=(120, 12)) @ mix, repeats=60) for _ in range(60)
    ]
    spread = 2 * 1.96 * np.std([d["value"] for d in draws])
    width = np.mean([d["interval"][1] - d["interval"][0] for d in draws])
    assert 0.8 * spread < width < 1.6 * spread
    assert all(0 <= d["interval"][0] <= d["value"] <= d["interval"][1] <= 1 for d in draws)


def test_the_bootstrap_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(3, 2, 1000)
    found = interval_of_mean(values, repeats=1000)
    low, high = found["interval"]
    assert low < found["value"] < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 1000**0.5, rel=0.1)


def test_the_interval_of_a_share_stays_a_share():
    almost = interval_of_mean(np.arange(300) > 0)
    assert almost["interval"][0] < almost["value"] < almost["interval"][1] <= 1
    few = Resampled(0.06, np.array([0.0] * 30 + [0.2] * 30))
    assert few.interval()[0] < 0 and few.within()["interval"][0] == 0


def test_the_bootstrap_repeats_itself():
    assert bootstrap(np.mean, 50) == bootstrap(np.mean, 50)


def test_spearman_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 200), rng.integers(0, 5, 200) + rng.normal(size=200)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_a_share_of_a_base_that_resampling_pushes_up_is_no_surer_for_it():
    noise = np.linspace(-10, 10, 201)
    one, base = Resampled(90.0, 190 + noise), Resampled(100.0, np.full(201, 200.0))
    assert one.over(base).interval() == pytest.approx((-0.195, -0.005), abs=1e-3)  # -19.5 and -0.5 of 100, not of 200
