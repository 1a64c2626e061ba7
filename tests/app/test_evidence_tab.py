"""The wall of claims: what is known is shown, a study is measured beside other people's runs, stopped, and kept."""

import base64
import json
import re
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from app_world import networks  # noqa: F401
from chromium import LOADED, until_held
from helpers import write_checkpoint
from jobs_world import until
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_batches import Gate
from test_browser import browser, page, served  # noqa: F401
from test_browser import pytestmark as needs_chromium

from app.state import AppState
from app.store import ACTIVE
from app.tabs.evidence import tab as evidence_tab
from app.tabs.evidence.jobs import SHARED, Studies
from pf_core import files
from pf_core.data.shapes import SHAPES
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, evidence, metrics
from pf_core.evaluation.studies import STUDIES
from pf_core.models import checkpoint, shipped
from pf_core.models.conditioning import ClassLabels


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    monkeypatch.setattr(metrics, "REPEATS", 5)
    monkeypatch.setattr(evaluate, "REFERENCES", 100)
    write_checkpoint(tmp_path)
    return AppState(tmp_path / "none")


@pytest.fixture
def client(state):
    return TestClient(Starlette(routes=evidence_tab.routes(state)))


def test_every_card_says_how_it_is_measured_and_a_network_that_cannot_be_looked_at_why(
    client, state, monkeypatch, tmp_path
):
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    monkeypatch.setattr(shipped, "SHIPPED", ("nano",))
    cards = {card["study"]: card for card in client.get("/pf/evidence?network=nano").json()["cards"]}
    assert list(cards) == list(STUDIES) and not any(card["known"] for card in cards.values())
    how = "python -m pf_core study order --checkpoint nano --out D && python -m pf_core results D"
    assert cards["order"]["how"] == how and "--runs runs" in cards["when_it_pays"]["how"]
    assert all(cards[name]["sentence"] for name in ("timestep_laws", "context_helps", "schedules", "when_it_pays"))
    assert "finite data set" in cards["exactness"]["refused"] and not cards["order"]["refused"]
    said = client.get("/pf/evidence/exactness/cost?network=nano").json()
    assert "finite data set" in said["refused"]


def test_a_training_run_fills_the_wall_from_its_own_folder(client, state, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path / "runs")
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "nano.safetensors", folder / "network.safetensors")
    known = {"study": "order", "checkpoint": "runs/mine", "hash": state.bundle("runs/mine").hash, "rows": []}
    known |= {"images": 20, "made": "2026-11-28", "seconds": 1.0}
    files.write_json(folder / "evidence" / "order.json", known)
    cards = {card["study"]: card for card in client.get("/pf/evidence?network=runs/mine").json()["cards"]}
    assert cards["order"]["known"] and not cards["difficulty"]["known"]
    assert cards["difficulty"]["how"].endswith(
        f"--checkpoint runs/mine --out {evidence.folder_of('difficulty', 'runs/mine')}"
    )
    files.write_json(folder / "evidence" / "order.json", known | {"hash": "of an older network"})
    assert evidence.kept("order", "runs/mine") and not evidence.kept("order", "runs/mine", known["hash"])


def test_the_laws_are_drawn_live_beside_what_inference_visits(client):
    first = client.get("/pf/evidence/laws?network=nano").json()
    assert first["samplers"] == ["Euler", "dual-loop", "look-ahead"] and first["sampler"] == "look-ahead"
    n = first["grid"]["rows"] * first["grid"]["cols"]
    asked = "/pf/evidence/laws?network=nano&sampler=Euler&columns=2&timesteps="
    ltg, one = client.get(f"{asked}ltg&loc=-1").json(), client.get(f"{asked}uniform").json()
    for answer in (ltg, one):
        assert all(len(base64.b64decode(answer[key])) == 4 * 8 * n for key in ("law", "visited"))
        assert {"xaxis", "xaxis4"} <= set(answer["figure"]["layout"]) and "Train-test gap" in answer["sentence"]
    assert all("; interval of the law's draws alone), 0 if" in answer["sentence"] for answer in (first, ltg))
    assert first["seen"] == "64 NFE; which patches are easy is drawn at random here" and one["seen"] == "64 NFE"
    assert ltg["settings"]["loc"] == -1 and one["gap"]["value"] < 0.02 < ltg["gap"]["interval"][0]
    assert "between -3 and 3" in client.get(f"{asked}ltg&loc=9").json()["error"]
    assert client.get(f"{asked}ltg&columns=0").status_code == 400


