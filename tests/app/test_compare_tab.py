"""The Compare tab: its handlers, and once in Chromium."""

import asyncio
import json
from contextlib import suppress
from types import SimpleNamespace

import gradio as gr
import pytest
from app_world import answers, ended, networks, state  # noqa: F401
from test_browser import browser, page, pytestmark, served  # noqa: F401

from app.server.frames import status
from app.tabs.compare.tab import END, HERE, Compare
from pf_core.samplers import SAMPLERS
from pf_core.sampling.compare import patch_updates

KNOBS = {f"{name}.{k}": knob.default for name, entry in SAMPLERS.items() for k, knob in entry.knobs.items()}


def playwright_error():
    from playwright.sync_api import Error

    return Error


@pytest.fixture
def tab(state):  # noqa: F811
    with gr.Blocks():
        return answering_tab(Compare(state))


def answering_tab(tab):
    """The tab's handlers as these tests read them: values by name, answers as lists."""
    shown = [tab.viewer, tab.ids, tab.status, tab.box, tab.one, tab.other]

    def when_done(ids, *given):
        asyncio.run(tab.all_ended(ids))
        return tab.when_done(ids, *given)[tab.shown]

    linked = [*shown, *tab.shared.values(), *tab.settable]
    preset = [tab.caption, tab.status, tab.count, tab.nfe, *tab.settable]
    return SimpleNamespace(
        on_run=answers(tab.on_run, tab.status, [*shown, tab.shown, tab.measured, tab.mine]),
        from_link=answers(tab.from_link, tab.status, linked),
        on_preset=answers(tab.on_preset, tab.status, preset),
        on_difference=lambda *given: tab.on_difference(*given)[tab.shown],
        when_done=when_done,
        presets=tab.presets,
        sentences=tab.sentences,
        sweep=tab.sweep,
    )


def values(samplers=("euler", "look_ahead"), network="nano", **changes) -> dict:
    given = {"count": len(samplers), "label": "class 1", "seed": 3, "images": 2, "nfe": 8, "cfg": 1} | changes
    padded = [*samplers, *["euler"] * (4 - len(samplers))]
    for letter, name in zip("ABCD", padded, strict=True):
        column = {"network": network, "sampler": name} | KNOBS
        given |= {f"{letter}.{k}": v for k, v in column.items()}
    return given


def test_all_columns_run_from_the_same_noise(tab, state):  # noqa: F811
    shown, ids, said, *_ = tab.on_run([], **values(("euler", "dual_loop", "look_ahead")))
    runs = [ended(state.runs.get(i)) for i in ids]
    assert said == "" and [r["id"] for r in shown["runs"]] == ids and len(ids) == 3
    assert all((run.trajectory.x0 == runs[0].trajectory.x0).all() for run in runs)
    assert [run.spec.sampler for run in runs] == ["euler", "dual_loop", "look_ahead"]
    assert status(runs[1], "")["updates"] == patch_updates(runs[1].trajectory)[0]
    assert [label[0] for label in (run.label for run in runs)] == ["A", "B", "C"]


@pytest.mark.parametrize(
    "changes",
    [{"count": 9}, {"images": 17}, {"nfe": 257}, {"nfe": None}, {"seed": -1}, {"label": "cat"}, {"cfg": "x"}],
)
def test_bad_input_is_one_sentence_and_starts_nothing(tab, state, changes):  # noqa: F811
    given = values(**changes)
    _, _, said, *_ = tab.on_run([], **given)
    assert said.endswith(".") and "\n" not in said and len(state.runs) == 0


def test_a_column_that_cannot_run_stops_the_others(tab, state):  # noqa: F811
    _, _, said, *_ = tab.on_run([], **values(("euler", "look_ahead"), network="plain"))
    assert "difficulty" in said
    for run in state.runs._things.values():
        assert ended(run).state in ("stopped", "done")


