"""The plane: exact mixture formulas, data sets, uploaded points, energy distance, and the network for it."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from pf_core import flow
from pf_core.errors import InputError
from pf_core.flow import LOGVAR_RANGE, Source
from pf_core.models.oracle import Oracle
from pf_core.timesteps import TIMESTEPS
from pf_core.toy import mlp
from pf_core.toy.data import (
    GRID,
    NORMAL,
    SHIFTED,
    TOYS,
    DrawnPoints,
    GaussianMixture,
    TwoModes,
    mean_distance,
)
from pf_core.toy.points import MAX_POINTS, check_points, fit_points, fitted_points
from pf_core.types import PatchTime

TIMES = [(0.0, 0.0), (0.5, 0.5), (0.2, 0.8), (0.9, 0.1), (1.0, 0.3), (0.0, 1.0), (1.0, 1.0)]


def image(*coordinates: float) -> torch.Tensor:
    return torch.tensor(coordinates, dtype=torch.float64).view(-1, 1, 1, 2)


def at(times: tuple[float, float], b: int = 1) -> PatchTime:
    return PatchTime.dense(torch.tensor([times], dtype=torch.float64).expand(b, 2))


@cache
def pairs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard normal noise and points of two_modes, (count, 1, 1, 2)."""
    x1 = TwoModes().batch(range(count)).images.double()
    return torch.randn(x1.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64), x1


def observed(source: Source, times: tuple[float, float], sharpness: float, x: torch.Tensor):
    """Monte Carlo from the prior alone: E[u|x] and Var[u|x], (2,), with a Gaussian kernel around x."""
    noise, x1 = pairs(400_000)
    x0 = source.shift(noise)
    gap = flow.interpolate(x0, x1, torch.tensor([times], dtype=torch.float64), GRID) - x
    w = (-gap.flatten(1).square().sum(1) / (2 * sharpness**2)).softmax(0)[:, None]
    u = (x1 - x0).flatten(1)
    v = (w * u).sum(0)
    return v, (w * (u - v).square()).sum(0)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("source", [SHIFTED, NORMAL])
def test_mixture_monte_carlo(times, source):
    t = torch.tensor([times], dtype=torch.float64)
    x = flow.interpolate(source.shift(image(0.4, -0.3)), image(2.1, 0.2), t, GRID)  # somewhere likely
    v, var = observed(source, times, 0.04, x)
    prediction = TwoModes().exact(source)(x, at(times))
    torch.testing.assert_close(prediction.v.flatten(), v, atol=0.08, rtol=0.03)
    torch.testing.assert_close(prediction.logvar.exp().flatten(), var, atol=0.01, rtol=0.12)


def test_one_gaussian_is_plain_regression():
    mean, cov, s = torch.tensor([0.5, -1.0]).double(), torch.tensor([[0.5, 0.2], [0.2, 0.3]]).double(), 0.8
    m = torch.tensor([0.3, 0.1]).double()
    model = GaussianMixture(mean[None], cov[None], source=Source(mean=(((0.3, 0.1),),), std=s))
    for times in TIMES:
        t, x = torch.tensor(times).double(), torch.tensor([0.7, 0.4]).double()
        T, rest = torch.diag(t), torch.diag(1 - t)
        both = torch.block_diag(cov, s * s * torch.eye(2).double())  # of (x1, x0)
        a, b = torch.cat([T, rest], 1), torch.cat([torch.eye(2), -torch.eye(2)], 1).double()  # x and u from (x1, x0)
        gain = b @ both @ a.T @ torch.linalg.inv(a @ both @ a.T)
        v = mean - m + gain @ (x - T @ mean - rest @ m)
        var = (b @ both @ b.T - gain @ a @ both @ b.T).diagonal()
        prediction = model(x.view(1, 1, 1, 2), at(times))
        torch.testing.assert_close(prediction.v.flatten(), v)
        torch.testing.assert_close(prediction.logvar.flatten(), var.log())


