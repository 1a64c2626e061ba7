"""The brush on the patch grid: what the server takes from it, and painting in Chromium by pointer, touch and keys."""

import gradio as gr
import pytest
from chromium import PATIENCE
from test_browser import browser, page, pytestmark  # noqa: F401

from app.components.painter.painter import Painter, chosen_of, painting, values_of
from app.private import patient_start
from app.server.routes import routes
from app.server.static import head
from app.state import AppState
from pf_core.errors import InputError
from pf_core.patches import PatchGrid

GRID = PatchGrid(16, 24, 4)  # 4 rows, 6 columns
N = GRID.n


def test_what_is_left_out_of_an_update_stays():
    assert painting() == {} and painting(image=None) == {"image": None}
    assert painting(GRID, values=[0.5], chosen=[3]) == {"grid": [4, 6], "values": [0.5], "chosen": [3]}


def test_what_the_browser_sent_is_checked():
    assert values_of({"values": [0, 1] * (N // 2)}, GRID) == [0.0, 1.0] * (N // 2)
    assert chosen_of({"chosen": [5, 2.0, 5]}, GRID) == [2, 5] and chosen_of({"chosen": []}, GRID) == []
    for wrong in (None, {}, {"values": None}, {"values": [0.5]}, {"values": ["a"] * N}, {"values": [True] * N}):
        with pytest.raises(InputError, match=r"number for each of 24 patches"):
            values_of(wrong, GRID)
    for value in (1.1, -0.1):
        with pytest.raises(InputError, match="between 0 and 1"):
            values_of({"values": [value] * N}, GRID)
    for wrong in (None, [], {"chosen": 3}, {"chosen": [N]}, {"chosen": [-1]}, {"chosen": [0.5]}, {"chosen": [None]}):
        with pytest.raises(InputError, match="numbered 0 to 23"):
            chosen_of(wrong, GRID)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A page with two painters; the values that their handlers are given are kept in `heard`."""
    state = AppState(recordings=tmp_path_factory.mktemp("none"))
    state.heard = []

    def hear(value):
        state.heard.append(value)

    with gr.Blocks() as demo:
        times = Painter(painting(GRID, values=[0.5] * N), mode="values", brush=0.9, elem_id="times")
        patches = Painter(painting(GRID, chosen=[0]), elem_id="patches")
        for painter in (times, patches):
            painter.painted(hear, painter, None, queue=False, trigger_mode="always_last")
        answer = gr.Button("answer", elem_id="answer")
        answer.click(lambda: (painting(image=None), painting(chosen=[1, 2])), None, [times, patches], queue=False)
    options = {"head": head(), "app_kwargs": {"routes": routes(state)}, "run_history": False}
    with patient_start():
        _, state.address, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
    yield state
    demo.close()


def open_page(page, served):  # noqa: F811
    served.heard.clear()
    page.goto(served.address)
    page.wait_for_function("(window.__pf?.all('painter') ?? []).filter((p) => p.ready).length === 2")


def heard(page, served, name, expected):  # noqa: F811
    """Wait until this is the value that the last event's handler was given."""
    for _ in range(600):
        if served.heard and served.heard[-1][name] == expected:
            return
        page.wait_for_timeout(100)
    assert served.heard and served.heard[-1][name] == expected


def spot(page, name, row, column):  # noqa: F811
    box = page.locator(f"#{name} canvas").bounding_box()
    return box["x"] + (column + 0.5) * box["width"] / 6, box["y"] + (row + 0.5) * box["height"] / 4


def stroke(page, name, start, end, button="left"):  # noqa: F811
    page.mouse.move(*spot(page, name, *start))
    page.mouse.down(button=button)
    page.mouse.move(*spot(page, name, *end))
    page.mouse.up(button=button)


def test_painting_values_with_the_pointer(page, served):  # noqa: F811
    open_page(page, served)
    stroke(page, "times", (1, 0), (1, 5))  # one quick move leaves no gaps
    row = [0.5] * 6 + [0.9] * 6 + [0.5] * 12
    heard(page, served, "values", row)
    assert served.heard == [{"grid": [4, 6], "values": row, "chosen": [], "image": None}]
    assert "t from 0.50 to 0.90" in page.inner_text("#times .pfp-summary")
    stroke(page, "times", (1, 3), (1, 4), button="right")  # erases
    heard(page, served, "values", [*row[:9], 0.5, 0.5, *row[11:]])
    page.keyboard.press("Control+z")
    heard(page, served, "values", row)
    page.click("#times [data-act=undo]")
    heard(page, served, "values", [0.5] * N)
    assert page.is_disabled("#times [data-act=undo]") and page.is_enabled("#times [data-act=redo]")
    page.click("#times [data-act=redo]")
    page.click("#times .pfp-more summary")
    page.click("#times [data-act=invert]")
    heard(page, served, "values", [0.5] * 6 + [0.1] * 6 + [0.5] * 12)
    page.click("#answer")  # an answer that names no values takes none back, and undo still knows them
    page.wait_for_function("document.querySelector('#patches .pfp-summary').textContent.startsWith('2 of 24')")
    page.click("#times [data-act=undo]")
    heard(page, served, "values", row)
    page.click("#times [data-act=none]")
    heard(page, served, "values", [0.5] * N)
    page.locator("#times [data-set=value]").fill("0.25")
    page.click("#times [data-act=all]")
    heard(page, served, "values", [0.25] * N)


def test_choosing_patches_with_keys_alone(page, served):  # noqa: F811
    open_page(page, served)
    page.focus("#patches canvas")

    def keys(*pressed):
        for key in pressed:
            page.keyboard.press(key)

    keys("ArrowRight", "ArrowDown", "Space")
    heard(page, served, "chosen", [0, 7])
    assert page.inner_text("#patches .pfp-live") == "Row 2, column 2: chosen"
    keys("r", "Space", "ArrowRight", "ArrowDown", "Enter")  # a rectangle between two corners
    heard(page, served, "chosen", [0, 7, 8, 13, 14])
    keys("Space", "ArrowUp", "Escape", "r", "e", "]", "Space")  # a corner dropped; then erase 2 x 2
    heard(page, served, "chosen", [0, 7, 13])
    keys("Control+z")
    heard(page, served, "chosen", [0, 7, 8, 13, 14])
    keys("Control+Shift+z", "i")
    heard(page, served, "chosen", sorted(set(range(N)) - {0, 7, 13}))
    keys("a")
    heard(page, served, "chosen", list(range(N)))
    keys("n")
    heard(page, served, "chosen", [])


def test_the_brush_begins_with_two_patches_on_a_fine_grid(page, served):  # noqa: F811
    open_page(page, served)
    sizes = """(all) => all.map((grid) => {
      const [painter] = window.__pf.all("painter");
      painter.show({ grid, values: Array(grid[0] * grid[1]).fill(0.5) });
      return painter.size;
    })"""
    assert page.evaluate(sizes, [[16, 16], [8, 8]]) == [2, 1]
    page.evaluate("window.__pf.all('painter')[0].set('size', 3)")
    assert page.evaluate(sizes, [[16, 16]]) == [3]  # a person's own choice stays
    page.mouse.move(*spot(page, "times", 1, 1))
    page.mouse.down()
    times = "window.__pf.within('painter', '#times')"
    page.evaluate(f"{times}.show({{ grid: [2, 3], values: Array(6).fill(0.5) }})")  # in mid-stroke
    page.mouse.move(*spot(page, "times", 2, 2))
    page.mouse.up()
    assert page.evaluate(f"{times}.painting.cells") == [0.5] * 6


def test_a_finger_paints(browser, served):  # noqa: F811
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()  # noqa: F811
    open_page(page, served)
    page.touchscreen.tap(*spot(page, "patches", 2, 3))
    heard(page, served, "chosen", [0, 15])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#patches canvas").get_attribute("aria-label").startswith("Patches. Arrow keys")
    context.close()
