"""The parts of a SiT/DiT transformer, with the modulation given per token. Names are those of the released weights."""

import math

import torch
from torch import Tensor, nn

from pf_core.models.context import Context
from pf_core.models.cpu_step import attention, gelu, linear
from pf_core.models.text import CrossAttention, Text
from pf_core.patches import PatchGrid
from pf_core.types import PatchTime


def position_embedding(grid: PatchGrid, width: int) -> Tensor:
    """Fixed 2-D sin-cos table (1, N, width): first half the column, second half the row, each sin then cos."""
    freq = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, col = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.cols), indexing="ij")
    halves = [torch.outer(axis.flatten().double(), freq) for axis in (col, row)]
    return torch.cat([f(h) for h in halves for f in (torch.sin, torch.cos)], dim=1)[None].float()


def time_frequencies(count: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """(count,): 10000^(-k / count), k = 0, 1, ..."""
    return torch.exp(-math.log(10000.0) * torch.arange(count, dtype=dtype, device=device) / count)


def time_features(t: Tensor, width: int = 256) -> Tensor:
    """Sinusoidal features of t (...) -> (..., width): cos then sin of t times `time_frequencies`, fp32."""
    angle = t.float()[..., None] * time_frequencies(width // 2, device=t.device)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale) + shift


class PatchEmbed(nn.Module):
    def __init__(self, channels: int, patch_size: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2).contiguous()  # (B, N, D); all that follows keeps its layout


class TimestepEmbedder(nn.Module):
    def __init__(self, width: int, features: int = 256, scale: float = 1.0):
        super().__init__()
        self.features, self.scale = features, scale
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(time_features(t * self.scale, self.features).to(self.mlp[0].weight.dtype))


class LabelEmbedder(nn.Module):
    """num_classes rows and one more, the last, for the null class."""

    def __init__(self, num_classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, width)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


class Attention(nn.Module):
    fused = True  # False: in plain products, which can be differentiated forwards too

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """x (B, N, D). context: keeps the keys and values, and adds those of patches that are not in x."""
        b, n, d = x.shape
        q, k, v = linear(self.qkv, x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if context is not None:
            k, v = context.attend(k, v)
        return linear(self.proj, attention(q, k, v, self.fused).transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return linear(self.fc2, gelu(linear(self.fc1, x)))


def adaln(width: int, chunks: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, chunks * width))


def modulation(layers: nn.Sequential, c: Tensor, t: PatchTime) -> tuple[Tensor, ...]:
    """What `adaln` layers say of c (B, K, D), spread over the patches: its chunks, each (B, N or 1, D)."""
    silu, out = layers
    return t.spread(linear(out, silu(c))).chunk(out.out_features // out.in_features, dim=-1)


class Block(nn.Module):
    """Transformer block with AdaLN-Zero. The modulation is computed once per distinct time, then spread over tokens.
    text_width: of the tokens of a prompt, which patches attend to after each other; None: no text."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, text_width: int | None = None):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = Mlp(width, int(width * mlp_ratio + 1e-6))  # 704 * (960 / 704) is a little less than 960
        self.adaLN_modulation = adaln(width, 6)
        if text_width is not None:
            self.norm_cross = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
            self.cross_attn = CrossAttention(width, heads, text_width)

    def forward(
        self,
        x: Tensor,
        c: Tensor,
        t: PatchTime,
        context: Context | None = None,
        text: Text | None = None,
        looks: list[Tensor] | None = None,
    ) -> Tensor:
        """x: (B, N, D); c: (B, K, D), one condition per level of t; context: see Attention; looks: see
        CrossAttention."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation(self.adaLN_modulation, c, t)
        x = x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1), context)
        if text is not None:
            x = x + self.cross_attn(self.norm_cross(x), text, looks)
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = adaln(width, 2)

    def forward(self, x: Tensor, c: Tensor, t: PatchTime) -> Tensor:
        shift, scale = modulation(self.adaLN_modulation, c, t)
        return linear(self.linear, modulate(self.norm_final(x), shift, scale))
