"""The oracle against Monte Carlo, against what must be so, and at the ends of time."""

import math

import pytest
import torch

from pf_core import flow
from pf_core.data.shapes import Shapes
from pf_core.errors import InputError
from pf_core.flow import LOGVAR_RANGE, Source
from pf_core.guidance import guide
from pf_core.models.oracle import FLOOR, NORMAL, Oracle, from_dataset
from pf_core.patches import PatchGrid
from pf_core.samplers import SAMPLERS, steps_for, uniform_grid
from pf_core.types import PatchTime

GRID = PatchGrid(4, 4, 2)  # 4 patches
OFFSET = Source(mean=(((0.3,),), ((-0.4,),)), std=0.7)  # one mean a channel


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def oracle(m: int = 6, source: Source = NORMAL, classes: int = 2, seed: int = 0) -> Oracle:
    return Oracle(normal(m, 2, 4, 4, seed=seed) / 2, torch.arange(m) % classes, GRID, classes, source)


def shared(t: float, b: int) -> PatchTime:
    return PatchTime.shared(torch.full((b,), t), GRID.n)


def euler(model, x: torch.Tensor, steps: int, cond=None) -> torch.Tensor:
    for k in range(steps):
        x = x + model(x, shared(k / steps, len(x)), cond).v / steps
    return x


def test_shapes_and_dtypes():
    model, t = oracle(), PatchTime.dense(torch.rand(3, 4))
    for dtype in (torch.float32, torch.float64):
        prediction = model(normal(3, 2, 4, 4).to(dtype), t, torch.tensor([0, 1, 2]))
        assert prediction.v.shape == (3, 2, 4, 4) and prediction.logvar.shape == (3, 1, 4, 4)
        assert prediction.v.dtype == prediction.logvar.dtype == dtype
        assert prediction.v_cond is prediction.v and prediction.logvar_cond is prediction.logvar
    assert (model.channels, model.grid, model.num_classes) == (2, GRID, 2)


@pytest.mark.parametrize("source", [NORMAL, OFFSET])
@pytest.mark.parametrize("times", [[0.3, 0.3, 0.3, 0.3], [0.0, 0.7, 0.2, 0.5], [1.0, 0.1, 0.6, 0.0]])
def test_monte_carlo(source, times):
    """Pairs (x0, x1), observed with a little extra noise, weighted by how well they explain x: E[u|x] and Var[u|x]."""
    model, t = oracle(source=source), torch.tensor([times], dtype=torch.float64)
    x0, x1 = source.shift(normal(1, 2, 4, 4, seed=1).double()), model.images[2:3].double()
    x = flow.interpolate(x0, x1, t, GRID)
    prediction = model(x, PatchTime.dense(t))

    draws, pixel_t = 40_000, GRID.to_pixels(t)
    rng = torch.Generator().manual_seed(2)
    pick = torch.randint(len(model.images), (draws,), generator=rng)
    # x0 given image j and x is known where t < 1 and free where t = 1: propose it so, and weight by its density
    candidates = model.images[pick].double()
    free = source.shift(torch.randn(draws, 2, 4, 4, generator=rng, dtype=torch.float64))
    implied = (x - pixel_t * candidates) / (1 - pixel_t).clamp(min=1e-9)
    noise = torch.where(pixel_t == 1, free, implied)
    mean = torch.as_tensor(source.mean, dtype=torch.float64)
    log_density = -((noise - mean) ** 2 / (2 * source.std**2) * (pixel_t < 1)).flatten(1).sum(1)
    same = (((x - candidates).abs() < 1e-6) | (pixel_t < 1)).flatten(1).all(1)
    w = log_density.masked_fill(~same, -math.inf).softmax(0)[:, None, None, None]
    u = candidates - noise
    v = (w * u).sum(0)
    var = (w * (u - v) ** 2).sum(0).mean(0)
    torch.testing.assert_close(prediction.v[0], v, atol=0.02, rtol=0.02)
    torch.testing.assert_close(prediction.logvar[0, 0].exp(), var, atol=0.02, rtol=0.03)


