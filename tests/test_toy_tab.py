"""The Toy tab: its laboratories and route without a browser, then drawn, trained, scrubbed and clicked in Chromium."""

import json
import os
import time

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_browser import CHROMIUM, browser, page  # noqa: F401 (fixtures)

from app.labs import MAX_LABS, PLOTS, VIEWS, WAYS, Lab, Labs
from app.session import Session
from app.tabs import toy
from pf_core.errors import InputError
from pf_core.samplers import SAMPLERS
from pf_core.toylab import ToyConfig

SMALL = ToyConfig(steps=4, batch_size=16)
IN_BROWSER = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from app.ui import launch

    session = Session(recordings=tmp_path_factory.mktemp("recordings"))
    demo, _, session.address = launch(session)
    yield session
    demo.close()


@pytest.fixture
def lab():
    made = Lab(SMALL)
    yield made
    made.closed = True
    made.tell(lambda: None)


def until(true, seconds=60):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.01)


def plots(lab, after=0):
    return json.loads(lab.since(after))["plots"]


def test_a_lab_trains_pauses_and_rewinds(lab):
    until(lambda: lab.version)
    assert set(plots(lab)) == set(PLOTS) and plots(lab, lab.version) == {}
    lab.step()
    until(lambda: lab.state.done == 1)
    lab.start(1)
    until(lambda: lab.state.finished and not lab.playing)
    until(lambda: "energy distance" in lab.said and "step 4 of 4" in lab.said)
    lab.rewind()
    until(lambda: "step 0 of 4" in lab.said)
    lab.restart(ToyConfig(steps=9, batch_size=16, data="moons"))
    until(lambda: "of 9" in lab.said)
    with pytest.raises(InputError):
        lab.restart(ToyConfig(data="points", array=[[1, 2]]))
    until(lambda: lab.state.config.data == "moons")


def test_every_view_and_sampler_is_drawn(lab):
    for view in VIEWS:
        before = lab.version
        lab.set(view=view, t=(0.1, 0.6))
        until(lambda: lab.version > before)  # noqa: B023
        assert "view" in plots(lab, before)
    for sampler in SAMPLERS:
        lab.set(sampler=sampler, settings=SAMPLERS[sampler].settings({}), nfe=8)
    for k in range(20):
        lab.add_start(0.1 * k, 0.0)
    until(lambda: len(lab.picked) == WAYS and lab._orders.empty())
    assert float(lab.picked[-1, 0]) == pytest.approx(1.9)


def test_labs_are_bounded_and_idle_ones_give_way():
    labs = Labs()
    first = labs.open(SMALL)
    for _ in range(MAX_LABS - 1):
        labs.open(SMALL)
    with pytest.raises(InputError, match="in use"):
        labs.open(SMALL)
    first.used -= 1000
    assert labs.open(SMALL).id != first.id and first.closed
    with pytest.raises(InputError, match="closed"):
        labs.get(first.id)
    for lab in labs._labs.values():
        lab.closed = True
        lab.tell(lambda: None)


def test_the_route_refuses_what_it_does_not_know(served):
    client = TestClient(Starlette(routes=toy.routes(served)), raise_server_exceptions=False)
    answer = client.get("/pf/toy/nobody/frame")
    assert answer.status_code == 404 and answer.json()["error"].endswith(".")
    lab = toy.labs(served).open(SMALL)
    assert client.get(f"/pf/toy/{lab.id}/frame?after=x").status_code == 400
    until(lambda: client.get(f"/pf/toy/{lab.id}/frame?after=0").json()["plots"])
    lab.used -= 1000


