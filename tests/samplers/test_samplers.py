"""One set of laws for every sampler in the registry, then each sampler's own."""

import inspect
from itertools import groupby, pairwise

import pytest
import torch

from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.samplers import SAMPLERS, TRIALS, entry_of, nfe_of, steps_for, uniform_grid
from pf_core.samplers.common import Past, easiest
from pf_core.types import Prediction

GRID = PatchGrid(8, 8, 2)  # 16 patches
NAMES = [*SAMPLERS, *TRIALS]


class Field:
    """A network with a known velocity and log-variance that counts its calls and keeps what it saw."""

    def __init__(self, v, logvar=None):
        self.v, self.logvar, self.seen = v, logvar, []

    def __call__(self, x, t):
        self.seen.append((x, t.per_patch))
        v = self.v(x, GRID.to_pixels(t.per_patch))
        logvar = self.logvar(x) if self.logvar else torch.linspace(-2, 1, GRID.n).expand(x.shape[0], -1)
        logvar = GRID.to_pixels(logvar) if logvar.ndim == 2 else logvar
        return Prediction(v, logvar, v, logvar)


def go(name, field, x, ts, settings=None, seeds=None):
    entry = entry_of(name)
    rng = [torch.Generator().manual_seed(s) for s in (seeds or range(x.shape[0]))]
    return list(entry.fn(field, x, GRID, ts, rng, **entry.settings(settings or {})))


def noise(b=2):
    return torch.randn(b, 3, 8, 8, generator=torch.Generator().manual_seed(0))


RANDOM_GRID = torch.cat(
    [torch.zeros(1), torch.rand(9, generator=torch.Generator().manual_seed(1)).sort().values, torch.ones(1)]
).double()


@pytest.mark.parametrize("ts", [uniform_grid(7), RANDOM_GRID], ids=["uniform", "random"])
@pytest.mark.parametrize("name", NAMES)
class TestEverySampler:
    def test_constant_velocity_arrives_at_x1(self, name, ts):
        x0, x1 = noise(), noise() + 1
        steps = go(name, Field(lambda x, t: x1 - x0), x0, ts)
        assert steps[-1].phase == "final"
        assert torch.allclose(steps[-1].x, x1, atol=1e-5)
        assert torch.all(steps[-1].t == 1) and steps[-1].prediction is None

    def test_nfe_is_its_formula_and_the_calls_counted(self, name, ts):
        field = Field(lambda x, t: -x)
        steps = go(name, field, noise(), ts)
        settings = entry_of(name).settings()
        assert len(field.seen) == nfe_of(name, ts, settings) == steps[-1].nfe == len(steps) - 1
        assert [s.nfe for s in steps[:-1]] == list(range(1, len(steps)))

    def test_a_step_shows_what_its_forward_saw(self, name, ts):
        field = Field(lambda x, t: -x + t)
        for step, (x, t) in zip(go(name, field, noise(), ts), field.seen, strict=False):
            assert torch.equal(step.x, x) and torch.allclose(step.t, t, atol=1e-6)

    def test_time_never_falls_but_for_a_probes_return(self, name, ts):
        steps = go(name, Field(lambda x, t: -x), noise(), ts)
        starts = [next(group).t for _, group in groupby(steps, key=lambda s: s.outer if s.phase != "final" else "end")]
        assert all((b >= a).all() for a, b in pairwise(starts))
        for _, group in groupby(steps[:-1], key=lambda s: s.outer):
            group = list(group)
            assert all((b.t >= a.t - 1e-6).all() for a, b in pairwise(group))

    def test_all_patches_share_one_grid_time_when_an_outer_step_begins(self, name, ts):
        outer = [s for s in go(name, Field(lambda x, t: -x), noise(), ts) if s.phase == "outer"]
        assert len(outer) == len(ts) - 1
        for k, step in enumerate(outer):
            assert step.outer == k and torch.all(step.t == ts[k].float())

    def test_stops_between_forwards_when_no_longer_asked(self, name, ts):
        field = Field(lambda x, t: -x)
        entry = entry_of(name)
        run = entry.fn(field, noise(), GRID, ts, [torch.Generator() for _ in range(2)], **entry.settings())
        next(run), next(run)
        run.close()
        assert len(field.seen) == 2

    def test_an_image_does_not_depend_on_its_batch(self, name, ts):
        field = Field(lambda x, t: torch.sin(3 * x) - t, lambda x: GRID.to_patches(x))
        alone = go(name, field, noise(3)[1:2], ts, seeds=[11])[-1].x
        beside = go(name, field, noise(3), ts, seeds=[10, 11, 12])[-1].x[1:2]
        assert torch.allclose(alone, beside, atol=1e-5)


