"""The old name of `pf_core.sampling`."""

from pf_core.sampling.run import Run, SampleSpec, resolve, sample  # noqa: F401
