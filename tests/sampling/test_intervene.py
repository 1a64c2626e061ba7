"""Edits: what they do to time grids, to runs and to recipes; and the context probe."""

import dataclasses
import json

import pytest
import torch
from helpers import bundle, write_checkpoint

from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import Pixels
from pf_core.models.conditioning import ClassLabels
from pf_core.models.oracle import from_dataset
from pf_core.patches import PatchGrid
from pf_core.samplers import SAMPLERS, nfe_of, uniform_grid
from pf_core.sampling import edits as intervene
from pf_core.sampling.context_probe import context_probe
from pf_core.sampling.edits import EDITS, Edit, stretches
from pf_core.sampling.export import export, read_recipe
from pf_core.sampling.run import Run, SampleSpec, resolve
from pf_core.sampling.trajectory import Trajectory, record

NAMES = list(SAMPLERS)
PATCHES = [5, 6, 9, 10]  # of the nano network's 16
SPEC = SampleSpec("nano", steps=6, labels=["star"], seeds=[3, 4])
ITEM = {"dataset": "shapes", "index": 7}


def edited(name, *edits, **changes):
    return dataclasses.replace(SPEC, sampler=name, edits=list(edits), **changes)


def run(spec, net=None, **given):
    return list(Run(net or bundle(), spec, **given))


def edit(kind, outer=3, patches=PATCHES, **more):
    return {"kind": kind, "outer": outer, "patches": patches, **more}


CASES = {
    "head start": edit("head_start", amount=0.4),
    "hold back": edit("hold_back", amount=0.4, image=1),
    "own": edit("clean"),
    "item": edit("clean", source=ITEM),
}


class TestLaws:
    ts = uniform_grid(10)[3:]

    @pytest.mark.parametrize("amount", [0.0, 0.1, 0.4, 0.7])
    @pytest.mark.parametrize("name", [n for n in EDITS if "amount" in EDITS[n].knobs])
    def test_a_grid_leaves_the_past_alone_never_falls_and_arrives_with_all_others(self, name, amount):
        grid = EDITS[name].fn(self.ts, amount=amount)
        assert grid[0] == self.ts[0] and grid[-1] == 1
        assert (grid.diff() >= 0).all() and grid.min() >= self.ts[0] and grid.max() <= 1

    def test_a_head_start_shrinks_with_the_time_left(self):
        lead = EDITS["head_start"].fn(self.ts, amount=0.2) - self.ts
        assert torch.allclose(lead[1:], 0.2 * (1 - self.ts[1:]) / 0.7)

    def test_the_longest_head_start_arrives_in_one_step(self):
        assert torch.all(EDITS["head_start"].fn(self.ts, amount=0.7)[1:] == 1)

    def test_what_is_held_back_waits_until_it_lags(self):
        grid = EDITS["hold_back"].fn(self.ts, amount=0.2)
        assert torch.all(grid[:2] == self.ts[0])
        assert torch.allclose((self.ts - grid)[2:], 0.2 * (1 - self.ts[2:]) / 0.7)

    @pytest.mark.parametrize("name", list(EDITS))
    def test_clean_patches_stay_clean(self, name):
        assert torch.all(EDITS[name].fn(torch.ones(4, 3)) == 1)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
