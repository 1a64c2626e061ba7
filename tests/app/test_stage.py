"""Export for a slide and presentation mode: what the server makes and refuses, and what a speaker sees."""

import io
import json
import threading
from types import SimpleNamespace

import gradio as gr
import pytest
from app_world import client, ended, networks, spec, state  # noqa: F401
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from test_accessible import SETTLED
from test_browser import ENDED, browser, page, run, served, visit  # noqa: F401
from test_browser import pytestmark as needs_chromium
from test_compare_tab import compare_two
from test_viewer import loaded, show  # noqa: F401
from test_viewer import page as viewed  # noqa: F401

from app import links
from app.server import exports
from app.tabs.compare.tab import Compare
from pf_core.errors import InputError
from pf_core.sampling.export import read_recipes


@pytest.fixture
def pair(state):  # noqa: F811
    runs = [ended(state.start(spec(sampler=sampler))) for sampler in ("look_ahead", "euler")]
    for letter, each in zip("AB", runs, strict=True):
        each.label = f"{letter} · {each.label}"
    return runs


def ask(client, what, runs, kind="gif", at="", **slides):  # noqa: F811
    query = {"runs": ",".join(r if isinstance(r, str) else r.id for r in runs), "kind": kind, "at": at}
    return client.get(f"/pf/slides{what}", params=query | {"slides": json.dumps({"width": 640} | slides)})


def test_what_it_will_be_and_how_it_looks_come_first(client, pair):  # noqa: F811
    cost = ask(client, "/cost", pair).json()
    assert cost["width"] == 640 and 9 <= cost["frames"] <= 10 and cost["bytes"] > 1000 and cost["too_much"] == ""
    looks = ask(client, "/preview", pair, at="3,3")
    assert looks.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(looks.content)).size == (640, cost["height"])


def test_two_runs_in_one_file_which_explore_loads_back(state, client, pair, tmp_path):  # noqa: F811
    reply = ask(client, "", pair)
    assert 'filename="look_ahead-and-euler-seed0.gif"' in reply.headers["content-disposition"]
    path = tmp_path / "slide.gif"
    path.write_bytes(reply.content)
    assert [recipe["sampler"] for recipe in read_recipes(path)] == ["look_ahead", "euler"]
    taken, said = links.load(state, str(path))
    assert taken.spec == pair[0].spec and said == "slide.gif holds 2 recipes: the first one is run again here."
    again = ask(client, "", pair)
    assert again.content == reply.content
    parts = {k: str(v) for k, v in links.beside(state, str(path)).items()}
    with gr.Blocks():
        compare = Compare(state)
    shown = compare.from_link(SimpleNamespace(query_params=parts))
    assert [ended(state.runs.get(i)).spec for i in shown[compare.ids]] == [run.spec for run in pair]


def test_what_compare_cannot_show_side_by_side_says_why(state, pair, tmp_path):  # noqa: F811
    other = ended(state.start(spec(sampler="euler", seeds=[7, 8])))
    for runs, said in (([pair[0], other], "differ in more than"), ([pair[0]] * 5, "has 4 columns")):
        path = tmp_path / "several.json"
        path.write_text(json.dumps({"recipes": [run.spec.to_dict() for run in runs]}))
        with pytest.raises(InputError, match=said):
            links.beside(state, str(path))


@pytest.mark.parametrize("kind", ["picture", "strip", "webp"])
def test_one_run_as(client, pair, kind):  # noqa: F811
    reply = ask(client, "", pair[:1], kind, at="2", panels=["x1"], images=[1])
    assert reply.status_code == 200 and Image.open(io.BytesIO(reply.content)).size[0] == 640


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"width": 99_999}, "width must lie between 320 and 2560"),
        ({"seconds": 0}, "seconds must lie between"),
        ({"frames": "all"}, "frames must be one of every, outer, probes"),
        ({"images": [9]}, "There is no image 10"),
        ({"panels": []}, "at least one panel"),
        ({"kind": "exe"}, "There is no slide 'exe'"),
        ({"wdith": 3}, "'wdith', which this version does not know"),
        ({"at": "1,2,3"}, "a frame for every run"),
        ({"at": "-1,x"}, "A frame must"),
    ],
)
def test_what_cannot_be_made_is_a_sentence(client, pair, asked, said):  # noqa: F811
    for what in ("/cost", "/preview", ""):
        reply = ask(client, what, pair, **asked)
        assert reply.status_code == 400 and said in reply.json()["error"]


def test_too_many_runs_unknown_runs_and_nonsense_are_refused(client, pair):  # noqa: F811
    assert ask(client, "/cost", [*pair, *pair, pair[0]]).status_code == 400
    assert ask(client, "/cost", ["nobody"]).status_code == 404
    for nonsense in ("{", "[]", "3", '{"images": "x"}', "x" * 5000):
        assert client.get(f"/pf/slides/cost?runs={pair[0].id}&slides={nonsense}").status_code == 400


