"""Runs in one batch: each is what it would be alone, goes at its own pace, and may leave."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from helpers import bundle, lively
from text_world import bundle as words

from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import Pixels
from pf_core.models.conditioning import ClassLabels
from pf_core.sampling import together as module
from pf_core.sampling.run import Run, SampleSpec, resolve
from pf_core.sampling.together import alike, together
from pf_core.sampling.trajectory import Trajectory, follow, record

NET = Bundle("nano", lively(), Pixels(), ClassLabels(10))
SPEC = SampleSpec("nano", "look_ahead", nfe=8, labels=["1"], seeds=[0, 1])
OTHER = replace(SPEC, labels=["2", None, "3"], seeds=[7, 8, 9])


def followed(share):
    trajectory = Trajectory(share.bundle.grid, share.spec.to_dict(), share.x0)
    yield trajectory
    yield from follow(share, trajectory)


def same(one, other):
    assert [f.phase for f in one.frames] == [f.phase for f in other.frames] and one.x0.equal(other.x0)
    assert torch.allclose(one.x1, other.x1, atol=1e-5) and one.forwards == other.forwards
    for a, b in zip(one.frames, other.frames, strict=True):
        assert a.easy.equal(b.easy) and torch.allclose(a.t, b.t) and a.nfe == b.nfe
        assert torch.allclose(a.logvar, b.logvar, atol=1e-4) and torch.allclose(
            a.threshold, b.threshold, equal_nan=True
        )


@pytest.mark.parametrize("sampler", ["euler", "multistep", "dual_loop", "look_ahead", "random_order"])
@pytest.mark.parametrize("cfg_scale", [1.0, 2.0])
def test_runs_in_one_batch_are_what_they_are_alone(sampler, cfg_scale):
    specs = [replace(spec, sampler=sampler, cfg_scale=cfg_scale) for spec in (SPEC, OTHER)]
    shares = together([Run(NET, spec) for spec in specs])
    for share, spec in zip(shares, specs, strict=True):
        same(record(share), record(Run(NET, spec)))


def test_runs_of_prompts_too():
    net = words()
    specs = [
        SampleSpec("words", "look_ahead", nfe=6, cfg_scale=3.0, labels=labels, seeds=seeds)
        for labels, seeds in ((["a cake"], [3]), (["a red sign", None], [4, 5]))
    ]
    for share, spec in zip(together([Run(net, spec) for spec in specs]), specs, strict=True):
        same(record(share), record(Run(net, spec)))


def test_each_goes_at_its_own_pace_and_every_pass_is_made_once():
    calls = []
    hook = NET.model.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    one, other = (followed(share) for share in together([Run(NET, SPEC), Run(NET, OTHER)]))
    first, second = next(one), next(other)
    assert len(list(islice(one, 3))) == 3 and len(list(islice(other, 5))) == 5 and calls == [5] * 5
    for _ in (*one, *other):
        pass
    hook.remove()
    assert calls == [5] * Run(NET, SPEC).spec.nfe and first.x1 is not None and second.x1 is not None
    assert first.seconds / second.seconds == pytest.approx(2 / 3)  # by their images


def test_one_that_leaves_lets_the_others_go_on():
    one, other = together([Run(NET, SPEC), Run(NET, OTHER)])
    leaving = followed(one)
    assert len(list(islice(leaving, 3))) == 3
    leaving.close()
    same(record(other), record(Run(NET, OTHER)))
    assert not one.waiting


def test_what_fails_fails_for_all_of_them(monkeypatch):
    one, other = together([Run(NET, SPEC), Run(NET, OTHER)])
    monkeypatch.setattr(one._batch, "_steps", broken())
    for share in (one, other):
        with pytest.raises(RuntimeError, match="broken"):
            record(share)


def broken():
    raise RuntimeError("broken")
    yield


def test_only_recipes_that_differ_in_seeds_and_what_is_asked_for_are_alike():
    one = resolve(SPEC, NET)
    assert alike(one, resolve(OTHER, NET))
    for change in (
        {"nfe": 9},
        {"sampler": "euler"},
        {"settings": {"p": 0.5}},
        {"cfg_scale": 2.0},
        {"precision": "bf16"},
    ):
        assert not alike(one, resolve(replace(OTHER, **change), NET)), change
    assert not alike(replace(one, noise={"file": "", "sha256": ""}), replace(one, noise={"file": "", "sha256": ""}))
    edit = {"kind": "boost", "patches": [0]}
    assert not alike(replace(one, edits=[edit]), replace(one, edits=[edit]))


def test_what_does_not_fit_into_memory_is_a_sentence(monkeypatch):
    def full(net, spec):
        raise InputError("too large")

    monkeypatch.setattr(module, "check_fits", full)
    with pytest.raises(InputError, match="too large"):
        together([Run(bundle(), SPEC), Run(bundle(), OTHER)])
