"""Importing packages that import torchvision, where torchvision's compiled operators do not load."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def without_operators() -> Iterator[None]:
    """Inside, torchvision can be imported though it was built for another torch: registering the shapes of operators
    that are not there is skipped. Its Python parts work; where the operators load, this changes nothing."""
    register = torch.library.register_fake

    def lenient(op: Any, *args: Any, **kwargs: Any) -> Callable:
        decorate = register(op, *args, **kwargs)
        if not (isinstance(op, str) and op.startswith("torchvision::") and callable(decorate)):
            return decorate

        def skipping(fn: Callable) -> Callable:
            try:
                return decorate(fn)
            except RuntimeError:  # "operator torchvision::nms does not exist"
                return fn

        return skipping

    torch.library.register_fake = lenient
    try:
        yield
    finally:
        torch.library.register_fake = register
