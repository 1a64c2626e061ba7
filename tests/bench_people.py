"""`make bench-people`: what many people at once cost the server, in seconds and in memory.

The server is a process of its own; its memory is read from outside. A network of 64 pixels with random weights draws.
The answer depends on what else the machine does; the last line says how busy it was.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import httpx  # noqa: E402
import psutil  # noqa: E402

PEOPLE, WAITS, RUNS, EXPORTS = 200, 60, 200, 8
KINDS = ("mp4", "webp", "gif", "png")
MB = 2**20


def serve() -> None:
    """The server's process: prints its address, the names of the run's inputs and Compare's events, then serves."""
    from bench_ui import noisy

    from app.__main__ import give_memory_back
    from app.state import AppState
    from app.ui import launch
    from pf_core.models import checkpoint

    with tempfile.TemporaryDirectory() as folder:
        checkpoint.FOLDER = Path(folder)
        checkpoint.RUNS = Path(folder) / "runs"
        noisy(Path(folder))
        give_memory_back()
        state = AppState(recordings=Path(folder) / "none")
        demo, _, address = launch(state, quiet=True)
        known = {}
        for fn in (fn for fn in demo.fns.values() if fn.name):
            named = dict(zip(fn.input_keyword_names, fn.inputs, strict=False))
            known.setdefault(fn.name + "/" + "/".join(named), [fn._id, {k: c.value for k, c in named.items()}])
        print(json.dumps({"address": address, "known": known}, default=str), flush=True)
        demo.block_thread()


class Server:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
        told = json.loads(self.process.stdout.readline())
        self.known, self.measured = told["known"], psutil.Process(self.process.pid)
        self.web = httpx.Client(base_url=told["address"], timeout=600, trust_env=False)

    def memory(self) -> float:
        """MB that the server's process holds for itself (its libraries' pages left out)."""
        return self.measured.memory_full_info().uss / MB

    def event(self, name: str) -> tuple[int, dict]:
        return next(tuple(v) for k, v in self.known.items() if k.startswith(name))

    def ask(self, name: str, session: str, times: int = 1, **changes) -> list[str]:
        """Call an event as a page does, `times` at once; its answers as JSON."""
        index, values = self.event(name)
        data = {"fn_index": index, "session_hash": session, "data": list((values | changes).values())}
        for _ in range(times):
            self.web.post("/gradio_api/queue/join", json=data).raise_for_status()
        found = []
        with self.web.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as news:
            for line in news.iter_lines():
                told = json.loads(line[6:]) if line.startswith("data: ") else {}
                if told.get("msg") == "process_completed":
                    assert told["success"], told
                    found.append(json.dumps(told["output"]["data"]))
                if len(found) == times:
                    return found
        raise AssertionError("no answer")

    def call(self, name: str, session: str, **changes) -> list:
        """Call an event that is answered at once."""
        index, values = self.event(name)
        data = {"fn_index": index, "session_hash": session, "data": list((values | changes).values())}
        return self.web.post("/gradio_api/run/predict", json=data).raise_for_status().json()["data"]

    def run(self, session: str, **changes) -> str:
        """Start a run of Explore's; its id."""
        shown = self.call("on_run/before/network", session, network="random64", **changes)[0]
        return shown.get("value", shown)["runs"][0]["id"]

    def ended(self, run: str) -> None:
        while self.web.get(f"/pf/runs/{run}").json()["state"] in ("waiting", "running"):
            time.sleep(0.1)


