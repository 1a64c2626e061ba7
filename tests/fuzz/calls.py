"""The kinds of calls: each is (what it is, in words; what makes it)."""

import asyncio
import io
import json
import random
from pathlib import Path
from urllib.parse import quote, urlencode

import gradio as gr
import numpy as np
from gradio.events import EventData
from own_pictures import picture
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file
from starlette.requests import Request

from app import links
from app.components.painter.painter import Painter
from app.server.frames import describe
from app.store import FAILED
from app.tabs.compare.sweep_jobs import Sweeps
from app.tabs.toy.links import config_from, look_from, starts_from
from fuzz import odd
from fuzz.world import World
from pf_core.data.own import image_io, importer
from pf_core.sampling.contact_sheet import read_sweep
from pf_core.sampling.export import WRITERS
from pf_core.toy.points import fitted_points

SLOW = 60.0  # seconds: no call of any kind may take longer
CSV = b"x;y\n0,5;1\n-1;2,25\n3;-0,5\n"
JSONL = (
    b'{"file_name": "a.png", "text": "a dog", "label": "red"}\n{"file_name": "b.png", "text": ["x", "y"], "label": 3}\n'
)
PAINTED = {"grid": [4, 4], "values": [0.5] * 16, "chosen": [0, 3]}
PLACE = {"image": 0, "frames": [1, 2]}
SENT = (  # with events of our components
    {"runs": ["a"]},
    {"run": "a", "what": "stop"},
    {"points": [[0, 1], [1, 2]]},
    {"plot": "view", "x": 0, "y": 0},
    {"query": "?data=eight&nfe=8"},
)
ADDRESS = {
    "tab": "explore compare intervene toy train".split(),
    "network": ["nano", "plain", "shapes-exact"],
    "sampler": ["look_ahead", "euler"],
    "seed": ["3"],
    "images": ["2"],
    "budget": ["8"],
    "unit": ["NFE"],
    "cfg": ["2"],
    "label": ["class 1"],
    "c1": ['["nano","euler",{}]'],
    "c2": ['["plain","euler",{}]'],
    "data": ["drawn"],
    "starts": ["0,1;2,3"],
    "runs": ["a,b"],
    "nfe": ["8"],
    "view": ["losses"],
    "data.noise": ["0.1"],
    "from": ["0.2"],
}


def event(world: World, rng: random.Random):
    """An event of the page, with odd values, data and address."""
    fn = rng.choice(world.events)
    wrong = set(rng.sample(range(len(fn.inputs)), min(len(fn.inputs), rng.choice((0, 1, 1, 1, 2, 5)))))
    values = [sent(world, component, rng, k in wrong) for k, component in enumerate(fn.inputs)]
    extra = [odd.value(rng)] * (rng.random() < 0.02)
    data = rng.choice((None, {}, odd.value(rng), *(odd.changed(known, rng) for known in SENT), *SENT))
    asked = address(world, rng)
    scope = {"type": "http", "query_string": query_of(asked), "headers": [], "client": ("127.0.0.1", 1)}
    request = gr.Request(Request(scope), session_hash=rng.choice(("a page", "", "another")))
    known = EventData(None if rng.random() < 0.2 else fn.inputs[0] if fn.inputs else None, data)
    given = dict(zip(fn.input_keyword_names or [], values, strict=False))
    what = f"event {fn.name}({given!r:.1500}) data {data!r:.300} {asked!r:.300}"

    def make() -> None:
        asking = world.demo.process_api(
            fn, [*values, *extra], state=world.page, request=request, event_data=known, session_hash="a page"
        )
        found = world.loop.run_until_complete(asyncio.wait_for(asking, 2 * SLOW))
        json.dumps(found["data"], default=str, ensure_ascii=False).encode()

    return what, make


def api(world: World, rng: random.Random):
    """A body that no page sends, to Gradio's own routes."""
    fn = rng.choice(world.events)
    values = [sent(world, component, rng, rng.random() < 0.2) for component in fn.inputs]
    body = {"data": values, "fn_index": fn._id, "session_hash": "a page", "event_data": None, "trigger_id": None}
    for key in rng.sample(list(body), rng.choice((0, 1, 1, 2))):
        body[key] = odd.value(rng)
    path = rng.choice(("run/predict", "run/predict", "run/run", "call/run", "queue/join", "call/compare"))
    text = json.dumps(body if rng.random() < 0.95 else odd.value(rng), default=str)

    def make() -> None:
        headers = {"content-type": "application/json"}
        world.client.post(f"/gradio_api/{path}", content=text.encode("utf-8", "replace"), headers=headers)

    return f"api {path} {text!r:.1500}", make