def test_two_equal_components_are_one():
    mean, cov = torch.tensor([0.5, -1.0]), torch.tensor([[0.5, 0.2], [0.2, 0.3]])
    one, two = (
        GaussianMixture(mean[None], cov[None]),
        GaussianMixture(mean.expand(2, 2), cov.expand(2, 2, 2), [3.0, 1.0]),
    )
    x = torch.randn(9, 1, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    for field in ("v", "logvar"):
        torch.testing.assert_close(*(getattr(model(x, at((0.3, 0.9), 9)), field) for model in (one, two)))


def test_weights_of_a_mixture():
    model = GaussianMixture([[-1.0, 0], [1.0, 0]], torch.eye(2).expand(2, 2, 2) * 0.1, [1.0, 3.0], NORMAL)
    torch.testing.assert_close(model(image(0.0, 0.0), at((0.0, 0.0))).v.flatten(), image(0.5, 0.0).flatten())


@pytest.mark.parametrize("times", [(0.0, 0.0), (0.3, 0.3), (0.1, 0.6), (0.7, 0.2)])
def test_mixture_agrees_with_the_oracle(times):
    data = TwoModes()
    sample = data.batch(range(200_000)).images
    oracle = Oracle(sample, torch.zeros(len(sample)), GRID, 0, SHIFTED)
    t = torch.tensor([times], dtype=torch.float64)
    x = flow.interpolate(SHIFTED.shift(image(0.4, -0.3, -1.0, 0.5)), image(2.1, 0.2, 1.9, 1.5), t.expand(2, 2), GRID)
    exact, approximate = data.exact()(x, at(times, 2)), oracle(x, at(times, 2))
    torch.testing.assert_close(approximate.v, exact.v, atol=0.03, rtol=0.02)
    torch.testing.assert_close(approximate.logvar, exact.logvar, atol=0.03, rtol=0.02)


@pytest.mark.parametrize("source", [SHIFTED, NORMAL])
def test_a_coordinate_at_t_one_is_known_data(source):
    """No floor, no jump: u = x1 - x0 with x1 known and x0 not, and the limit from below is the same."""
    model, x = TwoModes().exact(source), image(2.0, 0.3)
    m = torch.as_tensor(source.mean, dtype=torch.float64).expand(1, 1, 2).flatten()
    for times, known in (((1.0, 0.4), [0]), ((0.0, 1.0), [1]), ((1.0, 1.0), [0, 1])):
        now, before = model(x, at(times)), model(x, at(tuple(min(t, 1 - 1e-7) for t in times)))
        torch.testing.assert_close(now.v.flatten()[known], (x.flatten() - m)[known])
        torch.testing.assert_close(now.logvar.flatten()[known].exp(), torch.full((len(known),), source.std**2).double())
        torch.testing.assert_close(now.v, before.v, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(now.logvar, before.logvar, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [*TOYS, "points"])
def test_exact_models_are_models(name):
    data = DrawnPoints([[0.0, 1.0], [1.0, 2.0]]) if name == "points" else TOYS[name].fn()
    model = data.exact()
    assert model.grid == GRID and model.channels == 1 and model.source == data.source
    assert data.exact(Source(std=0.5)).source.std == 0.5
    x = data.source.draw([0, 1, 2, 3], (1, 1, 2))
    for times in TIMES:
        for scale in (1.0, 100.0):
            prediction = model(scale * x, at(times, 4), torch.zeros(4, dtype=torch.long))
            assert prediction.v.shape == prediction.logvar.shape == (4, 1, 1, 2) and prediction.v.dtype == x.dtype
            assert prediction.v.isfinite().all() and prediction.logvar.isfinite().all()
            assert prediction.logvar.min() >= LOGVAR_RANGE[0] and prediction.logvar.max() <= LOGVAR_RANGE[1]
    for k in range(30):
        x = x + model(x, PatchTime.shared(torch.full((4,), k / 30), 2), None).v / 30
    if isinstance(
        model, Oracle
    ):  # the run ends on a point, or, where points stand closer than the last step sees, by it
        assert torch.cdist(x.view(-1, 2), model.images.view(-1, 2)).amin(1).max() < (1e-3 if name == "points" else 0.1)


def test_exact_flow_makes_the_mixture():
    data = TwoModes()
    model, x = data.exact(), data.source.draw(list(range(2000)), (1, 1, 2))
    for k in range(50):
        x = x + model(x, PatchTime.shared(torch.full((2000,), k / 50), 2)).v / 50
    true = data.batch(range(8000)).images.view(4, 2000, 2)

    def energy_distance(a, b):
        return 2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)

    floor = np.mean([energy_distance(true[i], true[(i + 1) % 4]) for i in range(4)])  # it varies much from pair to pair
    assert np.mean([energy_distance(x.view(-1, 2), part) for part in true]) < 2 * floor


@pytest.mark.parametrize("name", [*TOYS, "points"])
def test_items_come_from_seed_and_index_alone(name):
    def make(seed: int):
        if name == "points":
            return DrawnPoints(np.random.default_rng(0).normal(size=(300, 2)), seed=seed)
        return TOYS[name].fn(seed=seed)

    whole = make(3).batch(range(100))
    assert whole.images.shape == (100, 1, 1, 2) and whole.images.dtype == torch.float32
    assert whole.labels.shape == (100,) and whole.labels.dtype == torch.long and (whole.labels == 0).all()
    assert torch.equal(make(3).batch(range(40, 60)).images, whole.images[40:60])
    assert torch.equal(make(3).batch([99, 5, 6, 7, 5]).images, whole.images[[99, 5, 6, 7, 5]])
    assert torch.equal(make(3).batch([]).images, whole.images[:0])
    assert not torch.equal(make(4).batch(range(100)).images, whole.images)
    assert len(make(3).batch(range(2**31, 2**31 + 5)).images) == 5  # validation's held-out items
    assert whole.images.flatten(1).unique(dim=0).shape[0] > 50 and whole.images.isfinite().all()


def test_knobs_change_points():
    changed = {
        "eight_gaussians": {"std": 0.4},
        "moons": {"noise": 0.3},
        "spirals": {"turns": 2},
        "letters": {"width": 0.4},
    }
    for name, settings in changed.items():
        entry = TOYS[name]
        plain, other = (entry.fn(**entry.settings(s)).batch(range(9)).images for s in ({}, settings))
        assert not torch.equal(plain, other)


def test_mixture_samples_have_the_right_moments():
    data = TwoModes()
    x = data.batch(range(200_000)).images.view(-1, 2).double()
    mean = torch.from_numpy(data.means).mean(0)
    spread = torch.from_numpy(data.means) - mean
    cov = torch.from_numpy(data.covariances).mean(0) + spread.T @ spread / 2
    torch.testing.assert_close(x.mean(0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(x.T.cov(), cov, atol=0.01, rtol=0)


def test_bad_mixtures():
    eye = torch.eye(2)[None]
    cases = [
        ([[0.0]], eye, None),
        ([[0.0, 0.0]], -eye, None),
        ([[0.0, 0.0]], eye, [0.0]),
        ([[0.0, 0.0]], eye, [1.0, 1.0]),
    ]
    cases.append(([[0.0, 0.0]], torch.tensor([[[1.0, 0.5], [0.0, 1.0]]]), None))
    for means, covariances, weights in cases:
        with pytest.raises(InputError):
            GaussianMixture(means, covariances, weights)
    with pytest.raises(InputError, match="positive"):
        GaussianMixture([[0.0, 0.0]], eye, source=Source(std=0))


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "1;2\r\n3;4",
        "1\t2\n3\t4\n\n",
        " 1 2 \n 3  4",
        "x,y\n1,2\n3,4",
        '\ufeff"1", "2"\n3, 4',
        "1e0,+2\n3.0,.4e1",
        "1 ,2\n3 ,4\n",
        "y,x\n2,1\n4,3\n",
    ],
)
def test_points_are_read_from_csv(text):
    assert torch.equal(fitted_points(text.encode())[0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no point"),
        (" \n\n", "no point"),
        ("x,y\n", "no point"),
        ("1,2", "only one point"),
        ("1,2\n3,nan", "Line 2"),
        ("1,2\n-inf,3", "Line 2"),
        ("1,2\n1e999,3", "Line 2"),
        ("1,2\nhello,3", "'hello'"),
        ("hello world, this is text\nand more of it", "columns"),
        ("1,2\n3,", "''"),
        ("1\n2\n3", "1 columns"),
        ("1,2,3\n4,5,6", "3 columns"),
        ("1,2\n1,2\n1,2", "same"),
        ("1,2\n1,2e9", "between"),
        ("1,2\n" * (MAX_POINTS + 1), "20,001 points"),
        ("1,2\n" * 1_000_000, "1,000,000 points"),
    ],
)
def test_bad_csv_is_answered_with_one_sentence(text, words):
    with pytest.raises(InputError, match=words) as caught:
        fitted_points(text.encode())
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 150


@pytest.mark.parametrize(
    "content",
    [
        b"x;y\r\n1,5;2,5\r\n-0,5;1,25\r\n",
        b"1,5\t2,5\n-0,5\t1,25\n",
        b"1,5 2,5\n-0,5 1,25\n",
        b"sep=;\r\nx;y\r\n1.5;2.5\r\n-0.5;1.25\r\n",
        b'"sep=,"\nx,y\n1.5,2.5\n-0.5,1.25\n',
        b",x,y\n0,1.5,2.5\n1,-0.5,1.25\n",
        b"1,1.5,2.5\n2,-0.5,1.25\n",
        b"id;label;Y;X\n7;a;2,5;1,5\n9;b;1,25;-0,5\n",
        b"x,y\n,\n1.5,2.5\n,\n-0.5,1.25\n,\n,\n",
        b"1.5,2.5,\n-0.5,1.25,\n",
        b'"1,5","2,5"\n"-0,5","1,25"\n',
        b"1.5,2.5\r-0.5,1.25\r",
        b"# x y\n1.5e+00 2.5e+00\n-5.0e-01 1.25e+00\n",
        "1.5,2.5\n\u22120.5,1.25\n".encode(),
        "\ufeffx;y\n1,5;2,5\n\u22120,5;1,25\n".encode(),
        "x\ty\r\n1,5\t2,5\r\n-0,5\t1,25\r\n".encode("utf-16"),
    ],
)
def test_points_as_spreadsheets_and_programs_write_them(content):
    found, sentence = fitted_points(content)
    assert found.tolist() == [[1.5, 2.5], [-0.5, 1.25]] and sentence == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1,5,2,5\n0,5,1,5\n", "semicolons if commas are decimal marks"),
        (b"1.234,5;2\n3;4\n", "'1.234,5' where a number is needed"),
        ("1\u22125,2\n3,4\n".encode(), "Line 1 holds"),
        ("1;2\n3;4\n".encode("utf-16-le"), "save it as UTF-8"),
        (b"a,x,y,x\n1,2,3,4\n", "4 columns"),
        (b"1e-320,0\n2e-320,0\n", "differ too little"),
    ],
)
def test_what_is_wrong_with_points_is_named(content, words):
    with pytest.raises(InputError, match=words):
        fitted_points(content)


