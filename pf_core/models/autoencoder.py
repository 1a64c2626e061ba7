"""Autoencoders between images and latents: folders of diffusers' AutoencoderKL, read from this machine alone.

A folder holds config.json and diffusion_pytorch_model.safetensors, as `save_pretrained` writes them. diffusers is
imported when the first one is loaded. Nothing is fetched, and only safetensors are read.
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pf_core import bounded
from pf_core.errors import InputError
from pf_core.registry import number, whole

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
PIECE = 2**22
_given: Path | None = None  # what `use` named
_decoder: torch.device | None = None  # what `decode_on` named


@dataclass(frozen=True)
class About:
    """What a folder says of its autoencoder. A network's state is (latents - shift) * scale; `factor` is how
    much smaller a side of the latents is; hash: 16 hex digits of the SHA-256 of configuration and weights."""

    folder: Path
    channels: int
    factor: int
    scale: float
    shift: float

    @property
    def hash(self) -> str:
        stat = os.stat(self.folder / WEIGHTS)
        return _hash(self.folder, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def use(folder: str | Path | None) -> None:
    """An autoencoder for the networks whose file names none, or one that is not here. Raises InputError."""
    global _given
    _given = None if folder is None else describe(folder).folder


def given() -> Path | None:
    return _given


def decode_on(device: torch.device | None) -> None:
    """Where this process decodes, wherever the latents are: results are kept on the CPU. None: where they are."""
    global _decoder
    _decoder = device


def is_autoencoder(folder: Path) -> bool:
    """Whether a folder looks like one."""
    try:
        return bounded.read_json(folder / CONFIG).get("_class_name") == "AutoencoderKL"
    except (OSError, ValueError, AttributeError):
        return False


def describe(folder: str | Path) -> About:
    """A folder's, or that in its sub-folder vae. Raises InputError for a folder that holds none."""
    folder = Path(folder).expanduser()
    folder = folder / "vae" if not (folder / CONFIG).is_file() and (folder / "vae" / CONFIG).is_file() else folder
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} is no folder of an autoencoder: it has no {CONFIG}.")
    try:
        config = bounded.read_json(folder / CONFIG)
        kind = config.get("_class_name")
    except (OSError, ValueError, AttributeError) as e:
        raise InputError(f"{folder / CONFIG} cannot be read ({e}).") from None
    if kind != "AutoencoderKL":
        raise InputError(f"{folder} holds {kind!r:.60}: an autoencoder here is diffusers' AutoencoderKL.")
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            f"{folder} has no {WEIGHTS}: only safetensors are read, so save it again with save_pretrained(folder)."
        )
    if config.get("latents_mean") is not None or config.get("latents_std") is not None:
        raise InputError(f"{folder} scales its latents channel by channel (latents_mean), which is not known here.")
    blocks = config.get("block_out_channels")
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 8:
        raise InputError(f"{folder / CONFIG} names no block_out_channels.")
    return About(
        folder.resolve(),
        whole("latent_channels", config.get("latent_channels", 4), 1, 256),
        2 ** (len(blocks) - 1),
        number("scaling_factor", config.get("scaling_factor") or 1.0, 1e-6, 1e6),
        number("shift_factor", config.get("shift_factor") or 0.0, -1e6, 1e6),
    )


@lru_cache(maxsize=16)
def _hash(folder: Path, *seen: int) -> str:
    config = bounded.read_json(folder / CONFIG)
    plain = {k: v for k, v in config.items() if not k.startswith("_")}  # without versions and places
    sha = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    with open(folder / WEIGHTS, "rb") as f:
        while piece := f.read(PIECE):
            sha.update(piece)
    return sha.hexdigest()[:16]


def load(about: About, device: torch.device | str = "cpu") -> nn.Module:
    """The autoencoder itself, in fp32; the last two are kept. Raises InputError."""
    stat = os.stat(about.folder / WEIGHTS)
    return _load(about.folder, str(device), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=2)  # one that decodes on a GPU beside one that encodes on the CPU
def _load(folder: Path, device: str, *seen: int) -> nn.Module:
    kind = _diffusers()
    try:
        model = kind.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, torch_dtype=torch.float32, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as e:
        reason = " ".join(str(e).split())[:200].rstrip(".")
        raise InputError(f"The autoencoder in {folder} cannot be loaded ({reason}).") from None
    return model.to(device).eval().requires_grad_(False)