def grid_per_patch(b=2, steps=9):
    """(S + 1, B, N): every patch at its own pace; patch 0 sits at t = 1, patch 1 pauses twice, image 1 starts late."""
    ends = torch.zeros(1, b, 16), torch.ones(1, b, 16)
    between = torch.rand(steps - 1, b, 16, generator=torch.Generator().manual_seed(2)).sort(0).values
    ts = torch.cat([ends[0], between, ends[1]]).double()
    ts[2:4, :, 1] = ts[1, :, 1]
    ts[:3, 1] = 0
    ts[:, :, 0] = 1
    return ts


@pytest.mark.parametrize("name", NAMES)
class TestEverySamplerOnAGridPerPatch:
    def test_constant_velocity_arrives_at_x1(self, name):
        x0, x1, ts = noise(), noise() + 1, grid_per_patch()
        start = x0 + GRID.to_pixels(ts[0].float()) * (x1 - x0)
        steps = go(name, Field(lambda x, t: x1 - x0), start, ts)
        assert torch.allclose(steps[-1].x, x1, atol=1e-5) and torch.all(steps[-1].t == 1)

    def test_every_outer_step_begins_on_the_grid(self, name):
        ts = grid_per_patch()
        outer = [s for s in go(name, Field(lambda x, t: -x), noise(), ts) if s.phase == "outer"]
        assert [s.outer for s in outer] == list(range(9))
        assert all(torch.equal(s.t, t.float()) for s, t in zip(outer, ts, strict=False))

    def test_a_patch_that_stands_still_does_not_move(self, name):
        ts = grid_per_patch()
        steps = [s for s in go(name, Field(lambda x, t: torch.cos(9 * x)), noise(), ts) if s.phase != "probe"]
        for a, b in pairwise([s for s in steps if s.phase != "inner"]):
            still = ts[a.outer] == ts[a.outer + 1]
            assert torch.equal(GRID.split(a.x)[still], GRID.split(b.x)[still])
        assert all(torch.equal(GRID.split(s.x)[:, 0], GRID.split(noise())[:, 0]) for s in steps)

    def test_no_forward_looks_beyond_one_or_behind_the_grid(self, name):
        ts = grid_per_patch()
        for step in go(name, Field(lambda x, t: -x), noise(), ts)[:-1]:
            assert step.t.max() <= 1 and torch.all(step.t >= ts[step.outer].float())
            assert step.easy is None or not step.easy[:, 0].any()

    def test_nfe_is_its_formula_and_the_calls_counted(self, name):
        field, ts = Field(lambda x, t: -x), grid_per_patch()
        steps = go(name, field, noise(), ts)
        assert len(field.seen) == nfe_of(name, ts, entry_of(name).settings()) == steps[-1].nfe == len(steps) - 1

    def test_a_grid_that_all_patches_share_is_the_shared_grid(self, name):
        field = Field(lambda x, t: torch.sin(3 * x) - t, lambda x: GRID.to_patches(x))
        shared = go(name, field, noise(), RANDOM_GRID)
        dense = go(name, field, noise(), RANDOM_GRID[:, None, None].repeat(1, 2, 16))
        assert [(s.phase, s.outer, s.nfe) for s in shared] == [(s.phase, s.outer, s.nfe) for s in dense]
        for a, b in zip(shared, dense, strict=True):
            assert torch.allclose(a.x, b.x, atol=1e-6) and torch.allclose(a.t, b.t, atol=1e-6)

    def test_an_image_does_not_depend_on_its_batch(self, name):
        field = Field(lambda x, t: torch.sin(3 * x) - t, lambda x: GRID.to_patches(x))
        both = go(name, field, noise(), grid_per_patch(), seeds=[10, 11])[-1].x
        alone = go(name, field, noise()[:1], grid_per_patch()[:, :1], seeds=[10])[-1].x
        assert torch.allclose(both[:1], alone, atol=1e-5)

    @pytest.mark.parametrize("order", [1, 2])
    def test_two_stretches_of_a_grid_are_the_whole(self, name, order):
        field, ts, entry = Field(lambda x, t: torch.sin(3 * x) - t), uniform_grid(8), entry_of(name)
        settings = entry.settings({"order": order} if "order" in entry.knobs else {})
        whole = go(name, field, noise(), ts, settings, seeds=[1, 2])
        rng = [torch.Generator().manual_seed(s) for s in (1, 2)]
        kept = {"past": Past()} if entry.fn.remembers else {}
        first = list(entry.fn(field, noise(), GRID, ts[:4], rng, **kept, **settings))
        second = list(entry.fn(field, first[-1].x, GRID, ts[3:], rng, **kept, **settings))
        assert torch.equal(second[-1].x, whole[-1].x) and first[-1].nfe + second[-1].nfe == whole[-1].nfe


