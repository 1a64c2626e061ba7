"""The Toy tab: its laboratories and route without a browser, then drawn, trained, scrubbed and clicked in Chromium."""

import json
import os
import shlex
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from app_world import answered, networks  # noqa: F401
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_browser import CHROMIUM, browser, page, served  # noqa: F401 (fixtures)

from app.handlers import Refusal
from app.state import AppState
from app.tabs.toy import tab as toy
from app.tabs.toy.lab import FIGURE_NFE, MOST_STARTS, Lab, open_lab
from app.tabs.toy.links import command_of, look_from, query_of
from app.tabs.toy.plots import BENCHMARK, PLOTS, VIEWS
from pf_core.errors import InputError
from pf_core.samplers import SAMPLERS
from pf_core.toy.experiment import ToyConfig
from pf_core.toy.points import pairs

SMALL = ToyConfig(steps=4, batch_size=16)
IN_BROWSER = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed")


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return AppState(recordings=tmp_path_factory.mktemp("recordings"))


@pytest.fixture
def lab():
    made = Lab(SMALL)
    yield made
    made.closed = True
    made.tell(lambda: None)


def until(true, seconds=180):
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
    until(lambda: "energy distance" in lab.status and "Step 4 of 4" in lab.status)
    lab.rewind()
    until(lambda: "Step 0 of 4" in lab.status)
    lab.restart(ToyConfig(steps=9, batch_size=16, data="moons"))
    until(lambda: "of 9" in lab.status)
    with pytest.raises(InputError):
        lab.restart(ToyConfig(data="points", array=[[1, 2]]))
    until(lambda: lab.state.config.data == "moons")


def test_a_plot_that_is_made_while_the_page_asks_is_not_missed(lab):
    """The data are drawn once: whoever misses that answer has an empty panel for good."""
    until(lambda: lab.version)

    class MadeMeanwhile(dict):
        def items(self):
            listed = list(super().items())
            if not self:
                self["data"] = (lab.version + 1, '{"data": []}')
                lab.version += 1
            return listed

    kept, lab.plots = lab.plots, SimpleNamespace(made=MadeMeanwhile())
    answer = json.loads(lab.since(lab.version))
    assert answer["plots"] == {} and "data" in json.loads(lab.since(answer["version"]))["plots"]
    lab.plots = kept


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
    until(lambda: len(lab.picked) == MOST_STARTS and lab._commands.empty())
    assert float(lab.picked[-1, 0]) == pytest.approx(1.9)


def test_labs_are_bounded_and_idle_ones_give_way():
    labs = AppState().labs
    first = open_lab(labs, SMALL)
    for _ in range(labs.most - 1):
        open_lab(labs, SMALL)
    with pytest.raises(InputError, match="in use"):
        open_lab(labs, SMALL)
    first.used -= 1000
    assert open_lab(labs, SMALL).id != first.id and first.closed
    with pytest.raises(InputError, match="closed"):
        labs.get(first.id)
    for lab in labs.all():
        lab.close()


def test_the_route_refuses_what_it_does_not_know(state):
    client = TestClient(Starlette(routes=toy.routes(state)), raise_server_exceptions=False)
    answer = client.get("/pf/toy/nobody/frame")
    assert answer.status_code == 404 and answer.json()["error"].endswith(".")
    lab = open_lab(state.labs, SMALL)
    assert client.get(f"/pf/toy/{lab.id}/frame?after=x").status_code == 400
    until(lambda: client.get(f"/pf/toy/{lab.id}/frame?after=0").json()["plots"])
    lab.used -= 1000


@pytest.fixture(scope="module")
def tab(state):
    import gradio as gr

    with gr.Blocks():
        return toy.build(state)


def opened(tab, query=""):
    """Open the tab as a page with this address does: ({component: value or update}, laboratory)."""
    found = answered(tab.on_open, tab.status, lab_id="", event=Event(query=query))
    assert set(found) <= {*tab.everything(), tab.status}
    return found, tab.state.labs.get(found[tab.lab_id])


class Event:
    def __init__(self, **data):
        self._data = data


def recipe_of(tab, **changes):
    """The values of the recipe's controls as the tab is built, some of them changed."""
    return {name: c.value for name, c in tab.recipe.items()} | {"steps": 200, "drawn": None} | changes


def closing(lab):
    lab.used -= 1000


