"""Every state that a training can be in, and every way from one to the next, with a network that trains in no time."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from jobs_world import ENDLESS, QUICK, jobs, past, reaches, recipe, until  # noqa: F401
from safetensors.torch import load_file

from app.state import AppState
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.training import process
from pf_core.training.config import Intervals
from pf_core.training.queue import Jobs
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute
from pf_core.training.status import trainer

HERE = Path(__file__).parents[1]
TRUTH = 250  # looks, 20 ms apart, in which the list tells the truth, whatever happened: 5 s of an idle machine


def weights(path):
    return load_file(path)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_is_queued_starts_runs_and_finishes(jobs):
    assert jobs.create("first", recipe(6), QUICK).state in ("starting", "running")
    assert reaches(jobs, "first", "running", "finished")
    info = reaches(jobs, "first", "finished")
    assert (info.step, info.steps, info.saved_step, info.done) == (6, 6, 6, 1.0) and info.network
    assert "Goes on" not in jobs.folder("first").log.read_text() and not info.error
    entries, token, _ = jobs.folder("first").follow()
    assert [e["step"] for e in entries] == [1, 2, 3, 4, 5, 6] and entries[-1]["seconds_left"] == 0
    assert jobs.folder("first").follow(token)[0] == []
    net = checkpoint.load(str(jobs.network("first")))
    assert net.training["steps"] == 6
    command = net.training["command"]  # what repeats the run, not what this process was told
    assert "train --dataset shapes" in command and "--steps 6" in command and "--resume" not in command
    with pytest.raises(InputError, match="to train longer fork it"):
        jobs.resume("first")
    jobs.delete("first")
    assert jobs.all() == [] and not (jobs.root / "first").exists()


def test_pause_save_sample_stop_and_resume(jobs):
    jobs.create("long", ENDLESS, QUICK)
    past(jobs, "long", 3)
    with pytest.raises(InputError, match="already running"):
        jobs.resume("long")
    assert jobs.pause("long").state in ("pausing", "paused")
    paused = reaches(jobs, "long", "paused")
    logged = len(jobs.folder("long").follow()[0])
    assert paused.saved_step == paused.step and f"{paused.step:,} of 900,000" in paused.message
    jobs.save_now("long")
    until(lambda: jobs.kept("long") == [paused.step], "the network to be kept")
    jobs.sample_now("long")
    until(lambda: jobs.samples("long") == [paused.step] and "sample" not in jobs.folder("long").commands(), "samples")
    assert {jobs.file("long", kind, paused.step).suffix for kind in ("sheet", "strip", "trajectory")} == {
        ".png",
        ".safetensors",
    }
    assert len(jobs.folder("long").follow()[0]) == logged and jobs.get("long").state == "paused"
    jobs.resume("long")
    past(jobs, "long", paused.step)
    assert jobs.get("long").state == "running"
    assert jobs.stop("long").state in ("stopping", "stopped")
    stopped = reaches(jobs, "long", "stopped")
    assert stopped.step == stopped.saved_step > paused.step
    assert f"goes on from step {stopped.step:,} of 900,000" in stopped.message
    with pytest.raises(InputError, match="not running"):
        jobs.stop("long")
    jobs.resume("long")
    reaches(jobs, "long", "running")
    past(jobs, "long", stopped.step)
    assert jobs.get("long").resumed_from == stopped.step
    assert f"Goes on from step {stopped.step:,} of 900,000." in jobs.folder("long").log.read_text()
    steps = [e["step"] for e in jobs.folder("long").follow()[0]]
    assert steps == list(range(1, len(steps) + 1)), "no step is logged twice or missing"
    with pytest.raises(InputError, match="stop it first"):
        jobs.delete("long")


def test_the_list_tells_the_truth_soon_after_a_kill_and_resume_goes_on(jobs):
    jobs.create("victim", ENDLESS, QUICK)
    past(jobs, "victim", 25)
    before = jobs.folder("victim").follow()[0]
    pid, _ = trainer(jobs.folder("victim"))
    os.kill(pid, signal.SIGKILL)
    looks = []
    info = until(lambda: looks.append(i := jobs.get("victim")) or (i.state == "interrupted" and i), "the truth")
    assert len(looks) < TRUTH
    assert info.saved_step >= 20 and f"Resume goes on from step {info.saved_step:,} of" in info.message
    assert jobs.folder("victim").follow()[0][: len(before)] == before
    jobs.resume("victim")
    assert jobs.get("victim").step == info.saved_step
    reaches(jobs, "victim", "running")
    assert jobs.get("victim").resumed_from == info.saved_step
    forced = jobs.force_stop("victim")
    assert forced.state == "interrupted" and "It was killed" in forced.message and forced.saved_step >= info.saved_step


def test_one_trains_and_the_others_queue_in_order_over_a_restart(jobs):
    server = f"""import os; from jobs_world import *
