"""The page: a heading and one tab a file. A new tab is one file with TITLE and build(session), and its name in TABS."""

from html import escape
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from app.components.tour.tour import Heading
from app.controls import NETWORKS
from app.server.access import Access, Rules
from app.server.routes import routes
from app.server.static import head
from app.state import Session
from app.tabs.compare import tab as compare
from app.tabs.explore import tab as explore
from app.tabs.how import tab as how
from app.tabs.intervene import tab as intervene
from app.tabs.toy import tab as toy
from app.tabs.train import tab as train

TABS = [explore, compare, intervene, toy, train, how]
_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def build(session: Session) -> gr.Blocks:
    with gr.Blocks(
        title="Patch Forcing", fill_width=True, analytics_enabled=False, delete_cache=(3600, 24 * 3600)
    ) as demo:
        Heading(padding=False)
        notice = gr.HTML(padding=False, elem_id="notice", elem_classes="pf-said", **_notice(session))
        with gr.Tabs() as tabs:
            for tab in TABS:
                with gr.Tab(tab.TITLE, id=slug(tab)):
                    built = tab.build(session)
                if hasattr(built, "on_load"):
                    built.on_load(demo)
        lists = [b for b in demo.blocks.values() if NETWORKS in (getattr(b, "elem_classes", None) or [])]
        demo.load(
            lambda: [
                gr.update(**_notice(session)),
                *[gr.update(choices=session.network_choices()) for _ in lists],
            ],
            None,
            [notice, *lists],
            show_progress="hidden",
            queue=False,
            api_visibility="private",
        )
        demo.load(asked_tab, None, tabs, show_progress="hidden", queue=False, api_visibility="private")
    return demo


def _notice(session: Session) -> dict[str, Any]:
    """What an HTML component shows of files that cannot be read: a file's name is text, never markup."""
    said = session.notice()
    return {"value": f"<p>{escape(said)}</p>" if said else "", "visible": bool(said)}


def asked_tab(request: gr.Request) -> Any:
    """The tab that a link names; else nothing changes."""
    asked = request.query_params.get("tab", "")
    return gr.Tabs(selected=asked) if asked in {slug(tab) for tab in TABS} else gr.skip()


def slug(tab: Any) -> str:
    """A tab's name in a link."""
    return tab.TITLE.lower().replace(" ", "-")


def theme() -> gr.themes.Base:
    """System fonts only: no request leaves the machine."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
        font=_SANS,
        font_mono=_MONO,
    )


def launch(session: Session, rules: Rules | None = None, **options: Any) -> tuple:
    """Serve the app, own routes included, without blocking: (demo, FastAPI app, local address)."""
    demo = build(session)
    defaults = {
        "server_name": "127.0.0.1",
        "theme": theme(),
        "head": head(),
        "footer_links": [],
        "app_kwargs": {
            "routes": [*routes(session), *(r for tab in TABS if hasattr(tab, "routes") for r in tab.routes(session))],
            "middleware": [Middleware(Access, rules=rules or Rules())],
        },
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": True,
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": "500mb",
    }
    app, address, _ = demo.launch(**{**defaults, **options})
    return demo, app, address
