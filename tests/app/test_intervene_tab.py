"""The Intervene tab: its handlers, and once in Chromium."""

import asyncio
from types import SimpleNamespace
from typing import Annotated
from urllib.parse import parse_qsl

import gradio as gr
import pytest
import torch
from app_world import answered, answers, ended, networks, ordered  # noqa: F401
from PIL import Image
from test_browser import browser, page, pytestmark, served  # noqa: F401

from app.limits import allowed
from app.server.exports import write
from app.state import AppState
from app.store import Store
from app.tabs.intervene.change import surer
from app.tabs.intervene.edits import Picture, stack, used
from app.tabs.intervene.intervention import BASE, CLEAN, DATA, EDITED, GUESS, MINE, RUNS_OWN, STATE, THIS, Now
from app.tabs.intervene.tab import Intervene
from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.data.shapes import SHAPES
from pf_core.errors import InputError
from pf_core.models import build, checkpoint, preset
from pf_core.registry import Knob
from pf_core.samplers import SAMPLERS
from pf_core.sampling import selections as experiments
from pf_core.sampling.edits import EDITS
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.selections import EXPERIMENTS, SELECTIONS
from pf_core.sampling.trajectory import Trajectory

FIRST = next(iter(EXPERIMENTS))
KNOBS = {f"{name}.{k}": knob.default for name, entry in SAMPLERS.items() for k, knob in entry.knobs.items()}
OF_SHAPES = {"network": "drawn", "label": SHAPES[1]}
AMOUNTS = {f"{name}.{k}": knob.default for name, entry in EDITS.items() for k, knob in entry.knobs.items()}


@pytest.fixture(scope="module")
def tab(networks, tmp_path_factory):  # noqa: F811
    model = checkpoint.load("nano").model
    checkpoint.save(networks / "drawn.safetensors", model, list(SHAPES), {})  # the same, of the data set's own classes
    with gr.Blocks():
        return answering_tab(Intervene(AppState(recordings=tmp_path_factory.mktemp("none"))))


def once(over, fn):
    """As the page calls it: when what it waits for is over."""

    def call(*given, **values):
        asyncio.run(over(**values))
        return fn(*given, **values)

    return call


def answering_tab(tab):
    """The tab's handlers as these tests read them: values by name, answers as lists in a fixed order."""
    here, painting = tab.page, tab.painting
    runs = [here.viewer, here.ids, here.status, here.which, here.box]
    noted = [here.viewer, here.ids, here.note, here.which, here.box]
    preview, listed, form = painting.preview, [here.note, *painting.listing], list(here.form.inputs.values())
    groups = [*here.form.knobs.groups.values(), here.form.before, here.form.ranking.box, here.mine]
    everything = [*runs, *form, *painting.listing, here.uploads]
    hidden = lambda fn: lambda *a, **v: {k: u for k, u in answered(fn, here.status, *a, **v).items() if k not in groups}  # noqa: E731
    asked = [*runs, *tab.places, *painting.draft, *preview]

    def of_mine(fn, status, order):
        """As a page calls it that has started what it shows; whose its runs are afterwards is left out."""
        told = lambda *a, mine=None, **v: answered(fn, status, *a, mine=v.get("ids", []) if mine is None else mine, **v)  # noqa: E731
        return lambda *a, **v: ordered({k: u for k, u in told(*a, **v).items() if k is not here.mine}, order)

    orders = {
        "on_look": preview,
        "on_here": [here.step, *preview],
        "on_painted": preview[1:],
        "on_source": [here.index, here.of_data, here.file, here.show, *preview],
        "on_another": [here.note, here.index, *preview],
        "on_file": [here.note, here.uploads, *preview],
        "on_select": [here.note, *preview],
        "on_inpaint": [here.note, *painting.draft, *preview],
        "on_keep": [*listed, *preview],
        "on_undo": [*listed, *preview],
        "on_remove": [*listed, *preview],
    }
    return SimpleNamespace(
        **{name: answers(getattr(painting, name), here.note, order) for name, order in orders.items()},
        page=here,
        raw=tab,
        on_run=lambda mine, **values: of_mine(tab.on_run, here.status, runs)(mine=mine, **values),
        on_go=of_mine(tab.on_go, here.note, noted),
        when_base=once(tab.base_ended, answers(tab.when_base, here.status, [*tab.places, *preview])),
        when_edited=once(tab.edited_ended, lambda **values: tab.when_edited(**values)[here.shown]),
        on_experiment=of_mine(tab.on_experiment, here.status, [*runs, here.caption, here.asked]),
        when_asked=once(tab.base_ended, of_mine(tab.when_asked, here.status, asked)),
        on_recipe=lambda mine, path: ordered(hidden(tab.on_recipe)(mine, path), everything),
        from_link=lambda request: ordered(hidden(tab.from_link)(request), everything),
        state=tab.state,
        runs=runs,
        places=tab.places,
        draft=painting.draft,
        preview=preview,
        listing=painting.listing,
        form=here.form,
    )


