"""Text for a network: a text tower of open_clip, trained along or given, and attention from patches to its tokens."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pf_core.errors import InputError
from pf_core.models import foreign, openclip
from pf_core.models.cpu_step import attention, linear
from pf_core.models.tokens import ALL, Vocabulary
from pf_core.registry import whole

HEAD = 64  # width of a head in all of CLIP's text towers


@dataclass(frozen=True)
class TextConfig:
    """Everything that shapes a text tower: CLIP's text transformer at any width, without its last projection.

    context: tokens of a prompt at most, start and end counted. rows: see Vocabulary. quick_gelu: OpenAI's own weights
    were made with x * sigmoid(1.702 x), others with the exact GELU. trained: along with the network, or frozen.
    Raises InputError for a size that no tower can have.
    """

    width: int = 96
    layers: int = 2
    heads: int = 2
    context: int = 32
    rows: tuple[int, ...] | None = None
    quick_gelu: bool = False
    trained: bool = True

    def __post_init__(self):
        for name, (low, high) in _LIMITS.items():
            whole(name, getattr(self, name), low, high)
        if self.width % self.heads:
            raise InputError(f"The text tower's width {self.width} must be a multiple of its {self.heads} heads.")
        if self.rows is not None:
            object.__setattr__(self, "rows", tuple(self.rows))
            rising = all(a < b for a, b in zip(self.rows, self.rows[1:], strict=False))
            if not rising or not all(type(r) is int and 0 <= r < ALL - 2 for r in self.rows):
                raise InputError(f"A text tower's rows are rising numbers of tokens from 0 to {ALL - 3}.")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.context, self.rows)


_LIMITS = {"width": (4, 65536), "layers": (1, 1000), "heads": (1, 4096), "context": (4, 4096)}


class Text(NamedTuple):
    """tokens: (B, L, W); valid: (B, 1, 1, L) bool, False for padding; pooled: (B, D), for the AdaLN condition."""

    tokens: Tensor
    valid: Tensor
    pooled: Tensor


class TextEncoder(nn.Module):
    """Rows of tokens -> what a network takes of a prompt. `features` is the part that can be computed once a run."""

    def __init__(self, config: TextConfig, width: int, tower: bool = True):
        super().__init__()
        self.config = config
        self.pool = nn.Linear(config.width, width)
        nn.init.normal_(self.pool.weight, std=0.02)
        nn.init.zeros_(self.pool.bias)
        if tower:
            self.tower = new_tower(config).requires_grad_(config.trained)

    def forward(self, y: Tensor) -> Text:
        """y: (B, L) rows of tokens, int64, or their `features`, floats."""
        y = y if y.is_floating_point() else self.features(y)
        valid = y.ne(0).any(-1)
        last = valid.sum(1) - 1  # the end: as the tower is causal, it alone knows the whole prompt
        pooled = y.gather(1, last[:, None, None].expand(-1, 1, y.shape[2]))[:, 0]
        return Text(y, valid[:, None, None], self.pool(pooled))

    def features(self, rows: Tensor) -> Tensor:
        """(B, L) -> (B, L, W), zeros for padding. What stands behind a token has no part in it."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.trained):
            tower, length = self.tower, rows.shape[1]
            x = tower.token_embedding(rows) + tower.positional_embedding[:length]
            causal = torch.full((length, length), -torch.inf, device=x.device, dtype=x.dtype).triu_(1)
            x = tower.ln_final(tower.transformer(x, attn_mask=causal))
            end = rows == self.config.vocabulary.size - 1
            padding = end.cumsum(1) - end.long() > 0
            return x.masked_fill(padding[..., None], 0)


