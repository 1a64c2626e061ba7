"""The app with its networks on a GPU, which a machine without one pretends to have."""

from dataclasses import replace

import pytest
from app_world import networks, spec, state  # noqa: F401
from elsewhere import ELSEWHERE, elsewhere, moved
from text_world import lively

from app.__main__ import main
from app.server import prompts
from app.state import AppState
from app.store import DONE
from app.tabs.explore.own import _picture, described
from app.tabs.how.tab import Miniatures
from pf_core.evaluation.inspect import inspect_picture, picture
from pf_core.models import checkpoint
from pf_core.sampling.run import SampleSpec

SIGN = 'a red sign that reads "AX7"'
RECORD = {"recipe": {"dataset": "signs", "data_settings": {"variety": 0.0}}, "prompts": [SIGN]}


@pytest.fixture
def far(tmp_path, monkeypatch):
    """An app's state whose networks lie elsewhere; it draws in the thread of the test."""
    load = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda name, device: placed(load(name), device))
    with elsewhere():
        state = AppState(tmp_path / "none", device=ELSEWHERE)  # noqa: F811
        monkeypatch.setattr(state.worker, "add", lambda run, steps, *_: [None for _ in steps])
        yield state


def placed(bundle, device):
    return replace(bundle, model=moved(bundle.model)) if device == ELSEWHERE else bundle


def ended(state, asked):  # noqa: F811
    run = state.start(asked)
    while run.busy:
        pass
    assert run.state == DONE, run.message
    return run


@pytest.mark.parametrize("changes", [{}, {"sampler": "euler", "cfg_scale": 2.0}])
def test_a_run_shows_what_it_shows_on_the_cpu(far, state, changes):  # noqa: F811
    there, here = ended(far, spec(**changes)), ended(state, spec(**changes))
    assert far.bundle("nano").device == ELSEWHERE and there.packed == here.packed


def test_how_it_works_and_own_pictures(far, state):  # noqa: F811
    there, here = Miniatures(far).content(), Miniatures(state).content()
    assert there["networks"] == here["networks"] and there["training"] == here["training"]
    looks = []
    for bundle in (far.bundle("nano"), state.bundle("nano")):
        x1, t = picture(bundle).x1[0], picture(bundle).x1.new_full((bundle.grid.n,), 0.4)
        looks.append((_picture(bundle, x1), described(bundle, inspect_picture(bundle, x1, t))))
    assert looks[0] == looks[1]


def test_words_and_letters(far, state, networks):  # noqa: F811
    checkpoint.save(networks / "signs.safetensors", lively(input_size=(32, 96)), [], RECORD)
    asked = SampleSpec("signs", "euler", nfe=2, labels=[SIGN], seeds=[0])
    runs = (far, ended(far, asked)), (state, ended(state, asked))
    assert len({str(prompts.attention(*each, 0, 0)) for each in runs}) == 1
    assert len({str(prompts.readings(*each)) for each in runs}) == 1


def test_a_device_that_is_not_there_is_a_sentence(capsys):
    assert main(["--port", "7999", "--device", "nonsense"]) == 2
    assert "There is no device 'nonsense' on this machine." in capsys.readouterr().err