def test_limits_hold_on_the_server(tab, tmp_path):
    _, lab = opened(tab)

    def recipe(**changes):
        return answered(tab.on_recipe, tab.status, lab_id=lab.id, **recipe_of(tab, **changes))[tab.status]

    def loaded(path, **changes):
        found = answered(tab.on_file, tab.given, path=str(path), lab_id=lab.id, **recipe_of(tab, **changes))
        return found[tab.given]

    def viewed(*given):
        return answered(tab.on_view, tab.status, lab.id, *given)[tab.status]

    assert recipe() == ""
    assert "at most" in recipe(steps=6000) and "between" in recipe(steps=10**9) and "Seed must" in recipe(seed=-1)
    assert "Source must" in recipe(source="x") and "no toy data set" in recipe(data="x")
    for bad, words in (
        ([], "no point"),
        ([[1, 2]], "only one"),
        ([[1, float("nan")], [1, 2]], "NaN"),
        ([[10**400, 1], [1, 2]], "rows of two numbers"),
        ([[0, 1]] * 10**6, "1,000,000"),
        (None, "Draw"),
    ):
        assert words in recipe(data="points", drawn=bad)
    path = tmp_path / "x.csv"
    for text, words in (
        ("1,2\n3,nan\n", "Line 2"),
        ("", "no point"),
        ("1,2\n" * 1_000_000, "points"),
        ("1.25,2.5\n" * 1_000_000, "larger than"),
        ("100,200\n150,180\n", "were moved"),
    ):
        path.write_text(text)
        said = loaded(path, data="points")
        assert words in said and said.count("\n") == 0
    path.write_text("1e9,2\n3,4\n")
    assert "between \u221210,000 and 10,000" in loaded(path)
    path.write_text("".join(f"{k % 7},{k % 5}\r\n" for k in range(5000)))
    found = answered(tab.on_file, tab.given, path=str(path), lab_id=lab.id, **recipe_of(tab))
    assert found[tab.brush] == {"points": [], "unshown": 5000} and found[tab.status] == "" and found[tab.drawn]
    path.write_bytes(b"\xff\xfe\x00")
    assert "save it as UTF-8" in loaded(path)
    assert "t must" in viewed(VIEWS[0], "both", 3, 0, False)
    assert "no view" in viewed("x", "both", 0, 0, 0)
    assert "closed" in answered(tab.on_start, tab.status, "nobody", "", "moons", None)[tab.status]
    closing(lab)


def test_nothing_is_trained_before_points_are_drawn(tab):
    _, lab = opened(tab)

    def interactive(found):
        return [found[button]["interactive"] for button in (tab.start, tab.step)]

    assert interactive(tab.on_data("points", None)) == [False, False]
    assert interactive(tab.on_data("moons", None)) == [True, True]
    for train in (partial(tab.on_start, speed=""), tab.on_step):  # whatever the page sends
        assert "Draw points" in answered(train, tab.status, lab_id=lab.id, data="points", drawn=None)[tab.status]
    lab.start(1)
    until(lambda: lab.playing)
    asked = answered(tab.on_recipe, tab.status, lab_id=lab.id, **recipe_of(tab, data="points", drawn=None))[tab.status]
    assert "Draw points" in asked and not isinstance(asked, Refusal)  # an invitation: nobody did anything wrong
    until(lambda: not lab.playing)  # what was trained is not what the form asks for any more
    lab.rewind()
    drawn = tab.take([[0, 1], [1, 0], [1, 1]], lab.id, recipe_of(tab))
    assert interactive(drawn) == [True, True]
    until(lambda: lab.state.config.data == "points")
    assert lab.state.done == 0 and tab.controls_of(lab)[tab.brush]["points"] == [[0, 1], [1, 0], [1, 1]]
    cleared = tab.take([], lab.id, recipe_of(tab))
    assert interactive(cleared) == [False, False] and cleared[tab.drawn] is None
    closing(lab)


