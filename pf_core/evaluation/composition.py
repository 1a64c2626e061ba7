"""Does a picture show what its prompt asks for? By category, as GenEval and T2I-CompBench do it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pf_core.data.toybox.prompts import Prompt, related_as
from pf_core.evaluation.judges.scenes import Found, Reading
from pf_core.evaluation.metrics import Resampled

PARTS = ("class", "colour", "count", "relation")  # of what a prompt may ask for


def satisfied(prompt: Prompt, reading: Reading) -> dict[str, bool]:
    """Of PARTS those that the prompt asks for, and "all" of them. class: each toy asked for is there; colour: each is
    there in its colour; count: there are exactly so many toys of this class; relation: two toys of these classes stand
    so. Further toys do no harm but to a count, as in GenEval."""
    asked, found = [w.toy for w in prompt.toys], [f.toy for f in reading.toys]
    parts = {"class": not Counter(asked) - Counter(found)}
    if any(w.colour is not None for w in prompt.toys):
        pairs = Counter((w.toy, w.colour) for w in prompt.toys)
        parts["colour"] = not pairs - Counter((f.toy, f.colour) for f in reading.toys)
    if prompt.category == "counting":
        parts["count"] = found.count(asked[0]) == len(asked)
    if prompt.relation is not None:
        parts["relation"] = any(related_as(a.place, b.place) == prompt.relation for a, b in _pairs(asked, reading.toys))
    return parts | {"all": all(parts.values())}


def _pairs(asked: Sequence[int], found: Sequence[Found]) -> list[tuple[Found, Found]]:
    first, second = asked
    return [(a, b) for a in found for b in found if a is not b and (a.toy, b.toy) == (first, second)]


def table(prompts: Sequence[Prompt], readings: Sequence[Reading]) -> dict[str, np.ndarray]:
    """part -> (M,) of each picture: 1 satisfied, 0 not, NaN where its prompt does not ask for it."""
    rows = [satisfied(*each) for each in zip(prompts, readings, strict=True)]
    return {part: np.array([row.get(part, np.nan) for row in rows], float) for part in (*PARTS, "all")}


def resampled(prompts: Sequence[Prompt], values: np.ndarray, which: np.ndarray | None = None) -> Resampled | None:
    """The share of satisfied pictures, of those `which` (M,) bool, bootstrapped over the texts that were asked for,
    each with all its pictures: two of one text are not two prompts. Two tables of the same prompts and seeds differ
    paired. None where no prompt asks for it."""
    counted = _counted(values, which)
    if not counted.any():
        return None
    of_text = np.unique([p.text for p in prompts], return_inverse=True)[1]
    hits, asked = (
        np.bincount(of_text, np.where(counted, of, 0)) for of in (np.nan_to_num(values), np.ones(len(values)))
    )

    def share(i: np.ndarray) -> float:
        return float(hits[i].sum() / max(asked[i].sum(), 1))

    return Resampled.of(share, len(hits))


def _counted(values: np.ndarray, which: np.ndarray | None) -> np.ndarray:
    return ~np.isnan(values) & (True if which is None else which)


def measured(prompts: Sequence[Prompt], readings: Sequence[Reading]) -> dict[str, Any]:
    """Shares {"value", "interval"}, None where no prompt asks: "all" and each of PARTS; "by_category": category -> its
    "all"; "seen", "unseen": the colour of prompts whose combinations captioned pictures of the training show, and those
    that none does; "distinct": how many texts each category asks for."""
    told, categories = table(prompts, readings), np.array([p.category for p in prompts])
    unseen = np.array([p.unseen for p in prompts])
    rows: dict[str, Any] = {part: _told(prompts, values) for part, values in told.items()}
    rows["by_category"] = {c: _told(prompts, told["all"], categories == c) for c in dict.fromkeys(categories.tolist())}
    rows["distinct"] = {c: len({p.text for p in prompts if p.category == c}) for c in rows["by_category"]}
    rows["seen"], rows["unseen"] = (_told(prompts, told["colour"], which) for which in (~unseen, unseen))
    return rows


def _told(prompts: Sequence[Prompt], values: np.ndarray, which: np.ndarray | None = None) -> dict[str, Any] | None:
    distinct = len({p.text for p, counts in zip(prompts, _counted(values, which), strict=True) if counts})
    of = resampled(prompts, values, which)
    return of and of.of_share(distinct)
