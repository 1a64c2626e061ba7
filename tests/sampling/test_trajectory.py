import json

import numpy as np
import pytest
import torch
from helpers import bundle
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from pf_core import flow
from pf_core.errors import InputError
from pf_core.models.codecs import to_uint8
from pf_core.sampling.export import WRITERS, export, film_strip, read_recipe, sigma_colours
from pf_core.sampling.run import Run, SampleSpec, sample
from pf_core.sampling.trajectory import Trajectory, follow, record

SPEC = SampleSpec("nano", "look_ahead", nfe=12, labels=["star"], seeds=[3, 4], cfg_scale=2.0)


@pytest.fixture(scope="module")
def run():
    return record(Run(bundle(), SPEC))


def test_one_frame_a_forward_pass_and_the_final_state(run):
    steps = list(sample(bundle(), SPEC))
    assert [(f.phase, f.outer, f.nfe) for f in run.frames] == [(s.phase, s.outer, s.nfe) for s in steps[:-1]]
    assert torch.equal(run.x1, steps[-1].x) and run.forwards == 2 * len(run)


def test_a_frame_holds_the_step(run):
    net = bundle()
    for step, frame in zip(sample(net, SPEC), run.frames, strict=False):
        seen = step.prediction
        assert torch.equal(frame.x, step.x.half()) and torch.equal(frame.t, step.t)
        assert torch.equal(frame.x1_hat, flow.predict_x1(step.x, seen.v, step.t, net.grid).half())
        assert torch.allclose(frame.logvar_cond, net.grid.to_patches(seen.logvar_cond.exp()).log(), atol=1e-5)
        if step.easy is not None and step.phase == "outer":
            assert torch.equal(frame.easy, frame.logvar.exp() < frame.threshold[:, None] * (1 - 1e-6))


def test_the_file_has_the_promised_tensors_and_header(run, tmp_path):
    run.save(tmp_path / "run.safetensors")
    with safe_open(tmp_path / "run.safetensors", "pt") as f:
        s, b, n = len(run), 2, 16
        shapes = {k: tuple(f.get_slice(k).get_shape()) for k in f.keys()}
        assert shapes["x"] == (s, b, 3, 32, 32) and shapes["x1"] == (b, 3, 32, 32)
        assert all(shapes[k] == (s, b, n) for k in ("t", "logvar", "logvar_cond", "easy"))
        assert f.get_tensor("x1").dtype == torch.float32 and set(f.get_tensor("easy").unique().tolist()) == {0, 1}
        header = {k: json.loads(v) for k, v in f.metadata().items()}
    assert len(header["phase"]) == len(header["outer"]) == len(header["nfe"]) == s
    assert header["recipe"] == json.loads(json.dumps(run.recipe))


