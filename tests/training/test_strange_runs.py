"""Run folders as strangers leave them: odd names, older versions, damage, clocks set back, threads, locks."""

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jobs_world import QUICK, jobs, reaches, recipe  # noqa: F401
from safetensors.torch import load_file

from app.tabs.train.curves import Curves
from app.tabs.train.rows import rows
from pf_core import files
from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.training import disk
from pf_core.training.config import Intervals
from pf_core.training.queue import Jobs
from pf_core.training.run_dir import RunFolder, to_file
from pf_core.training.runner import execute
from pf_core.training.state import load_state
from pf_core.training.status import Job, read_info, read_job

ROOT = Path(__file__).parents[2]


def train(path, steps=4, resume=False, **changes):
    folder = RunFolder(path)
    for _ in execute(folder, resume, None if resume else recipe(steps, **changes), QUICK, "test"):
        pass
    return folder


def stopped(path, steps=6, at=3):
    """A run that was stopped, and saved, at a step."""
    folder = RunFolder(path)
    for step in execute(folder, False, recipe(steps), QUICK, "test"):
        if step.step == at:
            folder.send_command("stop")
    return folder


def same(a, b):
    x, y = load_file(a), load_file(b)
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


# names


@pytest.mark.parametrize("name", ["latest", "state", "start", "network", "first"])
def test_a_run_of_any_name_keeps_its_network_and_its_state(tmp_path, monkeypatch, name):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path)
    whole = train(tmp_path / "whole", 6)
    folder = stopped(tmp_path / name, 6)
    assert checkpoint.load(f"runs/{name}").training["steps"] == 3 and load_state(folder.state)[0]["step"] == 3
    train(folder.path, resume=True)
    assert checkpoint.load(f"runs/{name}").training["steps"] == 6 and load_state(folder.state)[0]["step"] == 6
    assert same(checkpoint.find(f"runs/{name}"), whole.weights) and f"runs/{name}" in checkpoint.run_names()
    assert checkpoint.find(f"runs/{name}").name == "network.safetensors"
    assert checkpoint.load(str(folder.weights)).name == name, "opened by its path it is called as the run is"
    named = folder.path / f"{name}.safetensors"
    if name == "first":  # as the README and people's scripts spell it
        assert os.path.samefile(named, folder.weights)
    assert name in ("network", "state", "first") or not named.exists()
    assert not (folder.path / "latest.safetensors").exists()


def test_a_fork_called_start_keeps_what_it_began_from(jobs):  # noqa: F811
    train(jobs.root / "old", 4)
    kept = RunFolder(jobs.root / "old").kept(2)
    kept.parent.mkdir()
    kept.write_bytes(RunFolder(jobs.root / "old").weights.read_bytes())
    jobs.fork("old", "start", recipe(2), step=2, start=False)
    folder = jobs.folder("start")
    assert jobs.get("start").network is False, "what it begins from is not its own"
    train(folder.path, resume=True)
    assert same(folder.path / "start.safetensors", jobs.root / "old" / "network.safetensors")
    assert not same(jobs.network("start"), folder.path / "start.safetensors")


def test_a_run_is_found_by_its_folder_as_a_shell_completes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path / "runs")
    run = train(tmp_path / "runs" / "mine")
    assert checkpoint.load("runs/mine/").name == "runs/mine"
    assert (
        checkpoint.find(f"{run.path}/") == checkpoint.find("runs/mine")
        and checkpoint.load(str(run.path)).name == "mine"
    )
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="There is no checkpoint"):
        checkpoint.load(str(tmp_path / "bare"))


def as_old(folder, name=None, finished=True):
    """The folder as the first versions wrote it."""
    (folder.path / f"{folder.name}.safetensors").unlink(missing_ok=True)
    folder.weights.rename(folder.path / f"{name or (folder.name if finished else 'latest')}.safetensors")
    return folder


def test_folders_of_the_first_versions_open_and_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path)
    as_old(train(tmp_path / "done"))
    as_old(stopped(tmp_path / "half"), finished=False)
    assert checkpoint.find("runs/done").name == "done.safetensors" and read_info(RunFolder(tmp_path / "done")).network
    assert checkpoint.find("runs/half").name == "latest.safetensors"
    train(tmp_path / "half", resume=True)
    assert checkpoint.load("runs/half").training["steps"] == 6
    assert sorted(p.name for p in (tmp_path / "half").glob("*.safetensors")) == [
        "half.safetensors",
        "network.safetensors",
        "state.safetensors",
    ]