def test_a_link_brings_the_wall_of_its_network(state):
    with gr.Blocks():
        tab = evidence_tab.build(state)
    request = SimpleNamespace(query_params={"tab": "evidence", "network": "nano"})
    found = tab.from_link(request)
    assert found[tab.network] == "nano" and found[tab.page]["network"] == "nano"
    with pytest.raises(InputError, match=r"no network runs/gone here; this is nano\."):
        tab.from_link(SimpleNamespace(query_params={"tab": "evidence", "network": "runs/gone"}), "nano")
    assert not tab.from_link(SimpleNamespace(query_params={"tab": "toy", "network": "runs/gone"}), "nano")


def test_a_card_that_cannot_be_measured_leads_to_the_network_that_it_is_made_for(client, state, tmp_path):
    def card(network):
        cards = client.get(f"/pf/evidence?network={network}").json()["cards"]
        return next(each for each in cards if each["study"] == "text_rendering")

    assert "takes no prompts" in card("nano")["refused"] and not card("nano")["made_for"]
    shutil.copy(tmp_path / "nano.safetensors", tmp_path / "signs-pft.safetensors")
    assert card("nano")["made_for"] == "signs-pft" and not card("signs-pft")["made_for"]
    with gr.Blocks():
        tab = evidence_tab.build(state)
    found = tab.on_chosen(SimpleNamespace(_data={"network": "signs-pft"}))
    assert found[tab.network] == found[tab.page]["network"] == "signs-pft"
    with pytest.raises(InputError, match="no network"):
        tab.on_chosen(SimpleNamespace(_data={"network": ["../x"]}))


DIFFICULTY = vars(sys.modules["pf_core.evaluation.studies.difficulty"])  # the package's attribute is the function
FLAT = {"value": 0.0, "interval": [-0.1, 0.1]}


def ended(job):
    for _ in range(2400):
        if job.state not in ACTIVE:
            return job
        time.sleep(0.05)
    raise AssertionError(job.state)


def test_a_study_is_measured_by_the_worker_and_kept(state, client, monkeypatch, tmp_path):
    studies = Studies(state)
    job = ended(studies.start("difficulty", "nano"))
    assert job.state == "done" and job.done == job.total and job.result["study"] == "difficulty"
    assert studies.latest("difficulty", "nano", state.bundle("nano").hash) is job
    assert studies.describe(job)["share"] == 1
    assert studies.latest("difficulty", "nano", "of another file") is None
    assert "forward passes of an image, about" in studies.cost("difficulty", "nano")
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(shipped, "SHIPPED", ("nano",))
    full = job.result | {"images": 777, "t": {t: at | {"spearman": FLAT} for t, at in job.result["t"].items()}}
    detail = "/pf/evidence/difficulty?network=nano"
    assert client.get(detail).json()["made"] and not client.get(detail).json()["other"]
    path = tmp_path / "results" / "nano" / "difficulty.json"
    files.write_json(path, full)
    own = f"{detail}&job=none+such&job={job.id}"
    quick, kept, others = (client.get(asked).json() for asked in (own, f"{own}&kept=1", detail))
    assert (quick["made"], quick["other"]) == (kept["other"], kept["made"]) and ", 777 images," in kept["made"]
    assert "Does not appear here" in kept["card"]["verdict"] != quick["card"]["verdict"]
    assert (others["made"], others["other"]) == (kept["made"], ""), "a visitor's quick look is not what others see"
    for asked in ("", f"&job={job.id}"):
        cards = client.get(f"/pf/evidence?network=nano{asked}").json()["cards"]
        (card,) = (each for each in cards if each["study"] == "difficulty")
        assert card["verdict"] == (quick if asked else kept)["card"]["verdict"]
    saved = client.get(f"/pf/evidence/difficulty/file?network=nano&job={job.id}&format=json")
    assert saved.json() == job.result and saved.text == json.dumps(job.result, indent=1)
    assert 'filename="difficulty-nano.json"' in saved.headers["content-disposition"]
    svg = client.get("/pf/evidence/difficulty/file?network=nano&format=svg")
    assert svg.headers["content-type"].startswith("image/svg") and "<svg" in svg.text
    for wrong in ("difficulty/file?network=nano&format=exe", "order/file?network=nano&format=json"):
        assert client.get(f"/pf/evidence/{wrong}").status_code == 400
    job.network = "another"
    files.write_json(path, full | {"t": {"0.2": {}}})  # as another version may have kept it
    old = client.get(detail).json()
    assert not old["ours"] and old["card"]["old"] == evidence_tab.OLD and not old["card"]["known"]