def test_saving_and_loading_keeps_everything(run, tmp_path):
    run.save(tmp_path / "run.safetensors")
    again = Trajectory.load(tmp_path / "run.safetensors")
    assert torch.equal(again.x1, run.x1) and again.grid == run.grid and again.seconds == run.seconds
    for a, b in zip(again.frames, run.frames, strict=True):
        for key, x in vars(a).items():
            y = getattr(b, key)
            assert torch.allclose(x, y, rtol=0, atol=0, equal_nan=True) if isinstance(x, torch.Tensor) else x == y


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_every_export_repeats_the_run_bit_for_bit(run, tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    export(run, bundle().codec, path)
    again = record(Run(bundle(), SampleSpec.from_dict(read_recipe(path))))
    assert torch.equal(again.x1, run.x1)
    assert list(tmp_path.iterdir()) == [path]


def test_animations_have_a_picture_a_forward_pass(run, tmp_path):
    for suffix in (".gif", ".webp"):
        export(run, bundle().codec, tmp_path / f"run{suffix}")
        with Image.open(tmp_path / f"run{suffix}") as picture:
            assert picture.n_frames == len(run)


def test_a_strip_grows_with_columns(run):
    few, many = (film_strip(run, bundle().codec, columns=c) for c in (3, 8))
    assert few.height == many.height and few.width < many.width


def test_a_sheet_holds_the_results(run, tmp_path):
    export(run, bundle().codec, tmp_path / "sheet.png", sheet=True)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (128, 64)  # as wide as its two images
        pixels = torch.from_numpy(np.array(picture))[::2, ::2]
    assert torch.equal(pixels[:, 32:64], to_uint8(run.x1)[1])
    assert SampleSpec.from_dict(read_recipe(tmp_path / "sheet.png")).seeds == [3, 4]
    with pytest.raises(InputError, match="must end in .png"):
        export(run, bundle().codec, tmp_path / "sheet.gif", sheet=True)


def test_missing_difficulty_is_grey():
    assert len(set(sigma_colours(torch.tensor([torch.nan]))[0].tolist())) == 1


def test_a_network_without_difficulty_records_nan(tmp_path):
    plain = record(Run(bundle(predict_uncertainty=False), SampleSpec("nano", "euler", nfe=3)))
    assert torch.isnan(plain.frames[0].logvar).all() and not plain.frames[0].easy.any()
    export(plain, bundle().codec, tmp_path / "plain.png")


def test_a_stopped_run_is_saved_as_what_really_ran(tmp_path):
    job = Run(bundle(), SPEC)
    trajectory = Trajectory(job.bundle.grid, job.spec.to_dict(), job.x0)
    frames = follow(job, trajectory)
    next(frames), next(frames)
    frames.close()
    assert len(trajectory) == 2 and job.forwards == 4
    trajectory.save(tmp_path / "two.safetensors")
    found = Trajectory.load(tmp_path / "two.safetensors")
    assert len(found) == 2 and found.x1 is None and found.forwards == 4
    with safe_open(tmp_path / "two.safetensors", "pt") as f:
        assert "x1" not in f.keys() and json.loads(f.metadata()["run"])["finished"] is False
    trajectory.frames.clear()
    with pytest.raises(InputError, match="before its first"):
        trajectory.save(tmp_path / "no.safetensors")


@pytest.mark.parametrize("name", ["run.txt", "run"])
def test_unknown_suffixes_are_refused(run, tmp_path, name):
    with pytest.raises(InputError, match="must end in"):
        export(run, bundle().codec, tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_files_without_a_recipe_are_refused(tmp_path, content):
    for suffix in (".png", ".json", ".safetensors", ".gif"):
        path = tmp_path / f"x{suffix}"
        if content is None:
            Image.new("RGB", (4, 4)).save(path, "PNG")
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match="no recipe"):
            read_recipe(path)
        with pytest.raises(InputError):
            Trajectory.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda t, h: t.update(t=t["t"][:, :, :-1].contiguous()),
        lambda t, h: t.update(x=t["x"][:, :1].contiguous()),
        lambda t, h: t.update(x0=t["x0"][..., :-1].contiguous()),
        lambda t, h: t.update(x1=torch.zeros(1)),
        lambda t, h: t.update(threshold=torch.zeros(3)),
        lambda t, h: t.update(t=torch.full_like(t["t"], torch.nan)),
        lambda t, h: t.update(logvar=t["logvar"].int()),
        lambda t, h: h.update(run='{"grid": [4, 4, 4], "seconds": 0, "forwards": 1}'),
        lambda t, h: h.update(run='{"grid": ["a", 4, 4], "seconds": 0, "forwards": 1}'),
        lambda t, h: h.update(run='{"grid": [32.0, 32, 8], "seconds": 0, "forwards": 1}'),
        lambda t, h: h.update(run="[]"),
        lambda t, h: h.update(phase=json.dumps(["<b>"] * 12)),
        lambda t, h: h.update(nfe=json.dumps(["x"] * 12)),
        lambda t, h: h.update(recipe="3"),
    ],
)
def test_a_damaged_recording_is_a_sentence(run, tmp_path, damage):
    run.save(tmp_path / "good.safetensors")
    with safe_open(tmp_path / "good.safetensors", "pt") as f:
        tensors, header = {k: f.get_tensor(k) for k in f.keys()}, dict(f.metadata())
    damage(tensors, header)
    save_file(tensors, tmp_path / "bad.safetensors", metadata=header)
    with pytest.raises(InputError, match="not a recorded run") as e:
        Trajectory.load(tmp_path / "bad.safetensors")
    assert "\n" not in str(e.value)


def test_given_noise_is_in_the_recipe_and_travels_in_raw_arrays_only(tmp_path):
    x0 = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    given = record(Run(bundle(), SPEC, x0))
    assert given.recipe["noise"]["file"] == "" and len(given.recipe["noise"]["sha256"]) == 64
    export(given, bundle().codec, tmp_path / "given.safetensors")
    again = Trajectory.load(tmp_path / "given.safetensors")
    assert torch.equal(record(Run(bundle(), SampleSpec.from_dict(again.recipe), again.x0)).x1, given.x1)
    with pytest.raises(InputError, match="safetensors"):
        export(given, bundle().codec, tmp_path / "given.json")