def test_patches_at_one_are_not_ranked():
    score = torch.rand(3, 16, generator=torch.Generator().manual_seed(5)).double()
    t = torch.full((3, 16), 0.5)
    t[0, :6], t[2] = 1, 1
    easy, threshold = easiest(score, 0.4, GRID, t)
    alone = score[:1, 6:].repeat_interleave(4, 1)  # four pixels a patch
    assert threshold[0] == pytest.approx(torch.quantile(alone, 0.4).item()) and not easy[0, :6].any()
    assert torch.equal(easy[1], easiest(score, 0.4, GRID)[0][1])
    assert threshold[2].isnan() and not easy[2].any()


def test_dual_loop_of_one_and_unguided_look_ahead_of_ratio_one_are_euler():
    field, ts = Field(lambda x, t: torch.cos(5 * x) * (1 - t)), uniform_grid(12)
    euler = go("euler", field, noise(), ts)[-1].x
    assert torch.equal(go("dual_loop", field, noise(), ts, {"n_inner": 1})[-1].x, euler)
    assert torch.allclose(go("look_ahead", field, noise(), ts, {"ratio": 1.0})[-1].x, euler, atol=1e-6)


def test_easy_patches_lead_hard_ones_inside_a_dual_loop_step():
    steps = go("dual_loop", Field(lambda x, t: -x), noise(), uniform_grid(4))
    inner = [s for s in steps if s.phase == "inner"]
    assert len(inner) == 3 * 4
    for step in inner:
        assert step.t[step.easy].min() > step.t[~step.easy].max()
        assert torch.allclose(step.t[step.easy], torch.tensor((step.outer + 1) / 4))


def test_the_easy_set_is_the_easy_patches_and_fixed_within_a_step():
    steps = go("dual_loop", Field(lambda x, t: -x), noise(), uniform_grid(3))  # logvar rises with the patch index
    for step in steps[:-1]:
        assert torch.equal(step.easy, (torch.arange(16) < 6).expand(2, -1))  # pixel 0.4 * 63 = 25.2 lies in patch 6