def test_points_that_lie_far_out_and_close_together_keep_their_shape():
    found, sentence = fitted_points(b"9999.0001,9999\n9999.0002,9999\n9999.0002,9999.0001\n")
    assert torch.allclose(found, torch.tensor([[-2.5, -2.5], [2.5, -2.5], [2.5, 2.5]]), atol=1e-4) and sentence
    with pytest.raises(InputError, match="32 bits"):
        check_points([[9999.0001, 0.0], [9999.0002, 0.0]])
    for tiny in (1e-40, 1e-140):  # less than float32 holds
        assert fitted_points(f"0,0\n{tiny},0\n".encode())[0].tolist() == [[-2.5, 0.0], [2.5, 0.0]]


def test_points_far_out_are_fitted_to_the_plane_and_a_sentence_says_so():
    near = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert fit_points(near) == (near, "")
    for given in (near * 100 + 500, near * 1e-3):
        found, sentence = fit_points(given)
        assert found.abs().max() == pytest.approx(2.5, abs=1e-4) and sentence.endswith("fit the plane.")
        assert torch.allclose(found.mean(0), torch.zeros(2), atol=1e-4)


def test_given_points():
    array = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    data = DrawnPoints(array)
    found = data.batch(range(3000)).images.view(-1, 2)
    counts = torch.stack([(found == p).all(1).sum() for p in array])
    assert counts.sum() == 3000 and counts.min() > 900
    assert torch.equal(data.exact().images.view(-1, 2), array)
    for bad in (
        [],
        [[1.0, 2.0]],
        [[1.0, 2.0], [math.nan, 0.0]],
        [1.0, 2.0],
        [[1, 2, 3], [4, 5, 6]],
        "text",
        [[1, 2], [3]],
    ):
        with pytest.raises(InputError):
            DrawnPoints(bad)


