"""Studies: one file for each question, `name(bundle, *, knobs) -> dict` of numbers with intervals; those whose `reads`
is "runs" read folders of training runs instead, `name(paths, *, keep, knobs)`; one that reads "nothing" trains its own
networks, `name(*, knobs)`."""

from pf_core.evaluation.studies.certainty import certainty
from pf_core.evaluation.studies.composition import composition
from pf_core.evaluation.studies.context_helps import context_helps
from pf_core.evaluation.studies.context_reduces_uncertainty import context_reduces_uncertainty
from pf_core.evaluation.studies.difficulty import difficulty
from pf_core.evaluation.studies.divergence import divergence
from pf_core.evaluation.studies.equal_cost import equal_cost
from pf_core.evaluation.studies.exactness import exactness
from pf_core.evaluation.studies.knobs import knobs
from pf_core.evaluation.studies.order import order
from pf_core.evaluation.studies.parallel_euler import parallel_euler
from pf_core.evaluation.studies.probe_gain import probe_gain
from pf_core.evaluation.studies.schedules import schedules
from pf_core.evaluation.studies.table import table
from pf_core.evaluation.studies.text_rendering import text_rendering
from pf_core.evaluation.studies.timestep_laws import timestep_laws
from pf_core.evaluation.studies.training_timesteps import training_timesteps
from pf_core.evaluation.studies.uncertainty_tracks_error import uncertainty_tracks_error
from pf_core.evaluation.studies.when_it_pays import when_it_pays
from pf_core.registry import Registry

STUDIES = Registry(
    "study",
    [
        timestep_laws,
        training_timesteps,
        context_helps,
        uncertainty_tracks_error,
        context_reduces_uncertainty,
        difficulty,
        exactness,
        probe_gain,
        parallel_euler,
        schedules,
        table,
        knobs,
        equal_cost,
        order,
        when_it_pays,
        divergence,
        certainty,
        text_rendering,
        composition,
    ],
)
