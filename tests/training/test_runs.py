"""A run's folder: what is written, and that neither a full disk nor a signal nor a look at it changes the weights."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import own_pictures
import pytest
import torch
from jobs_world import QUICK, recipe
from PIL import Image
from safetensors.torch import load_file

from pf_core import files, flow
from pf_core.cli import main
from pf_core.cli.runs import clock
from pf_core.data import DATASETS, toybox
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.sampling.trajectory import Trajectory
from pf_core.training import disk, plans
from pf_core.training.config import Intervals
from pf_core.training.estimate import expected
from pf_core.training.loop import SEGMENTS
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import check, execute, network
from pf_core.training.state import load_state
from pf_core.training.validation import calibration, column, smooth
from pf_core.types import PatchTime, Prediction

ROOT = Path(__file__).parents[2]


def trained(path, recipe, intervals=QUICK, resume=False, **options):
    folder = RunFolder(path)
    for _ in execute(folder, resume, recipe, intervals, "test", **options):
        pass
    return folder


def same(a, b):
    x, y = load_file(a), load_file(b)
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def test_looking_at_a_training_does_not_change_it(tmp_path):
    plain = trained(tmp_path / "plain", recipe(6), Intervals(save=0, log=0, validate=0, samples=0))
    torch.manual_seed(5)
    watched = trained(tmp_path / "watched", recipe(6), Intervals(save=1, log=1, validate=2, samples=2, weights=1))
    assert load_file(plain.weights).keys() == load_file(watched.weights).keys()
    assert same(plain.weights, watched.weights)
    assert len(list(watched.path.glob("samples/*.safetensors"))) == 3 and not plain.metrics.exists()


def test_a_snapshot_is_the_average_of_the_trained_weights_alone(tmp_path, capsys):
    kept = Intervals(save=0, log=0, validate=0, samples=0, weights=1)
    averaged = trained(tmp_path / "averaged", recipe(3, ema=0.6), kept)
    last = trained(tmp_path / "last", recipe(3, ema=0.0), kept)  # averaging does not feed back into training
    out = tmp_path / "network.safetensors"
    assert main(["snapshot", str(averaged.path), "--step", "2", "--out", str(out)]) == 0
    one, two, found = (load_file(path) for path in (last.kept(1), last.kept(2), out))
    for name in found:
        wanted = (0.6 * 0.4 * one[name].float() + 0.4 * two[name].float()) / (1 - 0.6**2)
        assert torch.allclose(found[name].float(), wanted, rtol=0.02, atol=2e-3), name
    assert "0.3600" in checkpoint.load(str(out)).training["average"]
    assert main(["snapshot", str(averaged.path), "--step", "7", "--out", str(out)]) == 2
    assert "Kept: 1, 2, 3" in capsys.readouterr().err
    assert main(["snapshot", str(averaged.path), "--step", "1", "--out", str(out)]) == 2  # 60% first weights
    assert "take a later step" in capsys.readouterr().err


def test_samples_come_with_their_maps_on_the_same_noise_each_time(tmp_path):
    folder = trained(tmp_path / "run", recipe(4), replace(QUICK, samples=2))
    early, late = (Trajectory.load(folder.sample(step, ".safetensors")) for step in (2, 4))
    assert torch.equal(early.x0, late.x0) and not torch.equal(early.x1, late.x1)
    assert len(late) == 9 and late.frames[3].logvar.isfinite().all() and late.frames[0].t.shape == (4, 16)
    assert any(f.t.min() < f.t.max() for f in late.frames), "patches at different times"
    for kind in (".png", "-strip.png"):
        with Image.open(folder.sample(4, kind)) as image:
            assert image.width > 200 and len(set(image.convert("L").tobytes())) > 10
    sit = trained(
        tmp_path / "sit", replace(recipe(2, timesteps="uniform"), difficulty=False), replace(QUICK, samples=2)
    )
    assert not Trajectory.load(sit.sample(2, ".safetensors")).frames[0].logvar.isfinite().any()


def test_the_metrics_have_all_that_a_plot_needs(tmp_path):
    folder = trained(tmp_path / "run", recipe(6), Intervals(save=0, log=2, validate=3, samples=0))
    entries, token, fresh = folder.follow()
    assert fresh and column(entries, "mse")[0] == [2, 4, 6] and column(entries, "validation") == ([], [])
    line = next(e for e in entries if "mse" in e)
    assert {"total", "mse", "nll", "grad_norm", "rate", "lr", "images_per_second", "seconds", "seconds_left"} < set(
        line
    )
    looked = [e for e in entries if "validation" in e]
    assert [e["step"] for e in looked] == [3, 6] and len(looked[0]["validation"]) == len(SEGMENTS)
    assert [c["t"] for c in looked[0]["calibration"]] == SEGMENTS
    assert folder.follow(token) == ([], token, False)
    folder.append(step=7, mse=1.0)
    with open(folder.metrics, "a") as f:
        f.write('{"step": 8, "ms')  # being written
    assert [e["step"] for e in folder.follow(token)[0]] == [7]
    folder.forget_after(6)
    again, _, fresh = folder.follow(token)
    assert fresh and again == entries


def test_calibration_sets_predicted_against_real_error():
    grid = network(recipe(), DATASETS["shapes"].fn()).grid
    rng = torch.Generator().manual_seed(0)
    logvar = grid.to_pixels(torch.randn(200, grid.n, generator=rng))
    u = torch.randn(200, 3, 32, 32, generator=rng) * (logvar / 2).exp()  # errors just as large as predicted
    look = flow.Look(u, u, PatchTime.shared(torch.zeros(200), grid.n), Prediction(0 * u, logvar, 0 * u, logvar), grid)
    found = calibration(look)
    assert len(found["predicted"]) == 10 and found["predicted"] == sorted(found["predicted"])
    assert found["real"] == pytest.approx(found["predicted"], rel=0.1)
    doubled = calibration(look._replace(u=2 * u))
    assert doubled["real"] == pytest.approx([4 * v for v in found["predicted"]], rel=0.1)


def test_smoothing_starts_at_the_first_value_and_follows():
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3, 3, 3]) and smooth([]) == []
    assert smooth([0.0, 1.0], keep=0.5) == pytest.approx([0, 2 / 3])


# disks that are full


def limited(folder, limit, *flags):
    """A trainer whose files may not grow over `limit` bytes: for the program that is a disk with no room."""
    argv = [sys.executable, "-m", "pf_core", "train", "--resume", "--threads", "1", "--out", str(folder), *flags]

    def poor():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, preexec_fn=poor)


def test_a_full_disk_ends_a_training_with_a_sentence_and_harms_nothing(tmp_path):
    first = trained(tmp_path / "run", recipe(8), replace(QUICK, save=4))
    config = json.loads((first.path / "config.json").read_text())
    config["config"]["steps"] = 20
    (first.path / "config.json").write_text(json.dumps(config))
    before, logged = first.state.read_bytes(), first.follow()[0]
    done = limited(first.path, 100_000)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "Cannot write" in done.stderr and "File too large" in done.stderr
    status = first.status()
    assert status.state == "failed" and "state.safetensors: File too large" in status.error and status.saved_step == 8
    assert first.state.read_bytes() == before and first.follow()[0][: len(logged)] == logged
    assert not list(first.path.rglob(".*tmp*")) and load_state(first.state)[0]["step"] == 8
    trained(first.path, None, None, resume=True)
    assert first.status().state == "finished" and first.status().resumed_from == 8


@pytest.mark.parametrize("fails", ["metrics", "status", "samples"])
def test_whatever_cannot_be_written_the_status_says_so_out_of_the_reserve(tmp_path, monkeypatch, fails):
    folder = RunFolder(tmp_path / "run")
    plain, full = files.replacing, []

    def no_room(*_args, **_kwargs):
        if full and (folder.path / "reserve").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def replacing(path, *args, **kwargs):
        if fails in str(path) or fails == "status":
            no_room() if fails != "status" else _as_input(no_room, path)
        return plain(path, *args, **kwargs)

    def append(self, **entry):
        if fails == "metrics":
            _as_input(no_room, self.metrics)

    def _as_input(act, path):
        try:
            act()
        except OSError as e:
            raise InputError(f"Cannot write {path}: {e.strerror}.") from e

    monkeypatch.setattr(files, "replacing", replacing)
    if fails == "metrics":
        monkeypatch.setattr(RunFolder, "append", append)
    with pytest.raises((InputError, OSError), match="No space left"):
        for at in execute(folder, False, recipe(9), Intervals(save=2, log=1, validate=0, samples=3), "test"):
            if at.step == 2:
                full.append(True)
                if fails == "status":
                    monkeypatch.setattr("pf_core.training.control.HEARTBEAT", 0.0)
    status = folder.status()
    assert status.state == "failed" and "No space left" in status.error and status.saved_step == 2
    assert load_state(folder.state)[0]["step"] == 2 and not (folder.path / "reserve").exists()


def test_half_a_line_is_taken_back_when_the_disk_is_full(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    folder = RunFolder(tmp_path)
    folder.metrics.symlink_to("/dev/full")
    with pytest.raises(InputError, match="No space left"):
        folder.append(step=1)


# signals and commands in this very process


def test_a_signal_saves_and_stops_and_the_next_session_ends_with_the_same_bits(tmp_path):
    whole = trained(tmp_path / "whole", recipe(7), QUICK)
    folder = RunFolder(tmp_path / "cut")
    handler = signal.getsignal(signal.SIGTERM)
    for at in execute(folder, False, recipe(7), QUICK, "test"):
        if at.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler
    status = folder.status()
    assert (status.state, status.step, status.saved_step) == ("stopped", 3, 3)
    assert "Stopped and saved at step 3 of 7." in status.message and folder.weights.exists()
    trained(folder.path, None, None, resume=True)
    assert same(whole.weights, folder.weights) and same(whole.weights, folder.path / "cut.safetensors")


def test_a_training_in_a_thread_obeys_files(tmp_path):
    folder, seen = RunFolder(tmp_path / "run"), []

    def work():
        for at in execute(folder, False, recipe(50_000), QUICK, "test"):
            seen.append(at.step)
            if at.step == 3:
                folder.send_command("stop")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert seen == [1, 2, 3] and folder.status().state == "stopped"


def test_leaving_a_training_says_so(tmp_path):
    steps = execute(RunFolder(tmp_path / "run"), False, recipe(9), QUICK, "test")
    next(steps)
    steps.close()
    status = RunFolder(tmp_path / "run").status()
    assert status.state == "stopped" and "Stopped at step 1; step 0 is saved" in status.message


def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="no longer finite"):
        for at in execute(folder, False, recipe(9), replace(QUICK, log=0, save=2), "test"):
            if at.step == 3:
                with torch.no_grad():
                    next(at.trainer.model.parameters()).fill_(float("nan"))
    assert folder.status().state == "failed" and load_state(folder.state)[0]["step"] == 2


# TensorBoard


def test_an_event_file_reads_back(tmp_path):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = trained(tmp_path / "run", recipe(4), replace(QUICK, validate=2), tensorboard=True)
    read = loading.EventAccumulator(str(folder.path / "tensorboard"))
    read.Reload()
    tags = set(read.Tags()["scalars"])
    assert {"loss/train", "loss/mse", "loss/nll", "lr", "images_per_second", "train/grad_norm", "val/loss"} <= tags
    assert len([t for t in tags if t.startswith("val/t=")]) == 8
    steps, losses = column(folder.follow()[0], "total")
    assert [(e.step, pytest.approx(e.value, rel=1e-5)) for e in read.Scalars("loss/train")] == list(
        zip(steps, losses, strict=True)
    )


# plans


@pytest.mark.parametrize("name", plans.PLANS)
def test_plans_fit_together(name):
    plan = plans.PLANS[name]
    assert check(plan.recipe).predict_uncertainty
    slow, fast = (expected(plan.recipe, plan.intervals, rate) for rate in (25.0, 130.0))
    assert fast < slow and 0.8 * fast < plan.seconds < 1.2 * slow


def test_a_pair_differs_in_what_the_paper_changes_and_in_nothing_else():
    sit, pft = plans.pair(recipe(9, seed=3, lr=1e-3))
    assert (sit.difficulty, pft.difficulty) == (False, True)
    assert (sit.config.timesteps, pft.config.timesteps) == ("uniform", "ltg")
    assert (
        replace(sit.config, timesteps="ltg") == pft.config and replace(sit, difficulty=True, config=pft.config) == pft
    )
    other = plans.pair(recipe(9, timesteps="srm", timestep_settings={"sharpness": 4.0}))[1]
    assert (other.config.timesteps, other.config.timestep_settings) == ("srm", {"sharpness": 4.0})
    assert plans.pair(sit)[1].config.timesteps == "ltg"
    assert plans.pair(recipe(timesteps="ltg_shared"))[1].config.timesteps == "ltg"  # one t a sample, too


def test_a_made_data_set_of_another_version_is_named(tmp_path, monkeypatch):
    toys = recipe(6, dataset="toybox", data_settings={"count": 4})
    for at in execute(RunFolder(tmp_path / "run"), False, toys, replace(QUICK, save=2), "test"):
        if at.step == 2:
            break
    monkeypatch.setattr(toybox, "VERSION", 99)
    with pytest.raises(InputError, match="This version draws these images differently"):
        trained(tmp_path / "run", None, resume=True)


def test_what_cannot_work_is_refused_before_a_folder_is_made(tmp_path, monkeypatch):
    own_pictures.tree(tmp_path / "mine", own_pictures.two_classes(2))
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", str(tmp_path))
    mine = recipe(2, dataset="folder", data_settings={"path": str(tmp_path / "mine"), "size": 16, "held_out": 0.0})
    with pytest.raises(InputError, match="None of these pictures is held out"):
        trained(tmp_path / "run", mine, replace(QUICK, compass=1))
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="on 4 processes"):
        trained(tmp_path / "run", recipe(2))
    assert not (tmp_path / "run").exists()


def test_a_run_is_resumed_from_any_folder_on_its_own_device(tmp_path, monkeypatch, capsys):
    own_pictures.tree(tmp_path / "here" / "mine", own_pictures.two_classes(2))
    (tmp_path / "start.safetensors").write_bytes(trained(tmp_path / "first", recipe(1)).weights.read_bytes())
    monkeypatch.chdir(tmp_path / "here")
    argv = "train --dataset folder --path mine --size 32 --model nano --steps 2 --batch-size 2 --device cpu".split()
    assert main([*argv, "--out", "run"]) == 0
    made = RunFolder(tmp_path / "here" / "run")
    assert made.recipe().data_settings["path"] == str(tmp_path / "here" / "mine")
    assert made.about()["device"] == "cpu" and made.about()["created"] > 0
    assert main([*argv, "--out", "run", "--resume"]) == 0  # the same path, named from here
    shapes = ["train", "--model", "nano", "--steps", "1", "--batch-size", "2", "--init", "../start.safetensors"]
    assert main([*shapes, "--out", "more"]) == 0
    assert RunFolder("more").recipe().init == str(tmp_path / "start.safetensors")
    config = json.loads((made.path / "config.json").read_text())
    (made.path / "config.json").write_text(json.dumps(config | {"model": "enormous"}))
    assert main(["train", "--out", "run", "--resume"]) == 2 and "no network size 'enormous'" in capsys.readouterr().err


def test_the_oldest_is_pruned_by_its_step(tmp_path):
    for step in (9_000_000, 11_000_000, 12_000_000):
        for kind in ("samples", "checkpoints"):
            path = tmp_path / "run" / kind / f"{step:07d}{'.png' if kind == 'samples' else '.safetensors'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    disk.prune([RunFolder(tmp_path / "run")], 100)
    assert [p.name for p in sorted((tmp_path / "run").glob("*/*"))] == [
        "12000000.safetensors", "12000000.png", "9000000.png",
    ]  # fmt: skip


def test_a_recipes_command_line_trains_that_recipe(tmp_path):
    given = recipe(2, seed=3, timesteps="srm", timestep_settings={"sharpness": 4.0}, stop_gradient=False, compile=False)
    given = replace(given, data_settings={"count": 10, "variety": 0.5}, model_settings={"depth": 1}, difficulty=False)
    argv = plans.command(given, str(tmp_path / "run"), QUICK)
    assert main(["train", *argv]) == 0
    made = RunFolder(tmp_path / "run")
    assert made.intervals() == QUICK
    with pytest.raises(InputError, match="has no setting 's'"):
        plans.command(replace(given, config=replace(given.config, timestep_settings={"s": 4})), "x")
    filled = {**DATASETS["shapes"].settings(given.data_settings)}
    assert made.recipe() == replace(given, data_settings=filled)


def test_an_estimate_is_measured_and_writes_nothing(tmp_path, monkeypatch):
    found = plans.estimate(recipe(1000), QUICK)
    assert found.parameters > found.trainable > 50_000 and found.memory > 100 * 2**20
    assert found.images_per_second > 0 and found.steps >= 1
    assert found.seconds == pytest.approx(found.first + 2000 / found.images_per_second)
    assert "192 numbers and the network is 32 wide" in found.notes[0]
    with pytest.raises(InputError, match="one of 32, 64"):
        plans.estimate(replace(recipe(), data_settings={"size": 48}), QUICK)
    monkeypatch.setattr(plans, "PATIENCE", 0.01)
    with pytest.raises(InputError, match="too large for this machine"):
        plans.estimate(recipe(), QUICK)


# the command


def test_the_runs_command(tmp_path, capsys):
    root = ["--root", str(tmp_path)]
    assert main(["runs", *root]) == 0 and "No runs in" in capsys.readouterr().out
    trained(tmp_path / "first", recipe(2))
    assert main(["runs", *root]) == 0 and "finished" in capsys.readouterr().out
    assert main(["runs", "stop", "first", *root]) == 2 and "is not running" in capsys.readouterr().err
    assert main(["runs", "delete", *root]) == 2 and "Name a run" in capsys.readouterr().err
    assert main(["runs", "fly", "first", *root]) == 2 and "cannot 'fly'" in capsys.readouterr().err
    assert main(["runs", "delete", "first", *root]) == 0 and not (tmp_path / "first").exists()
    assert [clock(s) for s in (5, 62, 3700)] == ["0:05", "1:02", "1:01:40"]


# killed at random


def test_a_training_that_is_killed_at_random_moments_ends_with_the_same_bits():
    """`make torture` does this 50 times to one run."""
    argv = [sys.executable, str(ROOT / "tests" / "torture.py"), "--kills", "3", "--steps", "60"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["kills"] == 3