def check_diffusers() -> None:
    """Raises InputError where autoencoders cannot be read for want of the package."""
    if importlib.util.find_spec("diffusers") is None:
        raise InputError(
            "Reading an autoencoder needs the package diffusers: pip install -r requirements-extra.txt, or sample "
            "without it, to the safetensors file of latents."
        )


def forget() -> None:
    """Let go of those that are kept."""
    _load.cache_clear()


def _diffusers() -> Any:
    """diffusers' class. Raises InputError where the package is missing or does not load."""
    check_diffusers()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        flags = importlib.import_module("diffusers.utils.import_utils")  # as of diffusers 0.42
        flags._torchvision_available = False  # not needed here; a torchvision built for another torch does not load
        return importlib.import_module("diffusers").AutoencoderKL
    except (ImportError, RuntimeError, AttributeError) as e:
        reason = " ".join(str(e).split())[:200].rstrip(".")
        raise InputError(f"The package diffusers does not load here ({reason}).") from None


@torch.no_grad()
def encode(about: About, images: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> latents (B, C, H / factor, W / factor) as they come out: the mean of the autoencoder's
    distribution. Raises InputError for sides that it does not divide."""
    if any(side % about.factor for side in images.shape[-2:]):
        raise InputError(
            f"Images of {images.shape[-2]} x {images.shape[-1]} pixels do not fit an autoencoder that divides sides by "
            f"{about.factor}: choose another size."
        )
    model = load(about, images.device)
    return torch.cat([model.encode(image[None].float()).latent_dist.mode() for image in images])


@torch.no_grad()
def decode(about: About, latents: Tensor) -> Tensor:
    """(B, C, h, w) -> images (B, 3, h * factor, w * factor) on the latents' device, unclamped, one after the other."""
    here = latents.device
    on = _decoder or here
    model = load(about, on)
    return torch.cat([model.decode(each[None].float().to(on)).sample.to(here) for each in latents])


def decoding_bytes(about: About, height: int, width: int) -> int:
    """About what decoding one image of latents (height, width) takes: six maps of the second layer at full
    size (measured: 5.2)."""
    widths = bounded.read_json(about.folder / CONFIG)["block_out_channels"]
    return 4 * 6 * widths[min(1, len(widths) - 1)] * height * width * about.factor**2


def below(roots: list[Path], deepest: int = 3) -> Iterator[Path]:
    """The folders of autoencoders under these, not through links."""
    for root in roots:
        for here, folders, names in os.walk(root):
            if len(Path(here).relative_to(root).parts) >= deepest:
                folders.clear()
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if CONFIG in names and WEIGHTS in names and is_autoencoder(Path(here)):
                yield Path(here)


# a linear preview


def fit_colours(states: Tensor, images: Tensor) -> list[float]:
    """The linear map from states (N, C, h, w) to colours that is nearest to images (N, 3, H, W), by least squares on
    the images' means over each latent pixel: three rows of C + 1 numbers, the last of a row its constant."""
    if states.device.type == "mps":  # which has no float64
        states, images = states.cpu(), images.cpu()
    target = nn.functional.adaptive_avg_pool2d(images.float(), states.shape[-2:])
    rows = states.float().movedim(1, -1).flatten(0, -2).double()
    a = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64, device=rows.device)], 1)
    b = target.movedim(1, -1).flatten(0, -2).double()
    ridge = 1e-6 * len(rows) * torch.eye(a.shape[1], dtype=torch.float64, device=rows.device)
    found = torch.linalg.solve(a.T @ a + ridge, a.T @ b)
    return [round(float(v), 5) for v in found.T.flatten()]


def colours(x: Tensor, linear: list[float]) -> Tensor:
    """States (B, C, h, w) -> colours (B, 3, h, w), unclamped, by what `fit_colours` found."""
    w = torch.tensor(linear, dtype=torch.float32, device=x.device).view(3, -1)
    return torch.einsum("bchw,kc->bkhw", x.float(), w[:, :-1]) + w[:, -1, None, None]
