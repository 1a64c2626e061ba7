"""Explore's "Your own picture": its handlers, and once in Chromium: upload, paint, undo, see the error."""

import base64
import io

import gradio as gr
import pytest
from app_world import answered, networks, state  # noqa: F401
from PIL import Image
from test_browser import browser, page, pytestmark, served  # noqa: F401
from text_world import lively

from app.controls import NO_CLASS
from app.tabs.explore.own import OwnPicture
from pf_core.data.shapes import SHAPES
from pf_core.models import checkpoint

HALF = [0.5] * 16  # the nano network has 4 x 4 patches, the oracle 8 x 8


@pytest.fixture
def own(state):  # noqa: F811
    with gr.Blocks():
        return OwnPicture(state)


@pytest.fixture
def upload(tmp_path):
    path = tmp_path / "mine.jpg"
    Image.effect_mandelbrot((90, 60), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(path)
    return str(path)


def painted(values=HALF):
    return {"grid": [4, 4], "values": values, "chosen": [], "image": None}


CHOSEN = ("network", "label", "path", "index", "seed")


def chosen(*values):
    return dict(zip(CHOSEN, values, strict=True))


def test_a_data_image_is_looked_at_under_its_own_class(own):
    found = own.on_picture(0.5, {}, **chosen("shapes-exact", NO_CLASS, "", 3, 0))
    assert found[own.status] == "" and found[own.label]["value"] in SHAPES
    assert "Image 3 of shapes" in found[own.view]["about"]


def test_a_data_image_of_a_class_that_the_network_lacks_is_looked_at_under_none_and_that_is_said(own):
    found = own.on_picture(0.5, {}, **chosen("nano", NO_CLASS, "", 3, 0))
    view, painter, label = found[own.view], found[own.painter], found[own.label]["value"]
    assert found[own.status] == "" and label == NO_CLASS and "nano has no class '" in view["about"]
    assert painter["grid"] == [4, 4] and painter["values"] == HALF and painter["image"].startswith("data:image/png")
    assert view["t"] == HALF and len(view["sigma"]) == len(view["error"]) == 16 and min(view["error"]) > 0
    assert "Image 3 of shapes" in view["about"] and "Spearman" in view["sentence"]


def test_what_changes_changes_the_look_and_nothing_else(own):
    given = chosen("nano", "class 1", "", 0, 0)
    found = own.on_look(painted(), **given)
    first = found[own.view]
    assert set(found) == {own.view, own.status} and found[own.status] == ""
    assert own.on_look(painted(), **given)[own.view]["error"] == first["error"]
    for changed in ({"label": "class 2"}, {"index": 1}, {"seed": 1}):
        assert own.on_look(painted(), **given | changed)[own.view]["error"] != first["error"]
    ahead = own.on_look(painted([0.9, *HALF[1:]]), **given)[own.view]
    assert ahead["t"][0] == 0.9 and ahead["images"]["xt"] != first["images"]["xt"]
    found = own.on_time(0.2, **given)
    assert found[own.view]["t"] == found[own.painter]["values"] == [0.2] * 16 and found[own.status] == ""


def test_painted_times_stay_with_another_picture_or_network(own, upload):
    times = painted([0.9, *HALF[1:]])
    found = own.on_file(upload, 0.5, times, **chosen("nano", "class 1", "", 0, 0))
    assert found[own.path] == upload and found[own.status] == "" and found[own.label]["value"] == NO_CLASS
    assert "mine.jpg" in found[own.view]["about"]
    assert found[own.view]["t"][0] == 0.9 and "values" not in found[own.painter]
    found = own.on_network(0.5, times, **chosen("plain", "class 1", upload, 0, 0), was="nano")
    view = found[own.view]
    assert view["sigma"] is None and found[own.label]["value"] == "class 1" and "no difficulty" in view["sentence"]
    found = own.on_index(0.5, times, **chosen("nano", "class 1", upload, 2, 0))
    assert found[own.file] is None and found[own.path] == "" and "Image 2" in found[own.view]["about"]


def test_a_picture_stays_when_the_number_is_left_as_it_was(own, upload):
    given = {"t": 0.5, "painted": painted()} | chosen("nano", "class 1", upload, 2, 0)
    assert own.on_left(2, **given) == {own.asked: 2}
    found = own.on_left(0, **given)
    assert found[own.path] == "" and found[own.asked] == 2 and "Image 2" in found[own.view]["about"]


def test_the_oracle_says_when_it_does_not_know_a_picture(own, upload):
    found = own.on_file(upload, 0.5, painted(), **chosen("shapes-exact", NO_CLASS, "", 0, 0))
    painter = found[own.painter]
    assert "knows only its own images" in found[own.view]["about"]
    assert painter["grid"] == [8, 8] and painter["values"] == [0.5] * 64  # what was painted does not fit this grid
    found = own.on_picture(0.5, {}, **chosen("shapes-exact", NO_CLASS, "", 0, 0))
    assert "knows only" not in found[own.view]["about"]


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "../x"},
        {"network": None},
        {"label": "cat"},
        {"path": "/etc/none"},
        {"index": -1},
        {"index": "x"},
        {"seed": 1e99},
        {"painted": None},
        {"painted": painted([2.0] * 16)},
        {"painted": painted([0.5] * 15)},
    ],
)
def test_bad_input_is_a_sentence(own, changes):
    given = {"painted": painted(), "network": "nano", "label": "class 1", "path": "", "index": 0, "seed": 0} | changes
    found = answered(own.on_look, own.status, **given)
    said = found[own.status]
    assert said.endswith((".", ")")) and "\n" not in said and own.view not in found


