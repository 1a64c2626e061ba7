"""How the files in this folder were made: by the code of commit 8225f43, and by no other.

    git checkout 8225f43, with this folder laid into it; OMP_NUM_THREADS=1 python tests/old/make.py

They stand for what people have on their disks: runs, networks, exports, sheets, links, taken-in pictures. test_old.py
opens and repeats them with the code of today. Do not make them again: a later version would only test itself. The
imports below are those of that commit and need not work any more.
"""

# ruff: noqa: I001 (ruff sorts imports by which of the modules are here)

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from urllib.parse import parse_qsl

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
os.environ |= {
    "PATCH_FORCING_CHECKPOINTS": str(HERE / "checkpoints"),
    "PATCH_FORCING_RUNS": str(HERE / "runs"),
    "PATCH_FORCING_DATA": str(HERE / "sets"),
    "ACCELERATE_USE_CPU": "true",
}
os.chdir(ROOT)
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from pf_core import checkpoint  # noqa: E402
from pf_core.cli import main  # noqa: E402
from pf_core.codecs import to_uint8  # noqa: E402
from pf_core.export import export, read_recipe  # noqa: E402
from pf_core.runs import Intervals, RunFolder, TrainRecipe, execute, live, load_state  # noqa: E402
from pf_core.sample import Run, SampleSpec  # noqa: E402
from pf_core.train import TrainConfig  # noqa: E402
from pf_core.trajectory import record  # noqa: E402

RUNS, OUT = HERE / "runs", HERE / "exports"
TINY = {"depth": 1, "hidden_size": 8}  # 4 x 4 or 8 x 8 patches of 8 pixels: small files
STOP, STEPS = 8, 24  # the half-done runs: sixteen steps are left
NETWORK = "tests/old/checkpoints/old32.safetensors"


def trained(name: str, recipe: TrainRecipe, every: Intervals, stop: int | None = None) -> RunFolder:
    """A run, to its end or stopped after a step, as the command line does it."""
    folder = RunFolder(RUNS / name)
    for at in execute(folder, False, recipe, every, f"python -m pf_core train --out runs/{name}"):
        if at.step == stop:
            folder.order("stop")
    for left in ("lock", "reserve", "orders/stop"):
        (folder.path / left).unlink(missing_ok=True)
    return folder


def recipe(size: int, steps: int, **changes) -> TrainRecipe:
    config = TrainConfig(steps=steps, **{"batch_size": 8, "warmup": 4, "ema": 0.9, **changes})
    return TrainRecipe("shapes", {"size": size, "variety": 0.25}, "nano", TINY, config=config)


def make_runs() -> None:
    live.STRIP, live.STRIP_NFE = 1, 5  # recorded samples of one image: four would fill half of this folder
    rare = Intervals(save=100, log=50, validate=150, samples=300, weights=200)
    trained("done32", recipe(32, 300, batch_size=16, ema=0.98, lr=6e-3, muon_lr=9e-3), rare)
    done = trained("done64", recipe(64, 12), Intervals(save=4, log=2, validate=6, samples=0))
    done.state.unlink()  # as where the disk was full and finished runs gave up what they can spare
    often = Intervals(save=4, log=1, validate=8, samples=0)
    halves = {"half32": recipe(32, STEPS), "half64": recipe(64, STEPS, optimizer="adamw", timesteps="independent")}
    halves["own32"] = TrainRecipe("folder", {"path": taken_in()}, "nano", TINY, config=recipe(32, STEPS).config)
    for name, each in halves.items():
        trained(name, each, often, STOP)
        whole = trained(f"{name}-whole", each, often)  # never stopped: where the half one must arrive
        state = load_state(whole.state)[0]
        shutil.rmtree(whole.path)
        kept = {f"{part}.{k}": v for part in ("model", "ema") for k, v in state[part].items() if k != "pos_embed"}
        save_file(kept, HERE / f"{name}-reached.safetensors")
    (HERE / "checkpoints").mkdir(exist_ok=True)
    shutil.copy(RUNS / "done32" / "done32.safetensors", ROOT / NETWORK)


def taken_in() -> str:
    """Twelve pictures of two classes, some with captions, taken in by the command line; the set's name."""
    where = HERE / "mine"
    for label, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (where / label).mkdir(parents=True, exist_ok=True)
        for i in range(6):
            pixels = np.full((30, 40, 3), colour, np.uint8)
            pixels[:, 20:] //= 2 + i
            Image.fromarray(pixels).save(where / label / f"{i}.png")
        (where / label / "0.txt").write_text(f"a {label} picture")
    assert main(["data", str(where), "--keep", "--title", "Red and blue"]) == 0
    shutil.rmtree(where)
    shutil.rmtree(HERE / "sets" / ".packed", ignore_errors=True)
    return next(p.name for p in (HERE / "sets").iterdir() if not p.name.startswith("."))


