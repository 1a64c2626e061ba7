"""The script for a machine with a GPU, on this one and at the smallest size: it must not fail when its turn comes."""

import json

import bench_gpu
import pytest
import torch

from pf_core.models import preset
from pf_core.samplers import SAMPLERS


@pytest.fixture
def uncompiled(monkeypatch):
    """Compiling takes minutes here, and is torch's own."""
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    monkeypatch.setattr(bench_gpu, "cpu_compiler", lambda: "there")
    monkeypatch.setattr("pf_core.models.compiled.check_compiler", lambda: None)


def ran(tmp_path, *more):
    out = tmp_path / "bench.json"
    asked = ["--size", "nano", "--images", "2", "--steps", "2", "--out", str(out), *more]
    assert bench_gpu.main(asked) == 0
    return json.loads(out.read_text())


def test_everything_is_measured_and_kept(uncompiled, tmp_path):
    found = ran(tmp_path)
    assert found["about"]["size"] == "nano" and found["best_rate"] == max(found["rate"].values()) > 0
    assert [(r["way"], r["images"]) for r in found["forward"]] == [
        ("plain", 1), ("compiled", 1), ("plain", 2), ("compiled", 2),
    ]  # fmt: skip
    rows = {(r["sampler"], r["way"]): r for r in found["sampling"]}
    assert rows.keys() == {(s, w) for s in SAMPLERS for w in ("plain", "compiled")} | {
        ("dual_loop", "cached, refresh once"),
        ("dual_loop", "cached, refresh none"),
    }
    for row in found["forward"] + found["sampling"]:
        assert row["images_per_second"] > 0 and 0 < row["share_of_rate"] < 1.5 and row["memory"] > 0
    assert rows["euler", "compiled"]["largest_difference_from_plain"] == 0
    cached, plain = rows["dual_loop", "cached, refresh none"], rows["dual_loop", "plain"]
    assert cached["nfe"] == plain["nfe"] and cached["token_forwards"] < plain["token_forwards"]
    assert found["left_out"] == []


@pytest.mark.parametrize("size, published", [("B/2", 23.0e9), ("XL/2", 118.6e9)])
def test_the_count_of_operations_is_the_published_one(size, published):
    assert bench_gpu.flops(preset(size)) / 2 == pytest.approx(published, rel=0.02)


def test_what_would_begin_too_late_is_left_out_and_said(uncompiled, tmp_path, capsys):
    found = ran(tmp_path, "--seconds", "0")
    assert not found["forward"] and not found["sampling"] and found["rate"]
    assert (
        "sampling, euler, plain" in found["left_out"]
        and "left out: forward, plain, 1 images" in capsys.readouterr().out
    )
