"""The app without a browser: AppState, store, routes."""

import ast
import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from app_world import ROOT, client, ended, make_networks, networks, slow, spec, state, unpack  # noqa: F401
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.limits import MAX_IMAGES, MAX_NFE
from app.private import logged_in
from app.server import pictures as pictures_codec
from app.server import routes as routes_module
from app.server import source, static
from app.server.frames import command, file_name, pack_frame, pack_reply
from app.server.routes import routes
from app.server.source import listing
from app.state import AppState
from app.store import DONE, STOPPED, Store, StoredRun, Unknown
from pf_core.errors import InputError
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import Trajectory, record

# runs


def test_a_run_is_recorded_and_equals_the_core(state):
    run = ended(state.start(spec()))
    assert run.state == DONE and len(run.heads) == run.spec.nfe + 1
    assert torch.equal(run.trajectory.x1, record(Run(state.bundle("nano"), spec())).x1)


def test_stop_acts_within_one_forward_and_keeps_what_ran(state, slow):
    run = state.start(spec(nfe=32))
    slow.go.release(3)
    while len(run.heads) < 3:
        time.sleep(0.005)
    state.stop(run.id)
    slow.go.release(10)
    ended(run)
    assert run.state == STOPPED and slow.calls <= 4 and len(run.heads) in (3, 4)
    assert run.message.startswith(f"Stopped after {len(run.trajectory)} of")


def test_runs_queue_and_say_how_many_come_before(state, slow, client):
    first, second, third = (state.start(spec(seeds=[s])) for s in range(3))
    while first.state != "running":
        time.sleep(0.005)
    assert client.get(f"/pf/runs/{second.id}").json()["message"] == "waiting: 1 run before yours"
    assert client.get(f"/pf/runs/{third.id}").json()["message"] == "waiting: 2 runs before yours"
    state.stop(second.id)
    assert second.state == STOPPED and state.worker.ahead(third) == 1 and second.job is None  # nor its network
    slow.go.release(10_000)
    assert ended(third).state == DONE and not second.heads


def test_an_error_inside_becomes_a_sentence(state, monkeypatch):
    bundle = state.bundle("nano")
    monkeypatch.setattr(type(bundle.codec), "decode", lambda self, x: 1 / 0)
    run = ended(state.start(spec()))
    assert run.state == "failed" and "ZeroDivision" not in run.message and run.message.endswith(".")
    monkeypatch.undo()
    assert ended(state.start(spec())).state == DONE  # the worker lives on


def test_a_changed_checkpoint_is_loaded_again(state, networks):
    before = state.bundle("nano")
    assert state.bundle("nano") is before
    make_networks(networks)
    (networks / "nano.safetensors").touch()
    assert state.bundle("nano") is not before


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": list(range(MAX_IMAGES + 1))},
        {"nfe": MAX_NFE + 1, "sampler": "euler"},
        {"nfe": 0},
        {"nfe": float("nan")},
        {"sampler": "nonsense"},
        {"checkpoint": "../secret"},
        {"checkpoint": "/etc/passwd"},
        {"labels": ["no such class"]},
        {"cfg_scale": "much"},
        {"guidance_interval": (0.9, 0.1)},
        {"settings": {"p": 7}},
        {"checkpoint": "plain"},
    ],
)
def test_limits_and_bad_input_are_one_sentence(state, changes):
    with pytest.raises(InputError) as e:
        state.start(spec(**changes))
    assert len(state.runs) == 0 and "\n" not in str(e.value)


@pytest.mark.parametrize("budget", [{"nfe": 1000}, {"steps": 1000.0}, {"steps": 1000}, {"ts": [0.0] * 1001}])
def test_a_budget_beyond_the_limit_is_refused_before_anything_is_counted(state, budget, monkeypatch):
    monkeypatch.setattr("app.state.resolve", lambda *given: pytest.fail("it is counted, which may take long"))
    with pytest.raises(InputError, match=f"at most {MAX_NFE} NFE"):
        state.start(spec(**{"nfe": None, **budget}))


# the store


def stored(state, frames: int = 4) -> StoredRun:
    run = Run(state.bundle("nano"), spec(nfe=frames))
    kept = StoredRun(run.spec, record(run), state.bundle("nano").codec, "x", state=DONE)
    for frame in kept.trajectory.frames:
        pack_frame(kept, frame)
    return kept


