"""The parts of a network as a bf16 training step on a CPU computes them: the same maths, rounded elsewhere, faster.

The rule is fixed, so that a resumed run repeats the bits of one that never stopped: it looks at device, precision, and
whether gradients and compilation are on, never at a clock. Measurements behind it: docs/RECIPE.md, "Speed on a CPU".
Without gradients, in fp32 and on a GPU everything is as torch writes it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST = 1024  # patches up to which attention keeps its N x N weights for the backward pass


def applies(x: Tensor) -> bool:
    """Whether x is on its way through a bf16 training step on a CPU."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")


def attention(q: Tensor, k: Tensor, v: Tensor, fused: bool = True, valid: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for q, k, v (B, heads, N, d). valid (B, 1, 1, N) bool: the keys that are seen; None:
    all. Torch's fused one walks through its backward pass in small fp32 tiles on a CPU; three batched bf16 products
    take a half to a quarter of its time."""
    if not fused:
        return _masked(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, valid).softmax(-1) @ v
    if q.shape[-2] > LONGEST or not applies(q):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=valid)
    with torch.autocast("cpu", enabled=False):  # it would have the softmax in fp32 memory; inside it is fp32 anyway
        return _masked(q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1), valid).softmax(-1) @ v


def _masked(scores: Tensor, valid: Tensor | None) -> Tensor:
    return scores if valid is None else scores.masked_fill(~valid, -torch.inf)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """layer(x) for x (B, N, D)."""
    if not (applies(x) and torch.compiler.is_compiling()):
        return layer(x)
    return _Linear.apply(x, layer.weight, layer.bias)


class _Linear(torch.autograd.Function):
    """x (B, N, D) W^T + b. The bias is fused with what follows, where torch copies it over the result beforehand; its
    gradient is summed image by image, which stays in the cache, and from the bf16 that the products read anyway."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        low = torch.get_autocast_dtype("cpu")
        ctx.dtype = x.dtype
        x, weight = x.to(low), weight.to(low)
        ctx.save_for_backward(x, weight)
        return (x @ weight.T + bias.float()).to(low)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        to_x = (grad @ weight).to(ctx.dtype)
        to_weight = (grad.flatten(0, 1).T @ x.flatten(0, 1)).float()
        return to_x, to_weight, grad.sum(1).float().sum(0)  # grad.float() would be computed a second time


def gelu(x: Tensor) -> Tensor:
    """GELU by its tanh formula; 1 + tanh(z) = 2 sigmoid(2 z), and exp is cheaper than tanh when compiled."""
    if not (applies(x) and torch.compiler.is_compiling()):
        return F.gelu(x, approximate="tanh")
    y = x.float()
    return (y * torch.sigmoid(math.sqrt(8 / math.pi) * (y + 0.044715 * y * y * y))).to(x.dtype)
