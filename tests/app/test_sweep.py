"""Sweeps in the app: what is typed, what it costs, jobs that outlive their page, the sheet, and once in Chromium."""

import time
from types import SimpleNamespace
from urllib.parse import parse_qsl

import gradio as gr
import pytest
import torch
from app_world import CLASSES, answers, networks, slow, spec, state  # noqa: F401
from app_world import ended as run_ended
from jobs_world import until
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_browser import browser, page, pytestmark, served  # noqa: F401
from test_browser import slow as slowed  # noqa: F401
from test_compare_tab import answering_tab, values
from text_world import lively

from app import worker
from app.tabs.compare.sweep_jobs import SweepJob, Sweeps
from app.tabs.compare.sweep_panel import NOTHING, PARTS, PLACES, routes, run_link
from app.tabs.compare.tab import Compare
from app.tabs.explore.tab import Explore
from app.worker import SHARE
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.conditioning import ClassLabels, Prompts
from pf_core.models.tokens import Vocabulary
from pf_core.presets import SWEEP_SAMPLERS
from pf_core.samplers import SAMPLERS
from pf_core.sampling.contact_sheet import read_sweep
from pf_core.sampling.run import Run
from pf_core.sampling.sweep import Cost, Sweep, in_words, pace
from pf_core.sampling.sweep_axes import axes_known, axis_words, parse, suggested, text_of, value_words
from pf_core.sampling.trajectory import record

YES = ClassLabels(10, CLASSES)


@pytest.fixture
def tab(state):  # noqa: F811
    with gr.Blocks():
        tab = Compare(state)
    sweep, form = tab.sweep, [c for k in range(3) for c in (list(a.controls.values())[k] for a in tab.sweep.axes)]
    filled = [sweep.loaded, sweep.forget, *form, sweep.status]
    told = SimpleNamespace(
        on_cost=lambda **given: sweep.on_cost(**given)[sweep.cost],
        on_run=answers(sweep.on_run, sweep.status, [sweep.view, sweep.job_id, sweep.status, sweep.cost]),
        on_sheet=answers(sweep.on_sheet, sweep.status, filled),
        from_link=answers(sweep.from_link, sweep.status, [sweep.view, sweep.job_id, sweep.box, *filled]),
        sweep=sweep.sweep,
    )
    return SimpleNamespace(
        sweep=told, from_link=answering_tab(tab).from_link, samplers=sweep.axes[0].names, panel=sweep
    )


def form(*axes, loaded=None, **changes) -> dict:
    """What the controls send: axes as (name, text or names)."""
    padded = [*axes, *[(NOTHING, "")] * (3 - len(axes))]
    given = {"loaded": loaded} | values(**changes)
    for place, (axis, v) in zip(PLACES, padded, strict=True):
        text, names = ("", v) if isinstance(v, list) else (v, [])
        given |= {f"{place.lower()}.{k}": x for k, x in zip(PARTS, (axis, text, names), strict=True)}
    return given


def ended(job: SweepJob, seconds: float = 60) -> SweepJob:
    limit = time.monotonic() + seconds
    while job.state in ("waiting", "running"):
        assert time.monotonic() < limit, "the sweep does not end"
        time.sleep(0.01)
    return job


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("nfe", "16, 32,64", [16, 32, 64]),
        ("seed", "0-3, 9, 2", [0, 1, 2, 3, 9]),
        ("seed", "0-12:4", [0, 4, 8, 12]),
        ("p", "0.2-0.8:0.2", [0.2, 0.4, 0.6, 0.8]),
        ("cfg_scale", "1, 2.5", [1.0, 2.5]),
        ("n_inner", "2; 4", [2, 4]),
        ("p", "0.1234567", [0.1234567]),
        ("label", "class 1, none, 2", ["class 1", None, "class 2"]),
        ("sampler", ["heun"], ["heun"]),
    ],
)
def test_values_are_written_as_people_write_them(name, text, found):
    assert parse(name, text, YES) == found and parse(name, text_of(found), YES) == found


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("nfe", "16, many", "whole number"),
        ("nfe", "0", "between"),
        ("nfe", "2.5", "whole number"),
        ("p", "0.1-0.9", "a step, such as 0.1-0.9:0.1"),
        ("p", "2", "between"),
        ("seed", "9-2", "backwards: write 2-9"),
        ("seed", "0-100000000", "more than 100"),
        ("seed", "", "Give values for seed, such as 0-3"),
        ("sampler", "eulr", "Did you mean 'euler'"),
        ("label", "cat", "no class 'cat'"),
        ("colour", "red", "cannot be swept"),
    ],
)
def test_wrong_values_are_a_sentence(name, text, says):
    with pytest.raises(InputError, match=says):
        parse(name, text, YES)


