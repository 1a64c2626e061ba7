"""The shortcuts of a bf16 training step on a CPU: the same maths, and nothing of it elsewhere."""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pf_core.models import build, cpu_step, preset
from pf_core.types import PatchTime

CONFIG = preset("nano", hidden_size=64)


def awake():
    model, rng = build(CONFIG), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng) * p.requires_grad)
    return model.train()


def step(model, bf16=True):
    """Velocities and gradients of one backward pass."""
    rng = torch.Generator().manual_seed(1)
    x, t = torch.randn(4, 3, 32, 32, generator=rng), torch.rand(4, model.grid.n, generator=rng)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        v = model(x, PatchTime.dense(t), torch.arange(4)).v.float()
    v.square().mean().backward()
    return [v.detach(), *(p.grad.clone() for p in model.parameters() if p.requires_grad)]


def written(model, bf16=True):
    with patch.object(cpu_step, "applies", lambda x: False):
        return step(model, bf16)


def error(found, truth):
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(found, truth, strict=True))


@pytest.mark.parametrize("compiling", [False, True])
def test_a_bf16_training_step_is_no_further_from_fp32_than_torchs_own(monkeypatch, compiling):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)  # as the compiler sees the code
    model = awake()
    truth, own, fast = step(model, bf16=False), written(model), step(model)
    assert any(not torch.equal(a, b) for a, b in zip(own, fast, strict=True))
    assert error(fast, truth) < 1.25 * error(own, truth)


def test_outside_a_bf16_training_step_every_bit_is_torchs_own(monkeypatch):
    model = awake()
    assert error(step(model, bf16=False), written(model, bf16=False)) == 0
    q = torch.randn(3, 2, 2, 16, 32, dtype=torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cpu_step.attention(*q), F.scaled_dot_product_attention(*q))


def test_the_compiled_forms_of_layers_are_the_layers_up_to_rounding(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    x, layer = torch.randn(2, 16, 32), nn.Linear(32, 48)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cpu_step.gelu(x), F.gelu(x, approximate="tanh"), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(cpu_step.linear(layer, x).float(), layer(x).float(), atol=0.02, rtol=0.01)
