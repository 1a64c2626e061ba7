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
from pf_core.models.sit import LIMITS, SiT, SiTConfig
from pf_core.registry import whole

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}  # width -> attention heads, of the sizes S, B, L and XL
WRAPPERS = ("module.", "_orig_mod.")  # what parallel and compiled training puts before names
FAMILIES = ("pft", "sit", "self-flow", "dit")
TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
TIME_FEATURES = 256
_ABOUT = ("config", "hyper_parameters", "metadata")  # what a file holds beside weights that is read or says nothing
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
    known = {name: w for name, w in weights.items() if _NAMES.fullmatch(name)}
    x = _of(known if known else weights, "x_embedder.proj.weight")
    for name, w in known.items():
        _check_tensor(name, w)
    family = family or _family(known, x)
    if family not in FAMILIES:
        raise InputError(f"The kind of network must be one of {', '.join(FAMILIES)}, not {family!r:.60}.")
    notes += _left_out(sorted(weights.keys() - known.keys()))
    config, more = _config(known, family, settings, heads)
    done = Converted(config, known, family, "noise" if family == "dit" else "velocity", notes + more)
    _LAYOUTS[family](done)
    _check(done)
    return done


# finding the weights


def _weights(held: dict[str, Any], ema: bool) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """(weights by name, the network's settings, notes)."""
    params = plain(held.get("hyper_parameters"))
    config = plain(held.get("config")) or (params.get("model") if isinstance(params, dict) else None)
    settings = config.get("params", config) if isinstance(config, dict) else {}
    settings = settings if isinstance(settings, dict) else {}
    places = ("ema", "state_dict", "model") if ema else ("model", "state_dict", "ema")
    place = next((k for k in places if isinstance(held.get(k), dict)), None)
    notes = [] if place in (None, "state_dict") else [f"Taken: the weights under {place!r}."]
    beside = () if place is None else sorted(str(k) for k in held if k not in (place, *_ABOUT))
    notes += _left_out(list(beside), "beside the weights")
    tensors, wrapped = _tensors(held if place is None else held[place])
    if wrapped:
        notes.append(f"Renamed: {wrapped} tensors, without {' or '.join(WRAPPERS)} before their names.")
    if not tensors:
        raise InputError("The file holds no weights: it has no state dict.")
    prefixes = ("ema_model.", "model.") if ema else ("model.", "ema_model.")
    for prefix in prefixes:
        inside = {name.removeprefix(prefix): w for name, w in tensors.items() if name.startswith(prefix)}
        if any(_NAMES.fullmatch(name) for name in inside):
            rest = sorted(name for name in tensors if not name.startswith(prefix))
            return inside, settings, [*notes, f"Taken: the weights under {prefix!r}.", *_left_out(rest)]
    return tensors, settings, notes


def _tensors(names: dict[Any, Any]) -> tuple[dict[str, Tensor], int]:
    """Tensors by name, and how many names lost what wraps them."""
    tensors, wrapped = {}, 0
    for name, value in names.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            bare = name
            for wrapper in WRAPPERS:
                bare = bare.removeprefix(wrapper)
            tensors[bare], wrapped = value.detach(), wrapped + (bare != name)
    return tensors, wrapped


def _left_out(names: list[str], where: str = "") -> list[str]:
    """A note on these tensors, those of one part together, or on what else a file holds and `where`."""
    parts = Counter(name if where else name.split(".")[0] for name in names)
    words = [f"{part:.60}.* ({count} tensors)" if count > 1 else f"{part:.60}" for part, count in parts.items()]
    return [f"Left out{where and ', '}{where}: {_listed(words, 20)}."] if words else []


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _check_tensor(name: str, w: Tensor) -> None:
    """Raises InputError for what is no plain tensor of numbers, or has a shape that no network of this layout has."""
    dimensions = {"pos_embed": (2, 3), "x_embedder.proj.weight": (2, 4)}.get(name, (1 + name.endswith("weight"),))
    if w.layout is not torch.strided or w.dtype not in TYPES:
        raise InputError(f"{name} holds {w.dtype} ({w.layout}): save the weights as float32 or bfloat16.")
    if w.ndim not in dimensions or not w.numel():
        raise InputError(f"{name} has the shape {tuple(w.shape)}, which no network of these kinds has.")
    if not w.is_meta and w.nbytes > w.untyped_storage().nbytes():
        raise InputError(f"{name} repeats fewer numbers than it has places for: save the weights with .contiguous().")
    if name == "t_embedder.mlp.0.weight" and w.shape[1] != TIME_FEATURES:
        raise InputError(f"{name} takes {w.shape[1]} features of t; networks of these kinds have {TIME_FEATURES}.")


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
        told = settings.get("num_heads")
        heads = whole("num_heads", told, *LIMITS["num_heads"]) if told else HEADS.get(width) or max(1, width // 64)
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
        made = w.shape[0] // cells
        if made == channels:
            return
        if w.shape[0] != 2 * channels * cells:
            raise InputError(f"{name} has {w.shape[0]} rows, not {channels * cells} or twice as many.")
        done.weights[name] = w.unflatten(0, (cells, made))[:, :channels].flatten(0, 1)
    done.notes.append(f"Left out: the second half of the output channels; the first is the {what}.")


def _self_flow(done: Converted) -> None:
    """Time runs from data to noise there, and velocity with it; the embedding of patches is a linear layer."""
    w, c, p = done.weights, done.config.in_channels, done.config.patch_size
    if w["x_embedder.proj.weight"].ndim == 2:
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
    f = time_frequencies(weight.shape[1] // 2, torch.float64, weight.device)
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
    done.weights["pos_embed"] = done.weights["pos_embed"].reshape(done.config.grid.n, -1)[None]
    if missing := sorted(wanted.keys() - done.weights.keys()):
        raise InputError(f"The weights lack {_listed(missing)}.")
    seen = set()
    for name, shape in wanted.items():
        w = done.weights[name]
        if w.shape != shape:
            raise InputError(f"{name} has the shape {tuple(w.shape)}, not {tuple(shape)}.")
        if w.is_meta:  # shapes alone
            continue
        if not w.float().isfinite().all():
            raise InputError(f"{name} holds values that are not finite numbers, or too large for float32.")
        if (held := w.untyped_storage().data_ptr()) in seen:
            done.weights[name] = w.clone()  # two names of the same numbers are written one by one
        seen.add(held)
    if done.weights["pos_embed"].is_meta:
        return
    away = (done.weights["pos_embed"].float() - position_embedding(done.config.grid, done.config.hidden_size)).abs()
    if away.max() > 1e-4:
        done.notes.append(f"Kept: its own table of positions, which differs from ours by up to {away.max():.2g}.")
