"""One training on two processes of one thread each: the same losses, and one will."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from two_processes import CONFIG, HALF, RECIPE, SAVES, STEPS, WAYS, losses

from pf_core.data.shapes import Shapes
from pf_core.errors import InputError
from pf_core.models import preset
from pf_core.models.conditioning import ClassLabels
from pf_core.training.loop import Trainer, draw
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute
from pf_core.training.state import load_state

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Losses of a single process; in `one.safetensors` what half of its steps lead to."""
    folder = tmp_path_factory.mktemp("two")
    seen = {name: losses(name, kind=Trainer, half=folder) for name in ("plain", "muon", "parts")}
    (folder / "plain.safetensors").rename(folder / "one.safetensors")
    return seen | {"folder": folder}


@pytest.fixture(scope="module")
def together(alone):
    """(folder, what either process saw); one launch for all tests."""
    folder = alone["folder"]
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(
        [*argv, str(HERE / "two_processes.py"), str(folder)], cwd=ROOT, env=env, capture_output=True, text=True,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, [json.loads((folder / f"rank{k}.json").read_text()) for k in (0, 1)]


@pytest.mark.parametrize("name", WAYS)
def test_two_processes_have_the_losses_of_one(alone, together, name):
    first, second = (seen[name] for seen in together[1])
    assert len(first) == WAYS[name][0].steps and first == second  # each knows the whole batch's loss
    near = 1e-4 if "parts" not in name else 2e-3  # in bf16 the order of rounding shows
    assert first == pytest.approx(alone[name.removeprefix("sharded ").replace("sharded", "plain")], abs=near)


@pytest.mark.parametrize("name", ["plain", "sharded"])
def test_what_two_processes_saved_one_goes_on_with(alone, together, name):
    folder, _ = together
    state, _ = load_state(folder / f"{name}.safetensors")
    assert state["step"] == HALF
    assert losses("plain", state) == pytest.approx(alone["plain"][HALF:], abs=1e-4)
    averaged = torch.load(folder / f"{name}-ema.pt", weights_only=True)
    assert all(torch.allclose(averaged[k], v) for k, v in state["ema"].items())


@pytest.mark.parametrize("name", ["plain", "sharded"])
def test_what_one_process_saved_two_go_on_with(alone, together, name):
    for seen in together[1]:
        assert seen[f"{name} resumed"] == pytest.approx(alone["plain"][HALF:], abs=1e-4)
        assert len(seen[f"{name} resumed"]) == STEPS - HALF


@pytest.mark.parametrize("name", ["run", "sharded-run"])
def test_save_pause_and_stop_reach_both_and_one_process_ends_the_run(together, tmp_path, name):
    folder, seen = together
    assert seen[0][name] == seen[1][name] == list(range(1, 10))
    run = RunFolder(folder / name)
    status = run.status()
    assert status.state == "stopped" and status.saved_step == 9 and run.kept(3).exists()
    for _ in execute(run, True, None, None, "test"):
        pass
    whole = RunFolder(tmp_path / "whole")
    for _ in execute(whole, False, RECIPE, SAVES, "test"):
        pass
    assert run.status().state == "finished"
    ours, theirs = load_file(run.weights), load_file(whole.weights)
    assert all(torch.allclose(ours[k].float(), v.float(), atol=1e-3) for k, v in theirs.items())


def test_one_process_has_nothing_to_shard(tmp_path):
    with pytest.raises(InputError, match="Sharding needs several processes"):
        list(execute(RunFolder(tmp_path / "run"), False, RECIPE, SAVES, "test", shard=True))
    assert not (tmp_path / "run").exists()


def test_each_process_makes_its_own_images_alone():
    data, labels = Shapes(), ClassLabels(10, list(Shapes().names))
    whole = draw(data, CONFIG, labels, preset("nano").grid, 3)
    parts = [draw(data, CONFIG, labels, preset("nano").grid, 3, slice(k, None, 3)) for k in range(3)]
    for k, part in enumerate(parts):
        for name in ("x0", "x1", "y"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[k::3])
        assert torch.equal(part.t.per_patch, whole.t.per_patch[k::3])