def exports(server: Server) -> list[tuple[str, str, str]]:
    """Eight exports of long runs at once, while somebody watches frames."""
    runs = [server.run(f"e{k}", images=4, budget=64, seed=k) for k in range(EXPORTS // len(KINDS) + 1)]
    for run in runs:
        server.ended(run)
    before, most, took, over = server.memory(), [0.0], [], threading.Event()

    def watch():
        while not over.is_set():
            begin = time.perf_counter()
            server.web.get(f"/pf/runs/{runs[-1]}/frames?start=40").raise_for_status()
            took.append(time.perf_counter() - begin)
            most[0] = max(most[0], server.memory())
            time.sleep(0.1)

    watching = threading.Thread(target=watch)
    watching.start()
    begin = time.perf_counter()
    with ThreadPoolExecutor(EXPORTS) as pool:
        asked = [f"/pf/runs/{run}/export?format={kind}" for run in runs[:-1] for kind in KINDS]
        sizes = list(pool.map(lambda path: len(server.web.get(path).raise_for_status().content), asked))
    spent = time.perf_counter() - begin
    over.set()
    watching.join()
    again = time.perf_counter()
    server.web.get(asked[0])
    again = time.perf_counter() - again
    took.sort()
    p95 = took[min(len(took) - 1, int(0.95 * len(took)))]
    return [
        (f"{EXPORTS} exports at once, {sum(sizes) / MB:.0f} MB", f"{spent:.1f} s; once more {again:.2f} s", ""),
        ("frames meanwhile", f"median {1000 * statistics.median(took):.0f}, p95 {1000 * p95:.0f} ms", "p95 300 ms"),
        ("memory, at most and after", f"{most[0] - before:+.0f}, {server.memory() - before:+.0f} MB", "+150 MB"),
    ]


def people(server: Server) -> list[tuple[str, str, str]]:
    """Pages that are opened, used and closed."""

    def visit(session: str) -> None:
        server.ask("on_network/network/label/sampler", session)
        with contextlib.suppress(httpx.ReadTimeout):
            server.web.get(f"/gradio_api/heartbeat/{session}", timeout=1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, [f"first {k}" for k in range(8)]))
        before = server.memory()
        list(pool.map(visit, [f"person {k}" for k in range(PEOPLE)]))
    time.sleep(40)  # the server notices at its next heartbeat that a page is gone, and keeps it a moment longer
    return [(f"{PEOPLE} pages opened and closed", f"{server.memory() - before:+.0f} MB", "+20 MB")]


def waits(server: Server) -> list[tuple[str, str, str]]:
    """One comparison that sixty pages ask for."""
    chosen = {"A.network": "random64", "B.network": "random64", "nfe": 64, "images": 4}

    def compared(session: str, times: int) -> None:
        shown = server.call("on_run/before/count", session, **chosen)[0]
        a, b = (run["id"] for run in shown.get("value", shown)["runs"])
        for run in (a, b):
            server.ended(run)
        frames = ",".join(f"{k}:{k}" for k in range(chosen["nfe"] // 2))
        asked = [f"/pf/difference/words?runs={a},{b}", f"/pf/difference/film?a={a}&b={b}&frames={frames}"] * times
        with ThreadPoolExecutor(len(asked)) as pool:
            assert all(answer.status_code == 200 for answer in pool.map(server.web.get, asked))

    compared("another page", 1)  # what drawing and comparing take by themselves
    before, begin = server.memory(), time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        asked, most = pool.submit(compared, "one page", WAITS), 0.0
        while not asked.done():
            most = max(most, server.memory())
            time.sleep(0.05)
        asked.result()
    spent = time.perf_counter() - begin
    return [(f"{WAITS} pages ask for one comparison", f"{most - before:+.0f} MB at most, {spent:.1f} s", "+50 MB")]


def many_runs(server: Server) -> list[tuple[str, str, str]]:
    """Runs one after another, small enough that the store's number is what bounds them."""

    def some(count: int, first: int) -> float:
        for k in range(count):
            server.ended(server.run("one visitor", images=1, budget=8, seed=first + k, sampler="euler"))
        return server.memory()

    before = some(40, 0)  # the store is full
    return [(f"{RUNS} runs beyond a full store", f"{some(RUNS, 40) - before:+.0f} MB", "+50 MB")]


TILES = """() => new Promise((done) => {
  const begin = performance.now(), came = [];
  const look = () => {
    const status = window.__pf.sweep?.status;
    while (status && came.length < status.ready) came.push((performance.now() - begin) / 1000);
    if (status && (status.ready >= status.total || came.length >= 12)) done(came);
    else setTimeout(look, 100);
  };
  look();
})"""


def turns(server: Server) -> list[tuple[str, str, str]]:
    """What a person waits for in a page (Chromium) while others draw: a sweep's tiles beside three people's runs, the
    first frame of a run of 4 images x 16 NFE behind nine large ones."""
    from chromium import CHROMIUM, FLAGS, settled
    from playwright.sync_api import sync_playwright

    over = threading.Event()

    def drawing(person: str) -> None:
        seed = 0
        while not over.is_set():
            server.ended(server.run(person, images=4, budget=64, seed=(seed := seed + 1)))

    with sync_playwright() as p, ThreadPoolExecutor(3) as pool:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(300_000)
        address = str(server.web.base_url)
        page.goto(f"{address}?tab=compare&network=random64")
        page.click("#sweep > button, #sweep .label-wrap")
        page.wait_for_selector("#sweep-cost >> text=NFE")
        for k in range(3):
            pool.submit(drawing, f"beside {k}")
        page.click("#sweep-run")
        tiles = page.evaluate(TILES)
        over.set()
        page.click("#sweep-stop")
        page.goto(f"{address}?network=random64&images=4&budget=16&sampler=euler")
        settled(page)
        for k in range(9):
            server.run(f"large {k}", images=16, budget=256, seed=k)
        begin = time.perf_counter()
        page.click("#explore-run")
        page.wait_for_function("window.__pf.viewer.ready && window.__pf.viewer.runs[0].frames.length > 0")
        first = time.perf_counter() - begin
        page.wait_for_function("window.__pf.viewer.runs.every((run) => !run.active)")
        ended = time.perf_counter() - begin
        browser.close()
    gaps = [b - a for a, b in zip([0, *tiles], tiles, strict=False)]
    return [
        (
            "a sweep's tiles beside 3 people",
            f"every {statistics.median(gaps):.1f} s, {max(gaps):.1f} s at most",
            "20 s",
        ),
        ("4 images x 16 NFE behind 9 large", f"first frame {first:.1f} s, done {ended:.1f} s", "10 s for the first"),
    ]


def main() -> None:
    parts = {"exports": exports, "people": people, "waits": waits, "runs": many_runs, "turns": turns}
    server = Server()
    try:
        for name in sys.argv[1:] or parts:
            for what, measured, asked in parts[name](server):
                print(f"{what:36} {measured:40} {'asked: at most ' + asked if asked else ''}", flush=True)
        print(f"the server holds {server.memory():.0f} MB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    finally:
        server.process.terminate()
        server.process.wait(60)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
