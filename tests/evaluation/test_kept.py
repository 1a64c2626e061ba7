"""What takes long to compute is kept on disk, and never read where it could be wrong."""

import numpy as np

from pf_core.evaluation import evaluate, judges, kept
from pf_core.evaluation.evaluate import real_features


def test_an_array_is_computed_once_and_again_for_whatever_it_hangs_on(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "folder", lambda: tmp_path)
    made = []

    def compute():
        made.append(np.arange(3.0))
        return made[-1]

    for _ in range(2):
        assert kept.kept({"a": 1}, compute).tolist() == [0, 1, 2]
    assert len(made) == 1
    kept.kept({"a": 2}, compute)
    monkeypatch.setattr(kept, "code_of", lambda *parts: "other")
    kept.kept({"a": 1}, compute)
    assert len(made) == 3 == len(list(tmp_path.iterdir()))


def test_a_broken_file_and_a_folder_that_cannot_be_written_are_no_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "kept")
    kept.kept({}, lambda: np.ones(2))
    (path,) = (tmp_path / "kept").iterdir()
    for spoilt in (b"", b"no array", path.read_bytes()[:-3]):
        path.write_bytes(spoilt)
        assert kept.kept({}, lambda: np.ones(2)).tolist() == [1, 1]
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "file" / "kept")
    assert kept.kept({}, lambda: np.zeros(1)).tolist() == [0]


def test_real_images_are_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "folder", lambda: tmp_path)
    monkeypatch.setattr(evaluate, "REFERENCES", 30)
    judge = judges.find("shapes", {})
    evaluate._real_features.cache_clear()
    first = real_features(judge, "shapes", {"size": 32})
    evaluate._real_features.cache_clear()  # as in another process
    monkeypatch.setattr(judges, "load", None)
    assert np.array_equal(real_features(judge, "shapes", {"size": 32}), first) and first.shape[0] == 30
    evaluate._real_features.cache_clear()
