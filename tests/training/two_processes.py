"""What two processes train, started by torch.distributed.run: python two_processes.py FOLDER. See test_ranks.py."""

import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch

from pf_core.data.shapes import Shapes
from pf_core.models import build, preset
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.loop import TrainConfig, Trainer, train
from pf_core.training.ranks import rank
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute, use_device
from pf_core.training.sharded import ShardedTrainer
from pf_core.training.state import load_state, save_state

STEPS, HALF = 50, 25
CONFIG = TrainConfig(steps=STEPS, batch_size=8, optimizer="adamw", lr=1e-3, warmup=10)
WAYS = {  # name: (configuration, how the network lies on the processes)
    "plain": (CONFIG, Trainer),
    "muon": (replace(CONFIG, optimizer="muon", muon_lr=1e-3, steps=10), Trainer),
    "parts": (replace(CONFIG, accumulate=2, precision="bf16", steps=6), Trainer),
    "sharded": (CONFIG, ShardedTrainer),
    "sharded parts": (replace(CONFIG, accumulate=2, precision="bf16", steps=6), ShardedTrainer),
}
RECIPE = TrainRecipe(model="nano", config=replace(CONFIG, steps=20))
SAVES = Intervals(save=0, log=1, validate=10, samples=0)


def losses(name, state=None, kind=None, half=None):
    """The losses of every step. half: a folder, into which the first process writes what half the steps lead to."""
    config, its_kind = WAYS[name]
    seen = []
    for at in train(build(preset("nano"), 0), Shapes(), config, state, kind=kind or its_kind):
        seen.append(at.losses.total.item())
        if half and at.step == HALF and rank() == 0:
            save_state(half / f"{name}.safetensors", at.trainer.state_dict(), {})
            torch.save(at.trainer.ema.state_dict(), half / f"{name}-ema.pt")
    return seen


def main(folder):
    torch.set_num_threads(1)
    use_device("cpu")
    result = {name: losses(name, half=folder) for name in WAYS}
    for name in ("plain", "sharded"):
        state, _ = load_state(folder / "one.safetensors")  # which a single process has left; a trainer works on in it
        result[f"{name} resumed"] = losses(name, state)
    for name, shard in (("run", False), ("sharded-run", True)):
        result[name] = [at.step for at in commanded(RunFolder(folder / name), shard)]
    (folder / f"rank{rank()}.json").write_text(json.dumps(result))


def commanded(run, shard):
    """A run that is saved after step 3, paused for a moment after step 5, and stopped after step 9."""
    for at in execute(run, False, RECIPE, SAVES, "test", shard=shard):
        yield at
        if rank():
            continue
        if at.step == 3:
            run.send_command("save")
        if at.step == 5:
            run.send_command("pause")
            threading.Thread(target=lambda: (time.sleep(0.3), run.withdraw("pause"))).start()
        if at.step == 9:
            run.send_command("stop")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
