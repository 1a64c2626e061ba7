"""The address in Chromium: what it says, Back and Forward, a link on another machine, a link to copy."""

import re

from app_world import networks  # noqa: F401
from chromium import until_held
from test_browser import ENDED, browser, page, pytestmark, run, served, visit  # noqa: F401

from app.handlers import FIRST_TAB
from app.server.static import APP
from app.ui import TABS, slug

SMALL = "?network=nano&sampler=look_ahead&images=2&budget=12&seed=3"
STANDS = """() => { const v = window.__pf.viewer; return JSON.stringify([v.runs[0]?.id, v.index, v.image, v.pin,
  [...v.settings.hidden].sort()]); }"""


def says(page, **parts):  # noqa: F811
    """Wait until the address has these parts."""
    page.wait_for_function(
        "(asked) => { const at = new URLSearchParams(location.search);"
        " return Object.entries(asked).every(([k, v]) => (at.get(k) ?? '') === v); }",
        arg=parts,
    )


ASKS = '"turn":'  # of what is sent when Back or Forward came to another entry


def tab(page, name):  # noqa: F811
    page.click(f"[role=tab][data-tab-id='{name}']")
    says(page, tab=name)


def opened(page, name):  # noqa: F811
    page.wait_for_selector(f"[role=tab][data-tab-id='{name}'][aria-selected=true]")


def test_back_and_forward_go_between_tabs_and_runs(page, served):  # noqa: F811
    visit(page, served, SMALL)
    run(page)
    first = page.evaluate("window.__pf.viewer.runs[0].id")
    page.evaluate("window.__pf.viewer.go(4)")
    says(page, at="5")
    page.fill("#explore-seed input", "9")
    run(page)
    second = page.evaluate("window.__pf.viewer.runs[0].id")
    assert second != first
    page.click("[data-image='1']")
    says(page, run=second, image="2")
    tab(page, "compare")
    tab(page, "train")
    page.go_back()
    opened(page, "compare")
    page.go_back()
    opened(page, "explore")
    assert page.evaluate("window.__pf.viewer.runs[0].id") == second
    page.go_back()
    page.wait_for_function("(id) => window.__pf.viewer.runs[0]?.id === id && window.__pf.viewer.index === 4", arg=first)
    assert page.evaluate("window.__pf.viewer.image") == 0
    page.wait_for_timeout(500)  # longer than an address waits
    assert "image=" not in page.evaluate("location.search")
    page.wait_for_function("document.querySelector('#explore-seed input').value === '3'")
    page.go_forward()
    page.wait_for_function(
        "(id) => window.__pf.viewer.runs[0]?.id === id && window.__pf.viewer.image === 1", arg=second
    )
    page.wait_for_function("document.querySelector('#explore-seed input').value === '9'")
    assert served.runs.get(first).state == served.runs.get(second).state == "done"  # none was made again
    late = []  # the question what the entry of the first run shows: answered when the page has gone on to the second
    hold = lambda route: late.append(route) if not late and ASKS in route.request.post_data else route.continue_()  # noqa: E731
    page.route("**/run/predict*", hold)
    page.go_back()
    page.wait_for_function("location.search.includes('seed=3')")
    asked = until_held(page, late).request.post_data_json

    def again(response):
        told = (response.request.post_data or "") if "/run/predict" in response.url else ""
        return ASKS in told and response.request.post_data_json["fn_index"] == asked["fn_index"]

    with page.expect_response(again):  # of the same question, as the page stands on the second run again
        page.go_forward()
    with page.expect_response(again):
        late[0].continue_()
    page.wait_for_timeout(200)
    assert page.input_value("#explore-seed input") == "9" and page.evaluate("window.__pf.viewer.runs[0].id") == second


def test_reload_and_a_second_browser_stand_where_the_link_does(page, served):  # noqa: F811
    visit(page, served, SMALL)
    run(page)
    page.click("[data-image='1']")
    page.click("button[data-panel=easy]")
    page.click(".pfv-frame", position={"x": 20, "y": 20})
    page.evaluate("window.__pf.viewer.go(3)")
    says(page, at="4", image="2", panels="x.x1.t.sigma")
    stands, link = page.evaluate(STANDS), page.evaluate("location.href")
    assert "patch=" in link
    page.reload()
    page.wait_for_function(f"(stands) => window.__pf?.viewer?.ready && ({STANDS})() === stands", arg=stands)
    other = page.context.browser.new_context(viewport={"width": 900, "height": 700}).new_page()
    other.set_default_timeout(60_000)
    other.goto(link)
    other.wait_for_function(f"(stands) => window.__pf?.viewer?.ready && ({STANDS})() === stands", arg=stands)
    other.context.close()


def test_the_page_knows_its_tabs():
    said = re.search(r"const TABS = \[FIRST, OWN, (.*)\];", (APP / "address.js").read_text("utf-8"))
    assert said[1].replace('"', "").split(", ") == [slug(each) for each in TABS if slug(each) != FIRST_TAB]


def test_a_link_can_be_copied_with_or_without_the_clipboard(page, served):  # noqa: F811
    visit(page, served, "?tab=Compare&seed=5")  # a tab that is none
    page.wait_for_selector("[data-tab-id=explore][aria-selected=true]")
    page.click("#explore-run")
    page.wait_for_function("!location.search.includes('tab=') && location.search.includes('run=')")
    page.wait_for_function(ENDED)  # what a page asks for as it is left is refused
    visit(page, served, SMALL)
    run(page)
    page.evaluate("window.__pf.viewer.go(2)")
    says(page, at="3")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    page.click(".pf-link")
    field = page.wait_for_selector(".pf-copied input")
    link = field.input_value()
    assert "at=3" in link and field.evaluate("(f) => f.selectionEnd - f.selectionStart") == len(link)
    page.keyboard.press("Escape")
    assert page.query_selector(".pf-copied input") is None
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    page.click(".pf-link")
    page.wait_for_function("document.querySelector('.pf-copied').textContent === 'Link copied.'")
    assert page.evaluate("window.copied") == link


def test_a_bad_number_says_why_at_its_field_until_it_is_mended(page, served):  # noqa: F811
    visit(page, served, SMALL)
    for text, why in [("", "Give a number."), ("-4", "From 0 to")]:
        page.fill("#explore-seed input", text)
        page.press("#explore-seed input", "Tab")
        page.wait_for_function(
            "(why) => document.querySelector('#explore-seed .pf-wrong')?.textContent.startsWith(why)", arg=why
        )
    page.click("#explore-run")
    page.wait_for_selector("#explore-said .pf-error")
    assert "seed" in page.inner_text("#explore-said")
    page.fill("#explore-seed input", "4")
    page.wait_for_function("!document.querySelector('.pf-wrong')")
    page.wait_for_selector("#explore-said .pf-error", state="hidden")
    page.fill("#explore-seed input", "-4")
    page.click("#explore-run")
    page.wait_for_selector("#explore-said .pf-error")  # the same sentence shows again
