"""The laws of the training timestep samplers. Seeds are fixed: a p-value here is a number, not a gamble."""

import pytest
import torch
from scipy.stats import halfnorm, ks_2samp, kstest, norm, truncnorm
from torch import Generator

from pf_core.timesteps import TIMESTEPS, common
from pf_core.timesteps.dual_timestep import dual_timestep
from pf_core.timesteps.gaussian import gaussian
from pf_core.timesteps.independent import independent
from pf_core.timesteps.logit_normal import logit_normal
from pf_core.timesteps.ltg import ltg
from pf_core.timesteps.ltg_shared import ltg_shared
from pf_core.timesteps.srm import _halve, srm
from pf_core.timesteps.truncated_gaussian import truncated_gaussian
from pf_core.timesteps.uniform import uniform


def times(sampler):
    """Its draws as (b, n) tensors."""
    return lambda *given, **settings: sampler(*given, **settings).per_patch


every_sampler = pytest.mark.parametrize("entry", TIMESTEPS.values(), ids=list(TIMESTEPS))


def seeded(seed=0):
    return Generator().manual_seed(seed)


def fits(values, law, *args):
    return kstest(values.double().flatten().numpy(), law, args=args).pvalue > 0.01


def first_uniform(b, seed=0):
    """(b, 1): the first draw of a sampler that begins with a uniform."""
    return common.uniform((b, 1), seeded(seed))


def extremes(entry):
    """Defaults, and each knob at its ends."""
    yield {}
    for name, par in entry.knobs.items():
        for end in (par.knob.low, par.knob.high):
            yield {name: end}


# all of them


@every_sampler
@pytest.mark.parametrize("b, n", [(1, 1), (3, 2), (2, 7), (64, 64)])
def test_times_are_b_by_n_in_0_1_at_every_end_of_every_knob(entry, b, n):
    for given in extremes(entry):
        t = times(entry.fn)(b, n, seeded(), **entry.settings(given))
        assert t.shape == (b, n) and t.dtype == torch.float32
        assert t.isfinite().all() and t.min() >= 0 and t.max() <= 1


@every_sampler
def test_the_generator_alone_decides(entry):
    first = times(entry.fn)(16, 9, seeded(5))
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert torch.equal(first, times(entry.fn)(16, 9, seeded(5)))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, times(entry.fn)(16, 9, seeded(6)))


# one time a sample


@pytest.mark.parametrize("fn", [uniform, logit_normal, ltg_shared])
def test_all_patches_share_one_time_that_needs_no_memory_of_its_own(fn):
    t = times(fn)(100, 9, seeded())
    assert (t == t[:, :1]).all() and t.stride(1) == 0
    assert t[:, 0].unique().numel() == 100


def test_uniform_is_uniform():
    assert fits(times(uniform)(20_000, 4, seeded())[:, 0], "uniform")


@pytest.mark.parametrize("loc, scale", [(0.0, 1.0), (0.7, 0.5), (-1.0, 1.5)])
def test_logit_normal_has_a_normal_logit(loc, scale):
    t = times(logit_normal)(20_000, 4, seeded(), loc=loc, scale=scale)[:, 0]
    assert fits(t.double().logit(), "norm", loc, scale)


# independent


def test_independent_patches_are_uniform_and_do_not_know_each_other():
    t = times(independent)(5_000, 8, seeded())
    assert fits(t, "uniform")
    assert all(fits(t[:, i], "uniform") for i in range(8))
    off_diagonal = t.T.corrcoef() - torch.eye(8)
    assert off_diagonal.abs().max() < 4 / 5_000**0.5


# srm