class TestEverySampler:
    def test_up_to_the_edit_the_run_is_the_unedited_one_bit_for_bit(self, name, case):
        plain, changed = run(edited(name)), run(edited(name, CASES[case]))
        before = [s for s in plain if s.outer < 3]
        for a, b in zip(before, changed, strict=False):
            assert torch.equal(a.x, b.x) and torch.equal(a.t, b.t) and torch.equal(a.prediction.v, b.prediction.v)
        k = len(before)
        assert torch.equal(changed[k].x, plain[k].x) or case == "item"
        assert not torch.allclose(changed[-1].x[1], plain[-1].x[1], atol=1e-3)

    def test_it_reads_as_one_run(self, name, case):
        job = Run(bundle(), edited(name, CASES[case], cfg_scale=2.0))
        steps = list(job)
        assert [s.nfe for s in steps[:-1]] == list(range(1, job.spec.nfe + 1)) and job.forwards == 2 * job.spec.nfe
        assert [s.phase for s in steps].count("final") == 1 and steps[-1].nfe == job.spec.nfe
        assert sorted({s.outer for s in steps}) == list(range(6))
        assert [s.outer for s in steps] == sorted(s.outer for s in steps)
        assert torch.all(steps[-1].t == 1) and torch.isfinite(steps[-1].x).all()

    def test_it_repeats_bit_for_bit_and_its_recipe_resolves_to_itself(self, name, case):
        first = Run(bundle(), edited(name, CASES[case]))
        recipe = SampleSpec.from_dict(json.loads(json.dumps(first.spec.to_dict())))
        assert resolve(recipe, bundle()) == first.spec
        assert torch.equal(list(first)[-1].x, run(recipe)[-1].x)

    def test_the_other_images_do_not_notice(self, name, case):
        one = CASES[case] | {"image": 1, "outer": 0}  # held back there, it warms up for longer than the others
        plain, changed = run(edited(name))[-1].x, run(edited(name, one))[-1].x
        assert torch.allclose(plain[0], changed[0], atol=1e-4)
        alone = run(edited(name, one | {"image": 0}, seeds=[4]))[-1].x
        assert torch.allclose(alone[0], changed[1], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_inpainting_keeps_what_is_painted_at_every_forward(name):
    steps = run(edited(name, edit("clean", 0, source=ITEM)))
    picture = DATASETS["shapes"].fn().batch([7]).images
    grid = bundle().grid
    for step in steps:
        assert torch.all(step.t[:, PATCHES] == 1)
        assert torch.equal(grid.split(step.x)[:, PATCHES], grid.split(picture)[:, PATCHES].expand(2, -1, -1))
    assert not any(s.easy[:, PATCHES].any() for s in steps if s.easy is not None)


def test_clean_patches_take_no_place_among_the_easy_ones():
    steps = run(edited("dual_loop", edit("clean", 0, list(range(8)), source=ITEM)))
    assert all(torch.all(s.easy.sum(1) == 3) for s in steps[:-1])  # of the 8 others; pixel 0.4 * 511 is in the fourth


def test_the_runs_own_prediction_is_the_one_that_the_unedited_run_shows_there():
    net = bundle()
    shown = next(f for f in record(Run(net, edited("look_ahead"))).frames if f.outer == 3)
    changed = run(edited("look_ahead", CASES["own"]))
    probe, after = (s for s in changed if s.outer == 3 and (s.phase == "outer" or s.easy is None))
    assert probe.phase == "probe" and torch.equal(probe.x.half(), shown.x)
    painted, own = net.grid.split(after.x)[:, PATCHES], net.grid.split(shown.x1_hat)[:, PATCHES]
    assert torch.equal(painted.half(), own)
    assert Run(net, edited("look_ahead", CASES["own"])).spec.nfe == Run(net, edited("look_ahead")).spec.nfe + 1


@pytest.mark.parametrize("case", ["clean", "head_start", "hold_back"])
def test_an_edited_image_begins_anew_and_the_others_remember(case):
    amount = {} if case == "clean" else {"amount": 0.1}
    source = {"source": ITEM} if case == "clean" else {}
    plain = [s for s in run(edited("multistep")) if s.phase != "probe"]
    changed = [s for s in run(edited("multistep", edit(case, 3, image=0, **amount, **source))) if s.phase != "probe"]
    assert all(torch.allclose(a.x[1], b.x[1], atol=1e-5) for a, b in zip(plain, changed, strict=True))
    grid, untouched = bundle().grid, [n for n in range(16) if n not in PATCHES]

    def bend(k):
        """How far step k is from Euler's, (16,) of image 0."""
        here, after = changed[k], changed[k + 1]
        euler = here.x + grid.to_pixels(after.t - here.t) * here.prediction.v
        return grid.to_patches((after.x - euler).abs())[0]

    assert bend(3).max() < 1e-6 and bend(2).min() > 1e-5 and bend(4)[untouched].min() > 1e-5


def test_a_run_that_remembers_gives_the_same_bits_twice():
    job = Run(bundle(), edited("multistep", edit("hold_back", 2, amount=0.2)))
    assert torch.equal(list(job)[-1].x, list(job)[-1].x)


def test_edits_add_up_and_one_look_serves_a_step():
    first, second = edit("head_start", 1, [0, 1], amount=0.3), edit("hold_back", 4, [1, 2], amount=0.5)
    clean = [edit("clean", 2, [8]), edit("clean", 2, [9], image=0)]
    job = Run(bundle(), edited("euler", second, first, *clean))
    steps = list(job)
    assert job.spec.nfe == 6 + 1 and [e["kind"] for e in job.spec.edits] == ["hold_back", "head_start"] + ["clean"] * 2
    t = {s.outer: s.t[1] for s in steps if s.phase == "outer"}
    assert t[2][0] == t[2][1] > t[2][3] and t[5][2] == t[4][2] == t[4][3] < t[5][3]
    assert t[3][8] == 1 and t[3][9] < 1 and torch.all(t[5] >= t[4])
    assert (steps[-1].t == 1).all()


def test_grids_stay_shared_until_the_first_edit():
    ts = uniform_grid(6)
    parts = stretches([Edit.from_dict(CASES["head start"])], ts, 2, 16)
    assert [part.first for part in parts] == [0, 3]
    assert torch.equal(parts[0].ts, ts[:4]) and parts[1].ts.shape == (4, 2, 16)
    assert stretches([], ts, 2, 16)[0].ts is ts


@pytest.mark.parametrize("name", NAMES)
def test_head_start_and_hold_back_cost_what_is_promised(name):
    settings = SAMPLERS[name].settings()
    parts = stretches([Edit.from_dict(edit("hold_back", 0, [3], amount=1.0))], uniform_grid(20), 2, 16)
    steps = run(edited(name, edit("hold_back", 0, [3], amount=1.0), steps=20))
    assert intervene.nfe(name, settings, parts) == steps[-1].nfe == len(steps) - 1
    assert nfe_of(name, uniform_grid(20), settings) >= steps[-1].nfe


class TestRecipes:
    given = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    spec = edited("look_ahead", edit("clean", 0, source={"given": 1}), CASES["head start"])

    def test_old_recipes_still_load(self):
        d = SPEC.to_dict()
        del d["edits"]
        assert SampleSpec.from_dict(d) == SPEC and SPEC.edits == []

    def test_given_pictures_are_painted_and_travel_in_the_safetensors_export(self, tmp_path):
        trajectory = record(Run(bundle(), self.spec, edit_images=self.given))
        assert torch.equal(
            bundle().grid.split(trajectory.x1)[:, PATCHES],
            bundle().grid.split(self.given)[1:, PATCHES].expand(2, -1, -1),
        )
        trajectory.save(tmp_path / "run.safetensors")
        again = Trajectory.load(tmp_path / "run.safetensors")
        assert torch.equal(again.edit_images, self.given)
        repeated = Run(bundle(), SampleSpec.from_dict(again.recipe), edit_images=again.edit_images)
        assert torch.equal(record(repeated).x1, trajectory.x1)

    def test_pictures_that_no_edit_uses_are_not_kept(self, tmp_path):
        trajectory = record(Run(bundle(), edited("euler", CASES["item"]), edit_images=self.given))
        trajectory.save(tmp_path / "run.safetensors")
        assert Trajectory.load(tmp_path / "run.safetensors").edit_images is None

    @pytest.mark.parametrize("given", [None, given[:1]], ids=["none", "too few"])
    def test_a_missing_picture_is_a_sentence(self, given):
        with pytest.raises(InputError, match="paints with 2 pictures .* repeat it from the run's .safetensors"):
            Run(bundle(), self.spec, edit_images=given)

    @pytest.mark.parametrize("given", [torch.zeros(2, 3, 16, 16), torch.full((2, 3, 32, 32), torch.nan)])
    def test_a_picture_that_does_not_fit_is_a_sentence(self, given):
        with pytest.raises(InputError, match="finite numbers of shape"):
            Run(bundle(), self.spec, edit_images=given)

    def test_a_data_set_of_another_size_is_a_sentence(self):
        source = ITEM | {"settings": {"size": 64}}
        with pytest.raises(InputError, match=r"shape \(3, 32, 32\).*not \(3, 64, 64\)"):
            Run(bundle(), edited("euler", edit("clean", source=source)))

    def test_the_command_line_repeats_an_edited_run(self, tmp_path, capsys):
        net = str(write_checkpoint(tmp_path))
        run = record(Run(checkpoint.load(net), dataclasses.replace(self.spec, checkpoint=net), edit_images=self.given))
        for suffix in (".safetensors", ".png"):
            export(run, Pixels(), tmp_path / f"run{suffix}")
        out = tmp_path / "again.safetensors"
        assert main(["sample", "--recipe", str(tmp_path / "run.safetensors"), "--out", str(out)]) == 0
        assert torch.equal(Trajectory.load(out).x1, run.x1)
        assert read_recipe(out) == read_recipe(tmp_path / "run.safetensors")
        assert main(["sample", "--recipe", str(tmp_path / "run.png"), "--out", str(out)]) == 2
        assert "repeat it from the run's .safetensors export" in capsys.readouterr().err


BAD = {
    "no dict": (3, "An edit has a kind"),
    "no patches": ({"kind": "clean"}, "An edit has a kind"),
    "unknown entry": (edit("clean", colour=1), "An edit has a kind"),
    "unknown kind": (edit("head_stat", amount=0.1), "Did you mean 'head_start'"),
    "empty": (edit("clean", patches=[]), "needs a list of patches"),
    "patches text": (edit("clean", patches="all"), "needs a list of patches"),
    "patch text": (edit("clean", patches=["a"]), "whole number"),
    "patch true": (edit("clean", patches=[True]), "whole number"),
    "patch outside": (edit("clean", patches=[16]), "outside the grid: patches are numbered 0 to 15"),
    "patch negative": (edit("clean", patches=[-1]), "patch must lie"),
    "step outside": (edit("clean", 6), "outer steps 0 to 5"),
    "step negative": (edit("clean", -1), "outer must lie"),
    "image outside": (edit("clean", image=2), "images 0 to 1"),
    "amount high": (edit("hold_back", amount=1.5), "amount must lie between"),
    "amount nan": (edit("hold_back", amount=float("nan")), "finite"),
    "amount of clean": (edit("clean", amount=0.1), "takes no amount"),
    "head start beyond the end": (edit("head_start", amount=0.6), "a head start is 0.5 at most, not 0.6"),
    "source of hold back": (edit("hold_back", source="x1_hat"), "takes no source"),
    "source unknown": (edit("clean", source="x0"), "Clean patches come from"),
    "source half": (edit("clean", source={"dataset": "shapes"}), "Clean patches come from"),
    "data set": (edit("clean", source=ITEM | {"dataset": "shape"}), "no data set 'shape'"),
    "data set's setting": (edit("clean", source=ITEM | {"settings": {"zoom": 2}}), "no setting 'zoom'"),
    "data set's index": (edit("clean", source=ITEM | {"index": -2}), "index must lie"),
    "given": (edit("clean", source={"given": "first"}), "whole number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_edits_are_one_sentence(case):
    bad, says = BAD[case]
    with pytest.raises(InputError, match=says) as error:
        resolve(edited("euler", bad), bundle())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("edits", [None, {}, "all", [edit("clean")] * 65])
def test_what_is_no_list_of_edits_is_refused(edits):
    with pytest.raises(InputError, match="at most 64"):
        SampleSpec.from_dict(SPEC.to_dict() | {"edits": edits})


class TestContextProbe:
    @pytest.fixture(scope="class")
    def frames(self):
        return {name: record(Run(bundle(), edited(name))).frames for name in ("euler", "look_ahead")}

    def test_it_is_one_forward_of_the_recorded_state_with_clean_patches(self, frames):
        net, calls = bundle(), []
        frame, model = frames["look_ahead"][5], net.model
        net.model = lambda x, t, y: calls.append((x, t.per_patch, y)) or model(x, t, y)
        net.model.grid, net.model.channels = model.grid, model.channels
        found = context_probe(net, frame, 1, PATCHES, label="star")
        ((x, t, y),) = calls
        rest = [i for i in range(16) if i not in PATCHES]
        assert torch.all(t[0, PATCHES] == 1) and torch.equal(t[0, rest], frame.t[1, rest]) and y.tolist() == [4]
        assert torch.equal(net.grid.split(x)[0, PATCHES], net.grid.split(frame.x1_hat.float())[1, PATCHES])
        assert torch.equal(net.grid.split(x)[0, rest], net.grid.split(frame.x.float())[1, rest])
        assert torch.equal(found.before, frame.logvar_cond[1]) and found.after.shape == (16,)
        change = found.after - found.before
        assert found.others.nonzero()[:, 0].tolist() == rest
        assert torch.equal(found.hard, found.others & ~frame.easy[1])
        assert found.change_others == pytest.approx(change[rest].mean().item())
        assert found.change_hard == pytest.approx(change[found.hard].mean().item())

    def test_without_a_ranking_the_hard_ones_are_the_hardest_share(self, frames):
        frame = frames["euler"][3]
        hard = context_probe(bundle(), frame, 0, [0]).hard
        assert set(hard.nonzero()[:, 0].tolist()) <= set(frame.logvar[0].topk(10).indices.tolist())
        assert 9 <= hard.sum() <= 10

    def test_context_makes_the_oracle_surer(self):
        data, grid = DATASETS["shapes"].fn(), PatchGrid(32, 32, 4)
        net = Bundle("oracle", from_dataset(data, 60, grid), Pixels(), ClassLabels(10, data.names))
        frame = record(Run(net, SampleSpec("oracle", steps=12, seeds=[0]))).frames[3]
        found = context_probe(net, frame, 0, list(range(32)), {"dataset": "shapes", "index": 3})
        assert found.change_others < -1 and found.change_hard < -1
        assert found.after[found.others].exp().mean() < 0.2 * found.before[found.others].exp().mean()

    @pytest.mark.parametrize(
        ("patches", "image", "source", "says"),
        [
            ([16], 0, "x1_hat", "outside the grid"),
            ([], 0, "x1_hat", "list of patches"),
            ([1], 2, "x1_hat", "images 0 to 1"),
            ([1], 0, {"given": 0}, "paints with 1 picture that"),
        ],
    )
    def test_mistakes_are_sentences(self, frames, patches, image, source, says):
        with pytest.raises(InputError, match=says):
            context_probe(bundle(), frames["euler"][0], image, patches, source)

    def test_a_network_without_difficulty_is_a_sentence(self):
        plain = bundle(predict_uncertainty=False)
        frame = record(Run(plain, SampleSpec("nano", steps=2))).frames[1]
        with pytest.raises(InputError, match="predicts no difficulty"):
            context_probe(plain, frame, 0, [1])


def test_any_network_can_be_edited():
    plain = bundle(predict_uncertainty=False)
    assert torch.isfinite(run(edited("euler", CASES["own"]), plain)[-1].x).all()


@pytest.mark.parametrize("name", ["look_ahead", "early_look_ahead", "random_look_ahead", "ruled_look_ahead"])
def test_what_an_image_draws_does_not_depend_on_who_warms_up_beside_it(name):
    """A head start ends the warm-up of image 0 alone."""
    ahead = {"kind": "head_start", "patches": list(range(16)), "outer": 0, "amount": 0.3, "image": 0}
    more = {} if name == "random_look_ahead" else {"difficulty": "divergence", "probes": 1}
    spec = edited(name, ahead, steps=40, labels=["star"], **more)
    alone = dataclasses.replace(spec, seeds=[4], edits=[])
    assert torch.allclose(run(spec)[-1].x[1], run(alone)[-1].x[0], atol=1e-4)


def test_every_so_many_steps_are_those_of_the_run_whatever_was_edited():
    spec = edited("ruled_look_ahead", edit("hold_back", 2, image=1), settings={"every": 3}, steps=8)
    steps = run(spec)
    assert {s.outer for s in steps if s.phase == "probe"} == {3, 6} and steps[-1].nfe == resolve(spec, bundle()).nfe
    plain = run(dataclasses.replace(spec, edits=[], seeds=[3]))
    assert torch.allclose(steps[-1].x[0], plain[-1].x[0], atol=1e-4)