def test_a_link_opens_the_same_laboratory_or_one_like_it(tab):
    query = "?tab=toy&data=eight_gaussians&data.std=0.2&timesteps=ltg&times.loc=0.5&seed=7&sampler=dual_loop&by.p=0.3"
    query += "&nfe=24&view=velocity+field&tx=0.5&ty=0.1&starts=0,1;-1,0.5&stop_gradient=False"
    shown, lab = opened(tab, query)
    config = lab.state.config
    assert (config.data, config.data_settings, config.seed) == ("eight_gaussians", {"std": 0.2}, 7)
    assert config.timestep_settings["loc"] == 0.5 and not config.stop_gradient
    assert (
        lab.look["settings"]["p"] == 0.3 and lab.look["t"] == (0.5, 0.1) and lab.picked.tolist() == [[0, 1], [-1, 0.5]]
    )
    assert shown[tab.data] == "eight_gaussians" and shown[tab.tied] is False and shown[tab.seed] == 7
    made = query_of(lab)
    again, same = opened(tab, made)
    assert same is lab and again[tab.status] == ""
    lab.used -= 1000
    del tab.state.labs._things[lab.id]
    _, other = opened(tab, made)
    assert (
        other is not lab
        and other.state.config == config
        and query_of(other).split("&lab=")[0] == made.split("&lab=")[0]
    )
    assert "--data eight_gaussians" in command_of(other) and "--data-std 0.2" in command_of(other)
    assert int(command_parses(command_of(other)).seed) == 7
    for wrong in ("data=nowhere", "data=points", "seed=x", "nfe=5000", "starts=1", "steps=9000", "view=x"):
        shown, bad = opened(tab, "?tab=toy&" + wrong)
        assert "could not be read" in shown[tab.status] and bad.state.config == ToyConfig(), wrong
        closing(bad)
    closing(other)


def test_a_link_whose_sampler_cannot_take_a_step_is_a_sentence_and_a_lab_outlives_a_drawing_that_fails():
    with pytest.raises(InputError, match="too few"):
        look_from({"sampler": "dual_loop", "nfe": "1"}, 200)
    lab = Lab(SMALL, {"sampler": "dual_loop", "nfe": 1})
    until(lambda: "too few" in lab.status)
    lab.set(nfe=20)
    until(lambda: "Step 0" in lab.status)
    lab.close()


def test_the_command_makes_the_downloaded_figure(lab):
    lab.add_start(0.5, -1.25)
    until(lambda: len(lab.picked) == 5)
    args = command_parses(command_of(lab))
    assert int(args.nfe) == FIGURE_NFE > lab.look["nfe"] and args.out == "figure5.png"
    assert pairs(args.starts, 64) == [pytest.approx(start, abs=1e-3) for start in lab.picked.tolist()]


def command_parses(line):
    from pf_core.cli import toy as command
    from pf_core.cli.common import Parser

    parser = Parser()
    command.add_arguments(parser)
    return parser.parse_args(shlex.split(line)[4:])


def test_files_of_a_laboratory(state):
    client = TestClient(Starlette(routes=toy.routes(state)), raise_server_exceptions=False)
    lab = open_lab(state.labs, SMALL)
    lab.start(None)
    until(lambda: lab.state.finished and not lab.playing)
    for name, begins in (("figure5.png", b"\x89PNG"), ("figure5.pdf", b"%PDF"), ("figure5.svg", b"<?xml")):
        answer = client.get(f"/pf/toy/{lab.id}/file/{name}")
        assert answer.content.startswith(begins) and name in answer.headers["content-disposition"]
    found = client.get(f"/pf/toy/{lab.id}/file/numbers.json").json()
    assert found["step"] == 4 and found["recipe"]["data"] == "two_modes" and found["logvar_correlation"] <= 1
    assert client.get(f"/pf/toy/{lab.id}/file/points.csv").text.startswith("x,y\n")
    assert client.get(f"/pf/toy/{lab.id}/file/passwd").status_code == 400
    closing(lab)


def test_without_the_stop_gradient_a_sentence_and_dotted_losses(lab):
    def finish():
        lab.start(None)
        until(lambda: lab.state.finished and not lab.playing and "energy distance" in lab.status)

    lab.restart(replace(SMALL, steps=20))
    finish()
    assert "Without" not in lab.status
    lab.restart(replace(SMALL, steps=20, stop_gradient=False))
    until(lambda: "Step 0 of 20" in lab.status)
    finish()
    until(lambda: "Without the stop-gradient the velocity's squared error is" in lab.status)
    names = [d["name"] for d in plots(lab)["losses"]["data"]]
    assert names[2:] == ["velocity MSE, with stop-gradient", "Gaussian NLL, with stop-gradient"]
    lab.start(None)
    until(lambda: "Rewind starts again" in lab.status)


def test_samplers_at_equal_nfe_are_compared_in_a_sentence(lab):
    lab.set(view=BENCHMARK, nfe=8)
    until(lambda: "At 8 NFE Euler ends" in lab.status)
    until(lambda: plots(lab)["view"]["layout"]["title"]["text"].startswith("Distance from the data"))
    assert len(plots(lab)["view"]["data"][0]["x"]) == len(SAMPLERS)