def query_of(asked: dict[str, str]) -> bytes:
    return urlencode(asked, errors="replace").encode()


def sent(world: World, component, rng: random.Random, wrong: bool):
    """What a call gives for a component: a file, what it holds, or, where it is to be wrong, anything else."""
    if isinstance(component, gr.File | gr.UploadButton) and (not wrong or rng.random() < 0.5):
        suffix = rng.choice(list(world.exports))
        path = world.file(f"x{suffix}", odd.damaged(world.exports[suffix], rng))
        one = {"path": path, "orig_name": f"x{suffix}", "meta": {"_type": "gradio.FileData"}}
        return [one] if getattr(component, "file_count", "") == "multiple" else one
    if isinstance(component, Painter) and rng.random() < 0.8:
        return odd.changed(PAINTED, rng) if wrong else PAINTED
    if isinstance(component, gr.Textbox) and wrong and rng.random() < 0.5:
        return json.dumps(odd.changed(PLACE, rng))
    if wrong and rng.random() < 0.7:
        return odd.value(rng)
    value = getattr(rng.choice(world.components) if wrong else component, "value", None)
    return None if callable(value) else value


def address(world: World, rng: random.Random) -> dict[str, str]:
    asked = {k: rng.choice(v) for k, v in ADDRESS.items() if rng.random() < 0.4}
    asked |= {k: rng.choice(world.ids) for k in ("run", "lab", "sweep", "base", "edited") if rng.random() < 0.3}
    if rng.random() < 0.4:
        asked["axes"] = json.dumps(odd.changed(world.sweep.to_dict(), rng))
    if rng.random() < 0.4:
        asked[rng.choice(("recipe", "plan"))] = packed(odd.changed(rng.choice(world.recipes), rng))
    if rng.random() < 0.3:
        asked["c1"] = json.dumps(odd.changed(["nano", "euler", {}], rng))
    for key in list(asked):
        if rng.random() < 0.2:
            asked[key] = odd.text(rng)
    return asked


def packed(recipe) -> str:
    """What links.encode makes, whatever it is of."""
    return links.packed(json.dumps(recipe))


def route(world: World, rng: random.Random):
    """A request to a route of ours."""
    path = rng.choice(world.paths)
    names = {
        "run_id": [world.run.id, world.edited.id],
        "sweep_id": [world.job.id],
        "lab_id": [world.lab.id],
        "name": ["viewer.js", "figure5.png", "numbers.json", "points.csv", "x"],
        "names": ["a,b"],
        "version": ["0"],
        "step:int": ["0", "100", "9" * 30],
    }
    for name, known in names.items():
        word = rng.choice(known) if rng.random() < 0.8 else odd.text(rng)[:300]
        path = path.replace("{" + name + "}", quote(word, safe="" if rng.random() < 0.5 else "/"))
    asked = {key: rng.choice(("0", "3", "webp", "json", odd.text(rng)[:2000])) for key in ("start", "after", "format")}
    asked = {key: value for key, value in asked.items() if rng.random() < 0.6}
    headers = {"accept-encoding": rng.choice(("gzip", "identity", "\x7f;q=x"))}
    headers["range"] = rng.choice(("", "bytes=0-3", "bytes=9-1"))
    method = rng.choice(("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT"))
    what = f"{method} {path}?{urlencode(asked, errors='replace')} {headers}"

    def make() -> None:
        reply = world.client.request(method, path, params=asked, headers=headers, follow_redirects=False)
        if reply.status_code >= 500:
            raise AssertionError(f"answered {reply.status_code}: {reply.text[:300]}")

    return what, make


def recipe(world: World, rng: random.Random):
    """A recipe or an export that somebody loads."""
    if rng.random() < 0.6:
        found = odd.changed(rng.choice(world.recipes), rng)
        suffix, content = ".json", json.dumps(found).encode()
    else:
        found = suffix = rng.choice(list(world.exports))
        content = odd.damaged(world.exports[suffix], rng)
    path = world.file(f"x{suffix}", content)
    return f"recipe {found!r:.1500}", lambda: look_at(world, links.load(world.state, path)[0])


