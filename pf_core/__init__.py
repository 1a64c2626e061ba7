"""Patch Forcing: image generation in which every patch has its own timestep."""

__version__ = "0.1.0"
