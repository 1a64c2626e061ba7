"""Chromium for the tests of the app, one for all of them.

Its pages are used again. Loading the app costs seconds, most of them for Gradio's scripts, which are fetched, compiled
and warm up: a page that has had them before loads in half the time. What a test could leave in a page is taken away
between two tests, and a page in which a test has failed is not used again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

from shared import STARTED

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    # The first two are pages of Chromium's own, made anew behind every page of a test. The others are of Playwright's
    # list, in place of which this one counts.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,AimEnabled,LensOverlay,MediaRouter,PaintHolding,"
    "OptimizationHints,NetworkTimeServiceQuerying,PreconnectToSearch,AvoidUnnecessaryBeforeUnloadCheckSync",
]
PATIENCE = 60_000  # milliseconds, for whatever a test waits for
SCREEN = {"width": 1400, "height": 900}
LOADED = "window.__pf?.viewer && window.__pf.viewer.ready !== undefined"
# What the page's address asked for has arrived: nothing will come behind the back of what is shown next.
ANSWERED = "window.__pf.viewer.runs.length > 0 || document.querySelector('.pfv-empty p').textContent !== ''"
FORGET = "() => { if (location.host) { localStorage.clear(); sessionStorage.clear(); } }"


def harmless(text: str) -> bool:
    """What Gradio's client says when a page is left amid an answer; a dead server fails a test anyway."""
    return "AbortError" in text or "Connection errored out" in text


def settled(page: Any) -> None:
    """Waits until a page of the app has loaded and shows what its address asked for."""
    page.wait_for_function(LOADED)
    page.wait_for_function(ANSWERED)
    page.wait_for_selector("#explore-run:enabled")
    page.wait_for_selector(".pf-theme:enabled")  # the script that watches fields and buttons has been mounted


class Chromium:
    """One browser and the pages that wait to be used again, by what their contexts were made with."""

    def __init__(self) -> None:
        self._playwright, self._browser, self._idle = None, None, {}

    @property
    def browser(self) -> Any:
        if self._browser is None:
            from playwright.sync_api import sync_playwright

            self._playwright = sync_playwright().start()
            STARTED.callback(self._close)
            self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        return self._browser

    def _close(self) -> None:
        if self._browser is not None:
            self._browser.close()
        self._playwright.stop()
        self.__init__()

    @contextmanager
    def page(self, session: Any, **options: Any) -> Iterator[Any]:
        """A page that has nothing of other tests; an error at the end if anything left the host or an error appeared.
        session: pytest's, which counts what has failed. options: of the page's context."""
        options = {"viewport": SCREEN} | options
        kind, before = repr(sorted(options.items())), session.testsfailed
        page = self._idle.pop(kind, None) or opened(self.browser, options)
        yield page
        if session.testsfailed == before:
            page.evaluate(FORGET)
        wrong = page.wrong.copy()
        if wrong or session.testsfailed != before or kind in self._idle:
            page.context.close()
        else:
            emptied(page, options["viewport"])
            self._idle[kind] = page
        assert wrong == [], wrong


def until_held(page: Any, held: list) -> Any:
    """Waits until a route has held something back: the first of it."""
    for _ in range(PATIENCE // 50):
        if held:
            return held[0]
        page.wait_for_timeout(50)
    raise AssertionError("nothing was asked")


def about(message: Any) -> str:
    """What the console says, and of which address."""
    return f"{message.text} {message.location['url']}"


def opened(browser: Any, options: dict[str, Any]) -> Any:
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)  # of other pages too
    page = context.new_page()
    page.wrong = wrong = []  # for a test that expects a refusal
    page.on("request", lambda r: urlparse(r.url).hostname in ("127.0.0.1", None) or wrong.append(r.url))
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", lambda m: wrong.append(about(m)) if m.type == "error" and not harmless(m.text) else None)
    return page


def emptied(page: Any, viewport: dict[str, int]) -> None:
    """The page as it was opened."""
    for other in page.context.pages:
        if other is not page:
            other.close()
    page.unroute_all(behavior="ignoreErrors")
    page.goto("about:blank")
    page.context.clear_cookies()
    page.context.clear_permissions()
    page.set_viewport_size(viewport)
    page.set_default_timeout(PATIENCE)
    page.wrong.clear()  # what a page says as it is left amid an answer is no fault


SHARED = Chromium()
