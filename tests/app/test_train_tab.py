"""The Train tab: recipes from its controls, the board's rows, curves, own pictures, and the whole of it in Chromium."""

import re
import zipfile
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from app_world import answered, networks, state  # noqa: F401
from jobs_world import ENDLESS, QUICK, recipe, until
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_browser import browser, page  # noqa: F401
from test_browser import pytestmark as needs_chromium

from app.state import AppState
from app.tabs.train import routes, rows
from app.tabs.train.curves import PLOTS, Curves
from app.tabs.train.own import OwnPictures
from app.tabs.train.tab import ANEW, GROUPS, SAVED, SIMPLE, Train, intervals
from app.ui import launch
from pf_core.data.own import paths
from pf_core.errors import InputError
from pf_core.figures import training as figures
from pf_core.models import checkpoint
from pf_core.registry import parameters
from pf_core.training import status
from pf_core.training.config import Intervals
from pf_core.training.loop import TrainConfig
from pf_core.training.plans import PLANS, fitting
from pf_core.training.queue import Jobs
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute
from pf_core.training.status import Info


@pytest.fixture(autouse=True, scope="module")
def runs(tmp_path_factory):
    """All runs of this file in a folder of their own, and none left training."""
    before, checkpoint.RUNS = checkpoint.RUNS, tmp_path_factory.mktemp("runs")
    yield checkpoint.RUNS
    ending = Jobs(checkpoint.RUNS)
    for info in ending.all():
        if info.state not in ("stopped", "finished", "failed", "interrupted"):
            ending.force_stop(info.name)
    checkpoint.RUNS = before


@pytest.fixture(scope="module")
def served(networks, runs, tmp_path_factory):  # noqa: F811
    """An app of its own, which looks for trainings in `runs`."""
    state = AppState(recordings=tmp_path_factory.mktemp("recordings"))  # noqa: F811
    demo, _, state.address = launch(state)
    yield state
    demo.close()


@pytest.fixture
def tab(state):  # noqa: F811
    with gr.Blocks():
        made = Train(state)
    yield made
    made.jobs.close()


def given(tab, **changes):
    """What the controls send, by name, at their defaults except `changes`."""
    assert set(changes) <= set(tab.inputs)
    return {name: control.value for name, control in tab.inputs.items()} | changes


def test_the_controls_say_the_recipe(tab):
    name, made, every = tab.recipe(given(tab))
    first = next(iter(PLANS.values()))  # what a newcomer starts with: the shortest ready-made training
    config = replace(first.recipe.config, timestep_settings=made.config.timestep_settings)
    assert (name, made) == ("", replace(first.recipe, data_settings=made.data_settings, config=config))
    assert every.samples == first.intervals.samples
    assert tab.recipe(given(tab, steps=7, model="nano", lam=0.5))[1].config.lam == 0.5


def test_every_setting_stands_in_one_group_in_words(tab):
    grouped = [name for group in (SIMPLE, *GROUPS.values()) for name in group]
    assert sorted(grouped) == sorted(tab.known) == sorted(tab.config)
    labels = [control.label for control in (*tab.config.values(), *tab.machine.values())]
    assert all(label[0].isupper() for label in labels) and not {"lam", "muon lr", "disk gb"} & set(labels)
    assert parameters(TrainConfig)["muon_lr"].flag == "--muon-lr"  # the command line keeps its names


def test_no_legend_lies_over_a_curve_and_no_title_is_cut():
    curve = figures.Curve([1, 2], [1.0, 2.0])
    parts = [{"t": 0.5, "predicted": [0.1, 0.2], "real": [0.1, 0.3]}]
    made = [
        figures.over_steps("x", {"a": curve, "b": curve}, "MSE"),
        figures.segments("x", [1, 2], np.ones((2, 1)), [0.5]),
        figures.calibration("x", parts),
    ]
    assert not any(figure["layout"].get("annotations") for figure in made)
    empty = figures.over_steps("x", {"a": figures.Curve([], [])}, "MSE")["layout"]
    assert empty["annotations"] and not empty["yaxis"]["showticklabels"]  # no made-up numbers where nothing is measured
    for layout in (figure["layout"] for figure in made):
        assert layout["showlegend"] and layout["legend"]["y"] < 0 and layout["legend"]["yanchor"] == "top"
        assert layout["xaxis"]["automargin"] and layout["yaxis"]["automargin"]