def test_a_network_of_prompts_looks_at_oblong_pictures_under_their_captions(own, networks, upload):  # noqa: F811
    record = {"recipe": {"dataset": "signs", "data_settings": {"variety": 0.0}}}
    checkpoint.save(networks / "signs.safetensors", lively(input_size=(32, 96)), [], record)
    found = own.on_network(0.5, painted(), **chosen("signs", NO_CLASS, "", 3, 0), was="nano")
    view, painter, label = found[own.view], found[own.painter], found[own.label]
    assert view["grid"] == painter["grid"] == [4, 12] and len(view["error"]) == len(view["t"]) == 48
    assert label["label"] == "Prompt" and label["allow_custom_value"]
    found = own.on_picture(0.5, painter, **chosen("signs", label["value"], "", 3, 0))
    view, caption = found[own.view], found[own.label]["value"]
    assert '"' in caption and f"Prompt {caption}, noise seed 0" in view["about"] and "Image 3 of signs" in view["about"]
    assert size(view["images"]["x1_hat"]) == size(found[own.painter]["image"]) == (96, 32)
    times = painter | {"values": [0.9, *[0.5] * 47]}
    other = own.on_look(times, **chosen("signs", 'a red neon sign that reads "AX7" zebra', "", 3, 0))[own.view]
    assert other["t"][0] == 0.9 and other["error"] != view["error"]
    assert other["about"].endswith("This network does not know: zebra.")
    none = own.on_time(0.2, **chosen("signs", label["choices"][-1], "", 3, 0))[own.view]
    assert "Prompt none, noise seed 0" in none["about"] and none["t"] == [0.2] * 48
    found = own.on_file(upload, 0.5, times, **chosen("signs", "a cake", "", 3, 0))
    assert "mine.jpg" in found[own.view]["about"] and size(found[own.painter]["image"]) == (96, 32)
    assert found[own.label]["value"] == label["choices"][-1]
    found = answered(own.on_look, own.status, **chosen("signs", "x" * 301, "", 3, 0), painted=times)
    assert "at most 300 characters" in found[own.status]
    back = own.on_network(0.5, times, **chosen("nano", "a cake", "", 3, 0), was="signs")
    assert back[own.painter]["grid"] == [4, 4] and back[own.label]["value"] == NO_CLASS


def size(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).size


def test_a_bad_file_leaves_all_as_it_was(own, tmp_path):
    path = tmp_path / "no.png"
    path.write_bytes(b"not a picture")
    given = chosen("nano", "class 1", "", 0, 0)
    found = answered(own.on_file, own.status, file=str(path), t=0.5, painted=painted(), **given)
    assert "no.png is not a picture" in found[own.status] and set(found) == {own.status}


def test_upload_paint_undo_and_see_the_error(page, served, upload):  # noqa: F811
    page.goto(served.address)
    page.get_by_role("tab", name="Your own picture").click()
    page.wait_for_function("location.search.includes('tab=own')")
    page.go_back()
    page.wait_for_selector("[data-tab-id=run][aria-selected=true]")
    page.go_forward()
    page.wait_for_selector("[data-tab-id=own][aria-selected=true]")
    page.reload()
    page.wait_for_selector("[data-tab-id=own][aria-selected=true]")

    def seen(condition):
        page.wait_for_function(f"() => {{ const v = window.__pf?.look?.value; return v && ({condition}) }}")

    seen("v.about.includes('Image 0 of shapes') && v.t.every((t) => t === 0.5)")
    page.set_input_files("#own-file input[type=file]", upload)
    seen("v.about.includes('mine.jpg')")
    page.wait_for_function("(window.__pf?.all('painter') ?? []).find((p) => p.root.closest('#own-painter')).image")
    box = page.locator("#own-painter canvas").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 5)
    page.mouse.up()
    seen("v.t.slice(0, 4).every((t) => t === 0.9) && v.t[4] === 0.5")
    assert "Spearman" in page.inner_text(".pfl-said") and page.locator("circle[data-patch]").count() == 16
    frame = page.locator("figure[data-panel=error] .pfl-frame").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] * 0.55, frame["y"] + 4)
    page.wait_for_function("document.querySelector('.pfl-read').textContent.startsWith('Row 1, column 3: t 0.90')")
    error = page.evaluate("window.__pf.look.value.error[2].toFixed(3)")
    assert f"true error {error}" in page.inner_text(".pfl-read")
    assert page.locator(".pfl-mark:visible").count() == 4 and page.locator("circle.pfl-on").count() == 1
    page.focus("#own-painter canvas")
    page.keyboard.press("Control+z")
    seen("v.t.every((t) => t === 0.5)")
    page.locator("#own-t input[type=number]").fill("0.8")
    seen("v.t.every((t) => t === 0.8)")
    page.wait_for_function("document.querySelector('#own-painter .pfp-summary').textContent === 't 0.80 everywhere'")
    page.click("#own-other")
    seen("v.about.includes('of shapes') && v.t[0] === 0.8")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(
        "document.querySelector('figure[data-panel=xt]').clientWidth === 160"
    )  # whole pixels, two a row
    page.wait_for_function("document.documentElement.scrollWidth <= 390")
