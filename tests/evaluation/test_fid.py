"""FID against a reference file: what is read, what is refused, and what is said beside the number."""

import json
from unittest.mock import patch

import numpy as np
import pytest
import torch
from helpers import write_checkpoint
from PIL import Image

from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.evaluation import fid
from pf_core.evaluation.metrics import moments, moments_distance
from pf_core.models import checkpoint

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (70, 8, 8, 3), np.uint8)


def colours(images):
    """Stands for Inception: five numbers an image."""
    flat = images.float().flatten(2) / 255
    return torch.cat([flat.mean(2), flat.std(2)[:, :2]], 1)


def features(images):
    return colours(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).double().numpy()


@pytest.fixture
def reference(tmp_path):
    real = RNG.integers(50, 200, (90, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", arr_0=real)
    np.savez_compressed(tmp_path / "packed.npz", real)
    mean, covariance = moments(features(real))
    np.savez(tmp_path / "moments.npz", mu=mean, sigma=covariance)
    return tmp_path, (mean, covariance)


def test_images_and_their_moments_are_one_reference(reference):
    folder, (mean, covariance) = reference
    made = fid.moments_of(iter([IMAGES[:50], IMAGES[50:]]), colours)
    want = moments_distance(moments(features(IMAGES)), (mean, covariance))
    for name, count in (("images.npz", 90), ("packed.npz", 90), ("moments.npz", None)):
        read = fid.read_reference(folder / name, colours)
        assert read.images == count
        assert fid.distance(made, read) == pytest.approx(want, rel=1e-6)


def test_a_folder_of_pictures_and_an_npz_are_the_same_images(tmp_path):
    np.savez(tmp_path / "all.npz", arr_0=IMAGES)
    for i, tile in enumerate(IMAGES):
        Image.fromarray(tile).save(tmp_path / f"{i:06d}.{'PNG' if i % 3 else 'png'}")
    assert (np.concatenate(list(fid.images_in(tmp_path))) == IMAGES).all()
    assert (np.concatenate(list(fid.images_in(tmp_path / "all.npz"))) == IMAGES).all()


def test_what_is_no_reference_is_refused(tmp_path):
    np.savez(tmp_path / "floats.npz", arr_0=np.zeros((3, 4, 4, 3)))
    np.savez(tmp_path / "flat.npz", mu=np.zeros(3), sigma=np.zeros((2, 2)))
    np.savez(tmp_path / "objects.npz", mu=np.array([{}], object), sigma=np.zeros((1, 1)))
    (tmp_path / "text.npz").write_text("no")
    for name in ("floats.npz", "flat.npz", "objects.npz", "text.npz"):
        with pytest.raises(InputError, match="arr_0"):
            fid.read_reference(tmp_path / name, colours)
    with pytest.raises(InputError, match="There is no file"):
        fid.read_reference(tmp_path / "none.npz", colours)
    short = fid.Moments(np.zeros(5), np.zeros((5, 5)), 3)
    with pytest.raises(InputError, match="features an image"):
        fid.distance(short, fid.Moments(np.zeros(4), np.zeros((4, 4)), 3))


def test_evaluate_prints_count_and_preprocessing_beside_the_number(reference, monkeypatch, capsys):
    folder, _ = reference
    monkeypatch.setattr(checkpoint, "FOLDER", folder)
    monkeypatch.setattr(fid, "inception", lambda weights, device: colours)
    monkeypatch.setattr(fid, "_fidelity", lambda: type("F", (), {"__version__": "0.4.0"}))
    write_checkpoint(folder, "net")
    (folder / "weights.pth").write_bytes(b"w")
    common = ["evaluate", "--reference", folder / "moments.npz", "--inception", folder / "weights.pth", "--out"]
    common = [str(word) for word in common]
    out = folder / "x.json"
    assert main([*common, str(out), "--checkpoint", "net", "--sampler", "euler", "--nfe", "2", "--samples", "60"]) == 0
    said, result = capsys.readouterr().out, json.loads(out.read_text())
    assert f"FID {result['fid']:.3f} of 60 images" in said and "mu and sigma" in said and "299 x 299" in said
    assert "too high" in said and result["recipe"]["nfe"] == 2 and len(result["reference"]["sha256"]) == 64
    again = folder / "again.json"
    assert main([*common, str(again), "--images", str(folder / "x.images")]) == 0
    assert json.loads(again.read_text())["fid"] == pytest.approx(result["fid"])
    nowhere = ["evaluate", "--reference", "gone.npz", *common[3:], str(folder / "late.json"), "--checkpoint", "net"]
    assert main(nowhere) == 2 and "There is no file gone.npz" in capsys.readouterr().err
    assert not (folder / "late.images").exists()  # nothing is drawn for it
    assert main([*common[:3], "--out", str(out), "--checkpoint", "net"]) == 2
    assert "--inception" in capsys.readouterr().err


def test_inceptions_weights_are_read_without_running_anything(tmp_path):
    pytest.importorskip("scipy")
    try:
        kind = fid._fidelity().FeatureExtractorInceptionV3
    except InputError:
        pytest.skip("torch-fidelity is not installed")
    module = "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"
    with patch.object(kind, "load_state_dict"), patch(module, lambda *a, **k: {}):
        torch.save(kind("random", ["2048"]).state_dict(), tmp_path / "weights.pth")
    network = fid.inception(tmp_path / "weights.pth")
    values = network(torch.from_numpy(IMAGES[:2].transpose(0, 3, 1, 2).copy()))
    assert values.shape == (2, fid.FEATURES) and values.isfinite().all() and not values[0].equal(values[1])
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not hold the weights"):
        fid.inception(tmp_path / "other.pth")
