"""SiT with a timestep per token and a log-variance channel: the network of Patch Forcing (paper, Sec. 3)."""

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from pf_core.errors import InputError
from pf_core.models.context import Context
from pf_core.models.layers import (
    Block,
    FinalLayer,
    LabelEmbedder,
    PatchEmbed,
    TimestepEmbedder,
    position_embedding,
)
from pf_core.models.text import Text, TextConfig, TextEncoder
from pf_core.patches import PatchGrid
from pf_core.registry import number, whole
from pf_core.types import PatchTime, Prediction


@dataclass(frozen=True)
class SiTConfig:
    """Everything that shapes a SiT. `input_size` is a side in (latent) pixels, or (height, width).

    `num_classes` 0 makes an unconditional network (one null row). `t_scale` multiplies t before its embedding: 1 in
    the released networks, 1000 in ours, whose few training steps profit from the faster features.
    `predict_uncertainty=False` is the SiT baseline: no log-variance channel, and one t for all patches.
    `text` makes a network of prompts in the place of classes.
    Raises InputError for a size that no network can have.
    """

    in_channels: int = 4
    input_size: int | tuple[int, int] = 32
    patch_size: int = 2
    depth: int = 12
    hidden_size: int = 768
    num_heads: int = 12
    num_classes: int = 1000
    mlp_ratio: float = 4.0
    predict_uncertainty: bool = True
    t_scale: float = 1.0
    text: TextConfig | None = None

    def __post_init__(self):
        if isinstance(self.input_size, list):
            object.__setattr__(self, "input_size", tuple(self.input_size))
        if isinstance(self.text, dict):
            object.__setattr__(self, "text", TextConfig(**self.text))
        _check(self)
        if self.text and self.num_classes:
            raise InputError("A network of prompts has no classes: set num_classes to 0.")
        if self.hidden_size % self.num_heads or self.hidden_size % 4:
            raise InputError(f"Width {self.hidden_size} must be a multiple of 4 and of the {self.num_heads} heads.")

    @property
    def grid(self) -> PatchGrid:
        return PatchGrid.of(self.input_size, self.patch_size)

    @property
    def narrow(self) -> str:
        """What comes of a width below the numbers of a patch, as a sentence; "" if it is as wide (docs/RECIPE.md)."""
        numbers = self.in_channels * self.patch_size**2
        if self.hidden_size >= numbers:
            return ""
        return (
            f"A patch has {numbers} numbers and the network is {self.hidden_size} wide: not all of a patch's noise "
            f"passes through it, and its pictures stay noisy. Smaller patches, or a width of {numbers}, are better."
        )


LIMITS = {  # far beyond any real network: what is outside is damage
    "in_channels": (1, 1024),
    "patch_size": (1, 1024),
    "depth": (0, 1000),
    "hidden_size": (4, 65536),
    "num_heads": (1, 4096),
    "num_classes": (0, 1_000_000),
}


def _check(config: SiTConfig) -> None:
    """Raises InputError for a field that no network can have: a config may come from a file."""
    for name, (low, high) in LIMITS.items():
        whole(name, getattr(config, name), low, high)
    sides = config.input_size if isinstance(config.input_size, tuple) else (config.input_size,) * 2
    if len(sides) != 2:
        raise InputError(f"input_size must be a side, or height and width, not {config.input_size!r:.60}.")
    for side in sides:
        whole("input_size", side, 1, 65536)
    number("mlp_ratio", config.mlp_ratio, 0.01, 100)
    number("t_scale", config.t_scale)


PRESETS: dict[str, SiTConfig] = {
    "S/2": SiTConfig(depth=12, hidden_size=384, num_heads=6),
    "B/2": SiTConfig(depth=12, hidden_size=768, num_heads=12),
    "L/2": SiTConfig(depth=24, hidden_size=1024, num_heads=16),
    "XL/2": SiTConfig(depth=28, hidden_size=1152, num_heads=16),
    "nano": SiTConfig(in_channels=3, patch_size=8, depth=2, hidden_size=32, num_heads=2, num_classes=10, t_scale=1000),
    "mini": SiTConfig(in_channels=3, patch_size=4, depth=4, hidden_size=96, num_heads=2, num_classes=10, t_scale=1000),
    "tiny": SiTConfig(in_channels=3, patch_size=4, depth=6, hidden_size=128, num_heads=2, num_classes=10, t_scale=1000),
    "small": SiTConfig(
        in_channels=3, patch_size=4, depth=8, hidden_size=192, num_heads=6, num_classes=10, t_scale=1000
    ),
}


def preset(name: str, **changes) -> SiTConfig:
    """A named size, with fields changed. Raises InputError for an unknown name."""
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"There is no network size {name!r:.60}. Known: {', '.join(PRESETS)}.")
    return replace(PRESETS[name], **changes)


