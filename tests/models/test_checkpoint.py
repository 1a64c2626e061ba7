import json

import pytest
import torch
from helpers import lively, write_checkpoint
from safetensors.torch import load_file, save_file

from pf_core.data.shapes import SHAPES
from pf_core.errors import InputError
from pf_core.flow import Source
from pf_core.models import checkpoint
from pf_core.sampling.run import SampleSpec, sample
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
    early, late = checkpoint.load(str(a)), checkpoint.load(str(a))
    known = early.hash
    c.replace(a)  # as a run's network is, at each save
    assert early.hash == known
    with pytest.raises(InputError, match="written anew since a was loaded"):
        _ = late.hash


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


def tampered(folder, changes, weights=None):
    """A checkpoint whose header's entries, and whose weights, are changed; a dotted name is an entry of an entry."""
    path = write_checkpoint(folder)
    header, held = checkpoint.read_header(path), load_file(path)
    for name, value in changes.items():
        outer, _, inner = name.rpartition(".")
        (header[outer] if outer else header)[inner] = value
    save_file(held | (weights or {}), path, metadata={checkpoint.HEADER: json.dumps(header)})
    return path


TAMPERED = {
    "heads": ({"model.num_heads": 0}, "num_heads must lie"),
    "depth": ({"model.depth": 10**9}, "depth must lie"),
    "depth text": ({"model.depth": "x"}, "depth must be a whole number"),
    "side": ({"model.input_size": "x"}, "input_size"),
    "grid": ({"model.input_size": [32, 64]}, "size mismatch for pos_embed"),
    "width": ({"model.hidden_size": 64}, "size mismatch"),
    "unknown field": ({"model.colour": 1}, "colour"),
    "model": ({"model": []}, "mapping"),
    "codec": ({"codec": "vae9"}, "no codec 'vae9'"),
    "too few classes": ({"classes": ["a"]}, "1 names cannot name 10 classes"),
    "classes": ({"classes": 5}, "not iterable"),
    "source": ({"source": {"mean": "a", "std": 1}}, "source's mean"),
    "source's shape": ({"source": {"mean": [1, 2], "std": 1}}, "must match"),
    "source's std": ({"source": {"mean": 0, "std": "wide"}}, "source's std"),
    "training": ({"training": 3}, "not iterable"),
    "recipe": ({"training.recipe": 5}, "recipe is 5"),
    "data's settings": ({"training.recipe": {"data_settings": 5}}, "data_settings is 5"),
    "config": ({"training.recipe": {"config": 5}}, "config is 5"),
    "data set": ({"training.recipe": {"dataset": ["a"]}}, "dataset is"),
    "timesteps": ({"training.recipe": {"config": {"timestep_settings": 5}}}, "timestep_settings is 5"),
    "label dropout": ({"training.recipe": {"config": {"label_dropout": "x"}}}, "label_dropout is 'x'"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_header_that_does_not_fit_its_weights_is_one_sentence(tmp_path, case):
    changes, says = TAMPERED[case]
    path = tampered(tmp_path, changes)
    assert checkpoint.damage(path) is not None  # so that no list has it, and no page takes it in
    with pytest.raises(InputError, match=says) as error:
        checkpoint.load(str(path))
    assert "\n" not in str(error.value) and path.name in str(error.value)


@pytest.mark.parametrize("entry", ["[]", "5", "null"])
def test_a_header_that_is_no_record_is_one_sentence(tmp_path, entry):
    save_file({"w": torch.zeros(3)}, tmp_path / "x.safetensors", metadata={checkpoint.HEADER: entry})
    with pytest.raises(InputError, match="not the record"):
        checkpoint.load(str(tmp_path / "x.safetensors"))


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    broken = torch.full((4 * 8 * 8,), torch.nan, dtype=torch.bfloat16)
    with pytest.raises(InputError, match="finite"):
        checkpoint.load(str(tampered(tmp_path, {}, {"final_layer.linear.bias": broken})))


def test_loading_draws_nothing_from_the_global_generator(tmp_path):
    path, before = write_checkpoint(tmp_path), torch.get_rng_state()
    checkpoint.load(str(path))
    assert torch.equal(before, torch.get_rng_state())


def test_the_oracle_has_no_file():
    with pytest.raises(InputError, match="has no weights"):
        checkpoint.find("shapes-exact")


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


@pytest.mark.parametrize("data", ["signs", "scenes"])
def test_a_pair_of_networks_of_prompts_is_small(data):
    assert sum(checkpoint.find(f"{data}-{way}").stat().st_size for way in ("pft", "fm")) <= 12e6


def test_the_oracle_is_a_network_like_any_other_and_lands_on_a_data_point():
    net = checkpoint.load("shapes-exact")
    *_, final = sample(net, SampleSpec("shapes-exact", "look_ahead", nfe=32, labels=["star"], seeds=[0, 1]))
    nearest = torch.cdist(final.x.flatten(1), net.model.images.flatten(1)).min(1)
    assert nearest.values.max() < 0.05 * 3072**0.5
    assert torch.all(net.model.labels[nearest.indices] == 4)
