"""Tens of thousands of images: the same files whatever the number of processes, and after a killed one."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers import bundle, write_checkpoint
from PIL import Image

from pf_core import flow
from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.sampling.bulk import Bulk, BulkConfig, Uncertainty, every_class
from pf_core.sampling.run import Run, SampleSpec

ROOT = Path(__file__).parents[2]
SPEC = SampleSpec("nano", "look_ahead", nfe=6)


def bulk(folder, network=None, **changes):
    network = network or bundle()
    config = BulkConfig(**{"num": 23, "block": 4, "classes": every_class(network)} | changes)
    return Bulk(network, SPEC, config, folder)


def drawn(folder, processes=1, **changes):
    """The folder's files by name, drawn by so many processes, the last one first."""
    for index in reversed(range(processes)):
        list(bulk(folder, **changes).draw(index, processes))
    return contents(folder)


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and ".lock" not in p.name
    }


@pytest.mark.parametrize("format", ["png", "npz"])
def test_one_two_and_three_processes_give_identical_files(tmp_path, format):
    ours = [drawn(tmp_path / str(n), n, format=format, rank_by_certainty=True) for n in (1, 2, 3)]
    assert ours[0] == ours[1] == ours[2]
    assert len([name for name in ours[0] if name.endswith(".png")]) == (23 if format == "png" else 0)


def test_the_npz_is_what_fid_evaluators_read(tmp_path):
    drawn(tmp_path / "npz", format="npz")
    drawn(tmp_path / "png")
    with np.load(tmp_path / "npz" / "samples.npz", allow_pickle=False) as f:
        assert f.files == ["arr_0"] and f["arr_0"].dtype == np.uint8 and f["arr_0"].shape == (23, 32, 32, 3)
        for i, tile in enumerate(f["arr_0"]):
            assert (np.asarray(Image.open(tmp_path / "png" / f"{i:06d}.png")) == tile).all()
    assert not list((tmp_path / "npz" / "blocks").glob("*.npy"))  # in the npz: not kept twice


def test_an_image_carries_the_recipe_that_draws_it_again(tmp_path):
    drawn(tmp_path / "all")
    recipe = SampleSpec.from_dict(json.loads(Image.open(tmp_path / "all" / "000013.png").text["recipe"]))
    assert recipe.seeds == [13] and recipe.labels == [bundle().conditioner.names[3]]
    *_, last = Run(bundle(), recipe)
    image = np.asarray(Image.open(tmp_path / "all" / "000013.png")).astype(int)
    again = (last.x[0] * 127.5 + 128).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    assert np.abs(image - again).max() <= 1  # alone its sums may round otherwise than in a block


def test_classes_come_in_turn_or_as_they_are_asked_for(tmp_path):
    config = BulkConfig(num=30, classes=every_class(bundle()))
    labels = [config.label(i) for i in range(30)]
    assert all(labels.count(name) == 3 for name in bundle().conditioner.names)
    assert BulkConfig(num=3).label(2) is None


def test_it_goes_on_where_it_stopped(tmp_path):
    whole = drawn(tmp_path / "whole")
    begun = bulk(tmp_path / "begun")
    steps = begun.draw()
    next(steps), next(steps)
    assert begun.missing() == 4 and not begun.complete
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "begun").glob("*.png")}
    assert len(before) == 8
    (tmp_path / "begun" / "000002.png").unlink()  # a lost image is drawn again
    assert drawn(tmp_path / "begun") == whole
    kept = [p for p in before if int(p.stem) >= 4]
    assert all(p.stat().st_mtime_ns == before[p] for p in kept)


def test_a_finished_folder_that_lost_its_array_or_ranking_makes_it_again(tmp_path):
    whole = drawn(tmp_path, num=6, format="npz", rank_by_certainty=True)
    for name in ("samples.npz", "ranking.csv"):
        (tmp_path / name).unlink()
        assert not bulk(tmp_path, num=6, format="npz", rank_by_certainty=True).complete
        assert drawn(tmp_path, num=6, format="npz", rank_by_certainty=True) == whole


