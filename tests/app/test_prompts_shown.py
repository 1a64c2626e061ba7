"""The words of a prompt over a run's maps, and what a judge reads under its pictures; once in Chromium."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from app_world import client, ended, networks, state  # noqa: F401
from PIL import Image
from test_browser import SAYS, browser, page, run, served, visit  # noqa: F401
from test_browser import pytestmark as chromium
from text_world import lively

from app.server import prompts
from pf_core.data.signs import Signs
from pf_core.models import checkpoint
from pf_core.patches import PatchGrid
from pf_core.sampling.export import word_colours
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.word_maps import word_maps

SIGN = 'a red sign that reads "AX7" zebra'
CUT = " ".join(["a cake"] * 8)  # its context has 14 words beside the start and the end
RECORD = {"recipe": {"dataset": "signs", "data_settings": {"variety": 0.0}}, "prompts": [SIGN]}


@pytest.fixture(autouse=True)
def signs(networks):  # noqa: F811
    write(networks)


def write(folder):
    checkpoint.save(folder / "signs.safetensors", lively(input_size=(32, 96)), [], RECORD)


def drawn(state, **changes):  # noqa: F811
    asked = {"checkpoint": "signs", "sampler": "euler", "nfe": 2, "labels": [SIGN, None], "seeds": [0, 1]}
    return ended(state.start(SampleSpec(**asked | changes)))


def test_a_run_of_prompts_tells_its_words(state, client):  # noqa: F811
    told = client.get(f"/pf/runs/{drawn(state).id}").json()
    first, none = told["words"]
    assert [w["text"] for w in first] == ["a", "red", "sign", "that", "reads", '"', "A", "X", "7", '"', "zebra"]
    assert not first[-1]["known"] and first[0]["known"] and all(w["taken"] for w in first) and none == []
    assert told["reads"] == {"verb": "reads", "unit": "letter", "lacks": "word in quotes"}
    assert told["losses"] == ["This network does not know: zebra.", ""]


def test_a_prompt_that_is_cut_at_the_contexts_end_has_no_maps_of_what_is_dropped(state, client):  # noqa: F811
    one = drawn(state, labels=[CUT], seeds=[0])
    told = client.get(f"/pf/runs/{one.id}").json()
    assert [w["taken"] for w in told["words"][0]] == [True] * 14 + [False] * 2
    assert told["losses"] == ["The prompt is too long for this network, which drops: a cake."]
    maps = client.get(f"/pf/runs/{one.id}/words?frame=1&image=0").json()
    assert maps["words"] == ["a", "cake"] * 7 and len(maps["maps"]) == 14


def test_a_run_of_classes_has_no_words_and_no_maps(state, client):  # noqa: F811
    plain = drawn(state, checkpoint="nano", labels=[None])
    assert "words" not in client.get(f"/pf/runs/{plain.id}").json()
    check_refused(client, f"/pf/runs/{plain.id}/words?frame=0&image=0", "takes no prompts")


def test_the_maps_of_a_frame_are_made_once_and_on_demand(state, client, monkeypatch):  # noqa: F811
    made = []
    monkeypatch.setattr(prompts, "word_maps", lambda *given: made.append(given) or word_maps(*given))
    one = drawn(state)
    assert made == []
    for frame in (1, 0, 1, 0):
        found = client.get(f"/pf/runs/{one.id}/words?frame={frame}&image=0").json()
    assert len(made) == 2
    there = one.trajectory.frames[0]
    again = word_maps(state.bundle("signs"), there.x[0], there.t[0], SIGN)
    assert found["words"] == again.words
    assert torch.allclose(torch.tensor(found["maps"]), again.maps.flatten(1), atol=1e-5)
    assert client.get(f"/pf/runs/{one.id}/words?frame=0&image=1").json() == {"words": [], "maps": []}


def check_refused(client, address, says):  # noqa: F811
    reply = client.get(address)
    assert reply.status_code in (400, 404) and says in reply.json()["error"]


def test_wrong_questions_are_sentences(state, client):  # noqa: F811
    one = drawn(state)
    for wrong in ("frame=2&image=0", "frame=0&image=2", "frame=x&image=0", "frame=-1"):
        check_refused(client, f"/pf/runs/{one.id}/words?{wrong}", "must ")
    check_refused(client, "/pf/runs/none/words", "not kept")
    one.trajectory.x1 = None
    check_refused(client, f"/pf/runs/{one.id}/read", "no result")


def test_another_network_under_the_name_is_not_asked(state, client):  # noqa: F811
    one = drawn(state)
    one.spec = replace(one.spec, checkpoint_hash="another")
    assert "words" not in client.get(f"/pf/runs/{one.id}").json()
    check_refused(client, f"/pf/runs/{one.id}/words?frame=0&image=0", "another signs")
    one = drawn(state)
    one.trajectory.grid = PatchGrid(64, 64, 2)  # as a file may say
    check_refused(client, f"/pf/runs/{one.id}/words?frame=0&image=0", "another signs")


def test_a_slide_shows_the_map_of_a_word_of_the_prompt(state, client):  # noqa: F811
    one, plain = drawn(state), drawn(state, checkpoint="nano", labels=[None])
    asked = {"panels": ["word"], "images": [0, 1], "word": "sign", "word_place": 2, "width": 640, "bars": False}

    def preview(run, **changes):  # noqa: F811
        slides = json.dumps(asked | changes)
        return client.get("/pf/slides/preview", params={"runs": run.id, "kind": "gif", "slides": slides, "at": "1"})

    def colours(reply):
        return set(Image.open(io.BytesIO(reply.content)).convert("RGB").getdata())

    maps = json.loads(prompts.attended(state, one, 1, 0))["maps"][2]
    shown = word_colours(np.array(maps))  # the second image has no prompt: its map is grey
    assert {tuple(c) for c in shown.tolist()} <= colours(preview(one))
    assert not {tuple(c) for c in shown.tolist()} <= colours(preview(one, word_place=1))  # there stands "red"
    for each in (plain, one):  # one takes no prompts; of the other no word is asked for
        both, x = (preview(each, panels=panels, word="").content for panels in (["x", "word"], ["x"]))
        assert both == x and "choose another panel" in preview(each, word="").json()["error"]
    assert "at most 300 characters" in preview(one, word="x" * 301).json()["error"]


def test_what_the_results_read_is_told_letter_by_letter(state, client):  # noqa: F811
    one = drawn(state)
    one.trajectory.x1 = Signs(variety=0.0).batch(range(2), texts=["AQ7", "HI"]).images
    first, second = client.get(f"/pf/runs/{one.id}/read").json()["images"]
    assert first == {"asked": "AX7", "marks": [["A", True], ["Q", False], ["7", True]], "edits": 1}
    assert second["asked"] == "" and second["marks"] == [["H", True], ["I", True]]


SHOWN = """() => {
  const canvas = document.querySelector("figure[data-panel=word] canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size > 3 }"""

FIRST_PASS = """() => {
  const said = document.querySelector("figure[data-panel=word] figcaption").textContent;
  return said.includes('"sign"') && !said.includes("last pass") }"""


@chromium
def test_a_word_that_is_pointed_at_or_focused_shows_its_map_and_wrong_letters_are_marked(page, served):  # noqa: F811
    write(checkpoint.FOLDER)
    visit(page, served, "?network=signs&sampler=euler&images=1&budget=2&label=" + CUT.replace(" ", "+"))
    run(page)
    assert page.locator(".pfv-words button").count() == 14
    behind = page.locator(".pfv-words s")
    assert behind.all_inner_texts() == ["a", "cake"] and "Behind the end" in behind.first.get_attribute("title")
    assert "line-through" in behind.first.evaluate("(s) => getComputedStyle(s).textDecoration")
    behind.first.hover()
    behind.first.click()  # no word: nothing is shown for it
    assert "point at a word" in page.inner_text("figure[data-panel=word] figcaption")
    assert page.inner_text(".pfv-losses") == "The prompt is too long for this network, which drops: a cake."
    visit(page, served, "?network=signs&sampler=euler&images=2&budget=4&label=a+red+sign+that+reads+%22AX7%22+zebra")
    run(page)
    caption = "figure[data-panel=word] figcaption"
    assert "point at a word" in page.inner_text(caption) and not page.evaluate(SHOWN)
    assert page.locator(".pfv-words button").all_inner_texts()[:3] == ["a", "red", "sign"]
    assert page.inner_text(".pfv-losses") == "This network does not know: zebra."
    box = page.locator(".pfv-images canvas").first.bounding_box()
    assert box["width"] == pytest.approx(3 * box["height"], rel=0.05)  # as oblong as the picture
    page.hover(".pfv-words button >> text=sign")
    page.wait_for_function(SHOWN)
    assert '"sign"' in page.inner_text(caption) and "last pass" in page.inner_text(caption)
    page.hover(".pfv-film")
    page.wait_for_function(f"!({SHOWN})()")
    page.focus(".pfv-words [data-word='1']")
    page.wait_for_function(SHOWN)
    page.click(".pfv-words [data-word='2']")  # it stays
    page.hover(".pfv-film")
    page.keyboard.press("Home")
    page.wait_for_function(FIRST_PASS)
    assert page.evaluate(SHOWN)
    page.click("text=Export…")  # a slide has its map too
    page.wait_for_function("!document.querySelector('.pfx-save').disabled")
    assert page.is_checked(".pfx [data-of=word] input")
    assert 'attention to "sign"' in page.inner_text(".pfx-panels")
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('.pfv-read p')")
    assert page.inner_text(".pfv-read").startswith("The result reads ") and "AX7" in page.inner_text(".pfv-read")
    page.evaluate("""() => {  // one answer is lost: it is asked for again
      const [run] = window.__pf.viewer.runs;
      const lost = new Promise((_, lose) => (window.lose = () => lose(new Error("lost"))));
      run.ask = () => { delete run.ask; return lost; };
      run.read = null;
      window.__pf.viewer.schedule();
    }""")
    page.wait_for_function(SAYS, arg=[".pfv-read", "The result is being read."])
    page.evaluate("window.lose()")
    page.wait_for_function(SAYS, arg=[".pfv-read", "The result reads "])
    other = page.locator(".pfv-toggles [aria-pressed=true]:visible:not([data-panel=word])")
    while other.count():
        other.first.click()
    page.keyboard.press("f")
    page.wait_for_selector(".pfz[open] figure canvas")