def test_importance_weights_from_the_prior():
    """No knowledge of the posterior at all: pairs from the prior, kept by a kernel around x."""
    grid, t = PatchGrid(1, 2, 1), torch.tensor([[0.25, 0.6]], dtype=torch.float64)
    images = torch.tensor([[-1.0, 0.5], [0.8, -0.6], [0.2, 1.0]], dtype=torch.float64).view(3, 1, 1, 2)
    model = Oracle(images, torch.zeros(3), grid, 0)
    x = torch.tensor([0.3, 0.2], dtype=torch.float64).view(1, 1, 1, 2)
    rng = torch.Generator().manual_seed(0)
    x1 = images[torch.randint(3, (500_000,), generator=rng)]
    x0 = torch.randn(x1.shape, generator=rng, dtype=torch.float64)
    distance = (flow.interpolate(x0, x1, t, grid) - x).flatten(1).square().sum(1)
    w = (-distance / (2 * 0.05**2)).softmax(0)[:, None, None, None]
    v = (w * (x1 - x0)).sum(0)
    var = (w * (x1 - x0 - v) ** 2).sum(0)
    prediction = model(x, PatchTime.dense(t))
    torch.testing.assert_close(prediction.v[0], v, atol=0.03, rtol=0.03)
    torch.testing.assert_close(prediction.logvar[0].exp(), var, atol=0.03, rtol=0.05)


