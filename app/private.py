"""What Gradio has no public way to, seen in version 6.31.0: the only place where its private attributes are named."""

import inspect
from typing import Any

import gradio as gr
from starlette.requests import Request


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


def forget_page(demo: gr.Blocks, request: gr.Request) -> None:
    """Give back what Gradio keeps for a page (about 0.9 MB); it would keep it for an hour after the page is closed."""
    held = demo.state_holder
    with held.lock:
        held.session_data.pop(request.session_hash, None)
        held.time_last_used.pop(request.session_hash, None)
