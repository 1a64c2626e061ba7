"""Weights of others, read without running anything that their files ask for.

A pickle is a program. Torch's own reader of weights runs only what it knows to be harmless, and that is tried first,
with inert stand-ins for the names under which OmegaConf's settings are pickled. Training checkpoints often hold more
(optimizers, callbacks, settings of other libraries): those are read by an unpickler of our own, which knows how tensors
are rebuilt and makes an inert object of everything else, so that no name in a file is ever imported or called.
"""

import collections
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pf_core import bounded
from pf_core.errors import InputError

CONFIG_DEPTH = 20  # nested settings deeper than this are no network's


class Inert:
    """Stands for whatever a pickle names: takes any arguments and any state, does nothing, and keeps the state."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any):
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        return Inert()

    # a pickle fills lists, dicts and sets by these
    def append(self, item: Any) -> None: ...
    def extend(self, items: Any) -> None: ...
    def add(self, item: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...


_OMEGACONF = ("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata", "base.Node")
_OMEGACONF += tuple(f"nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Bytes", "Path"))
_STAND_INS = [(type("Inert", (Inert,), {}), f"omegaconf.{name}") for name in _OMEGACONF]
_STAND_INS += [(type("Inert", (Inert,), {}), name) for name in ("typing.Any", "collections.defaultdict")]
_STAND_INS += [(kind, f"builtins.{kind.__name__}") for kind in (dict, list, int, str, float, bool, tuple)]


def read(path: str | Path) -> tuple[dict[str, Any], list[str]]:
    """(what the file holds, what there is to say about how it was read). A safetensors file gives {"state_dict": ...}.

    Raises InputError for a file that holds no weights, or that cannot be read without running its code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if path.suffix == ".safetensors":
        return _safetensors(path), []
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            return _dict(path, torch.load(path, map_location="cpu", weights_only=True)), []
    except InputError:
        raise
    except Exception as refused:  # whatever a foreign file makes the reader raise
        reason = _reason(refused)
    try:
        held = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_module())
    except Exception as e:
        raise InputError(
            f"{path} cannot be read as weights ({_reason(e)}): convert a file that torch.save wrote, or save its state "
            "dict as safetensors where it was made."
        ) from None
    return _dict(path, held), [f"Torch's own reader refused the file ({reason}); everything but tensors was left out."]


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        with bounded.tensors(path) as f:
            about = f.metadata() or {}
        return {"state_dict": load_file(path), "metadata": about}
    except (SafetensorError, ValueError, OSError) as e:
        raise InputError(f"{path} cannot be read; it is cut short, damaged or no safetensors file ({e}).") from None


def _dict(path: Path, held: Any) -> dict[str, Any]:
    if not isinstance(held, dict):
        raise InputError(
            f"{path} holds {type(held).__name__}, not a state dict: save the network's state_dict() where it was made, "
            "not the network itself."
        )
    return held


def _reason(e: Exception) -> str:
    return " ".join(str(e).split())[:160].rstrip(".") or type(e).__name__


class _Unpickler(pickle.Unpickler):
    """Finds how tensors are rebuilt and nothing else: every other name is an inert object."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _REBUILD:
            return _REBUILD[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type("Inert", (Inert,), {})


def _parameter(data: Tensor, requires_grad: bool, hooks: Any) -> Tensor:
    return data


_REBUILD = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): torch.Size,
}


def _module() -> ModuleType:
    """What torch.load takes for the pickle module."""
    module = ModuleType("weights")
    module.Unpickler, module.load, module.UnpicklingError = _Unpickler, _load, pickle.UnpicklingError
    return module


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def plain(settings: Any, depth: int = 0) -> Any:
    """OmegaConf's pickled settings, or a plain dict, as plain values; anything else is None."""
    if depth > CONFIG_DEPTH:
        return None
    if isinstance(settings, Inert):
        state = settings.state if isinstance(settings.state, dict) else {}
        return plain(state["_content"] if "_content" in state else state.get("_val"), depth + 1)
    if isinstance(settings, dict):
        return {str(plain(k, depth + 1)): plain(v, depth + 1) for k, v in settings.items()}
    if isinstance(settings, list | tuple):
        return [plain(v, depth + 1) for v in settings]
    return settings if isinstance(settings, str | int | float | bool) else None
