"""The command line as people type it: exact spellings, and mistakes that are one sentence and exit status 2."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import write_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pf_core.cli import COMMANDS, main
from pf_core.cli.common import Parser
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.samplers import SAMPLERS
from pf_core.timesteps import TIMESTEPS
from pf_core.training.loop import TrainConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def net(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setattr(checkpoint, "FOLDER", folder)
    write_checkpoint(folder, "net")
    write_checkpoint(folder, "plain", predict_uncertainty=False)
    return "net"


def fails(capsys, *argv):
    """The one sentence of a failing command."""
    try:
        status = main([str(a) for a in argv])
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr().err.strip()
    assert status == 2 and said and "\n" not in said and "Traceback" not in said
    return said


def test_the_sample_command_as_the_readme_spells_it(net, tmp_path):
    out = tmp_path / "run.safetensors"
    argv = "sample --checkpoint net --sampler look_ahead --nfe 64 --label star --cfg-scale 2 --seeds 0-15 --out".split()
    assert main([*argv, str(out)]) == 0
    run = load_file(out)
    assert run["x"].shape == (64, 16, 3, 32, 32) and run["x1"].shape == (16, 3, 32, 32)
    with safe_open(out, "pt") as f:
        header = {k: json.loads(v) for k, v in f.metadata().items()}
    assert header["nfe"] == list(range(1, 65)) and set(header["phase"]) == {"outer", "probe"}
    assert header["recipe"]["labels"] == ["star"] * 16 and header["recipe"]["cfg_scale"] == 2


def test_a_label_may_be_an_index(net, tmp_path):
    for label in ("star", "4"):
        main(
            [
                "sample",
                "--checkpoint",
                net,
                "--nfe",
                "3",
                "--label",
                label,
                "--out",
                str(tmp_path / f"{label}.safetensors"),
            ]
        )
    assert torch.equal(*(load_file(tmp_path / f"{n}.safetensors")["x1"] for n in ("star", "4")))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_knob_is_a_flag(net, tmp_path, name):
    out = tmp_path / "run.safetensors"
    knobs = SAMPLERS[name].knobs.values()
    values = {k.name: k.knob.choices[-1] if k.knob.choices else k.type(k.knob.low or 1) for k in knobs}
    flags = [part for k in knobs for part in (k.flag, str(values[k.name]))]
    assert main(["sample", "--checkpoint", net, "--sampler", name, "--steps", "3", *flags, "--out", str(out)]) == 0
    with safe_open(out, "pt") as f:
        settings = json.loads(f.metadata()["recipe"])["settings"]
    assert settings == values


def test_train_has_a_flag_for_every_knob_of_its_registries():
    parser = Parser()
    COMMANDS["train"].add_arguments(parser)
    flags = set(parser._option_string_actions)
    from pf_core.registry import parameters

    wanted = [k for registry in (TIMESTEPS, DATASETS) for e in registry.values() for k in e.knobs.values()]
    wanted += parameters(TrainConfig).values()
    assert {k.flag for k in wanted} <= flags


def test_flags_that_two_things_share_mean_the_same(capsys):
    """One flag serves all owners of a name, so a name may not stand for two kinds of value."""
    seen = {}
    for registry in (SAMPLERS, TIMESTEPS, DATASETS):
        for entry in registry.values():
            for knob in entry.knobs.values():
                assert seen.setdefault(knob.name, knob.type) is knob.type


def test_noise_from_a_file_and_the_recipe_that_carries_it(net, tmp_path):
    x0 = torch.randn(2, 3, 32, 32)
    save_file({"x0": x0}, tmp_path / "noise.safetensors")
    first, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    argv = ["--noise", str(tmp_path / "noise.safetensors"), "--seeds", "0,1", "--nfe", "5"]
    assert main(["sample", "--checkpoint", net, *argv, "--out", str(first)]) == 0
    assert torch.equal(load_file(first)["x"][0], x0.half())
    assert main(["sample", "--recipe", str(first), "--out", str(again)]) == 0
    assert torch.equal(load_file(first)["x1"], load_file(again)["x1"])


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp", ".safetensors"])
def test_any_export_repeats_its_run(net, tmp_path, suffix):
    start, again, reference = tmp_path / f"start{suffix}", tmp_path / "again.safetensors", tmp_path / "ref.safetensors"
    flags = ["--checkpoint", net, "--nfe", "9", "--label", "ring", "--cfg-scale", "1.5", "--seeds", "4-5", "--p", "0.3"]
    for out in (start, reference):
        assert main(["sample", *flags, "--out", str(out)]) == 0
    assert main(["sample", "--recipe", str(start), "--out", str(again)]) == 0
    a, b = load_file(again), load_file(reference)
    assert all(torch.equal(torch.nan_to_num(a[k]), torch.nan_to_num(b[k])) for k in b)


BAD = {
    "unknown network": (["--checkpoint", "nat"], "no checkpoint 'nat'"),
    "unknown sampler": (["--sampler", "lookahead"], "Did you mean 'look_ahead'"),
    "unknown label": (["--label", "cat"], "no class 'cat'"),
    "backward seeds": (["--seeds", "5-2"], "2-5"),
    "text seeds": (["--seeds", "all"], "numbers and ranges"),
    "negative seed": (["--seeds=-3"], "numbers and ranges"),
    "nfe 0": (["--nfe", "0"], "nfe must lie"),
    "nfe 100000": (["--nfe", "100000"], "nfe must lie"),
    "nfe text": (["--nfe", "lots"], "whole number"),
    "nfe nan": (["--nfe", "nan"], "whole number"),
    "cfg nan": (["--cfg-scale", "nan"], "cfg_scale must"),
    "p text": (["--p", "half"], "p must be a number"),
    "p range": (["--p", "1.5"], "p must lie between"),
    "foreign knob": (["--sampler", "euler", "--p", "0.3"], "euler has no setting 'p'"),
    "nfe and steps": (["--nfe", "8", "--steps", "4"], "not both"),
    "no noise file": (["--noise", "gone.safetensors"], "There is no file gone"),
    "no recipe file": (["--recipe", "gone.png"], "leave it out"),
    "no difficulty": (["--checkpoint", "plain"], "predicts no difficulty"),
    "device": (["--device", "tpu9"], "no device"),
    "interval": (["--guidance-interval", "0.5"], "two numbers"),
    "too many": (["--seeds", "0-5000"], "1 to"),
    "flag": (["--colour", "red"], "unrecognized arguments"),
    "superscript seeds": (["--seeds", "1-\u00b2"], "numbers and ranges"),
    "endless seed": (["--seeds", "9" * 5000], "numbers and ranges"),
    "seed beyond 32 bits": (["--seeds", str(2**32)], "seed must lie"),
    "superscript label": (["--label", "\u00b2"], "no class"),
    "endless label": (["--label", "9" * 5000], "no class"),
    "label minus minus": (["--label=--5"], "no class"),
    "endless nfe": (["--nfe", "9" * 5000], "whole number"),
    "empty sampler": (["--sampler", ""], "no sampler ''"),
    "empty precision": (["--precision", ""], "precision must be"),
    "empty interval": (["--guidance-interval", ""], "two numbers"),
    "device without values": (["--device", "meta"], "no device"),
    "a folder as noise": (["--noise", "/"], "There is no file /"),
    "a name too long": (["--noise", "n" * 300], "too long"),
}


FLAGS_OF_A_RUN = ["--checkpoint=net", "--sampler=euler", "--nfe=4", "--steps=4", "--label=star", "--cfg-scale=2"]
FLAGS_OF_A_RUN += ["--guidance-interval=0,1", "--seeds=1", "--noise=x", "--precision=bf16", "--p=0.3", "--n-inner=2"]


@pytest.mark.parametrize("flag", [*FLAGS_OF_A_RUN, "--ratio=2"])
def test_beside_a_recipe_no_flag_is_silently_ignored(net, tmp_path, capsys, flag):
    (tmp_path / "r.json").write_text(json.dumps({"checkpoint": net, "sampler": "euler", "nfe": 2}))
    said = fails(capsys, "sample", "--recipe", tmp_path / "r.json", flag, "--out", tmp_path / "o.png")
    assert f"already decides {flag.partition('=')[0]}" in said and not (tmp_path / "o.png").exists()


def test_the_greatest_seed_has_an_image_of_its_own(net, tmp_path):
    """torch's CPU generator reads 32 bits of a seed, so that greater ones would repeat images."""
    flags = ["--checkpoint", net, "--sampler", "euler", "--nfe", "1", "--seeds", f"{2**31 - 1},{2**32 - 1}"]
    assert main(["sample", *flags, "--out", str(tmp_path / "run.safetensors")]) == 0
    with safe_open(tmp_path / "run.safetensors", "pt") as f:
        assert json.loads(f.metadata()["recipe"])["seeds"] == [2**31 - 1, 2**32 - 1]
        one, other = f.get_tensor("x1")
        assert not torch.equal(one, other)


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_sentence_and_write_nothing(net, tmp_path, capsys, case):
    flags, says = BAD[case]
    flags = flags if "--checkpoint" in flags else ["--checkpoint", net, *flags]
    assert says in fails(capsys, "sample", *flags, "--out", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_wrong_noise_is_refused(net, tmp_path, capsys):
    bad = {"shape": torch.zeros(1, 3, 8, 8), "nan": torch.full((1, 3, 32, 32), torch.nan)}
    bad["whole"] = torch.zeros(1, 3, 32, 32, dtype=torch.int64)
    for name, x0 in bad.items():
        save_file({"x0": x0}, tmp_path / f"{name}.safetensors")
    save_file({"noise": torch.zeros(1)}, tmp_path / "name.safetensors")
    (tmp_path / "text.safetensors").write_text("x0")
    for name in (*bad, "name", "text"):
        said = fails(
            capsys,
            "sample",
            "--checkpoint",
            net,
            "--noise",
            tmp_path / f"{name}.safetensors",
            "--out",
            tmp_path / "o.png",
        )
        assert "noise" in said or "x0" in said
    assert not (tmp_path / "o.png").exists()


def test_a_suffix_nobody_writes_is_refused_before_any_work(net, tmp_path, capsys):
    assert "must end in" in fails(capsys, "sample", "--checkpoint", net, "--out", tmp_path / "run.bmp")


def test_an_unwritable_place_is_a_sentence(net, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    assert "it is a folder" in fails(capsys, "sample", "--checkpoint", "gone", "--out", tmp_path / "folder.png")
    assert "Cannot write" in fails(
        capsys, "sample", "--checkpoint", net, "--nfe", 2, "--out", tmp_path / "file" / "run.png"
    )


def test_list_and_info(net, tmp_path, capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (*SAMPLERS, *TIMESTEPS, *DATASETS, net))
    assert main(["info", net]) == 0
    assert json.loads(capsys.readouterr().out)["classes"][4] == "star"
    main(["sample", "--checkpoint", net, "--nfe", "3", "--out", str(tmp_path / "run.gif")])
    capsys.readouterr()
    assert main(["info", str(tmp_path / "run.gif")]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["checkpoint"] == net
    assert "There is no checkpoint" in fails(capsys, "info", "nothing")


TRAIN = "train --dataset shapes --timesteps ltg --model nano --batch-size 4".split()
TRAIN += "--validate-every 0 --samples-every 0".split()


def test_training_makes_a_run_folder_and_a_loadable_network(tmp_path):
    out = tmp_path / "first"
    assert main([*TRAIN, "--steps", "6", "--log-every", "2", "--samples-every", "6", "--out", str(out)]) == 0
    net = checkpoint.load(str(out / "first.safetensors"))
    assert net.training["images"] == 24 and net.training["recipe"]["config"]["timesteps"] == "ltg"
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in logged] == [2, 4, 6] and all(e["mse"] > 0 for e in logged)
    assert (out / "samples" / "0000006.png").exists()


BAD_TRAIN = {
    "data": (["--dataset", "cats"], "no data set 'cats'"),
    "timesteps": (["--timesteps", "ltgg"], "Did you mean 'ltg'"),
    "model": (["--model", "huge"], "no network size"),
    "steps": (["--steps", "0"], "steps must lie"),
    "lr": (["--lr", "fast"], "lr must be a number"),
    "foreign knob": (["--timesteps", "uniform", "--loc", "1"], "uniform has no setting 'loc'"),
    "init": (["--init", "gone"], "no checkpoint 'gone'"),
    "size": (["--size", "48"], "one of 32, 64"),
    "patch": (["--patch-size", "7"], "cannot be cut"),
    "resume": (["--resume"], "no run to resume"),
    "empty init": (["--init", ""], "no checkpoint ''"),
    "exact init": (["--init", "shapes-exact"], "has no weights"),
    "empty threads": (["--threads", ""], "threads is empty: give a number"),
}


@pytest.mark.parametrize("case", BAD_TRAIN)
def test_training_mistakes_are_one_sentence_and_write_nothing(tmp_path, capsys, case):
    flags, says = BAD_TRAIN[case]
    assert says in fails(capsys, *TRAIN, *flags, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path, capsys):
    argv = [*TRAIN, "--steps", "1", "--out", tmp_path / "run"]
    assert main([str(a) for a in argv]) == 0
    capsys.readouterr()
    assert main([str(a) for a in argv]) == 2
    said = capsys.readouterr()
    assert "--resume" in said.err and "Goes on" not in said.out


def test_beside_resume_a_flag_that_says_otherwise_is_refused_and_one_that_agrees_is_not(tmp_path, capsys):
    out = tmp_path / "run"
    begin = [*TRAIN, "--steps", "2", "--lr", "0.002", "--std", "0.3", "--series", "7", "--depth", "1"]
    assert main([*begin, "--out", str(out)]) == 0
    assert main([*begin, "--resume", "--out", str(out)]) == main(["train", "--resume", "--out", str(out)]) == 0
    capsys.readouterr()
    others = ["--steps=3", "--lr=0.1", "--std=0.4", "--series=8", "--depth=2", "--model=tiny", "--timesteps=srm"]
    others += [
        "--no-difficulty",
        "--init=x",
        "--scale=0.5",
        "--pixel-scale=0.5",
        "--variety=1",
        "--compile",
        "--t-scale=1",
        "--num-heads=1",
    ]
    for flag in others:
        said = fails(capsys, "train", "--resume", "--out", out, flag)
        assert f"started with another {flag.partition('=')[0]} (" in said
    assert "has no setting" in fails(capsys, "train", "--resume", "--out", out, "--sharpness=4")


def spawn(out, *flags):
    argv = [
        sys.executable,
        "-m",
        "pf_core",
        *TRAIN,
        "--steps",
        "40",
        "--save-every",
        "7",
        "--log-every",
        "1",
        "--threads",
        "1",
    ]
    return subprocess.Popen([*argv, "--out", str(out), *flags], cwd=ROOT, stderr=subprocess.DEVNULL, env={**os.environ})


def test_a_reader_that_leaves_is_no_error():
    """As head does after its last line."""
    argv = [sys.executable, "-c", "import sys; from pf_core.cli import main; input(); sys.exit(main(['list']))"]
    job = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    job.stdout.close()
    assert job.communicate(b"go\n")[1] == b"" and job.returncode == 0


def test_a_killed_and_resumed_run_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert spawn(whole).wait() == 0
    for _ in range(5):  # a crowded machine may be late: then it has ended by itself
        shutil.rmtree(killed, ignore_errors=True)
        job, metrics, deadline = spawn(killed), killed / "metrics.jsonl", time.time() + 300
        while job.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 15):
            assert time.time() < deadline
            time.sleep(0.01)
        job.send_signal(signal.SIGKILL)
        if job.wait() != 0 and not (killed / "killed.safetensors").exists():
            break
    assert job.returncode == -signal.SIGKILL and not (killed / "killed.safetensors").exists()
    assert spawn(killed, "--resume").wait() == 0
    a, b = load_file(whole / "whole.safetensors"), load_file(killed / "killed.safetensors")
    assert all(torch.equal(a[k], b[k]) for k in a)
    steps = [
        [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, killed)
    ]
    assert steps[0] == steps[1] == list(range(1, 41))


def test_init_goes_on_from_weights(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    main([*TRAIN, "--steps", "5", "--ema", "0.5", "--out", str(first)])
    main(
        [
            *TRAIN,
            "--steps",
            "1",
            "--lr",
            "0",
            "--muon-lr",
            "0",
            "--init",
            str(first / "a.safetensors"),
            "--out",
            str(second),
        ]
    )
    a, b = (load_file(run / f"{run.name}.safetensors") for run in (first, second))
    assert all(torch.equal(a[k], b[k]) for k in a)
    begun, net = (checkpoint.load(str(run / f"{run.name}.safetensors")) for run in (first, second))
    assert (net.training["images"], net.training["images_before"], net.trained_on) == (4, 20, 24)
    assert begun.trained_on == 20 and "images_before" not in begun.training


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "pf_core", "sample", "--sampler", "x", "--checkpoint", "y", "--out", "z.png"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.strip().splitlines()) == 1


def test_seeds():
    from pf_core.cli.common import seeds

    assert seeds("0-3,7") == [0, 1, 2, 3, 7]
    with pytest.raises(InputError):
        seeds("1-")


def test_the_help_of_a_shared_flag_says_what_holds_for_which(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "shapes: side in pixels; one of 32, 64; default 32. toybox: 16 to 512; default 64." in said
    assert "; of data set shapes, toybox, signs" in said, "whose a flag is that is the same for all"
