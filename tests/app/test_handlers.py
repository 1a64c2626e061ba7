"""How events call our functions: over all events of the built page, and what becomes of empty answers and refusals."""

import ast
import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from app_world import ROOT, networks  # noqa: F401
from fuzz.world import Measured
from gradio.blocks import Block

from app.handlers import Asked, PlainText, StatusLine, note, on, travelling, warn
from app.server.static import APP, SERVED
from app.state import AppState
from app.ui import build
from app.worker import lane_of
from pf_core.errors import InputError
from pf_core.training.queue import Jobs

HOSTILE = ["![a](http://x.example/y.png)", "<img src=http://x.example/y.png onerror=alert(1)>", "[a](javascript:x)"]


@pytest.fixture(scope="module")
def built(networks, tmp_path_factory):  # noqa: F811
    state = AppState(recordings=tmp_path_factory.mktemp("none"))
    yield SimpleNamespace(state=state, demo=build(state))
    for job in (*state.runs.all(), *state.sweeps.all()):
        state.worker.stop(job)
    for lab in state.labs.all():
        lab.close()
    asyncio.run(state.ended(*(run.id for run in state.runs.all())))
    state.training.close()


def ours(demo):
    """The events that `on` made."""
    return [fn for fn in demo.fns.values() if fn.fn is not None and hasattr(fn.fn, "__wrapped__")]


class Page:
    """A page as a browser holds it: what its components say, kept up to date by the answers."""

    def __init__(self, file):
        self.values, self.file = {}, file

    def value(self, component):
        given = self.values.get(component, getattr(component, "value", None))
        return self.file if given is None and isinstance(component, gr.File | gr.UploadButton) else given

    def asked_by(self, event):
        values = dict(zip(event.input_keyword_names, map(self.value, event.inputs), strict=True))
        specials = {"request": SimpleNamespace(query_params={"tab": "toy"}, session_hash="a page"), "event": Event()}
        return values | {k: v for k, v in specials.items() if k in inspect.signature(event.fn).parameters}

    def take(self, answer):
        for component, update in answer.items():
            if not isinstance(update, dict) or "__type__" not in update:
                self.values[component] = update
            elif "value" in update:
                self.values[component] = update["value"]


class Event:
    _data = {}  # noqa: RUF012


def answers_of(event, values):
    """All that a handler answers to these values."""
    found = event.fn(**values)
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    return list(found) if inspect.isgenerator(found) else [found]


def test_every_key_that_a_handler_answers_is_one_of_its_outputs(built, tmp_path, monkeypatch):
    """All events are called twice in turn, as a page would: with the values that it has by then. Nothing is left
    out; only what would start a training or measure one does nothing here."""
    monkeypatch.setattr(Jobs, "create", lambda jobs, name, *recipe, **how: SimpleNamespace(name=name or "made"))
    monkeypatch.setattr("app.tabs.train.tab.Measuring", Measured)
    monkeypatch.setattr("app.tabs.compare.sweep_jobs.pace", lambda bundle: 0.001)
    file = tmp_path / "wrong.json"
    file.write_text("{}")
    page, answered = Page(str(file)), set()
    for _ in range(2):
        for event in ours(built.demo):
            for answer in answers_of(event, page.asked_by(event)):
                if answer == gr.skip():
                    continue
                strange = [c for c in answer if c not in event.outputs]
                assert not strange, (event.name, strange)
                page.take(answer)
                answered.add(event.name)
    silent = {event.name for event in ours(built.demo)} - answered
    assert not silent, silent


def test_every_event_of_the_page_but_a_dice_answers_by_component(built):
    others = [fn for fn in built.demo.fns.values() if fn.fn is not None and not hasattr(fn.fn, "__wrapped__")]
    assert {fn.name for fn in others} <= {"<lambda>", "closed"}, [fn.name for fn in others]


# text from people, links and files


