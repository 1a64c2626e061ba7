"""The page "How it works" and the tour: their numbers against the core's laws, and both in Chromium."""

import base64
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from app_world import networks, state  # noqa: F401
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_browser import browser, page, served  # noqa: F401
from test_browser import pytestmark as needs_chromium
from text_world import lively

from app.tabs.explore.tab import Explore
from app.tabs.how import tab as how
from pf_core.errors import InputError
from pf_core.evaluation import evidence, inspect
from pf_core.evaluation.studies import STUDIES
from pf_core.models import checkpoint
from pf_core.presets import PFT, TRAINING_TIMES
from pf_core.timesteps import TIMESTEPS
from pf_core.timesteps.preview import BINS, draws


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.mark.parametrize("name", TIMESTEPS)
def test_draws_are_the_laws_own(name):
    found = draws(name, 16, shown=8, seed=3)
    assert found.maps.shape == (8, 16) and found.mean.shape == found.largest.shape == (BINS,)
    for shares in (found.mean, found.largest):
        assert shares.sum().item() == pytest.approx(1, abs=1e-4)
    centres = (torch.arange(BINS) + 0.5) / BINS
    assert (found.largest * centres).sum() >= (found.mean * centres).sum() - 1e-3
    assert torch.equal(found.maps, draws(name, 16, shown=8, seed=3).maps)


def test_draws_refuse_what_is_wrong():
    with pytest.raises(InputError, match="timestep sampler"):
        draws("nothing", 16)


def test_a_glimpse_is_one_pass_with_its_true_error(state):  # noqa: F811
    bundle = state.bundle("nano")
    seen = inspect.picture(bundle)
    t = inspect.leaning(bundle.grid)
    each = t.per_patch
    assert each.shape == (len(inspect.TIMES), bundle.grid.n) and (each[4, -1] - each[4, 0]).item() == pytest.approx(0.3)
    found = inspect.evaluate_maps(bundle, seen, t)
    again = inspect.evaluate_maps(bundle, seen, t.map(lambda v: v[2:3]))  # a batch of one says the same
    assert torch.allclose(found.x1_hat[2:3], again.x1_hat, atol=1e-5)
    assert torch.allclose(found.error[2:3], again.error, atol=1e-5) and found.sigma.shape == each.shape
    # x1_hat - x1 = (1 - t) (v - u), so the two say the same of the error
    apart = bundle.grid.to_patches((found.x1_hat - seen.x1).square()).sqrt()
    assert torch.allclose(apart, (1 - each) * found.error, atol=1e-4)


def test_the_page_gets_numbers(state):  # noqa: F811
    reply = TestClient(Starlette(routes=how.routes(state))).get("/pf/how").json()
    n = reply["grid"]["rows"] * reply["grid"]["cols"]
    assert {each["name"] for each in reply["timesteps"]} == set(TIMESTEPS)
    assert all(len(floats(each["maps"])) == 24 * n for each in reply["timesteps"])
    assert len(reply["networks"]) == 1  # the shipped pair is not here: the first network stands in
    for network in reply["networks"]:
        assert len(floats(network["t"])) == len(reply["times"]) * n == len(floats(network["error"]))
    drawn = next(each for each in reply["timesteps"] if each["name"] == TRAINING_TIMES)
    assert reply["first"] == TRAINING_TIMES  # the law that the words beside the picture are about
    training = floats(reply["training"]["t"])
    assert np.array_equal(training, floats(drawn["maps"])[: len(training)]) and len(training) == how.TRAINED * n


@pytest.mark.parametrize("record", [{}, {"recipe": {"dataset": "signs", "data_settings": {"variety": 0.0}}}])
def test_the_page_gets_numbers_where_all_networks_take_prompts(state, tmp_path, monkeypatch, record):  # noqa: F811
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    checkpoint.save(tmp_path / "words.safetensors", lively(input_size=(32, 96)), [], record)
    reply = TestClient(Starlette(routes=how.routes(state))).get("/pf/how").json()
    (network,) = reply["networks"]
    assert len(floats(network["error"])) == len(reply["times"]) * reply["grid"]["rows"] * reply["grid"]["cols"]
    if record:  # else no image of its data is known, and another network stands in
        assert network["name"] == "words" and reply["size"] == [32, 96] and '"' in reply["label"]


def test_the_pictures_without_a_network_get_numbers_too():
    found = how.densities()
    assert [each["t_max"] for each in found["below"]] == [0.1, 0.25, 0.5, 0.75, 0.99]
    for each in [*found["maximum"], *(curve for below in found["below"] for curve in below["curves"])]:
        assert np.trapezoid(floats(each["p"]), floats(each["t"])) == pytest.approx(1, abs=2e-3)
    found = how.schedules()
    for runs in found["runs"]:
        assert [run["nfe"][-1] for run in runs] == [12, 12, 11]
        assert all(len(floats(run["t"])) == len(run["phase"]) * found["side"] ** 2 for run in runs)


def test_the_findings_on_the_page_are_the_kept_ones(monkeypatch, tmp_path):
    network = SimpleNamespace(name=PFT, hash=evidence.kept("context_helps", PFT)["hash"])
    shown = how.findings(network)
    for key, study in how.FINDINGS.items():
        kept = evidence.kept(study, PFT)
        assert shown[key]["verdict"] == STUDIES[study].fn.about.line(kept) and list(shown[key]["t"]) == list(kept["t"])
    own = evidence.kept("context_helps", PFT)["t"]["0.2"]["own"]["change"]
    assert shown["helps"]["t"]["0.2"]["change"] == [point["value"] for point in own]
    density = evidence.kept("context_reduces_uncertainty", PFT)["t"]["0.1"]["density"]
    assert shown["reduces"]["t"]["0.1"] == {"x": density["at"], "plain": density["plain"], "own": density["own"]}
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    assert how.findings(network) == {}


