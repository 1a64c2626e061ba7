"""The studies of the paper's findings on networks whose answer is known: exact, or wrong on purpose in a known way."""

import numpy as np
import pytest
import torch
from helpers import bundle
from scipy.stats import energy_distance

from pf_core.data.shapes import SHAPES, Shapes
from pf_core.evaluation import metrics
from pf_core.evaluation.studies import STUDIES, common
from pf_core.evaluation.train_test import distances
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import Pixels
from pf_core.models.conditioning import ClassLabels
from pf_core.models.oracle import Oracle, from_dataset
from pf_core.patches import PatchGrid
from pf_core.timesteps import density
from pf_core.types import Prediction

GRID = PatchGrid(32, 32, 8)
PATTERN = torch.linspace(0.2, 0.6, GRID.n)  # no two patches alike


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "REPEATS", 20)
    monkeypatch.setattr(common, "Oracle", (Oracle, Wrong))  # a Wrong one, too, knows its own image alone


class Wrong(torch.nn.Module):
    """The exact velocity plus `off` and a head that says `variance`, (B, N) each: functions of the times (B, N)."""

    def __init__(self, off, variance, exact=True):
        super().__init__()
        self.oracle, self.grid, self.channels = from_dataset(Shapes(), 1, GRID), GRID, 3
        self.off, self.variance, self.exact = off, variance, exact

    def forward(self, x, t, y):
        t_all = t.per_patch
        v = self.exact * self.oracle(x, t, y).v + GRID.to_pixels(self.off(t_all))
        logvar = GRID.to_pixels(self.variance(t_all).log())
        return Prediction(v, logvar, v, logvar)


def as_bundle(model, count=1):
    recipe = {"dataset": "shapes", "data_settings": {"count": count}}
    return Bundle("known", model, Pixels(), ClassLabels(10, list(SHAPES)), training={"recipe": recipe})


def verdict(name, result):
    about = STUDIES[name].fn.about
    assert about.chart(result | {"checkpoint": "known"}).rows
    return about.verdict(result)


def test_the_best_context_is_found_where_it_is():
    """Hard patches err least with the context at twice their t."""
    model = Wrong(
        lambda t: (0.1 + (t.amax(1, True) - 2 * t.amin(1, True)).abs()).expand_as(t), lambda t: PATTERN + 0 * t
    )
    result = STUDIES["context_helps"].fn(as_bundle(model), images=10, spacing=0.1)
    for t, numbers in result["t"].items():
        t = float(t)
        for kind in ("own", "true"):
            assert numbers[kind]["best"]["value"] == pytest.approx(2 * t) and numbers[kind]["between_the_ends"]
            assert numbers[kind]["loss"][0]["value"] == pytest.approx((0.1 + t) ** 2, rel=1e-3)
            assert numbers[kind]["gain"]["value"] == pytest.approx(0.01 / (0.1 + t) ** 2 - 1, rel=1e-3)
    assert result["ratio"]["value"] == pytest.approx(2)
    assert verdict("context_helps", result).startswith("Holds here:")


def test_an_exact_network_wants_true_context_and_none_of_its_own():
    net = as_bundle(from_dataset(Shapes(), 40, GRID), 40)
    early = STUDIES["context_helps"].fn(net, images=120, spacing=0.3)["t"]["0.1"]
    assert early["own"]["best"]["value"] == 0.1 and not early["own"]["between_the_ends"]
    assert early["true"]["gain"]["interval"][1] < 0 < early["own"]["change"][1]["interval"][0]


@pytest.mark.parametrize(
    "slope, words", [(3.0, "Holds here: the mean moves"), (0.0, "Does not appear here: the mean does not move")]
)
def test_a_head_that_grows_surer_with_context_is_told_from_one_that_does_not(slope, words):
    def variance(t):
        return PATTERN * torch.exp(-slope * (t.amax(1, True) - t.amin(1, True)))

    result = STUDIES["context_reduces_uncertainty"].fn(as_bundle(Wrong(lambda t: 0.3 + 0 * t, variance)), images=10)
    for t, numbers in result["t"].items():
        for kind in ("own", "true"):
            assert numbers[kind]["shift"]["value"] == pytest.approx(-slope * float(t), abs=1e-4)
            assert numbers[kind]["error"]["value"] == pytest.approx(0, abs=1e-3)
        steps = np.diff(numbers["density"]["at"])[0]
        assert sum(numbers["density"]["own"]) * steps == pytest.approx(1, abs=0.05)
    assert verdict("context_reduces_uncertainty", result).startswith(words)


@pytest.mark.parametrize(
    "moved, errors, said",
    [
        ((-1, -1), (-1, 0), "Holds here: hard patches'"),
        ((-1, -1), (0, 1), "Holds here in part: surer, but the true error rises at t 0.2; hard patches'"),
        ((-1, -1), (1, 1), "Holds here in part: surer, but the true error rises at every t; hard patches'"),
        ((0, -1), (0, 1), "Does not appear here: surer, but the true error rises at t 0.2; hard patches'"),
        ((0, -1), (1, 0), "Holds here in part: hard patches'"),
    ],
)
def test_surer_where_the_error_rises_is_no_easier_to_resolve(moved, errors, said):
    def at(k):
        return {"value": k, "interval": [k - 0.5, k + 0.5]}

    own = [{"own": {"shift": at(shift), "error": at(error)}} for shift, error in zip(moved, errors, strict=True)]
    line = STUDIES["context_reduces_uncertainty"].fn.about.line({"t": dict(zip(("0.1", "0.2"), own, strict=True))})
    assert line.startswith(said) and ("error by 0.0% (" in line) == (errors[0] == 0)


