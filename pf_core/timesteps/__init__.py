"""Timestep samplers: the training distributions of t.

Each is `name(b, n, rng, *, knobs) -> PatchTime` of (b, n) times in [0, 1], which says whether patches share theirs.
"""

from pf_core.registry import Registry
from pf_core.timesteps.dual_timestep import dual_timestep
from pf_core.timesteps.gaussian import gaussian
from pf_core.timesteps.independent import independent
from pf_core.timesteps.logit_normal import logit_normal
from pf_core.timesteps.ltg import ltg
from pf_core.timesteps.ltg_shared import ltg_shared
from pf_core.timesteps.srm import srm
from pf_core.timesteps.truncated_gaussian import truncated_gaussian
from pf_core.timesteps.uniform import uniform

TIMESTEPS = Registry(
    "timestep sampler",
    [uniform, logit_normal, independent, srm, gaussian, truncated_gaussian, ltg, ltg_shared, dual_timestep],
)