def test_a_training_that_runs_away_is_a_sentence(lab):
    lab.restart(replace(SMALL, steps=60, lr=0.1, lam=10.0, stop_gradient=False))
    until(lambda: "of 60" in lab.status)
    lab.tell(lambda: lab.state.model.output.weight.data.fill_(float("nan")))
    lab.start(None)
    until(lambda: "diverged" in lab.status)
    assert not lab.playing
    lab.rewind()
    until(lambda: "Step 0 of 60" in lab.status)


UPDATED = "(before) => window.__pf.plots.updates > before"


def visit(page, served):  # noqa: F811
    page.goto(served.address)
    page.get_by_role("tab", name="Toy").click()
    page.wait_for_function("window.__pf?.plots?.updates > 0 && window.__pf.plots.status.textContent")


def updated(page, action):  # noqa: F811
    before = page.evaluate("window.__pf.plots.updates")
    action()
    page.wait_for_function(UPDATED, arg=before)


def zoom(page, name):  # noqa: F811
    """Drag a rectangle on a plot; its x range then."""
    box = page.evaluate(f"""() => {{
      const drag = window.__pf.plots.boxes.{name}.querySelector(".nsewdrag").getBoundingClientRect();
      return [drag.x, drag.y, drag.width, drag.height];
    }}""")
    x, y, width, height = box
    page.mouse.move(x + width * 0.3, y + height * 0.3)
    page.mouse.down()
    page.mouse.move(x + width * 0.5, y + height * 0.5, steps=4)
    page.mouse.move(x + width * 0.7, y + height * 0.7, steps=4)
    page.mouse.up()
    page.wait_for_function(
        f"() => {{ const {{ boxes: {{ {name}: b }}, figures }} = window.__pf.plots;"
        f"const whole = figures.{name}.layout.xaxis.range;"
        "const r = b._fullLayout.xaxis.range; return r[1] - r[0] < 0.9 * (whole[1] - whole[0]); }"
    )
    return page.evaluate(range_of(name))


def range_of(name):
    return f"[...window.__pf.plots.boxes.{name}._fullLayout.xaxis.range]"


STARTS = (
    "atob(window.__pf.plots.figures.uncertainty.data.find((d) => d.name === 'trajectory start').x.bdata).length / 4"
)


# Legends between title and plot, the colour bar beside the plane and inside of the box.
FITTED = """() => Object.values(window.__pf.plots.boxes).every((box) => {
  const at = (s) => box.querySelector(s)?.getBoundingClientRect();
  const [frame, title, legend, plot, bar] = [box.getBoundingClientRect(), at('.gtitle'), at('.legend .bg'),
    at('.nsewdrag'), at('.infolayer [class*="colorbar"], .infolayer g[class^="cb"]')];
  const inside = (r) => !r || (r.left >= frame.left && r.right <= frame.right && r.bottom <= frame.bottom);
  const apart = !legend || (legend.top >= title.bottom - 4 && legend.bottom <= plot.top + 2);
  const beside = !bar || (bar.left >= plot.right && bar.height < plot.height + 24);
  return [title, legend, bar].every(inside) && apart && beside; })"""
CLOUD = """() => [...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title)
  .filter((title) => /share|cloud/i.test(title))"""


FIRST_DRAWN = """() => {
  const page = { figures: {}, boxes: { a: true, b: true }, stale: new Set(), status: {} };
  const plots = Object.fromEntries(["a", "b"].map((name) => [name, { layout: { title: { text: name } } }]));
  window.__pf.plots.take.call(page, { plots });
  return [...page.stale];
}"""


