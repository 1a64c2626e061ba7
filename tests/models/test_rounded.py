"""Passes in bf16: weights rounded once, not in every pass, and every bit as before."""

import dataclasses

import pytest
import torch
from helpers import bundle, lively

from app.networks import size_of
from pf_core.models import checkpoint
from pf_core.models.rounded import in_bf16
from pf_core.sampling.memory import needed
from pf_core.sampling.run import Run, SampleSpec, autocast
from pf_core.sampling.trajectory import record
from pf_core.types import PatchTime

SPEC = SampleSpec("nano", "look_ahead", steps=3, labels=["star"], precision="bf16")


@pytest.mark.parametrize("kind", ["shared", "grouped", "kept"])
def test_a_pass_has_the_same_bits(kind):
    net, rng = lively(), torch.Generator().manual_seed(1)
    rounded, x, y = in_bf16(net), torch.randn(2, 3, 32, 32, generator=rng), torch.tensor([1, 2])
    early = torch.rand(2, net.grid.n, generator=rng) < 0.5
    shared, grouped = torch.tensor([0.3, 0.7]), PatchTime.grouped(torch.where(early, 0.3, 0.6), early, 2)
    t = PatchTime.shared(shared, net.grid.n) if kind == "shared" else grouped

    def passed(model):
        model = autocast(model)
        if kind != "kept":
            return model(x, t, y)
        context = model.new_context()
        model.with_context(x, t, y, context=context)
        return model.with_context(0.5 * x, t, y, context=context, moving=early)

    with torch.inference_mode():
        assert all(a.equal(b) for a, b in zip(passed(net)[:4], passed(rounded)[:4], strict=True))
    assert (
        rounded.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16 and net.blocks[0].mlp.fc1.weight.dtype == torch.float
    )
    assert rounded.pos_embed is net.pos_embed and rounded.y_embedder.embedding_table.weight.dtype == torch.float


@pytest.mark.parametrize("changes", [{}, {"difficulty": "divergence", "probes": 1}, {"cfg_scale": 2.0}])
def test_a_run_has_the_same_bits(changes, monkeypatch):
    net, spec = bundle(), dataclasses.replace(SPEC, **changes)
    ours = record(Run(net, spec)).x1
    monkeypatch.setattr(checkpoint, "in_bf16", lambda model: model)
    assert record(Run(bundle(), spec)).x1.equal(ours)


def test_weights_are_rounded_once_and_their_memory_counts():
    net = bundle()
    plain, spec = size_of(net), Run(net, dataclasses.replace(SPEC, precision="fp32")).spec
    before = needed(net, dataclasses.replace(spec, precision="bf16")) - needed(net, spec)
    assert "in_bf16" not in vars(net) and before == 2 * sum(p.numel() for p in net.model.parameters())
    first, second = Run(net, SPEC), Run(net, SPEC)
    assert first._denoise.model.model is second._denoise.model.model is net.in_bf16
    assert 1.3 * plain < size_of(net) < 1.5 * plain + 1
    assert needed(net, dataclasses.replace(spec, precision="bf16")) == needed(net, spec)


def test_a_network_without_layers_is_used_as_it_is():
    exact = checkpoint.load("shapes-exact")
    assert exact.network("bf16") is exact.model
