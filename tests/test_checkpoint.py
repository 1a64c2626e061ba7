import json

import pytest
import torch
from helpers import lively, write_checkpoint
from safetensors.torch import save_file

from pf_core import checkpoint
from pf_core.data.shapes import SHAPES
from pf_core.errors import InputError
from pf_core.flow import Source
from pf_core.sample import SampleSpec, sample
from pf_core.types import PatchTime


def test_a_saved_network_comes_back_with_its_header(tmp_path):
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, lively(), list(SHAPES), {"steps": 7}, Source((0.5,), 2.0))
    net = checkpoint.load(str(path))
    assert net.training == {"steps": 7} and net.conditioner.names == list(SHAPES) and net.source.std == 2.0
    x, t, y = torch.randn(2, 3, 32, 32), PatchTime.dense(torch.rand(2, 16)), torch.tensor([1, 10])
    rounded = lively()
    for p in rounded.parameters():
        if p is not rounded.pos_embed:
            p.copy_(p.bfloat16().float())
    assert torch.equal(net.model(x, t, y).v, rounded(x, t, y).v)
    assert not any(p.requires_grad for p in net.model.parameters())


def test_weights_are_stored_in_bf16(tmp_path):
    path = write_checkpoint(tmp_path)
    assert path.stat().st_size < 2.2 * sum(p.numel() for p in lively().parameters()) + 8192


def test_the_hash_is_of_the_content(tmp_path):
    a, b = write_checkpoint(tmp_path, "a"), write_checkpoint(tmp_path, "b")
    assert checkpoint.load(str(a)).hash == checkpoint.load(str(b)).hash
    c = write_checkpoint(tmp_path, "c", predict_uncertainty=False)
    assert checkpoint.load(str(a)).hash != checkpoint.load(str(c)).hash


def test_the_baseline_has_no_difficulty(tmp_path):
    net = checkpoint.load(str(write_checkpoint(tmp_path, predict_uncertainty=False)))
    assert not net.predicts_difficulty
    assert net.model(torch.zeros(1, 3, 32, 32), PatchTime.shared(torch.zeros(1), 16), torch.tensor([0])).logvar is None


def damaged(folder, how):
    path = write_checkpoint(folder)
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "cut in the header":
        path.write_bytes(path.read_bytes()[:50])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("weights")
    elif how == "pickle":
        torch.save({"state_dict": {}}, path)
    elif how == "foreign":
        save_file({"w": torch.zeros(3)}, path)
    elif how == "header does not match":
        header = checkpoint.read_header(path)
        header["model"]["depth"] = 5
        save_file({"w": torch.zeros(3)}, path, metadata={checkpoint.HEADER: json.dumps(header)})
    elif how == "future":
        save_file({"w": torch.zeros(3)}, path, metadata={checkpoint.HEADER: json.dumps({"format": 99})})
    return path


HOW = ["missing", "cut", "cut in the header", "empty", "text", "pickle", "foreign", "header does not match", "future"]


@pytest.mark.parametrize("how", HOW)
def test_a_wrong_file_is_one_sentence(tmp_path, how):
    path = damaged(tmp_path, how)
    with pytest.raises(InputError) as error:
        checkpoint.load(str(path))
    assert "\n" not in str(error.value) and path.name in str(error.value)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        checkpoint, "save_file", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(InputError, match="No space left"):
        write_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())


def test_shipped_networks_are_all_loadable_and_small():
    for name in checkpoint.names():
        net = checkpoint.load(name)
        assert net.training["command"] and net.training["images"] > 0
    assert sum(p.stat().st_size for p in checkpoint.FOLDER.rglob("*")) < 80e6


def test_the_oracle_is_a_network_like_any_other_and_lands_on_a_data_point():
    net = checkpoint.load("shapes-exact")
    *_, final = sample(net, SampleSpec("shapes-exact", "look_ahead", nfe=32, labels=["star"], seeds=[0, 1]))
    nearest = torch.cdist(final.x.flatten(1), net.model.images.flatten(1)).min(1)
    assert nearest.values.max() < 0.05 * 3072**0.5
    assert torch.all(net.model.labels[nearest.indices] == 4)
