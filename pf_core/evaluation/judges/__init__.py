"""Judges: networks, trained on real images, that measure generated ones. They never train or tune a generator.

Of three kinds (kinds.py): `classes` names those of the heads that a data set declares (for `shapes` shape and
texture), `reader` reads signs, `scenes` finds toys, their colours and places. Files are in checkpoints/judges, chosen
by kind, data set, size and settings, not by name (library.py).

    judge, record = load(find("shapes", {"variety": 0.5}))
    judge.judge(images).probabilities["shape"]  # (B, 10)
    reader, record = load(find("signs", {}, kind="reader"))
    reader.read(images)  # ["AX7", ...]
"""

from pf_core.evaluation.judges.kinds import KINDS
from pf_core.evaluation.judges.library import FOLDER, Known, digest, find, known, load, named, save
from pf_core.evaluation.judges.network import Judge, Verdict
from pf_core.evaluation.judges.reader import Reader
from pf_core.evaluation.judges.scenes import Checker, Found, Reading
from pf_core.evaluation.judges.training import Field, accuracy, read, train_judge

__all__ = [
    "FOLDER",
    "KINDS",
    "Checker",
    "Field",
    "Found",
    "Judge",
    "Known",
    "Reader",
    "Reading",
    "Verdict",
    "accuracy",
    "digest",
    "find",
    "known",
    "load",
    "named",
    "read",
    "save",
    "train_judge",
]