def test_look_ahead_probes_the_future_and_commits_from_the_present():
    seen = Field(lambda x, t: t - x)
    steps = go("look_ahead", seen, noise(), uniform_grid(10))
    outer = {s.outer: s for s in steps if s.phase == "outer"}
    probes = [s for s in steps if s.phase == "probe"]
    assert [p.outer for p in probes] == list(range(1, 10))  # step 0 is the warm-up
    for probe in probes:
        here = outer[probe.outer]
        ahead = (1.4 * here.t).clamp(max=1)
        assert torch.allclose(probe.t, torch.where(here.easy, ahead, here.t))
        jumped = here.x + GRID.to_pixels(probe.t - here.t) * here.prediction.v_cond
        assert torch.allclose(probe.x, jumped, atol=1e-6)
        v = torch.where(GRID.to_pixels(here.easy.float()).bool(), here.prediction.v, probe.prediction.v)
        after = steps[-1] if probe.outer == 9 else outer[probe.outer + 1]
        assert torch.allclose(after.x, here.x + 0.1 * v, atol=1e-5)


def test_guided_look_ahead_warms_up_and_jumps_with_the_conditional_velocity():
    def denoise(x, t):
        ones = torch.ones_like(x)
        logvar = GRID.to_pixels(torch.linspace(-2, 1, 16).expand(x.shape[0], -1))
        return Prediction(3 * ones, logvar, ones, logvar)

    steps = list(SAMPLERS["look_ahead"].fn(denoise, noise(), GRID, uniform_grid(10), [], p=0.4, ratio=1.4))
    assert torch.allclose(steps[1].x, noise() + 0.1)  # warm-up: conditional
    probe = next(s for s in steps if s.phase == "probe")
    assert torch.allclose(probe.x, steps[1].x + GRID.to_pixels(probe.t - steps[1].t))  # jump: conditional
    assert torch.allclose(steps[-1].x, noise() + 0.1 + 0.9 * 3, atol=1e-5)  # committed: guided


@pytest.mark.parametrize(("steps", "nfe"), [(50, 97), (33, 64), (20, 38), (19, 37), (1, 1)])
def test_look_ahead_costs_two_a_step_after_warm_up(steps, nfe):
    assert nfe_of("look_ahead", uniform_grid(steps), {}) == nfe  # at 20 steps the second one is at t = 0.05 itself


def test_look_ahead_warms_up_to_t_005_inclusive():
    ts = torch.tensor([0, 0.02, 0.05, 0.0501, 0.5, 1], dtype=torch.float64)
    steps = go("look_ahead", Field(lambda x, t: -x), noise(), ts)
    assert [s.outer for s in steps if s.phase == "probe"] == [3, 4]


@pytest.mark.parametrize("budget", [8, 13, 64, 97])
@pytest.mark.parametrize("name", NAMES)
def test_a_budget_buys_the_most_steps_that_fit(name, budget):
    settings = entry_of(name).settings()
    steps = steps_for(name, budget, settings)
    assert nfe_of(name, uniform_grid(steps), settings) <= budget < nfe_of(name, uniform_grid(steps + 1), settings)


def test_too_small_a_budget_is_a_sentence():
    with pytest.raises(InputError, match="one step of dual_loop takes 4"):
        steps_for("dual_loop", 3, SAMPLERS["dual_loop"].settings())


@pytest.mark.parametrize("side", [16, 8, 3])
@pytest.mark.parametrize("p", [0.05, 0.37, 0.4, 0.95])
def test_easiest_is_the_quantile_over_pixels(side, p):
    grid = PatchGrid(side * 2, side * 2, 2)
    score = torch.rand(4, grid.n, generator=torch.Generator().manual_seed(3)).double()
    easy, threshold = easiest(score, p, grid)
    pixels = grid.to_pixels(score).flatten(1)
    assert torch.allclose(threshold, torch.quantile(pixels, p, dim=1), rtol=1e-12)
    assert torch.equal(easy, score < torch.quantile(pixels, p, dim=1, keepdim=True))


