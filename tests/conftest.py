import os

# before torch is loaded; see app/__main__.py: on a crowded machine threads that spin mostly wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))  # more than the free cores would stall, not help


def pytest_collection_modifyitems(items):
    """Of several processes one gets a whole file, and all of tests/app: browsers beside each other miss their times."""
    for item in items:
        folder = item.path.parent
        item.add_marker(pytest.mark.xdist_group("app" if folder.name == "app" else str(item.path)))


@pytest.fixture(autouse=True, scope="session")
def no_runs(tmp_path_factory):
    """Tests see no training that whoever runs them has in runs/."""
    from pf_core.models import checkpoint

    before, checkpoint.RUNS = checkpoint.RUNS, tmp_path_factory.mktemp("no-runs")
    yield
    checkpoint.RUNS = before


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty place for data sets; `tmp_path / "mine"` is the only root that may be named."""
    monkeypatch.setenv("PATCH_FORCING_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    return tmp_path / "sets"