def form(network="nano", sampler="look_ahead", **changes) -> dict:
    given = {"network": network, "sampler": sampler, "label": "class 1", "seed": 3, "images": 2, "budget": 12}
    return given | {"unit": "NFE", "cfg": 1, "from": 0, "to": 1} | changes | KNOBS


def started(tab, **changes) -> list[str]:
    """Ids of a base run that has ended."""
    ids = tab.on_run([], **form(**changes))[1]
    ended(tab.state.runs.get(ids[0]))
    return ids


def now(run_ids, patches=(5, 6), **changes) -> dict:
    fields = {
        "ids": run_ids,
        "which": BASE,
        "step": 3,
        "show": GUESS,
        "image": 1,
        "painter": {"grid": [4, 4], "chosen": list(patches)},
        "kind": "head_start",
        "whose": THIS,
        "source": RUNS_OWN,
        "index": None,
        "uploads": [],
        "kept": [],
        "ticked": [],
    } | changes
    assert list(fields) == list(Now._fields[:-1])
    return fields | AMOUNTS


def picture_file(folder, size=(50, 40)) -> str:
    path = folder / "mine.png"
    Image.radial_gradient("L").convert("RGB").resize(size).save(path)
    return str(path)


def test_the_edited_run_stands_beside_the_base_run_from_the_same_noise(tab):
    ids = started(tab)
    placed = tab.when_base(**now(ids, step=99, image=5))
    assert [u["value"] for u in placed[1:3]] == [6, 2] and placed[5]["image"].startswith("data:image/png")
    shown, ids, said, which, box = tab.on_go(**now(ids, image=2))
    base, edited = (ended(tab.state.runs.get(i)) for i in ids)
    assert (
        said == "" and [r["id"] for r in shown["runs"]] == ids and which["choices"] == [BASE, EDITED] and box["visible"]
    )
    assert edited.spec.edits == [{"kind": "head_start", "patches": [5, 6], "outer": 2, "image": 1, "amount": 0.2}]
    assert torch.equal(base.trajectory.x0, edited.trajectory.x0)
    assert torch.allclose(base.trajectory.x1[0], edited.trajectory.x1[0], atol=1e-4)
    assert not torch.allclose(base.trajectory.x1[1], edited.trajectory.x1[1], atol=1e-3)
    told = tab.when_edited(**now(ids, image=2))
    assert "the edited run minus the run as it was" in told and "RMS of edited patches" in told and "image 2" in told


def test_a_run_that_was_stopped_is_compared_at_the_last_step_of_both(tab):
    ids = tab.on_go(**now(started(tab)))[1]
    run = ended(tab.state.runs.get(ids[1])).trajectory
    run.x1, run.frames = None, run.frames[:6]
    told = tab.when_edited(**now(ids))
    assert f"NFE {run.frames[-1].nfe - 1} (outer)" in told or f"NFE {run.frames[-1].nfe} (outer)" in told
    assert "RMS of edited patches" in told
    run.frames = []
    assert "has made 0 outer steps" in tab.when_edited(**now(ids))


def test_the_probe_answers_every_stroke(tab):
    ids = started(tab)
    probe, words = tab.on_painted(**now(ids))
    assert probe.count("<title>") == 3 * 16 and "other hard patches" in probe and "outer step 3 (t 0." in probe
    assert words == "Next run: head start 0.2: 2 patches of image 1, at outer step 3."
    assert "Paint one or more patches" in tab.on_painted(**now(ids, ()))[0]
    assert "no other is left" in tab.on_painted(**now(ids, range(16)))[0]
    both = [tab.on_painted(**now(ids, source=DATA, index=k))[0] for k in (0, 1)]
    assert both[0] != both[1] and "Next run: make clean from shapes 7" in tab.on_painted(
        **now(ids, kind="clean", source=DATA, index=7)
    )[1]  # fmt: skip
    assert "at most" in tab.on_painted(**now(ids, step=6))[1]  # no head start of 0.2 is left there


