"""The state of a training, everything its next step depends on, as one safetensors file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pf_core import bounded, files
from pf_core.errors import InputError


def save_state(path: Path, state: dict[str, Any], header: dict[str, Any]) -> None:
    """A nested state dict as safetensors: tensors by number, the nesting as JSON in the header."""
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, tensors)
    with files.replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(skeleton), "header": json.dumps(header)})


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, header) as saved. Raises InputError for a damaged file."""
    try:
        with bounded.tensors(path) as f:
            metadata = f.metadata()
            state, header = _unpack(json.loads(metadata["state"]), f.get_tensor), json.loads(metadata["header"])
            if not isinstance(state["step"], int) or not isinstance(header, dict):
                raise ValueError("its step is not a number")
            return state, header
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, OSError) as e:
        raise InputError(f"{path} is damaged, so the run cannot be resumed ({e}).") from None


def state_header(path: Path) -> dict[str, Any]:
    """The header alone, with the step; {} if the file is missing, damaged or not a state."""
    try:
        with bounded.tensors(path) as f:
            header = bounded.parse_json(f.metadata()["header"])
            if "step" not in header:  # as the first versions wrote it
                header["step"] = dict(json.loads(f.metadata()["state"])["items"])["step"]
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, OSError):
        return {}
    return header if isinstance(header, dict) else {}


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, dict):
        return {"items": [[k, _pack(v, tensors)] for k, v in value.items()]}  # pairs, because keys may be whole numbers
    if isinstance(value, list | tuple):
        return [_pack(v, tensors) for v in value]
    return value


def _unpack(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(v, tensor) for v in value]
    if isinstance(value, dict):
        return tensor(value["tensor"]) if "tensor" in value else {k: _unpack(v, tensor) for k, v in value["items"]}
    return value