@IN_BROWSER
def test_draw_train_scrub_click_zoom_and_come_back(page, served):  # noqa: F811
    """What a person does with it, in one go: a page costs seconds."""
    visit(page, served)
    fit = """() => Object.values(window.__pf.plots.boxes).every((box) =>
      Math.abs(box._fullLayout?.width - box.clientWidth) < 5)"""
    for width in ("700px", ""):  # the page lays the plots out anew: none is cut
        page.evaluate("(w) => { document.querySelector('.pf-plots-grid').style.width = w; }", width)
        page.wait_for_function(fit)
    assert page.evaluate(FIRST_DRAWN) == ["a", "b"], "on a slow machine the plot that is seen first comes first"
    for width in (900, 360, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"({fit})() && !window.__pf.plots.stale.size && ({FITTED})()")
    assert page.evaluate(CLOUD) == [], "no button sends a chart to a stranger's server"
    assert "Press Start" in page.inner_text("[data-plot=losses]")
    page.locator("#toy-data input").click()
    page.get_by_role("option", name="Drawn by hand").click()
    page.wait_for_selector(".pf-brush")
    page.wait_for_selector("#toy-start:disabled")  # nothing is drawn yet
    page.locator(".pf-brush").scroll_into_view_if_needed()
    box = page.locator(".pf-brush").bounding_box()
    told = []
    page.on("request", lambda sent: told.append(sent) if '"points":' in (sent.post_data or "") else None)
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] + 15)
    page.mouse.down()  # a stroke that began elsewhere
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.up()
    cancelled = """(brush) => {
      const at = { pointerId: 1, clientX: brush.getBoundingClientRect().x + 9, clientY: 9, bubbles: true };
      brush.setPointerCapture = () => {};
      for (const what of ["down", "move"]) brush.dispatchEvent(new PointerEvent(`pointer${what}`, at));
      delete brush.setPointerCapture;
      brush.dispatchEvent(new PointerEvent("lostpointercapture", at));
      const count = () => brush.parentElement.querySelector("span").textContent;
      const before = count();
      brush.dispatchEvent(new PointerEvent("pointermove", at));
      return [before, count()];
    }"""
    assert told == []
    counts = page.locator(".pf-brush").evaluate(cancelled)
    assert counts == ["12 points"] * 2, "the pointer was taken away: what it does then draws nothing"
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    for k in range(12):
        page.mouse.move(box["x"] + 60 + 10 * k, box["y"] + 60 + 9 * k)
    updated(page, page.mouse.up)
    page.wait_for_function("window.__pf.plots.query?.includes('data=points')")
    page.wait_for_selector("#toy-start:enabled")
    assert page.locator("#toy-said p").count() == 0
    page.evaluate("window.scrollTo(0, 0)")
    lab = served.labs.get(page.evaluate("new URLSearchParams(location.search).get('lab')"))
    until(lambda: lab.state.config.data == "points" and lab._commands.empty())
    framed = "(low) => Math.abs(window.__pf.plots.figures.generated.layout.xaxis.range[0] - low) < 1e-6"
    page.wait_for_function(framed + " && !window.__pf.plots.stale.size", arg=float(lab.plots.low[0]))
    kept = zoom(page, "generated")
    page.evaluate("window.drawnBefore = window.__pf.plots.updates")
    for _ in range(50):  # every press of Step is one more picture, however slow the machine is
        before = page.evaluate("window.__pf.plots.version")
        lab.step()
        caught_up = "(before) => window.__pf.plots.version > before && !window.__pf.plots.stale.size"
        page.wait_for_function(caught_up, arg=before)
    assert page.evaluate("window.__pf.plots.updates - window.drawnBefore") >= 50
    assert page.evaluate(range_of("generated")) == pytest.approx(kept, abs=1e-6), "the zoom is kept over 50 updates"
    page.click("#toy-start")
    page.wait_for_function("Number(/Step (\\d+)/.exec(window.__pf.plots.status.textContent)?.[1]) > 50")
    page.click("#toy-pause")
    page.wait_for_function("window.__pf.plots.status.textContent.includes('energy distance')")
    slider = page.locator("#toy-tx input[type=number]")
    slider.fill("0.7")
    slider.press("Enter")
    page.wait_for_function("window.__pf.plots.figures.view.layout.title.text.includes('t_x 0.70, t_y 0.70')")
    before = page.evaluate(STARTS)
    plot = page.locator("[data-plot=data]").bounding_box()
    middle = plot["x"] + plot["width"] / 2, plot["y"] + plot["height"] / 2
    page.evaluate("addEventListener('pointerup', (e) => (window.ups ||= []).push(e.timeStamp), true)")
    page.mouse.dblclick(*middle)  # resets the zoom
    while page.evaluate("window.ups.at(-1) - window.ups.at(-2)") >= 300:  # on a crowded machine it was two clicks
        page.wait_for_function(f"({STARTS}) === {before} + 2")
        before += 2
        page.mouse.dblclick(*middle)
    page.mouse.click(*middle, button="right")
    page.wait_for_timeout(400)
    page.mouse.click(*middle)
    page.wait_for_function(f"({STARTS}) === {before} + 1")
    done = lab.state.done
    page.wait_for_function("location.search.includes('starts=')")
    page.reload()
    page.wait_for_function("window.__pf?.plots?.updates > 0 && window.__pf.plots.status.textContent")
    assert f"Step {done:,} of" in page.inner_text(".pf-plots-said"), "a reload finds its laboratory again"
    page.wait_for_function(f"window.__pf.plots.figures.uncertainty && ({STARTS}) === {before} + 1")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")
    closing(lab)
