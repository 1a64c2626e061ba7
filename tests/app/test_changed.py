"""The chip "Settings changed": whether Run would make what is shown."""

from types import SimpleNamespace

import gradio as gr
import pytest
from app_world import ended, networks, spec, state  # noqa: F401
from test_explore import values

from app.changed import differs
from app.state import AppState
from app.tabs.explore.tab import Explore
from pf_core.sampling.run import Run
from pf_core.sampling.trajectory import record


@pytest.fixture
def tab(state):  # noqa: F811
    with gr.Blocks():
        return Explore(state)


def test_it_says_so_while_run_would_make_another_run(tab, state):  # noqa: F811
    shown = tab.on_run(before="", **values())[tab.viewer]
    run = ended(state.runs.get(shown["runs"][0]["id"]))

    def changed(**changes):
        return differs(state, shown, lambda: [tab.form.spec(values(**changes))])

    assert not changed() and not changed(budget=run.spec.steps, unit="outer steps")  # said in another way
    assert not changed(**{"from": 0.2})  # of guidance, which is off
    for change in ({"label": "class 2"}, {"seed": 1}, {"images": 3}, {"sampler": "euler"}, {"budget": 12}, {"cfg": 2}):
        assert changed(**change), change
    assert changed(seed=None)  # no recipe at all
    for nothing in ({}, None, {"runs": [{"id": "gone"}]}):
        assert not differs(state, nothing, list)


def test_of_a_mixed_batch_the_form_says_the_first_image(state):  # noqa: F811
    run = ended(state.start(spec(labels=["class 1", "class 2", "class 3"], seeds=[5, 9, 2])))
    shown = {"runs": [{"id": run.id}]}

    def changed(**what):
        return differs(state, shown, lambda: [spec(**what)])

    assert not changed(seeds=[5]) and not changed(seeds=[5, 6, 7])
    assert changed(seeds=[5, 6]) and changed(seeds=[9]) and changed(seeds=[5], labels=["class 2"])


def test_at_first_paint_the_form_says_what_the_recording_shows(tmp_path):
    state = AppState(recordings=tmp_path)  # noqa: F811
    recipe = spec(sampler="dual_loop", labels=["class 4"], seeds=[7, 8, 9], settings={"p": 0.6})
    record(Run(state.bundle("nano"), recipe)).save(tmp_path / "first.safetensors")
    with gr.Blocks():
        tab = Explore(state)
    found = tab.from_link(SimpleNamespace(query_params={}))
    form = tab.form
    controls = [form.network, form.label, form.sampler, form.seed, form.images, form.knobs.inputs["dual_loop.p"]]
    assert [found[c]["value"] for c in controls] == ["nano", "class 4", "dual_loop", 7, 3, 0.6]
    sent = {name: found[c]["value"] for name, c in form.inputs.items() if "value" in found.get(c, {})}
    given = values() | sent
    assert not differs(state, found[tab.viewer], lambda: [form.spec(given)])
