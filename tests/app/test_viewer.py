"""The viewer in Chromium, beyond a single plain run: mixed grids, guidance, edits, the switches."""

import re

import numpy as np
import pytest
import torch
from app_world import CLASSES, ended, networks, spec, unpack  # noqa: F401
from chromium import SHARED
from test_browser import ENDED, SAYS, browser, pytestmark, run, served, slow, visit  # noqa: F401
from test_browser import page as own_page  # noqa: F401

from app.server import pictures
from app.server.frames import pack_reply
from pf_core.models import build, checkpoint, preset

EDITS = [
    {"kind": "head_start", "patches": [5, 6], "outer": 1, "amount": 0.3},
    {"kind": "clean", "patches": [0], "outer": 0, "image": 0, "source": "x1_hat"},
]
NAMELESS = """() => [...document.querySelectorAll(".pf-viewer :is(button, select, input)")]
  .filter((e) => e.offsetParent)
  .filter((e) => ![e.ariaLabel, e.textContent, e.labels?.[0]?.textContent].some((words) => words?.trim()))
  .map((e) => e.outerHTML)"""


@pytest.fixture(scope="module")
def loaded(browser, served, request):  # noqa: F811
    with SHARED.page(request.session) as page:
        visit(page, served)
        yield page


@pytest.fixture
def page(loaded):
    """One page for the tests of this file, as loading it takes most of their time; its viewer as it was at first."""
    loaded.set_viewport_size({"width": 1400, "height": 900})
    loaded.mouse.move(5, 5)
    loaded.emulate_media(reduced_motion="no-preference")
    loaded.evaluate("""() => {
      const viewer = window.__pf.viewer;
      viewer.player.pause();
      document.querySelectorAll("#explore-viewer [data-set=loop]:checked").forEach((loop) => loop.click());
      Object.assign(viewer, { image: 0, sheet: false });
      document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
      document.activeElement.blur();
      scrollTo(0, 0);
    }""")
    yield loaded
    wrong = loaded.wrong.copy()
    loaded.wrong.clear()
    assert wrong == []


def show_runs(page, runs, **options):
    """Show these; the viewer may have shown others before."""
    told = [{"id": run.id, "label": run.label} for run in runs]
    page.evaluate("(value) => window.__pf.viewer.show(value)", {"runs": told, **options})
    shown = "(ids) => String(window.__pf.viewer.runs.map((run) => run.id)) === String(ids)"
    page.wait_for_function(shown, arg=[run.id for run in runs])


def show(page, served, *specs, **options):  # noqa: F811
    """Run these and show them on one clock."""
    show_runs(page, [served.start(each) for each in specs], **options)
    page.wait_for_function(ENDED)


