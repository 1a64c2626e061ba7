"""First and second order: how errors shrink with the steps, and what each patch's past does to its next step."""

from itertools import groupby

import numpy as np
import pytest
import torch
from test_samplers import GRID, RANDOM_GRID, Field, go, grid_per_patch, noise

from pf_core.samplers import SAMPLERS, uniform_grid
from pf_core.samplers.common import GROWTH
from pf_core.types import Prediction

RANKED = ["random_order", "dual_loop", "look_ahead"]
ORDERS = [("euler", {}, 1), ("heun", {}, 2), ("multistep", {}, 2)]
ORDERS += [(name, {"order": order} if order > 1 else {}, order) for name in RANKED for order in (1, 2)]


def own_paces(steps):
    """(S + 1, 2, 16): every patch from 0 to 1 at a pace of its own, t = s^a."""
    return torch.linspace(0, 1, steps + 1).double()[:, None, None] ** torch.linspace(1, 2, 32).view(2, 16)


@pytest.mark.parametrize("grid", [uniform_grid, own_paces])
@pytest.mark.parametrize(("name", "settings", "order"), ORDERS)
def test_empirical_order_on_an_exactly_solved_problem(name, settings, order, grid):
    """dx/dt = -(1 + t) x has x(1) = x0 exp(-3/2); halving the step divides the error by 2^order."""
    field = Field(lambda x, t: -(1 + t) * x)
    exact = noise() * np.exp(-1.5)
    counts = [32, 64, 128] if order == 2 else [16, 32, 64]
    x0 = noise().double()
    errors = [(go(name, field, x0, grid(n), settings)[-1].x - exact).abs().mean().item() for n in counts]
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.25


def test_multistep_converges_with_order_two_where_all_patches_hang_together():
    """Data N(m, s^2 I) with one direction of another width: E[u | x] is linear in the whole image, x(1) known."""
    w = torch.ones(3, 8, 8).double() / np.sqrt(192)  # the direction; std 2 along it, 0.5 across

    def part(x):
        return (x * w).sum((1, 2, 3), keepdim=True) * w

    def gain(t, s):
        return (t * s**2 - (1 - t)) / (t**2 * s**2 + (1 - t) ** 2)  # v = gain(t) x for N(0, s^2)

    field = Field(lambda x, t: gain(t, 2.0) * part(x) + gain(t, 0.5) * (x - part(x)))
    x0 = noise().double()
    exact = 2 * part(x0) + 0.5 * (x0 - part(x0))
    for name, order in (("euler", 1), ("multistep", 2), ("heun", 2)):
        errors = [(go(name, field, x0, uniform_grid(n))[-1].x - exact).square().mean().sqrt() for n in (32, 64, 128)]
        assert abs(-np.polyfit(np.log([32, 64, 128]), np.log(errors), 1)[0] - order) < 0.2, (name, errors)