def test_text_that_changes_is_never_markdown(built):
    changing = {c for event in ours(built.demo) for c in event.outputs if isinstance(c, gr.Markdown)}
    assert changing == set()


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_is_shown_as_it_is(text):
    import html

    shown = StatusLine().postprocess(f"one {text}\ntwo")
    assert shown == f"<p>one {html.escape(text)}</p><p>two</p>" and "<img" not in shown
    assert PlainText("x").postprocess("") == PlainText("x").postprocess(None) == ""


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["network", "sampler", "label", "seed", "run", "recipe"])
def test_what_a_link_says_comes_back_as_plain_text(built, text, field):
    link = {"network": "nano", field: text}
    told = 0
    for tab in ("explore", "compare", "intervene"):
        asked = {"tab": tab, "c1": text, "base": text, "plan": text, "sweep": text, **link}
        for event in ours(built.demo):
            if event.name not in ("from_link", "at_first") or "request" not in inspect.signature(event.fn).parameters:
                continue
            answer = event.fn(request=SimpleNamespace(query_params=asked, session_hash="x"))
            for component, value in answer.items() if answer != gr.skip() else ():
                if isinstance(value, str) and text[:12] in value:
                    told += 1
                    assert isinstance(component, PlainText | gr.State | gr.Textbox), component
                    if isinstance(component, PlainText):
                        assert "<img" not in component.postprocess(value)
    assert told or field in ("label", "seed", "run", "recipe")