@pytest.mark.parametrize("power, sign, words", [(1, 1, "Holds here:"), (-1, -1, "Does not appear here:")])
def test_a_head_that_knows_its_error_is_told_from_one_that_is_upside_down(power, sign, words):
    model = Wrong(lambda t: PATTERN.sqrt() + 0 * t, lambda t: PATTERN**power + 0 * t)
    result = STUDIES["uncertainty_tracks_error"].fn(as_bundle(model), images=10, repeats=2)
    for numbers in result["t"].values():
        assert numbers["spearman"]["value"] == pytest.approx(sign, abs=5e-3)
        assert sign * numbers["pearson"]["value"] > 0.9 and numbers["exact_spearman"]["value"] == pytest.approx(
            1, abs=5e-3
        )
        if sign > 0:
            assert numbers["predicted_over_true"]["value"] == pytest.approx(1, rel=1e-3)
            assert numbers["predicted_over_exact"]["value"] == pytest.approx(1, rel=1e-3)
            assert numbers["sparsification"]["value"] == pytest.approx(1, abs=5e-3)
            true = [group["value"] for group in numbers["reliability"]["true"]]
            assert true == pytest.approx(numbers["reliability"]["predicted"], rel=1e-3) and len(true) == 10
        else:
            assert numbers["sparsification"]["value"] < -0.9
    said = verdict("uncertainty_tracks_error", result)
    assert said.startswith(words) and "; repeated predictions vary " in said and "hard regions" not in said
    hard = {t: numbers | {"spearman_hard": numbers["spearman"]} for t, numbers in result["t"].items()}
    assert "; within hard regions Spearman is " in verdict("uncertainty_tracks_error", result | {"t": hard})


def test_repeated_predictions_have_the_variance_of_their_noise():
    """A network that says v = 0 predicts x_t, whose noise has the variance (1 - t)^2."""
    model = Wrong(lambda t: 0 * t, lambda t: 1 + 0.01 * PATTERN + 0 * t, exact=False)
    result = STUDIES["uncertainty_tracks_error"].fn(as_bundle(model), images=10, repeats=4)
    for numbers in result["t"].values():
        assert numbers["repeated_over_predicted"]["value"] == pytest.approx(1, abs=0.03)
        assert abs(numbers["repeated_spearman"]["value"]) < 0.3


def test_the_gap_is_the_energy_distance():
    rng = np.random.default_rng(1)
    law, visited = np.zeros((50, 3)), np.zeros((4, 10, 3))
    law[:, 0], visited[..., 0] = rng.random(50), rng.random((4, 10)) ** 2
    gap = distances(law, {"all": visited})["all"]
    assert gap.value == pytest.approx(energy_distance(law[:, 0], visited[..., 0].ravel()) ** 2)


def test_a_network_trained_on_shared_times_meets_what_euler_visits_and_independent_ones_do_not():
    recipe = {"config": {"timesteps": "uniform", "timestep_settings": {}}}
    net = Bundle("nano", bundle().model, Pixels(), ClassLabels(10, list(SHAPES)), training={"recipe": recipe})
    result = STUDIES["timestep_laws"].fn(net, images=2, nfe=32)
    first, own = next(iter(result["laws"].items()))
    assert first == "its own: one t an image" and own["gap"]["Euler"]["value"] < 0.005
    assert result["laws"]["independent"]["gap"]["Euler"]["interval"][0] > 0.3
    assert (
        result["laws"]["SRM, s = 1"]["apart"]["mean"]["value"] < 0.03 < result["laws"]["LTG"]["apart"]["mean"]["value"]
    )
    shares = np.array(result["laws"]["LTG"]["given"]["0.5"])
    middle = (np.arange(len(shares)) + 0.5) / len(shares)
    assert (shares * middle).sum() / shares.sum() == pytest.approx(density.mean_below(0.5, 0.6), abs=0.02)
    cells = np.array(result["laws"]["LTG"]["against_maximum"])  # rows: t of a patch, never above the largest
    assert cells.sum() == pytest.approx(100, abs=0.1) and np.tril(cells, -1).sum() == 0
    assert verdict("timestep_laws", result).startswith("Holds here")


def test_difficulty_that_ranks_nothing_does_not_hold():
    model = Wrong(lambda t: PATTERN.sqrt() + 0 * t, lambda t: 1 / PATTERN + 0 * t)
    result = STUDIES["difficulty"].fn(as_bundle(model), images=10)
    assert verdict("difficulty", result).startswith("Does not appear here:")


def test_an_oracle_knows_no_class_that_its_network_is_not_told():
    """Of a network trained without labels the exact answer is that of all images: it errs by nothing."""
    recipe = {"dataset": "shapes", "data_settings": {"count": 40}, "config": {"label_dropout": 1.0}}
    recipe["config"] |= {"timesteps": "ltg", "timestep_settings": {}}
    net = Bundle(
        "blind", from_dataset(Shapes(), 40, GRID), Pixels(), ClassLabels(10, list(SHAPES)), training={"recipe": recipe}
    )
    assert STUDIES["exactness"].fn(net, states=40)["velocity_error_share"]["value"] < 1e-9
    result = STUDIES["uncertainty_tracks_error"].fn(net, images=10, repeats=2)
    assert all(n["predicted_over_exact"]["value"] == pytest.approx(1, rel=1e-3) for n in result["t"].values())
    told = STUDIES["exactness"].fn.about.verdict({"velocity_error_share": one(0.1), "logvar_correlation": one(0.9)})
    assert "correlates 0.90 (0.90 to 0.90) with its target's" in told


def one(value):
    return {"value": value, "interval": [value, value]}
