"""Dual-loop whose inner passes let only hard patches through, beside the keys and values that the others left."""

import pytest
import torch
from helpers import bundle, lively

from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.compiled import cpu_compiler
from pf_core.models.context import Context
from pf_core.sampling.run import Run, SampleSpec, resolve
from pf_core.sampling.trajectory import Trajectory, follow, passes_in_words
from pf_core.types import PatchTime

DUAL = SampleSpec("nano", "dual_loop", {"n_inner": 3}, steps=2, seeds=[0, 1, 2], labels=["circle"] * 3)


def drawn(net, spec=DUAL, **changes):
    run = Run(net, SampleSpec(**{**vars(spec), **changes}))
    trajectory = Trajectory(net.grid, run.spec.to_dict(), run.x0)
    for _ in follow(run, trajectory):
        pass
    return trajectory


def refreshed(net, refresh, **changes):
    return drawn(net, settings={"n_inner": 3, "refresh": refresh}, **changes)


@pytest.mark.parametrize("time", ["shared", "dense", "grouped"])
def test_when_all_patches_move_nothing_is_approximate(time):
    net, rng = lively(), torch.Generator().manual_seed(1)
    n, y, context = net.grid.n, torch.tensor([1, 2]), Context()
    moving = torch.rand(2, n, generator=rng) < 0.5
    ts = torch.where(moving, 0.3, 0.6)
    t = {
        "shared": PatchTime.shared(torch.tensor([0.3, 0.7]), n),
        "dense": PatchTime.dense(ts),
        "grouped": PatchTime.grouped(ts, moving, 2),
    }[time]
    x = torch.randn(2, 3, 32, 32, generator=rng)
    kept = net.with_context(0 * x, t, y, context)
    assert torch.equal(kept.v, net(0 * x, t, y).v)
    again, plain = net.with_context(x, t, y, context, torch.ones(2, n, dtype=torch.bool)), net(x, t, y)
    assert torch.allclose(again.v, plain.v, atol=1e-5) and torch.allclose(again.logvar, plain.logvar, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_single_block_needs_no_refresh_after_the_easy_patches_moved(scale):
    """Their keys and values are of their own state alone there, which does not change any more."""
    net = bundle(depth=1)
    every, once, none = (refreshed(net, refresh, cfg_scale=scale) for refresh in ("every", "once", "none"))
    assert torch.allclose(once.x1, every.x1, atol=1e-4) and once.forwards == every.forwards
    assert not torch.allclose(none.x1, every.x1, atol=1e-3)


def test_deeper_networks_differ_and_pay_less():
    net = bundle()
    every, once, none = (refreshed(net, refresh) for refresh in ("every", "once", "none"))
    assert every.token_forwards is None and not torch.allclose(once.x1, every.x1, atol=1e-4)
    hard = 1 - torch.stack([f.easy.float() for f in every.frames]).mean()
    assert once.token_forwards == pytest.approx(2 * (2 + float(hard)), abs=0.1)
    assert none.token_forwards == pytest.approx(2 * (1 + 2 * float(hard)), abs=0.2)
    assert [f.nfe for f in none.frames] == [f.nfe for f in every.frames]
    assert passes_in_words(every.forwards, every.token_forwards) == "6 forwards"
    assert (
        passes_in_words(once.forwards, once.token_forwards) == f"6 forwards, {once.token_forwards:.1f} token-forwards"
    )


def test_an_image_does_not_depend_on_its_batch():
    net = bundle()
    together, alone = refreshed(net, "none"), refreshed(net, "none", seeds=[1], labels=["circle"])
    assert torch.allclose(together.x1[1], alone.x1[0], atol=1e-5)


@pytest.mark.parametrize("refresh", ["once", "none"])
def test_edits_give_every_patch_its_own_time_there_too(refresh):
    net, edit = bundle(), {"kind": "head_start", "patches": [0, 5], "outer": 1, "amount": 0.1}
    settings = {"n_inner": 3, "refresh": refresh, "order": 2}
    together = drawn(net, settings=settings, edits=[edit], steps=3)
    alone = drawn(net, settings=settings, edits=[edit], steps=3, seeds=[1], labels=["circle"])
    assert torch.allclose(together.x1[1], alone.x1[0], atol=1e-5)
    assert not torch.allclose(together.x1, refreshed(net, refresh, steps=3).x1, atol=1e-3)


def test_the_record_holds_token_forwards(tmp_path):
    made = refreshed(bundle(), "once")
    made.save(tmp_path / "run.safetensors")
    assert Trajectory.load(tmp_path / "run.safetensors").token_forwards == made.token_forwards


def test_a_network_that_keeps_nothing_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="choose refresh every"):
        refreshed(checkpoint.load("shapes-exact"), "once", spec=SampleSpec("shapes-exact", "dual_loop", steps=1))


@pytest.mark.slow  # a compilation for each kind of pass
@pytest.mark.skipif(cpu_compiler() is None, reason="there is no C++ compiler")
def test_a_compiled_network_draws_the_same_up_to_rounding():
    net = bundle(depth=1)
    assert torch.allclose(drawn(net).x1, drawn(net, compile=True).x1, atol=1e-4)


def test_compilation_is_asked_for_by_the_recipe_and_happens_once(monkeypatch):
    net, asked = bundle(depth=1), []
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: asked.append(model) or model)
    monkeypatch.setattr("pf_core.models.compiled.check_compiler", lambda: None)
    plain, *fast = drawn(net), drawn(net, compile=True), drawn(net, compile=True)
    assert asked == [net.model] and torch.equal(fast[1].x1, plain.x1)
    assert fast[0].recipe["compile"] is True and "compile" not in plain.recipe
    with pytest.raises(InputError, match="leave --compile out"):
        drawn(net, compile=True, difficulty="divergence")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"compile": True}, "leave --compile out"),
        ({"settings": {"refresh": "once"}}, "choose refresh every"),
        ({"sampler": "ruled_look_ahead", "settings": {"surer": True}}, "surer"),
    ],
)
def test_what_a_run_refuses_its_recipe_refuses(changes, says):
    spec = SampleSpec(**{**vars(DUAL), "difficulty": "divergence", **changes})
    with pytest.raises(InputError, match=says):
        resolve(spec, bundle())