def test_the_pixel_quantile_matches_the_patch_quantile_at_256_patches_and_differs_by_one_patch_at_64():
    score = torch.rand(50, 256, generator=torch.Generator().manual_seed(4)).double()
    many, few = PatchGrid(32, 32, 2), PatchGrid(32, 32, 4)
    assert torch.equal(easiest(score, 0.4, many)[0].sum(1), (score < score.quantile(0.4, dim=1, keepdim=True)).sum(1))
    by_patch = (score[:, :64] < score[:, :64].quantile(0.4, dim=1, keepdim=True)).sum(1)
    assert torch.equal((easiest(score[:, :64], 0.4, few)[0].sum(1) - by_patch).abs(), torch.ones(50))


def test_a_flat_map_has_no_easy_patch():
    assert not easiest(torch.full((2, 16), 0.5), 0.4, GRID)[0].any()


def test_random_order_chooses_as_many_patches_but_not_the_same_ones_and_by_its_seed():
    field, ts = Field(lambda x, t: -x), uniform_grid(5)
    a, b = (go("random_order", field, noise(), ts, seeds=[1, 2]) for _ in range(2))
    other = go("random_order", field, noise(), ts, seeds=[1, 3])
    by_difficulty = go("dual_loop", field, noise(), ts)
    sets = [torch.stack([s.easy for s in run if s.phase == "outer"]) for run in (a, b, other, by_difficulty)]
    assert torch.equal(sets[0], sets[1])
    assert torch.equal(sets[0][:, 0], sets[2][:, 0]) and not torch.equal(sets[0][:, 1], sets[2][:, 1])
    assert torch.equal(sets[0].sum(-1), sets[3].sum(-1)) and not torch.equal(sets[0], sets[3])
    assert not torch.equal(sets[0][0], sets[0][1])  # a new draw every outer step


@pytest.mark.parametrize("name", [n for n in NAMES if entry_of(n).fn.needs_difficulty])
def test_samplers_that_rank_refuse_a_network_without_difficulty_in_one_sentence(name):
    def denoise(x, t):
        return Prediction(x, None, x, None)

    with pytest.raises(InputError, match="predicts no difficulty") as error:
        list(
            entry_of(name).fn(
                denoise, noise(), GRID, uniform_grid(4), [torch.Generator()] * 2, **entry_of(name).settings()
            )
        )
    assert "\n" not in str(error.value)


def test_a_sampler_fits_on_a_page():
    for name in NAMES:
        assert len(inspect.getsource(entry_of(name).fn).splitlines()) <= 45, name


# on trial


def test_a_sampler_on_trial_is_found_by_name_and_in_no_list():
    assert not set(TRIALS) & set(SAMPLERS) and entry_of("euler") is SAMPLERS["euler"]
    for wrong in ("nothing", None, 3):
        with pytest.raises(InputError, match="There is no sampler"):
            entry_of(wrong)


@pytest.mark.parametrize("settings", [{}, {"p": 0.6, "ratio": 2.0, "order": 2}])
def test_look_ahead_by_other_rules_is_look_ahead_until_a_rule_is_changed(settings):
    field = Field(lambda x, t: torch.sin(3 * x) - t, lambda x: GRID.to_patches(x))
    for ts in (uniform_grid(24), RANDOM_GRID, grid_per_patch()):
        plain, ruled = (go(name, field, noise(), ts, settings) for name in ("look_ahead", "ruled_look_ahead"))
        assert len(plain) == len(ruled) and all(torch.equal(a.x, b.x) for a, b in zip(plain, ruled, strict=True))


@pytest.mark.parametrize(
    ("rule", "probed"),
    [
        ({"until": 0.5}, lambda k: 2 <= k < 10),
        ({"warm_up": 0.32}, lambda k: k > 6),
        ({"every": 3}, lambda k: k > 1 and k % 3 == 0),
    ],
)
def test_a_rule_says_which_steps_probe_and_what_they_cost(rule, probed):
    ts = uniform_grid(20)
    steps = go("ruled_look_ahead", Field(lambda x, t: -x), noise(), ts, rule)
    assert {s.outer for s in steps if s.phase == "probe"} == {k for k in range(20) if probed(k)}
    settings = entry_of("ruled_look_ahead").settings(rule)
    assert steps[-1].nfe == nfe_of("ruled_look_ahead", ts, settings) == 20 + sum(map(probed, range(20)))


