"""A tiny autoencoder as diffusers writes it, what it encodes, and a network that was trained on that."""

import pytest
import torch

from pf_core.cli import main
from pf_core.models import autoencoder

CHANNELS, FACTOR, SCALE, SHIFT = 5, 4, 0.3, 0.1
SIDE = 32  # pixels of its images


def make_autoencoder(folder, seed=0):
    torch.manual_seed(seed)
    kind = autoencoder._diffusers()
    made = kind(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=CHANNELS,
        scaling_factor=SCALE,
        shift_factor=SHIFT,
    )
    made.save_pretrained(folder)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with `vae`, `set.safetensors` (its latents of shapes) and `runs/net` (three steps of a nano network)."""
    folder = tmp_path_factory.mktemp("latents")
    make_autoencoder(folder / "vae")
    encode = ["encode", "--autoencoder", folder / "vae", "--dataset", "shapes", "--images", 24, "--held", 8]
    assert main([*map(str, encode), "--mirrored", "--out", str(folder / "set.safetensors")]) == 0
    train = ["train", "--dataset", "latents", "--path", folder / "set.safetensors", "--model", "nano"]
    train += ["--patch-size", 2, "--steps", 3, "--batch-size", 8, "--out", folder / "runs" / "net"]
    train += ["--validate-every", 3, "--samples-every", 3, "--save-every", 3]
    assert main([*map(str, train)]) == 0
    yield folder
    autoencoder.forget()
