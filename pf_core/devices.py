"""Where numbers are computed: the CPU, or a GPU."""

import torch

from pf_core.errors import InputError


def working(name: str) -> torch.device:
    """The device of this name, tried out; "auto": a GPU where there is one that works, else the CPU. Raises InputError
    if it does not work on this machine."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen).item()  # raises for devices without values, such as meta
    except (RuntimeError, AssertionError):
        raise InputError(f"There is no device {name!r} on this machine.") from None
    return chosen