def test_what_was_measured_to_its_end_is_measured_again_and_its_folder_is_cleared_away(state, monkeypatch):
    studies, made, errors = Studies(state), [], DIFFICULTY["_errors"]

    def counted(*of):
        made.append(of)
        if len(made) == 13:  # the third run's first pass
            while len(state.studies) < 3:
                time.sleep(0.01)
            state.studies.all()[-1].stop.set()
        return errors(*of)

    def left(most):
        """The folders of pieces, once they are cleared: soon after a job's end."""
        for _ in range(600):
            if len(found := [folder.name for folder in Path(studies._parts.name).iterdir()]) <= most:
                break
            time.sleep(0.05)
        return found

    monkeypatch.setitem(DIFFICULTY, "_errors", counted)
    first = ended(studies.start("difficulty", "nano"))
    again = ended(studies.start("difficulty", "nano"))
    assert len(made) == 2 * 6 and first.folder == SHARED != again.folder  # 100 images, 50 a pass, 3 times
    assert left(1) == [SHARED]
    stopped = ended(studies.start("difficulty", "nano"))
    assert stopped.state == "stopped" and stopped.folder not in (SHARED, again.folder)
    onward = ended(studies.start("difficulty", "nano"))
    assert onward.folder == stopped.folder and left(1) == [SHARED]


def test_a_study_stops_between_two_passes_and_others_have_their_turn(state, monkeypatch):
    studies, going_on = Studies(state), []
    job = studies.start("schedules", "nano", "one page")
    other = studies.start("difficulty", "nano", "another page")
    tidied = state.worker._tidy  # in the worker's thread, as a lane ends
    monkeypatch.setattr(state.worker, "_tidy", lambda lane: (going_on.append(job.busy), job.stop.set(), tidied(lane)))
    assert ended(other).state == "done"
    until(lambda: going_on, "the first lane to end")
    assert going_on[0]  # the long one was not waited for
    assert ended(job).state == "stopped" and job.done < job.total


def test_a_second_press_starts_no_second_study_and_a_refusal_is_its_cards(state, monkeypatch):
    studies, gate = Studies(state), Gate(state.worker)  # none is begun
    first = studies.start("schedules", "nano", "one page")
    assert studies.start("schedules", "nano", "one page") is first
    assert studies.start("schedules", "nano", "another page") is not first
    first.stop.set()
    assert studies.start("schedules", "nano", "one page") is not first, "it is about to end"
    for job in state.studies.all():
        state.worker.stop(job)
    gate.open.set()
    monkeypatch.setattr(state.worker, "add", refused)
    with gr.Blocks():
        tab = evidence_tab.build(state)
    event, request = SimpleNamespace(_data={"study": "order"}), SimpleNamespace(session_hash="one page")
    one, other = (tab.on_asked("nano", event, request)[tab.page] for _ in range(2))
    assert (one["study"], one["job"], one["error"]) == ("order", None, FULL) and one != other


