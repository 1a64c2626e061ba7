"""The one place that imports open_clip: its tokenizer by itself, which is quick, and the whole package when needed."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


def part(name: str) -> ModuleType:
    """One file of open_clip that needs no other: importing the package takes seconds and needs all of torchvision."""
    folder = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location(f"open_clip_{name}", Path(folder) / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def tokenizer() -> Any:
    """CLIP's tokenizer: `encode(text)` -> token ids, without the start and the end."""
    return part("tokenizer")._tokenizer


@cache
def package() -> ModuleType:
    """open_clip itself."""
    with without_missing_operators():
        import open_clip
        import open_clip.factory
    return open_clip


@contextmanager
def without_missing_operators() -> Iterator[None]:
    """torchvision's wheels are built for CUDA: beside a torch for CPUs their operators do not load, and the import ends
    where it describes them to torch. Only its Python parts are needed, so what describes a missing operator is skipped.
    Where the operators load, nothing changes."""
    register = torch.library.register_fake

    def skipping(op: Any, *args: Any, **kwargs: Any) -> Callable:
        if isinstance(op, str) and op.startswith("torchvision::") and not hasattr(torch.ops.torchvision, op[13:]):
            return lambda fn: fn
        return register(op, *args, **kwargs)

    torch.library.register_fake = skipping
    try:
        yield
    finally:
        torch.library.register_fake = register