def test_a_point_alone_is_seen_and_a_narrow_scale_has_numbers():
    """Two entries into a training: one point a curve, and losses that lie between two of 1, 2 and 5."""
    alone = figures.over_steps("x", {"a": figures.Curve([20], [1.1], [1.1])}, "MSE", log=True)
    assert all(line["mode"] == "lines+markers" for line in alone["data"])
    narrow = figures.over_steps("x", {"a": figures.Curve([20, 40], [1.4, 1.1])}, "MSE", log=True)
    assert narrow["data"][0]["mode"] == "lines" and "dtick" not in narrow["layout"]["yaxis"]
    wide = figures.over_steps("x", {"a": figures.Curve([20, 40], [1.1, 0.1])}, "MSE", log=True)
    assert all(figure["layout"]["yaxis"]["dtick"] == "D2" for figure in (wide, alone))


def test_maps_of_t_have_the_shape_of_the_datas_pictures(tab):
    said = {k: v for k, v in given(tab).items() if k.startswith(("data:", "times:"))}
    for dataset, shape in (("signs", (8, 24)), ("shapes", (8, 8)), ("folder", (8, 8))):
        grid = tab.on_draws("tiny", "ltg", dataset, **said)[tab.drawn]["grid"]
        assert (grid["rows"], grid["cols"]) == shape
    wide = tab.on_draws("tiny", "ltg", "signs", **said | {"data:signs.aspect": 2})[tab.drawn]["grid"]
    assert wide["cols"] == 16


def test_another_size_brings_its_own_settings_and_keeps_what_was_set_by_hand(tab):
    asked = {"fitted": "mini"} | {k: c.value for k, c in tab.config.items()}
    found = tab.on_model("tiny", **(asked | {"lr": 0.5}))
    fit = fitting("tiny")
    assert found[tab.fitted] == "tiny" and found[tab.config["steps"]] == fit.steps == 850
    assert found[tab.config["batch_size"]] == 64 and tab.config["lr"] not in found
    assert fitting("nano") == TrainConfig()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "Steps must"),
        ({"steps": 10**9}, "Steps must"),
        ({"batch_size": 100_000}, "Batch size must"),
        ({"lr": "x"}, "Learning rate must"),
        ({"lr": float("nan")}, "Learning rate must"),
        ({"dataset": "nothing"}, "data set"),
        ({"model": "huge"}, "network size"),
        ({"timesteps": "nothing"}, "timestep sampler"),
        ({"name": "../x"}, "not a name for a run"),
        ({"dataset": "folder"}, "pictures"),
        ({"init": "/etc/passwd"}, "no network"),
        ({"device": "tpu"}, "device must"),
    ],
)
def test_what_is_wrong_is_a_sentence_and_starts_nothing(tab, changes, says):
    before, device = tab.jobs.names(), changes.pop("device", "auto")
    values = given(tab, **changes)
    found = answered(tab.on_start, tab.status, fork_of=None, forking=None, device=device, **values)
    assert says in found[tab.status] and tab.jobs.names() == before and tab.board not in found


