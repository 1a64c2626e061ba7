"""docs/SCALE.md: its formulas against the real network, and its tables against the formulas."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pf_core.data.shapes import SHAPES, Shapes
from pf_core.models import SiT, build, checkpoint, count_parameters, preset
from pf_core.training.loop import TrainConfig, train
from pf_core.training.state import save_state
from pf_core.types import PatchTime
from tools import scale

SMALL = dict(depth=3, hidden_size=64, num_heads=2, input_size=16, num_classes=10)


def ours(config):
    outputs = config.in_channels + config.predict_uncertainty
    d, side, classes = config.hidden_size, config.grid.height, config.num_classes
    return scale.Network(config.depth, d, config.patch_size, side, config.in_channels, outputs, classes)


def times(batch, n, levels, device="cpu"):
    t = torch.rand(batch, n, device=device)
    return PatchTime.shared(t[:, 0], n) if levels == 1 else PatchTime.dense(t)


def counted(config, levels, backward=False):
    """FLOPs of one image, on no device at all."""
    with torch.device("meta"):
        model, n = SiT(config), config.grid.n
        x = torch.empty(1, config.in_channels, config.grid.height, config.grid.width)
        with FlopCounterMode(display=False) as counter:
            prediction = model(x, times(1, n, levels, "meta"), torch.zeros(1, dtype=torch.long))
            if backward:
                (prediction.v.sum() + prediction.logvar.sum()).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["XL/2", "small"])
def test_parameters_and_arithmetic_are_those_of_the_real_network(name):
    config = preset("B/2", **SMALL) if name == "small" else preset(name)
    network, n = ours(config), config.grid.n
    with torch.device("meta"):
        assert count_parameters(SiT(config))[0] == network.parameters
    for levels in (1, n):
        assert counted(config, levels) == network.forward(levels)


def test_the_documents_networks_are_those():
    assert ours(preset("XL/2")) == scale.XL and ours(preset("B/2")) == scale.B


def test_a_training_step_costs_three_forward_passes():
    config = preset("XL/2", depth=4)
    for levels in (1, 256):
        assert counted(config, levels, backward=True) == pytest.approx(ours(config).training(levels), rel=0.02)


def saved_bytes(config, levels, batch=3):
    """Bytes kept for the backward pass in bf16, without weights and their copies."""
    model, n = build(config).train(), config.grid.n
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", torch.bfloat16):
        side = config.grid.height
        model(torch.randn(batch, 4, side, side), times(batch, n, levels), torch.zeros(batch, dtype=torch.long))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {p.shape for p in model.parameters()} | {p.T.shape for p in model.parameters() if p.ndim == 2}
    return sum(
        t.untyped_storage().nbytes() for at, t in kept.items() if at not in weights and t.shape not in shapes
    )  # fmt: skip


@pytest.mark.parametrize("levels", [1, 64])
def test_saved_activations_are_as_many_bytes_a_block_and_patch(levels):
    deep, shallow = (preset("B/2", **SMALL | {"depth": depth, "hidden_size": 128}) for depth in (4, 2))
    measured = (saved_bytes(deep, levels) - saved_bytes(shallow, levels)) / 3
    assert measured == pytest.approx(ours(deep).activations(levels) - ours(shallow).activations(levels), rel=0.05)


def test_files_are_as_large_as_the_document_says(tmp_path):
    model = build(preset("tiny", depth=8, patch_size=8))  # few patches: the fixed position table is small
    parameters = ours(model.config).parameters
    checkpoint.save(tmp_path / "net.safetensors", model, list(SHAPES), {"command": "none", "steps": 0})
    assert (tmp_path / "net.safetensors").stat().st_size == pytest.approx(scale.network_bytes(parameters), rel=0.02)
    *_, last = train(model, Shapes(), TrainConfig(steps=1, batch_size=2, optimizer="adamw"))
    save_state(tmp_path / "state.safetensors", last.trainer.state_dict(), {})
    assert (tmp_path / "state.safetensors").stat().st_size == pytest.approx(scale.state_bytes(parameters), rel=0.02)


def test_the_decoder_is_that_of_stable_diffusion():
    from pf_core.models import autoencoder

    pytest.importorskip("diffusers", exc_type=ImportError)
    kinds = {
        f"{way}_block_types": (f"{name}Block2D",) * 4 for way, name in (("down", "DownEncoder"), ("up", "UpDecoder"))
    }
    with torch.device("meta"):
        vae = autoencoder._diffusers()(**kinds, block_out_channels=(128, 256, 512, 512), layers_per_block=2)
        for flops, work, shape in (
            (scale.DECODER, vae.decode, (1, 4, 32, 32)),
            (scale.VAE_ENCODER, vae.encode, (1, 3, 256, 256)),
        ):
            with FlopCounterMode(display=False) as counter:
                work(torch.empty(shape))
            assert counter.get_total_flops() == flops


def test_the_documents_tables_are_what_the_script_computes():
    text = scale.DOCUMENT.read_text(encoding="utf-8")
    assert scale.filled(text) == text, "python tools/scale.py --write"
    assert sorted(re.findall(r"<!-- scale:([a-z-]+) -->", text)) == sorted(scale.BLOCKS)


def test_a_free_gpu_serves_at_once_and_a_full_one_makes_people_wait():
    alone = scale.service(1)
    idle, busy = scale.waits(0.01, 1, 2000), scale.waits(0.95, 1, 5000)
    assert idle[1000] == pytest.approx(alone) and busy[2500] > 3 * alone
    assert scale.waits(0.95, 8, 5000)[2500] < busy[2500] / 2
    assert scale.passes(50, "look_ahead") == 2 * 97  # METHOD: 97 network evaluations
