"""Recipes and commands take what a network recommends only if asked to, and the person's own words win."""

import json

import pytest
from helpers import bundle, write_checkpoint

from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.models import checkpoint, recommended
from pf_core.models.recommended import Recommended
from pf_core.sampling.export import read_recipe
from pf_core.sampling.recommended import scale_of, settings_of, with_recommended
from pf_core.sampling.run import SampleSpec

WHAT = Recommended({"look_ahead": {"p": 0.6, "ratio": 2.0}}, 1.5)


@pytest.fixture
def net(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    monkeypatch.setattr(checkpoint, "FOLDER", folder)
    for name in ("net", "silent"):
        write_checkpoint(folder, name)
    recommended.write(folder / "net.safetensors", WHAT)
    return folder


def recipe(tmp_path, *more, command="sample"):
    argv = [command, "--checkpoint", "net", "--nfe", "3", "--out", str(tmp_path / "run.json"), *more]
    assert main(argv) == 0
    return read_recipe(tmp_path / "run.json")


def test_only_what_this_version_knows_is_recommended():
    net = bundle()
    odd = {"p": 7, "ratio": 2.0, "colour": "red"}
    net.recommended = Recommended({"look_ahead": odd, "gone": {"p": 0.1}}, 1e9)
    assert settings_of(net, "look_ahead") == {"ratio": 2.0} and settings_of(net, "euler") == {}
    assert scale_of(net) is None


def test_what_a_recipe_states_is_kept():
    net = bundle()
    net.recommended = WHAT
    spec = with_recommended(SampleSpec("net", "look_ahead", {"p": 0.3}), net)
    assert spec.settings == {"p": 0.3, "ratio": 2.0} and spec.cfg_scale == 1.5
    assert with_recommended(SampleSpec("net", cfg_scale=1.0), net, guided=True).cfg_scale == 1.0
    with pytest.raises(InputError, match=r"nano recommends no settings for euler: .*recommend --checkpoint nano"):
        with_recommended(SampleSpec("nano"), bundle())


def test_the_sample_command_takes_it_if_asked(net, tmp_path, capsys):
    plain = recipe(tmp_path)
    assert (plain["settings"], plain["cfg_scale"]) == ({"p": 0.4, "ratio": 1.4, "order": 1}, 1.0)
    asked = recipe(tmp_path, "--recommended", "--p", "0.3")
    assert (asked["settings"], asked["cfg_scale"]) == ({"p": 0.3, "ratio": 2.0, "order": 1}, 1.5)
    assert recipe(tmp_path, "--recommended", "--cfg-scale", "1")["cfg_scale"] == 1.0
    argv = ["sample", "--recommended", "--recipe", str(tmp_path / "run.json"), "--out", str(tmp_path / "again.json")]
    assert main(argv) == 2 and "already decides --recommended" in capsys.readouterr().err
    assert main(["sample", "--checkpoint", "silent", "--recommended", "--out", str(tmp_path / "x.json")]) == 2


def test_the_sweep_command_takes_it_of_one_network_and_sampler(net, tmp_path, capsys):
    from pf_core.sampling.contact_sheet import read_sweep

    argv = ["sweep", "--checkpoint", "net", "--nfe", "3", "--recommended", "--out", str(tmp_path / "s.png"), "--axis"]
    assert main([*argv, "ratio=1.4,3"]) == 0
    sweep = read_sweep(tmp_path / "s.png")
    assert sweep.base.settings == {"p": 0.6, "ratio": 2.0} and sweep.base.cfg_scale == 1.5
    assert main([*argv, "sampler=euler,heun"]) == 2
    assert "leave it or --axis sampler out" in capsys.readouterr().err


def test_info_tells_what_is_recommended(net, capsys):
    assert main(["info", "net"]) == 0
    assert json.loads(capsys.readouterr().out)["recommended"]["settings"] == WHAT.settings


def test_the_first_recordings_are_made_of_any_network_with_what_it_recommends(net, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pf_core.cli.record.EQUAL_NFE", 8)
    assert main(["record", "--checkpoint", "net", "--out", str(tmp_path / "made")]) == 0
    made = {path.name: read_recipe(path) for path in (tmp_path / "made").iterdir()}
    assert sorted(made) == ["1-look-ahead.safetensors", "2-dual-loop.safetensors", "3-euler.safetensors"]
    first = made["1-look-ahead.safetensors"]
    assert first["labels"] == ["circle", "square", "triangle", "diamond"] and first["seeds"] == [0, 1, 2, 3]
    assert first["settings"]["ratio"] == 2.0 and {one["cfg_scale"] for one in made.values()} == {1.5}
    write_checkpoint(net, "plain", predict_uncertainty=False)
    assert main(["record", "--checkpoint", "plain", "--out", str(tmp_path / "none")]) == 2
    assert "predicts no difficulty" in capsys.readouterr().err and not (tmp_path / "none").exists()