def test_in_an_old_folder_called_state_the_header_says_what_its_file_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path)
    half = stopped(tmp_path / "state")
    half.weights.unlink()
    assert "runs/state" not in checkpoint.run_names() and read_info(half).network is False and half.saved_step() == 3
    train(half.path, resume=True)
    (half.path / "state.safetensors").unlink()
    as_old(half)  # its network where its state was
    assert checkpoint.load("runs/state").training["steps"] == 6 and read_info(half).state == "finished"
    assert half.saved_step() == 0
    half.write_status(replace(half.status(), state="interrupted"))
    assert main(["train", "--resume", "--out", str(half.path)]) == 2
    assert "has lost its saved state" in capsys.readouterr().err
    assert checkpoint.load("runs/state").training["steps"] == 6


def test_in_an_old_folder_called_latest_the_unfinished_network_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path)
    as_old(stopped(tmp_path / "latest"), finished=False)
    assert checkpoint.load("runs/latest").training["steps"] == 3
    train(tmp_path / "latest", resume=True)
    assert checkpoint.load("runs/latest").training["steps"] == 6


def test_an_old_finished_run_that_has_lost_its_network_gets_it_back_by_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path)
    folder = train(tmp_path / "latest", 4)
    whole = folder.weights.read_bytes()
    folder.weights.unlink()
    train(folder.path, resume=True)
    (tmp_path / "whole.safetensors").write_bytes(whole)
    assert same(checkpoint.find("runs/latest"), tmp_path / "whole.safetensors")


def test_a_run_called_settings_json_does_not_take_the_machines_settings(tmp_path):
    train(tmp_path / "settings.json", 1)
    jobs = Jobs(tmp_path)  # noqa: F811
    assert jobs.configure(parallel=3).parallel == Jobs(tmp_path).settings.parallel == 3
    assert jobs.names() == ["settings.json"]


def test_settings_of_the_first_versions_hold_until_they_are_changed(tmp_path):
    (tmp_path / "settings.json").write_text('{"parallel": 2, "nice": 3}')
    jobs = Jobs(tmp_path)  # noqa: F811
    assert jobs.settings.parallel == 2
    jobs.configure(nice=4)
    assert (jobs.settings.parallel, jobs.settings.nice) == (2, 4)


