import os

# before torch is loaded; see app/__main__.py: on a crowded machine threads that spin mostly wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from shared import STARTED

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))  # more than the free cores would stall, not help


SERVED = {"browser", "served", "free_port"}  # fixtures of tests that start the app or a browser


def serves(item) -> bool:
    group = item.get_closest_marker("xdist_group")
    return group == pytest.mark.xdist_group("served").mark or (
        item.path.parent.name == "app" and not SERVED.isdisjoint(item.fixturenames)
    )


def pytest_collection_modifyitems(config, items):
    """Of several processes one gets a whole file, and one all of tests/app that start the app or a browser, which
    would miss their times beside each other. These come first, as they take longest; in a single process last, as
    Playwright leaves its event loop running, and other tests start their own."""
    items.sort(key=lambda item: serves(item) != hasattr(config, "workerinput"))
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("served" if serves(item) else str(item.path)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is None or not serves(nextitem):
        STARTED.close()


def pytest_sessionfinish():
    STARTED.close()


@pytest.fixture(autouse=True, scope="session")
def no_runs(tmp_path_factory):
    """Tests see no training that whoever runs them has in runs/."""
    from pf_core.models import checkpoint

    before, checkpoint.RUNS = checkpoint.RUNS, tmp_path_factory.mktemp("no-runs")
    yield
    checkpoint.RUNS = before


@pytest.fixture(autouse=True, scope="session")
def no_old_numbers(tmp_path_factory):
    """Tests see nothing that was computed before them."""
    from pf_core.evaluation import kept

    before, place = kept.folder, tmp_path_factory.mktemp("kept")
    kept.folder = lambda: place
    yield
    kept.folder = before


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
