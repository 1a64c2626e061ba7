"""The schedules that "How it works" draws are what the samplers do."""

import pytest
import torch

from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.presets import SCHEDULES
from pf_core.samplers import SAMPLERS, nfe_of, uniform_grid
from pf_core.sampling.schedule import SHARES, ToyNetwork, schedule, schedules

STEPS = dict(SCHEDULES)


class Restless(ToyNetwork):
    """The toy network's difficulties, with a velocity."""

    def __call__(self, x, t):
        prediction = super().__call__(x, t)
        return prediction._replace(v=3 - x, v_cond=1 - x)


@pytest.mark.parametrize("name", STEPS)
def test_a_schedule_is_the_samplers_own_run(name):
    found, grid, entry = schedule(name, STEPS[name]), PatchGrid(3, 3, 1), SAMPLERS[name]
    x = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    ts, rng = uniform_grid(STEPS[name]), [torch.Generator().manual_seed(9)]
    steps = list(entry.fn(Restless(grid), x, grid, ts, rng, **entry.settings()))
    assert torch.allclose(found.t, torch.cat([step.t for step in steps]).float())
    assert [found.phase, found.nfe] == [[step.phase for step in steps], [step.nfe for step in steps]]
    assert found.nfe[-1] == nfe_of(name, ts, entry.settings()) <= 12


def test_parallel_patches_share_one_clock():
    t = schedule("euler", 12).t
    assert torch.allclose(t, (torch.arange(13) / 12)[:, None].expand(13, 9))


def test_in_the_dual_loop_easy_patches_take_the_whole_step_at_once():
    found = schedule("dual_loop", 3)
    for row, (t, easy) in enumerate(zip(found.t[:-1], found.easy[:-1], strict=True)):
        outer, inner = divmod(row, 4)
        lead = (outer + 1) / 3 if inner else outer / 3
        assert torch.allclose(t, torch.where(easy, lead, row / 12)) and easy.sum() == 4
    assert (found.t[-1] == 1).all()


def test_looking_ahead_is_taken_back():
    found = schedule("look_ahead", 6)
    assert found.phase == ["outer"] + ["outer", "probe"] * 5 + ["final"]  # at t = 0 there is nothing to look ahead at
    for t, easy, phase, outer in zip(found.t, found.easy, found.phase, found.outer, strict=True):
        here = torch.tensor(1.0 if phase == "final" else outer / 6)
        assert torch.allclose(t, torch.where(easy, (1.4 * here).clamp(max=1), here) if phase == "probe" else here)


def test_the_easy_patches_change_from_step_to_step():
    easy = schedule("dual_loop", 3).easy
    assert len({tuple(row.tolist()) for row in easy[:-1]}) == 3


def test_more_patches_lead_with_a_larger_share():
    leading = [schedules(SCHEDULES, p)["dual_loop"].easy[1].sum().item() for p in SHARES]
    assert leading == [2, 4, 5, 7]


def test_settings_that_leave_times_alone_and_samplers_on_trial_have_schedules_too():
    once = schedule("dual_loop", 3, {"refresh": "once"})
    assert torch.equal(once.t, schedule("dual_loop", 3).t)
    assert schedule("ruled_look_ahead", 6).phase == schedule("look_ahead", 6).phase


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match="sampler"):
        schedule("nothing", 3)