def test_a_network_without_difficulty_can_be_edited_and_has_nothing_to_probe(tab):
    ids = started(tab, network="plain", sampler="euler")
    probe, words = tab.on_painted(**now(ids))
    assert "predicts no difficulty" in probe and words.startswith("Next run")
    assert "none of its patches is hard" in tab.on_select("hard", **now(ids))[0]
    ids = tab.on_go(**now(ids))[1]
    assert ended(tab.state.runs.get(ids[1])).state == "done"
    assert "RMS" in tab.when_edited(**now(ids))


def test_the_oracle_is_sure_of_everything_once_it_has_seen_a_piece(tab):
    ids = started(tab, network="shapes-exact", sampler="euler", label="star", images=1)
    eight = {"grid": [8, 8], "chosen": list(range(24, 32))}
    probe, _ = tab.on_painted(**now(ids, painter=eight, source=DATA, index=5))
    assert "other hard patches" in probe and "over 100 times surer" in probe and probe.count("<title>") == 3 * 64
    ids = tab.on_go(**now(ids, painter=eight, kind="hold_back", step=5))[1]
    assert ended(tab.state.runs.get(ids[1])).state == "done"
    looks = [tab.on_look(**now(ids, painter=eight, show=STATE, which=w, step=9))[0]["image"] for w in (BASE, EDITED)]
    assert looks[0] != looks[1]


def test_the_brush_works_on_what_is_shown(tab):
    ids = started(tab, **OF_SHAPES)
    shown = {
        show: tab.on_look(**now(ids, show=show, source=DATA, index=3))[0]["image"] for show in (GUESS, STATE, CLEAN)
    }
    assert len(set(shown.values())) == 3
    step, painter, *_ = tab.on_here(6, **now(ids))
    assert step == 6 and painter["image"] == tab.on_look(**now(ids, step=6))[0]["image"] and "chosen" not in painter
    for name in SELECTIONS:
        said, painter, _, words = tab.on_select(name, **now(ids))
        assert said == "" or not painter["chosen"]
        assert f"{len(painter['chosen'])} patch" in words or not painter["chosen"]
    index, *_, chosen = tab.on_source(**now(ids, source=DATA))[:4]
    assert index >= 2**30 and chosen == CLEAN
    assert tab.on_another(**now(ids, source=DATA, index=index))[1] > index


def test_edits_are_kept_left_out_taken_back(tab):
    ids, listing = started(tab), len(tab.listing)
    said, kept, past, ticked, tools, painter, _, words = tab.on_keep([], **now(ids))
    assert said == "" and len(kept) == 1 and past == [[]] and ticked["value"] == [0] and tools["visible"]
    assert painter["chosen"] == [] and words.startswith("Next run: head start")
    two = tab.on_keep(past, **now(ids, (1,), kind="hold_back", kept=kept, ticked=[0]))
    assert len(two[1]) == 2 and "hold back" in two[3]["choices"][1][0]
    run = tab.on_go(**now(ids, (), kept=two[1], ticked=[1]))[1][1]
    assert [e["kind"] for e in ended(tab.state.runs.get(run)).spec.edits] == ["hold_back"]
    assert [e["kind"] for e in tab.on_remove(two[2], **now(ids, kept=two[1], ticked=[1]))[1]] == ["hold_back"]
    undone = tab.on_undo(two[2], **now(ids, kept=two[1], ticked=[0, 1]))
    assert undone[1] == kept and undone[2] == [[]]
    assert "nothing to undo" in tab.on_undo([], **now(ids))[0] and "Untick" in tab.on_remove([], **now(ids))[0]
    assert "Paint the patches" in tab.on_keep([], **now(ids, ()))[0]
    many = tab.on_keep([], **now(ids, kept=kept * 63, ticked=[]))
    assert "at most 64 edits" in many[0] and len(many) == 1 + listing + len(tab.preview)