def test_limits_hold_on_the_server(served, tmp_path):
    import gradio as gr

    with gr.Blocks():
        tab = toy.build(served)
    knobs = [c.value for c in tab.timestep_knobs.components]
    opened, _, sentence = tab.on_open("", "two_modes", None, "ltg", "own", 0, 200, True, *knobs)
    assert sentence == "" and opened

    def recipe(data="two_modes", drawn=None, steps=200, seed=0):
        return tab.on_recipe(opened, data, drawn, "ltg", "own", seed, steps, True, *knobs)

    assert recipe() == ""
    assert "at most" in recipe(steps=6000) and "between" in recipe(steps=10**9) and "seed" in recipe(seed=-1)
    for bad, words in (
        ([], "no point"),
        ([[1, 2]], "only one"),
        ([[1, float("nan")], [1, 2]], "NaN"),
        ([[0, 1]] * 10**6, "1,000,000"),
        (None, "Draw"),
    ):
        assert words in recipe("points", bad)
    path = tmp_path / "x.csv"
    for text, words in (("1,2\n3,nan\n", "Line 2"), ("", "no point"), ("1,2\n" * 1_000_000, "points")):
        path.write_text(text)
        said = tab.on_file(str(path), opened, "points", None, "ltg", "own", 0, 200, True, *knobs)[1]
        assert words in said and said.count("\n") == 0
    assert (
        "t must" in tab.on_view(opened, VIEWS[0], 3, 0, False)[2] and "no view" in tab.on_view(opened, "x", 0, 0, 0)[2]
    )
    assert "closed" in tab.on_start("nobody", "")
    toy.labs(served).get(opened).used -= 1000


UPDATED = "(before) => window.__plots.updates > before"


def visit(page, served):  # noqa: F811
    page.set_default_timeout(45_000)
    page.goto(served.address)
    page.get_by_role("tab", name="Toy").click()
    page.wait_for_function("window.__plots && window.__plots.updates > 0 && window.__plots.said.textContent")


def updated(page, action):  # noqa: F811
    before = page.evaluate("window.__plots.updates")
    action()
    page.wait_for_function(UPDATED, arg=before)


@IN_BROWSER
@pytest.mark.slow
def test_draw_train_scrub_and_click(page, served):  # noqa: F811
    visit(page, served)
    page.click("#toy-data")
    page.get_by_role("option", name="Drawn by hand").click()
    box = page.locator(".pf-brush").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    for k in range(12):
        page.mouse.move(box["x"] + 60 + 10 * k, box["y"] + 60 + 9 * k)
    updated(page, page.mouse.up)
    assert page.locator("#toy-said p").count() == 0
    page.click("#toy-start")
    page.wait_for_function("/step [1-9]/.test(window.__plots.said.textContent)")
    page.click("#toy-pause")
    page.wait_for_function("window.__plots.said.textContent.includes('energy distance')")
    slider = page.locator("#toy-tx input[type=number]")
    slider.fill("0.7")
    slider.press("Enter")
    page.wait_for_function("window.__plots.figures.view.layout.title.text.includes('t_x 0.70, t_y 0.70')")
    starts = (
        "atob(window.__plots.figures.uncertainty.data.find((d) => d.name === 'trajectory start').x.bdata).length / 4"
    )
    before = page.evaluate(starts)
    plot = page.locator("[data-plot=generated]").bounding_box()
    page.mouse.click(plot["x"] + plot["width"] / 2, plot["y"] + plot["height"] / 2)
    page.wait_for_function(f"({starts}) === {before} + 1")


@IN_BROWSER
@pytest.mark.slow
def test_zoom_is_kept_over_50_updates(page, served):  # noqa: F811
    visit(page, served)
    kept = page.evaluate("""async () => {
      const plots = window.__plots, box = plots.boxes.generated;
      const drag = box.querySelector(".nsewdrag").getBoundingClientRect();
      return [drag.x, drag.y, drag.width, drag.height];
    }""")
    x, y, width, height = kept
    page.mouse.move(x + width * 0.3, y + height * 0.3)
    page.mouse.down()
    page.mouse.move(x + width * 0.5, y + height * 0.5, steps=4)
    page.mouse.move(x + width * 0.7, y + height * 0.7, steps=4)
    page.mouse.up()
    ranges = "[...window.__plots.boxes.generated._fullLayout.xaxis.range]"
    page.wait_for_timeout(600)
    zoomed = page.evaluate(ranges)
    page.evaluate("""async () => {
      const plots = window.__plots;
      for (let k = 0; k < 50; k += 1) {
        plots.figures.generated = structuredClone(plots.figures.generated);
        plots.figures.generated.data[0].x = Array.from({ length: 300 }, () => Math.random());
        await plots.draw("generated");
      }
    }""")
    assert page.evaluate(ranges) == pytest.approx(zoomed, abs=1e-6)
    low, high = page.evaluate("window.__plots.figures.generated.layout.xaxis.range")
    assert zoomed[1] - zoomed[0] < 0.9 * (high - low)


@IN_BROWSER
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_it_fits_the_screen(page, served, width):  # noqa: F811
    page.set_viewport_size({"width": width, "height": 844})
    visit(page, served)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
