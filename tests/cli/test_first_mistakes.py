"""What a stranger may ask for at first, and what it is answered by."""

import torch
from test_cli import TRAIN, fails, net  # noqa: F401 (a fixture)

from pf_core import memory
from pf_core.cli import main
from pf_core.models import checkpoint


def test_a_training_that_cannot_fit_is_refused_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device="cpu": 2**31)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for measured in ([], ["--measure"]):
        said = fails(capsys, *TRAIN, "--batch-size", "65536", "--out", tmp_path / "run", *measured)
        assert "65536 images a step of 16 patches" in said and "2.1 GB are free" in said and "--batch-size" in said
    assert not list(tmp_path.iterdir())
    argv = [*TRAIN, "--steps", "1", "--batch-size", "64", "--out", str(tmp_path / "run")]
    assert main(argv) == 0


def test_an_unknown_command_or_flag_is_answered_by_the_nearest(capsys):
    assert "no command 'sampel'. Did you mean 'sample'?" in fails(capsys, "sampel")
    assert "See python -m pf_core list --help." in fails(capsys, "list", "samplers")


def test_a_recommendation_is_not_forgotten_by_whoever_asks_to_write_one(net, tmp_path, capsys):  # noqa: F811
    path = tmp_path / "checkpoints" / "net.safetensors"
    before = path.read_bytes()
    assert "give one of them" in fails(capsys, "recommend", "--checkpoint", net, "--write", "--forget")
    assert path.read_bytes() == before


def test_flags_are_named_as_they_were_given(tmp_path, capsys):
    assert "--save-every must lie" in fails(capsys, *TRAIN, "--save-every=-1", "--out", tmp_path / "run")
    assert "pixel_scale must lie" in fails(capsys, *TRAIN, "--pixel-scale", "0", "--out", tmp_path / "run")


def test_a_file_in_a_folders_place_is_named(net, tmp_path, capsys):  # noqa: F811
    (tmp_path / "taken").write_text("")
    flags = ["--checkpoint", net, "--sampler", "euler", "--nfe", "2", "--num", "2", "--out", tmp_path / "taken"]
    assert "taken is no folder" in fails(capsys, "generate", *flags)
    figure = ["--figure", tmp_path / "taken" / "x.png"]
    assert "taken is no folder" in fails(capsys, "study", "difficulty", *figure)
    assert "taken is no folder" in fails(capsys, "study", "difficulty", "--out", tmp_path / "taken")


def test_a_setting_that_would_do_nothing_is_refused(net, tmp_path, capsys):  # noqa: F811
    out = ["--out", tmp_path / "x.json"]
    real = ["evaluate", "--real", "--samples", "10", *out]
    for flags in (["--sampler", "euler"], ["--nfe", "8"], ["--p", "0.3"], ["--split", "search"]):
        assert f"leave {flags[0]} out" in fails(capsys, *real, *flags)
    there = ["evaluate", "--reference", "a.npz", "--inception", "b.pth", "--images", tmp_path, *out]
    assert "leave --cfg-scale out" in fails(capsys, *there, "--cfg-scale", "2")
    assert "leave --samples out" in fails(capsys, *there, "--samples", "20")
    drawn = ["evaluate", "--reference", "a.npz", "--inception", "b.pth", "--checkpoint", net, *out]
    assert "leave --dataset" in fails(capsys, *drawn, "--variety", "1")
    assert "of consecutive seeds" in fails(capsys, *drawn, "--seeds", "0,100-111")
    assert "--nfe or --steps, not both" in fails(capsys, *drawn, "--nfe", "8", "--steps", "4")


def test_a_network_that_there_is_none_of_ends_a_sweep_before_it_draws(net, tmp_path, capsys):  # noqa: F811
    argv = ["sweep", "--checkpoint", net, "--axis", "checkpoint=net,nope", "--nfe", "2", "--out", tmp_path / "x.png"]
    assert "nope" in fails(capsys, *argv)
    assert not (tmp_path / "x.png").exists()


def test_a_checkpoint_of_ours_is_not_converted_and_no_file_onto_itself(tmp_path, capsys):
    ours = checkpoint.find("shapes-sit")
    before = ours.read_bytes()
    for out, says in ((tmp_path / "c.safetensors", "nothing is left to convert"), (ours, "the file itself")):
        assert main(["convert", str(ours), "--out", str(out)]) == 2
        assert says in capsys.readouterr().err
    assert ours.read_bytes() == before and not list(tmp_path.iterdir())
