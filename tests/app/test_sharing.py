"""Links, exports and the queue in Chromium: what one person shares, another gets, and nothing else."""

from urllib.parse import quote

from app_world import networks, spec  # noqa: F401
from jobs_world import until
from test_browser import ENDED, browser, page, pytestmark, run, served, slow, visit  # noqa: F401

from app import links as recipes
from pf_core.sampling.trajectory import Trajectory

EDITS = [{"kind": "head_start", "patches": [5, 6], "outer": 1, "amount": 0.3}]

PREVIEWED = "!document.querySelector('.pfx-save').disabled"

CHOOSER = "input[data-testid^='Load recipe']"


def save(page, words, folder):  # noqa: F811
    with page.expect_download() as download:
        if words == "PNG":
            page.click("text=Export…")
            page.wait_for_function(PREVIEWED)  # the dialog grows as it comes, and moves what is clicked
            page.check("[name=kind][value=strip]", force=True)
            page.wait_for_function(PREVIEWED)
            page.click(".pfx-save")
        else:
            page.click(f".pfv-exports a >> text={words}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    page.keyboard.press("Escape")
    return path


def result(page):  # noqa: F811
    return page.evaluate("JSON.stringify([...window.__pf.viewer.runs[0].frames.at(-1).x])")


def load(page, path):  # noqa: F811
    before = page.evaluate("window.__pf.viewer.runs[0]?.id")
    page.set_input_files(
        "#explore-recipe input[type=file], input#explore-recipe, .gradio-container input[type=file]", path
    )
    page.wait_for_function("(before) => ![undefined, before].includes(window.__pf.viewer.runs[0]?.id)", arg=before)
    page.wait_for_function(ENDED)


def test_an_export_is_taken_back(page, served, tmp_path):  # noqa: F811
    visit(page, served, "?network=nano&sampler=dual_loop&images=2&budget=16&seed=5&n_inner=2")
    run(page)
    meant = result(page)
    files = [save(page, words, tmp_path) for words in ("PNG", "raw arrays", "recipe")]
    assert [f.name for f in files] == [f"nano-dual_loop-seed5.{kind}" for kind in ("png", "safetensors", "json")]
    assert Trajectory.load(files[1]).recipe["seeds"] == [5, 6]
    page.goto(served.address + "?network=nano")
    page.wait_for_selector("#explore-run")
    for path in files:
        load(page, path)
        assert result(page) == meant
    page.wait_for_selector("#explore-said >> text=run again")
    assert page.input_value("#explore-seed input") == "5"
    (tmp_path / "wrong.png").write_bytes(b"no picture")
    page.set_input_files(CHOOSER, tmp_path / "wrong.png")
    page.wait_for_function("document.querySelector('#explore-said').textContent.includes('wrong.png holds no recipe')")


def test_the_command_names_the_file_that_it_reads(page, served):  # noqa: F811
    visit(page, served)
    given = served.start(spec(nfe=8, edits=EDITS))
    page.evaluate("(id) => window.__pf.viewer.show({ runs: [{ id, label: 'edited' }] })", given.id)
    page.wait_for_function(ENDED)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-act=copy]")
    page.wait_for_function("document.querySelector('.pfv-note').textContent.includes('nano-look_ahead-seed0.json')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "python -m pf_core sample --recipe nano-look_ahead-seed0.json --out again.safetensors"


def test_a_link_whose_run_is_gone_makes_it_again(page, served):  # noqa: F811
    visit(page, served, "?network=nano&sampler=look_ahead&images=1&budget=8&seed=3")
    run(page)
    page.wait_for_function("location.search.includes(window.__pf.viewer.runs[0].id)")
    meant, link, gone = result(page), page.evaluate("location.href"), page.evaluate("window.__pf.viewer.runs[0].id")
    served.runs._things.clear()
    page.click(".pfv-exports a >> text=raw arrays")
    page.wait_for_function("document.querySelector('.pfv-note').textContent.includes('not kept here any more')")
    page.goto(link)
    noted = page.wrong[:]  # by the browser itself
    assert noted and all("404" in each and f"/{gone}" in each for each in noted)
    page.wrong.clear()
    page.wait_for_function(f"window.__pf?.viewer && ({ENDED})()")
    page.wait_for_selector("#explore-said >> text=made again from its link")
    assert result(page) == meant
    page.wait_for_function("(link) => location.href !== link", arg=link)
    edited = recipes.encode(served.start(spec(nfe=8, edits=EDITS)).spec)
    page.goto(f"{served.address}?run=gone&recipe={edited}")
    page.wait_for_function(f"window.__pf?.viewer && ({ENDED})()")
    assert "head start 0.3" in page.inner_text(".pfv-edits")


def test_a_link_that_names_a_foreign_picture_loads_nothing(page, served):  # noqa: F811
    text = "![a](http://pictures.example/y.png)<img src=http://pictures.example/z.png>"
    page.goto(f"{served.address}?network={quote(text)}")
    page.wait_for_selector("#explore-said p")
    assert text[:36] in page.inner_text("#explore-said")  # as it is; the page itself watches that nothing leaves


def test_two_people_take_turns_and_keep_their_own(page, served, slow):  # noqa: F811
    visit(page, served, "?network=nano&sampler=look_ahead&images=1&budget=250")
    slow.hold(4)
    page.click("#explore-run")
    page.wait_for_function("window.__pf.viewer.frames > 2")
    link = page.evaluate("location.href")
    other = page.context.new_page()
    other.goto(link)  # the second tab of a shared link ...
    other.wait_for_function("window.__pf?.viewer && window.__pf.viewer.frames > 2")
    before = len(served.runs)
    other.click("#explore-run")  # ... starts a run of its own, which does not stop the first
    until(lambda: len(served.runs) > before, "the second run")
    slow.pause = 0.05  # five passes a turn
    slow.hold(40)
    mine = "window.__pf.viewer.runs[0].id"
    other.wait_for_function(f"{mine} !== '{page.evaluate(mine)}' && window.__pf.viewer.frames > 2")
    first, second = (each.evaluate(mine) for each in (page, other))
    assert first != second and {served.runs.get(i).state for i in (first, second)} == {"running"}
    slow.go_on()
    for each in (page, other):
        each.wait_for_function(ENDED)
        assert each.evaluate("window.__pf.viewer.runs[0].status.state") == "done"
    assert page.evaluate("window.__pf.viewer.runs[0].id") == first
    other.close()