def test_only_what_a_network_takes_can_vary(tab, networks):  # noqa: F811
    checkpoint.save(networks / "words.safetensors", lively(), [], {"prompts": ["a cake", "a red sign; small"]})
    panel, (columns, rows, blocks) = tab.panel, tab.panel.axes
    takes = {name: [axis for _, axis in panel.known(name)] for name in ("nano", "words", "not here")}
    assert "label" in takes["nano"] and "prompt" not in takes["nano"]
    assert "prompt" in takes["words"] and "label" not in takes["words"]
    assert {"label", "prompt"} <= set(takes["not here"])
    assert [axis for _, axis in columns.axis.choices] == takes["nano"]
    now = panel.on_network(None, "words", columns="label", rows="nfe", blocks=NOTHING)
    assert now[columns.axis]["value"] == "prompt" and now[columns.text]["value"] == 'a cake; "a red sign; small"'
    assert now[rows.axis]["value"] == "nfe" and rows.text not in now and now[blocks.axis]["value"] == NOTHING
    back = panel.on_network(None, "nano", columns="prompt", rows="nfe", blocks=NOTHING)
    assert back[columns.axis]["value"] == "label" and back[columns.names]["value"] == CLASSES[:3]
    assert panel.on_network({"checkpoint": "words"}, "nano", columns="prompt", rows="nfe", blocks=NOTHING) == {}
    (networks / "words.safetensors").unlink()


def test_the_axes_follow_column_a_when_a_preset_is_chosen(state):  # noqa: F811
    with gr.Blocks() as app:
        tab = Compare(state)
    form = set(tab.sweep.form)
    for button in [*(button for button, _ in tab.presets), tab.typical]:
        clicks = [k for k, fn in app.fns.items() if (button._id, "click") in fn.targets]
        after = [fn for fn in app.fns.values() if fn.trigger_after in clicks]
        follows = [fn for fn in after if set(fn.outputs) == form]
        assert len(follows) == 1 and tab.columns[0].network in follows[0].inputs
        assert any(fn.trigger_after == follows[0]._id and fn.outputs == [tab.sweep.cost] for fn in app.fns.values())


def test_every_axis_suggests_values_that_it_takes():
    for name in axes_known():
        takes = Prompts(Vocabulary(32)) if name == "prompt" else YES
        assert name == "checkpoint" or parse(name, suggested(name, takes), takes)


def test_prompts_of_an_axis_keep_the_quotes_that_are_their_own():
    takes = Prompts(Vocabulary(32))
    for typed in (['"CAT"', '"DOG"'], ["a sign; small", 'reads "A;B"', '"A" and "B"']):
        assert parse("prompt", text_of(typed, name="prompt"), takes) == typed
    assert parse("prompt", '"CAT"; "a sign; small"', takes) == ['"CAT"', "a sign; small"]


def test_a_sweep_of_samplers_starts_with_three_worth_seeing(tab):
    names = [v for v in tab.samplers.value if v in SWEEP_SAMPLERS]
    assert tuple(names) == SWEEP_SAMPLERS and len(tab.samplers.value) == 3


def test_headings_are_words():
    said = [
        value_words(*given) for given in (("nfe", 64), ("steps", 8), ("cfg_scale", 1.5), ("label", None), ("p", 0.4))
    ]
    assert said == ["64 NFE", "8 outer steps", "guidance 1.5", "no class", "p 0.4"]
    assert value_words("sampler", "look_ahead") == "Look-ahead" and axis_words("cfg_scale") == "guidance"


def test_seconds_in_words(state):  # noqa: F811
    assert [in_words(s) for s in (0.44, 59, 125, 7500)] == ["0.4 s", "59 s", "2 min 5 s", "2 h 5 min"]
    assert 0 < pace(state.bundle("nano")) < 5