def test_inpainting_is_one_click_away(tab):
    ids = started(tab, **OF_SHAPES)
    for inside, kept in ((True, sorted(set(range(16)) - {5, 6})), (False, [5, 6])):
        said, step, show, kind, *rest = tab.on_inpaint(inside, **now(ids))
        painter, words = rest[-3], rest[-1]
        assert f"{len(kept)} patches are kept" in said and (step, show, kind) == (1, CLEAN, "clean")
        assert painter["chosen"] == kept and "at outer step 1" in words and "from shapes" in words
    index = next(v for v in rest if isinstance(v, int) and v >= 2**30)
    run = tab.on_go(**now(ids, kept and range(8), step=1, kind="clean", source=DATA, index=index))[1][1]
    run, grid = ended(tab.state.runs.get(run)), tab.state.bundle("nano").grid
    picture = DATASETS["shapes"].fn().batch([index]).images
    assert torch.equal(grid.split(run.trajectory.x1)[0, :8], grid.split(picture)[0, :8])
    for region in ((), range(16)):
        assert "Paint a region first" in tab.on_inpaint(True, **now(ids, region))[0]


def test_an_uploaded_picture_travels_in_the_recipe_bit_for_bit(tab, tmp_path):
    ids = started(tab)
    said, uploads, painter, probe, words = tab.on_file(picture_file(tmp_path), **now(ids, kind="clean", source=MINE))
    assert said == "" and len(uploads) == 1 and "uploaded picture" in words and "Sigma before" in probe
    shown, ids, said, *_ = tab.on_go(**now(ids, kind="clean", source=MINE, uploads=uploads))
    assert "download its raw arrays" in said and "plan=" not in shown["query"]
    run = ended(tab.state.runs.get(ids[1]))
    export = tmp_path / "run.safetensors"
    write(run, export)
    out = tmp_path / "again.safetensors"
    assert main(["sample", "--recipe", str(export), "--out", str(out)]) == 0
    assert torch.equal(Trajectory.load(out).x1, run.trajectory.x1)
    back = tab.on_recipe([], str(export))
    assert "without and with its edits" in back[2]
    again = ended(tab.state.runs.get(back[1][1]))
    assert torch.equal(again.trajectory.x1, run.trajectory.x1) and len(back[-1]) == 1
    assert back[len(tab.runs) + len(tab.form.inputs)] == run.spec.edits
    reloaded = tab.from_link(SimpleNamespace(query_params=dict(parse_qsl(shown["query"]))))
    assert reloaded[1] == ids and len(reloaded[-1]) == 1
    strip = tmp_path / "run.png"
    write(run, strip)
    assert "only part of its recipe" in tab.on_recipe([], str(strip))[2]


def test_a_link_brings_both_runs_back_even_when_they_are_gone(tab):
    shown, ids, *_ = tab.on_go(**now(started(tab)))
    query = dict(parse_qsl(shown["query"]))
    first = ended(tab.state.runs.get(ids[1])).trajectory.x1
    assert tab.from_link(SimpleNamespace(query_params=query))[1] == ids
    lost = tab.from_link(SimpleNamespace(query_params=query | {"base": "gone", "edited": "gone"}))
    assert "made again from the link" in lost[2] and lost[1] != ids
    assert torch.equal(ended(tab.state.runs.get(lost[1][1])).trajectory.x1, first)
    for wrong in ({"plan": "x"}, {"plan": ""}):
        told = tab.from_link(SimpleNamespace(query_params={"tab": "intervene", "base": "gone"} | wrong))
        assert "could not be read" in told[2]
    assert all("value" not in u for u in tab.from_link(SimpleNamespace(query_params={"tab": "explore"})))


def test_a_page_stops_the_runs_that_it_started_once_the_next_is_accepted_and_no_others(tab, monkeypatch):
    stopped, here, form_of = [], tab.page, form()
    monkeypatch.setattr(tab.state, "halt", lambda *ids: stopped.extend(filter(None, ids)))
    shown = tab.raw.on_run([], **form_of)
    mine = shown[here.mine]
    ended(tab.state.runs.get(mine[0]))
    link = SimpleNamespace(query_params=dict(parse_qsl(shown[here.viewer]["query"])))
    assert tab.raw.from_link(link)[here.mine] == [] and here.mine not in tab.raw.from_entry(link)
    edited = tab.raw.on_go([], **now(shown[here.ids]))[here.mine]
    assert edited[0] == "" and not stopped  # of the runs of a link the page started the edited one alone
    with pytest.raises(InputError):
        tab.raw.on_run(mine, **form_of | {"seed": -1})
    monkeypatch.setattr(tab.state.worker, "add", lambda *given: (_ for _ in ()).throw(InputError("Too many.")))
    with pytest.raises(InputError):
        tab.raw.on_run(mine, **form_of)
    assert not stopped
    monkeypatch.undo()
    monkeypatch.setattr(tab.state, "halt", lambda *ids: stopped.extend(filter(None, ids)))
    tab.raw.on_run(mine, **form_of)
    assert stopped == [mine[0]]


