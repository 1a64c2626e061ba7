"""Studies: one file a finding, `name(bundle, *, knobs) -> dict` of numbers with intervals."""

from pf_core.registry import Registry
from pf_core.studies.difficulty import difficulty
from pf_core.studies.exactness import exactness

STUDIES = Registry("study", [difficulty, exactness])