def test_the_oldest_runs_go_first_by_number_and_by_bytes(state):
    runs = [stored(state) for _ in range(5)]
    store = Store(3, 2**40, "gone")
    for run in runs:
        store.add(run)
    assert [run.id in store for run in runs] == [False, False, True, True, True]
    store = Store(100, int(2.5 * runs[0].bytes), "gone")
    for run in runs:
        store.add(run)
    assert [run.id in store for run in runs] == [False, False, False, True, True]
    with pytest.raises(Unknown):
        store.get(runs[0].id)


def test_a_waiting_run_is_never_thrown_out(state):
    store = Store(1, 2**40, "gone")
    waiting, done = stored(state), stored(state)
    waiting.state = "waiting"
    store.add(waiting)
    store.add(done)
    assert waiting.id in store


def test_ids_cannot_be_guessed(state):
    ids = {stored(state).id for _ in range(3)}
    assert len(ids) == 3 and all(len(i) >= 20 for i in ids)


# routes


def test_frames_hold_what_was_recorded(state, client):
    run = ended(state.start(spec(cfg_scale=2.0)))
    header, frames = unpack(client.get(f"/pf/runs/{run.id}/frames").content)
    assert header["state"] == DONE and header["ready"] == header["total"] == len(frames) == run.spec.nfe + 1
    for head, sent, frame in zip(header["frames"], frames, run.trajectory.frames, strict=False):
        assert (head["phase"], head["outer"], head["nfe"]) == (frame.phase, frame.outer, frame.nfe)
        for name in ("t", "logvar", "logvar_cond", "threshold"):
            assert np.array_equal(sent[name], getattr(frame, name).numpy(), equal_nan=True)
        assert np.array_equal(sent["easy"], frame.easy.numpy() if head["ranked"] else np.full_like(sent["easy"], 2))
        shown = (frame.x1_hat.float().numpy() * 127.5 + 128).clip(0, 255).astype(np.uint8)
        assert np.array_equal(sent["x1_hat"], np.moveaxis(shown, 1, -1))
    assert (
        header["frames"][-1]["phase"] == "final"
        and (frames[-1]["t"] == 1).all()
        and np.isnan(frames[-1]["logvar"]).all()
    )
    assert not np.array_equal(frames[3]["logvar"], frames[3]["logvar_cond"])


def test_frames_travel_short(state, client):
    run = ended(state.start(spec(seeds=[0])))
    reply = client.get(f"/pf/runs/{run.id}/frames")
    assert reply.headers["content-encoding"] == "gzip"
    sent = int(reply.headers["content-length"])
    plain = client.get(f"/pf/runs/{run.id}/frames", headers={"accept-encoding": "identity"})
    assert plain.content == reply.content and sent < 0.9 * len(
        plain.content
    )  # the maps; pictures are short as they are


def pictures_of(spread: int, side: int = 64) -> np.ndarray:
    """Two pictures of a ramp in colour under so much noise."""
    noise = np.random.default_rng(0).normal(0, spread, (2, side, side, 3))
    ramp = np.linspace(40, 200, side)[None, :, None, None] * np.array([1, 0.5, 0.2])
    return (ramp + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("spread", "most_error"), [(0, 0), (3, 12), (20, 36), (80, 80)])
def test_pictures_are_lossless_if_short_enough_and_else_say_their_largest_error(spread, most_error):
    pictures = pictures_of(spread)
    coded = pictures_codec.encode(pictures, 2 * pictures_codec.BUDGET)
    back = pictures_codec.decode(coded.data, coded.planes, pictures.shape[:3])
    assert coded.error == np.abs(back.astype(int) - pictures).max() <= most_error
    assert (coded.planes == 1) == (coded.error == 0) == (spread == 0)
    assert len(coded.data) < 2.5 * pictures_codec.BUDGET  # noise at the least quality is what it is


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_a_sheet_gives_every_picture_back(count):
    pictures = np.random.default_rng(count).integers(0, 256, (count, 6, 10, 3), np.uint8)
    coded = pictures_codec.encode(pictures)
    assert coded.error == 0 and np.array_equal(pictures_codec.decode(coded.data, 1, (count, 6, 10)), pictures)


