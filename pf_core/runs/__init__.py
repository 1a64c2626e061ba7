"""Training runs on disk: a folder a run (folder.py), trained in place by `execute`, resumable after anything."""

from pf_core.runs.folder import RunFolder, Status
from pf_core.runs.live import column, smooth
from pf_core.runs.recipe import SHAPE, Intervals, TrainRecipe
from pf_core.runs.states import load_state, save_state
from pf_core.runs.training import check, execute, network, prepare

__all__ = [
    "SHAPE",
    "Intervals",
    "RunFolder",
    "Status",
    "TrainRecipe",
    "check",
    "column",
    "execute",
    "load_state",
    "network",
    "prepare",
    "save_state",
    "smooth",
]