def test_only_so_many_files_wait(client, pair, monkeypatch):  # noqa: F811
    begun, gate, real = threading.Event(), threading.Event(), exports._make

    def held(path, make):
        begun.set()
        gate.wait(120)
        real(path, make)

    monkeypatch.setattr(exports, "_make", held)
    monkeypatch.setattr(exports, "MOST_WAITING", 1)
    replies = []
    first = threading.Thread(target=lambda: replies.append(ask(client, "", pair[:1], "picture")))
    first.start()
    assert begun.wait(120)
    second = ask(client, "", pair[:1], "strip")
    gate.set()
    first.join()
    assert second.status_code == 503 and "try again in a moment" in second.json()["error"]
    assert replies[0].status_code == 200


def serious(page, within):  # noqa: F811
    """Serious faults that axe-core finds within an element."""
    page.wait_for_function(SETTLED)  # half-way between two colours is neither
    page.evaluate(Axe().axe_script)
    found = page.evaluate("(within) => axe.run(document.querySelector(within), { preload: false })", within)
    bad = [fault for fault in found["violations"] if fault["impact"] in ("serious", "critical")]
    return [(fault["id"], node["html"][:120]) for fault in bad for node in fault["nodes"]]


SAVABLE = "!document.querySelector('.pfx-save').disabled"


@needs_chromium
def test_a_gif_for_a_slide_in_two_presses(page, served, tmp_path):  # noqa: F811
    visit(page, served, "?network=nano&sampler=look_ahead&images=2&budget=8&seed=3")
    run(page)
    page.focus("text=Export…")
    page.keyboard.press("Enter")
    page.wait_for_function(SAVABLE)
    assert "8 frames of 1280 ×" in page.inner_text(".pfx-cost") and "at most about" in page.inner_text(".pfx-cost")
    page.wait_for_function("document.querySelector('.pfx-preview img').naturalWidth === 1280")
    assert serious(page, ".pfx") == []
    page.evaluate("document.body.classList.add('dark')")
    assert serious(page, ".pfx") == []
    with page.expect_download() as download:
        page.click(".pfx-save")
    download.value.save_as(tmp_path / "slide.gif")
    assert download.value.suggested_filename == "nano-look_ahead-seed3.gif"
    assert read_recipes(tmp_path / "slide.gif")[0]["seeds"] == [3, 4]
    images, late = page.locator(".pfx [name=image]"), []
    for box in images.all():
        box.uncheck()
    page.wait_for_selector(".pfx-wrong >> text=Choose at least one image.")
    images.first.check()
    page.wait_for_function(SAVABLE)
    page.route("**/slides/preview*kind=strip*", lambda route: late.append(route))  # asked for, and thought better of
    page.check(".pfx [name=kind][value=strip]")
    page.wait_for_function("document.querySelector('.pfx-cost').textContent.startsWith('Measuring')")
    page.check(".pfx [name=kind][value=gif]")
    page.wait_for_function(SAVABLE)
    assert "8 frames of 1280 ×" in page.inner_text(".pfx-cost")
    page.fill(".pfx [name=width]", "99999")
    page.wait_for_function("document.querySelector('.pfx-wrong')")
    page.press(".pfx [name=width]", "Enter")
    page.evaluate("""() => {
      const box = document.querySelector(".pfx");
      const { left: clientX, top: clientY } = box.getBoundingClientRect(); // as on the scroll bar
      for (const kind of ["pointerdown", "click"]) box.dispatchEvent(new PointerEvent(kind, { clientX, clientY }));
    }""")
    assert page.is_visible(".pfx")
    page.keyboard.press("Escape")
    assert not page.is_visible(".pfx")
    assert page.evaluate("document.activeElement.textContent") == "Export…"


@needs_chromium
def test_the_file_has_the_passes_that_the_transport_stops_at(viewed, served):  # noqa: F811
    show(viewed, served, spec(nfe=8, seeds=[3]))
    viewed.select_option("[data-set=passes]", "outer")
    viewed.click("text=Export…")
    assert viewed.input_value(".pfx [name=frames]") == "outer"
    viewed.select_option(".pfx [name=frames]", "probes")
    viewed.keyboard.press("Escape")
    viewed.click("text=Export…")
    assert viewed.input_value(".pfx [name=frames]") == "probes"  # what was chosen here stays
    viewed.mouse.click(3, 3)  # beside it
    assert not viewed.is_visible(".pfx")
    viewed.select_option("[data-set=passes]", "all")
    viewed.click("text=Export…")
    assert viewed.input_value(".pfx [name=frames]") == "every"


@needs_chromium
def test_what_is_too_large_offers_a_film_or_fewer_frames(viewed, served, monkeypatch):  # noqa: F811
    from pf_core.figures import slide_files

    show(viewed, served, spec(nfe=8, seeds=[3]))
    monkeypatch.setattr(slide_files, "MOST_BYTES", 1000)
    viewed.click("text=Export…")
    viewed.wait_for_selector(".pfx-offer >> text=MP4 instead")
    assert "This file would be about" in viewed.inner_text(".pfx-cost") and viewed.is_disabled(".pfx-save")
    monkeypatch.undo()
    viewed.click(".pfx-offer >> text=Outer steps only")
    viewed.wait_for_function(SAVABLE)
    assert viewed.input_value(".pfx [name=frames]") == "outer"