def test_an_estimate_is_of_the_device_that_is_chosen(tab, monkeypatch):
    asked = []
    monkeypatch.setattr("app.tabs.train.tab.Measuring", lambda *of: asked.append(of) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(tab.on_estimate(fork_of=None, device="cpu", **given(tab)))
    assert asked[0][-1] == "cpu"


def value_of(update):
    return update["value"] if isinstance(update, dict) else update


def test_a_plan_sets_the_controls(tab):
    for plan in PLANS.values():
        updates = tab.set_recipe(plan.recipe, plan.intervals)
        assert set(updates) <= set(tab.settable)
        _, made, _ = tab.recipe({name: value_of(updates.get(c, c.value)) for name, c in tab.inputs.items()})
        assert made.config == plan.recipe.config or made.config.steps == plan.recipe.config.steps
        assert made.model == plan.recipe.model
        assert updates[tab.own.box]["visible"] == (plan.recipe.dataset == "folder")


def test_every_state_offers_what_can_be_done(tmp_path):
    states = [value for name, value in vars(status).items() if name.isupper() and isinstance(value, str)]
    assert len(states) > 9
    for each in states:
        found = [what for what, _ in rows.actions(Info("x", each, saved_step=3))]
        assert found, each
        assert set(found) <= {*rows.COMMANDS, "fork", "ask"}
        assert all(hasattr(Jobs, what) for what in found if what not in ("fork", "ask"))
    assert "resume" in dict(rows.actions(Info("x", "interrupted"))) and "ask" in dict(rows.actions(Info("x", "failed")))


@pytest.fixture(scope="module")
def trained(runs):
    """A finished run of twelve steps, with validation, calibration and samples."""
    folder = RunFolder(runs / "done")
    every = Intervals(save=6, log=1, validate=6, samples=12)
    for _ in execute(folder, False, recipe(12), every, "a test"):
        pass
    return folder


def test_curves_follow_the_metrics(trained):
    curves = Curves(Jobs(trained.path.parent))
    first = curves.reply(["done"], 0)
    assert set(first["plots"]) == set(PLOTS)
    assert len(first["plots"]["validation"]["data"]) == 9  # eight times and their mean
    assert len(first["plots"]["calibration"]["data"]) == 9  # eight times and the diagonal
    assert curves.reply(["done"], first["version"])["plots"] == {}
    trained.append(step=13, mse=0.5, total=0.5)
    again = curves.reply(["done"], first["version"])
    assert again["version"] != first["version"] and again["plots"]
    assert len(curves.reply(["done", "done"], 0)["plots"]["mse"]["data"]) == 2  # raw and smooth of one run
    assert curves.reply(["gone", "done"], 0)["version"] == curves.reply(["done"], 0)["version"]
    curves._known["gone"] = curves._known["done"]
    assert curves.reply(["done"], 0) and set(curves._known) == {"done"}  # a deleted run leaves nothing


def test_routes_give_what_a_run_holds_and_nothing_else(state, trained):  # noqa: F811
    client = TestClient(Starlette(routes=routes.routes(state)), raise_server_exceptions=False)
    listed = client.get("/pf/train/runs").json()
    row = next(r for r in listed["runs"] if r["name"] == "done")
    assert row["state"] == "finished" and row["strips"] and "of 10 GB" in listed["disk"]
    for kind in ("sheet", "strip"):
        assert client.get(f"/pf/train/done/{kind}/{row['strips'][0][0]}").content.startswith(b"\x89PNG")
    assert client.get("/pf/train/done/weights").content == trained.weights.read_bytes()
    assert client.get("/pf/train/done/zip").content.startswith(b"PK")
    assert client.get("/pf/train/plots/done?after=0").json()["plots"]
    for wrong in (
        "done/strip/999",
        "done/sheet/" + "9" * 5000,
        "gone/log",
        "..%2f..%2fetc/log",
        "plots/done?after=x",
        ".hidden/weights",
    ):
        reply = client.get(f"/pf/train/{wrong}")
        assert reply.status_code in (400, 404) and b"Traceback" not in reply.content, wrong
    state.training.close()


def test_own_pictures_are_taken_in_and_trained_on(tab, tmp_path, monkeypatch):
    monkeypatch.setenv("PATCH_FORCING_DATA", str(tmp_path / "data"))
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as z:
        for i in range(8):
            path = tmp_path / f"{i}.png"
            Image.fromarray(np.full((20, 30, 3), 30 * i, np.uint8)).save(path)
            z.write(path, f"{'dark' if i < 4 else 'light'}/{i}.png")
        z.writestr("light/bad_*.png", "not a picture")
        z.writestr("light/5.txt", "a light picture")
    own: OwnPictures = tab.own
    found = own.on_files([str(tmp_path / "own.zip")])
    said, pending = found[own.report], found[own.pending]
    assert "1 caption." in said and "Learns to draw by" in said
    assert "8 pictures in 2 classes" in said and "bad_*.png" in said and found[own.question]["visible"]
    chosen = own.on_use(pending)[own.chosen]
    assert paths.is_set(chosen["value"])
    values = given(tab, dataset="folder", model="nano", steps=2, batch_size=2)
    knob = tab.data_knobs.key("folder", "path")
    assert knob in values
    _, made, _ = tab.recipe(values | {knob: chosen["value"]})
    tab.jobs.check(made)
    assert made.data_settings["path"] == chosen["value"]
    for gone in (pending, "../x"):
        assert "no longer waiting" in own.on_use(gone)[own.report]
    assert own.on_files([str(tmp_path / "gone.zip")])[own.pending] is None
    alone = own.on_files([str(tmp_path / "0.png")])
    assert "Learns" not in alone[own.report] and "Discarded" in own.on_drop(alone[own.pending])[own.report]


def test_commands_reach_the_run_and_refusals_are_sentences(tab):
    tab.jobs.create("ordered", ENDLESS, QUICK, start=False)
    event = lambda **data: SimpleNamespace(_data=data)  # noqa: E731
    act = lambda **data: answered(tab.on_act, tab.status, event(**data))  # noqa: E731
    assert "not running" in act(run="ordered", what="stop")[tab.status]
    assert "no command of that name" in act(run="ordered", what="__init__")[tab.status]
    assert "There is no run" in act(run="gone", what="pause")[tab.status]
    found = act(run="ordered", what="fork")
    assert found[tab.fork_of] == "ordered" and found[tab.forking]["visible"]
    assert found[tab.config["steps"]] == 900_000
    assert act(run="ordered", what="delete") == {tab.status: ""} and "ordered" not in tab.jobs.names()


def test_a_fork_keeps_what_no_control_says(tab, runs, monkeypatch):
    source = RunFolder(runs / "scaled")
    made = recipe(2, codec_settings={"scale": 0.5}, model_settings={"t_scale": 500.0})
    source.start(made, QUICK, created=1.0, device="cpu", tensorboard=True)
    for _ in execute(source, True, None, None, "a test"):
        pass
    monkeypatch.setattr(tab.jobs, "fork", partial(tab.jobs.fork, start=False))
    asked = tab.on_act(SimpleNamespace(_data={"run": "scaled", "what": "fork"}))
    values = {name: value_of(asked.get(control, control.value)) for name, control in tab.inputs.items()}
    tab.on_start("scaled", SAVED, asked[tab.device], **values | {"steps": 3, "name": "on"})
    fork, about = tab.jobs.folder("on").recipe(), tab.jobs.folder("on").about()
    assert (fork.codec_settings, fork.model_settings) == (made.codec_settings, made.model_settings)
    assert fork.config.steps == 3 and (about["device"], about["tensorboard"]) == ("cpu", True)
    monkeypatch.setattr(tab.jobs, "create", partial(tab.jobs.create, start=False))
    assert asked[tab.forking]["choices"][-1] == ANEW
    new = tab.on_start("scaled", ANEW, asked[tab.device], **values | {"name": "new"})
    both = tab.on_pair("scaled", asked[tab.device], **values | {"name": "both"})
    made_here = ["new", *both[tab.board]["chosen"]]
    for name in made_here:
        again, parent = tab.jobs.folder(name).recipe(), tab.jobs.get(name).parent
        assert again.codec_settings == made.codec_settings and parent is None
    assert all(found[tab.fork_of] is None and not found[tab.forking]["visible"] for found in (new, both))
    assert tab.on_plan(next(iter(PLANS.values())))[tab.fork_of] is None
    for name in ("on", "scaled", *made_here):
        tab.jobs.delete(name)


def test_intervals_fit_the_length():
    for steps in (1, 50, 2000, 10**6):
        every = intervals(steps, 100)
        assert every.log >= 1 and every.save >= 10


# Which sheet is shown as a run has two; as one looks at an earlier one while a third comes; and as one looks at another
# run while the first, back at its newest, gets two more; then that other one's.
SHEETS = """() => {
  const { board } = window.__pf;
  const [runs, chosen] = [board.runs, board.chosen];
  const shown = (name, count) => {
    const strips = Array.from({ length: count }, () => runs[0].strips[0] ?? [0, 0]);
    board.runs = [...runs, { ...runs[0], name, strips }];
    board.chosen = [name];
    board.drawOne();
    return Number(document.querySelector(".pft-strip input").value);
  };
  const scrub = (k) => {
    const slider = document.querySelector(".pft-strip input");
    slider.value = String(k);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const found = [shown("a", 2)];
  scrub(0);
  found.push(shown("a", 3));
  scrub(2);
  const other = shown("b", 2);
  found.push(shown("a", 5), other);
  Object.assign(board, { runs, chosen });
  board.drawOne();
  return found;
}"""


# The sheet of a run whose pictures are three times as wide as they are high.
OBLONG = """() => {
  const sheet = Object.assign(document.createElement("canvas"), { width: 8 * 96, height: 2 * 32 }).toDataURL();
  document.querySelector(".pft-strip").hidden = false;
  for (const image of document.querySelectorAll(".pft-sheet")) image.src = sheet;
}"""


@needs_chromium
def test_a_training_in_the_browser(page, served, runs):  # noqa: F811
    """Start, see the curve move, reload, stop, resume, open in Explore."""
    jobs = Jobs(runs)
    jobs.configure(nice=0)
    jobs.create("older", ENDLESS, QUICK, start=False)
    page.goto(served.address + "?tab=train")
    page.wait_for_selector("#train-start")
    page.get_by_label("Name").fill("browsed")
    page.get_by_label("Network size").click()
    page.get_by_role("option", name="nano").click()
    page.get_by_label("steps", exact=False).first.fill("200000")
    late = []  # a list from before the start, which comes after it
    page.route("**/pf/train/runs", lambda route: route.continue_() if late else late.append(route))
    until(lambda: late or page.wait_for_timeout(50), "the list to be asked for")
    before = late[0].fetch()
    page.click("#train-start")
    row = ".pft-run[data-run=browsed]"
    page.wait_for_selector(f"{row}[aria-current=true]")
    late[0].fulfill(response=before)
    page.wait_for_selector(f"{row}[data-state=running]", timeout=120_000)
    points = "() => document.querySelector('[data-plot=mse]')?.calcdata?.[0]?.length || 0"
    page.wait_for_function(points)
    before = page.evaluate(points)
    page.wait_for_function(f"(before) => ({points})() > before", arg=before, timeout=120_000)
    assert page.evaluate("window.__pf.board.chosen") == ["browsed"]
    page.reload()
    page.wait_for_selector(f"{row}[data-state=running]")
    sheets = re.compile("/pf/train/(a|b)/")  # of runs that are none
    page.route(sheets, lambda route: route.fulfill(body=""))
    page.click("[data-act=save_now]")
    until(lambda: jobs.kept("browsed"), "the network to be kept")
    page.wait_for_selector("text=Open in Explore")
    assert page.evaluate(SHEETS) == [1, 0, 4, 1]
    page.hover("[data-act=stop]")
    page.mouse.down()  # a long press: the numbers move on meanwhile
    numbers = f"document.querySelector('{row} .pft-numbers').textContent"
    page.wait_for_function(f"(before) => {numbers} !== before", arg=page.evaluate(numbers))
    page.mouse.up()
    page.wait_for_selector(f"{row}[data-state=stopped]", timeout=120_000)
    assert "goes on from step" in page.inner_text(f"{row} .pft-message")
    stopped_at = jobs.get("browsed").saved_step
    page.click("[data-act=resume]")
    page.wait_for_selector(f"{row}[data-state=running]", timeout=120_000)
    until(lambda: jobs.get("browsed").step > stopped_at, "it to go on")
    assert jobs.get("browsed").resumed_from == stopped_at
    page.click("[data-act=force_stop]")
    page.wait_for_selector(f"{row}[data-state=interrupted]", timeout=120_000)
    page.click("text=Open in Explore")
    page.wait_for_function("() => [...document.querySelectorAll('input')].some((i) => i.value === 'runs/browsed')")
    asked = []
    page.on("request", lambda request: asked.append(request) if "run/predict" in request.url else None)
    page.click("#explore-run")
    page.wait_for_function(
        "() => { const run = window.__pf?.viewer?.runs[0];"
        "return run?.status.state === 'done' && run.meta.network === 'runs/browsed'; }"
    )
    page.wait_for_timeout(300)
    assert all(request.response() for request in asked)  # what a page asks for as it is left is refused
    page.goto(served.address + "?tab=train&runs=browsed")
    page.wait_for_selector("[data-act=ask]")
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate(OBLONG)  # a phone shows the sheet's halves below each other, of oblong pictures too
    page.wait_for_function("document.querySelector('.pft-sheet').style.getPropertyValue('--pft-half') === '6'")
    half, rest = (each.bounding_box() for each in page.locator(".pft-sheet").all())
    assert half["width"] == pytest.approx(6 * half["height"], rel=0.05) and rest["y"] >= half["y"] + half["height"] > 0
    page.click("[data-act=ask]")
    page.click("[data-act=delete]")
    page.wait_for_selector(row, state="detached")
    assert "browsed" not in jobs.names()


def test_settings_of_the_machine_are_checked(tab):
    setting = lambda value: answered(tab.on_setting, tab.status, "parallel", value)[tab.status]  # noqa: E731
    assert setting(2) == "" and tab.jobs.settings.parallel == 2
    assert "parallel must" in setting(0) and tab.jobs.settings.parallel == 2
    tab.on_setting("parallel", 1)


def test_captions_have_their_own_default_of_the_timestep_sampler(tab):
    (key,) = [name for name in tab.inputs if name.endswith("ltg.loc")]
    loc, asked = tab.inputs[key], {name: control.value for name, control in tab.time_knobs.inputs.items()}
    assert tab.on_condition("text", **asked)[loc]["value"] == 0.5
    assert tab.on_condition("classes", **asked | {key: 0.5})[loc]["value"] == 0.7
    assert "value" not in tab.on_condition("text", **asked | {key: 0.6})[loc]
    made = tab.recipe(given(tab, dataset="signs", condition="text"))[1]
    assert made.condition == "text" and tab.set_recipe(made, Intervals())[tab.condition] == "text"
    with pytest.raises(InputError, match="no captions"):
        tab.jobs.check(tab.recipe(given(tab, condition="text"))[1])
