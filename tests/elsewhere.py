"""A second device on a machine that has none: tensors that say they lie elsewhere and are computed on the CPU.

As on a GPU, an operation whose tensors lie on two devices raises, and NumPy cannot read them. Their numbers are the
CPU's. Forward-mode derivatives do not work through them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("xla:0")  # a kind that torch knows by name and, in the wheels, has nothing to start for
APPLE = torch.device("mps:0")  # in the place of ELSEWHERE: it has no float64
_HERE = torch.device("cpu")
# Python's bindings of these look for the device itself before they dispatch.
_NAMES = "__getitem__ __setitem__ __invert__ __float__ __int__ __bool__ contiguous float tolist new_zeros new_full"
_GUARDED = {getattr(torch.Tensor, name) for name in _NAMES.split()}
_MAY_MIX = {"aten::copy_", "aten::index", "aten::to", "__getitem__", "__setitem__"}


class _There(torch.Tensor):
    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "_There":
        says = {"strides": held.stride(), "dtype": held.dtype, "device": ELSEWHERE}
        tensor = torch.Tensor._make_wrapper_subclass(cls, held.shape, **says)
        tensor.held = held
        return tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func in _GUARDED or isinstance(func, FunctionType):  # torch's functions in Python call such bindings
            return _run(func, args, kwargs or {})
        if func is torch.Tensor.numpy:
            raise TypeError("NumPy cannot read a tensor that lies elsewhere: .cpu() first")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _held(value: Any) -> Any:
    return value.held if isinstance(value, _There) else _HERE if isinstance(value, torch.device) else value


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    leaves, name = tree_leaves((args, kwargs)), func._schema.name if isinstance(func, OpOverload) else func.__name__
    there = [leaf for leaf in leaves if isinstance(leaf, _There)]
    here = [leaf for leaf in leaves if type(leaf) is torch.Tensor and leaf.dim() > 0]
    if there and here and name not in _MAY_MIX:
        raise RuntimeError(f"{name}: tensors on two devices")
    result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    asked = args[1].device if func is torch.ops.aten.to.other else None
    asked = asked or next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    if not (there if asked is None else asked.type == ELSEWHERE.type):
        return result
    if ELSEWHERE.type == APPLE.type and torch.float64 in {getattr(r, "dtype", None) for r in tree_leaves(result)}:
        raise TypeError(f"{name}: there is no float64 there")
    same = {id(leaf.held): leaf for leaf in there}
    return tree_map(lambda r: same.get(id(r), _There(r)) if isinstance(r, torch.Tensor) else r, result)


@contextmanager
def elsewhere() -> Iterator[None]:
    """Within it `device=ELSEWHERE` works, in this thread."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with _Mode():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """The network with its numbers elsewhere, in place."""
    for module in model.modules():
        for named in (module._parameters, module._buffers):
            named.update({k: _There(v.detach()) for k, v in named.items() if v is not None})
    return model
