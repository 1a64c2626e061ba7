"""`make bench-ui`: what a person waits for, measured in Chromium: first paint, first frame, a word's map, scrubbing,
bytes sent.

Four runs of 64 forwards of one image, once of the network that the page opens with, once at 64 pixels with random
weights (noisy: the hardest to send); one run of four images at 64 NFE, from the press to its first frame and end; and
one of a prompt at 256 patches, from a word that is pointed at to its map, at frames that it was not yet made for.
The answer depends on what else the machine does; the line above the table says how busy it was.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from chromium import CHROMIUM, FLAGS, settled  # noqa: E402

from app.state import AppState  # noqa: E402
from app.ui import launch  # noqa: E402
from pf_core.models import build, checkpoint, preset  # noqa: E402
from pf_core.presets import PFT  # noqa: E402
from pf_core.samplers import SAMPLERS  # noqa: E402
from pf_core.sampling.run import SampleSpec  # noqa: E402

RUNS, NFE, PLACES = 4, 64, 200
WORDS, PROMPT, FRAMES = "scenes-pft", "a red mushroom left of a blue house", 12
ENDED = """(n) => window.__pf?.viewer?.ready && window.__pf.viewer.runs.length === n
  && window.__pf.viewer.runs.every((run) => !run.active && run.frames.length === run.status.ready)"""
SCRUB = """async (places) => {
  const took = [], drawn = [];
  for (let k = 0; k < places; k += 1) {
    const begin = performance.now();
    await window.__pf.viewer.go((k * 29) % window.__pf.viewer.frames);
    took.push(performance.now() - begin);
    const draw = performance.now();
    window.__pf.viewer.draw();
    drawn.push(performance.now() - draw);
  }
  return [took, drawn].map((times) => times.sort((a, b) => a - b));
}"""


POINT = """async (frames) => {
  const { viewer } = window.__pf;
  const said = () => document.querySelector("figure[data-panel=word] figcaption span").textContent;
  const until = async (there) => {
    while (said().startsWith("attention") !== there) await new Promise(requestAnimationFrame);
  };
  const took = [];
  viewer.pause();
  for (let k = 0; k < frames; k += 1) {
    await viewer.go(k);
    const begin = performance.now();
    document.querySelector("[data-word='2']").dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    await until(true);
    took.push(performance.now() - begin);
    viewer.root.dispatchEvent(new PointerEvent("pointerleave"));
    await until(false);
  }
  return took.sort((a, b) => a - b);
}"""


def noisy(folder: Path) -> str:
    """A network of 64 pixels with random weights, whose pictures foretell little of each other."""
    torch.manual_seed(0)
    model = build(preset("mini", input_size=64))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "pos_embed":
                parameter.copy_(0.1 * torch.randn_like(parameter))
    checkpoint.save(folder / "random64.safetensors", model, [f"class {i}" for i in range(10)], {})
    return "random64"


def percentile(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))]


def first_paint(page, address: str) -> tuple[float, float]:
    """Milliseconds from the address bar to the first paint, and to the first frame of the recording that plays."""
    page.goto(address)
    shown = "() => window.__pf?.viewer?.ready && window.__pf.viewer.player.playing && performance.now()"
    frame = page.wait_for_function(shown, polling="raf").json_value()
    return page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"), frame


def first_frame(page, address: str, network: str) -> tuple[float, float]:
    """Milliseconds from Run to the first frame of a run of four images, and to its end."""
    page.goto(f"{address}?network={network}&sampler=look_ahead&images=4&budget={NFE}")
    page.wait_for_function("() => window.__pf?.viewer && !document.querySelector('#explore-run').disabled")
    page.wait_for_timeout(1000)
    began = page.evaluate("(window.before = window.__pf.viewer.runs[0]?.id, performance.now())")
    page.click("#explore-run")
    shown = "() => window.__pf.viewer.runs[0]?.id !== window.before && window.__pf.viewer.ready && performance.now()"
    ended = page.wait_for_function(shown, polling="raf").json_value()
    page.wait_for_function(ENDED, arg=1)
    return ended - began, page.evaluate("performance.now()") - began


def word_map(page, address: str) -> list[float]:
    """Milliseconds from pointing at a word of a prompt to its map, at several frames of a run, sorted."""
    page.goto(f"{address}?{urlencode({'network': WORDS, 'label': PROMPT, 'images': 1, 'budget': 2 * FRAMES})}")
    settled(page)
    page.click("#explore-run")
    page.wait_for_function(ENDED, arg=1)
    page.wait_for_selector("[data-word='2']")
    return page.evaluate(POINT, FRAMES)


def four(state: AppState, network: str) -> list[dict]:
    """Manifest entries of four runs, begun."""
    names = [name for name in SAMPLERS][-RUNS:]
    specs = [SampleSpec(network, name, nfe=NFE, seeds=[0], labels=[0]) for name in names]
    return [{"id": (run := state.start(spec)).id, "label": run.label} for spec in specs]


def sent(page, runs: list[dict]) -> float:
    """Megabytes of frames that came over the wire until the viewer had all of these runs."""
    sizes = []
    note = lambda reply: "/frames" in reply.url and sizes.append(reply)  # noqa: E731
    page.on("response", note)
    page.evaluate("(runs) => window.__pf.viewer.show({ runs })", runs)
    page.wait_for_function("(id) => window.__pf.viewer.runs[0]?.id === id", arg=runs[0]["id"])
    page.wait_for_function(ENDED, arg=len(runs))
    page.remove_listener("response", note)
    return sum(reply.request.sizes()["responseBodySize"] for reply in sizes) / 1e6


def bench(page, state: AppState, networks: dict[str, str]) -> list[tuple[str, str, str]]:
    """(what, measured, asked for)."""
    visits = [first_paint(page, state.address) for _ in range(3)]
    rows = [
        ("first paint, three visits", ", ".join(f"{paint:.0f}" for paint, _ in visits) + " ms", ""),
        ("first frame, nothing clicked", ", ".join(f"{frame:.0f}" for _, frame in visits) + " ms", "2000 ms"),
    ]
    first, end = first_frame(page, state.address, next(iter(networks.values())))
    rows.append(("Run of four images to its first frame", f"{first:.0f} ms", "1000 ms"))
    rows.append(("Run of four images to its end", f"{end:.0f} ms", "10000 ms"))
    if WORDS in checkpoint.files_here():
        took = word_map(page, state.address)
        p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
        rows.append((f"a word to its map, {WORDS}", f"p50 {p50:.0f} ms, p95 {p95:.0f} ms", "p50 300 ms"))
    for label, network in networks.items():
        runs = four(state, network)
        live = sent(page, runs)
        page.goto(state.address)
        settled(page)
        again = sent(page, runs)
        rows.append((f"payload, {label}", f"{again:.2f} MB at once, {live:.2f} MB live", "3 MB"))
        took, drawn = page.evaluate(SCRUB, PLACES)
        p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
        rows.append((f"scrub, {label}", f"p50 {p50:.1f} ms, p95 {p95:.1f} ms", "p95 20 ms"))
        p50, p95 = percentile(drawn, 0.5), percentile(drawn, 0.95)
        rows.append((f"drawing alone, {label}", f"p50 {p50:.1f} ms, p95 {p95:.1f} ms", ""))
    return rows


def main() -> None:
    from playwright.sync_api import sync_playwright

    torch.set_num_threads(max(1, min(4, os.cpu_count() or 1)))
    with tempfile.TemporaryDirectory() as folder:
        here = checkpoint.files_here()
        shipped = PFT if PFT in here else here[0]
        for name in {shipped, WORDS} & set(here):
            shutil.copy(checkpoint.find(name), folder)
        checkpoint.FOLDER = Path(folder)
        networks = {shipped: shipped, "64 px, random weights": noisy(Path(folder))}
        state = AppState()
        demo, _, state.address = launch(state)
        state.warm_up(shipped)
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(180_000)
            rows = bench(page, state, networks)
            browser.close()
        demo.close()
    print(f"{RUNS} runs x {NFE} forwards, one image each; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for what, measured, asked in rows:
        print(f"{what:38} {measured:34} {'asked: under ' + asked if asked else ''}")


if __name__ == "__main__":
    main()
