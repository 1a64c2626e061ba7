"""Sampling: a recipe (SampleSpec) and a network in, Steps out; what is recorded, compared, edited and swept.

for step in sample(bundle, SampleSpec(checkpoint, sampler, nfe=64, labels=["heart"], seeds=[85])): ...
"""

from pf_core.sampling.run import Run, SampleSpec, sample

__all__ = ["Run", "SampleSpec", "sample"]