def point(page, panel, x, y, run=0):  # noqa: F811
    """Move the pointer to a place in [0, 1] x [0, 1] of a run's panel; the place on the page."""
    frame = page.locator(f".pfv-run >> nth={run} >> figure[data-panel={panel}] .pfv-frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    at = box["x"] + box["width"] * x, box["y"] + box["height"] * y
    page.mouse.move(*at)
    return at


def test_runs_of_other_grids_and_shapes_share_one_place(page, served):  # noqa: F811
    torch.manual_seed(5)
    model = build(preset("nano", input_size=(24, 48), patch_size=8))  # 3 x 6 patches, not square
    checkpoint.save(checkpoint.FOLDER / "wide.safetensors", model, CLASSES, {})
    show(page, served, spec(), spec(checkpoint="wide", sampler="euler"), spec(checkpoint="shapes-exact", labels=[None]))
    point(page, "x1", 0.9, 0.9)
    page.wait_for_function("document.querySelectorAll('.pfv-say')[1].textContent.startsWith('Row 3, column 6')")
    said = page.locator(".pfv-say").all_inner_texts()
    assert [s.split(" \u2014")[0] for s in said] == ["Row 4, column 4", "Row 3, column 6", "Row 8, column 8"]
    assert page.locator(".pfv-cross:not(.pfv-pin):visible").count() == 3 * 5
    point(page, "x1", 0.58, 0.83, run=1)  # of another grid, but of the same number
    page.wait_for_function("document.querySelectorAll('.pfv-say')[1].textContent.startsWith('Row 3, column 4')")
    sizes = page.evaluate(
        "[...document.querySelectorAll('.pfv-frame canvas')].filter((c) => c.clientWidth)"
        ".map((c) => [c.width, c.height, c.clientWidth, c.clientHeight])"
    )
    assert {(w, h) for w, h, *_ in sizes} == {(32, 32), (48, 24)}
    assert all(W % w == 0 and W // w == H // h >= 3 for w, h, W, H in sizes)
    page.click("[data-image=all]")
    point(page, "t", 0.9, 0.9, run=1)
    page.wait_for_function("document.querySelector('.pfv-say').textContent.includes('image 2')")
    assert page.evaluate("document.querySelectorAll('.pfv-run canvas')[0].width") == 32 * 2 + 2
    (checkpoint.FOLDER / "wide.safetensors").unlink()


def test_the_browser_sees_the_pixels_that_were_stated(page, served, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pictures, "BUDGET", 600)  # 32 px: some with loss, some without
    show(page, served, spec(seeds=[3, 4, 5], nfe=6))
    header, frames = unpack(pack_reply(served.runs.get(page.evaluate("window.__pf.viewer.runs[0].id")), 0, {}))
    planes = [kind for head in header["frames"] for _, kind, _ in head["pictures"]]
    assert {1, 3} == set(planes)
    for name in ("x", "x1_hat"):
        shown = page.evaluate("(name) => window.__pf.viewer.runs[0].frames.map((f) => [...f[name]])", name)
        assert np.array_equal(np.array(shown), np.stack([frame[name].ravel() for frame in frames])), name


def test_of_a_large_run_only_pictures_near_the_playhead_are_kept(page, served):  # noqa: F811
    page.evaluate("window.__pf.viewer.sheet = true")  # as with several images, but here is one
    show(page, served, spec(nfe=60, seeds=[0]), query="")
    assert page.evaluate("window.__pf.viewer.sheet") is False
    here = "window.__pf.viewer.runs[0].frames.map((frame) => frame.x !== null)"
    assert all(page.evaluate(here))
    page.evaluate("window.__pf.viewer.runs[0].sparing = true; window.__pf.viewer.go(4)")
    page.wait_for_function(f"!{here}[59]")
    assert page.evaluate(here)[:29] == [True] * 29
    page.evaluate("window.__pf.viewer.go(55)")
    page.wait_for_function(f"{here}[55] && {here}[59] && !{here}[4]")
    page.wait_for_function("""() => {
      const canvas = document.querySelector("figure[data-panel=x] canvas");
      const drawn = canvas.getContext("2d").getImageData(0, 0, 1, 1).data.slice(0, 3);
      return String(drawn) === String(window.__pf.viewer.runs[0].frames[55].x.slice(0, 3));
    }""")


def test_what_was_done_by_hand_is_shown(page, served):  # noqa: F811
    show(page, served, spec(nfe=12, edits=EDITS))
    said = page.inner_text(".pfv-edits")
    assert "head start 0.3: 2 patches of all images, at outer step 2" in said
    assert "make clean from the run's own x1_hat: 1 patch of image 1, at outer step 1" in said
    page.evaluate("window.__pf.viewer.go(0)")
    rims = "document.querySelector('.pfv-edited').getAttribute('d').split('M').length - 1"
    page.wait_for_function(f"{rims} === 1")  # the head start comes later
    page.wait_for_function(SAYS, arg=[".pfv-readout", "outer step 1 of 6, probe, NFE 1 of"])
    page.evaluate("window.__pf.viewer.go(4)")
    page.wait_for_function(f"{rims} === 3")
    point(page, "x", 0.3, 0.3)
    page.wait_for_function("document.querySelector('.pfv-say').textContent.includes('edited (head start 0.3)')")
    for k in range(page.evaluate("window.__pf.viewer.frames")):  # every sentence can be said
        page.evaluate("(k) => window.__pf.viewer.go(k)", k)
    assert "done" in page.inner_text(".pfv-say")


def test_guidance_and_the_scale_per_frame(page, served):  # noqa: F811
    show(page, served, spec(cfg_scale=3.0))
    assert page.inner_text("figure[data-panel=sigma] figcaption").startswith("\u03c3 extrapolated")
    assert page.get_attribute("button[data-panel=cond]", "aria-pressed") == "false"  # five maps are larger than six
    page.click("button[data-panel=cond]")
    assert page.inner_text("figure[data-panel=cond] figcaption").startswith("\u03c3 conditional")
    page.keyboard.press("f")
    page.wait_for_selector(".pfz[open] figure >> nth=5")
    columns = page.evaluate("getComputedStyle(document.querySelector('.pfz-cells')).gridTemplateColumns.split(' ')")
    assert 6 % len(columns) == 0  # no row with one map alone
    assert page.locator(".pfz figcaption >> text=\u03c3 extrapolated").count() == 1
    page.keyboard.press("Escape")
    page.evaluate("window.__pf.viewer.go(3)")
    point(page, "cond", 0.6, 0.6)
    page.wait_for_function("document.querySelector('.pfv-say').textContent.includes('(extrapolated; conditional ')")
    ticks = "document.querySelector('figure[data-panel=sigma] .pfv-ticks').textContent"
    fixed = page.evaluate(ticks)
    page.check("[data-set=perFrame]")
    page.wait_for_function(f"(fixed) => {ticks} !== fixed", arg=fixed)
    page.uncheck("[data-set=perFrame]")
    page.wait_for_function(f"(fixed) => {ticks} === fixed", arg=fixed)


def test_pictures_are_enlarged_by_whole_pixels_or_by_two_and_a_half(page, served):  # noqa: F811
    visit(page, served)
    found = page.evaluate("""async () => {
      const name = [...document.querySelectorAll("link[rel=modulepreload]")].find((e) => e.href.endsWith("/layout.js"));
      const { whole } = await import(name.href);
      return [0.4, 1.9, 2.4, 2.7, 3.6, 5.1].map(whole);
    }""")
    assert found == [0.4, 1, 2, 2.5, 3, 5]


def test_the_first_run_is_drawn_while_the_others_wait(page, served, slow):  # noqa: F811
    slow.hold(8)
    runs = [served.start(spec(nfe=64, seeds=[k])) for k in range(2)]
    show_runs(page, runs)
    page.wait_for_function("window.__pf.viewer.ready && window.__pf.viewer.frames > 5")  # the fourth is not the newest
    assert runs[1].state == "waiting" and "waiting" in page.locator(".pfv-state").nth(1).inner_text()
    for key in ("Home", "Shift+ArrowRight", "End"):
        page.keyboard.press(key)
    page.select_option("[data-set=align]", "seconds")
    page.evaluate("window.__pf.viewer.go(3)")
    page.evaluate("() => { window.about = document.querySelector('.pfv-about').firstChild; }")
    slow.go_on()
    page.wait_for_function(ENDED)
    # the second run's ticks stand before it now; what is said of the run was not written anew
    assert page.evaluate("[window.__pf.viewer.frameIndex(0), window.about.isConnected]") == [3, True]
    assert page.evaluate("window.__pf.viewer.index") > 3
    page.select_option("[data-set=align]", "nfe")
    widths = page.evaluate("[...document.querySelectorAll('figure[data-panel=x] canvas')].map((c) => c.width)")
    assert widths == [32, 32] and page.evaluate("window.__pf.viewer.frames") == 65


def test_everything_by_keys(page, served):  # noqa: F811
    show(page, served, spec(seeds=[0, 1, 2]))
    page.focus(".pfv-images button")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("window.__pf.viewer.image") == 1
    for _ in range(40):  # Tab comes by the picture, the switches, the film bar, the transport, the cards
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.pfv-frame')"):
            break
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.pfv-say').textContent.startsWith('Row 3, column 4')")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "slider":
            break
    page.keyboard.press("Home")
    page.wait_for_function(
        "document.activeElement.getAttribute('aria-valuetext').startsWith('outer step 1 of 4, outer')"
    )
    assert page.evaluate(NAMELESS) == []
    page.focus(".pfv-code")
    page.keyboard.press("ArrowRight")  # scrolls it
    film = page.locator(".pfv-film").bounding_box()
    page.mouse.move(film["x"] + film["width"] / 2, film["y"] + 50)
    page.mouse.down(button="right")
    page.mouse.move(film["x"] + film["width"] * 0.8, film["y"] + 50)
    page.mouse.up(button="right")
    assert page.evaluate("window.__pf.viewer.index") == 0


def test_a_held_patch_is_of_the_image_that_is_shown_and_a_link_says_so(page, served):  # noqa: F811
    show(page, served, spec(seeds=[0, 1, 2]))
    point(page, "x1", 0.4, 0.4)
    page.mouse.down()
    page.mouse.up()
    page.click("[data-image='2']")
    page.wait_for_function("document.querySelector('.pfv-run .pfv-pin').checkVisibility()")
    assert page.evaluate("[window.__pf.viewer.pin.image, window.__pf.viewer.pin.patch]") == [2, 5]
    page.focus(".pfv-frame")
    page.keyboard.press("ArrowRight")
    pressed = "document.querySelector('[data-image][aria-pressed=true]').dataset.image"
    assert page.evaluate(f"[window.__pf.viewer.image, window.__pf.viewer.pin.patch, {pressed}]") == [2, 6, "2"]
    page.click("[data-image=all]")
    place = page.wait_for_function(
        "() => { const { explore } = window.__pf.address.places; return explore.image === 'all' && explore; }"
    ).json_value()
    assert place["patch"] == "3.2-3"
    stand = "(place) => { window.__pf.say('place', { tab: 'explore', place }); return window.__pf.viewer.pin; }"
    assert page.evaluate(stand, {"patch": "2-3", "image": "2"})["image"] == 1
    found = page.evaluate(stand, place)
    assert (found["image"], found["patch"]) == (2, 6)
    assert page.evaluate(stand, {}) is None and page.evaluate("window.__pf.viewer.image") == 0


def test_of_several_runs_one_that_is_gone_says_so_beside_the_others(page, served):  # noqa: F811
    there = ended(served.start(spec(seeds=[0, 1])))
    told = [{"id": "gone", "label": "gone"}, {"id": there.id, "label": "there"}]
    page.evaluate("(runs) => window.__pf.viewer.show({ runs })", told)
    page.wait_for_function("window.__pf.viewer.ready && window.__pf.viewer.runs[0].failed")
    page.wait_for_function("!window.__pf.viewer.runs[1].active")
    assert "not kept here" in page.locator(".pfv-state").first.inner_text()
    page.wait_for_function("document.querySelector('[data-image] canvas').width === 32")
    point(page, "x1", 0.4, 0.4, run=1)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function(SAYS, arg=[".pfv-series-title", "t and \u03c3, row 2, column 2"])
    page.click(".pfv-foot >> text=t = 0.2 / 0.5 / 0.8")
    page.wait_for_function("document.querySelector('.pfv-look canvas').width === 32")
    page.click(".pfv-foot >> text=t = 0.2 / 0.5 / 0.8")
    assert all("404" in error for error in page.wrong)
    page.wrong.clear()


HELD = """() => {
  const decode = window.createImageBitmap;
  let count = 0;
  const released = new Promise((done) => (window.release = done));
  window.createImageBitmap = async (...given) => {
    count += 1;
    if (count > 16) await released;
    return decode(...given);
  };
}"""


def half_decoded(page, served, **options):  # noqa: F811
    """A finished run of which the browser has decoded eight frames so far."""
    run = ended(served.start(spec(nfe=40, seeds=[0])))
    page.evaluate(HELD)
    show_runs(page, [run], **options)
    page.wait_for_function("window.__pf.viewer.ready && window.__pf.viewer.frames === 8")
    assert page.evaluate("window.__pf.viewer.total") == 41


def test_a_finished_run_rests_on_its_last_frame_however_long_its_pictures_take(page, served):  # noqa: F811
    half_decoded(page, served)
    page.evaluate("window.release()")
    page.wait_for_function(ENDED)
    assert page.evaluate("[window.__pf.viewer.index, window.__pf.viewer.frames]") == [40, 41]


def test_who_scrubs_while_pictures_are_still_decoded_stays_there(page, served):  # noqa: F811
    half_decoded(page, served)
    page.evaluate("window.__pf.viewer.go(3)")
    page.evaluate("window.release()")
    page.wait_for_function(ENDED)
    assert page.evaluate("[window.__pf.viewer.index, window.__pf.viewer.frames]") == [3, 41]
    assert page.evaluate("window.__pf.viewer.runs[0].frames.every((frame) => frame.x && frame.x1_hat)")


def test_a_recording_plays_while_pictures_are_still_decoded(page, served):  # noqa: F811
    half_decoded(page, served, autoplay=True)
    page.wait_for_function("window.__pf.viewer.player.playing && window.__pf.viewer.index === 7")  # waits for more
    page.wait_for_function(
        "() => window.release() || (window.__pf.viewer.index > 9 && window.__pf.viewer.player.playing)"
    )


def test_playing_stops_at_every_pass_at_outer_steps_or_at_probes(page, served):  # noqa: F811
    show(page, served, spec(nfe=8))
    phases = page.evaluate("window.__pf.viewer.runs[0].frames.map((f) => f.phase)")
    outer = [k for k, phase in enumerate(phases) if phase in ("outer", "final")]
    probes = [k for k, phase in enumerate(phases) if phase in ("probe", "final")]
    for choice, stops in (("outer", outer), ("probe", probes)):
        page.select_option("[data-set=passes]", choice)
        page.keyboard.press("Home")
        visited = [page.evaluate("window.__pf.viewer.index")]
        for _ in stops[1:]:
            page.keyboard.press("ArrowRight")
            visited.append(page.evaluate("window.__pf.viewer.index"))
        assert visited == stops, choice
    page.select_option("[data-set=passes]", "all")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.__pf.viewer.index") == 1
    show(page, served, spec(nfe=8, sampler="euler"))
    assert page.locator("[data-set=passes] [value=probe]").is_disabled()


def test_one_pass_gives_way_to_the_next_in_a_short_transition(page, served):  # noqa: F811
    show(page, served, spec(nfe=8))
    page.evaluate("""() => {
      const animate = Element.prototype.animate;
      window.faded = [];
      Element.prototype.animate = function (frames, options) {
        if (this.matches(".pfv-ghost")) window.faded.push(options.duration);
        return animate.call(this, frames, options);
      };
      window.__pf.viewer.play();
    }""")
    page.wait_for_function("!window.__pf.viewer.player.playing")
    durations = page.evaluate("window.faded")
    panels = page.locator(".pfv-frame canvas.pfv-ghost").count()
    assert len(durations) >= panels == 5 and set(durations) == {150}  # of the 250 ms that a pass is shown
    page.emulate_media(reduced_motion="reduce")
    glides = """async () => {
      const name = [...document.querySelectorAll("link[rel=modulepreload]")].find((e) => e.href.endsWith("/shared.js"));
      return (await import(name.href)).gliding();
    }"""
    assert page.evaluate(glides) == "auto"
    page.evaluate("() => { window.faded = []; window.__pf.viewer.play(); }")
    page.wait_for_function("!window.__pf.viewer.player.playing")
    assert page.evaluate("window.faded") == []


def test_a_schedule_map_is_titled_and_its_rows_are_under_the_pointer(page, served):  # noqa: F811
    show(page, served, spec(nfe=8))
    page.click("[data-act=schedule]")
    page.evaluate("window.__pf.viewer.schedule()")  # drawn, at the height that its rows need
    assert page.inner_text(".pfv-schedules figcaption") == page.inner_text(".pfv-run .pfv-name")
    canvas = page.locator(".pfv-schedules canvas")
    canvas.scroll_into_view_if_needed()
    box, rows = canvas.bounding_box(), page.evaluate("window.__pf.viewer.frames")
    for row in (0, 3, rows - 1):
        y = box["y"] + 4 + (row + 0.5) * (box["height"] - 38) / rows
        page.mouse.click(box["x"] + 100, y)
        assert page.evaluate("window.__pf.viewer.index") == row


def test_token_forwards_stand_beside_forwards_where_only_hard_patches_pass(own_page, served, monkeypatch):  # noqa: F811
    monkeypatch.setattr(served.bundle("nano"), "model", served.bundle("nano").model.model)  # which keeps a context
    visit(own_page, served, "?network=nano&sampler=dual_loop&refresh=none&images=1&budget=8")
    run(own_page)
    said = own_page.inner_text("#explore-viewer .pfv-state")
    found = re.search(r"8 forwards . ([0-9.]+) token-forwards . \d+ patch moves", said)
    assert found and 2 < float(found[1]) < 8, said
    assert own_page.text_content("#explore-viewer .pfv-state [data-term=token-forwards]") == "token-forwards"
