"""REPA (representation alignment), off unless asked for: tokens after one block, through a small projector, are pulled
towards a frozen encoder's tokens of the clean picture. The paper calls it orthogonal to Patch Forcing. Loss and weight
were not released with it; here the loss is 1 - cosine, averaged over patches, with REPA's own weight 0.5.

The encoder is the picture's half of a CLIP, from a local file: open_clip's names or a JSON file say its sizes.
"""

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pf_core import bounded
from pf_core.errors import InputError
from pf_core.models import foreign
from pf_core.models.openclip import without_missing_operators
from pf_core.patches import PatchGrid
from pf_core.training.config import RepaConfig
from pf_core.training.features import Features, key_of
from pf_core.training.loop import Batch, TrainConfig, Trainer
from pf_core.types import Codec, PatchTime, Prediction

HIDDEN = 2048  # of the projector
_ENTRIES = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}

Encoder = Callable[[Tensor], Tensor]  # pictures (B, 3, H, W) in [-1, 1] -> tokens (B, rows, columns, D)


class Aligned(nn.Module):
    """A network with a projector on the tokens after one of its blocks. Called as the network; `projected` (B, N, D) is
    what the projector made of them in the last pass."""

    def __init__(self, network: nn.Module, block: int, width: int):
        super().__init__()
        d = network.config.hidden_size
        self.network = network
        layers = (nn.Linear(d, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, width))
        self.projector = nn.Sequential(*layers)
        self.projected: Tensor | None = None
        network.blocks[block - 1].register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, given: Any, tokens: Tensor) -> None:
        self._tokens = tokens

    def forward(self, x: Tensor, t: PatchTime, y: Tensor) -> Prediction:
        prediction = self.network(x, t, y)
        self.projected, self._tokens = self.projector(self._tokens), None
        return prediction


class AlignedTrainer(Trainer):
    """A Trainer with REPA's loss beside its own. The projector is trained and saved with the state, and is no part of
    the network. cached: see features.key_of; None: the encoder looks at every batch anew. Raises InputError for a block
    that the network has not, and for compiled networks."""

    def __init__(
        self,
        model: nn.Module,
        cfg: TrainConfig,
        repa: RepaConfig,
        encoder: Encoder,
        codec: Codec,
        cached: dict[str, Any] | None = None,
    ):
        _check_network(repa, len(model.blocks), cfg)
        self.repa, self.encoder, self.codec, self._cached = repa, encoder, codec, cached
        super().__init__(model, cfg)

    def _prepared(self) -> nn.Module:
        side = self.grid.height * self.codec.factor
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.cfg.seed)
            width = self.encoder(torch.zeros(1, 3, side, side, device=self.accelerator.device)).shape[-1]
            self.aligned = Aligned(self.model, self.repa.repa_block, width).to(self.accelerator.device)
        key = self._cached and self._cached | {"side": side, "grid": [self.grid.rows, self.grid.cols]}
        self.features = key and Features(key, (self.grid.n, width))
        self.optimizers[0].add_param_group({"params": list(self.aligned.projector.parameters())})
        return self.accelerator.prepare(self.aligned)

    def _also(self, batch: Batch) -> Tensor:
        """REPA's loss: weight times the mean over patches of 1 - cos(projected token, encoder's token)."""
        wanted = self._wanted(batch.x1) if self.features is None else self.features.of(batch.x1, self._wanted)
        self.alignment = F.cosine_similarity(self.aligned.projected.float(), wanted.float(), dim=-1).mean()
        return self.repa.repa_weight * (1 - self.alignment)

    @torch.no_grad()
    def _wanted(self, x1: Tensor) -> Tensor:
        """(B, N, D): the encoder's tokens of states, on the network's grid."""
        return on_grid(self.encoder(self.codec.decode(x1)), self.grid)

    def _clip(self, limit: float) -> Tensor:
        return self.accelerator.clip_grad_norm_([*self._parameters, *self.aligned.projector.parameters()], limit)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"projector": self.aligned.projector.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.aligned.projector.load_state_dict(state["projector"])


