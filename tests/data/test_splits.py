"""Borders of data: nothing that is reported was chosen by."""

from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from own_pictures import tree, two_classes

from pf_core.data import splits
from pf_core.data.own.dataset import Folder
from pf_core.data.shapes import Shapes
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import REFERENCES


def disjoint(a, b):
    return a.stop <= b.start or b.stop <= a.start


def test_no_two_splits_share_an_image_or_a_seed():
    assert all(disjoint(a, b) for a, b in combinations(splits.SPLITS, 2))
    assert disjoint(splits.SEARCH_SEEDS, splits.REPORTED_SEEDS)
    last = [split.stop - 1 for split in (splits.SEARCH_SEEDS, splits.REPORTED_SEEDS)]
    firsts = [split.start for split in (splits.SEARCH_SEEDS, splits.REPORTED_SEEDS)]
    assert len({torch.randn(4, generator=torch.Generator().manual_seed(s)).sum().item() for s in last + firsts}) == 4
    assert splits.TRAINING.stop == splits.HELD_OUT and all(s.start >= splits.HELD_OUT for s in splits.SPLITS[1:])
    assert splits.JUDGE_TEST.first(REFERENCES)


def test_published_numbers_keep_their_images():
    assert splits.images_of(Shapes(), "evaluation").first(500) == range(2**31, 2**31 + 500)
    assert splits.VALIDATION.start == 2**31 and splits.JUDGE_TEST.start == 3 * 2**30
    assert splits.REAL.start == 3 * 2**30 + 50_000 and splits.seeds_of("evaluation").first(3) == range(3)


@pytest.mark.parametrize("data", [Shapes(), SimpleNamespace()])
def test_what_is_searched_for_sees_nothing_that_is_reported(data):
    search, report = (splits.images_of(data, split) for split in splits.CHOICES[::-1])
    assert search is splits.SEARCH and disjoint(search, report)
    assert disjoint(splits.references_of("search"), splits.references_of("evaluation"))
    assert all(disjoint(search, other) for other in splits.SPLITS if other is not splits.SEARCH)


def test_new_data_sets_report_images_that_no_validation_saw():
    assert splits.images_of(SimpleNamespace(), "evaluation") is splits.EVALUATION


def test_of_own_pictures_the_held_out_share_serves_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCH_FORCING_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", str(tmp_path))
    mine = Folder(path=str(tree(tmp_path / "mine", two_classes())), held_out=0.5)
    assert 0 < mine.held < 100
    for split in splits.CHOICES:
        indices = splits.take(mine, splits.images_of(mine, split), 100)
        assert len({mine._place(i) for i in indices}) == mine.held == len(indices)
    with pytest.raises(InputError, match="held out"):
        splits.take(Folder(path=str(tmp_path / "mine"), held_out=0.0), splits.SEARCH, 5)


def test_too_many_and_unknown_ones_are_sentences():
    with pytest.raises(InputError, match="ask for fewer"):
        splits.JUDGE_TEST.first(50_001)
    with pytest.raises(InputError, match="split must be one of evaluation, search"):
        splits.images_of(Shapes(), "training")