def test_easy_by_level_is_every_patch_below_it_whatever_the_share():
    field = Field(lambda x, t: -x)  # log-variances from -2 to 1
    first, probe = (s for s in go("ruled_look_ahead", field, noise(), uniform_grid(10), {"level": 1.1}) if s.outer == 5)
    assert torch.equal(first.easy, (torch.linspace(-2, 1, 16) < 0.09).expand(2, -1))
    assert torch.allclose(probe.threshold, torch.tensor(1.1))
    nobody = go("ruled_look_ahead", field, noise(), uniform_grid(10), {"level": 0.01})
    assert torch.allclose(nobody[-1].x, go("euler", field, noise(), uniform_grid(10))[-1].x, atol=1e-6)


def test_a_fading_ratio_looks_less_far_ahead_later():
    ahead = [s for s in go("ruled_look_ahead", Field(lambda x, t: -x), noise(), uniform_grid(10), {"fade": True})]
    for first, probe in zip(ahead, ahead[1:], strict=False):
        if probe.phase == "probe":
            t = first.t[first.easy]
            assert torch.allclose(probe.t[probe.easy], (1 + 0.4 * (1 - t)) * t)


def test_a_hard_patch_follows_the_second_velocity_only_where_it_is_surer():
    class Second(Field):
        """The second pass of a step has another velocity, and is surer of the last four patches alone."""

        def __call__(self, x, t):
            made = super().__call__(x, t)
            if (t.per_patch == t.per_patch[:, :1]).all():
                return made
            logvar = made.logvar + GRID.to_pixels((torch.arange(16) < 12).float().expand(2, -1) - 0.5)
            return made._replace(v=made.v + 1, logvar=logvar)

    field, ts = Second(lambda x, t: 0 * x), uniform_grid(2)
    moved = GRID.to_patches(go("ruled_look_ahead", field, noise(), ts, {"surer": True})[-1].x - noise())
    assert torch.allclose(moved, (torch.arange(16) >= 12).float().expand(2, -1) / 2, atol=1e-6)


def test_random_look_ahead_probes_as_many_patches_but_not_the_easy_ones():
    field, ts = Field(lambda x, t: -x), uniform_grid(30)
    a, b = (go("random_look_ahead", field, noise(), ts, seeds=[1, 2]) for _ in range(2))
    by_difficulty = go("look_ahead", field, noise(), ts)
    sets = [torch.stack([s.easy for s in run if s.phase == "probe"]) for run in (a, b, by_difficulty)]
    assert torch.equal(sets[0], sets[1]) and not torch.equal(sets[0][0], sets[0][1])
    assert torch.equal(sets[0].sum(-1), sets[2].sum(-1)) and not torch.equal(sets[0], sets[2])


@pytest.mark.parametrize("order", [1, 2])
def test_early_look_ahead_is_the_rule_that_won_its_trial(order):
    """No probe from t = 0.5 on: the same steps as on trial, and with `until` 1 look-ahead's."""
    field, ts = Field(lambda x, t: -x * t), uniform_grid(10)
    early, tried = (
        go(name, field, noise(), ts, {"until": 0.5, "order": order})
        for name in ("early_look_ahead", "ruled_look_ahead")
    )
    assert [s.phase for s in early].count("probe") == 4 and early[-1].nfe == nfe_of(
        "early_look_ahead", ts, {"until": 0.5}
    )
    assert all(torch.equal(a.x, b.x) for a, b in zip(early, tried, strict=True))
    whole, plain = (
        go("early_look_ahead", field, noise(), ts, {"until": 1.0, "order": order}),
        go("look_ahead", field, noise(), ts, {"order": order}),
    )
    assert torch.equal(whole[-1].x, plain[-1].x) and whole[-1].nfe == plain[-1].nfe > early[-1].nfe