def recording(world: World, rng: random.Random):
    """Raw arrays whose header or arrays are odd."""
    header, tensors = world.header, dict(world.tensors)
    if rng.random() < 0.9:
        part = rng.choice(("recipe", "recipe", "recipe", "run", "phase", "outer", "nfe", "seconds"))
        header = {**header, part: odd.changed(header[part], rng)}
    else:
        name = rng.choice(list(tensors))
        tensors[name] = tensors[name] * rng.choice((float("nan"), float("inf"), 1e30, 0))
    path = world.folder / f"{next(world.made)}.safetensors"
    save_file(tensors, path, {k: json.dumps(v) for k, v in header.items()})
    return f"recording {header!r:.2500}", lambda: look_at(world, links.load(world.state, str(path))[0])


def look_at(world: World, run) -> None:
    """All that the page asks for of a run."""
    describe(run, "")
    if run.state == FAILED or not run.heads:
        return
    paths = ("", "/frames?start=0", *(f"/export?format={suffix[1:]}" for suffix in WRITERS if suffix != ".mp4"))
    slide = f"/pf/slides/preview?runs={run.id}&slides=" + '{"panels": ["x", "t", "sigma", "easy"]}'
    for path in (*(f"/pf/runs/{run.id}{path}" for path in paths), slide):
        reply = world.client.get(path)
        if reply.status_code >= 500:
            raise AssertionError(f"{path} answered {reply.status_code}: {reply.text[:300]}")


def sheet(world: World, rng: random.Random):
    """A sweep, in a picture or a link."""
    found = odd.changed(world.sweep.to_dict(), rng)
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("sweep", json.dumps(found))
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    content = buffer.getvalue()
    path = world.file("sweep.png", odd.damaged(content, rng) if rng.random() < 0.3 else content)
    return f"sweep {found!r:.1500}", lambda: Sweeps(world.state).cost(read_sweep(path))


def link(world: World, rng: random.Random):
    """A recipe or a laboratory in a link."""
    if rng.random() < 0.5:
        asked = packed(odd.changed(rng.choice(world.recipes), rng)) if rng.random() < 0.7 else odd.text(rng)
        return f"link {asked!r:.1500}", lambda: links.decode(asked)
    asked = address(world, rng)
    return f"laboratory {asked!r:.1500}", lambda: (config_from(asked), look_from(asked, 100), starts_from(asked))


def points(world: World, rng: random.Random):
    """A toy's CSV."""
    content = odd.damaged(CSV * rng.choice((1, 1, 50)), rng)
    if rng.random() < 0.2:
        content = "".join(f"{odd.text(rng)[:300]},{odd.text(rng)[:300]}\n" for _ in range(4)).encode()
    return f"points {content!r:.1500}", lambda: fitted_points(content)


def brought(world: World, rng: random.Random):
    """Own pictures with what is said of them."""
    lines = [json.loads(line) for line in JSONL.splitlines()]
    text = "\n".join(json.dumps(odd.changed(line, rng)) for line in lines).encode()
    text = odd.damaged(JSONL, rng) if rng.random() < 0.3 else text
    table = odd.damaged(b"file_name,text,label\na.png,a dog,red\nb.png,,3\n", rng)
    name, said = rng.choice((("metadata.jsonl", text), ("metadata.csv", table), ("a.txt", odd.damaged(b"a dog", rng))))
    one = odd.damaged(world.pictures[0], rng) if rng.random() < 0.3 else world.pictures[0]
    folder = Path(world.file(name, said)).parent
    (folder / "a.png").write_bytes(one)
    (folder / "b.png").write_bytes(picture((1, 2, 3)))
    files = sorted(map(str, folder.iterdir()))

    def make() -> None:
        report = importer.take(files)
        report.summary.encode()
        importer.drop(report.id)

    return f"pictures with {name} {said!r:.1200}", make


def one_picture(world: World, rng: random.Random):
    content = odd.damaged(rng.choice(world.pictures), rng)
    return f"picture {content!r:.800}", lambda: np.asarray(image_io.read(content, 32, 32))


CALLS = {  # how many of a hundred
    event: 50,
    api: 8,
    route: 14,
    recipe: 4,
    recording: 5,
    sheet: 4,
    link: 5,
    points: 4,
    brought: 3,
    one_picture: 3,
}
