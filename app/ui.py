"""The page: a heading and the tabs. A new tab is a folder whose tab.py has TITLE and build(state), named in TABS."""

from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from app.components.glossary.glossary import Glossary
from app.components.tour.tour import Heading
from app.controls import NETWORKS
from app.handlers import QUIET, Asked, StatusLine, address_of, on
from app.private import forget_page_soon, numbers_unchecked, page_opened, patient_start, payload
from app.server.access import Access, Rules
from app.server.routes import routes
from app.server.static import head
from app.state import AppState
from app.tabs.compare import tab as compare
from app.tabs.evidence import tab as evidence
from app.tabs.explore import tab as explore
from app.tabs.how import tab as how
from app.tabs.intervene import tab as intervene
from app.tabs.toy import tab as toy
from app.tabs.train import tab as train

TABS = [explore, compare, intervene, toy, train, how, evidence]
MOST_PAGES = 128  # open at once: Gradio keeps about 0.9 MB for each; who comes back finds the run by the address
_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def build(state: AppState) -> gr.Blocks:
    numbers_unchecked()
    with gr.Blocks(
        title="Patch Forcing", fill_width=True, analytics_enabled=False, delete_cache=(3600, 24 * 3600)
    ) as demo:
        heading = Heading(padding=False)
        Glossary(elem_id="glossary")
        notice = StatusLine(text=state.notice(), elem_id="notice")
        added: list[gr.State] = []  # each changes when a network has come into the lists
        with gr.Tabs() as tabs:
            for tab in TABS:
                with gr.Tab(tab.TITLE, id=slug(tab), elem_id=f"tab-{slug(tab)}"):
                    built = tab.build(state)
                if hasattr(built, "on_load"):
                    built.on_load(demo, heading)
                if hasattr(built, "network_added"):
                    added.append(built.network_added)
        for place in [b for b in demo.blocks.values() if isinstance(b, gr.Tab)]:
            tell_tab(place)
        lists = [b for b in demo.blocks.values() if NETWORKS in (getattr(b, "elem_classes", None) or [])]

        def renewed(request: gr.Request) -> dict:
            page_opened(demo, request)
            return networks() | {notice: state.notice()}

        def networks() -> dict:
            return dict.fromkeys(lists, gr.update(choices=state.network_choices()))

        for network in added:
            on(network.change, networks, {}, lists)
        on(demo.load, renewed, {}, [notice, *lists])
        on(demo.load, asked_tab(tabs), {}, [tabs])
        on(heading.travelled, travelled_tab(tabs), {}, [tabs])

        async def closed(request: gr.Request) -> None:
            forget_page_soon(demo, request)

        demo.unload(closed)
    return demo


def asked_tab(tabs: gr.Tabs) -> Any:
    """A handler that opens the tab that a link names; else nothing changes."""

    def opened(request: gr.Request) -> dict:
        asked = request.query_params.get("tab", "")
        return {tabs: gr.Tabs(selected=asked)} if asked in {slug(tab) for tab in TABS} else {}

    return opened


def travelled_tab(tabs: gr.Tabs) -> Any:
    """The same for Back and Forward, where the page could not press the tab itself."""
    opened = asked_tab(tabs)

    def travelled(event: gr.EventData) -> dict:
        return {} if payload(event).get("pressed") else opened(Asked(address_of(event)))

    return travelled


def tell_tab(place: gr.Tab) -> None:
    """Tell the page's scripts whenever this tab, or one within a tab, is opened: the address follows (address.js)."""
    place.select(None, js=f"() => window.__pf?.say('tab', '{place.id}')", **QUIET)


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


def own_parts(state: AppState, rules: Rules) -> dict[str, Any]:
    """What stands in the server beside Gradio: our routes, and who may speak to any of them."""
    tabs = (route for tab in TABS if hasattr(tab, "routes") for route in tab.routes(state))
    return {"routes": [*routes(state), *tabs], "middleware": [Middleware(Access, rules=rules)]}


def launch(state: AppState, rules: Rules | None = None, **options: Any) -> tuple:
    """Serve the app, own routes included, without blocking: (demo, FastAPI app, local address)."""
    demo = build(state)
    defaults = {
        "server_name": "127.0.0.1",
        "theme": theme(),
        "head": head(next((run.id for run in state.recordings(1)), None)),
        "footer_links": [],
        "app_kwargs": own_parts(state, rules or Rules()),
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": True,
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": "500mb",
        "state_session_capacity": MOST_PAGES,
    }
    with patient_start():
        app, address, _ = demo.launch(**{**defaults, **options})
    return demo, app, address
