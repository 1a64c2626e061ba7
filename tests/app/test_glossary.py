"""Terms are explained where they stand: by pointer, finger and key."""

import html
import re

from app_world import networks, state  # noqa: F401
from test_browser import browser, page, run, served, visit  # noqa: F401
from test_browser import pytestmark as needs_chromium

from app.components.glossary.glossary import TERMS
from app.server.static import APP
from app.ui import build


def test_every_term_is_two_plain_sentences():
    for key, term in TERMS.items():
        assert len(re.findall(r"[.](?= [A-Z]|$)", term.text)) == 2 and len(term.text) < 260, key
        assert term.labels or term.words, key
    labels = [label for term in TERMS.values() for label in term.labels]
    assert len(labels) == len(set(labels))


def test_every_label_of_a_term_stands_on_the_page(state):  # noqa: F811
    """Else an explanation would be lost when somebody renames a control."""
    shown = {str(block.get("props", {}).get("label")) for block in build(state).get_config_file()["components"]}
    files = [*APP.rglob("*.js"), *APP.rglob("tabs/**/*.py")]
    scripts = html.unescape(re.sub("<[^>]+>", "", "\n".join(path.read_text() for path in files)))
    scripts = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), scripts)
    for term in TERMS.values():
        for label in term.labels:
            pass_words = label.removesuffix(" pass")  # the film bar's legend is made of its phases
            assert label in shown or label in scripts or pass_words in ("outer", "inner", "probe"), label


@needs_chromium
def test_a_word_is_explained_by_pointer_and_key(page, served):  # noqa: F811
    visit(page, served, "?network=nano&images=1&budget=8")
    run(page)
    word = "#explore-viewer .pfv-state [data-term=nfe]"
    page.wait_for_selector(word)
    page.hover(word)
    page.wait_for_selector(".pf-tip:not([hidden]) >> text=" + TERMS["nfe"].text[:30])
    page.mouse.move(5, 5)
    page.wait_for_selector(".pf-tip", state="hidden")
    below = page.locator(word).bounding_box()
    page.mouse.move(below["x"] + 4, below["y"] - 150)
    page.evaluate("scrollBy(0, 155)")  # the word comes under a pointer that rests
    page.wait_for_function("(word) => document.querySelector(word).matches(':hover')", arg=word)
    assert page.is_hidden(".pf-tip")
    page.evaluate("scrollTo(0, 0)")
    page.focus("#explore-viewer figure[data-panel=x] .pfv-frame")
    page.keyboard.press("Tab")
    page.wait_for_selector(".pf-tip:not([hidden]) >> text=one step")
    described = page.get_attribute("figure[data-panel=x1] figcaption b", "aria-describedby")
    assert page.text_content(f"#{described}") == TERMS["x1"].text
    page.keyboard.press("Escape")
    page.wait_for_selector(".pf-tip", state="hidden")
    page.click("#explore-seed [data-term=seed]")  # as a finger does: it explains, and leaves the field alone
    page.wait_for_selector(".pf-tip:not([hidden])")
    assert page.evaluate("document.activeElement.tagName") != "INPUT"
    box = page.locator(".pf-tip").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1400
    figure = page.locator("#explore-viewer figure[data-panel=sigma] figcaption b")
    assert figure.get_attribute("data-term") == "sigma"
