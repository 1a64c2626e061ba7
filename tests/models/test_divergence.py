"""Difficulty without a head: the variance read off a velocity's Jacobian, and runs that are ranked by it."""

import dataclasses
import threading

import pytest
import torch
from helpers import bundle, lively

from pf_core import flow
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.flow import Source
from pf_core.models.divergence import Divergence
from pf_core.models.oracle import from_dataset
from pf_core.patches import PatchGrid
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import record
from pf_core.types import PatchTime

GRID = PatchGrid(32, 32, 8)
SPEC = SampleSpec("nano", "look_ahead", steps=4, labels=[1], seeds=[3, 8], difficulty="divergence", probes=2)


def rngs(count, first=0):
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


def states(source, mixed):
    """An exact network, six states, their times and classes."""
    data = DATASETS["shapes"].fn(count=12)
    sample = data.batch(range(6))
    t = torch.linspace(0.05, 0.12, 6)[:, None].repeat(1, GRID.n)
    if mixed:
        t = t * (0.7 + 0.6 * torch.rand(6, GRID.n, generator=torch.Generator().manual_seed(2)))
    x0 = source.draw(list(range(6)), (3, 32, 32))
    return from_dataset(data, 12, GRID, source), flow.interpolate(x0, sample.images, t, GRID), PatchTime.dense(t)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("source", [Source(), Source(mean=0.3, std=0.5)])
def test_on_an_exact_network_it_is_the_exact_variance(source, mixed):
    model, x, t = states(source, mixed)
    null = torch.full((6,), 10)
    exact = flow.difficulty(model(x, t, null).logvar, GRID)
    draws = torch.stack(
        [Divergence(model, source.std, 32, rngs(6, 100 * k)).ranked(x, t, null).difficulty for k in range(12)]
    )
    apart = (draws.mean(0) - exact).abs() / (draws.std(0) / 12**0.5).clamp(min=1e-3)
    assert apart.mean() < 1.5 and (apart < 4.5).all()  # within what so many draws leave to chance
    assert (draws.mean() / exact.mean() - 1).abs() < 0.1


def test_its_velocity_is_the_networks_and_the_networks_weights_are_shared():
    net, x = lively(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    t, y = PatchTime.shared(torch.tensor([0.2, 0.6]), net.grid.n), torch.tensor([1, 2])
    model = Divergence(net, 1.0, 3, rngs(2))
    ranked, plain = model.ranked(x, t, y), model(x, t, y)
    assert plain.v.equal(net(x, t, y).v) and plain.logvar is None and plain.difficulty is None
    assert torch.allclose(ranked.v, plain.v, atol=1e-5) and ranked.difficulty.shape == (2, net.grid.n)
    assert model._plain.x_embedder.proj.weight is net.x_embedder.proj.weight


def test_at_the_start_nothing_is_known_and_nothing_is_easy():
    net, x = lively(), torch.randn(2, 3, 32, 32)
    ranked = Divergence(net, 1.0, 1, rngs(2)).ranked(
        x, PatchTime.shared(torch.zeros(2), net.grid.n), torch.tensor([1, 2])
    )
    assert ranked.difficulty.isnan().all()
    first = next(iter(Run(bundle(), dataclasses.replace(SPEC, sampler="dual_loop"))))
    assert not first.easy.any() and first.nfe == 5


@pytest.mark.parametrize("sampler", ["look_ahead", "dual_loop"])
@pytest.mark.parametrize("cfg_scale, precision", [(1.0, "fp32"), (2.0, "fp32"), (1.0, "bf16")])
def test_a_network_without_a_head_drives_the_samplers_that_rank(sampler, cfg_scale, precision):
    net = bundle(predict_uncertainty=False)
    spec = dataclasses.replace(SPEC, sampler=sampler, cfg_scale=cfg_scale, precision=precision)
    with pytest.raises(InputError, match="divergence"):
        Run(net, dataclasses.replace(spec, difficulty="head", probes=None))
    run = record(job := Run(net, spec))
    counted = {"look_ahead": [1, 6, 7, 12, 13, 18, 19], "dual_loop": [5 + 8 * (i // 4) + i % 4 for i in range(16)]}
    assert [f.nfe for f in run.frames] == counted[sampler] and run.frames[-1].nfe == job.spec.nfe
    passes = {"look_ahead": 7 + 3 * 4, "dual_loop": 16 + 4 * 4}[sampler]
    assert job.forwards == passes + (len(run.frames) if cfg_scale != 1 else 0)
    ranked = [f for f in run.frames if f.phase == "outer" and f.easy.any()]
    assert len(ranked) == 3 and all(f.logvar.isfinite().all() for f in ranked)
    again = record(Run(net, spec))
    assert again.x1.equal(run.x1)


def test_an_image_depends_on_its_own_seed_alone():
    alone = record(Run(bundle(), dataclasses.replace(SPEC, seeds=[8]))).x1
    assert torch.allclose(record(Run(bundle(), SPEC)).x1[1:], alone, atol=1e-5)


def test_recipes_tell_it_only_where_it_is_used():
    old = SampleSpec("nano").to_dict()
    assert "difficulty" not in old and "probes" not in old and SampleSpec.from_dict(old) == SampleSpec("nano")
    assert SampleSpec.from_dict(SPEC.to_dict()) == SPEC
    budget = Run(bundle(), dataclasses.replace(SPEC, steps=None, nfe=32)).spec
    assert budget.nfe <= 32 and budget.probes == 2


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"difficulty": "guess", "probes": None}, "head or divergence"),
        ({"difficulty": "head"}, "probes belong to"),
        ({"probes": 0}, "probes must lie"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(changes, says):
    with pytest.raises(InputError, match=says):
        Run(bundle(), dataclasses.replace(SPEC, **changes))


def test_two_threads_may_ask_for_it_at_once():
    """Torch's forward derivatives are not made for that."""
    net, failed = lively(), []
    x, t = torch.randn(2, 3, 32, 32), PatchTime.shared(torch.full((2,), 0.5), net.grid.n)

    def ask():
        try:
            for _ in range(20):
                Divergence(net, 1.0, 1, [torch.Generator() for _ in range(2)]).ranked(x, t, torch.tensor([0, 1]))
        except RuntimeError as e:
            failed.append(e)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