def test_the_cost_is_said_before_anything_runs(tab):
    said = tab.sweep.on_cost(**form(("sampler", ["euler", "dual_loop"]), ("nfe", "3, 8")))
    assert "3 images, 19 NFE, 19 forwards, about" in said and "1 cannot run: 3 NFE are too few" in said
    guided = tab.sweep.on_cost(**form(("nfe", "3, 8, 8"), ("seed", "0-1"), cfg=2.0))
    assert "4 images, 22 NFE, 44 forwards" in guided  # a value that comes twice is drawn once
    for wrong in (
        form(),
        form(("nfe", "x")),
        form(("nfe", "1"), ("nfe", "2")),
        form(("nfe", "300")),
        form(("seed", "0-60"), ("p", "0.1, 0.2")),
        form(("p", "9" * 3000)),
        form(("nfe", "4"), images=99),
        form(("nfe", "4"), loaded={"checkpoint": 3}),
    ):
        said = tab.sweep.on_cost(**wrong)
        assert said and "Cost" not in said and "\n" not in said


def test_a_sweep_is_drawn_and_its_sheet_read_back(tab, state, tmp_path):  # noqa: F811
    view, job_id, said, cost = tab.sweep.on_run(**form(("sampler", ["euler", "dual_loop"]), ("nfe", "3, 8")))
    job = ended(state.sweeps.get(job_id))
    assert said == "" and job.state == "done" and len(job.done) == job.total == 4
    client = TestClient(Starlette(routes=routes(state)))
    found = client.get(f"/pf/sweeps/{job_id}").json()
    assert found["headings"][:2] == [["Euler", "Dual-loop"], ["3 NFE", "8 NFE"]]
    assert [t["error"] is None for t in found["tiles"]] == [True, False, True, True] and found["state"] == "done"
    assert found["tiles"][0]["image"].startswith("data:image/png") and "3 NFE, 3 forwards" in found["tiles"][0]["cost"]
    assert found["fixed"] == "nano, class 1, seed 3, guidance 1" and found["tiles"][1]["explore"] is None
    with gr.Blocks():
        explore = Explore(state)
    opened = explore.from_link(SimpleNamespace(query_params=dict(parse_qsl(found["tiles"][2]["explore"]))))
    run = state.runs.get(opened[explore.run_id])
    assert opened[explore.status] == ""
    assert (run.spec.sampler, run.spec.nfe, run.spec.seeds, run.spec.labels) == ("euler", 8, [3], ["class 1"])
    assert torch.equal(run_ended(run).trajectory.x1, record(Run(state.bundle("nano"), job.done[2].cell.spec)).x1)
    assert client.get(f"/pf/sweeps/{job_id}?after=3").json()["tiles"] == found["tiles"][3:]
    path = tmp_path / "sheet.png"
    path.write_bytes(client.get(f"/pf/sweeps/{job_id}/sheet.png").content)
    assert read_sweep(path) == job.sweep and Image.open(path).width > 256
    loaded, _, *filled, said = tab.sweep.on_sheet(str(path))
    assert "Loaded" in said and [f["value"] for f in filled[:3]] == ["sampler", "nfe", NOTHING]
    typed = zip(PARTS, (filled[:3], filled[3:6], filled[6:]), strict=True)
    given = {f"{place.lower()}.{k}": f["value"] for k, part in typed for place, f in zip(PLACES, part, strict=True)}
    again = tab.sweep.sweep(loaded, given | values())
    assert again == job.sweep  # whatever column A says by then
    assert client.get("/pf/sweeps/none").status_code == 404
    assert client.get(f"/pf/sweeps/{job_id}?after=-1").status_code == 400


def test_what_is_no_sheet_is_a_sentence(tab, tmp_path):
    path = tmp_path / "x.png"
    for content in (b"", b"nonsense"):
        path.write_bytes(content)
        assert "holds no sweep" in tab.sweep.on_sheet(str(path))[-1]


