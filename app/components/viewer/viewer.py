"""The frame viewer as a Gradio component. Its value is a small manifest; the browser pulls the frames itself."""

from app.components.scripted import Scripted
from app.store import StoredRun


class FrameViewer(Scripted):
    """Shows 1 to 4 runs on one clock. Value: {"runs": [{"id", "label"}], "align": "nfe" | "outer" | "seconds",
    "autoplay": bool, "query": text for the address bar or None, "empty": sentence shown while there is no run,
    "again": whether the query is only what the address asked for, made again, "columns": whether the runs stand side by
    side, with what two of them differ by}; with "unasked": true it is for a page whose address asks for nothing, and is
    not shown on any other."""

    module = "viewer.js"
    markup = '<div class="pf-viewer"></div>'

    def __init__(self, value: dict | None = None, **kwargs):
        super().__init__(value or manifest(), **kwargs)


def manifest(
    runs: list[StoredRun] = [],
    *,
    align: str = "nfe",
    autoplay: bool = False,
    query: str | None = None,
    again: bool = False,
    empty: str = "",
    columns: bool = False,
) -> dict:
    """The viewer's value."""
    shown = [{"id": run.id, "label": run.label} for run in runs]
    about = {"query": query, "again": again, "empty": empty, "columns": columns}
    return {"runs": shown, "align": align, "autoplay": autoplay, **about}