def test_stop_ends_the_whole_experiment_and_another_network_under_the_name_is_said(tab, networks):  # noqa: F811
    *runs, caption, asked = tab.on_experiment(EXPERIMENTS[FIRST], ids=[], **form(**OF_SHAPES))
    run, count = ended(tab.state.runs.get(runs[1][0])), len(tab.state.runs)
    run.state = "stopped"
    tab.when_asked(asked, **now(runs[1]))
    assert len(tab.state.runs) == count
    run.state, before = "done", (networks / "drawn.safetensors").read_bytes()
    torch.manual_seed(1)
    checkpoint.save(networks / "drawn.safetensors", build(preset("nano")), list(SHAPES), {})
    assert "made with another drawn" in tab.on_painted(**now(runs[1]))[0]
    (networks / "drawn.safetensors").write_bytes(before)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_one_click(tab, name):
    own = form(**OF_SHAPES)
    *runs, caption, asked = tab.on_experiment(EXPERIMENTS[name], ids=[], **own)
    ids = runs[1]
    assert caption == EXPERIMENTS[name].caption and asked == name
    again = tab.on_experiment(EXPERIMENTS[name], ids=ids, **own)
    ended(tab.state.runs.get(ids[0]))
    assert "value" not in again[1]  # the same base run serves the next experiment
    told = tab.when_asked(asked, **now(ids))
    assert len(told) == len(tab.runs) + len(tab.places) + len(tab.draft) + len(tab.preview)
    if told[2]:
        assert "no patches of that kind" in told[2]
        return
    run = ended(tab.state.runs.get(told[1][1]))
    assert (
        run.state == "done" and told[-1].startswith("Next run") and told[-3]["chosen"] == run.spec.edits[0]["patches"]
    )
    assert tab.when_asked("", **now(ids))[0] == gr.skip()


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 0},
        {"step": None},
        {"step": 7},
        {"image": 3},
        {"painter": None},
        {"painter": {"grid": [4, 4], "chosen": [16]}},
        {"painter": {"grid": [4, 4], "chosen": ["a"]}},
        {"kind": "explode"},
        {"source": MINE, "kind": "clean"},
        {"source": MINE, "kind": "clean", "uploads": ["unknown"]},
        {"source": DATA, "kind": "clean", "index": -1},
        {"source": DATA, "kind": "clean", "index": 1.5},
        {"ids": []},
        {"ids": ["gone", ""]},
        {"ticked": ["x"], "kept": [{"kind": "clean", "patches": [1]}]},
        {"painter": {"grid": [4, 4], "chosen": []}},
    ],
)
def test_bad_input_is_one_sentence_and_starts_nothing(tab, changes):
    given = now(started(tab), **changes)
    before = set(tab.state.runs._things)
    said = tab.on_go(**given)[2]
    assert said.endswith(".") and "\n" not in said and set(tab.state.runs._things) == before
    for handler in (tab.on_look, tab.on_painted, tab.on_source, tab.on_another, tab.when_edited, tab.when_base):
        handler(**given)  # sentences, or what the rest of the page allows: no traceback


def test_bad_pictures_are_sentences(tab, tmp_path):
    ids, path = started(tab), tmp_path / "x.png"
    path.write_bytes(b"no picture")
    assert "not a picture" in tab.on_file(str(path), **now(ids, source=MINE))[0]
    assert "At most 64 pictures" in tab.on_file(picture_file(tmp_path), **now(ids, uploads=["a"] * 64))[0]
    state = SimpleNamespace(pictures=Store(2, 2**30, tab.state.pictures.gone))
    names = [state.pictures.add(Picture(torch.zeros(3, 4, 4))).id for _ in range(3)]
    with pytest.raises(InputError, match="not kept here any more"):
        stack(state, [names[0]])
    with pytest.raises(InputError, match="different sizes"):
        stack(state, [names[2], state.pictures.add(Picture(torch.zeros(3, 8, 8))).id])
    edit = {"kind": "clean", "patches": [0], "source": {"given": 1}}
    assert used([edit], ["a", "b"]) == ([edit | {"source": {"given": 0}}], ["b"])
    with pytest.raises(InputError, match="not uploaded"):
        used([edit], ["a"])


