"""For everyone: contrast and names (axe-core), Run by keyboard, targets for fingers, no motion where none is wanted."""

import shutil
import time
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import pytest
from app_world import networks, spec  # noqa: F401
from axe_playwright_python.sync_playwright import Axe
from chromium import LOADED, SHARED
from test_browser import browser, page, run, serving, visit  # noqa: F401
from test_browser import pytestmark as needs_chromium

from app.ui import TABS
from pf_core.models import checkpoint
from pf_core.sampling.run import Run
from pf_core.sampling.trajectory import record

pytestmark = needs_chromium
OLD = Path(__file__).parents[1] / "old" / "runs"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
NARROWEST = 39.5  # px of a target: 40, less what rounding takes


class Fault(NamedTuple):
    """What axe-core says against Gradio's own components, where we cannot mend it: an element of `within`, and why."""

    rule: str
    within: str
    reason: str


GRADIO = "6.31.0"  # the version in which these were seen: look at them again when it changes
FAULTS: tuple[Fault, ...] = ()


@pytest.fixture(scope="module")
def served(tmp_path_factory, networks):  # noqa: F811
    """The app over a folder of its own, as lessons keep the recorded run that they have found."""
    yield from serving(tmp_path_factory.getbasetemp() / "lessons")


@pytest.fixture
def recorded(served):
    """A recorded run, and trainings that ended well and badly, so that viewers, lessons and board have something to
    show."""
    path = served.recordings_folder / "first.safetensors"
    record(Run(served.bundle("nano"), spec())).save(path)
    for name in ("done32", "half32"):
        shutil.copytree(OLD / name, checkpoint.RUNS / name)
    yield served
    path.unlink()
    for name in ("done32", "half32"):
        shutil.rmtree(checkpoint.RUNS / name)


@pytest.fixture
def tablet(browser, request):  # noqa: F811
    screen = {"width": 1000, "height": 1200}
    with SHARED.page(request.session, viewport=screen, has_touch=True, reduced_motion="reduce") as page:  # noqa: F811
        yield page


def open_tab(page, title):  # noqa: F811
    """Open a tab and everything that is folded in it."""
    page.click(f"[role=tab]:text-is('{title}')")
    page.wait_for_function(
        "(title) => [...document.querySelectorAll('[role=tab]')]"
        ".some((t) => t.textContent.trim() === title && t.ariaSelected === 'true')",
        arg=title,
    )
    page.evaluate("""() => {
      for (const fold of document.querySelectorAll("button.label-wrap:not(.open)")) if (fold.offsetParent) fold.click();
      for (const fold of document.querySelectorAll("details")) fold.open = true;
    }""")
    if title == "How it works":
        page.wait_for_selector("#how-page [data-ready='1'], #how-page[data-ready='1']", state="attached")
    page.wait_for_timeout(250)


# axe-core walks through hidden tabs as well, which takes most of its time: they are off the page meanwhile
SHOWN_ONLY = """async (options) => {
  const away = [...document.querySelectorAll("[role=tabpanel]")].filter((panel) => !panel.offsetParent);
  const places = away.map((panel) => document.createComment(""));
  away.forEach((panel, i) => panel.replaceWith(places[i]));
  try {
    return await axe.run(document, options);
  } finally {
    places.forEach((place, i) => place.replaceWith(away[i]));
  }
}"""


SETTLED = """() => document.getAnimations().every(
  (each) => each.playState !== "running" || each.effect.getComputedTiming().iterations === Infinity)"""