Jobs({str(jobs.root)!r}).create("a", ENDLESS, QUICK); os.kill(os.getpid(), 9)"""
    killed = subprocess.run([sys.executable, "-c", server], env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}"})
    assert killed.returncode == -signal.SIGKILL, "the server that started it is killed, the trainer goes on"
    jobs.create("b", recipe(3), QUICK)
    jobs.create("c", recipe(3), QUICK)
    places = {i.name: (i.state, i.place) for i in jobs.all()}
    assert places["b"] == ("queued", 1) and places["c"] == ("queued", 2) and places["a"][0] != "queued"
    jobs.stop("b")
    assert jobs.get("b").state == "stopped" and jobs.get("c").place == 1
    jobs.resume("b")
    assert [i.place for i in (jobs.get("c"), jobs.get("b"))] == [1, 2]
    past(jobs, "a", 2)
    again = Jobs(jobs.root, watch=True)  # a server after a restart: it finds the trainer and the queue
    try:
        assert again.get("a").state == "running" and again.get("c").place == 1
        again.pause("a")  # a paused run gives its turn away
        until(lambda: again.get("b").state == again.get("c").state == "finished", "the queue to be worked off")
        assert again.get("a").state == "paused"
        assert again.folder("c").status().updated < again.folder("b").status().updated
        again.resume("a")
        past(again, "a", again.get("a").step)
        assert again.get("a").state == "running" and again.get("a").resumed_from == 0
    finally:
        again.close()


def test_two_at_a_time_if_the_settings_say_so(jobs):
    jobs.configure(parallel=2)
    for name in "abc":
        jobs.create(name, ENDLESS, QUICK)
    assert [jobs.get(name).state == "queued" for name in "abc"] == [False, False, True]
    with pytest.raises(InputError, match="parallel must lie between"):
        jobs.configure(parallel=0)


def test_a_stop_before_the_first_step_is_a_stop(jobs):
    jobs.create("early", ENDLESS, QUICK)
    jobs.stop("early")
    info = reaches(jobs, "early", "stopped")
    assert info.step == info.saved_step
    jobs.resume("early")
    past(jobs, "early", 1)


def test_a_trainer_that_cannot_even_start_has_failed_and_says_why(jobs):
    jobs.create("broken", recipe(5), QUICK, start=False)
    config = jobs.folder("broken").path / "config.json"
    wrong = json.loads(config.read_text())
    wrong["config"]["timesteps"] = "never"
    config.write_text(json.dumps(wrong))
    jobs.resume("broken")
    info = until(lambda: (i := jobs.get("broken")).state == "failed" and i, "the failure")
    assert "There is no timestep sampler 'never'" in info.error


def test_a_fork_goes_on_from_the_state_or_from_kept_weights(jobs, monkeypatch):
    jobs.create("old", recipe(6), replace(QUICK, weights=3))
    reaches(jobs, "old", "finished")
    assert jobs.kept("old") == [3, 6]
    jobs.fork("old", "longer", recipe(9, lr=1e-3))
    info = reaches(jobs, "longer", "finished")
    assert info.parent == {"run": "old", "step": 6} and info.resumed_from == 6
    assert [e["step"] for e in jobs.folder("longer").follow()[0]] == [7, 8, 9]
    jobs.fork("old", "from-3", recipe(1, lr=0.0, muon_lr=0.0), step=3)
    assert reaches(jobs, "from-3", "finished").parent == {"run": "old", "step": 3}
    assert same(weights(jobs.network("from-3")), weights(jobs.network("old", 3)))
    jobs.delete("old")
    assert jobs.folder("from-3").recipe().init.endswith("from-3/start.safetensors")
    with pytest.raises(InputError, match="There is no run 'old'"):
        jobs.fork("old", "x", recipe(9))
    with pytest.raises(InputError, match="same network"):
        jobs.fork("longer", "x", recipe(20, optimizer="adamw"))
    with pytest.raises(InputError, match="ask for more steps"):
        jobs.fork("longer", "x", recipe(9))
    whole = jobs.folder("longer").state.read_bytes()
    jobs.fork("longer", "linked", recipe(20), start=False)
    assert os.path.samefile(jobs.folder("linked").state, jobs.folder("longer").state)  # it may be larger than memory
    assert jobs.get("linked").saved_step == 9
    jobs.delete("linked")
    for broken in (OSError("full"), KeyboardInterrupt()):
        with monkeypatch.context() as there, pytest.raises(type(broken)):
            there.setattr(RunFolder, "start", lambda *of, broken=broken, **about: (_ for _ in ()).throw(broken))
            jobs.fork("longer", "x", recipe(20))
    jobs.folder("longer").state.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="The saved state of longer is damaged"):
        jobs.fork("longer", "x", recipe(20))
    assert {i.name for i in jobs.all()} == {"longer", "from-3"} and not (jobs.root / "x").exists()


BAD_NAMES = ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a" * 65, "a\n", "a\0b", "-rf", None, "~", "a b", "é"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leads_out_of_the_folder(jobs, name):
    for ask in (jobs.get, jobs.delete, jobs.stop, jobs.resume, jobs.network, jobs.samples, jobs.packed):
        with pytest.raises(InputError):
            ask(name)
    with pytest.raises(InputError, match="not a name for a run"):
        jobs.create(name, recipe(1))
    with pytest.raises(InputError):
        checkpoint.find(f"runs/{name}")


def test_links_are_not_runs(jobs, tmp_path):
    jobs.create("real", recipe(2), start=False)
    (jobs.root / "link").symlink_to(jobs.root / "real")
    assert jobs.names() == ["real"]
    with pytest.raises(InputError, match="There is no run"):
        jobs.delete("link")


def test_what_is_too_large_or_taken_is_refused_and_leaves_nothing(jobs):
    jobs.create("taken", recipe(2), start=False)
    with pytest.raises(InputError, match="There is already a run taken"):
        jobs.create("taken", recipe(2))
    jobs.configure(max_steps=100, max_batch=8, max_millions=1)
    for wrong, says in (
        (recipe(101), "steps must be at most 100"),
        (replace(recipe(1), config=replace(recipe(1).config, batch_size=16)), "batch_size must be at most 8"),
        (replace(recipe(1), model="tiny"), "1.9 million parameters"),
        (replace(recipe(1), data_settings={"size": 48}), "one of 32, 64"),
    ):
        with pytest.raises(InputError, match=says):
            jobs.create("new", wrong)
    assert jobs.names() == ["taken"] and not (jobs.root / "new").exists()
    assert jobs.free_name("taken") == "taken-2" and jobs.free_name("../ä b") == "b"


def fake_run(jobs, name, samples, kept):
    """A finished run with files of a thousand bytes."""
    jobs.create(name, recipe(2), start=False)
    folder = jobs.folder(name)
    paths = [folder.sample(s, k) for s in samples for k in (".png", "-strip.png", ".safetensors")]
    for k, path in enumerate(paths + [folder.kept(s) for s in kept] + [folder.weights, folder.state]):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100_000))
        os.utime(path, (1000 + k, 1000 + k))
    return folder


def test_old_samples_and_networks_go_when_the_disk_is_over_its_cap(jobs):
    folder = fake_run(jobs, "a", [1, 2, 3, 4], [1, 2, 3])
    used = jobs.usage()
    assert used > 1_700_000 and jobs.usage("a") <= used
    jobs.configure(disk_gb=0.0165)
    jobs.keep_cap()
    assert jobs.samples("a") == [1, 2, 3, 4], "nothing goes before the cap is reached"
    jobs.configure(disk_gb=0.01)
    folder.path.joinpath("ballast").write_bytes(bytes(8_500_000))
    jobs.keep_cap()
    assert jobs.samples("a") == [1, 3, 4] and jobs.kept("a") == [1, 2, 3]
    folder.path.joinpath("ballast").write_bytes(bytes(20_000_000))
    jobs.keep_cap()
    assert jobs.samples("a") == [1, 4] and jobs.kept("a") == [3]
    assert folder.state.exists() and folder.weights.exists()
    with pytest.raises(InputError, match=r"0.01 GB are allowed: delete some"):
        jobs.create("b", recipe(1))
    with pytest.raises(InputError, match="delete some"):
        jobs.resume("a") if not folder.weights.exists() else jobs.fork("a", "c", recipe(5), step=3)


def test_a_run_is_packed_in_pieces_and_bounded(jobs):
    folder = fake_run(jobs, "a", [1], [1])
    (folder.path / ".half.tmp").write_bytes(b"x")
    content = b"".join(jobs.packed("a"))
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert packed.testzip() is None
        names = set(packed.namelist())
    assert {"a/config.json", "a/state.safetensors", "a/samples/0000001-strip.png"} <= names
    assert not any("tmp" in n or "lock" in n for n in names)
    with pytest.raises(InputError, match="at most 0 GB"):
        jobs.packed("a", most=1000)


def test_another_process_with_the_same_pid_is_not_the_trainer(jobs):
    jobs.create("old", recipe(5), start=False)
    folder = jobs.folder("old")
    list(execute(folder, True, None, QUICK, "test"))
    status = replace(folder.status(), state="running", pid=os.getpid(), start_time="another boot:1")
    folder.write_status(status)
    folder.weights.unlink()
    assert jobs.get("old").state == "interrupted" and trainer(folder) is None
    assert not process.send(os.getpid(), "another boot:1", signal.SIGKILL)
    folder.write_status(replace(status, start_time=process.start_time_of(os.getpid()), updated=time.time() - 100))
    assert jobs.get("old").state == "running" and "The last step was 2 min ago" in jobs.get("old").message
    assert "choose Force stop and then Resume, which" in jobs.get("old").message
    folder.write_status(replace(status, state="stopped"))  # or what ends this fixture's trainers would end us


def test_a_second_trainer_of_a_run_is_refused(jobs):
    jobs.create("one", recipe(3), QUICK, start=False)
    folder = jobs.folder("one")
    with folder.claimed(), pytest.raises(InputError, match="being trained by another process"):
        next(execute(folder, True, None, QUICK, "test"))
    assert folder.status() is None, "the second one says nothing over the first one's head"
    assert len(list(execute(folder, True, None, QUICK, "test"))) == 3


def test_a_network_opens_by_the_runs_name_at_any_moment_until_the_disk_is_over_its_cap(jobs, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", jobs.root)
    jobs.create("open", ENDLESS, QUICK)
    past(jobs, "open", 11)
    assert checkpoint.run_names() == ["runs/open"] and checkpoint.load("runs/open").training["steps"] % 10 == 0
    jobs.save_now("open")
    step = until(lambda: jobs.kept("open"), "the kept network")[0]
    assert checkpoint.load(f"runs/open@{step}").training["steps"] == step
    assert checkpoint.load(f"runs/open@{step}").name == f"runs/open@{step}"
    with pytest.raises(InputError, match="has kept no network of step 3"):
        checkpoint.load("runs/open@3")
    jobs.folder("open").path.joinpath("ballast").write_bytes(bytes(20_000_000))
    jobs.configure(disk_gb=0.01)
    jobs.keep_cap()
    info = reaches(jobs, "open", "stopped")
    assert info.saved_step == info.step >= step


def test_damage_is_said_and_never_hides_the_other_runs(jobs):
    jobs.create("good", recipe(2), start=False)
    jobs.create("bad", recipe(2), start=False)
    (jobs.root / "bad" / "config.json").write_text("{")
    (jobs.root / "good" / "status.json").write_text('{"state": ')
    (jobs.root / "good" / "job.json").write_text("[]")
    (jobs.root / "settings.json").write_text('{"parallel": "many"}')
    assert {i.name: i.state for i in jobs.all()} == {"good": "stopped", "bad": "unreadable"}
    assert asdict(jobs.settings)["parallel"] == 1
    assert Intervals() == jobs.folder("good").intervals()


def test_the_app_opens_a_runs_network_and_again_when_it_has_been_saved_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path)
    folder = tmp_path / "mine"
    list(execute(RunFolder(folder), False, recipe(2), replace(QUICK, weights=1), "test"))
    state = AppState()
    assert state.networks()[-1] == "runs/mine"
    first = state.bundle("runs/mine")
    assert state.bundle("runs/mine") is first and first.training["steps"] == 2
    assert state.bundle("runs/mine@1").training["steps"] == 1
    os.utime(folder / "mine.safetensors", (1, 1))
    assert state.bundle("runs/mine") is not first
    for wrong in ("runs/../mine", "runs/other", str(folder / "mine.safetensors"), "runs/mine@7", "runs/mine/mine"):
        with pytest.raises(InputError):
            state.bundle(wrong)