@needs_chromium
def test_a_speaker_presents_with_keys_alone(page, served):  # noqa: F811
    page.set_viewport_size({"width": 1920, "height": 1080})
    visit(page, served, "?network=nano&sampler=look_ahead&images=2&budget=8&seed=3")
    run(page)
    page.wait_for_function("""() => {
      const sides = [...document.querySelectorAll(".pfv-frame")].map((e) => e.clientWidth).filter(Boolean);
      return sides.length === 5 && Math.min(...sides) >= 320;
    }""")
    page.keyboard.press("f")
    page.wait_for_selector(".pfz[open] canvas")
    small = """[...document.querySelectorAll(".pfz *")].filter((e) => e.checkVisibility() && e.tagName !== "SUB"
      && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
      .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 28).map((e) => e.outerHTML)"""
    assert page.evaluate(small) == []
    wide = "[...document.querySelectorAll('.pfz figure canvas')].map((e) => e.getBoundingClientRect().width)"
    page.wait_for_function(f"Math.min(...{wide}) >= 320")
    assert serious(page, ".pfz") == []
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("window.__pf.viewer.index === 1")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("window.__pf.viewer.index > 1")
    before = page.inner_text(".pfz-readout")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("window.__pf.viewer.image === 1")
    page.keyboard.press("End")
    page.wait_for_function("(before) => document.querySelector('.pfz-readout').textContent !== before", arg=before)
    page.keyboard.press("t")
    page.wait_for_function("document.querySelectorAll('.pfz figure').length === 6")
    page.wait_for_selector(".pfz-times[aria-pressed=true]")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.pfz').open")
    page.keyboard.press("f")
    page.wait_for_selector(".pfz[open]")
    page.keyboard.press("f")
    page.wait_for_function("!document.querySelector('.pfz').open")


@needs_chromium
def test_two_runs_are_presented_within_a_phones_screen(page, served):  # noqa: F811
    compare_two(page, served)
    page.set_viewport_size({"width": 390, "height": 844})
    page.keyboard.press("f")
    page.wait_for_selector(".pfz[open] section:nth-child(2) canvas")
    outside = """[...document.querySelectorAll(".pfz section, .pfz section *")].filter((e) => {
      const box = e.getBoundingClientRect();
      return box.left < 0 || box.right > innerWidth || box.top < 0 || box.bottom > innerHeight;
    }).map((e) => e.outerHTML.slice(0, 80))"""
    page.wait_for_function(f"!({outside}).length")
    assert page.evaluate("document.querySelector('.pfz-readout').textContent") == "the results"


@needs_chromium
def test_the_longest_readout_is_seen_whole_at_1440_by_900(viewed, served):  # noqa: F811
    viewed.set_viewport_size({"width": 1440, "height": 900})
    show(viewed, served, spec(nfe=8, seeds=[3]))
    fits = """(words) => {
      const line = document.querySelector(".pfv-readout");
      line.textContent = words;
      const text = document.createRange();
      text.selectNodeContents(line);
      const [box, inner] = [line.getBoundingClientRect(), text.getBoundingClientRect()];
      return inner.right <= box.right && inner.top >= box.top && inner.bottom <= box.bottom;
    }"""
    assert viewed.evaluate(fits, "outer step 128 of 256, probe, NFE 254 of 256, t 0.44 to 0.61")


@needs_chromium
def test_three_times_side_by_side_in_the_page(viewed, served):  # noqa: F811
    show(viewed, served, spec(nfe=32, seeds=[3, 4]))
    viewed.click(".pfv-foot >> text=t = 0.2 / 0.5 / 0.8")
    viewed.click("[data-image=all]")
    wide = "[...document.querySelectorAll('.pfv-look canvas')].map((c) => c.clientWidth / c.clientHeight)"
    viewed.wait_for_function(f"{wide}.every((ratio) => ratio > 1.9)")  # two beside each other, none squeezed
    assert viewed.locator(".pfv-look figure canvas").count() == 6
    times = viewed.evaluate("""[...document.querySelectorAll(".pfv-look button")].map((b) => {
      const frame = window.__pf.viewer.runs[0].frames[b.dataset.frame];
      return frame.t.reduce((sum, t) => sum + t, 0) / frame.t.length;
    })""")
    assert [abs(t - aim) < 0.06 for t, aim in zip(times, (0.2, 0.5, 0.8), strict=True)] == [True] * 3
    viewed.click(".pfv-look button >> nth=1")
    viewed.wait_for_function("""window.__pf.viewer.frameIndex(0)
      === Number(document.querySelectorAll(".pfv-look button")[1].dataset.frame)""")
    assert serious(viewed, ".pfv-times") == []
