"""Kill a trainer over and over at random moments, many of them in the middle of a write, and resume it each time.

The weights must end as those of a run that nobody disturbed, bit for bit, and no half file may pass for a whole one.

    python tests/torture.py --kills 50

Every life of the trainer is `python -m pf_core train --resume` in a process of its own, forked from this one so that it
need not import torch again. Prints what happened as JSON; the exit status is 1 if anything is not as it must be.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads must not fork
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
import torch._dynamo  # noqa: E402, F401 (every optimizer imports it)
from safetensors.torch import load_file  # noqa: E402

from pf_core.cli import COMMANDS, main  # noqa: E402
from pf_core.models import checkpoint  # noqa: E402
from pf_core.training.run_dir import RunFolder  # noqa: E402
from pf_core.training.state import load_state  # noqa: E402
from pf_core.training.status import read_info  # noqa: E402

SAVE = 4  # steps
TRAIN = f"train --model nano --batch-size 2 --threads 1 --save-every {SAVE} --log-every 1".split()
TRAIN += f"--validate-every 50 --samples-every 200 --weights-every {5 * SAVE}".split()
COMMANDS["train"]  # imported before the first fork
KINDS = ("write", "write", "step", "step", "start")
PATIENCE = 120.0


def life(folder: Path, steps: int, *flags: str) -> int:
    """Fork a trainer; its pid."""
    pid = os.fork()
    if pid:
        return pid
    with open(f"{folder}.log", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    status = 1
    try:
        status = main([*TRAIN, "--steps", str(steps), "--out", str(folder), *flags])
    finally:
        os._exit(status)


def lived(pid: int) -> int | None:
    """The exit status of a child, negative for a signal; None while it lives."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def kill_when(pid: int, condition) -> bool:
    """Kill as soon as the condition holds; False if the trainer ended before."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if lived(pid) is not None:
            return False
        assert time.monotonic() < until, "the trainer makes no progress"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def moment(kind: str, folder: RunFolder, rng: random.Random, steps_a_life: float):
    """A condition that comes true at a random moment of this kind."""
    if kind == "start":
        at = time.monotonic() + rng.uniform(0.0, 0.15)
        return lambda: time.monotonic() >= at
    ahead = folder.saved_step() + rng.randint(1, max(2, round(2 * steps_a_life)))
    if kind == "step":
        late = rng.uniform(0.0, 0.01)
        return lambda: logged(folder) >= ahead and not time.sleep(late)
    return lambda: logged(folder) >= ahead and any(n.startswith(".state.") for n in os.listdir(folder.path))


def logged(folder: RunFolder) -> int:
    """The last step in the metrics."""
    try:
        lines = folder.metrics.read_bytes().rsplit(b"\n", 2)
        return json.loads(lines[-2].rpartition(b"\n")[2])["step"] if len(lines) > 1 else 0
    except (OSError, ValueError, KeyError):
        return 0


def inspect(folder: RunFolder) -> list[str]:
    """What is wrong with a folder whose trainer has just been killed; [] if all that has a name is whole."""
    wrong = []
    for path in folder.path.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if path == folder.state:
                load_state(path)
            elif path.suffix == ".safetensors":
                load_file(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
        except Exception as e:
            wrong.append(f"{path.name}: {e}")
    if folder.network:
        checkpoint.load(str(folder.network))
    if (folder.path / "config.json").exists() and (state := read_info(folder).state) not in ("interrupted", "stopped"):
        wrong.append(f"the list says {state} of a dead trainer")
    return wrong


def same(a: RunFolder, b: RunFolder) -> dict[str, bool]:
    """Which parts of two finished runs agree bit for bit."""

    def tensors(path: Path):
        return {k: v.nan_to_num(nan=-1e9) for k, v in load_file(path).items()}  # NaN: nothing predicted

    def equal(p: Path, q: Path) -> bool:
        x, y = tensors(p), tensors(q)
        return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)

    timed = ("seconds", "seconds_left", "images_per_second")
    logs = [[{k: v for k, v in e.items() if k not in timed} for e in run.follow()[0]] for run in (a, b)]
    return {
        "weights": equal(a.weights, b.weights),
        "state": equal(a.state, b.state),
        "metrics": logs[0] == logs[1] and len(logs[0]) > logs[0][-1]["step"],
        "samples": all(equal(p, b.path / "samples" / p.name) for p in a.path.glob("samples/*.safetensors")),
    }


def torture(where: Path, kills: int, steps: int, seed: int) -> dict:
    rng, begin = random.Random(seed), time.monotonic()
    calm, victim = RunFolder(where / "calm"), RunFolder(where / "victim")
    pid = life(calm.path, steps)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, Path(f"{calm.path}.log").read_text()
    done, torn, wrong, early = dict.fromkeys(KINDS, 0), 0, [], 0
    for k in range(kills):
        flags = ["--resume"] if (victim.path / "config.json").exists() else []
        kind = KINDS[k % len(KINDS)] if victim.metrics.exists() else "step"
        when = moment(kind, victim, rng, (steps - victim.saved_step()) / (kills - k + 8))
        pid = life(victim.path, steps, *flags)
        if not kill_when(pid, when):
            early += 1
            break
        done[kind] += 1
        torn += bool(list(victim.path.rglob(".*.tmp*")))
        wrong += inspect(victim)
    pid = life(victim.path, steps, "--resume")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, Path(f"{victim.path}.log").read_text()[-2000:]
    return {
        "kills": sum(done.values()),
        "by kind": done,
        "left a half-written temporary file": torn,
        "half files taken for whole ones": wrong,
        "ended before it was killed": early,
        "the same as undisturbed, bit for bit": same(calm, victim),
        "seconds": round(time.monotonic() - begin, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=400, help="of the whole run")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        found = torture(Path(place), asked.kills, asked.steps, asked.seed)
    print(json.dumps(found, indent=1))
    well = found["kills"] == asked.kills and not found["half files taken for whole ones"]
    raise SystemExit(0 if well and all(found["the same as undisturbed, bit for bit"].values()) else 1)
