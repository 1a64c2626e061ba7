"""What many people at once cost: files that are written once, comparisons made once, pages that are given back."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import httpx
import pytest
from app_world import client, ended, networks, slow, spec, state  # noqa: F401
from gradio import networking
from gradio.state_holder import StateHolder

from app.private import patient_start
from app.server import exports as module
from app.server import prompts
from app.server.exports import Exports
from app.state import AppState
from app.store import Once
from app.ui import MOST_PAGES, build, launch
from pf_core.errors import InputError


@pytest.fixture
def run(state):  # noqa: F811
    return ended(state.start(spec()))


@pytest.fixture
def writing(monkeypatch):
    """Every file that is written, by its kind, and how many at once."""
    made, at_once, real = [], [], module.write

    def write(run, path):
        at_once.append(len(at_once) - len(made))
        real(run, path)
        made.append(path.suffix)

    monkeypatch.setattr(module, "write", write)
    return made, at_once


def test_eight_who_want_the_same_file_get_one_that_is_written_once(state, client, run, writing):  # noqa: F811
    with ThreadPoolExecutor(8) as pool:
        asked = [f"/pf/runs/{run.id}/export?format={kind}" for kind in ("png", "gif") for _ in range(4)]
        replies = list(pool.map(client.get, asked))
    assert all(r.status_code == 200 for r in replies) and len({r.content for r in replies}) == 2
    assert all(int(r.headers["content-length"]) == len(r.content) for r in replies)
    made, at_once = writing
    assert sorted(made) == [".gif", ".png"] and set(at_once) == {0}


def test_a_run_that_has_grown_is_written_again(state, client, run, writing):  # noqa: F811
    frame = run.trajectory.frames.pop()
    x1, run.trajectory.x1 = run.trajectory.x1, None
    first = client.get(f"/pf/runs/{run.id}/export?format=png").content
    run.trajectory.frames.append(frame)
    run.trajectory.x1 = x1
    assert client.get(f"/pf/runs/{run.id}/export?format=png").content != first and writing[0] == [".png"] * 2


def opened(exports, run, suffix):
    async def read():
        with await exports.open(run, suffix) as file:
            return file.read()

    return asyncio.run(read())


def test_files_are_kept_within_their_bound_and_written_again(run, writing, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    exports = Exports()
    first = opened(exports, run, ".png")
    opened(exports, run, ".gif")  # puts the other out
    assert opened(exports, run, ".png") == first and writing[0] == [".png", ".gif", ".png"]
    for path in exports._files.all()[-1].path.parent.iterdir():
        path.unlink()  # as who tidies the machine's temporary folder does
    assert opened(exports, run, ".png") == first


def test_a_disk_that_is_full_is_a_sentence_and_not_kept(run, monkeypatch):
    exports, real = Exports(), module.write

    def full(run, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write", full)
    with pytest.raises(InputError, match="cannot be written here"):
        opened(exports, run, ".png")
    monkeypatch.setattr(module, "write", real)
    assert opened(exports, run, ".png").startswith(b"\x89PNG")


def test_a_file_that_failed_for_another_reason_is_written_again(run, monkeypatch):
    exports, real = Exports(), module.write
    monkeypatch.setattr(module, "write", lambda run, path: (_ for _ in ()).throw(RuntimeError("not enough memory")))
    with pytest.raises(InputError, match="Memory ran out while the file was made"):
        opened(exports, run, ".png")
    monkeypatch.setattr(module, "write", real)
    assert opened(exports, run, ".png").startswith(b"\x89PNG")


def test_a_comparison_is_made_once_however_many_wait():
    made, once = [], Once(10)

    def make():
        made.append(1)
        return "x" * 6

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: once.get("a", make), range(40))) == {"x" * 6} and len(made) == 1
    once.get("b", make)
    once.get("a", make)  # its bytes were too many beside the other's
    assert len(made) == 3


def test_waits_hold_no_thread(state):  # noqa: F811
    runs = [state.start(spec(nfe=64)) for _ in range(2)]
    before = threading.active_count()

    async def all_of_them():
        waits = [asyncio.create_task(state.ended(*(r.id for r in runs), "gone")) for _ in range(60)]
        await asyncio.sleep(0)
        assert threading.active_count() <= before + 1
        await asyncio.gather(*waits)

    asyncio.run(all_of_them())
    assert not any(r.busy for r in runs)


def test_results_that_are_slow_to_read_hold_up_no_frames(state, client, run, monkeypatch):  # noqa: F811
    go, address = threading.Event(), f"/pf/runs/{run.id}"
    monkeypatch.setattr(prompts, "readings", lambda state, run: {"read": go.wait(120)})

    async def all_of_them():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app), base_url="http://here") as web:
            reading = [asyncio.create_task(web.get(f"{address}/read")) for _ in range(module.MOST_WAITING + 2)]
            try:
                async with asyncio.timeout(60):
                    while sum(each.done() for each in reading) < 2:  # all have asked: the last two are refused at once
                        await asyncio.sleep(0.01)
                assert (await asyncio.wait_for(web.get(f"{address}/frames"), 60)).status_code == 200
            finally:
                go.set()
            return [reply.status_code for reply in await asyncio.gather(*reading)]

    assert sorted(asyncio.run(all_of_them())) == [200] * module.MOST_WAITING + [503] * 2
    assert client.get(f"{address}/read").json() == {"read": True}


@pytest.mark.xdist_group("served")  # it starts the app
def test_a_page_that_is_closed_is_given_back(networks, tmp_path, monkeypatch):  # noqa: F811
    state = AppState(recordings=tmp_path)  # noqa: F811
    demo, app, _ = launch(state)
    try:
        held = demo.state_holder
        assert held is app.state_holder and held.capacity == MOST_PAGES
        held["a page"], held["another"]
        (closing,) = [fn for fn in demo.fns.values() if fn.name == "closed"]
        assert closing.targets == [(None, "unload")] or "unload" in str(closing.targets)
        monkeypatch.setattr("app.private.LEAVING", 0.01)

        async def left(*pages):
            for page in pages:
                await closing.fn(gr.Request(session_hash=page))
            assert "a page" in held.session_data  # it asks on until the next page has come
            while "a page" in held.session_data:
                await asyncio.sleep(0.01)

        with ThreadPoolExecutor(1) as alone:  # this thread may have a browser's loop
            alone.submit(asyncio.run, asyncio.wait_for(left("never seen", "a page"), 60)).result()
        assert list(held.session_data) == ["another"]
    finally:
        demo.close()


def test_a_run_says_what_it_waits_for(state, slow):  # noqa: F811
    slow.go.release(64)
    ended(state.start(spec()))
    while slow.go.acquire(blocking=False):
        pass
    first = state.start(spec(nfe=200), lane="a")  # held at its first pass
    second = state.start(spec(nfe=100), lane="a")
    said = state.waits(second)
    assert said.startswith("waiting: 1 run before yours, about ") and said.endswith(" s"), said
    state.halt(first.id, second.id)
    slow.go.release(1)
    assert state.waits(ended(first)) == ""


def test_a_page_that_was_thrown_out_for_others_is_told_once_to_reload(networks, tmp_path):  # noqa: F811
    demo = build(AppState(recordings=tmp_path))
    holder = StateHolder()
    holder.set_blocks(demo)
    request = gr.Request(session_hash="a page")
    events = {fn.name: fn for fn in demo.fns.values() if fn.fn is not None}

    def call(name):
        fn = events[name]
        values = [getattr(c, "value", None) for c in fn.inputs]
        asked = demo.process_api(fn, values, state=holder["a page"], request=request, session_hash="a page")
        return asyncio.run(asked)

    call("on_count")  # before it has been opened nothing is known of it: a client without a page
    call("renewed")
    call("on_count")
    holder.session_data.pop("a page")
    with pytest.raises(gr.Error, match="Reload it") as told:
        call("on_count")
    assert not told.value.print_exception
    call("on_count")


def test_a_refusal_without_a_line_for_it_is_shown_on_the_page(networks, tmp_path):  # noqa: F811
    demo = build(AppState(recordings=tmp_path))
    fn = next(fn for fn in demo.fns.values() if fn.name == "on_network")
    with pytest.raises(gr.Error, match="There is no network") as told:
        asyncio.run(demo.process_api(fn, [[], *(c.value for c in fn.inputs[1:])], request=gr.Request(session_hash="x")))
    assert not told.value.print_exception


def test_a_server_that_answers_itself_late_starts_all_the_same(monkeypatch):
    answers = iter([False, False, True])
    monkeypatch.setattr(networking, "url_ok", lambda url: next(answers))
    with patient_start():
        assert networking.url_ok("http://127.0.0.1:1/")
    monkeypatch.setattr("app.private.PATIENCE", 0.0)
    monkeypatch.setattr(networking, "url_ok", lambda url: False)
    with patient_start():
        assert not networking.url_ok("http://127.0.0.1:1/")


def test_memory_of_runs_that_are_thrown_out_is_given_back_but_not_all_the_time(state):  # noqa: F811
    assert state.give_back() and not state.give_back()
    trims = []
    state.give_back = lambda: trims.append(True)
    state.runs.most = 2
    for k in range(4):
        ended(state.start(spec(nfe=2, sampler="euler", seeds=[k])))
    assert trims
