"""The cost of a training, measured on a few of its steps."""

import sys
import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from pf_core.models import count_parameters
from pf_core.training import process, text
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.loop import SEGMENTS, train
from pf_core.training.runner import kind_of, prepare
from pf_core.training.validation import SHEET, SHEET_NFE, STRIP, STRIP_NFE

SECONDS, FEWEST, MOST = 3.0, 2, 30  # how long to measure, and with how many steps
COMPASS_FORWARDS = 2 * 3 * 7 * 160  # two sets of weights, three times, seven forwards each, 160 images
HELD_OUT_IMAGES, STEP_COST = 64, 3  # a training step costs about three forward passes


@dataclass(frozen=True)
class Estimate:
    """parameters, trainable: counts; memory: peak bytes of the trainer, a GPU's included; first: seconds of the
    first step, which compiles; images_per_second: median of `steps` measured ones; seconds: of the
    whole training, its validations and samples included; notes: sentences on what its settings lead to."""

    parameters: int
    trainable: int
    memory: int
    first: float
    images_per_second: float
    steps: int
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(recipe: TrainRecipe, intervals: Intervals) -> Estimate:
    """Take a few steps and discard the result. Raises InputError for a recipe whose values do not fit together."""
    data, model = prepare(recipe)
    kind = kind_of(recipe, intervals, data, model)
    took, before, begin = [], time.perf_counter(), None
    for at in train(model, data, recipe.config, kind=kind):
        now = time.perf_counter()
        took.append(now - before)
        before, begin = now, begin or now
        if not at.trainer.ranks.first:  # which stops when the first process does
            continue
        if len(took) > FEWEST and (now - begin > SECONDS or len(took) > MOST) or at.step > MOST:
            break
    first, later = took[0], took[1:] or took
    rate = recipe.config.batch_size / median(later)
    everything, trainable = count_parameters(model)[::-1]
    seconds = first + expected(recipe, intervals, rate)
    notes = (*filter(None, [model.config.narrow]), *text.notes(recipe, data))
    return Estimate(everything, trainable, peak_memory(), first, rate, len(later), seconds, notes)


def expected(recipe: TrainRecipe, intervals: Intervals, images_per_second: float) -> float:
    """Seconds of a whole training at this speed."""
    steps = recipe.config.steps

    def times(every: int) -> int:
        return -(-steps // every) if every else 0

    forwards = times(intervals.validate) * len(SEGMENTS) * HELD_OUT_IMAGES
    forwards += times(intervals.compass) * COMPASS_FORWARDS
    forwards += times(intervals.samples) * (SHEET * SHEET_NFE + STRIP * STRIP_NFE)
    return (steps * recipe.config.batch_size + forwards / STEP_COST) / images_per_second


def _high_water() -> int | None:
    """Peak resident bytes as Linux counts them for this process; None elsewhere. getrusage would start from the peak of
    the process that started this one, which may be a large server."""
    try:
        content = (process.PROC / "self" / "status").read_text()
        return int(content.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return None


def peak_memory() -> int:
    """Peak bytes of this process: resident memory plus memory allocated on a GPU."""
    if (held := _high_water()) is not None:
        return held + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        held = psutil.Process().memory_info().peak_wset
    else:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return held + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
