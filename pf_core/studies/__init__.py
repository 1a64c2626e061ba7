"""Studies: one file a finding, `name(bundle, *, knobs) -> dict` of numbers with intervals."""

from pf_core.registry import Registry
from pf_core.studies.difficulty import difficulty
from pf_core.studies.equal_cost import equal_cost
from pf_core.studies.exactness import exactness
from pf_core.studies.probe_gain import probe_gain

STUDIES = Registry("study", [difficulty, exactness, probe_gain, equal_cost])