FULL = "Too many runs are waiting already: try again in a moment."


def refused(*_, **__):
    raise InputError(FULL)


def test_what_the_app_does_not_measure_is_said(state):
    studies = Studies(state)
    with pytest.raises(InputError, match="looks at trainings"):
        studies.start("when_it_pays", "nano")
    with pytest.raises(InputError, match="trains networks of its own"):
        studies.start("training_timesteps", "nano")
    with pytest.raises(InputError, match="finite data set"):
        studies.start("exactness", "nano")


@needs_chromium
def test_a_person_measures_a_claim(page, served, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(metrics, "REPEATS", 5)
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    monkeypatch.setattr(shipped, "SHIPPED", ("nano",))
    monkeypatch.setattr(served.bundle("nano"), "conditioner", ClassLabels(10, list(SHAPES)))
    known = {
        "study": "order",
        "checkpoint": "nano",
        "hash": served.bundle("nano").hash,
        "images": 20,
        "made": "2026-11-28",
        "seconds": 1.0,
    }
    row = {"sampler": "multistep", "settings": {}, "budget": 8, "minus_euler": {"value": -3.0, "interval": [-4, -2]}}
    known |= {
        "command": "python -m pf_core study order",
        "rows": [row | {"frechet": {"value": 9, "interval": [8, 10]}}],
    }
    files.write_json(tmp_path / "nano" / "order.json", known)
    page.route(re.compile(r"pf/evidence\?"), lambda route: route.abort(), times=1)
    page.goto(f"{served.address}?tab=evidence")
    page.wait_for_function(LOADED)
    page.wait_for_selector(".pfe-wall >> text=Trying again.", state="attached")
    page.wait_for_selector("[data-study=order]", state="attached")
    page.wrong[:] = [each for each in page.wrong if "ERR_FAILED" not in each]
    page.locator("[data-study=order]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-study=order] .js-plotly-plot .main-svg")
    assert page.locator(".pfe-card").count() == len(STUDIES)
    assert "\u22123.0 (\u22124.0 to \u22122.0) at 8 NFE" in page.inner_text("[data-study=order] .pfe-verdict")
    assert "Cannot be measured" in page.inner_text("[data-study=exactness] .pfe-verdict")
    assert not page.locator("[data-study=exactness] button").count()
    glance = page.locator(".pfe-glance li")
    assert glance.count() == len([one for one in STUDIES.values() if one.fn.about.claim])
    found = set(page.locator(".pfe-glance li > :last-child").all_inner_texts())
    assert found == {"not measured yet", "cannot be measured on it"}
    assert "Not measured" in page.inner_text("[data-study=difficulty] .pfe-verdict")
    assert page.inner_text("[data-study=difficulty] button") == "Run it here"
    with monkeypatch.context() as full:
        full.setattr(served.worker, "add", refused)
        page.click("[data-study=difficulty] button")
        page.wait_for_selector(f"[data-study=difficulty] .pfe-said >> text={FULL}")
    page.wait_for_selector("[data-study=difficulty] button:enabled")
    page.dblclick("[data-study=difficulty] button")
    page.wait_for_selector("[data-study=difficulty] .js-plotly-plot .main-svg")
    assert len(served.studies) == 1
    assert page.inner_text("[data-study=difficulty] .pfe-verdict").startswith("Spearman"), "it is about no claim"
    page.wait_for_selector("[data-study=difficulty] .pfe-verdict [data-term=spearman][tabindex='-1']")
    assert page.locator(".pfe-lead [data-term=spearman][tabindex='0']").count() == 1, "one stop of the Tab key"
    assert "held-out images" in page.get_attribute("[data-study=difficulty] .pfe-chart[role=img]", "aria-label")
    assert "forward passes" in page.inner_text("[data-study=difficulty] .pfe-cost")
    assert not page.inner_text("[data-study=difficulty] [role=status]")
    assert "study difficulty --checkpoint nano" in page.inner_text("[data-study=difficulty] .pfe-made")
    page.locator("[data-study=timestep_laws]").scroll_into_view_if_needed()
    page.wait_for_selector(".pfe-laws[data-ready] [data-of=figure] .main-svg")
    page.select_option("[data-set=timesteps]", "ltg")
    page.wait_for_selector(".pfe-laws[data-ready=ltg]")
    said = page.inner_text(".pfe-gap")
    page.focus("[data-knob=loc]")
    page.keyboard.press("Home")
    page.wait_for_function("(said) => document.querySelector('.pfe-gap').textContent !== said", arg=said)
    page.select_option("[data-set=timesteps]", "uniform")
    page.wait_for_selector(".pfe-laws[data-ready=uniform]")
    assert "no knobs" in page.inner_text(".pfe-laws") and page.locator(".pfe-grids canvas").count() == 16
    refused_late(page)
    sized_anew(page)
    known = served.studies.all()[-1].result | {"images": 777}
    files.write_json(tmp_path / "nano" / "difficulty.json", known)
    measured_elsewhere(page)
    with page.expect_download() as given:
        page.click("[data-study=difficulty] .pfe-files a >> text=JSON")
    assert json.loads(Path(given.value.path()).read_text()) == served.studies.all()[-1].result
    page.click("[data-study=difficulty] .pfe-made button")  # the full result that is kept, and back
    page.wait_for_selector("[data-study=difficulty] .pfe-made >> text=Measured here last")
    assert "777 images" in page.inner_text("[data-study=difficulty] .pfe-made").splitlines()[0]
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-study=difficulty] .pfe-made >> text=Kept:")
    page.goto(f"{served.address}?tab=evidence&network=plain&study=order")  # a link's network, and its card
    page.wait_for_function("document.querySelector('#evidence-network input')?.value === 'plain'")
    page.wait_for_selector("[data-study=difficulty] >> text=Cannot be measured", state="attached")
    page.wait_for_selector("[data-study=order]:focus")
    page.click(".pfe-glance button >> nth=0")
    card = page.locator(".pfe-card:focus").get_attribute("data-study")
    page.wait_for_url(f"**network=plain&study={card}")
    late, nano, plain = [], *(re.compile(rf"pf/evidence\?network={name}(&|$)") for name in ("nano", "plain"))
    page.route(nano, lambda route: late.append(route))  # an answer that comes when another network has been chosen
    page.click("#evidence-network input")
    page.get_by_role("option", name="nano").click()
    page.wait_for_function("location.search.includes('network=nano')")
    until_held(page, late)
    with page.expect_response(plain):
        page.go_back()
    page.wait_for_function("document.querySelector('#evidence-network input').value === 'plain'")
    with page.expect_response(nano):
        late[0].continue_()
    page.wait_for_timeout(200)
    assert "Cannot be measured" in page.inner_text("[data-study=difficulty] .pfe-verdict")
    late.clear()  # and a refusal that comes so late
    page.go_forward()
    page.wait_for_function("document.querySelector('#evidence-network input').value === 'nano'")
    until_held(page, late)
    with page.expect_response(plain):
        page.go_back()
    page.wait_for_selector(f"[data-study={card}]:focus")
    assert f"study={card}" in page.url, "Back leads to the card"
    with page.expect_response(nano):
        late[0].fulfill(status=500, json={"error": "Too late."})
    page.wait_for_timeout(200)
    assert "Cannot be measured" in page.inner_text("[data-study=difficulty] .pfe-verdict")
    page.wrong[:] = [each for each in page.wrong if "500" not in each]