def test_stop_keeps_what_is_done_and_a_run_goes_in_between(tab, state, slow, monkeypatch):  # noqa: F811
    monkeypatch.setattr(worker, "SLICE", 0.0)  # every forward pass is a turn
    store = Sweeps(state)
    state.paces[("nano", state.bundle("nano").hash)] = 0.01  # measuring would wait for the slow network
    job = store.start(Sweep(spec(sampler="euler", nfe=2, seeds=[0]), {"seed": [0, 1, 2, 3]}))
    slow.go.release(3)  # the first cell, and the first half of the second
    while slow.calls < 3:
        time.sleep(0.005)
    assert len(job.done) == 1 and job.state == "running" and "about" in job.spent()
    run = state.start(spec(sampler="euler", nfe=1))
    slow.go.release(2)  # the second half of the second cell, then it is the other run's turn
    while len(run.heads) < 1 or len(job.done) < 2:
        time.sleep(0.005)
    store.stop(job.id)
    slow.go.release(1)
    ended(job)
    ended(run)
    assert run.state == "done" and slow.calls == 6
    assert job.state == "stopped" and len(job.done) == 2 and "kept" in job.message


def test_sweeps_are_bounded_and_unknown_ones_a_sentence(state, slow):  # noqa: F811
    store, most = Sweeps(state), state.sweeps.most
    state.paces[("nano", state.bundle("nano").hash)] = 0.01  # measuring would wait for the slow network
    slow.go.release(most + 2)
    jobs = [ended(store.start(Sweep(spec(nfe=1, seeds=[0]), {"seed": [k]}))) for k in range(most + 2)]
    assert jobs[0].id not in state.sweeps and jobs[-1].id in state.sweeps and len(state.sweeps) <= most
    with pytest.raises(InputError, match="not kept"):
        state.sweeps.get(jobs[0].id)
    waiting = [store.start(Sweep(spec(nfe=1, seeds=[0]), {"seed": [0]})) for _ in range(SHARE + 1)]  # none is drawn
    with pytest.raises(InputError, match="waiting already"):
        store.start(Sweep(spec(nfe=1, seeds=[0]), {"seed": [0]}))
    assert state.worker.ahead(waiting[-1]) == SHARE
    assert store.stop(waiting[-1].id).state == "stopped"
    with pytest.raises(InputError, match="Nothing of this sweep"):
        store.start(Sweep(spec(nfe=1), {"sampler": ["dual_loop"]}))
    assert str(Cost(1, 2, 3, 0)) == "1 image, 2 NFE, 3 forwards"


def test_a_sweep_may_do_what_a_run_may(state, monkeypatch):  # noqa: F811
    def refuse(edits, bundle):
        if edits:
            raise InputError(f"Not with {bundle.name}.")

    monkeypatch.setattr("app.tabs.compare.sweep_jobs.allowed", refuse)
    edit = {"kind": "clean", "patches": [0], "source": "x1_hat"}
    for act in (Sweeps(state).cost, Sweeps(state).start):
        with pytest.raises(InputError, match="Not with plain"):
            act(Sweep(spec(seeds=[0], edits=[edit]), {"checkpoint": ["gone", "plain"]}))
    job = ended(Sweeps(state).start(Sweep(spec(nfe=4, seeds=[0], compile=True), {"seed": [0]})))
    assert job.state == "done" and not job.done[0].cell.spec.compile


def test_a_sweep_is_of_one_network_whatever_is_saved_meanwhile(state, monkeypatch):  # noqa: F811
    job = SweepJob(sweep := Sweep(spec(nfe=4, seeds=[0]), {"seed": [0, 1]}), sweep.cost(state.bundle))
    steps, asked = Sweeps(state)._drawing(job), []
    monkeypatch.setattr(state, "bundle", lambda name, load=state.bundle: asked.append(name) or load(name))
    assert sum(1 for _ in steps) and len(job.done) == 2 and asked == ["nano"]


@pytest.mark.parametrize(
    ("base", "axes"),
    [
        ({}, {"difficulty": ["divergence"]}),
        ({}, {"cfg_scale": [12.0]}),
        ({}, {"seed": [2**31]}),
        ({"labels": [3]}, {"nfe": [4]}),
        ({"labels": ["3"]}, {"p": [0.1234567]}),
    ],
)
def test_every_tile_opens_as_it_was_drawn(state, base, axes):  # noqa: F811
    job = ended(Sweeps(state).start(Sweep(spec(**{"seeds": [0]} | base), axes)))
    drawn = job.done[0].cell.spec
    with gr.Blocks():
        explore = Explore(state)
    opened = explore.from_link(SimpleNamespace(query_params=dict(parse_qsl(run_link(state, drawn)))))
    assert opened[explore.status] == "" and state.runs.get(opened[explore.run_id]).spec == drawn


