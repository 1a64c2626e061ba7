"""On a phone: what is shown comes first, the form waits in a drawer, nothing is wider than the screen."""

import pytest
from app_world import networks  # noqa: F401
from chromium import LOADED, SHARED
from test_accessible import open_tab, recorded, served  # noqa: F401
from test_browser import ENDED, browser  # noqa: F401
from test_browser import pytestmark as needs_chromium

from app.ui import TABS

pytestmark = needs_chromium
SEEN = """(selector) => [...document.querySelectorAll(selector)].some((each) => {
  const box = each.getBoundingClientRect();
  return box.width && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth + 1
    && each.checkVisibility({ visibilityProperty: true });
})"""


@pytest.fixture
def phone(browser, request):  # noqa: F811
    screen = {"width": 390, "height": 844}
    with SHARED.page(request.session, viewport=screen, has_touch=True, is_mobile=True, reduced_motion="reduce") as page:
        yield page


def test_nothing_is_wider_than_360_px_in_any_tab(phone, recorded):  # noqa: F811
    page = phone
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(recorded.address)
    page.wait_for_function(LOADED)
    for tab in TABS:
        open_tab(page, tab.TITLE)
        page.wait_for_function("document.scrollingElement.scrollWidth <= 360")


def test_picture_and_playback_share_the_first_screen_and_the_form_is_a_drawer(phone, recorded):  # noqa: F811
    page = phone
    page.goto(recorded.address)
    page.wait_for_function(LOADED)
    for selector in ("#explore-viewer .pfv-frame", "#explore-viewer .pfv-play", ".pf-dock-go"):
        page.wait_for_function(SEEN, arg=selector)
    assert page.is_visible("#explore-viewer figcaption >> text=what the network sees")  # subtitles stay
    assert not page.evaluate(SEEN, "#explore-seed")
    page.tap(".pf-dock-form")
    page.wait_for_function(SEEN, arg="#explore-seed")
    assert page.get_attribute(".pf-dock-form", "aria-expanded") == "true"
    page.keyboard.press("Escape")
    page.wait_for_function(f"!({SEEN})('#explore-seed')")
    before = page.evaluate("window.__pf.viewer.runs[0]?.id")
    page.tap(".pf-dock-go")
    page.wait_for_function("(before) => ![undefined, before].includes(window.__pf.viewer.runs[0]?.id)", arg=before)
    page.wait_for_function(ENDED)
    page.evaluate("document.querySelector('#explore-said').innerHTML = '<p>Something is wrong.</p>'")
    page.wait_for_selector(".pf-dock-said >> text=Something is wrong.")  # its place is in the closed drawer
    firsts = {"Train": ".pft-sheet", "How it works": ".pfg-moves", "Toy": ".pf-dock-go"}
    for title, selector in firsts.items():
        page.evaluate("scrollTo(0, 0)")
        page.click(f"[role=tab]:text-is('{title}')")
        if title == "Train":
            page.tap(".pft-run[data-run=done32] .pft-name")
            page.wait_for_selector(selector)
            page.evaluate("scrollTo(0, 0)")
        page.wait_for_function(SEEN, arg=selector)


def test_every_tab_is_in_sight_or_a_mark_says_where_it_is(phone, recorded):  # noqa: F811
    page = phone
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{recorded.address}?tab=evidence")
    page.wait_for_function(SEEN, arg="[role=tab][aria-selected=true]:is([data-tab-id=evidence])")
    page.wait_for_selector(".pf-tabs-back")
    page.wait_for_selector(".pf-tabs-more", state="hidden")
    page.tap(".pf-tabs-back")
    for _ in range(100):  # by script: a mark that is no longer needed vanishes while the row still glides
        if page.evaluate(SEEN, "[role=tab][data-tab-id=explore]"):
            break
        page.wait_for_timeout(500)
        page.evaluate("document.querySelector('.pf-tabs-back:not([hidden])')?.click()")
    page.wait_for_function(SEEN, arg="[role=tab][data-tab-id=explore]")
    page.wait_for_selector(".pf-tabs-more")


def test_no_button_of_a_sweep_is_narrower_than_its_words(phone, recorded):  # noqa: F811
    page = phone
    page.goto(recorded.address + "?tab=compare")
    page.wait_for_function(LOADED)
    page.click("#sweep > button, #sweep .label-wrap")
    page.wait_for_selector("#sweep-run", state="visible")
    page.wait_for_function("""["sweep-run", "sweep-stop", "sweep-load"].every((id) => {
      const button = document.getElementById(id);
      return button.checkVisibility() && button.scrollWidth <= button.clientWidth + 1;
    })""")