def test_the_difference_and_the_parting(tab, state):  # noqa: F811
    ids = tab.on_run([], **values(images=3))[1]
    at_end = tab.when_done(ids, "A", "B", 0.001)
    assert "B minus A" in at_end and at_end.count("<img") == 2 and at_end.count("<tr>") == 3
    said = tab.sentences(ids, 0.001)
    assert said.startswith("B ends 0.0") and "over 3 images" in said and "after outer step" in said
    start = json.dumps({"image": 1, "frames": [0, 0]})
    begin = tab.on_difference(start, ids, "A", "B", HERE, 0.05)
    assert "RMS <b>0.000</b>" in begin and "image 2" in begin
    assert "never" in tab.on_difference("{}", ids, "A", "A", END, 0.05)


@pytest.mark.parametrize(
    "given",
    [
        ("{}", [], "A", "B", END, 0.05),
        ("{}", ["gone", "gone"], "A", "B", END, 0.05),
        ("nonsense", None, "A", "<b>", END, 0.05),
    ],
)
def test_nothing_to_compare_is_a_sentence(tab, given):
    assert "pf-said" in tab.on_difference(*given)


@pytest.mark.parametrize("place", ["nonsense", "[]", '{"image": -1}', '{"frames": [-4, 0]}', '{"frames": 3}'])
def test_a_wrong_place_is_a_sentence(tab, state, place):  # noqa: F811
    ids = tab.on_run([], **values())[1]
    [ended(state.runs.get(i)) for i in ids]
    assert "pf-said" in tab.on_difference(place, ids, "A", "B", HERE, 0.05)
    assert "pf-said" in tab.on_difference("{}", ids, "A", "B", END, 0)


def test_a_preset_without_its_network_says_so(tab):
    _, preset = tab.presets[0]
    assert "is not here" in tab.on_preset(preset)[1]


def test_a_link_brings_columns_and_runs_back(tab, state):  # noqa: F811
    shown, ids, *_ = tab.on_run([], **values())
    from urllib.parse import parse_qsl

    query = dict(parse_qsl(shown["query"]))
    mine = tab.on_run([], **values())[-1]  # a page stops the runs that it started, not those of a link
    assert mine != ids and all(ended(state.runs.get(i)).state == "done" for i in [*mine, *ids])
    found = tab.from_link(request=SimpleNamespace(query_params=query))
    assert found[1] == ids and found[2] == "" and found[6] == 2 and found[8:11] == [3, 2, 8]
    gone = tab.from_link(request=SimpleNamespace(query_params=query | {"runs": "x,y"}))
    assert "not kept" in gone[2]
    for wrong in ({"c1": "{"}, {"c1": "[1]"}, {"c1": '["x","euler",{}]'}, {"nfe": "0"}, {"label": "x"}):
        assert "could not be read" in tab.from_link(request=SimpleNamespace(query_params=query | wrong))[2]


def test_two_columns_in_the_browser(page, served):  # noqa: F811
    page.goto(served.address + "?tab=compare")
    page.wait_for_selector("#compare-run")
    page.click("#compare-run")
    viewer = "(window.__pf?.all('viewer') ?? []).find((v) => v.root.closest('#compare-viewer'))"
    page.wait_for_function(f"() => {{ const v = {viewer}; return v && v.runs.length === 2 && v.ready }}")
    page.wait_for_selector("#compare-difference img")
    assert "B minus A" in page.inner_text("#compare-difference")
    assert page.inner_text("#compare-measured").startswith("B ends 0.0")
    page.evaluate(f"{viewer}.go(0)")
    for _ in range(4):  # on a crowded machine the measure of the runs' end may come late, over that of the step
        page.click("text=the current step")
        with suppress(playwright_error()):
            page.wait_for_function(
                "document.querySelector('#compare-difference').textContent.includes('RMS 0.000')", timeout=15_000
            )
            break
        page.click("label:has-text('the end') >> visible=true")
    assert "RMS 0.000" in page.inner_text("#compare-difference")
    assert page.locator("#compare-viewer .pfv-state >> text=patch moves").count() == 2
    assert page.locator("#compare-changed p").count() == 0
    page.fill("input[aria-label='Seed'] >> visible=true", "7")
    page.wait_for_selector("#compare-changed p")
    page.reload()
    page.wait_for_function(f"() => {{ const v = {viewer}; return v && v.runs.length === 2 && v.ready }}")
    page.wait_for_selector("#compare-measured p")  # a link's runs are measured as well
