import pytest
import torch
from torch.distributions import Normal

from pf_core import flow
from pf_core.flow import Source
from pf_core.patches import PatchGrid
from pf_core.types import Prediction

GRID = PatchGrid(4, 6, 2)
SHAPE = (3, 4, 6)


def images(rng, channels=3):
    return torch.randn(5, channels, 4, 6, generator=rng)


def prediction(v, logvar):
    return Prediction(v, logvar, v, logvar)


def test_patches_at_time_0_are_noise_and_those_at_time_1_are_data(rng):
    x0, x1 = images(rng), images(rng)
    t = (torch.rand(5, GRID.n, generator=rng) < 0.5).float()
    clean = GRID.to_pixels(t) == 1
    x = flow.interpolate(x0, x1, t, GRID)
    assert 0 < t.mean() < 1
    assert torch.equal(x, torch.where(clean, x1, x0))


def test_interpolation_is_linear_in_each_patchs_own_time(rng):
    x0, x1, t = images(rng), images(rng), torch.rand(5, GRID.n, generator=rng)
    x = GRID.split(flow.interpolate(x0, x1, t, GRID))
    for i in range(GRID.n):
        expected = GRID.split(x0)[:, i] + t[:, i, None] * GRID.split(x1 - x0)[:, i]
        torch.testing.assert_close(x[:, i], expected)


def test_the_true_velocity_predicts_the_data_from_any_time_map(rng):
    x0, x1, t = images(rng), images(rng), torch.rand(5, GRID.n, generator=rng)
    x = flow.interpolate(x0, x1, t, GRID)
    torch.testing.assert_close(flow.predict_x1(x, flow.velocity(x0, x1), t, GRID), x1)


def test_nll_is_minus_the_log_probability_of_a_gaussian(rng):
    u, v, logvar = images(rng), images(rng), images(rng, channels=1)
    expected = -Normal(v, (logvar / 2).exp().expand_as(v)).log_prob(u)
    torch.testing.assert_close(flow.gaussian_nll(u, v, logvar), expected)


def test_no_gradient_of_the_nll_reaches_v_but_one_reaches_logvar(rng):
    u, v, logvar = images(rng), images(rng).requires_grad_(), images(rng, 1).requires_grad_()
    flow.gaussian_nll(u, v, logvar).mean().backward()
    assert v.grad is None
    error = (u - v.detach()) ** 2
    expected = 0.5 * (1 - error * (-logvar.detach()).exp()).sum(1, keepdim=True) / u.numel()
    torch.testing.assert_close(logvar.grad, expected)


def test_the_mse_is_all_that_moves_v(rng):
    u, v, logvar = images(rng), images(rng).requires_grad_(), images(rng, 1)
    flow.loss(prediction(v, logvar), u, lam=5.0).total.backward()
    torch.testing.assert_close(v.grad, 2 * (v.detach() - u) / u.numel())


@pytest.mark.parametrize("far, edge", [(-1e6, -30.0), (1e6, 20.0)])
def test_logvar_is_clamped_so_that_nll_and_difficulty_stay_finite(rng, far, edge):
    u, v, ones = images(rng), images(rng), torch.ones(5, 1, 4, 6)
    nll = flow.gaussian_nll(u, v, far * ones)
    assert nll.isfinite().all() and torch.equal(nll, flow.gaussian_nll(u, v, edge * ones))
    hard = flow.difficulty(far * ones, GRID)
    torch.testing.assert_close(hard, torch.full((5, GRID.n), edge).exp())


def test_difficulty_is_the_patch_mean_of_the_variance_not_of_its_logarithm():
    logvar = torch.zeros(1, 1, 2, 4)
    logvar[0, 0, 0, 0] = 2.0
    p = flow.difficulty(logvar, PatchGrid(2, 4, 2))
    torch.testing.assert_close(p, torch.tensor([[(torch.tensor(2.0).exp() + 3) / 4, 1.0]]))


@pytest.mark.parametrize("lam", [0.0, 0.01, 3.0])
def test_the_loss_is_the_mse_and_lambda_times_the_nll_over_every_scalar(rng, lam):
    u, v, logvar = images(rng), images(rng), images(rng, 1)
    losses = flow.loss(prediction(v, logvar), u, lam)
    mse = sum((u - v).flatten().tolist()[i] ** 2 for i in range(u.numel())) / u.numel()
    assert losses.mse.item() == pytest.approx(mse, rel=1e-5)
    torch.testing.assert_close(losses.nll, flow.gaussian_nll(u, v, logvar.expand_as(u)).mean())
    torch.testing.assert_close(losses.total, losses.mse + lam * losses.nll)
    assert not losses.mse.requires_grad and not losses.nll.requires_grad


def test_lambda_is_the_papers_by_default(rng):
    u, v, logvar = images(rng), images(rng), images(rng, 1)
    torch.testing.assert_close(flow.loss(prediction(v, logvar), u), flow.loss(prediction(v, logvar), u, 0.01))


def test_without_a_difficulty_head_the_loss_is_the_mse(rng):
    u, v = images(rng), images(rng).requires_grad_()
    losses = flow.loss(prediction(v, None), u)
    assert losses.nll is None and losses.total.requires_grad
    assert losses.total.item() == losses.mse.item() == pytest.approx((u - v).pow(2).mean().item())


def test_half_precision_predictions_are_scored_in_float32(rng):
    u, v, logvar = images(rng), images(rng).bfloat16(), images(rng, 1).bfloat16()
    assert all(part.dtype == torch.float32 for part in flow.loss(prediction(v, logvar), u))


def test_image_i_of_a_source_depends_on_its_seed_alone():
    source = Source(mean=0.5, std=2.0)
    batch = source.draw([3, 7, 11, 3], SHAPE)
    assert torch.equal(batch[1], source.draw([7], SHAPE)[0])
    assert torch.equal(batch[2], source.draw([1, 11], SHAPE)[1])
    assert torch.equal(batch[0], batch[3]) and not torch.equal(batch[0], batch[1])


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    Source().draw([1, 2], SHAPE)
    assert torch.equal(before, torch.get_rng_state())


def test_a_source_has_its_mean_and_spread():
    drawn = Source(mean=(((-2.1,),), ((-0.2,),)), std=0.35).draw(list(range(50)), (2, 20, 20))
    means, spread = drawn.mean((0, 2, 3)), drawn.std((0, 2, 3))
    torch.testing.assert_close(means, torch.tensor([-2.1, -0.2]), atol=0.02, rtol=0)
    torch.testing.assert_close(spread, torch.tensor([0.35, 0.35]), atol=0.01, rtol=0)
