"""Patch Forcing: image generation in which every patch has its own timestep."""

from importlib import import_module

__version__ = "0.1.0"


def __getattr__(name: str):
    """`checkpoint` is the public name of `pf_core.models.checkpoint`, loaded when it is asked for."""
    if name == "checkpoint":
        return import_module("pf_core.models.checkpoint")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