def sized_anew(page):  # noqa: F811
    """A study ends, the window changes, and light and dark, while another tab is open: the charts fit when they are
    seen again."""
    filled = re.compile(r"pf/evidence/difficulty\?.*columns=(\d)")
    with page.expect_response(filled) as found:
        page.click("[data-study=difficulty] .pfe-bar button")
        page.click("[role=tab][data-tab-id=explore]")
        page.wait_for_selector("#explore-run:visible")
    assert filled.search(found.value.url)[1] == "4", "what nobody sees has the room that it had"
    page.set_viewport_size({"width": 900, "height": 900})
    page.click(".pf-theme")
    with page.expect_response(filled) as found:
        page.click("[role=tab][data-tab-id=evidence]")
    assert filled.search(found.value.url)[1] == "3"
    page.wait_for_function(
        """() => [...document.querySelectorAll(".pfe .js-plotly-plot")].every((chart) => chart.offsetParent &&
          Math.abs(chart._fullLayout.width - chart.clientWidth) < 5 &&
          !chart.data.some(({ line, marker }) => (line?.color || marker?.color) in (chart.layout.meta?.dark || {})))"""
    )
    page.click(".pf-theme")
    page.set_viewport_size({"width": 1400, "height": 900})


def choose(page, name):  # noqa: F811
    page.click("#evidence-network input")
    page.get_by_role("option", name=name).click()
    page.wait_for_function(f"location.search.includes('network={name}')")


