"""What Gradio has no public way to, seen in version 6.31.0: the only place where its private attributes are named."""

import asyncio
import inspect
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from gradio import networking
from gradio.context import LocalContext
from starlette.requests import Request

PATIENCE = 120.0  # seconds for the server's first answer to itself
LEAVING = 20.0  # seconds for which a page that is being left may still ask
MOST_OPENED = 10_000  # pages that are remembered as opened, a few bytes each


def payload(event: gr.EventData) -> dict[str, Any]:
    """What a component of ours sent with its event: from a browser, so it may be anything."""
    return event._data if isinstance(event._data, dict) else {}


async def logged_in(request: Request) -> bool:
    """True where Gradio has no login configured, or this request's cookie belongs to someone who has logged in."""
    app = request.app
    if getattr(app, "auth_dependency", None) is not None:
        user = app.auth_dependency(request)
        return (await user if inspect.isawaitable(user) else user) is not None
    if getattr(app, "auth", None) is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)


def as_sent(component: Any, payload: Any) -> Any:
    return payload


def numbers_unchecked() -> None:
    """Let numbers come to the handlers as a page sends them: they check all of them and answer in sentences, where
    Gradio's own check of the range would be an HTTP 500. Of the classes, as a page's copies are made anew."""
    gr.Number.preprocess = gr.Slider.preprocess = as_sent


def forget_page(demo: gr.Blocks, request: gr.Request) -> None:
    """Give back what Gradio keeps for a page (about 0.9 MB); it would keep it for an hour after the page is closed."""
    held = demo.state_holder
    with held.lock:
        held.session_data.pop(request.session_hash, None)
        held.time_last_used.pop(request.session_hash, None)


def forget_page_soon(demo: gr.Blocks, request: gr.Request) -> None:
    """The same in a moment. A page says goodbye before the next one has come, which on a crowded machine takes seconds;
    whatever it asks meanwhile would be refused, with an error that it shows. To be called in the server's loop."""
    asyncio.get_running_loop().call_later(LEAVING, forget_page, demo, request)


def page_opened(demo: gr.Blocks, request: gr.Request) -> None:
    """Remember which values Gradio keeps for a page, so that `page_forgotten` can tell when they are gone."""
    held = demo.state_holder
    opened = vars(held).setdefault("opened", OrderedDict())
    kept = held.session_data.get(request.session_hash)
    if kept is not None:
        opened[request.session_hash] = weakref.ref(kept)
        while len(opened) > MOST_OPENED:
            opened.popitem(last=False)


def page_forgotten() -> bool:
    """Within an event: whether Gradio has thrown out this page's values since it was opened (for other pages', or as it
    seemed closed), so that they are what they were at first. True once only."""
    demo, request = LocalContext.blocks.get(None), LocalContext.request.get(None)
    page = getattr(request, "session_hash", None)
    if demo is None or page is None or not hasattr(demo, "state_holder"):
        return False
    opened = vars(demo.state_holder).get("opened", {})
    if page not in opened or opened[page]() is demo.state_holder.session_data.get(page):
        return False
    page_opened(demo, request)
    return True


def unheard() -> bool:
    """Within an event: whether a passing note would go to the server's console instead of the page."""
    return LocalContext.blocks.get(None) is not None and LocalContext.event_id.get(None) is None


@contextmanager
def patient_start() -> Iterator[None]:
    """While Gradio starts, let the server's first answer to itself take PATIENCE seconds: Gradio gives up after three,
    with an error that speaks of proxies, which on a crowded machine is too early."""
    asked_once, limit = networking.url_ok, time.monotonic() + PATIENCE

    def asked(url: str) -> bool:
        while not (answered := asked_once(url)) and time.monotonic() < limit:
            time.sleep(0.2)
        return answered

    networking.url_ok = asked
    try:
        yield
    finally:
        networking.url_ok = asked_once
