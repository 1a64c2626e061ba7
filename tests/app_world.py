"""What tests of the app share: nano networks, an AppState over them, a client, a network that waits."""

import json
import threading
import time
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from gradio.blocks import Block
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.handlers import answering
from app.server.pictures import decode
from app.server.routes import routes
from app.state import AppState
from app.store import StoredRun
from pf_core.models import build, checkpoint, preset
from pf_core.sampling.run import SampleSpec

ROOT = Path(__file__).resolve().parent.parent
CLASSES = [f"class {i}" for i in range(10)]


def make_networks(folder: Path) -> None:
    """Two nano networks with small random last weights: `nano` with a difficulty head, `plain` without."""
    make_network(folder, "nano")
    make_network(folder, "plain", predict_uncertainty=False)


def make_network(folder: Path, name: str, **changes) -> None:
    torch.manual_seed(3)
    model = build(preset("nano", **changes))
    with torch.no_grad():
        for parameter in model.final_layer.parameters():
            parameter.copy_(0.05 * torch.randn_like(parameter))
    checkpoint.save(folder / f"{name}.safetensors", model, CLASSES, {})


@pytest.fixture(autouse=True, scope="module")
def networks(tmp_path_factory):
    folder, shipped = tmp_path_factory.mktemp("checkpoints"), checkpoint.FOLDER
    make_networks(folder)
    checkpoint.FOLDER = folder
    yield folder
    checkpoint.FOLDER = shipped


@pytest.fixture
def state(tmp_path):
    return AppState(recordings=tmp_path / "none")


@pytest.fixture
def client(state):
    return TestClient(Starlette(routes=routes(state)), raise_server_exceptions=False)


def spec(**changes) -> SampleSpec:
    return SampleSpec(
        **{"checkpoint": "nano", "sampler": "look_ahead", "nfe": 8, "labels": ["class 1"], "seeds": [0, 1], **changes}
    )


def answered(fn, status, *first, **values) -> dict:
    """What a handler answers: a refusal is its status line's text."""
    return answering(fn, status)(*first, **values)


def ordered(found: dict, components: list) -> list:
    """An answer as a list: what it says of each of these components, and what Gradio calls "leave it" for the rest."""
    unknown = [c for c in found if isinstance(c, Block) and c not in components]
    assert not unknown, unknown
    return [found.get(c, gr.skip()) if isinstance(c, Block) else c for c in components]


def answers(fn, status, components: list):
    """A handler that answers as a list in this order."""
    return lambda *first, **values: ordered(answered(fn, status, *first, **values), components)


def ended(run: StoredRun, seconds: float = 120) -> StoredRun:
    limit = time.monotonic() + seconds
    while run.state in ("waiting", "running"):
        assert time.monotonic() < limit, "the run does not end"
        time.sleep(0.005)
    return run


def unpack(content: bytes) -> tuple[dict, list[dict]]:
    """What the browser does with a reply of frames."""
    length = int(np.frombuffer(content[:4], "<u4")[0])
    header, frames, at = json.loads(content[4 : 4 + length]), [], 4 + length
    for info in header["frames"]:
        frame, place = {}, at
        for name, kind, shape in header["layout"]:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            frame[name] = np.frombuffer(content[place : place + size], kind).reshape(shape)
            place += size
        for name, (size, planes, _) in zip(("x", "x1_hat"), info["pictures"], strict=True):
            frame[name] = decode(content[place : place + size], planes, header["shape"])
            place += size
        frames.append(frame)
        at += info["bytes"]
    assert at == len(content)
    return header, frames


class Slow:
    """A network that waits at every forward until `go` is set once more."""

    def __init__(self, model):
        self.model, self.grid, self.channels = model, model.grid, model.channels
        self.go = threading.Semaphore(0)
        self.calls = 0

    def __call__(self, *given):
        assert self.go.acquire(timeout=120)
        self.calls += 1
        return self.model(*given)


@pytest.fixture
def slow(state):
    bundle = state.bundle("nano")
    bundle.model = Slow(bundle.model)
    yield bundle.model
    bundle.model.go.release(10_000)
