"""What a network recommends, as settings of a recipe. Recipes and the command line keep the signatures' defaults unless
asked for these."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import NUMBERS, SampleSpec


def settings_of(bundle: Bundle, sampler: str) -> dict[str, Any]:
    """The knobs that a network recommends for a sampler, as far as this version knows them and their values."""
    known = {}
    for name, value in bundle.recommended.settings.get(sampler, {}).items():
        with suppress(InputError):
            if name in SAMPLERS[sampler].knobs:
                known[name] = SAMPLERS[sampler].knobs[name].check(value)
    return known


def scale_of(bundle: Bundle) -> float | None:
    """The guidance that a network recommends; None where nothing is known, or nothing that this version takes."""
    with suppress(InputError):
        scale = bundle.recommended.cfg_scale
        return None if scale is None else NUMBERS["cfg_scale"].check(scale)
    return None


def with_recommended(spec: SampleSpec, bundle: Bundle, guided: bool = False) -> SampleSpec:
    """A recipe with the network's recommended knobs where it states none, and its guidance unless that is given
    (`guided`). Raises InputError where nothing is recommended."""
    settings, scale = settings_of(bundle, spec.sampler), scale_of(bundle)
    if not settings and scale is None:
        raise InputError(
            f"{bundle.name} recommends no settings for {spec.sampler}: leave --recommended out, or find them with "
            f"`python -m pf_core recommend --checkpoint {bundle.name} --write`."
        )
    scale = spec.cfg_scale if guided or scale is None else scale
    return replace(spec, settings=settings | spec.settings, cfg_scale=scale)
