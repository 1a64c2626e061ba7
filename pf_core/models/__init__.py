"""Velocity networks."""

from pf_core.models.sit import PRESETS, SiT, SiTConfig, build, config_dict, count_parameters, parameter_count, preset

__all__ = ["PRESETS", "SiT", "SiTConfig", "build", "config_dict", "count_parameters", "parameter_count", "preset"]
