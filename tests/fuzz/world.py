"""The app that is attacked."""

import asyncio
import itertools
import json
import logging
import os
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import gradio as gr
from app_world import make_networks
from gradio.components import Component
from gradio.state_holder import SessionState
from own_pictures import picture
from safetensors import safe_open
from safetensors.torch import load_file
from starlette.testclient import TestClient

from app.server.access import Rules
from app.state import AppState
from app.tabs.compare.sweep_jobs import Sweeps
from app.tabs.toy.lab import open_lab
from app.ui import build, own_parts
from pf_core.models import checkpoint
from pf_core.sampling.export import WRITERS, export
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.sweep import Sweep
from pf_core.sampling.trajectory import record
from pf_core.toy.experiment import ToyConfig
from pf_core.training.plans import Estimate
from pf_core.training.queue import Jobs

EDIT = {"kind": "clean", "patches": [0, 3], "outer": 0, "image": 0, "source": "x1_hat"}


class Caught(logging.Handler):
    """What the program's own logs say of exceptions."""

    def __init__(self):
        super().__init__()
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.errors.append(record.exc_info[1])


class Measured:
    """An estimate that is there at once."""

    seconds = 0.0

    def __init__(self, *asked):
        pass

    def found(self, wait):
        return Estimate(10, 10, 10, 1.0, 10.0, 3, 1.0)

    def stop(self):
        pass


class World:
    """The page over small networks, with a run, a sweep and a laboratory in it. No training begins, nothing is
    measured, and what runs is stopped after each call."""

    def __init__(self, folder: Path):
        self.folder, self.caught, self.undo, self.made = folder, Caught(), ExitStack(), itertools.count()

    def __enter__(self) -> "World":
        enter, folder = self.undo.enter_context, self.folder
        made, runs = folder / "checkpoints", folder / "runs"
        made.mkdir()
        make_networks(made)
        homes = {"PATCH_FORCING_DATA": str(folder / "sets"), "PATCH_FORCING_DATA_ROOTS": str(folder)}
        enter(mock.patch.dict(os.environ, homes))
        enter(mock.patch.object(checkpoint, "FOLDER", made))
        enter(mock.patch.object(checkpoint, "RUNS", runs))
        enter(mock.patch.object(Jobs, "_launch", lambda jobs, run: None))
        enter(mock.patch("app.tabs.train.tab.Measuring", Measured))
        enter(mock.patch("app.tabs.compare.sweep_jobs.pace", lambda bundle: 0.001))
        enter(mock.patch.object(threading, "excepthook", lambda args: self.caught.errors.append(args.exc_value)))
        logger = logging.getLogger("patch_forcing")
        logger.addHandler(self.caught)
        propagate, logger.propagate = logger.propagate, False
        self.undo.callback(lambda: (logger.removeHandler(self.caught), setattr(logger, "propagate", propagate)))
        self.loop = asyncio.new_event_loop()
        self.undo.callback(self.loop.close)
        self.state = AppState(recordings=folder / "none")
        self.demo = build(self.state)
        self.page = SessionState(self.demo)
        self.events = [fn for fn in self.demo.fns.values() if fn.fn is not None and fn.name != "closed"]
        self.components = [c for c in self.demo.blocks.values() if isinstance(c, Component)]
        own = own_parts(self.state, Rules())
        self.paths = [route.path for route in own["routes"]]
        server = gr.routes.App.create_app(self.demo, app_kwargs=own)
        self.client = TestClient(server, base_url="http://127.0.0.1")
        enter(mock.patch("traceback.print_exc", lambda *a, **k: self.caught.errors.append(sys.exc_info()[1])))
        self.fill()
        return self

    def __exit__(self, *error) -> None:
        self.quiet()
        self.loop.run_until_complete(self.state.ended(*(run.id for run in self.state.runs.all())))
        for lab in self.state.labs.all():
            lab.close()
        self.state.training.close()
        self.undo.close()

    def fill(self) -> None:
        """What calls can be about."""
        spec = SampleSpec("nano", "look_ahead", nfe=8, labels=["class 1"], seeds=[0, 1])
        self.run = self.state.start(spec)
        self.edited = self.state.start(SampleSpec(**{**spec.to_dict(), "edits": [EDIT], "seeds": [0, 1]}))
        self.sweep = Sweep(spec, {"nfe": [4, 8], "label": ["class 1", None]})
        self.job = Sweeps(self.state).start(self.sweep)
        self.lab = open_lab(self.state.labs, ToyConfig(steps=100, width=8, depth=1, batch_size=16))
        limit = time.monotonic() + 60
        while any(each.busy for each in (self.run, self.edited, self.job)):
            assert time.monotonic() < limit
            time.sleep(0.01)
        self.run.pinned = self.edited.pinned = self.job.pinned = True
        found, codec = record(Run(self.state.bundle("nano"), spec)), self.state.bundle("nano").codec
        for suffix in WRITERS:
            export(found, codec, self.folder / f"good{suffix}")
        self.exports = {suffix: (self.folder / f"good{suffix}").read_bytes() for suffix in WRITERS}
        with safe_open(self.folder / "good.safetensors", "pt") as f:
            self.header = {k: json.loads(v) for k, v in f.metadata().items()}
        self.tensors = load_file(self.folder / "good.safetensors")
        self.recipes = [found.recipe, self.edited.spec.to_dict(), {**found.recipe, "ts": [0, 0.25, 1], "nfe": None}]
        self.ids = [self.run.id, self.edited.id, self.job.id, self.lab.id]
        self.pictures = [picture(kind=kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")]

    def quiet(self) -> None:
        for job in (*self.state.runs.all(), *self.state.sweeps.all()):
            if job.busy:
                self.state.worker.stop(job)

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / f"{next(self.made)}" / name
        path.parent.mkdir()
        path.write_bytes(content)
        return str(path)
