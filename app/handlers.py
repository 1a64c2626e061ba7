"""How events call plain functions: values come in by name, updates go out by component.

A handler has one keyword parameter for each name in `inputs`, returns {component: value or gr.update(...)} and may
raise InputError. Nobody counts positions: what a handler does not mention stays as it is.
"""

import functools
import html
import inspect
import itertools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import anyio
import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from app.private import page_forgotten, payload, unheard
from pf_core import memory
from pf_core.errors import InputError

FORGOTTEN = "The server does not remember this page any more. Reload it: its address brings your run back."
FIRST_TAB = "explore"  # that an address without a tab asks for
MOST_PAGES = 10_000  # whose entries are told apart
MOST_QUERY = 2**16  # characters of an address
_COMPUTED = "that was computed"
# Nothing shows an event's progress, and no component is told of it: of every event that begins or ends Gradio's page
# tells all components of all events so far, each searched for in the whole page, which was a third of loading it.
UNSHOWN = {"show_progress": "hidden", "show_progress_on": []}
SENT = {"trigger_mode": "multiple"}  # see mode_of
QUIET = {**UNSHOWN, "queue": False, "api_visibility": "private"}


class PlainText(gr.HTML):
    """Lines of text that are never Markdown or HTML, whatever stands in them; no room is taken while there are none."""

    def __init__(self, look: str, text: str = "", **more: Any):
        super().__init__(text, padding=False, elem_classes=["pf-line", look], **more)

    def postprocess(self, value: str | None) -> str:
        return "".join(f"<p>{html.escape(line)}</p>" for line in (value or "").split("\n") if line)

    def api_info(self) -> dict[str, Any]:
        return {"type": "string"}


class Refusal(str):
    """What was wrong, as a sentence: shown as an error until something is mended."""

    numbers = itertools.count()  # so that the same error shows again after it was mended

    def html(self) -> str:
        return f'<p class="pf-error" role="alert" data-error="{next(self.numbers)}">{html.escape(self)}</p>'


class StatusLine(PlainText):
    """Where a tab says what was wrong, or what is to be noted."""

    def __init__(self, text: str = "", **more: Any):
        super().__init__("pf-said", text, **more)

    def postprocess(self, value: str | None) -> str:
        return value.html() if isinstance(value, Refusal) else super().postprocess(value)


def on(
    triggers: Callable | Sequence[Callable],
    fn: Callable[..., Any],
    inputs: Mapping[str, Component] | None = None,
    outputs: Sequence[Component] = (),
    *,
    status: StatusLine | None = None,
    after: Callable[..., Awaitable[None]] | None = None,
    busy: Component | None = None,
    **options: Any,
) -> Dependency:
    """Call `fn(**values)` at these events. An InputError becomes the text of `status`, which is then an output too,
    or a warning where there is none. `after(**values)` is awaited before, so that no thread waits with it. busy: the
    button, which shows at once that it was pressed, until the answer is there. Options are Gradio's; those that are not
    given are QUIET's, and `mode_of`'s."""
    outputs = [*outputs, *([status] if status is not None and status not in outputs else [])]
    options = {**({} if "queue" in options or "concurrency_limit" in options else QUIET), **options}
    options = {**(UNSHOWN if options.get("show_progress") == "hidden" else {}), **options}
    options |= {"inputs_kwargs": dict(inputs or {}), "outputs": outputs}
    answer = answering(fn, status) if after is None else waiting(answering(fn, status), after)
    triggers = triggers if isinstance(triggers, Sequence) else [triggers]
    options.setdefault("trigger_mode", mode_of(fn, triggers))
    known = [t for t in triggers if hasattr(t, "has_trigger")]
    show = "() => window.__pf?.say('busy', { id: '%s', busy: %s })"
    if busy is not None:  # before the call itself: a page does one after the other
        triggers[0](None, js=show % (busy.elem_id, "true"), **QUIET)
    listener = gr.on(known, answer, **options) if known else None
    for trigger in triggers:  # another event's `then`, and events of components of ours, take a listener each
        listener = listener if trigger in known else trigger(answer, **options)
    if busy is not None:
        listener.then(None, js=show % (busy.elem_id, "false"), **QUIET)
    return listener