def test_mean_distance():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(700, 2)), rng.normal(size=(501, 2)) + [1.0, 0.0]
    brute = cdist(a, b).mean()
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    assert mean_distance(a, b) == pytest.approx(brute, abs=1e-12)
    assert mean_distance(a, b, chunk=64) == pytest.approx(brute, abs=1e-12)
    assert mean_distance(b.float(), a.float()) == pytest.approx(brute, abs=1e-6)


def test_mlp_starts_at_nothing_and_depends_on_its_seed():
    net, x, t = mlp.build(seed=1), torch.randn(5, 1, 1, 2), PatchTime.dense(torch.rand(5, 2))
    prediction = net(x, t, torch.zeros(5, dtype=torch.long))
    assert net.grid == GRID and net.channels == 1
    for field in (prediction.v, prediction.logvar, prediction.v_cond, prediction.logvar_cond):
        assert field.shape == (5, 1, 1, 2) and (field == 0).all()
    for a, b, c in zip(*(mlp.build(seed=s).parameters() for s in (1, 1, 2)), strict=True):
        assert torch.equal(a, b) and (not torch.equal(a, c) or (a == 0).all())
    assert net(x, PatchTime.shared(torch.rand(5), 2)).v.shape == x.shape
    assert mlp.MLP(frequencies=0)(x, t).v.shape == x.shape
    for sizes in ({"width": 0}, {"depth": 0}, {"frequencies": -1}):
        with pytest.raises(InputError):
            mlp.MLP(**sizes)


def test_mlp_learns_quickly():
    """200 steps of batch 256 already give most of it (the full run: 2,000 of 1024)."""
    data, net, rng = TwoModes(), mlp.build(seed=0), torch.Generator().manual_seed(0)
    steps, optimizer = 200, torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0)
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (k + 1) / 20, 2 * (steps - k) / steps)
        x1, t = data.batch(range(256 * k, 256 * (k + 1))).images, TIMESTEPS["independent"].fn(256, 2, rng)
        x0 = data.source.shift(torch.randn(x1.shape, generator=rng))
        look = flow.evaluate_at(net, x0, x1, t, None, GRID)
        flow.loss(look.prediction, look.u, lam=1.0).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    model, x = data.exact(), data.source.draw(list(range(1000)), (1, 1, 2))
    pairs = []
    with torch.no_grad():
        for k in range(20):
            t = PatchTime.shared(torch.full((1000,), k / 20), 2)
            prediction = net(x, t)
            pairs.append((prediction.logvar, model(x, t).logvar))
            x = x + prediction.v / 20
    both = torch.stack([torch.stack(p).flatten() for p in zip(*pairs, strict=True)])
    assert torch.corrcoef(both)[0, 1] > 0.8
