"""Released networks of this method and its neighbours -> checkpoints of this project: names, shapes, time and sign."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.models.foreign import plain
from pf_core.models.layers import position_embedding, time_frequencies
from pf_core.models.sit import SiT, SiTConfig

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}  # width -> attention heads, of the sizes S, B, L and XL
WRAPPERS = ("module.", "_orig_mod.")  # what parallel and compiled training puts before names
FAMILIES = ("pft", "sit", "self-flow", "dit")
_NAMES = re.compile(
    r"(pos_embed|x_embedder\.proj\.(weight|bias)|t_embedder\.mlp\.[02]\.(weight|bias)"
    r"|y_embedder\.embedding_table\.weight|final_layer\.(linear|adaLN_modulation\.1)\.(weight|bias)"
    r"|blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2)|adaLN_modulation\.1)\.(weight|bias))"
)


@dataclass
class Converted:
    """A network in our layout, and in sentences all that was changed, left out or assumed. `predicts` is "velocity", or
    "noise" for weights that can be trained on but not sampled from."""

    config: SiTConfig
    weights: dict[str, Tensor]
    family: str
    predicts: str = "velocity"
    notes: list[str] = field(default_factory=list)


def convert(held: dict[str, Any], family: str | None = None, heads: int | None = None, ema: bool = True) -> Converted:
    """What `foreign.read` found -> a network of ours, its weights in the type that they have.

    family: one of FAMILIES, None to tell it from the layout. ema: the averaged weights where a training checkpoint has
    both. Raises InputError for weights of another layout.
    """
    weights, settings, notes = _weights(held, ema)
    x = _of(weights, "x_embedder.proj.weight")
    family = family or _family(weights, x)
    if family not in FAMILIES:
        raise InputError(f"The kind of network must be one of {', '.join(FAMILIES)}, not {family!r:.60}.")
    known = {name: w for name, w in weights.items() if _NAMES.fullmatch(name)}
    notes += _left_out(sorted(weights.keys() - known.keys()))
    config, more = _config(known, family, settings, heads)
    done = Converted(config, known, family, "noise" if family == "dit" else "velocity", notes + more)
    _LAYOUTS[family](done)
    _check(done)
    return done


# finding the weights


def _weights(held: dict[str, Any], ema: bool) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """(weights by name, the network's settings, notes)."""
    params = plain(held.get("hyper_parameters")) or {}
    config = plain(held.get("config")) or (params.get("model") if isinstance(params, dict) else None) or {}
    settings = config.get("params", config) if isinstance(config, dict) else {}
    places = [held[k] for k in ("ema", "state_dict", "model") if isinstance(held.get(k), dict)]
    tensors = _tensors(next(iter(places), held))
    if not tensors:
        raise InputError("The file holds no weights: it has no state dict.")
    prefixes = ("ema_model.", "model.") if ema else ("model.", "ema_model.")
    for prefix in prefixes:
        inside = {name.removeprefix(prefix): w for name, w in tensors.items() if name.startswith(prefix)}
        if any(_NAMES.fullmatch(name) for name in inside):
            rest = sorted(name for name in tensors if not name.startswith(prefix))
            notes = [f"Taken: the weights under {prefix!r}."]
            return inside, settings, notes + _left_out(rest)
    return tensors, settings, []


def _tensors(names: dict[Any, Any]) -> dict[str, Tensor]:
    tensors = {}
    for name, value in names.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            for wrapper in WRAPPERS:
                name = name.removeprefix(wrapper)
            tensors[name] = value.detach()
    return tensors


def _left_out(names: list[str]) -> list[str]:
    """A note on these tensors, those of one part together."""
    parts = Counter(name.split(".")[0] for name in names)
    words = [f"{part}.* ({count} tensors)" if count > 1 else part for part, count in parts.items()]
    return [f"Left out: {', '.join(words)}."] if words else []


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _of(weights: dict[str, Tensor], name: str) -> Tensor:
    if name not in weights:
        raise InputError(
            f"The weights have no {name!r}: they are not in the layout of SiT, DiT or Patch Forcing. They begin with "
            f"{_listed(sorted(weights), 4)}."
        )
    return weights[name]


# sizes


def _family(weights: dict[str, Tensor], x: Tensor) -> str:
    if x.ndim == 2:
        return "self-flow"
    channels, patch = x.shape[1], x.shape[-1]
    rows = _of(weights, "final_layer.linear.weight").shape[0]
    if rows == patch**2 * (channels + 1):
        return "pft"
    if rows == patch**2 * channels:
        return "sit"
    if rows == patch**2 * 2 * channels:
        raise InputError(
            "SiT's and DiT's releases have the same layout, and mean different things by it: say which one this is."
        )
    raise InputError(f"A final layer of {rows} rows fits no network of {channels} channels and patches of {patch}.")


def _config(
    weights: dict[str, Tensor], family: str, settings: dict[str, Any], heads: int | None
) -> tuple[SiTConfig, list[str]]:
    x, notes = weights["x_embedder.proj.weight"], []
    width, tokens = x.shape[0], _of(weights, "pos_embed").shape[-2]
    channels, patch = (x.shape[1], x.shape[-1]) if x.ndim == 4 else _flat(weights, x)
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise InputError(f"A grid of {tokens} patches is not square: such networks are not converted.")
    if heads is None:
        heads = settings.get("num_heads") or HEADS.get(width) or max(1, width // 64)
        if "num_heads" not in settings:
            notes.append(f"Assumed: {heads} attention heads, which weights do not tell.")
    blocks = {int(name.split(".")[1]) for name in weights if name.startswith("blocks.")}
    config = SiTConfig(
        in_channels=channels,
        input_size=side * patch,
        patch_size=patch,
        depth=len(blocks),
        hidden_size=width,
        num_heads=heads,
        num_classes=_of(weights, "y_embedder.embedding_table.weight").shape[0] - 1,
        mlp_ratio=_of(weights, "blocks.0.mlp.fc1.weight").shape[0] / width,
        predict_uncertainty=family == "pft",
        t_scale=1.0,
    )
    for name, mine in (("depth", config.depth), ("hidden_size", width), ("patch_size", patch)):
        if settings.get(name) not in (None, mine):
            raise InputError(f"The file's settings say {name} {settings[name]}, its weights {mine}.")
    return config, notes


def _flat(weights: dict[str, Tensor], x: Tensor) -> tuple[int, int]:
    """(channels, patch) of a linear embedding: patches of 2 x 2, and twice the channels at the end."""
    inside, rows = x.shape[1], _of(weights, "final_layer.linear.weight").shape[0]
    if inside % 4 or rows not in (inside, 2 * inside):
        raise InputError(
            f"An embedding of {inside} numbers and a final layer of {rows} rows fit no network known here."
        )
    return inside // 4, 2


# layouts


def _as_it_is(done: Converted) -> None:
    """Names and shapes are ours already."""


def _half(done: Converted) -> None:
    """Releases that also learnt a variance of their own have twice the channels: the second half is unused."""
    _keep(done, done.config.in_channels, "velocity" if done.predicts == "velocity" else "noise")


def _keep(done: Converted, channels: int, what: str) -> None:
    cells = done.config.patch_size**2
    for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
        w = _of(done.weights, name)
        whole = w.shape[0] // cells
        if whole == channels:
            return
        done.weights[name] = w.unflatten(0, (cells, whole))[:, :channels].flatten(0, 1)
    done.notes.append(f"Left out: the second half of the output channels; the first is the {what}.")


def _self_flow(done: Converted) -> None:
    """Time runs from data to noise there, and velocity with it; the embedding of patches is a linear layer."""
    w, c, p = done.weights, done.config.in_channels, done.config.patch_size
    w["x_embedder.proj.weight"] = w["x_embedder.proj.weight"].unflatten(1, (c, p, p))
    _keep(done, c, "velocity")
    for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
        w[name] = -w[name]
    name = "t_embedder.mlp.0.weight"
    w[name] = reversed_time(_of(w, name))
    done.notes.append(
        "Changed: t runs from noise to data and v with it (folded into weights); patches by a convolution."
    )


def reversed_time(weight: Tensor) -> Tensor:
    """The first layer on the features of t (D, 256), cos then sin, that says of t what `weight` says of 1 - t:
    cos((1 - t) f) = cos f cos(t f) + sin f sin(t f), sin((1 - t) f) = sin f cos(t f) - cos f sin(t f)."""
    f = time_frequencies(weight.shape[1] // 2, torch.float64)
    cos, sin = weight.double().chunk(2, 1)
    return torch.cat([cos * f.cos() + sin * f.sin(), cos * f.sin() - sin * f.cos()], 1).to(weight.dtype)


_LAYOUTS: dict[str, Callable[[Converted], None]] = {
    "pft": _as_it_is,
    "sit": _half,
    "dit": _half,
    "self-flow": _self_flow,
}


def _check(done: Converted) -> None:
    """Raises InputError unless names and shapes are those of a network of this configuration; says where the table of
    positions is not ours."""
    with torch.device("meta"):
        wanted = {name: p.shape for name, p in SiT(done.config).state_dict().items()}
    done.weights["pos_embed"] = done.weights["pos_embed"].reshape(wanted["pos_embed"])
    if missing := sorted(wanted.keys() - done.weights.keys()):
        raise InputError(f"The weights lack {_listed(missing)}.")
    for name, shape in wanted.items():
        if done.weights[name].shape != shape:
            raise InputError(f"{name} has the shape {tuple(done.weights[name].shape)}, not {tuple(shape)}.")
        if not done.weights[name].isfinite().all():
            raise InputError(f"{name} holds values that are not finite numbers.")
    away = (done.weights["pos_embed"].float() - position_embedding(done.config.grid, done.config.hidden_size)).abs()
    if away.max() > 1e-4:
        done.notes.append(f"Kept: its own table of positions, which differs from ours by up to {away.max():.2g}.")