class TestSecondOrder:
    field = staticmethod(lambda: Field(lambda x, t: torch.cos(5 * x) * (1 - t), lambda x: GRID.to_patches(x)))

    def test_dual_loop_of_one_and_unguided_look_ahead_of_ratio_one_are_multistep(self):
        for ts in (uniform_grid(12), RANDOM_GRID, grid_per_patch()):
            plain = go("multistep", self.field(), noise(), ts)[-1].x
            for name in ("dual_loop", "random_order"):
                assert torch.equal(go(name, self.field(), noise(), ts, {"n_inner": 1, "order": 2})[-1].x, plain)
            ahead = go("look_ahead", self.field(), noise(), ts, {"ratio": 1.0, "order": 2})[-1].x
            assert torch.allclose(ahead, plain, atol=1e-6)
            assert not torch.allclose(go("euler", self.field(), noise(), ts)[-1].x, plain, atol=1e-3)

    @pytest.mark.parametrize("name", RANKED)
    def test_order_one_is_the_default_and_moves_by_the_velocities_seen(self, name):
        steps = go(name, self.field(), noise(), uniform_grid(6))
        assert torch.equal(go(name, self.field(), noise(), uniform_grid(6), {"order": 1})[-1].x, steps[-1].x)
        assert not torch.equal(go(name, self.field(), noise(), uniform_grid(6), {"order": 2})[-1].x, steps[-1].x)
        for outer, group in groupby(steps[:-1], key=lambda s: s.outer):
            first, *others = group
            after = next(s for s in steps if s.phase == "final" or (s.outer > outer))
            v = [s.prediction.v for s in (first, *others)]
            easy = torch.zeros(2, 16, dtype=torch.bool) if first.easy is None else first.easy
            x, dt = first.x, torch.full((2, 16), 1 / 6, dtype=torch.float64).float()
            if name == "look_ahead":
                x = x + GRID.to_pixels(dt) * torch.where(GRID.to_pixels(easy), v[0], v[-1])
            else:
                x = x + GRID.to_pixels(torch.where(easy, dt, dt / 4)) * v[0]
                for seen in v[1:]:
                    x = x + GRID.to_pixels(torch.where(easy, 0, dt / 4)) * seen
            assert torch.allclose(x, after.x, atol=1e-6)

    def test_each_patch_steps_by_its_own_last_velocity_and_step_and_by_eulers_without_one(self):
        ts = grid_per_patch()
        steps = go("multistep", self.field(), noise(), ts)
        x, v = ([GRID.split(a) for a in seq] for seq in ([s.x for s in steps], [s.prediction.v for s in steps[:-1]]))
        dt, eulers = (ts[1:] - ts[:-1]).float(), 0
        for k in range(len(v)):
            last = dt[k - 1] if k else torch.zeros_like(dt[0])
            euler = (last == 0) | (dt[k] > GROWTH * last)
            slope = (v[k] - v[k - 1]) / last[..., None] if k else torch.zeros_like(v[0])
            bend = torch.where(euler[..., None], 0, dt[k][..., None] / 2 * slope)
            assert torch.allclose(x[k + 1], x[k] + dt[k][..., None] * (v[k] + bend), atol=1e-5)
            eulers += ((last == 0) & (dt[k] > 0))[:, 1].sum()  # patch 1 pauses
        assert eulers >= 3

    def test_a_hard_patchs_last_step_is_its_last_inner_one_and_an_easy_ones_its_whole(self):
        """Easy patches 0 to 5, as the log-variance rises with the number, whatever x is."""
        steps = go("dual_loop", Field(lambda x, t: torch.cos(5 * x)), noise(), uniform_grid(4), {"order": 2})
        x, v = ([GRID.split(a) for a in seq] for seq in ([s.x for s in steps], [s.prediction.v for s in steps[:-1]]))
        easy, hard = slice(0, 6), slice(6, 16)
        for k in range(1, 16):
            step = v[k][:, hard] + (v[k] - v[k - 1])[:, hard] / 2
            assert torch.allclose(x[k + 1][:, hard], x[k][:, hard] + step / 16, atol=1e-6)
        for k in (4, 8, 12):
            step = v[k][:, easy] + (v[k] - v[k - 4])[:, easy] / 2
            assert torch.allclose(x[k + 1][:, easy], x[k][:, easy] + step / 4, atol=1e-6)

    def test_guided_steps_remember_the_guided_velocity(self):
        def denoise(x, t):
            guided = torch.cos(5 * x)
            return Prediction(guided, None, -guided, None)

        steps = list(SAMPLERS["multistep"].fn(denoise, noise(), GRID, uniform_grid(4), []))
        a, b, c = (s.x for s in steps[:3])
        assert torch.allclose(c, b + (1.5 * torch.cos(5 * b) - 0.5 * torch.cos(5 * a)) / 4, atol=1e-6)

    @pytest.mark.parametrize("name", ["look_ahead", "ruled_look_ahead"])
    def test_the_first_guided_step_does_not_reach_back_to_the_unguided_warm_up(self, name):
        def denoise(x, t):
            guided = torch.cos(5 * x)
            return Prediction(guided, torch.zeros(2, 1, 8, 8), guided + 3, None)  # a flat map: nothing is easy

        steps = go(name, denoise, noise(), uniform_grid(50), {"order": 2})
        starts = [s for s in steps if s.phase in ("outer", "final")]  # t = 0, 0.02, 0.04 go unguided
        probe = next(s for s in steps if s.phase == "probe")
        assert torch.allclose(starts[4].x, starts[3].x + probe.prediction.v / 50, atol=1e-6)
        second = 1.5 * torch.cos(5 * starts[4].x) - 0.5 * torch.cos(5 * starts[3].x)
        assert torch.allclose(starts[5].x, starts[4].x + second / 50, atol=1e-6)

    def test_a_far_longer_step_than_the_last_one_is_eulers(self):
        for last, growth in ((0.02, 0.9 * GROWTH), (0.02, 1.1 * GROWTH)):
            ts = torch.tensor([0, last, last * (1 + growth), 1], dtype=torch.float64)
            steps = go("multistep", self.field(), noise(), ts)
            euler = steps[1].x + last * growth * steps[1].prediction.v
            assert torch.allclose(steps[2].x, euler, atol=1e-6) == (growth > GROWTH)