def test_the_true_limit_of_an_axis_is_said(tab, networks):  # noqa: F811
    checkpoint.save(networks / "words.safetensors", lively(), [], {})
    prompts = "; ".join(f"{k} " + "a" * 280 for k in range(100))
    found = tab.sweep.sweep(None, form(("prompt", prompts), network="words", label="a cake"))
    (networks / "words.safetensors").unlink()
    assert len(found.axes["prompt"]) == 100
    with pytest.raises(InputError, match="3,000 characters"):
        tab.sweep.sweep(None, form(("p", "9" * 3000)))
    with pytest.raises(InputError, match="Give values"):
        tab.sweep.sweep(None, form(("label", "")) | {"columns.names": None})
    assert text_of(["none", "no class", "(no class)"]) == "none, no class, (no class)"


def test_a_link_finds_the_sweep_or_its_settings(tab, state):  # noqa: F811
    view, job_id, *_ = tab.sweep.on_run(**form(("sampler", ["euler"]), ("seed", "0-1")))
    query = dict(parse_qsl(view["query"]))
    found = tab.sweep.from_link(request=SimpleNamespace(query_params=query))
    assert found[0]["id"] == found[1] == job_id and found[2]["open"] and found[-1] == ""
    gone = tab.sweep.from_link(request=SimpleNamespace(query_params=query | {"sweep": "x"}))
    assert gone[1] == "" and "its settings are here" in gone[-1] and gone[5]["value"] == "sampler"
    damaged = tab.sweep.from_link(request=SimpleNamespace(query_params={"tab": "compare", "sweep": "x", "axes": "{"}))
    assert "not kept" in damaged[-1]
    assert "could not" not in str(
        tab.from_link(request=SimpleNamespace(query_params=query))
    )  # Compare itself is not asked


def test_a_sweep_in_the_browser(page, served, slowed, tmp_path):  # noqa: F811
    page.goto(served.address + "?tab=compare")
    page.click("#sweep > button, #sweep .label-wrap")
    page.wait_for_selector("#sweep-cost >> text=NFE")
    page.fill("#sweep-rows-values textarea, #sweep-rows-values input", "4, 6, 2")
    page.wait_for_function("document.querySelector('#sweep-cost').textContent.includes('8 images')")
    slowed.hold(10)
    page.click("#sweep-run")
    page.wait_for_function("window.__pf?.sweep?.status?.ready >= 2")
    address = page.url
    page.reload()  # in mid-sweep: it goes on, and the address finds it
    slowed.hold(6)
    page.wait_for_function("window.__pf?.sweep?.status?.ready >= 3")
    assert page.url == address and "sweep=" in address
    page.click("#sweep-stop")
    until(served.sweeps.all()[-1].stop.is_set, "the stop")
    slowed.go_on()
    page.wait_for_function("window.__pf.sweep.status.state !== 'running'")
    ended, ready = page.evaluate("[window.__pf.sweep.status.state, window.__pf.sweep.status.ready]")
    assert ended == "stopped" and 3 <= ready < 9
    page.wait_for_function("(n) => document.querySelectorAll('#sweep-view [data-about]').length === n", arg=ready)
    with page.expect_download() as download:
        page.click(".pfs-sheet")
    path = tmp_path / "sheet.png"
    download.value.save_as(path)
    assert read_sweep(path).axes["nfe"] == [4, 6, 2] and len(SAMPLERS) > 2
    with page.expect_file_chooser() as chooser:
        page.click("#sweep-load")
    chooser.value.set_files(path)
    page.wait_for_selector("#sweep-said >> text=Loaded")
    page.click("#sweep-run")
    page.wait_for_function("window.__pf.sweep.status?.state === 'done'")
    for each in ("img", "a"):
        page.wait_for_function("(each) => document.querySelectorAll(`#sweep-view td ${each}`).length === 8", arg=each)
    assert "too few" in page.inner_text("#sweep-view .pfs-error")  # the one cell that cannot run says why
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")
    page.click("#sweep-view td a")
    page.wait_for_function("window.__pf?.viewer?.ready && window.__pf.viewer.root.closest('#explore-viewer')")
    page.wait_for_function("location.search.includes('sampler=euler')")
    assert page.locator("#explore-said p").count() == 0
