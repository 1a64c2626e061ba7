"""Settings that are recommended for a network, found on the search split, and the seeds that a comparison opens on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pf_core.errors import InputError
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import Resampled, moments
from pf_core.evaluation.paired import arithmetic, distance, how, images_of_row
from pf_core.models.checkpoint import Bundle, labelled
from pf_core.models.recommended import Opening, Shown
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec, resolve

VALUES = {"p": (0.2, 0.4, 0.6, 0.8), "ratio": (1.2, 1.4, 2.0, 3.0), "n_inner": (2, 4, 8)}  # tried, by knob
SCALES = (1.0, 1.5, 2.0, 3.0)  # of guidance
RULE = (
    "One knob after the other, from the signature's defaults: a value is taken if its Frechet distance is the lowest "
    "and its paired difference from the value before has a 95% interval below zero."
)
Report = Callable[[dict[str, Any]], None]


def search(
    bundle: Bundle,
    *,
    images: int,
    nfe: int,
    folder: Path | None = None,
    report: Report = lambda row: None,
    fast: bool = False,
) -> dict[str, Any]:
    """{"settings": knobs by sampler, "cfg_scale": None for a network without classes, "measured": rows and rule}.

    The samplers that rank patches, then guidance on the last of them; of a network without a variance head guidance
    alone, on the first sampler. All by images of the search seeds at one NFE, paired, against real images of the search
    split. report: called with each row as it is measured; folder: keeps what is drawn; fast: all rows in bf16 and
    compiled, said in `measured`. Raises InputError.
    """
    trial = _Trial(bundle, images, folder, report)
    ranking = [name for name, entry in SAMPLERS.items() if entry.fn.needs_difficulty and bundle.predicts_difficulty]
    begin = SampleSpec(bundle.name, next(iter(SAMPLERS)), nfe=nfe, **how(fast))
    best, settings = begin, {}
    for name in ranking:
        best = replace(begin, sampler=name)
        for knob in (k for k in SAMPLERS[name].knobs if k in VALUES):
            best = trial.best(_trials(bundle, best, knob))
        chosen = SAMPLERS[name].settings(best.settings)
        settings[name] = {knob: value for knob, value in chosen.items() if knob in VALUES}
    if labelled(bundle):
        best = trial.best([replace(best, cfg_scale=scale) for scale in SCALES])
    about = {"rule": RULE, "images": images, "nfe": nfe, "split": "search", "judge": trial.judge.stem}
    about |= {"arithmetic": arithmetic(fast)} if fast else {}
    scale = best.cfg_scale if labelled(bundle) else None
    return {"settings": settings, "cfg_scale": scale, "measured": about | {"rows": trial.rows}}


class _Trial:
    """Measured rows, each recipe's once."""

    def __init__(self, bundle: Bundle, images: int, folder: Path | None, report: Report):
        self.bundle, self.images, self.folder, self.report = bundle, images, folder, report
        self.judge = judge_of(bundle)
        self.real = moments(references(bundle, "search", self.judge))
        self.rows: list[dict[str, Any]] = []
        self.known: dict[str, Resampled] = {}

    def best(self, specs: Sequence[SampleSpec]) -> SampleSpec:
        """Which of them RULE takes; the first is what was taken so far."""
        apart = [self.distance(spec) for spec in specs]
        gains = [(own - apart[0]).measured() for own in apart]
        better = [i for i, gain in enumerate(gains) if gain["interval"][1] < 0]
        return specs[min(better, key=lambda i: gains[i]["value"], default=0)]

    def distance(self, spec: SampleSpec) -> Resampled:
        resolved = resolve(spec, self.bundle)
        key = repr((resolved.sampler, resolved.settings, resolved.cfg_scale))
        if key not in self.known:
            drawn = images_of_row(self.bundle, spec, self.images, "search", self.judge, self.folder)
            self.known[key] = distance(drawn["features"], self.real)
            scored = {"sampler": spec.sampler, "settings": resolved.settings, "cfg_scale": resolved.cfg_scale}
            self.rows.append(scored | {"nfe": resolved.nfe, "frechet": self.known[key].measured()})
            self.report(self.rows[-1])
        return self.known[key]


def _trials(bundle: Bundle, base: SampleSpec, knob: str) -> list[SampleSpec]:
    """The base, then one spec for every other value of a knob that its budget is enough for."""
    return [base, *_affordable(bundle, (replace(base, settings=base.settings | {knob: v}) for v in VALUES[knob]))]


def _affordable(bundle: Bundle, specs: Iterator[SampleSpec]) -> Iterator[SampleSpec]:
    for spec in specs:
        try:
            resolve(spec, bundle)
        except InputError:  # more forward passes in one step than the whole budget
            continue
        yield spec


def opening(bundle: Bundle, pair: Sequence[SampleSpec], among: int, folder: Path | None = None) -> Opening:
    """Of seeds 0 to among - 1, each asked for its own class (seed modulo classes), the one where the judge's confidence
    of that class rises most from the first recipe to the second, and the one where the rise is the median (the lower
    of two). Raises InputError for a network without classes, and recipes that do not cost the same."""
    if not labelled(bundle):
        raise InputError(f"{bundle.name} has no classes, so the judge cannot say how sure it is of the one asked for.")
    pair = [replace(spec, seeds=[0], labels=[0]) for spec in pair]
    one, other = (resolve(spec, bundle) for spec in pair)
    if abs(one.nfe - other.nfe) > 1:
        raise InputError(f"{one.sampler} takes {one.nfe} NFE and {other.sampler} {other.nfe}: compare at equal cost.")
    drawn = [images_of_row(bundle, spec, among, "evaluation", judge_of(bundle), folder) for spec in pair]
    sure = np.stack([d["asked"][np.arange(among), d["labels"]] for d in drawn], 1)  # (among, 2)
    order = np.argsort(sure[:, 1] - sure[:, 0], kind="stable")

    def shown(seed: int) -> Shown:
        name = str(bundle.conditioner.named(seed % labelled(bundle)))
        return Shown(seed, name, [round(float(v), 3) for v in sure[seed]])

    return Opening(
        samplers=[one.sampler, other.sampler],
        settings=[one.settings, other.settings],
        nfe=one.nfe,
        cfg_scale=one.cfg_scale,
        among=among,
        surer=[int((sure[:, 0] > sure[:, 1]).sum()), int((sure[:, 1] > sure[:, 0]).sum())],
        largest=shown(int(order[-1])),
        typical=shown(int(order[(among - 1) // 2])),
    )