def test_noise_and_result_are_exact_whatever_the_budget(state, client, monkeypatch):
    monkeypatch.setattr(pictures_codec, "BUDGET", 400)
    run = ended(state.start(spec()))
    header, frames = unpack(client.get(f"/pf/runs/{run.id}/frames").content)
    errors = np.array([[error for *_, error in head["pictures"]] for head in header["frames"]])
    assert errors[0, 0] == 0 and (errors[-1] == 0).all() and (errors[1:-1] > 0).any()
    for head, sent, frame in zip(header["frames"], frames, run.trajectory.frames, strict=False):
        for name, (*_, error) in zip(("x", "x1_hat"), head["pictures"], strict=True):
            shown = np.moveaxis((getattr(frame, name).float().numpy() * 127.5 + 128).clip(0, 255).astype(int), 1, -1)
            assert np.abs(sent[name] - shown).max() == error


def test_four_of_the_noisiest_runs_at_64_px_are_sent_within_three_megabytes(state):
    run = stored(state, 2)
    frame, rng = run.trajectory.frames[0], torch.Generator().manual_seed(0)
    for _ in range(64):
        x, x1_hat = torch.randn(2, 1, 3, 64, 64, generator=rng)
        t, logvar = torch.rand(2, 1, 256, generator=rng)
        maps = {"t": t, "logvar": logvar, "logvar_cond": logvar, "easy": t > 0.5, "threshold": t[:, 0]}
        pack_frame(run, replace(frame, x=x, x1_hat=x1_hat, **maps))
    assert 4 * len(gzip.compress(pack_reply(run, 2, {}), 5)) < 3e6
    assert max(error for head in run.heads[2:] for *_, error in head["pictures"]) < 90


def test_frames_can_be_asked_for_from_any_place(state, client):
    run = ended(state.start(spec()))
    header, frames = unpack(client.get(f"/pf/runs/{run.id}/frames?start=6").content)
    assert header["start"] == 6 and len(frames) == run.spec.nfe + 1 - 6
    assert unpack(client.get(f"/pf/runs/{run.id}/frames?start=999").content)[1] == []
    for wrong in ("-1", "x", "1e3", "9" * 12, "\u00b2"):
        reply = client.get(f"/pf/runs/{run.id}/frames", params={"start": wrong})
        assert reply.status_code == 400 and "start" in reply.json()["error"]


def test_the_first_frames_come_alone_and_a_recording_is_compressed_once(state, client, monkeypatch):
    run = ended(state.start(spec()))
    whole = unpack(client.get(f"/pf/runs/{run.id}/frames").content)[1]
    header, frames = unpack(client.get(f"/pf/runs/{run.id}/frames?start=0&most={static.FIRST}").content)
    assert len(frames) == static.FIRST < header["ready"] == len(whole)
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(frames, whole, strict=False))
    assert client.get(f"/pf/runs/{run.id}/frames?most=-1").status_code == 400
    run.pinned, before = True, []
    squeeze = gzip.compress
    monkeypatch.setattr(routes_module.gzip, "compress", lambda *asked: before.append(1) or squeeze(*asked))
    replies = [client.get(f"/pf/runs/{run.id}/frames?start=0&most={static.FIRST}") for _ in range(3)]
    assert len(before) == 1 and len({reply.content for reply in replies}) == 1


def test_the_head_asks_ahead_for_what_the_viewer_asks_first():
    store = (ROOT / "app" / "components" / "viewer" / "store.js").read_text()
    assert f"const FIRST = {static.FIRST};" in store
    assert f"/frames?start=0&most={static.FIRST}" in static.head("recording-a") and "/frames" not in static.head()


@pytest.mark.parametrize("path", ["", "/frames", "/export?format=png"])
def test_an_unknown_run_is_a_404_with_a_sentence(client, path):
    reply = client.get(f"/pf/runs/nobody-knows{path}")
    assert reply.status_code == 404 and reply.json()["error"].endswith(".")


def test_what_a_run_is(state, client):
    run = ended(state.start(spec()))
    info = client.get(f"/pf/runs/{run.id}").json()
    assert info["grid"] == {"rows": 4, "cols": 4, "n": 16, "patch_size": 8} and info["images"] == 2
    assert info["steps"] == run.spec.steps and info["forwards"] == run.spec.nfe and info["recipe"]["checkpoint_hash"]