def test_a_folder_of_other_images_is_left_alone(tmp_path):
    drawn(tmp_path / "a")
    with pytest.raises(InputError, match="another num \\(23, not 24\\)"):
        bulk(tmp_path / "a", num=24)
    with pytest.raises(InputError, match="another sampler"):
        Bulk(
            bundle(),
            SampleSpec("nano", "euler", nfe=6),
            BulkConfig(23, block=4, classes=every_class(bundle())),
            tmp_path / "a",
        )
    (tmp_path / "b").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "b" / "holiday.png")
    with pytest.raises(InputError, match="holds other pictures"):
        bulk(tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["holiday.png"]


def test_images_are_ranked_by_the_variance_along_their_path(tmp_path):
    drawn(tmp_path, rank_by_certainty=True)
    rows = list(csv.DictReader((tmp_path / "ranking.csv").read_text().splitlines()))
    values = [float(row["uncertainty"]) for row in rows]
    assert values == sorted(values) and len(set(values)) > 20 and {int(r["image"]) for r in rows} == set(range(23))
    row = next(r for r in rows if r["image"] == "5")
    assert row["seed"] == "5" and row["class"] == bundle().conditioner.names[5]
    network, sums = bundle(), Uncertainty(bundle().grid)
    mine, before = 0.0, None
    for step in Run(network, bulk(tmp_path, rank_by_certainty=True).recipe(1)):  # images 4 to 7
        sums.add(step)
        if step.phase in ("outer", "final"):
            mine += 0 if before is None else before[1] * float(step.t[1, 0] - before[0])
            before = step.prediction and (
                step.t[1, 0],
                float(flow.difficulty(step.prediction.logvar, network.grid)[1].mean()),
            )
    assert sums.total[1] == pytest.approx(mine, rel=1e-5) and float(row["uncertainty"]) == pytest.approx(mine, rel=1e-5)
    with pytest.raises(InputError, match="predicts no difficulty"):
        Bulk(
            bundle(predict_uncertainty=False),
            SampleSpec("n", "euler"),
            BulkConfig(rank_by_certainty=True),
            tmp_path / "no",
        )
    with pytest.raises(InputError, match="leave --difficulty out"):
        ranked = SampleSpec("nano", "dual_loop", nfe=20, difficulty="divergence")
        Bulk(bundle(), ranked, BulkConfig(rank_by_certainty=True), tmp_path / "no")


def test_generate_as_people_type_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    write_checkpoint(tmp_path, "net")
    argv = ["generate", "--checkpoint", "net", "--nfe", "5", "--num", "6", "--block", "4", "--first-seed", "100"]
    argv += ["--format", "npz", "--rank-by-certainty", "--out", str(tmp_path / "many")]
    assert main([*argv, "--label", "star,heart"]) == 0
    assert "6 images by look_ahead, 5 NFE in samples.npz, ranked in ranking.csv." in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "many" / "ranking.csv").read_text().splitlines()))
    assert sorted((int(r["seed"]), r["class"]) for r in rows) == [(100 + i, ("star", "heart")[i % 2]) for i in range(6)]
    assert main([*argv, "--label", "star,heart"]) == 0 and main([*argv, "--label", "ring"]) == 2
    assert "another classes" in capsys.readouterr().err
    assert main([*argv[:-1], str(tmp_path / "two"), "--label", "no such"]) == 2


def test_a_killed_worker_leaves_no_corrupt_image_and_the_command_completes_the_rest(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    write_checkpoint(folder, "net")
    monkeypatch.setattr(checkpoint, "FOLDER", folder)
    argv = "generate --checkpoint net --sampler euler --nfe 8 --num 480 --block 8 --out".split()
    env = os.environ | {"PATCH_FORCING_CHECKPOINTS": str(folder), "OMP_NUM_THREADS": "1"}
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "--",
        "pf_core",
    ]
    command = [*launch, *argv, str(tmp_path / "two")]
    for _ in range(5):  # a crowded machine may be late: then all are drawn
        shutil.rmtree(tmp_path / "two", ignore_errors=True)
        with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE) as parent:
            while not list((tmp_path / "two").glob("*.png")) and parent.poll() is None:
                time.sleep(0.02)
            for worker in psutil.Process(parent.pid).children()[1:2]:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
            said = parent.stderr.read().decode()
        if parent.returncode != 0:
            break
    assert parent.returncode != 0 and "SIGKILL" in said
    there = list((tmp_path / "two").glob("[0-9]*.png"))
    assert 0 < len(there) < 480 and not json.loads((tmp_path / "two" / "generate.json").read_text()).get("complete")
    assert all(Image.open(path).convert("RGB").size == (32, 32) for path in there)
    assert main([*argv, str(tmp_path / "two")]) == 0 and main([*argv, str(tmp_path / "one")]) == 0
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert "480 images by euler, 8 NFE." in capsys.readouterr().out