def mode_of(fn: Callable[..., Any], triggers: Sequence[Callable]) -> str:
    """What becomes of an event while the one before is not answered yet. Gradio would drop it, and what was chosen last
    would count for nothing: only a second press of a button may be dropped. What brings news of its own is sent at once
    (SENT), as are a second and third listener of one event; others are sent when the answer has come, with the values
    of then. Of those one event may have a single listener: two would set each other off for ever."""
    if any(p.annotation is gr.EventData for p in inspect.signature(fn).parameters.values()):
        return SENT["trigger_mode"]
    return "once" if any(getattr(t, "event_name", None) == "click" for t in triggers) else "always_last"


def waiting(answer: Callable[..., Any], after: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """`answer`, in a thread, once `after`, which gets the same values by name, is over."""
    signature = inspect.signature(answer)
    rest = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]

    @functools.wraps(answer)
    async def awaited(*args: Any, **values: Any) -> Any:
        named = signature.bind(*args, **values).arguments  # Gradio passes by position what has a place
        for name in rest:
            named |= named.pop(name, {})
        await after(**named)
        return await anyio.to_thread.run_sync(functools.partial(answer, *args, **values))

    return awaited


def answering(fn: Callable[..., Any], status: StatusLine | None) -> Callable[..., Any]:
    """`fn` as Gradio wants it: no empty answers, no InputError."""

    def refused(e: InputError) -> dict:
        if status is None:
            if unheard():
                raise gr.Error(html.escape(str(e)), print_exception=False)
            warn(str(e))
            return gr.skip()
        return {status: Refusal(e)}

    if inspect.isgeneratorfunction(fn):

        @functools.wraps(fn)
        def generating(*args: Any, **values: Any) -> Iterator[Any]:
            check_page()
            try:
                with memory.sentences(_COMPUTED):
                    for updates in fn(*args, **values):
                        yield updates or gr.skip()
            except InputError as e:
                yield refused(e)

        return generating

    @functools.wraps(fn)
    def answer(*args: Any, **values: Any) -> Any:
        check_page()
        try:
            with memory.sentences(_COMPUTED):
                return fn(*args, **values) or gr.skip()
        except InputError as e:
            return refused(e)

    return answer


def check_page() -> None:
    """Raises what Gradio shows on a page, once, where its values are not kept any more."""
    if page_forgotten():
        raise gr.Error(FORGOTTEN, print_exception=False)


def uploaded(path: Any) -> str:
    """The place of the file that an upload brought. Raises InputError where it brought none."""
    if not isinstance(path, str) or not path:
        raise InputError("No file came with that: choose it again.")
    return path


class Asked(NamedTuple):
    """What a handler of links reads of a request."""

    query_params: Mapping[str, str]
    session_hash: str | None = None


def address_of(event: gr.EventData) -> dict[str, str]:
    """The parts of the address that `travelled` brought: from a browser, so they may be anything."""
    return dict(parse_qsl(str(payload(event).get("query", ""))[:MOST_QUERY], keep_blank_values=True))


def travelling(from_link: Callable[..., Any], title: str) -> Callable[..., Any]:
    """`from_link(request, **values)`, which shows what the page's address asks for, as a handler of Heading's
    `travelled`: Back or Forward came to an entry of the tab of this title. An entry is not shown once the page has gone
    on to another."""
    newest: OrderedDict[Any, Any] = OrderedDict()  # page -> the turn of its last entry of this tab

    def travelled(event: gr.EventData, request: gr.Request = None, **values: Any) -> Any:
        asked, turn = address_of(event), payload(event).get("turn")
        if asked.get("tab", FIRST_TAB) != title.lower():
            return {}
        page, turn = getattr(request, "session_hash", None), turn if isinstance(turn, int) else 0
        newest[page] = max(turn, newest.get(page, 0))
        while len(newest) > MOST_PAGES:
            newest.popitem(last=False)
        try:
            found = from_link(Asked(asked, page), **values)
        except InputError:
            if newest.get(page) == turn:
                raise
            found = {}
        return found if newest.get(page) == turn else {}

    return travelled


def enabled(asked: Dependency, button: gr.Button) -> None:
    """The button works once this event has its answer, whatever that is: a press before would run other settings than
    those that the page's address asks for."""
    on(asked.then, lambda: {button: gr.update(interactive=True)}, {}, [button])


def warn(text: str) -> None:
    """A passing note in the corner of the page; Gradio would show HTML in it."""
    gr.Warning(html.escape(text))


def note(text: str) -> None:
    gr.Info(html.escape(text))
