"""Several runs in one batch: those whose recipes differ in seeds, classes and prompts alone share every forward pass.

An image depends on its seed alone up to rounding, so that each run is what it would be by itself up to rounding. Each
gets a `Share`, which is iterated as its Run would be, at its own pace: whoever is ahead makes the next pass for all,
and the others find theirs waiting. A run that is given up leaves the others going; its rows are drawn to the end.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from pf_core.sampling.memory import check_fits
from pf_core.sampling.run import Run, SampleSpec
from pf_core.types import Prediction, Step

_OWN = {"seeds", "labels"}


def alike(one: SampleSpec, other: SampleSpec) -> bool:
    """Can two resolved recipes be drawn in one batch? Not with edits, which name images, or with given noise."""
    if any(spec.edits or spec.noise is not None for spec in (one, other)):
        return False
    return all(getattr(one, k) == getattr(other, k) for k in vars(one) if k not in _OWN)


def together(runs: Sequence[Run]) -> "list[Share]":
    """A share for each of runs whose recipes are `alike`, of one network, in place of the run. Raises InputError where
    they do not fit into memory together."""
    bundle, first = runs[0].bundle, runs[0].spec
    spec = replace(
        first, seeds=[s for run in runs for s in run.spec.seeds], labels=[a for run in runs for a in run.spec.labels]
    )
    check_fits(bundle, spec)
    return _Batch(Run(bundle, spec), runs).shares


class Share:
    """One run's part of a batch: iterate it for Steps. What else a Run says of itself it says too. seconds: this run's
    share, by its images, of the time that its passes have taken so far."""

    edit_images = None

    def __init__(self, batch: "_Batch", run: Run, rows: slice):
        self.bundle, self.spec, self.x0 = run.bundle, run.spec, run.x0
        self.seconds, self.forwards, self.token_forwards = 0.0, 0, None
        self._batch, self.rows = batch, rows
        self.waiting: deque[tuple[Step, dict]] = deque()
        self.left = False

    def __iter__(self) -> Iterator[Step]:
        try:
            while True:
                if not self.waiting:
                    self._batch.advance()
                step, known = self.waiting.popleft()
                vars(self).update(known)
                yield step
                if step.phase == "final":
                    return
        finally:
            self.left = True
            self.waiting.clear()


class _Batch:
    def __init__(self, run: Run, parts: Sequence[Run]):
        self._run, self._steps, self._seconds = run, iter(run), 0.0
        self._failed: Exception | None = None
        self.shares, first = [], 0
        for part in parts:
            self.shares.append(Share(self, part, slice(first, first + len(part.spec.seeds))))
            first += len(part.spec.seeds)
        self._images = first

    def advance(self) -> None:
        """One more pass, for all that are still there. Raises what it raised for another share before."""
        if self._failed is not None:
            raise self._failed
        begin = time.perf_counter()
        try:
            step = next(self._steps)
        except Exception as e:
            self._failed = e
            raise
        self._seconds += time.perf_counter() - begin
        for share in self.shares:
            if not share.left:
                part = len(share.spec.seeds) / self._images
                known = {"seconds": part * self._seconds, "forwards": self._run.forwards}
                share.waiting.append((_rows(step, share.rows), known | {"token_forwards": self._run.token_forwards}))


def _rows(step: Step, rows: slice) -> Step:
    """A pass of some of its images."""

    def part(of: Tensor | None) -> Tensor | None:
        return None if of is None else of[rows]

    prediction = step.prediction and Prediction(*map(part, step.prediction))
    easy, threshold = part(step.easy), part(step.threshold)
    return replace(step, x=step.x[rows], t=step.t[rows], prediction=prediction, easy=easy, threshold=threshold)
