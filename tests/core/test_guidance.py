import torch

from pf_core.guidance import guide
from pf_core.patches import PatchGrid
from pf_core.types import PatchTime, Prediction

GRID = PatchGrid(4, 4, 2)


class Net:
    """v = 10 c + t, logvar = c, for class c; the null class is 0."""

    grid, channels, calls = GRID, 3, 0

    def __call__(self, x, t, y):
        self.calls += 1
        c = y[:, None, None, None].float()
        v = 10 * c + GRID.to_pixels(t.per_patch) + 0 * x
        return Prediction(v, v[:, :1] * 0 + c, v, v[:, :1] * 0 + c)


def ask(scale, interval=(0.0, 1.0), t=0.5):
    net = Net()
    denoise = guide(net, torch.tensor([1, 2]), torch.zeros(2, dtype=torch.long), scale, interval)
    times = torch.as_tensor(t, dtype=torch.float32).expand(2, 4)
    return denoise(torch.zeros(2, 3, 4, 4), PatchTime.dense(times.contiguous())), denoise, net


def test_scale_one_is_off_and_costs_one_forward():
    seen, denoise, net = ask(1.0)
    assert net.calls == denoise.forwards == 1
    assert seen.v is seen.v_cond and torch.all(seen.v[1] == 20.5)


def test_velocity_and_logvar_are_extrapolated_from_the_null_and_the_conditional_ones_kept():
    seen, denoise, net = ask(3.0)
    assert denoise.forwards == 2 and net.calls == 1  # a pair is one batch
    assert torch.all(seen.v[0] == 30.5) and torch.all(seen.v_cond[0] == 10.5)
    assert torch.all(seen.logvar[1] == 6) and torch.all(seen.logvar_cond[1] == 2)


def test_scale_zero_is_the_null_class():
    assert torch.all(ask(0.0)[0].v == 0.5)


def test_the_interval_holds_per_patch_with_its_ends():
    t = torch.tensor([0.1, 0.2, 0.6, 0.7])
    seen = ask(3.0, (0.2, 0.6), t)[0]
    guided = GRID.to_patches(seen.v)[0] - t
    assert torch.allclose(guided, torch.tensor([10.0, 30.0, 30.0, 10.0]))


def test_an_end_is_an_end_for_patches_that_ran_ahead_to_it():
    ahead = torch.tensor(0.6) + torch.tensor(0.7 - 0.6)  # 0.7 in float32, and what t0 + dt comes to
    t = torch.stack([ahead, torch.tensor(0.7), torch.tensor(0.70001), torch.tensor(0.0)])
    guided = GRID.to_patches(ask(3.0, (0.0, 0.7), t)[0].v)[0] - t
    assert ahead > torch.tensor(0.7) and torch.allclose(guided, torch.tensor([30.0, 30.0, 10.0, 30.0]))