def on_grid(tokens: Tensor, grid: PatchGrid) -> Tensor:
    """(B, rows, columns, D) -> (B, N, D): averaged, or repeated, where the encoder has other patches."""
    maps = F.adaptive_avg_pool2d(tokens.movedim(-1, 1).float(), (grid.rows, grid.cols))
    return maps.flatten(2).transpose(1, 2)


def check(repa: RepaConfig, data: Any, depth: int, cfg: TrainConfig) -> None:
    """What can be told without reading the encoder's weights. Raises InputError for latents, whose pictures are not at
    hand, for a file that is not there, and for what `AlignedTrainer` refuses. depth: blocks of the network."""
    if hasattr(data, "encoded_by"):
        raise InputError("REPA's encoder looks at pictures, and a set of latents has none: leave --repa out.")
    if not Path(repa.repa).is_file():
        raise InputError(f"There is no file {repa.repa} of an encoder's weights for REPA.")
    _sizes(repa.repa_model)
    _check_network(repa, depth, cfg)


def _check_network(repa: RepaConfig, depth: int, cfg: TrainConfig) -> None:
    if not 1 <= repa.repa_block <= depth:
        raise InputError(f"The network has {depth} blocks: repa_block {repa.repa_block} is none.")
    if cfg.compile:
        raise InputError("REPA looks into the network, which a compiled one does not let: leave --compile out.")


def trainer_of(repa: RepaConfig, data: Any, codec: Codec, depth: int, cfg: TrainConfig) -> Callable[..., Trainer]:
    """What trains by this configuration. Raises InputError as `check`, for a file that holds no such encoder, and for a
    cache of a data set without end."""
    check(repa, data, depth, cfg)
    encoder = clip_encoder(repa.repa, repa.repa_model)
    cached = key_of(repa.repa, _sizes(repa.repa_model), data) if repa.repa_cache else None
    return partial(AlignedTrainer, repa=repa, encoder=encoder, codec=codec, cached=cached)


def clip_encoder(weights: str | Path, model: str) -> Encoder:
    """The picture's half of a CLIP, frozen. Raises InputError."""
    sizes, width = _sizes(model)
    state = foreign.read(weights)[0]
    state = state.get("state_dict", state)
    state = {name.removeprefix("module."): value for name, value in state.items()}
    visual = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    try:
        with without_missing_operators():
            kind = importlib.import_module("open_clip.transformer").VisionTransformer
        network = kind(**sizes, output_dim=width, output_tokens=True)
        network.load_state_dict({k: v.float() for k, v in visual.items()})
    except (RuntimeError, ImportError, TypeError, AttributeError) as e:
        reason = " ".join(str(e).split())[:160]
        raise InputError(f"{weights} does not hold the weights of a CLIP of the sizes {model} ({reason}).") from None
    network.eval().requires_grad_(False)
    mean, std = (torch.tensor(v)[:, None, None] for v in (_MEAN, _STD))
    side = sizes["image_size"]

    def tokens(pictures: Tensor) -> Tensor:
        network.to(pictures.device)
        pictures = F.interpolate(pictures.float(), (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
        pictures = ((pictures + 1) / 2 - mean.to(pictures.device)) / std.to(pictures.device)
        found = network(pictures)[1]
        count = side // sizes["patch_size"]
        return found.unflatten(1, (count, count))

    return tokens


_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, of pictures in [0, 1]


def _sizes(model: str) -> tuple[dict[str, Any], int]:
    """(sizes of the picture's half, width of its answer) of open_clip's configuration, or of a JSON file like them."""
    package = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    path = Path(model) if str(model).endswith(".json") else Path(package) / "model_configs" / f"{Path(model).name}.json"
    try:
        config = bounded.read_json(path)
        vision, width = config["vision_cfg"], config["embed_dim"]
        if set(vision) - _ENTRIES or config.get("quick_gelu"):
            raise ValueError("it is not a plain vision transformer")
        head = vision.get("head_width", 64)
        sizes = {k: vision[k] for k in ("image_size", "layers", "width", "patch_size")}
        return sizes | {"heads": vision["width"] // head, "mlp_ratio": vision.get("mlp_ratio", 4.0)}, width
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{model} names no encoder that can be read here ({e}): try ViT-B-16.") from None