def faults(page, only=None):  # noqa: F811
    """(rule, element, selector) of each serious or critical fault of what is shown."""
    page.wait_for_function(SETTLED)  # half-way between two colours is neither
    # preload asks for style sheets again; nothing here needs it
    options = {"resultTypes": ["violations"], "runOnly": only or RULES, "preload": False}
    found = page.evaluate(SHOWN_ONLY, options)["violations"]
    return [
        (fault["id"], node["html"][:150], str(node["target"]))
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def known(page, fault):  # noqa: F811
    rule, _, target = fault
    inside = "([target, within]) => !!document.querySelector(target)?.closest(within)"
    return next((f for f in FAULTS if f.rule == rule and page.evaluate(inside, [eval(target)[-1], f.within])), None)


SMALL = """(narrowest) => [...document.querySelectorAll(
    "button, a[href], select, summary, textarea, input, [role=tab], [role=button]")]
  .filter((e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.disabled)
  .map((e) => [e, (e.matches("[type=checkbox], [type=radio]") && e.closest("label")) || e])
  .map(([e, target]) => [e, target.getBoundingClientRect()])
  .filter(([, r]) => r.width && (r.height < narrowest || r.width < narrowest))
  .map(([e, r]) => `${e.outerHTML.slice(0, 140)}: ${Math.round(r.width)} x ${Math.round(r.height)}`)"""


def test_axe_finds_nothing_serious_in_light_and_dark_and_fingers_find_their_targets(tablet, recorded):  # noqa: F811
    """One page for three checks, as loading it costs more than they do; a tablet's, where every tab is in reach."""
    began = time.monotonic()
    page = tablet  # noqa: F811
    page.goto(recorded.address)
    page.wait_for_function(LOADED)
    page.evaluate(Axe().axe_script)
    seen, small = [], {}
    for tab in TABS:
        open_tab(page, tab.TITLE)
        seen += [("light", tab.TITLE, *fault, known(page, fault)) for fault in faults(page)]
        small[tab.TITLE] = page.evaluate(SMALL, NARROWEST)
    still = "document.getAnimations().filter((a) => a.effect.getComputedTiming().iterations === Infinity).length"
    assert page.inner_text(".pfg-moves") == "Let the pictures move" and page.evaluate(still) == 0
    page.click(".pf-theme")
    assert page.evaluate("document.body.classList.contains('dark')")
    for tab in TABS:
        open_tab(page, tab.TITLE)
        seen += [("dark", tab.TITLE, *fault, known(page, fault)) for fault in faults(page, ["color-contrast"])]
    page.reload()
    page.wait_for_function("document.body.classList.contains('dark')")  # kept for the next visit
    print(f"axe-core, {len(TABS)} tabs, light and dark: {time.monotonic() - began:.1f} s")
    ours = [fault[:-1] for fault in seen if fault[-1] is None]
    assert ours == []
    assert {fault[-1] for fault in seen if fault[-1]} == set(FAULTS), "a fault has gone: take it off the list"
    assert not FAULTS or gr.__version__ == GRADIO, "another Gradio: look whether its faults are still there"
    assert {title: each for title, each in small.items() if each} == {}


def test_the_keyboard_reaches_run_in_a_few_presses(page, served):  # noqa: F811
    page.goto(served.address)
    page.wait_for_function(LOADED)
    page.wait_for_selector("#explore-run")
    here = "document.activeElement.id || document.activeElement.className"
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate(here) == "pf-skip":
            break
    page.wait_for_function("document.querySelector('.pf-skip').innerText === 'Skip to “Run”'")
    page.wait_for_function("document.querySelector('.pf-skip').getBoundingClientRect().y >= 0")
    page.keyboard.press("Enter")
    page.wait_for_function(f"({here}) === 'explore-run'")


def test_errors_fields_and_dialogs_are_for_everyone_too(tablet, served):  # noqa: F811
    """After a run: an error, a wrong number, a link to copy and the help, in light and in dark."""
    page = tablet  # noqa: F811
    visit(page, served, "?network=plain&sampler=euler&images=2&budget=4")
    run(page)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    page.click(".pf-link")
    page.wait_for_selector(".pf-copied input")
    page.fill("#explore-seed input", "-4")
    page.click("#explore-run")
    page.wait_for_selector("#explore-said .pf-error")
    page.wait_for_selector(".pf-wrong")
    page.evaluate(Axe().axe_script)
    seen = faults(page)
    assert page.evaluate(SMALL, NARROWEST) == []
    page.click(".pf-theme")
    seen += faults(page, ["color-contrast"])
    page.keyboard.press("?")
    page.wait_for_selector(".pfv-help[open]")
    seen += faults(page)
    page.keyboard.press("Escape")
    assert seen == []