def test_formulas_of_the_paper():
    """(E[x1|x] - x) / (1 - t) and Var[x1|x] / (1 - t)^2 by the letter, in plain loops."""
    model, x, t = oracle(source=OFFSET), normal(2, 2, 4, 4, seed=3).double(), torch.rand(2, 4).double() * 0.95
    prediction, tp = model(x, PatchTime.dense(t)), GRID.to_pixels(t)
    images = model.images.double()
    scaled = (x[:, None] - tp[:, None] * images - (1 - tp[:, None]) * torch.tensor(OFFSET.mean)) / (1 - tp[:, None])
    w = (-scaled.square().flatten(2).sum(2) / (2 * OFFSET.std**2)).softmax(1)
    mean = torch.einsum("bm,mchw->bchw", w, images)
    var = torch.einsum("bm,bmchw->bchw", w, (images - mean[:, None]) ** 2).mean(1, keepdim=True)
    torch.testing.assert_close(model.weights(x, PatchTime.dense(t)), w, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(prediction.v, (mean - x) / (1 - tp), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(prediction.logvar.exp(), var / (1 - tp) ** 2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", [NORMAL, OFFSET])
def test_one_image_is_a_straight_line(source):
    model, x0 = oracle(m=1, source=source, classes=1), source.shift(normal(1, 2, 4, 4, seed=4))
    u = model.images - x0
    for times in ([0.0] * 4, [0.1, 0.5, 0.9, 0.98]):
        t = torch.tensor([times])
        prediction = model(flow.interpolate(x0, model.images, t, GRID), PatchTime.dense(t))
        torch.testing.assert_close(prediction.v, u, atol=1e-4, rtol=1e-5)
        assert (prediction.logvar < -12).all()
    torch.testing.assert_close(euler(model, x0, 1), model.images, atol=1e-5, rtol=0)


def test_a_run_lands_on_a_data_point():
    model = from_dataset(Shapes(), 50, PatchGrid(32, 32, 4))
    x = normal(4, 3, 32, 32)
    for k in range(30):
        x = x + model(x, PatchTime.shared(torch.full((4,), k / 30), 64)).v / 30
    nearest = (x[:, None] - model.images).abs().flatten(2).amax(2).amin(1)
    assert nearest.max() < 1e-3


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_lands_on_a_data_point_of_the_class(name):
    """From the source's noise, through probes and mixed times, to patches at t = 1; guided and not."""
    source = Source(mean=0.2, std=0.8)
    data, grid, sampler = Shapes(), PatchGrid(32, 32, 8), SAMPLERS[name]
    model, cond = from_dataset(data, 60, grid, source), torch.tensor([4, 4, 7, 10])  # two stars, a ring, any
    ts = uniform_grid(steps_for(name, 40, sampler.settings({})))
    rng = [torch.Generator().manual_seed(i) for i in range(4)]
    for scale in (1.0, 1.5):
        denoise = guide(model, cond, torch.full((4,), 10), scale)
        *_, final = sampler.fn(denoise, source.draw([0, 1, 2, 3], (3, 32, 32)), grid, ts, rng)
        distance = (final.x[:, None] - model.images).abs().flatten(2).amax(2)
        near, which = distance.min(1)
        assert near.max() < 1e-3
        assert model.labels[which][:3].tolist() == [4, 4, 7]


def test_a_run_through_mixed_times_lands_on_a_data_point():
    """Two patches run ahead to t = 1 exactly, the others follow, as in a dual loop that ends."""
    model, x, steps = oracle(m=20), normal(8, 2, 4, 4, seed=5), 10
    t = torch.zeros(8, 4)
    for group in (torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.0, 0, 1, 1])):
        for _ in range(steps):
            x = x + GRID.to_pixels(group.expand(8, 4)) * model(x, PatchTime.dense(t)).v / steps
            t = (t + group / steps).clamp(max=1)
    assert (x[:, None] - model.images).abs().flatten(2).amax(2).amin(1).max() < 1e-3


def test_class_restriction():
    model, x = oracle(m=9, classes=3), normal(4, 2, 4, 4, seed=6)
    cond = torch.tensor([0, 1, 2, 3])
    w = model.weights(x, shared(0.2, 4), cond)
    torch.testing.assert_close(w.sum(1), torch.ones(4, dtype=torch.float64))
    for i in range(3):
        assert (w[i, model.labels != i] == 0).all() and (w[i, model.labels == i] > 0).all()
        part = Oracle(model.images[model.labels == i], torch.zeros(3), GRID, 1)
        torch.testing.assert_close(part(x, shared(0.2, 4)).v[i], model(x, shared(0.2, 4), cond).v[i])
    assert (w[3] > 0).all()
    torch.testing.assert_close(w[3], model.weights(x, shared(0.2, 4))[3])


def test_at_t_zero_nothing_is_known():
    model, x = oracle(source=OFFSET), normal(2, 2, 4, 4)
    prediction = model(x, shared(0.0, 2))
    torch.testing.assert_close(prediction.v, model.images.mean(0) - x, atol=1e-5, rtol=1e-5)
    var = model.images.var(0, correction=0).mean(0, keepdim=True)
    torch.testing.assert_close(prediction.logvar, var.log().expand(2, 1, 4, 4), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("source", [NORMAL, OFFSET])
def test_at_t_one_a_patch_is_known_data(source):
    model = oracle(m=30, source=source)
    x, t = normal(1, 2, 4, 4, seed=7), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    known = GRID.to_pixels(t).bool()
    x = torch.where(known, model.images[11:12], x)
    w = model.weights(x, PatchTime.dense(t))
    assert w[0, 11] > 1 - 1e-9  # one patch of it is enough
    prediction = model(x, PatchTime.dense(t))
    x1_hat = flow.predict_x1(x, prediction.v, t, GRID)
    torch.testing.assert_close(x1_hat, model.images[11:12], atol=1e-5, rtol=0)
    mean = torch.as_tensor(source.mean).expand(1, 2, 4, 4) if source.mean else torch.zeros(1, 2, 4, 4)
    torch.testing.assert_close(prediction.v[known.expand_as(x)], (x - mean)[known.expand_as(x)], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prediction.logvar[known].exp(), torch.full((4,), source.std**2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("t", [0.0, 0.5, 0.98, 0.999, 0.99999, 1 - 1e-7, 1.0])
@pytest.mark.parametrize("size", [0.0, 1.0, 100.0])
def test_always_finite(t, size):
    """Far off all data too, as guidance may lead there; and the log-variance stays in its range."""
    model, x = oracle(m=20), size * normal(3, 2, 4, 4)
    for times in (shared(t, 3), PatchTime.dense(torch.tensor([[t, 0.0, 1.0, 0.5]]).expand(3, 4))):
        prediction = model(x, times, torch.tensor([0, 1, 2]))
        assert prediction.v.isfinite().all() and prediction.logvar.isfinite().all()
        assert prediction.logvar.min() >= LOGVAR_RANGE[0] and prediction.logvar.max() <= LOGVAR_RANGE[1]


def test_floor_of_the_log_variance():
    """A decided state has the floor's variance, s^2 FLOOR^2 / scale^2, and nothing else."""
    model, x = oracle(m=1, classes=1), normal(1, 2, 4, 4)
    for t in (0.0, 0.5, 0.9):
        expected = 2 * math.log(FLOOR / (1 - t))
        torch.testing.assert_close(model(x, shared(t, 1)).logvar, torch.full((1, 1, 4, 4), expected), atol=1e-3, rtol=0)
    tiny = oracle(m=1, classes=1, source=Source(std=1e-6))
    assert model(x, shared(0.5, 1)).logvar.min() > LOGVAR_RANGE[0]
    assert tiny(x, shared(0.5, 1)).logvar.min() >= LOGVAR_RANGE[0]


def test_source_is_respected():
    """A narrower source knows sooner; a shifted one sees the same state from elsewhere."""
    images, x = oracle().images, normal(1, 2, 4, 4, seed=8) * 0.3
    wide, narrow = (Oracle(images, torch.zeros(6), GRID, 1, Source(std=s)) for s in (1.0, 0.3))
    entropy = [-(w * w.clamp(min=1e-30).log()).sum() for w in (m.weights(x, shared(0.4, 1)) for m in (wide, narrow))]
    assert entropy[1] < entropy[0]
    moved = Oracle(images, torch.zeros(6), GRID, 1, Source(mean=0.5))
    a, b = wide(x, shared(0.4, 1)), moved(x + 0.6 * 0.5, shared(0.4, 1))
    torch.testing.assert_close(b.v, a.v - 0.5, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(b.logvar, a.logvar, atol=1e-4, rtol=1e-4)


def test_same_answer_in_parts(monkeypatch):
    model, x, t = oracle(), normal(5, 2, 4, 4), PatchTime.dense(torch.rand(5, 4))
    whole = model(x, t)
    monkeypatch.setattr("pf_core.models.oracle._CELLS", 12)  # two rows at a time
    torch.testing.assert_close(model(x, t).v, whole.v)
    torch.testing.assert_close(model(x, t).logvar, whole.logvar)


def test_levels_and_index_are_the_same_as_dense():
    model, x = oracle(), normal(2, 2, 4, 4)
    t, index = torch.tensor([[0.2, 0.8, 0.2, 0.8]]).expand(2, 4), torch.tensor([[0, 1, 0, 1]]).expand(2, 4)
    torch.testing.assert_close(model(x, PatchTime.grouped(t, index, 2)).v, model(x, PatchTime.dense(t)).v)


def test_from_dataset_and_moving():
    data, grid = Shapes(), PatchGrid(32, 32, 8)
    model = from_dataset(data, 12, grid)
    batch = data.batch(range(12))
    assert torch.equal(model.images, batch.images) and torch.equal(model.labels, batch.labels)
    assert model.num_classes == 10 and set(model.state_dict()) == {"images", "labels"}
    x, t = normal(1, 3, 32, 32), PatchTime.shared(torch.tensor([0.5]), 16)
    before = model(x, t).v
    torch.testing.assert_close(model.double().float()(x, t).v, before)


def test_bad_input():
    images, labels = torch.zeros(3, 2, 4, 4), torch.zeros(3)
    cases = [
        (images[:0], labels[:0], GRID, 1, "at least one"),
        (images, labels, PatchGrid(8, 8, 2), 1, "do not fit"),
        (images, labels[:2], GRID, 1, "one label"),
        (images, labels + 5, GRID, 1, "one label"),
        (images * math.nan, labels, GRID, 1, "NaN"),
    ]
    for *args, words in cases:
        with pytest.raises(InputError, match=words):
            Oracle(*args)
    with pytest.raises(InputError, match="positive"):
        Oracle(images, labels, GRID, 1, Source(std=0.0))
    with pytest.raises(InputError, match="class 1"):
        Oracle(images, labels, GRID, 2)(images, shared(0.5, 3), torch.tensor([0, 1, 2]))
    with pytest.raises(InputError, match="from 1 to"):
        from_dataset(Shapes(), 0, PatchGrid(32, 32, 4))