def test_where_only_hard_patches_pass_the_viewer_is_told_how_many(state, client):
    dual = {"sampler": "dual_loop", "nfe": 8}
    whole = ended(state.start(spec(**dual)))
    part = ended(state.start(spec(**dual, settings={"refresh": "none"})))
    told = [client.get(f"/pf/runs/{run.id}").json()["token_forwards"] for run in (whole, part)]
    assert told[0] is None and 2 < told[1] < part.trajectory.forwards == 8


@pytest.mark.parametrize("kind", ["png", "gif", "webp", "safetensors"])
def test_exports_carry_the_recipe(state, client, tmp_path, kind):
    from pf_core.sampling.export import read_recipe

    run = ended(state.start(spec()))
    reply = client.get(f"/pf/runs/{run.id}/export?format={kind}")
    assert reply.status_code == 200 and f".{kind}" in reply.headers["content-disposition"]
    path = tmp_path / f"run.{kind}"
    path.write_bytes(reply.content)
    assert SampleSpec.from_dict(read_recipe(path)) == run.spec


def test_an_unknown_export_format_is_refused(state, client):
    run = ended(state.start(spec()))
    assert client.get(f"/pf/runs/{run.id}/export?format=exe").status_code == 400


def test_only_the_viewers_files_are_served(client):
    assert client.get("/pf/static/any/viewer.js").status_code == 200
    for name in ("session.py", "..%2Fsession.py", "__init__.py"):
        assert client.get(f"/pf/static/any/{name}").status_code == 404


def test_a_login_counts_for_the_own_routes(state):
    app = Starlette(routes=routes(state))
    app.auth, app.auth_dependency, app.tokens, app.cookie_id = {"a": "b"}, None, {"good": "a"}, "1"
    client = TestClient(app)
    assert client.get("/pf/palettes").status_code == 401
    client.cookies.set("access-token-1", "good")
    assert client.get("/pf/palettes").status_code == 200


def test_an_auth_dependency_counts_too():
    import asyncio

    request = SimpleNamespace(app=SimpleNamespace(auth_dependency=lambda r: None, auth=None))
    assert asyncio.run(logged_in(request)) is False
    request.app.auth_dependency = lambda r: "someone"
    assert asyncio.run(logged_in(request)) is True


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_shows_its_lines(name):
    shown = listing(SAMPLERS[name])
    phases = {mark["phase"] for mark in shown["marks"]}
    assert {"outer", "final"} <= phases
    for mark in shown["marks"]:
        assert f'yield Step("{mark["phase"]}"' in shown["lines"][mark["line"]]
        assert mark["phase"] == "final" or "denoise" in shown["lines"][mark["first"]]


def test_the_command_repeats_the_run(state, tmp_path):
    from pf_core.cli import main

    run = ended(state.start(spec(cfg_scale=1.5, guidance_interval=(0.1, 0.9), seeds=[4, 5, 6])))
    words = command(run).split("sample ", 1)[1].replace("run.safetensors", str(tmp_path / "run.safetensors"))
    import shlex

    assert not main(["sample", *shlex.split(words)])
    assert torch.equal(Trajectory.load(tmp_path / "run.safetensors").x1, run.trajectory.x1)


# recordings


def test_files_are_called_by_the_whole_name_of_the_network():
    names = {"runs/v1.2": "v1.2", "/a/my.net.safetensors": "my.net", "runs/x@5": "x_5"}
    assert [file_name(spec(checkpoint=name), ".png") for name in names] == [
        f"{name}-look_ahead-seed0.png" for name in names.values()
    ]


def test_a_recording_is_a_run(tmp_path, state):
    record(Run(state.bundle("nano"), spec())).save(tmp_path / "first.safetensors")
    (tmp_path / "second.safetensors").write_bytes(b"rubbish")
    shown = AppState(recordings=tmp_path).recordings()
    assert (
        [run.id for run in shown] == ["recording-first"]
        and shown[0].state == DONE
        and len(shown[0].heads) == 9 - 1 + (shown[0].spec.nfe == 8)
    )


def test_many_pages_ask_for_a_samplers_source_at_once_and_it_is_parsed_one_at_a_time(monkeypatch):
    """Python 3.11 fails where two threads parse at once."""
    source._one.cache_clear()
    now, most, real = [], [], ast.parse

    def parse(text):
        now.append(1)
        most.append(len(now))
        time.sleep(0.01)
        now.pop()
        return real(text)

    monkeypatch.setattr(source.ast, "parse", parse)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(listing, [*SAMPLERS.values()] * 2))
    assert max(most) == 1
