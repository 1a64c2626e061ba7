"""What a machine may be like: priorities, threads, compilers, consoles, file systems, and files that are damaged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import write_checkpoint
from jobs_world import QUICK, recipe
from safetensors.torch import load_file, save_file

from app.state import AppState
from app.ui import build
from pf_core import files
from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.training import loop, plans, process
from pf_core.training.config import Intervals
from pf_core.training.estimate import peak_memory
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute

ROOT = Path(__file__).parents[2]

NICE = """
import sys
from pathlib import Path
from pf_core.training import process
process.PROC = Path(sys.argv[1])
process.be_nice(1)
"""


@pytest.mark.parametrize("leads", [True, False])
def test_a_trainer_makes_its_own_session_nice_and_never_the_terminals(tmp_path, leads):
    (tmp_path / "self").mkdir()
    argv = [sys.executable, "-c", NICE, str(tmp_path)]
    assert subprocess.run(argv, cwd=ROOT, start_new_session=leads).returncode == 0
    assert (tmp_path / "self" / "autogroup").exists() == leads


def test_an_estimate_runs_in_a_session_of_its_own(monkeypatch):
    asked = {}

    class Refusing:
        returncode = 1

        def __init__(self, argv, **options):
            asked.update(options, argv=argv)

        def communicate(self, timeout):
            return "", "no"

    monkeypatch.setattr(subprocess, "Popen", Refusing)
    with pytest.raises(InputError, match="cannot be measured: no"):
        plans.estimate(recipe(), QUICK, nice=19)
    assert asked["start_new_session"] is True and asked["argv"][-2:] == ["--device", "auto"]
    plans.Measuring(recipe(), QUICK, device="cpu")
    assert asked["argv"][-2:] == ["--device", "cpu"]
    with pytest.raises(InputError, match="device must be one of"):
        plans.Measuring(recipe(), QUICK, device="tpu")


def test_an_estimates_memory_is_not_that_of_the_server_that_asked_for_it(tmp_path, monkeypatch):
    """getrusage's peak of a new process begins with its parent's; VmHWM is its own."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("VmPeak:\t  99999 kB\nVmHWM:\t   1234 kB\nVmRSS:\t   1000 kB\n")
    monkeypatch.setattr(process, "PROC", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert peak_memory() == 1234 * 1024
    (tmp_path / "self" / "status").unlink()
    assert peak_memory() > 100 * 2**20


def test_threads_follow_the_affinity_and_the_environment(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
    assert process.cpu_threads() == 3 and process.cpu_threads(most=2) == 2
    for text, threads in (("1", 1), ("6", 6), ("2,3", 2), ("many", 3), ("", 3), ("0", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert process.cpu_threads() == threads
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delattr(os, "sched_getaffinity")
    assert process.cpu_threads(most=1) == 1


def test_no_module_needs_what_only_unix_has():
    blocked = "import sys; sys.modules.update(fcntl=None, resource=None)\n"
    needed = "import pf_core.training.queue, pf_core.training.estimate, pf_core.cli.train, app.state\n"
    done = subprocess.run([sys.executable, "-c", blocked + needed], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


NEWER = [p for v in ("3.12", "3.13") for p in sorted(Path.home().glob(f".pyenv/versions/{v}*/bin/python3"))]


@pytest.mark.parametrize("python", NEWER or [pytest.param("", marks=pytest.mark.skip("no newer Python here"))], ids=str)
def test_every_file_compiles_without_a_warning_in_newer_pythons(tmp_path, python):
    argv = [python, "-W", "error", "-m", "compileall", "-q", "-f", "pf_core", "app", "tests"]
    done = subprocess.run(argv, cwd=ROOT, env={"PYTHONPYCACHEPREFIX": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout[-1000:]


def test_a_compiler_that_fails_is_a_sentence_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    argv = ["train", "--model", "nano", "--steps", "1", "--compile", "--device", "cpu", "--out", str(tmp_path / "run")]
    for compiler, says in (("/usr/bin/false", "false fails"), ("/no/such", "install g++")):
        monkeypatch.setenv("CXX", compiler)
        assert main(argv) == 2
        said = capsys.readouterr().err
        assert says in said and "leave --compile out" in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_whatever_the_compiler_raises_at_the_first_step_is_a_sentence(tmp_path, monkeypatch):
    from torch._inductor.exc import InductorError

    monkeypatch.setattr(loop, "check_compiler", lambda cfg: None)
    monkeypatch.setattr("pf_core.training.runner.check_compiler", lambda cfg: None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)
    begun = RunFolder(tmp_path / "begun")
    trained = execute(begun, False, recipe(2, compile=True), Intervals(save=1), "test")
    next(trained)
    trained.close()
    assert begun.saved_step() == 1

    def broken(self, *_):
        raise InductorError(RuntimeError("ld: cannot find -lgomp\nmore"), None)

    monkeypatch.setattr("pf_core.models.sit.SiT.forward", broken)
    for steps in (
        execute(RunFolder(tmp_path / "run"), False, recipe(2, compile=True), QUICK, "test"),
        execute(begun, True, None, None, "test"),
    ):
        with pytest.raises(InputError, match="leave --compile out. .*cannot find -lgomp"):
            next(steps)


# files


def test_a_name_that_just_fits_is_written_and_a_longer_one_is_refused_before_any_work(tmp_path):
    for stem in ("a" * 250, "é" * 125):
        path = tmp_path / f"{stem}.json"
        files.check_writable(path)
        files.write_json(path, {"a": 1})
        assert files.read_json(path) == {"a": 1} and len(list(tmp_path.iterdir())) == 1
        path.unlink()
    for path in (tmp_path / f"{'a' * 251}.json", tmp_path / ("b" * 300) / "x.json", tmp_path / ("é" * 128)):
        with pytest.raises(InputError, match="longer than a name may be"):
            files.check_writable(path)
    with pytest.raises(InputError, match="too long"):
        files.check_writable(tmp_path / "/".join(["d" * 200] * 25) / "x.json")


def test_a_number_that_json_does_not_have_is_said_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="not finite"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


LONG = "a" * 300
TOO_LONG = {
    "sample": ["--checkpoint", "shapes-exact", "--nfe", "9", "--out", f"{LONG}.png"],
    "sweep": ["--checkpoint", "shapes-exact", "--axis", "seed=0-3", "--out", f"{LONG}.png"],
    "evaluate": ["--real", "--samples", "10", "--out", f"{LONG}.json"],
    "judge": ["--out", f"{LONG}.safetensors"],
    "study": ["probe_gain", "--out", f"{LONG}.json"],
    "toy": ["--out", f"{LONG}.png"],
    "train": ["--out", LONG],
}


@pytest.mark.parametrize("command", TOO_LONG)
def test_an_output_name_that_is_too_long_is_refused_before_the_work(tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    assert main([command, *TOO_LONG[command]]) == 2 and "longer than a name may be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_console_that_cannot_print_a_classs_name_replaces_it(tmp_path):
    script = "import sys; from pf_core.cli import main, COMMANDS\nimport pf_core.cli.list_ as l\n"
    script += "l.markdown = lambda kind: '猫 é'\nsys.exit(main(['list', '--markdown', 'x']))"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True)
    assert done.returncode == 0 and done.stdout.strip() == b"? ?", done.stderr[-500:]


def test_a_damaged_file_among_evaluations_is_a_sentence(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{")
    assert main(["report", str(tmp_path)]) == 2 and "x.json cannot be read" in capsys.readouterr().err


def test_float8_weights_are_named(tmp_path):
    path = write_checkpoint(tmp_path)
    header, held = checkpoint.read_header(path), load_file(path)
    held = {k: v.to(torch.float8_e4m3fn) for k, v in held.items()}
    save_file(held, path, metadata={checkpoint.HEADER: json.dumps(header)})
    with pytest.raises(InputError, match=r"nano.safetensors holds weights of type float8 \(F8_E4M3\): save them as"):
        checkpoint.load(str(path))


# checkpoints/


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def spoiled(path):
    held, header = load_file(path), checkpoint.read_header(path)
    held["final_layer.linear.bias"].fill_(float("nan"))
    save_file(held, path, metadata={checkpoint.HEADER: json.dumps(header)})


BROKEN = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<b>weights</b>"),
    "of another program": lambda path: save_file({"w": torch.zeros(3)}, path),
    "of a newer version": lambda path: save_file({"w": torch.zeros(3)}, path, {checkpoint.HEADER: '{"format": 99}'}),
    "no numbers": spoiled,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_file_in_checkpoints_is_left_out_and_named(tmp_path, monkeypatch, how):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    write_checkpoint(tmp_path, "good")
    BROKEN[how](write_checkpoint(tmp_path, "bad"))
    state = AppState(recordings=tmp_path / "none")
    assert checkpoint.files_here() == ["good"] and state.networks()[0] == "good"
    assert state.notice().startswith("bad is left out: ") and str(tmp_path) not in state.notice()
    for load in (state.bundle, checkpoint.load):
        with pytest.raises(InputError, match="bad.safetensors"):
            load("bad")


def test_the_app_starts_beside_a_damaged_network_and_its_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path / "runs")
    write_checkpoint(tmp_path, "good")
    cut(write_checkpoint(tmp_path, "<i>a"))
    page = str(build(AppState(recordings=tmp_path / "none")).get_config_file()["components"])
    assert "&lt;i&gt;a is left out: " in page and "<i>a is" not in page