def test_notes_in_the_corner_are_escaped_and_made_in_one_place(monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Warning", said.append)
    monkeypatch.setattr(gr, "Info", said.append)
    warn("<b>a</b>")
    note("<b>b</b>")
    assert said == ["&lt;b&gt;a&lt;/b&gt;", "&lt;b&gt;b&lt;/b&gt;"]
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("Warning", "Info", "Error"):
                noted = getattr(node.value, "id", "") == "gr" and path.name != "handlers.py"
                assert not noted, f"{path}: use app.handlers.note or warn"


def test_an_event_whose_handler_makes_notes_goes_through_the_queue(built):
    """Else Gradio prints them on the server's console."""
    noting = [event for event in ours(built.demo) if event.fn.__qualname__ == "RunForm.on_network"]
    assert noting and all(event.queue for event in noting)


def test_nobody_waits_until_another_persons_network_is_loaded_or_file_is_taken_in(built):
    slow = {"RunForm.on_network", "AddNetwork.on_add", "OwnPictures.on_files"}
    found = [event for event in ours(built.demo) if event.fn.__qualname__ in slow]
    assert {event.fn.__qualname__ for event in found} == slow
    assert all(event.queue and event.concurrency_limit is None for event in found)


def test_markdown_in_the_code_is_written_out_there():
    """What a gr.Markdown shows is a text in the code, never made of what is known only later."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Markdown"
            )
            if called and not isinstance(node.args[0], ast.Constant):
                assert isinstance(node.args[0], ast.Name) and node.args[0].id.isupper(), (Path(path).name, node.lineno)


# the decorator, as Gradio runs it


def processed(handler, outputs=2, status=True):
    """What Gradio sends for an event of a page with `outputs` components: [value or update], the status line last."""
    with gr.Blocks() as demo:
        button, given = gr.Button(), gr.Number(3)
        shown = [gr.JSON() for _ in range(outputs)]
        line = StatusLine() if status else None
        on(button.click, lambda value: handler(value, *shown), {"value": given}, shown, status=line)
    return asyncio.run(demo.process_api(block_fn=next(iter(demo.fns.values())), inputs=[3]))["data"]


def unchanged(update):
    return isinstance(update, dict) and update.get("__type__") == "update" and "value" not in update


def test_an_empty_answer_changes_nothing():
    for outputs, status in ((2, True), (1, False)):
        assert all(map(unchanged, processed(lambda value, *shown: {}, outputs, status)))


def test_what_an_answer_does_not_mention_stays():
    first, second, said = processed(lambda value, a, b: {b: {"value is": value}})
    assert unchanged(first) and unchanged(said)
    assert getattr(second, "root", second) == {"value is": 3}


def test_one_output_whose_value_is_a_dict():
    (found,) = processed(lambda value, a: {a: {"runs": []}}, outputs=1, status=False)
    assert getattr(found, "root", found) == {"runs": []}


def refuse(value, *shown):
    raise InputError("That is <wrong>.")


def test_a_refusal_is_the_status_lines_text():
    first, second, said = processed(refuse)
    assert unchanged(first) and unchanged(second) and said.endswith(">That is &lt;wrong&gt;.</p>")


def test_a_refusal_without_a_status_line_is_a_note(monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Warning", said.append)
    monkeypatch.setattr("app.handlers.unheard", lambda: False)
    assert unchanged(processed(refuse, outputs=1, status=False)[0]) and said == ["That is &lt;wrong&gt;."]


def test_where_a_note_would_go_to_the_console_a_refusal_is_what_gradio_shows():
    with pytest.raises(gr.Error, match="That is &lt;wrong&gt;.") as told:
        processed(refuse, outputs=1, status=False)
    assert not told.value.print_exception  # no traceback in the log


def test_generators_and_what_waits_answer_the_same_way():
    with gr.Blocks():
        button, shown, line = gr.Button(), gr.JSON(), StatusLine()

        def steps(count):
            for k in range(count):
                yield {shown: k} if k else {}
            raise InputError("No more.")

        async def over(count):
            order.append("waited")

        def late(count):
            order.append("answered")
            return {shown: count}

        order = []
        made = on(button.click, steps, {"count": gr.Number(2)}, [shown], status=line)
        later = on(button.click, late, {"count": gr.Number(2)}, [shown], status=line, after=over)
    assert list(made.fn(count=2)) == [gr.skip(), {shown: 1}, {line: "No more."}]
    assert asyncio.run(later.fn(count=2)) == asyncio.run(later.fn(2)) == {shown: 2}  # Gradio passes it by place
    assert order == ["waited", "answered"] * 2
    assert isinstance(shown, Block)


def test_no_two_scripts_or_style_sheets_have_one_name():
    """They are served from one address: the later would hide the earlier."""
    names = [p.name for folder in SERVED for p in folder.iterdir() if p.suffix in (".js", ".css")]
    assert sorted(names) == sorted(set(names))
    assert {p.name for p in APP.rglob("*.js")} == {name for name in names if name.endswith(".js")}


def test_no_event_tells_the_page_of_progress_that_nothing_shows(built):
    """Gradio's page would search for every component of every event so far whenever one begins or ends."""
    hidden = [fn for fn in built.demo.fns.values() if fn.show_progress == "hidden" and fn.outputs]
    assert len(hidden) > 200 and {fn.name for fn in hidden if fn.show_progress_on != []} == set()


def test_no_event_is_lost_while_another_is_answered_and_none_is_sent_for_ever(built):
    """Gradio's page drops an event "once"; "always_last" it sends with the news of the first, and to the event's other
    listeners as well, so that two of that kind set each other off."""
    blocks = built.demo.blocks  # of which the page itself, whose one event comes once, is none
    deferred = [t for fn in built.demo.fns.values() if fn.trigger_mode == "always_last" for t in fn.targets]
    twice = {t for t in deferred if t[0] in blocks and deferred.count(t) > 1}
    assert not twice, {(blocks[t[0]], t[1]) for t in twice}
    for fn in ours(built.demo):
        told = any(p.annotation is gr.EventData for p in inspect.signature(fn.fn).parameters.values())
        clicked = any(event == "click" for _, event in fn.targets)
        assert fn.trigger_mode in (("multiple",) if told else ("once",) if clicked else ("always_last", "multiple"))


def test_an_entry_gone_back_to_is_asked_for_by_its_page():
    back = travelling(lambda asked: {"shown": lane_of(asked)}, "Explore")
    assert back(SimpleNamespace(_data={"query": "", "turn": 1}), SimpleNamespace(session_hash="a")) == {"shown": "a"}


def test_an_entry_that_takes_long_does_not_take_the_place_of_the_one_gone_to_since():
    def to(number):
        return back(SimpleNamespace(_data={"query": f"n={number}", "turn": number}), SimpleNamespace(session_hash="a"))

    def first(asked: Asked):
        answers.append(to(2))  # comes and is answered while the first is made
        return {"shown": "first"}

    answers: list = []
    back = travelling(lambda asked: first(asked) if asked.query_params["n"] == "1" else {"shown": "second"}, "Explore")
    assert to(1) == {} and answers == [{"shown": "second"}]
    assert to(1) == {} and to(3) == {"shown": "second"}  # the older one comes late