class SiT(nn.Module):
    """Predicts a velocity and, with `predict_uncertainty`, the log-variance of its own error.

    Calling it: x (B, C, H, W), t a PatchTime, y (B,) class indices (the null class is `num_classes`) -> Prediction
    with v (B, C, H, W) and logvar (B, 1, H, W) or None. At the start v = 0 and logvar = 0. A network of prompts takes
    y (B, L), rows of tokens, or what `embed` makes of them. tower False: without its text tower, to look at its shape.
    """

    def __init__(self, config: SiTConfig, tower: bool = True):
        super().__init__()
        self.config, self.grid, self.channels = config, config.grid, config.in_channels
        d = config.hidden_size
        outputs = config.in_channels + int(config.predict_uncertainty)
        self.x_embedder = PatchEmbed(config.in_channels, config.patch_size, d)
        self.t_embedder = TimestepEmbedder(d, scale=config.t_scale)
        if config.text is None:
            self.y_embedder = LabelEmbedder(config.num_classes, d)
        self.pos_embed = nn.Parameter(position_embedding(self.grid, d), requires_grad=False)
        text_width = config.text.width if config.text else None
        self.blocks = nn.ModuleList(
            Block(d, config.num_heads, config.mlp_ratio, text_width) for _ in range(config.depth)
        )
        self.final_layer = FinalLayer(d, config.patch_size**2 * outputs)
        self.apply(_xavier)
        self._init_embedders()
        if config.text is not None:  # open_clip's own initial weights
            self.text = TextEncoder(config.text, d, tower)

    def _init_embedders(self) -> None:
        conv = self.x_embedder.proj
        nn.init.xavier_uniform_(conv.weight.view(conv.weight.shape[0], -1))
        nn.init.zeros_(conv.bias)
        labels = [] if self.config.text else [self.y_embedder.embedding_table.weight]
        for weight in (*labels, self.t_embedder.mlp[0].weight, self.t_embedder.mlp[2].weight):
            nn.init.normal_(weight, std=0.02)
        zeroed = [b.adaLN_modulation[1] for b in self.blocks] + [
            self.final_layer.adaLN_modulation[1],
            self.final_layer.linear,
        ]
        zeroed += [b.cross_attn.proj for b in self.blocks if self.config.text]
        for linear in zeroed:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, t: PatchTime, y: Tensor) -> Prediction:
        h = self.x_embedder(x) + self.pos_embed
        c, text = self._condition(t, y)
        for block in self.blocks:
            h = block(h, c, t, text=text)
        return self._prediction(self.final_layer(h, c, t))

    def _condition(self, t: PatchTime, y: Tensor) -> tuple[Tensor, Text | None]:
        """(B, K, D), one condition per distinct time; and the prompts that patches attend to."""
        time = self.t_embedder(t.levels)
        if self.config.text is None:
            return time + self.y_embedder(y)[:, None], None
        text = self.text(y)
        return time + text.pooled[:, None], text

    def embed(self, y: Tensor) -> Tensor:
        """What a call takes for y, computed once for many calls: classes as they are; of prompts (B, L) the features of
        their tokens (B, L, W), each prompt by itself, so that none depends on its batch."""
        if self.config.text is None:
            return y
        prompts, place = y.unique(dim=0, return_inverse=True)
        return torch.cat([self.text.features(prompt[None]) for prompt in prompts])[place]

    def attention_to_tokens(self, x: Tensor, t: PatchTime, y: Tensor) -> Tensor:
        """(B, L, N), of a network of prompts: how much of a patch's cross-attention a token has, the mean over blocks
        and heads; a patch's sum to 1. One forward pass."""
        looks: list[Tensor] = []
        h = self.x_embedder(x) + self.pos_embed
        c, text = self._condition(t, y)
        for block in self.blocks:
            h = block(h, c, t, text=text, looks=looks)
        return torch.stack(looks).mean(0)

    def new_context(self) -> Context:
        """For `with_context`."""
        return Context()

    def with_context(
        self, x: Tensor, t: PatchTime, y: Tensor, context: Context, moving: Tensor | None = None
    ) -> Prediction:
        """As a call, and `context` keeps what patches leave. moving (B, N) bool: only these patches pass, beside what
        the others left in their last pass, whose prediction stands; None: all."""
        context.begin(moving)
        h = self.x_embedder(x) + self.pos_embed
        if context.moving is not None:
            h, t = context.moving.take(h), context.moving.at(t)
        c, text = self._condition(t, y)  # of the times of those that pass
        for block in self.blocks:
            h = block(h, c, t, context, text)
        return self._prediction(context.output(self.final_layer(h, c, t)))

    def _prediction(self, tokens: Tensor) -> Prediction:
        out = self.grid.join(tokens)
        if not self.config.predict_uncertainty:
            return Prediction(out, None, out, None)
        v, logvar = out[:, :-1], out[:, -1:]
        return Prediction(v, logvar, v, logvar)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def config_dict(config: SiTConfig) -> dict:
    """JSON-ready form; `SiTConfig(**config_dict(c)) == c`."""
    d = asdict(config)
    if config.text is None:  # as in all files from before there were prompts
        del d["text"]
    return d


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trainable, all) parameters; the two differ by the frozen `pos_embed`."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, train in sizes if train), sum(n for n, _ in sizes)


def parameter_count(config: SiTConfig) -> int:
    """As `count_parameters(...)[1]`, without the memory that the network would take."""
    with torch.device("meta"):
        return count_parameters(SiT(config))[1]


def build(config: SiTConfig, seed: int = 0) -> SiT:
    """A network with initial weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SiT(config)