@pytest.mark.parametrize("name", ["my run é", "a" * 65, "a" * 300, ".hidden", "x@3", "-x"])
def test_a_name_that_no_list_would_show_is_refused_before_training(tmp_path, capsys, name):
    assert main(["train", "--model", "nano", "--steps", "1", "--out", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert ("not a name for a run" in said or "longer than a name may be" in said) and not list(tmp_path.iterdir())


def test_an_old_run_with_such_a_name_is_listed_with_what_to_do(tmp_path, capsys):
    train(tmp_path / "first", 1).path.rename(tmp_path / "my run é")
    assert main(["runs", "--root", str(tmp_path)]) == 0
    assert "cannot be read: rename its folder" in capsys.readouterr().out
    assert rows(Jobs(tmp_path))["runs"][0]["message"].startswith("cannot be read: rename its folder")


def test_the_two_names_of_a_network_are_counted_once(tmp_path):
    folder = train(tmp_path / "first", 1)
    before = disk.usage(folder.path)
    (folder.path / "first.safetensors").unlink()
    assert disk.usage(folder.path) == before


def test_where_there_are_no_hard_links_the_named_network_is_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *a: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    folder = train(tmp_path / "first", 1)
    assert same(folder.path / "first.safetensors", folder.weights)


# damage

DAMAGE = {
    "half a config": ("config.json", "{"),
    "no config": ("config.json", None),
    "text for a number": ("config.json", {"config.steps": "abc"}),
    "a list for a number": ("config.json", {"config.lr": [1]}),
    "a time that is none": ("config.json", {"run.created": "x"}),
    "a time beyond all times": ("config.json", {"run.created": 1e300}),
    "an unknown key": ("config.json", {"colour": 1}),
    "an unknown key of its config": ("config.json", {"config.momentum": 0.9}),
    "a model that is a number": ("config.json", {"model": 3}),
    "settings that are a list": ("config.json", {"data_settings": []}),
    "a source that is text": ("config.json", {"config.source": "abc"}),
    "a parent that is text": ("config.json", {"run.parent": "x"}),
    "a parent without a step": ("config.json", {"run.parent": {"run": "x"}}),
    "a run that is a number": ("config.json", {"run": 5}),
    "deep": ("config.json", '{"a":' * 100_000),
    "empty": ("config.json", ""),
    "a list": ("config.json", "[]"),
    "not UTF-8": ("config.json", b"\xff\xfe\x00"),
    "zeros": ("config.json", b"\0" * 4000),
}


def damage(path, change):
    if change is None:
        path.unlink()
    elif isinstance(change, dict):
        held = json.loads(path.read_text())
        for name, value in change.items():
            *outer, last = name.split(".")
            at = held
            for part in outer:
                at = at[part]
            at[last] = value
        path.write_text(json.dumps(held))
    else:
        path.write_bytes(change if isinstance(change, bytes) else change.encode())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    for name in ("good", "bad"):
        train(root / name, 2)
    return root


def copied(two, tmp_path):
    subprocess.run(["cp", "-a", f"{two}/.", str(tmp_path)], check=True)
    return Jobs(tmp_path)


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_a_row_that_says_why_and_hides_no_other(two, tmp_path, capsys, case):
    jobs = copied(two, tmp_path)  # noqa: F811
    name, change = DAMAGE[case]
    damage(tmp_path / "bad" / name, change)
    listed = {row["name"]: row for row in rows(jobs)["runs"]}
    assert listed["good"]["state"] == "finished" and listed["bad"]["message"].startswith("cannot be read: ")
    assert str(tmp_path) not in listed["bad"]["message"] and len(listed["bad"]["message"]) < 400
    assert listed["bad"]["actions"] == [("ask", "Delete")]
    assert main(["runs", "--root", str(tmp_path)]) == 0 and "cannot be read: " in capsys.readouterr().out
    assert main(["train", "--resume", "--out", str(tmp_path / "bad")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    jobs.tick()
    assert main(["runs", "delete", "bad", "--root", str(tmp_path)]) == 0 and jobs.names() == ["good"]


ODD = {
    "status of another version": ("status.json", {"mood": "fine"}, "finished"),
    "status with text for a number": ("status.json", {"step": "abc"}, "finished"),
    "half a status": ("status.json", '{"state": ', "finished"),
    "status that is deep": ("status.json", "[" * 100_000, "finished"),
    "no status": ("status.json", None, "finished"),
    "job with text for a time": ("job.json", '{"queued": "abc"}', "finished"),
    "job of another version": ("job.json", '{"place": 3}', "finished"),
    "metrics that are a folder": ("metrics.jsonl", None, "finished"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_a_run_can_do_without_may_be_odd(two, tmp_path, case):
    jobs = copied(two, tmp_path)  # noqa: F811
    name, change, state = ODD[case]
    damage(tmp_path / "bad" / name, change)
    if case == "metrics that are a folder":
        (tmp_path / "bad" / name).mkdir()
    assert {row["name"]: row["state"] for row in rows(jobs)["runs"]} == {"good": "finished", "bad": state}
    assert jobs.queue() == [] and Curves(jobs).reply(["bad", "good"], 0)["plots"]


def test_names_of_samples_that_are_no_steps_are_passed_over(two, tmp_path):
    jobs = copied(two, tmp_path)  # noqa: F811
    (tmp_path / "bad" / "samples").mkdir(exist_ok=True)
    for name in ("²", "9" * 100, "x"):
        (tmp_path / "bad" / "samples" / f"{name}.png").touch()
    assert jobs.samples("bad") == [] and len(rows(jobs)["runs"]) == 2


BAD_LINES = [b'{"step": 2, "mse": "\xff\xfe"}', b"\xff\xff\xff", b'{"step": 2, "validation": "abc"}']
BAD_LINES += [b'{"step": 2, "validation": [NaN]}', b'{"step": 2, "calibration": [{"t": 0.1, "predicted": 3}]}']
BAD_LINES += [b'{"step": "2"}', b'{"step": true}', b"[" * 5000, b'{"step": 2, "mse": 1e999}', b"", b"\0" * 50, b"[]"]


def test_a_line_of_the_metrics_that_cannot_be_read_is_dropped(tmp_path):
    folder = stopped(tmp_path / "run")
    lines = folder.metrics.read_bytes().splitlines()
    folder.metrics.write_bytes(b"\n".join([lines[0], *BAD_LINES, *lines[1:]]) + b'\n{"step": 3, "ms')
    assert [e["step"] for e in folder.follow()[0]] == [1, 2, 3]
    assert Curves(Jobs(tmp_path)).reply(["run"], 0)["plots"]
    train(folder.path, resume=True)
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]


# states and clocks


def test_a_clock_set_back_between_launch_and_end_leaves_a_finished_run_finished(jobs):  # noqa: F811
    jobs.create("first", recipe(3), QUICK)
    reaches(jobs, "first", "finished")
    folder = jobs.folder("first")
    folder.write_status(replace(folder.status(), updated=time.time() - 7 * 24 * 3600))
    assert jobs.get("first").state == "finished"
    old = {k: v for k, v in to_file(read_job(folder)).items() if k != "before"}
    files.write_json(folder.path / "job.json", old)  # as the first versions wrote it
    assert jobs.get("first").state == "finished"


def test_a_trainer_that_never_reported_has_failed_whatever_the_clock_says(tmp_path):
    folder = train(tmp_path / "run", 2)
    spoke = folder.status()
    folder.write_status(replace(spoke, state="stopped", updated=time.time() + 7 * 24 * 3600, pid=1, start_time="a:1"))
    launched = Job(launched=time.time(), pid=1, start_time="a:2", before="a:1")
    files.write_json(folder.path / "job.json", to_file(launched))
    assert read_info(folder).state == "failed"
    files.write_json(folder.path / "job.json", to_file(replace(launched, before="a:0")))
    assert read_info(folder).state == "stopped", "a later trainer has reported"


def test_the_queue_keeps_its_order_when_the_clock_goes_back(jobs, monkeypatch):  # noqa: F811
    for name in "abc":
        jobs.create(name, recipe(2), QUICK, start=False)
    monkeypatch.setattr(jobs, "tick", lambda: None)
    now = time.time()
    for name, clock in zip("abc", (now, now - 3600, now - 7200), strict=True):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        jobs.resume(name)
    assert jobs.queue() == ["a", "b", "c"]


def test_resuming_a_finished_run_whose_pictures_changed_leaves_it_finished(tmp_path, capsys):
    folder = train(tmp_path / "run", 2)
    files.write_json(folder.path / "data.json", {"digest": "of other pictures", "pictures": 3})
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    config = json.loads((folder.path / "config.json").read_text())
    config |= {"dataset": "folder", "data_settings": {"path": str(tmp_path / "gone")}}
    (folder.path / "config.json").write_text(json.dumps(config))
    assert main(["train", "--resume", "--out", str(folder.path)]) == 0
    assert read_info(folder).state == "finished" and "2 steps" in capsys.readouterr().out
    del before[folder.path / "config.json"]
    assert all(path.read_bytes() == content for path, content in before.items())


# losses that are no numbers


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"accumulate": 2}])
def test_a_loss_that_is_no_number_stops_at_once_and_the_last_save_stays(tmp_path, changes):
    folder, seen = RunFolder(tmp_path / "run"), []
    every = Intervals(save=2, log=0, validate=0, samples=0)
    with pytest.raises(InputError, match="At step 4 the loss is no longer finite"):
        for at in execute(folder, False, recipe(50, **changes), every, "test"):
            seen.append(at.step)
            if at.step == 3:
                with torch.no_grad():
                    at.trainer.model.final_layer.linear.weight[0, 0] = float("inf")
    assert seen == [1, 2, 3] and read_info(folder).state == "failed"
    assert load_state(folder.state)[0]["step"] == 2
    assert checkpoint.load(str(folder.weights)).training["steps"] == 2
