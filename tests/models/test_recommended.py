"""What a network recommends, in its file: put in and taken out without a bit of the weights or of the hash changing."""

import json

import pytest
import torch
from helpers import write_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pf_core.errors import InputError
from pf_core.models import checkpoint, recommended
from pf_core.models.recommended import Recommended
from pf_core.sampling.run import SampleSpec, resolve

SHOWN = {"seed": 3, "label": "ring", "confidence": [0.25, 1]}
OPENING = {
    "samplers": ["euler", "look_ahead"], "settings": [{}, {"p": 0.6}], "nfe": 64, "cfg_scale": 1, "among": 200,
    "surer": [90, 110], "largest": SHOWN, "typical": SHOWN | {"seed": 7, "label": "star"},
}  # fmt: skip
WHAT = Recommended({"look_ahead": {"p": 0.6, "ratio": 2.0}}, 1.5, {"pair": OPENING}, {"words": 'ä "quoted" \u2028'})


@pytest.fixture
def path(tmp_path):
    return write_checkpoint(tmp_path, "net")


def test_it_comes_back_with_the_network_and_its_hash_and_weights_stay(path):
    before, weights = checkpoint.load(str(path)), load_file(path)
    old = resolve(SampleSpec("net", nfe=4), before)  # a recipe that names the file's hash
    assert not before.recommended
    recommended.write(path, WHAT)
    after = checkpoint.load(str(path))
    assert after.recommended == WHAT and after.recommended.opening("pair").typical.label == "star"
    assert after.hash == before.hash and resolve(old, after).checkpoint_hash == before.hash
    assert all(torch.equal(weights[k], v) for k, v in load_file(path).items())
    assert checkpoint.read_header(path) == json.loads(safe_open(path, "pt").metadata()["patch_forcing"])


def test_it_can_be_replaced_and_taken_out_again_to_the_last_byte(path):
    content = path.read_bytes()
    recommended.write(path, WHAT)
    recommended.write(path, Recommended(cfg_scale=2.0))
    assert recommended.read(path) == Recommended(cfg_scale=2.0)
    recommended.write(path, None)
    assert path.read_bytes() == content


def test_another_network_has_another_hash_whatever_it_recommends(path, tmp_path):
    other = write_checkpoint(tmp_path, "other", depth=1)
    for each in (path, other):
        recommended.write(each, WHAT)
    assert checkpoint.load(str(path)).hash != checkpoint.load(str(other)).hash


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": 3}', '{"unknown": 1}', '{"cfg_scale": NaN}'])
def test_what_cannot_be_read_recommends_nothing_and_the_network_is_still_there(path, text):
    content = path.read_bytes()
    entries, tensors = recommended._parted(content)
    entries["__metadata__"][recommended.ENTRY] = text
    path.write_bytes(recommended._joined(entries, tensors))
    assert not checkpoint.load(str(path)).recommended
    recommended.write(path, None)
    assert path.read_bytes() == content


@pytest.mark.parametrize("change", [{"nfe": "64"}, {"surer": [1]}, {"largest": {"seed": 1}}, {"more": 1}])
def test_an_opening_that_is_none_is_left_out(change):
    assert Recommended(openings={"pair": OPENING | change}).opening("pair") is None
    assert WHAT.opening("other") is None


def test_a_file_whose_hash_would_change_is_refused(path, tmp_path):
    size = int.from_bytes(path.read_bytes()[:8], "little")
    loose = json.dumps(json.loads(path.read_bytes()[8 : 8 + size]), indent=1).encode()
    loose += b" " * (-len(loose) % 8)
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(len(loose).to_bytes(8, "little") + loose + path.read_bytes()[8 + size :])
    before = foreign.read_bytes()
    with pytest.raises(InputError, match="was not written by this project"):
        recommended.write(foreign, WHAT)
    assert foreign.read_bytes() == before
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(InputError, match="no checkpoint"):
        recommended.write(tmp_path / "plain.safetensors", WHAT)
