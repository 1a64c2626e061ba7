"""Judges: classifiers of real images that measure generated ones. They never train or tune a generator.

One architecture (network.py); its heads are those that a data set declares (`heads`: for `shapes` shape and texture).
Files are in checkpoints/judges, chosen by data set, size and settings, not by name (library.py).

    judge, record = load(find("shapes", {"variety": 0.5}))
    judge.judge(images).probabilities["shape"]  # (B, 10)
"""

from pf_core.evaluation.judges.library import FOLDER, Known, find, known, load, save
from pf_core.evaluation.judges.network import Judge, Verdict
from pf_core.evaluation.judges.training import Field, accuracy, read, train_judge

__all__ = [
    "FOLDER",
    "Field",
    "Judge",
    "Known",
    "Verdict",
    "accuracy",
    "find",
    "known",
    "load",
    "read",
    "save",
    "train_judge",
]