def measured_elsewhere(page):  # noqa: F811
    """A study goes on while another network is looked at and the page is loaded again; a lost answer is not its end."""
    button, held, lost = "[data-study=difficulty] .pfe-bar button", [], []
    ask = re.compile("/run/predict")
    page.route(
        ask, lambda route: held.append(route) if '"study"' in (route.request.post_data or "") else route.continue_()
    )
    page.press(button, "Enter")
    choose(page, "plain")
    page.wait_for_selector("[data-study=difficulty] >> text=Cannot be measured", state="attached")
    with page.expect_response(lambda answer: answer.request == held[0].request):
        until_held(page, held).continue_()  # its answer comes last, and is of the network before
    page.wait_for_timeout(200)
    assert "Cannot be measured" in page.inner_text("[data-study=difficulty] .pfe-verdict")
    page.unroute(ask)
    jobs, half = re.compile("pf/evidence/jobs/"), {"state": "running", "said": "Half.", "share": 0.5}
    page.route(jobs, lambda route: route.fulfill(json=half) if lost else route.abort())
    choose(page, "nano")
    page.wait_for_selector("[data-study=difficulty] .pfe-said >> text=trying again")
    lost.append(True)
    page.wait_for_selector("[data-study=difficulty] .pfe-said >> text=Half.")
    page.reload()  # what is measured is not lost with that
    page.wait_for_selector("[data-study=difficulty] .pfe-said >> text=Half.", state="attached")
    assert page.is_visible("[data-study=difficulty] progress") and page.inner_text(button) == "Stop"
    page.unroute(jobs)
    page.wait_for_selector(f"{button} >> text=Run it again here")
    page.wait_for_selector("[data-study=difficulty] .pfe-made >> text=Kept:")
    page.wrong[:] = [each for each in page.wrong if "ERR_FAILED" not in each]


def refused_late(page):  # noqa: F811
    """A law's refusal that comes when another one is shown changes nothing."""
    held, srm = [], re.compile(r"pf/evidence/laws\?.*timesteps=srm")
    page.route(srm, lambda route: held.append(route))
    page.select_option("[data-set=timesteps]", "srm")
    until_held(page, held)
    page.select_option("[data-set=timesteps]", "ltg")
    page.wait_for_selector(".pfe-laws[data-ready=ltg]")
    said = page.inner_text(".pfe-gap")
    with page.expect_response(srm):
        held[0].fulfill(status=500, json={"error": "Too late."})
    page.wait_for_timeout(200)
    assert page.inner_text(".pfe-gap") == said and "gap" in said
    page.unroute(srm)