EDITS = [
    {"kind": "head_start", "patches": [0, 1, 4], "outer": 1, "amount": 0.3},
    {"kind": "hold_back", "patches": [10], "outer": 1, "image": 1, "amount": 0.25},
    {"kind": "clean", "patches": [15], "outer": 2, "source": "x1_hat"},
    {"kind": "clean", "patches": [3], "outer": 2, "source": {"dataset": "shapes", "index": 7, "settings": {}}},
]
GUIDED = "--cfg-scale 2.5 --guidance-interval 0.1,0.8"
COMMANDS = {  # the exports that a command line says whole, in the spelling of then
    "look_ahead.png": f"--sampler look_ahead --nfe 7 --label star,heart --seeds 4,9 {GUIDED} --p 0.4",
    "dual_loop.gif": "--sampler dual_loop --steps 2 --label 2 --seeds 7 --p 0.3 --n-inner 2 --precision fp32",
    "heun.mp4": "--sampler heun --nfe 5 --label none --seeds 1",
    "random_order.json": "--sampler random_order --nfe 9 --label ring --seeds 3 --p 0.5 --n-inner 2",
    "euler.safetensors": f"--sampler euler --nfe 5 --label cross --seeds 11 {GUIDED}",
}


def make_exports() -> None:
    OUT.mkdir(exist_ok=True)
    bundle = checkpoint.load(NETWORK)
    results = {}
    for name, flags in COMMANDS.items():
        assert main(["sample", "--checkpoint", NETWORK, *flags.split(), "--out", str(OUT / name)]) == 0
    spec = {"checkpoint": NETWORK, "sampler": "look_ahead", "labels": ["arrow", None], "seeds": [2, 3], "steps": 3}
    spec |= {"edits": EDITS, "cfg_scale": 1.5, "ts": [0.0, 0.15, 0.5, 1.0]}
    made = record(Run(bundle, SampleSpec.from_dict(spec)))
    export(made, bundle.codec, OUT / "edits.webp")
    rng = torch.Generator().manual_seed(5)
    given, picture = torch.randn(1, 3, 32, 32, generator=rng), torch.rand(1, 3, 32, 32, generator=rng)
    edits = [{"kind": "clean", "patches": [5, 6, 9, 10], "source": {"given": 0}}]
    spec = SampleSpec(NETWORK, "dual_loop", {"n_inner": 2}, steps=2, labels=["circle"], edits=edits)
    export(record(Run(bundle, spec, given, picture)), bundle.codec, OUT / "given.safetensors")
    save_file({"x0": given}, OUT / "noise.safetensors")
    flags = "--sampler look_ahead --nfe 5 --label square --noise tests/old/exports/noise.safetensors"
    assert main(["sample", "--checkpoint", NETWORK, *flags.split(), "--out", str(OUT / "noise.png")]) == 0
    for path in sorted(OUT.iterdir()):
        if path.name == "noise.safetensors":
            continue
        again = HERE / "again.safetensors"
        assert main(["sample", "--recipe", str(path), "--out", str(again)]) == 0
        x1 = load_file(again)["x1"]
        results[f"{path.name} x1"] = x1.half()
        results[f"{path.name} pixels"] = to_uint8(bundle.codec.decode(x1)).contiguous()
        again.unlink()
    save_file(results, HERE / "results.safetensors")
    axes = "--axis sampler=euler,look_ahead --axis nfe=5,9 --axis p=0.2,0.6"
    flags = f"--checkpoint {NETWORK} --label star --seeds 4 --cfg-scale 1.5 {axes}"
    assert main(["sweep", *flags.split(), "--out", str(OUT / "sheet.png")]) == 0


# links, as the app wrote them into the address


def make_links() -> None:
    """links.json: {what: {"query", "shows": {control: value}, ...}}; "shows" is what the page must say."""
    from app.session import Session

    session = Session(recordings=HERE / "none")
    links = {**explore_links(session), **compare_links(session), **intervene_link(session), **toy_link(session)}
    links["train"] = {"query": "tab=train&runs=half32,done32", "chosen": ["half32", "done32"]}
    links["how"] = {"query": "tab=how-it-works"}
    (HERE / "links.json").write_text(json.dumps(links, indent=1) + "\n")


def wait(session, *ids: str) -> None:
    while any(session.store.get(i).state in ("waiting", "running") for i in ids):
        pass


