"""The Compare tab: its handlers, and once in Chromium."""

import json
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

import gradio as gr
import numpy as np
import pytest
from app_world import answers, ended, make_network, networks, spec, state  # noqa: F401
from chromium import until_held
from helpers import write_checkpoint
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_browser import browser, page, pytestmark, served  # noqa: F401
from text_world import lively

from app import controls
from app.server.frames import status
from app.tabs.compare.tab import SAME, Compare, in_short, routes
from pf_core.models import checkpoint
from pf_core.presets import PFT, PRESETS
from pf_core.samplers import SAMPLERS
from pf_core.sampling.compare import difference, patch_updates

KNOBS = {f"{name}.{k}": knob.default for name, entry in SAMPLERS.items() for k, knob in entry.knobs.items()}


@pytest.fixture
def tab(state):  # noqa: F811
    with gr.Blocks():
        return answering_tab(Compare(state))


def answering_tab(tab):
    """The tab's handlers as these tests read them: values by name, answers as lists."""
    shown = [tab.viewer, tab.ids, tab.status, tab.fold]
    linked = [*shown, *tab.shared.values(), *tab.settable, tab.asked_of, tab.caption, tab.typical, tab.opened]
    preset = [tab.caption, tab.status, tab.count, tab.nfe, *tab.settable]
    return SimpleNamespace(
        on_run=answers(tab.on_run, tab.status, [*shown, tab.mine]),
        from_link=answers(tab.from_link, tab.status, linked),
        on_preset=answers(tab.on_preset, tab.status, preset),
        presets=tab.presets,
        sweep=tab.sweep,
        tab=tab,
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


@pytest.fixture
def between(state):  # noqa: F811
    """Asks for what two runs differ by, as the page does."""
    client = TestClient(Starlette(routes=routes(state)), raise_server_exceptions=False)
    return lambda what, **query: client.get(f"/pf/difference/{what}", params=query)


def unpack_film(content):
    """(head, RMS of each patch (K, N), levels (K, H, W)), as the page reads them."""
    length = int(np.frombuffer(content[:4], "<u4")[0])
    head = json.loads(content[4 : 4 + length])
    (k, h, w), (rows, cols) = head["shape"], head["grid"]
    patches = np.frombuffer(content[4 + length :], "<f4", k * rows * cols).reshape(k, -1)
    return head, patches, np.frombuffer(content[4 + length + patches.nbytes :], "u1").reshape(k, h, w)


def compared(tab, state, **changes):  # noqa: F811
    ids = tab.on_run([], **values(**changes))[1]
    return ids, [ended(state.runs.get(i)) for i in ids]


@pytest.fixture
def oblong():
    """The name of a network of 4 x 6 patches."""
    make_network(checkpoint.FOLDER, "oblong", input_size=(32, 48))
    yield "oblong"
    (checkpoint.FOLDER / "oblong.safetensors").unlink()


@pytest.mark.parametrize(("network", "width"), [("nano", 32), ("oblong", 48)])
def test_the_browser_gets_the_film_of_differences_that_was_measured(tab, state, between, oblong, network, width):  # noqa: F811
    (a, b), runs = compared(tab, state, network=network)
    ends = [len(run.trajectory) for run in runs]
    head, patches, levels = unpack_film(
        between("film", a=a, b=b, image=1, frames=f"0:0,2:3,{ends[0]}:{ends[1]}").content
    )
    assert head["shape"] == [3, 32, width] and head["grid"] == [4, width // 8]
    assert head["rms"][0] == 0 and len(head["palettes"]["signed"]) == 768
    for k, (i, j) in enumerate([(0, 0), (2, 3), ends]):
        there = difference(*(run.trajectory for run in runs), i, j, image=1, of="x1_hat")
        assert head["rms"][k] == pytest.approx(there.rms, abs=1e-4)
        assert np.allclose(patches[k], there.per_patch.numpy())
        shown = (levels[k] / 127.5 - 1) * head["spans"]["signed"]
        assert np.abs(shown - there.signed.mean(0).clamp(-0.25, 0.25).numpy()).max() < 0.002


def test_all_columns_are_measured_in_sentences_and_where_two_of_them_part(tab, state, between):  # noqa: F811
    ids, _ = compared(tab, state, samplers=("euler", "dual_loop", "look_ahead"), images=3)
    words = between("words", runs=",".join(ids), one=0, other=2, threshold=0.001).json()
    assert [said[:8] for said in words["sentences"]] == ["B ends 0", "C ends 0"]
    assert "over 3 images" in words["sentences"][0] and "more than 0.05 apart" in words["sentences"][0]
    assert len(words["partings"]) == 3 and words["partings"][0].keys() == {"t", "rms", "outer", "nfe"}
    assert between("words", runs=",".join(ids), one=1, other=1, threshold=0.05).json()["partings"] == [None] * 3


def test_what_cannot_be_compared_is_refused_with_a_sentence(tab, state, between):  # noqa: F811
    ids, _ = compared(tab, state)
    film = {"a": ids[0], "b": ids[1], "image": 0, "frames": "0:0"}
    for wrong in ({"a": "gone"}, {"image": 2}, {"image": "x"}, {"frames": ""}, {"frames": "0:99"}, {"frames": "0"}):
        check_refusal(between("film", **film | wrong))
    check_refusal(between("film", **film | {"of": "v"}))
    words = {"runs": ",".join(ids), "threshold": 0.05}
    for wrong in ({"runs": "x,y"}, {"runs": ""}, {"threshold": 0}, {"threshold": "x"}, {"other": 2}):
        check_refusal(between("words", **words | wrong))


def check_refusal(reply):
    assert reply.status_code in (400, 404) and reply.json()["error"].endswith(".")


def test_a_stopped_column_is_said_not_to_have_ended(tab, state, between):  # noqa: F811
    ids, runs = compared(tab, state)
    runs[1].trajectory.x1 = None
    assert "was stopped" in between("words", runs=",".join(ids)).json()["sentences"][0]
    runs[1].trajectory.frames = []  # before its first pass
    words = between("words", runs=",".join(ids), threshold=0.01).json()
    assert "was stopped" in words["sentences"][0] and words["partings"] == []


def test_the_form_folds_to_a_line_that_says_what_is_shown(tab, state):  # noqa: F811
    fold = tab.on_run([], **values(images=2, cfg=3))[3]
    assert fold["open"] is False
    assert fold["label"] == "A Euler | B Look-ahead · nano · class 1 · seeds 3 to 4 · 8 NFE · guidance 3"
    assert fold["label"] == tab.on_run([], **values(images=2, cfg=3))[3]["label"]


def test_without_a_class_or_a_prompt_the_line_says_which(tab, networks):  # noqa: F811
    checkpoint.save(networks / "words.safetensors", lively(), [], {})
    lines = [in_short([spec(checkpoint=name, labels=[None])] * 2) for name in ("nano", "words")]
    (networks / "words.safetensors").unlink()
    assert " · no class · " in lines[0] and " · no prompt · " in lines[1]


def test_a_preset_without_its_network_says_so(tab):
    _, preset = tab.presets[0]
    assert "is not here" in tab.on_preset(preset)[1]


def test_comparisons_that_can_run_are_offered_and_all_where_none_can(tab):
    assert {p.name for _, p in tab.presets} == set(PRESETS)  # of nano alone none can
    write_checkpoint(checkpoint.FOLDER, PFT)
    with gr.Blocks():
        offered = {p.name for _, p in Compare(tab.tab.state).presets}
    (checkpoint.FOLDER / f"{PFT}.safetensors").unlink()  # a page of another test offers what is here
    assert {"euler-look-ahead", "random-difficulty"} <= offered and not offered & {"sit-pft", "signs-fm-pf"}


def test_a_comparison_of_networks_of_prompts_opens_on_its_prompt_and_classes_come_back(tab):
    preset = PRESETS["signs-fm-pf"]
    assert "signs-fm" in tab.on_preset(preset)[1]  # is not here
    for name in ("signs-fm", "signs-pft"):
        checkpoint.save(
            checkpoint.FOLDER / f"{name}.safetensors", lively(predict_uncertainty=name == "signs-pft"), [], {}
        )
    found = tab.tab.on_preset(preset, "class 1")
    label = found[tab.tab.label]
    assert label["label"] == "Prompt" and label["value"] == preset.prompt and found[tab.tab.count] == 3
    plain = replace(preset, columns=({**preset.columns[0], "checkpoint": "nano"},) * 2, prompt="")
    assert tab.tab.on_preset(plain, preset.prompt)[tab.tab.label]["value"] == "class 0"
    columns = {f"c{k}": json.dumps([name, "euler", {}]) for k, name in ((1, "signs-fm"), (2, "signs-pft"))}
    axes = {axis.key: axis.axis.value for axis in tab.sweep.axes}
    linked = tab.sweep.from_link(SimpleNamespace(query_params={"tab": "compare", **columns}), **axes)
    names = [[name for _, name in linked[axis.axis]["choices"]] for axis in tab.sweep.axes]
    assert all("prompt" in known and "label" not in known for known in names)  # what a link's network can vary
    for name in ("signs-fm", "signs-pft"):
        (checkpoint.FOLDER / f"{name}.safetensors").unlink()


def test_guidance_that_nobody_touched_moves_to_what_the_networks_recommend(tab, monkeypatch):
    recommend = {"words": 6.0, "plain": None, "nano": 2.0}
    monkeypatch.setattr(controls, "start", lambda _, network: controls.Start({}, recommend[network]))
    asked = {"count": 2, "A": "plain", "B": "words", "C": "nano", "D": "nano"}
    moved = {tab.tab.cfg: 6.0, tab.tab.begun_scale: 6.0}
    assert tab.tab.on_networks(cfg=2, begun=2.0, **asked) == moved  # of the first that recommends any
    assert tab.tab.on_networks(cfg=2.5, begun=2.0, **asked) == {}
    assert tab.tab.on_networks(cfg=6, begun=6.0, **asked | {"B": "plain"})[tab.tab.cfg] == 1


def test_a_link_brings_columns_and_runs_back(tab, state):  # noqa: F811
    shown, ids, *_ = tab.on_run([], **values())
    query = dict(parse_qsl(shown["query"]))
    mine = tab.on_run([], **values())[-1]  # a page stops the runs that it started, not those of a link
    assert mine != ids and all(ended(state.runs.get(i)).state == "done" for i in [*mine, *ids])
    found = tab.from_link(request=SimpleNamespace(query_params=query))
    assert found[1] == ids and found[2] == "" and found[4] == 2 and found[6:9] == [3, 2, 8]
    assert found[-3:] == [SAME, gr.update(visible=False), ""]  # a link's seed is no comparison's
    gone = tab.from_link(request=SimpleNamespace(query_params=query | {"runs": "x,y"}))
    assert "not kept" in gone[2]
    for wrong in ({"c1": "{"}, {"c1": "[1]"}, {"c1": '["x","euler",{}]'}, {"nfe": "0"}, {"label": "x"}):
        assert "could not be read" in tab.from_link(request=SimpleNamespace(query_params=query | wrong))[2]


VIEWER = "(window.__pf?.all('viewer') ?? []).find((v) => v.root.closest('#compare-viewer'))"
MEASURED = f"() => {{ const v = {VIEWER}; return v?.ready && v.runs.length === 2 && v.pair?.film && v.pair.words }}"


MAPS = ".pfv-run :is([data-panel=x1], [data-panel=t], [data-panel=sigma]) .pfv-frame"
INSIDE = f"""() => [".pfv-transport", ".pfv-apart", "{MAPS}"].every((part) =>
  [...document.querySelectorAll(`#compare-viewer ${{part}}`)].every((each) => {{
    const {{ left, top, right, bottom }} = each.getBoundingClientRect();
    return left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
  }}))"""
UNDER = """() => {
  const [stage, name] = [".pfv-stage", ".pfv-run h3"].map((part) => document.querySelector(`#compare-viewer ${part}`));
  const { bottom } = stage.getBoundingClientRect();
  return name.getBoundingClientRect().top >= bottom && bottom >= 0;
}"""


def compare_two(page, served, network="nano"):  # noqa: F811
    """Two short runs, set by the page's address."""
    columns = {f"c{k}": json.dumps([network, name, {}]) for k, name in ((1, "euler"), (2, "look_ahead"))}
    page.goto(f"{served.address}?{urlencode({'tab': 'compare', 'nfe': 12, **columns})}")
    page.wait_for_selector("#compare-said p")  # the form is set
    page.click("#compare-run")
    page.wait_for_function(MEASURED)


def test_two_columns_with_their_maps_and_the_transport_stand_in_the_first_screen(page, served):  # noqa: F811
    page.set_viewport_size({"width": 1440, "height": 900})
    compare_two(page, served)
    page.wait_for_function("document.querySelector('#compare-form .label-wrap:not(.open)')")
    page.wait_for_function(INSIDE)  # it folds, and scrolls there
    places = {
        key: [box.bounding_box() for box in page.locator(f"#compare-viewer {at}").all()]
        for key, at in {
            "transport": ".pfv-transport",
            "curve": ".pfv-apart",
            **{k: f".pfv-run figure[data-panel={k}] .pfv-frame" for k in ("x1", "t", "sigma")},
        }.items()
    }
    assert [len(boxes) for boxes in places.values()] == [1, 1, 2, 2, 2]
    for boxes in places.values():
        for box in boxes:
            assert box["x"] >= 0 and box["y"] >= 0
            assert box["x"] + box["width"] <= 1440 and box["y"] + box["height"] <= 900
    assert all(box["width"] >= 160 for key in ("x1", "t", "sigma") for box in places[key])
    a, b = places["x1"]
    assert a["y"] == b["y"] and b["x"] > a["x"] + 600  # side by side
    page.mouse.move(700, 600)
    page.mouse.wheel(0, 700)  # the transport stays in sight
    page.wait_for_function("""() => {
      const { y } = document.querySelector("#compare-viewer .pfv-transport").getBoundingClientRect();
      return scrollY > 300 && y >= -1 && y < 40;
    }""")

    page.click("#compare-form .label-wrap")  # the form opens again
    page.wait_for_selector("#compare-presets button >> nth=6", state="visible")
    lines = """() => new Set([...document.querySelectorAll("#compare-presets button")].slice(0, 7)
      .map((button) => button.getBoundingClientRect().y)).size"""
    assert page.evaluate(lines) == 1, "the comparisons of classes stand in one line"
    page.fill("input[aria-label='Seed'] >> visible=true", "7")
    page.wait_for_selector("#compare-changed p")
    said = page.inner_text(".pfv-measured")
    assert said.startswith("B ends 0.0") and page.locator("#compare-viewer .pfv-state >> text=patch moves").count() == 2
    page.reload()
    page.wait_for_function(MEASURED)
    page.wait_for_selector("#compare-form .label-wrap:not(.open)")  # a link's form is folded as well
    assert page.locator("#compare-form .label-wrap.open").count() == 0
    assert page.inner_text(".pfv-measured") == said
    page.add_style_tag(content=".pf-fold .pf-presets { margin-bottom: 500px }")  # a form that is as long as the screen
    page.evaluate("scrollTo(0, 0)")
    page.click("#compare-form .label-wrap")
    page.click("#compare-run")
    page.wait_for_function("document.querySelector('#compare-form .label-wrap:not(.open)')")
    page.wait_for_function(MEASURED)
    page.wait_for_timeout(900)  # longer than it takes to fold and to scroll
    page.wait_for_function(UNDER)  # the columns' names are under the transport


def become(page, seen, meant):  # noqa: F811
    """Wait until two things in the page are the same; say how they differ where they do not become so."""
    for _ in range(200):
        if page.evaluate(f"String({seen}) === String({meant})"):
            return
        page.wait_for_timeout(100)
    assert page.evaluate(seen) == page.evaluate(meant), page.evaluate(f"[{VIEWER}.index, {VIEWER}.frames]")


def test_the_first_difference_is_one_click_and_maps_and_wipe_follow_the_film(page, served, oblong):  # noqa: F811
    compare_two(page, served, oblong)
    for part in (".pfv-wipe", ".pfv-pair-signed .pfv-frame", ".pfv-pair-rms .pfv-frame"):
        box = page.locator(part).bounding_box()
        assert box["width"] == pytest.approx(1.5 * box["height"], rel=0.02)  # as oblong as the pictures
    page.select_option("[data-pair=of]", "x")
    page.wait_for_function("document.querySelector('.pfv-apart-title').textContent.includes('in x\u209c')")
    page.wait_for_function(f"Math.max(...({VIEWER}.pair.film?.rms ?? [0])) > 0.03")  # null until the numbers are here
    curve = page.evaluate(f"{VIEWER}.pair.film.rms")
    page.fill("[data-pair=threshold]", "0.03")
    assert page.evaluate(f"{VIEWER}.pair.threshold") == 0.05  # nothing happens before Enter
    page.press("[data-pair=threshold]", "Enter")
    first = next(k for k, rms in enumerate(curve) if rms > 0.03)
    page.wait_for_function(f"(first) => {VIEWER}.pair.first === first", arg=first)
    page.click("#compare-viewer .pfv-first")
    says = "(words) => document.querySelector('.pfv-pair-now').textContent.includes(words)"
    page.wait_for_function(says, arg=f"RMS {curve[first]:.3f}")
    assert page.evaluate(f"{VIEWER}.index") == first and first > 1
    page.keyboard.press("Home")  # both begin with the same noise
    page.wait_for_function(says, arg="RMS 0.000")
    same = """() => {
      const canvas = document.querySelector(".pfv-pair-signed canvas");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return pixels.every((v, i) => v === pixels[i % 4]);
    }"""
    page.wait_for_function(same)
    page.keyboard.press("End")
    page.wait_for_function(f"!({same})()")

    seen = """() => [...document.querySelectorAll(".pfv-wipe canvas")].map((canvas) =>
      [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 < 3))"""
    shown = f"(() => {{ const v = {VIEWER}; return v.runs.map((r) => [...r.frames.at(-1).x1_hat.slice(0, 4608)]) }})()"
    become(page, f"({seen})()", shown)
    page.locator("[data-pair=wipe]").focus()
    page.keyboard.press("ArrowRight")  # moves the wipe, not the film
    assert page.evaluate("document.querySelector('.pfv-wipe').style.getPropertyValue('--pfv-at')") == "51%"
    box = page.locator(".pfv-wipe").bounding_box()
    page.locator(".pfv-wipe").click(position={"x": box["width"] * 0.25, "y": 20})
    assert abs(float(page.input_value("[data-pair=wipe]")) - 25) <= 1
    late = []  # the numbers of one image are never those of another
    page.route("**/difference/film*", lambda route: route.continue_() if late else late.append(route))
    page.click("#compare-viewer [data-image='1']")
    page.wait_for_function(says, arg="The difference is being measured.")
    until_held(page, late).continue_()
    page.wait_for_function(says, arg="of image 2")
    page.click("#compare-viewer [data-image='0']")
    page.select_option("[data-pair=one]", "1")
    page.select_option("[data-pair=other]", "0")
    page.wait_for_function(says, arg="A minus B")
    become(page, f"({seen})()", f"{shown}.reverse()")

    page.evaluate(f"{VIEWER}.runs[0].meta.nfe = 40")  # as where one pass costs many
    page.keyboard.press("Home")
    page.wait_for_function(f"{VIEWER}.pair.time === 'NFE 1 of 40'")
    page.click("#compare-viewer [data-image=all]")
    box = page.locator(".pfv-pair-rms canvas").bounding_box()
    page.locator(".pfv-pair-rms canvas").hover(position={"x": box["width"] * 0.6, "y": box["height"] * 0.9})
    page.wait_for_function(f"{VIEWER}.hover?.image === 0 && {VIEWER}.hover.patch === 21")
    assert page.locator(".pfv-pair-rms .pfv-cross:not(.pfv-pin)").is_visible()