@needs_chromium
def test_how_it_works_is_alive(page, served):  # noqa: F811
    page.goto(served.address + "?tab=how-it-works")
    page.wait_for_selector("#how-page [data-ready='1'], #how-page[data-ready='1']", state="attached")
    drawn = page.inner_text("[data-mini=times] .pfg-said")
    page.click("text=Draw again")
    page.wait_for_function(
        "(drawn) => document.querySelector('[data-mini=times] .pfg-said').innerText !== drawn", arg=drawn
    )
    page.select_option("[data-mini=times] select", "0")
    said = page.inner_text("[data-mini=times] .pfg-said")
    assert said.split("mean t ")[1][:4] == said.split("largest ")[1][:4]  # one clock: mean and largest agree
    page.focus("[data-mini=changes] input")
    page.keyboard.press("Home")
    assert page.inner_text("[data-mini=changes] output") == "0.1"
    assert "recorded run" in page.inner_text("[data-mini=context]")  # none is shipped in this world
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.wait_for_function("document.querySelector('.pfg').clientWidth > 1700")  # a wide screen is used
    page.set_viewport_size({"width": 1400, "height": 900})
    page.click("[data-width='0']")
    assert "mean t of a patch is 0.06, 0.17, 0.42, 0.67, 0.91" in page.inner_text("[data-mini=densities] .pfg-said")
    page.focus("[data-set=nfe]")
    page.keyboard.press("End")
    assert page.inner_text("[data-of=nfe]") == "end"
    assert page.locator("[data-run] .pfg-said:text('Result: all patches are at t 1.00')").count() == 3


@needs_chromium
def test_the_pictures_move_until_they_are_paused(page, served):  # noqa: F811
    page.goto(served.address + "?tab=how-it-works")
    page.wait_for_selector("#how-page [data-ready='1'], #how-page[data-ready='1']", state="attached")
    said = "document.querySelector('[data-line=training] .pfg-said').textContent"
    for begin in ("2.", "4."):
        page.wait_for_function(f"{said}.startsWith('{begin}')")
    page.click("text=Pause the pictures")
    before = page.evaluate(said)
    page.mouse.move(5, 5)
    page.wait_for_timeout(1500)
    assert page.evaluate(said) == before
    page.click("text=Let the pictures move")
    page.wait_for_function(
        "(before) => document.querySelector('[data-line=training] .pfg-said').textContent !== before", arg=before
    )


@needs_chromium
def test_run_waits_for_what_the_address_asks_for(page, served, monkeypatch):  # noqa: F811
    """That answer would take the run's place in the viewer, and a tour begun at once would wait for it for ever."""
    asked = Explore.from_link
    monkeypatch.setattr(Explore, "from_link", lambda *args: (time.sleep(1), asked(*args))[1])
    page.goto(served.address + "?network=nano&images=1&budget=4")
    page.click("#explore-run")
    page.wait_for_function("window.__pf.viewer?.runs[0]?.status.state === 'done'")
    page.wait_for_timeout(300)
    assert page.evaluate("window.__pf.viewer.runs.length") == 1


@needs_chromium
def test_the_tour_goes_step_by_step(page, served):  # noqa: F811
    page.goto(served.address + "?network=nano&images=2&budget=8")
    page.click(".pft-start")
    for step in range(1, 6):
        page.wait_for_selector(f".pft-card[data-step='{step}'][data-ready=true]")
        if step == 2:
            assert page.evaluate("window.__pf.viewer.runs[0].status.state") == "done"
            first = page.evaluate("window.__pf.viewer.runs[0].meta.seeds[0]")
            assert f"Seed {first} was drawn" in page.inner_text(".pft-card p")
            assert page.input_value("#explore-seed input") == str(first) != "0"
        if step == 3:
            seen = page.evaluate(
                "(() => { const v = window.__pf.viewer; return [...v.runs[0].frames[v.frameIndex(0)].t] })()"
            )
            assert max(seen) - min(seen) > 0.05  # patches stand apart in this pass
        if step == 4:
            assert page.evaluate("window.__pf.viewer.pin.patch") >= 0 and "Row" in page.inner_text(
                "#explore-viewer .pfv-say"
            )
        if step == 5:
            assert page.locator("#compare-viewer .pfv-run").count() == 2
            assert page.inner_text("#compare-viewer .pfv-measured p") in page.inner_text(".pft-card p")
            break
        page.click(".pft-card [data-go=next]")
    page.click(".pft-card [data-go=back]")  # to what stands in another tab
    page.wait_for_selector(".pft-card[data-step='4'][data-ready=true]")
    assert page.is_visible("#explore-viewer .pfv-say")
    page.keyboard.press("Escape")
    assert page.locator(".pft-card").count() == 0
    page.click(".pft-start")
    page.wait_for_selector(".pft-card[data-step='1'][data-ready=true]")
    shown = "window.__pf.viewer.runs[0].id"
    before = page.evaluate(shown)
    leave = """async () => {
        document.querySelector(".pft-card [data-go=next]").click();
        await new Promise((later) => setTimeout(later));  // it has asked for a seed, and looks again in 60 ms
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    }"""
    page.evaluate(leave)  # in the page: by hand it may come after the answer. The step ends here: it starts no run
    page.wait_for_timeout(1000)
    assert page.evaluate(shown) == before