def explore_links(session) -> dict:
    import gradio as gr

    from app.tabs.explore import Explore

    with gr.Blocks():
        tab = Explore(session)
    knobs = {("dual_loop", "p"): 0.3, ("dual_loop", "n_inner"): 2}
    form = ["old32", "star", "dual_loop", 7, 2, 6, "outer steps", 2.5, 0.1, 0.8]
    shown, run_id, *_ = tab.on_run("", *form, *(knobs.get(key) for key in tab.knobs.keys))
    wait(session, run_id)
    plain = {"query": shown["query"], "recipe": session.store.get(run_id).spec.to_dict()}
    plain["shows"] = {
        "network": "old32", "label": "star", "sampler": "Dual-loop", "seed": "7", "images": "2", "budget": "6",
        "unit": "outer steps", "cfg": "2.5", "from": "0.1", "to": "0.8", "p": "0.3", "n_inner": "2",
    }  # fmt: skip
    shown, run_id, *_ = tab.on_run("", "runs/done64", "heart", "look_ahead", 3, 1, 9, "NFE", 1, 0, 1,
                                   *(default(*key) for key in tab.knobs.keys))  # fmt: skip
    wait(session, run_id)
    of_run = {"query": shown["query"], "recipe": session.store.get(run_id).spec.to_dict()}
    of_run["shows"] = {"network": "runs/done64", "label": "heart", "seed": "3", "images": "1", "budget": "9"}
    shown, run_id, *_ = tab.on_recipe("", str(OUT / "edits.webp"))
    wait(session, run_id)
    loaded = {"query": shown["query"], "recipe": session.store.get(run_id).spec.to_dict()}
    loaded["shows"] = {"network": "old32", "label": "arrow", "seed": "2", "images": "2", "unit": "outer steps"}
    return {"explore": plain, "explore, a training's network": of_run, "explore, a recipe with edits": loaded}


def default(sampler: str, knob: str):
    from pf_core.samplers import SAMPLERS

    return SAMPLERS[sampler].knobs[knob].default


def compare_links(session) -> dict:
    import gradio as gr

    from app.sweep.panel import NOTHING
    from app.tabs.compare import Compare

    with gr.Blocks():
        tab = Compare(session)
    knobs = [default(*key) for key in tab.columns[0].knobs.keys]
    shared = [3, "ring", 5, 2, 9, 1.5]
    columns = [("old32", "euler"), ("old32", "dual_loop"), ("runs/done32", "look_ahead"), ("old32", "heun")]
    given = [*shared, *(v for pair in columns for v in (*pair, *knobs))]
    shown, ids, *_ = tab.on_run([], *given)
    wait(session, *ids)
    compare = {"query": shown["query"], "recipes": [session.store.get(i).spec.to_dict() for i in ids]}
    compare["shows"] = {
        "columns": "3", "label": "ring", "seed": "5", "images": "2", "nfe": "9", "cfg": "1.5",
        "network A": "old32", "network C": "runs/done32", "sampler": "Dual-loop",
    }  # fmt: skip
    axes = ["sampler", "nfe", NOTHING, "", "5, 9", "", ["euler", "look_ahead"], [], []]
    view, job_id, *_ = tab.sweep.on_run(None, *axes, *given)
    while tab.sweep.sweeps.get(job_id).state in ("waiting", "running"):
        pass
    sweep = {"query": view["query"], "shows": {"columns": "sampler", "rows": "nfe", "values": "5, 9"}}
    return {"compare": compare, "sweep": sweep}


def intervene_link(session) -> dict:
    import gradio as gr

    from app.tabs.intervene import Intervene

    with gr.Blocks():
        tab = Intervene(session)
    spec = SampleSpec.from_dict(read_recipe(OUT / "look_ahead.png"))
    edits = [e | {"outer": min(e["outer"], 2)} for e in EDITS[:3]]
    whole = SampleSpec.from_dict(spec.to_dict() | {"edits": edits, "checkpoint": "old32", "versions": None})
    base, edited = tab.again(whole)
    wait(session, base.id, edited.id)
    shows = {"network": "old32", "label": "star", "seed": "4", "cfg": "2.5"}
    link = {"query": tab.address(base, edited), "recipe": edited.spec.to_dict(), "shows": shows}
    return {"intervene": link | {"base": base.spec.to_dict()}}


def toy_link(session) -> dict:
    from app.labs import Lab
    from app.toylink import config_from, look_from, query_of, starts_from

    asked = "tab=toy&data=eight_gaussians&data.std=0.2&timesteps=ltg&times.loc=0.5&seed=7&steps=1500&sampler=dual_loop"
    asked += "&by.p=0.3&nfe=24&view=velocity+field&tx=0.5&ty=0.1&starts=0,1;-1,0.5&stop_gradient=False&lr=0.002"
    known = dict(parse_qsl(asked))
    lab = Lab(config_from(known), look_from(known, 100), starts_from(known))
    shows = {
        "data": "Eight Gaussians", "timesteps": "Logit-Normal Truncated Gaussian", "seed": "7", "steps": "1500",
        "nfe": "24", "tx": "0.5", "ty": "0.1", "tied": "false", "stop_gradient": "false", "lr": "0.002",
    }  # fmt: skip
    return {"toy": {"query": query_of(lab), "shows": shows}}


if __name__ == "__main__":
    for old in (RUNS, OUT, HERE / "sets", HERE / "checkpoints"):
        shutil.rmtree(old, ignore_errors=True)
    torch.set_num_threads(1)
    make_runs()
    make_exports()
    make_links()
    about = {"commit": "8225f43", "torch": torch.__version__, "python": platform.python_version()}
    about |= {"cpu": torch.backends.cpu.get_cpu_capability(), "commands": COMMANDS}
    (HERE / "made.json").write_text(json.dumps(about, indent=1) + "\n")
    shutil.rmtree(HERE / "sets" / ".packed", ignore_errors=True)
    os._exit(0)  # a laboratory's thread would go on