def test_a_recipe_cannot_fetch_from_the_servers_disk(tab, monkeypatch):
    class shelf:  # noqa: N801
        """Somebody's folder."""

        def __init__(self, *, place: Annotated[str, Knob(help="where it is")] = "/"):
            raise AssertionError("the disk was touched")

    monkeypatch.setitem(DATASETS._entries, "shelf", None)
    DATASETS.register(shelf)
    monkeypatch.setattr(experiments, "own_data", lambda bundle: None)
    monkeypatch.setattr("app.limits.own_data", lambda bundle: None)
    edit = {"kind": "clean", "patches": [0], "source": {"dataset": "shelf", "index": 0, "settings": {"place": "/etc"}}}
    with pytest.raises(InputError, match="own data only"):
        tab.state.start(SampleSpec("nano", "euler", nfe=2, edits=[edit]))
    allowed([edit | {"source": {"dataset": "shapes", "index": 0, "settings": {"series": 3}}}], None)


def test_the_probe_says_in_words_how_much_surer_the_network_is():
    said = {0.0: "As sure as before", -1.386: "2 times surer", 1.386: "2 times less sure", -40: "over 100 times surer"}
    said |= {-3.335: "5.3 times surer", -0.02: "1.01 times surer", 5: "12 times less sure"}
    assert {v: surer(v) for v in said} == said


def test_one_button_at_a_time_is_the_next_step(tab):
    run = len(tab.places) - 1
    assert tab.places[run].value == "Run" and tab.places[run].variant == "primary"
    assert tab.when_base(**now(started(tab)))[run]["variant"] == "secondary"


VIEWER = "(window.__pf?.all('viewer') ?? []).find((v) => v.root.isConnected && v.root.closest('#intervene-viewer'))"


def runs_shown(page, count):  # noqa: F811
    page.wait_for_function(
        f"(n) => {{ const v = {VIEWER}; return v?.ready && v.runs.length === n && v.runs.every((r) => !r.active) }}",
        arg=count,
    )


def test_paint_probe_run_on_export_and_reload(page, served, tmp_path):  # noqa: F811
    page.goto(served.address + "?tab=intervene")
    page.click("#intervene-run")
    runs_shown(page, 1)
    canvas = page.locator("#intervene-painter canvas")
    canvas.wait_for()
    page.wait_for_function("document.querySelector('#intervene-probe').textContent.includes('Paint one or more')")
    page.evaluate(f"{VIEWER}.goFrame(0, 6)")
    step = page.evaluate(f"{VIEWER}.runs[0].frames[6].outer") + 1
    page.click("#intervene-here")
    page.wait_for_function(
        "(n) => document.querySelector('.pf-paint input[type=number]').value === String(n)", arg=step
    )
    page.wait_for_timeout(600)  # longer than it takes to draw the canvas of that step
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.4, "y": box["height"] * 0.4})
    page.wait_for_selector("#intervene-probe .pfi-change svg")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("document.querySelector('#intervene-words').textContent.includes('2 patches')")
    assert f"at outer step {step}" in page.inner_text("#intervene-words")
    page.keyboard.press("Control+z")
    page.wait_for_function("document.querySelector('#intervene-words').textContent.includes('1 patch of')")
    page.set_input_files("#intervene-file input", picture_file(tmp_path)) if page.is_visible(
        "#intervene-file"
    ) else None
    network = served.bundle("nano").model
    network.hold(0)  # the viewer waits so long, empty, that the page is too short to bring it to the top
    page.click("#intervene-go")
    page.wait_for_timeout(1200)
    network.go_on()
    runs_shown(page, 2)
    page.wait_for_selector("#intervene-difference img")
    page.wait_for_function(f"Math.abs({VIEWER}.root.getBoundingClientRect().top) < 3")
    assert "edited patches" in page.inner_text("#intervene-difference")
    assert page.locator("#intervene-viewer .pfv-edits:visible").count() == 1
    page.click("#intervene-keep")
    page.wait_for_selector(".pf-edit input[type=checkbox]")
    page.click("#intervene-undo")
    page.wait_for_selector(".pf-edit input[type=checkbox]", state="detached")
    with page.expect_download() as download:
        page.locator("#intervene-viewer .pfv-exports a >> text=raw arrays").last.click()
    export = tmp_path / "run.safetensors"
    download.value.save_as(export)
    assert len(Trajectory.load(export).recipe["edits"]) == 1
    page.reload()
    runs_shown(page, 2)
    page.wait_for_selector(".pf-edit input[type=checkbox]")
    page.wait_for_selector("#intervene-difference img")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")
