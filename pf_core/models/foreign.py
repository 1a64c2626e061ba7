"""Weights of others, read without running anything that their files ask for.

A pickle is a program. Torch's own reader of weights runs only what it knows to be harmless, and that is tried first,
with inert stand-ins for the names under which OmegaConf's settings are pickled. Training checkpoints often hold more
(optimizers, callbacks, settings of other libraries): those are read by an unpickler of our own, which knows how tensors
are rebuilt and makes an inert object of everything else, so that no name in a file is ever imported or called.

Archives of programs (TorchScript), which `torch.load` would hand to another reader that runs them, are refused before.
"""

import collections
import pickle
import tarfile
import zipfile
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
CONFIG_SIZE = 100_000  # and neither are more values than this: one value may stand in many places
SAVE_IT = "save the network's state_dict() with torch.save, or as safetensors, where it was made"


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
    _check_format(path)
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


def check(path: str | Path) -> None:
    """Raises InputError for a file that torch.load(weights_only=True) would not read by a pickle alone: programs,
    archives of archives. A safetensors file is fine, whatever it holds."""
    if Path(path).suffix != ".safetensors":
        _check_format(Path(path))


def _check_format(path: Path) -> None:
    """Raises InputError for what `torch.load` would not read by a pickle alone, or only after unpacking it."""
    with open(path, "rb") as f:
        zipped = f.read(4) == b"PK\x03\x04"
    if not zipped:
        if tarfile.is_tarfile(path):  # its parts would be unpacked into a folder
            raise InputError(f"{path} is a tar archive, as the first versions of torch wrote it: {SAVE_IT}.")
        return
    try:
        records = torch._C.PyTorchFileReader(str(path)).get_all_records()  # torch's own list, so that none differs
        with zipfile.ZipFile(path) as z:
            unpacked = sum(part.file_size for part in z.infolist())
    except (RuntimeError, ValueError, OSError, zipfile.BadZipFile, NotImplementedError) as e:
        raise InputError(f"{path} cannot be read as weights ({_reason(e)}): {SAVE_IT}.") from None
    if "constants.pkl" in records or any(name.startswith("code/") for name in records):
        raise InputError(f"{path} is a program (TorchScript), which is never run here: {SAVE_IT}.")
    if unpacked > path.stat().st_size:
        raise InputError(f"{path} is compressed, which weights never are: {SAVE_IT}.")


def _dict(path: Path, held: Any) -> dict[str, Any]:
    if not isinstance(held, dict):
        raise InputError(
            f"{path} holds {type(held).__name__}, not a state dict: save the network's state_dict() where it was made, "
            "not the network itself."
        )
    for part in (held, *(value for value in held.values() if isinstance(value, dict))):
        if any(isinstance(w, Tensor) and w.is_meta for w in part.values()):
            raise InputError(f"{path} holds shapes without numbers (the meta device): {SAVE_IT}.")
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


def plain(settings: Any) -> Any:
    """OmegaConf's pickled settings, or a plain dict, as plain values; anything else is None. Raises InputError for more
    values than any settings have."""
    left = iter(range(CONFIG_SIZE))

    def of(value: Any, depth: int) -> Any:
        if next(left, None) is None:
            raise InputError(f"The file's settings hold more than {CONFIG_SIZE:,} values: {SAVE_IT}.")
        if depth > CONFIG_DEPTH:
            return None
        if isinstance(value, Inert):
            state = value.state if isinstance(value.state, dict) else {}
            return of(state["_content"] if "_content" in state else state.get("_val"), depth + 1)
        if isinstance(value, dict):
            return {str(of(k, depth + 1)): of(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [of(v, depth + 1) for v in value]
        return value if isinstance(value, str | int | float | bool) else None

    return of(settings, 0)