@pytest.mark.parametrize("sharpness", [1.0, 4.0, 10.0])
@pytest.mark.parametrize("n", [64, 9, 7])
def test_srm_has_a_uniform_mean_and_reaches_the_mean_it_drew(n, sharpness):
    t = times(srm)(8_000, n, seeded(1), sharpness=sharpness)
    assert fits(t.mean(1), "uniform")
    torch.testing.assert_close(t.mean(1, keepdim=True), first_uniform(8_000, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n", [9, 8])
def test_srm_patches_are_exchangeable(n):
    t = times(srm)(20_000, n, seeded(2), sharpness=4.0)
    assert min(ks_2samp(t[:, 0], t[:, i]).pvalue for i in range(1, n)) > 0.001
    pairs = t.T.cov()[~torch.eye(n, dtype=torch.bool)]
    assert pairs.max() - pairs.min() < 0.003  # one number, up to the error of an estimate from 20,000 samples


def test_srm_is_sharper_with_more_sharpness():
    spreads = [times(srm)(2_000, 64, seeded(), sharpness=s).std(1).mean() for s in (1.0, 4.0, 10.0)]
    assert spreads[0] > 1.2 * spreads[1] > 1.2 * 1.2 * spreads[2] > 0


@pytest.mark.parametrize("d, sharpness", [(64, 1.0), (64, 4.0), (9, 1.0)])
def test_srm_halves_a_group_by_a_beta_law_that_narrows_with_its_size(d, sharpness):
    a, h = (d - 1 - d % 2) ** 1.05 * sharpness, d // 2
    total = torch.full((20_000, 1), 0.4 * d)
    low, high = max(0.0, 0.4 * d - (d - h)), min(0.4 * d, h)
    first = _halve(total, d, sharpness, seeded(6))[:, 0, :h].sum(1)
    assert fits((first - low) / (high - low), "beta", a, a)


def test_srm_of_two_cells_splits_a_sum_by_a_beta_law():
    a = 3.0  # for two cells a = 1^1.05 * sharpness
    t = times(srm)(20_000, 2, seeded(3), sharpness=a)
    total = t.sum(1)
    low, high = (total - 1).clamp(min=0), total.clamp(max=1)
    inner = (high - low) > 0.05
    assert fits(((t[:, 0] - low) / (high - low))[inner], "beta", a, a)


@pytest.mark.parametrize("a", [0.3, 1.0, 20.0])
def test_symmetric_beta_is_a_beta_law(a):
    assert fits(common.symmetric_beta(a, (20_000,), seeded()), "beta", a, a)


# gaussian


def test_gaussian_spreads_around_a_uniform_mean():
    b, n = 4_000, 64
    t, mean = times(gaussian)(b, n, seeded()), first_uniform(b)
    assert fits(mean, "uniform")
    spread = torch.minimum(mean, 1 - mean).div(2).clamp(max=0.2)
    z = ((t - mean) / spread).double()
    inner = z[z.abs() < 1.95]  # no clamp reaches so far in: the nearest end is two spreads away
    assert inner.numel() / z.numel() == pytest.approx(norm.cdf(1.95) - norm.cdf(-1.95), abs=0.002)
    assert kstest(inner[::7].numpy(), truncnorm(-1.95, 1.95).cdf).pvalue > 0.01
    assert (t.mean(1, keepdim=True) - mean).abs().max() < 0.15
    assert ((t.mean(1) - mean[:, 0]) / spread[:, 0] * n**0.5).std() == pytest.approx(1, abs=0.05)


def test_gaussian_is_clamped_at_the_near_end_two_spreads_away():
    t, mean = times(gaussian)(4_000, 64, seeded()), first_uniform(4_000)[:, 0]
    low, high = t[mean < 0.4], t[mean > 0.6]
    assert (low == 0).float().mean() == pytest.approx(norm.cdf(-2), abs=0.002)
    assert (high == 1).float().mean() == pytest.approx(norm.cdf(-2), abs=0.002)


# truncated_gaussian and ltg: times below a maximum


def relative_drop(t, t_max, std):
    """How far below t_max, in units of the Gaussian's spread."""
    return (t_max - t) / torch.clamp(t_max / 2, max=std)


def test_truncated_gaussian_falls_from_a_uniform_maximum():
    b, std = 4_000, 0.2
    t, t_max = times(truncated_gaussian)(b, 64, seeded()), first_uniform(b)
    assert fits(t_max, "uniform") and (t <= t_max).all()
    wide = t_max[:, 0] > 0.9  # at least 4.5 spreads of room: a redraw is a matter of 1 in 100,000
    assert fits(relative_drop(t, t_max, std)[wide], "halfnorm")


@pytest.mark.parametrize("loc, scale", [(0.7, 1.0), (0.5, 1.0), (0.0, 0.5)])
def test_ltg_never_exceeds_its_logit_normal_maximum(loc, scale):
    b = 10_000
    t = times(ltg)(b, 64, seeded(), loc=loc, scale=scale)
    t_max = torch.sigmoid(loc + scale * common.normal((b, 1), seeded()))
    assert fits(t_max.double().logit(), "norm", loc, scale)
    assert (t <= t_max).all()
    assert (t.max(1, keepdim=True).values / t_max).mean() > 0.95  # and comes near it


def test_ltg_redraws_455_of_10000_and_the_rest_is_half_normal():
    b, n, rng = 4_000, 64, seeded()
    t = times(ltg)(b, n, seeded())
    t_max = torch.sigmoid(0.7 + common.normal((b, 1), rng))
    redrawn = common.normal((b, n), rng).abs() > 2
    assert redrawn.float().mean() == pytest.approx(2 * norm.cdf(-2), abs=0.0015)
    z = ((t_max - t) / (t_max / 2)).double()
    share = halfnorm.cdf(2)
    assert kstest(z[~redrawn][::7].numpy(), lambda q: halfnorm.cdf(q) / share).pvalue > 0.01
    assert fits((t / t_max)[redrawn], "uniform")


def test_ltg_within_a_sample_is_a_half_normal_and_a_little_uniform():
    t = times(ltg)(4_000, 64, seeded(4))
    t_max = torch.sigmoid(0.7 + common.normal((4_000, 1), seeded(4)))
    share = 2 * norm.cdf(-2)  # redrawn
    drop = ((t_max - t) / t_max).double().flatten()[::7].numpy()
    assert kstest(drop, lambda q: halfnorm.cdf(2 * q) + share * q).pvalue > 0.01


def test_ltg_is_the_same_law_for_every_std_from_one_half_up():
    half, default, one = (times(ltg)(200, 64, seeded(), std=s) for s in (0.5, 0.6, 1.0))
    assert torch.equal(half, default) and torch.equal(half, one)
    assert torch.equal(default, times(ltg)(200, 64, seeded()))


def test_ltg_keeps_to_a_small_std_where_there_is_room():
    t = times(ltg)(4_000, 64, seeded(), std=0.1)
    t_max = torch.sigmoid(0.7 + common.normal((4_000, 1), seeded()))
    wide = t_max[:, 0] > 0.5  # five spreads of room
    assert fits(relative_drop(t, t_max, 0.1)[wide].flatten()[::7], "halfnorm")


# the control of ltg, and two times a sample


def test_the_shared_time_is_drawn_as_a_patch_of_ltg_is():
    shared, patch = times(ltg_shared)(20_000, 64, seeded(1))[:, 0], times(ltg)(20_000, 64, seeded(2))[:, 5]
    assert ks_2samp(shared, patch).pvalue > 0.01
    assert ks_2samp(shared, times(uniform)(20_000, 64, seeded(3))[:, 0]).pvalue < 1e-6


def test_dual_timestep_is_two_uniform_times_of_which_a_quarter_of_the_patches_sees_the_second():
    drawn = dual_timestep(5_000, 64, seeded())
    t, s = drawn.levels.T
    assert fits(t, "uniform") and fits(s, "uniform")
    assert torch.stack([t, s]).corrcoef()[0, 1].abs() < 4 / 5_000**0.5  # not sorted
    assert (drawn.index.sum(1) == 16).all()
    assert torch.equal(drawn.per_patch, torch.where(drawn.index == 1, s[:, None], t[:, None]))


def test_dual_timestep_chooses_its_patches_anew_and_all_alike():
    chosen = dual_timestep(8_000, 16, seeded(), share=0.5).index.double()
    assert (chosen.mean(0) - 0.5).abs().max() < 4 * 0.5 / 8_000**0.5
    pairs = chosen.T.corrcoef()[~torch.eye(16, dtype=torch.bool)]
    assert (pairs + 1 / 15).abs().max() < 4 / 8_000**0.5  # drawn without replacement: -1 / (n - 1)


def test_dual_timestep_with_no_patch_at_the_second_time_is_one_t_a_sample():
    for share in (0.0, 1.0):
        t = times(dual_timestep)(50, 9, seeded(), share=share)
        assert (t == t[:, :1]).all()
