"""A tiny network with lively weights, as a Bundle and as a checkpoint file."""

import torch

from pf_core.data.shapes import SHAPES
from pf_core.models import build, checkpoint, preset
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import Pixels
from pf_core.models.conditioning import ClassLabels


def lively(name="nano", **changes):
    """A network of this size with weights as `enlivened` makes them."""
    return enlivened(preset(name, **changes))


def enlivened(config):
    """Random weights everywhere: velocities and difficulties that differ from patch to patch."""
    model = build(config).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    for p in model.parameters():
        if p is not model.pos_embed:
            p.copy_(0.15 * torch.randn(p.shape, generator=rng))
    return model


def bundle(**changes):
    return Bundle("nano", lively(**changes), Pixels(), ClassLabels(10, list(SHAPES)))


def write_checkpoint(folder, name="nano", **changes):
    path = folder / f"{name}.safetensors"
    checkpoint.save(path, lively(**changes), list(SHAPES), {"command": "none", "steps": 0})
    return path