def new_tower(config: TextConfig) -> nn.Module:
    """open_clip's TextTransformer of this size, without what the network does not use: its projection and its pooling,
    and its causal mask, which `features` makes."""
    from_package = openclip.package().transformer
    tower = from_package.TextTransformer(
        context_length=config.context,
        vocab_size=config.vocabulary.size,
        width=config.width,
        heads=config.heads,
        layers=config.layers,
        output_dim=None,
        act_layer=from_package.QuickGELU if config.quick_gelu else nn.GELU,
    )
    tower.attn_mask = None  # a buffer that is not in the state dict: it would stay on the meta device
    return tower


class CrossAttention(nn.Module):
    """From patches (B, N, D) to the tokens of a prompt. Adds nothing at the start."""

    fused = True  # as Attention's

    def __init__(self, width: int, heads: int, text_width: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(text_width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, text: Text, looks: list[Tensor] | None = None) -> Tensor:
        """looks: takes the weights (B, L, N), the mean over heads; a patch's sum to 1."""
        b, n, d = x.shape
        q = linear(self.q, x).reshape(b, n, self.heads, d // self.heads).transpose(1, 2)
        k, v = linear(self.kv, text.tokens).reshape(b, -1, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if looks is not None:
            scores = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5
            looks.append(scores.masked_fill(~text.valid, -torch.inf).softmax(-1).mean(1).transpose(1, 2))
        out = attention(q, k, v, self.fused, text.valid)
        return linear(self.proj, out.transpose(1, 2).reshape(b, n, d))


# towers of others


def read_tower(
    path: str | Path, quick_gelu: bool = False, trained: bool = False
) -> tuple[TextConfig, dict[str, Tensor]]:
    """(its size, its weights by their names in `TextEncoder.tower`) of a CLIP model, or of its text tower alone, as
    open_clip writes it: safetensors, or a state dict of torch.save. Raises InputError for any other file."""
    weights = _text_part(path, _state_dict(path))
    try:
        vocabulary, width = weights["token_embedding.weight"].shape
        context, _ = weights["positional_embedding"].shape
        layers = len({key.split(".")[2] for key in weights if key.startswith("transformer.resblocks.")})
    except (KeyError, ValueError, IndexError):
        raise InputError(f"{path} holds no text tower of CLIP: give a file of open_clip's weights.") from None
    if vocabulary != ALL or width % HEAD:
        raise InputError(
            f"{path} holds a text tower with {vocabulary:,} tokens and width {width}; CLIP's tokenizer has {ALL:,}, "
            f"and its towers' widths are multiples of {HEAD}."
        )
    config = TextConfig(width, layers, width // HEAD, context, None, quick_gelu, trained)
    with torch.device("meta"):
        expected = {key: value.shape for key, value in new_tower(config).state_dict().items()}
    if expected != {key: value.shape for key, value in weights.items()}:
        wrong = sorted(expected.keys() ^ weights.keys()) or [k for k in expected if expected[k] != weights[k].shape]
        raise InputError(f"{path} holds another text tower than open_clip's plain one: it differs in {wrong[0]}.")
    if not all(value.isfinite().all() for value in weights.values()):
        raise InputError(f"{path} holds weights that are not finite numbers.")
    return config, weights


def _state_dict(path: str | Path) -> dict[str, Any]:
    """By open_clip's own loader, once it is sure that nothing but tensors is read."""
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    foreign.check(path)
    try:
        weights = openclip.package().factory.load_state_dict(str(path), weights_only=True)
    except Exception:  # whatever a foreign file makes the reader raise; what it says is about torch's own settings
        raise InputError(
            f"{path} cannot be read as open_clip's weights, which are tensors and nothing else: {foreign.SAVE_IT}."
        ) from None
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise InputError(f"{path} holds no state dict: give a file of open_clip's weights.")
    return weights


_PARTS = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.")


def _text_part(path: str | Path, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """In fp32. A model's text tower stands under `text.`, or, in the older layout, beside `visual.`."""
    if any(key.startswith("text.") for key in weights):
        weights = {key.removeprefix("text."): value for key, value in weights.items() if key.startswith("text.")}
    return {key: value.float() for key, value in weights.items() if key.startswith(_PARTS)}
