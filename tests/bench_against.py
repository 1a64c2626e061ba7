"""The samplers of this version against those of another commit: the same weights and noise, in turns, two processes.

python tests/bench_against.py COMMIT [--size B/2] [--rounds 3]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
# What both versions understand: networks, guidance and samplers as plain functions.
TIMED = """
import json, sys, time
import torch
from pf_core.guidance import guide
from pf_core.models import PRESETS, build
from pf_core.samplers import SAMPLERS, uniform_grid
asked = json.loads(sys.argv[1])
model = build(PRESETS[asked["size"]]).eval().requires_grad_(False)
rng = torch.Generator().manual_seed(0)
for name, p in model.named_parameters():
    if "adaLN" in name or "final_layer" in name:
        torch.nn.init.normal_(p, std=0.02, generator=rng)
x0 = torch.randn(1, model.channels, model.grid.height, model.grid.width, generator=rng)
took = {}
for label, (sampler, steps, settings, bf16) in asked["rows"].items():
    denoise = guide(model, torch.tensor([207]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        began = time.perf_counter()
        *_, last = SAMPLERS[sampler].fn(denoise, x0, model.grid, uniform_grid(steps), [rng], **settings)
        took[label] = [time.perf_counter() - began, last.x.float().flatten()[:64].tolist()]
print(json.dumps(took))
"""
BOTH = {
    "euler": ["euler", 4, {}, False],
    "dual-loop": ["dual_loop", 1, {}, False],
    "look-ahead": ["look_ahead", 3, {}, False],
}
OURS = BOTH | {
    "euler, bf16": ["euler", 4, {}, True],
    "dual-loop, refresh once": ["dual_loop", 1, {"refresh": "once"}, False],
    "dual-loop, refresh none": ["dual_loop", 1, {"refresh": "none"}, False],
    "dual-loop, bf16, refresh once": ["dual_loop", 1, {"refresh": "once"}, True],
}


def timed(tree, size, rows):
    asked = json.dumps({"size": size, "rows": rows})
    done = subprocess.run(
        [sys.executable, "-c", TIMED, asked], cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--size", default="B/2")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "other"
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(tree)], check=True)
        subprocess.run(["git", "-C", str(tree), "checkout", "--quiet", args.commit], check=True)
        rounds = [(timed(tree, args.size, BOTH), timed(ROOT, args.size, OURS)) for _ in range(args.rounds)]
    for label in OURS:
        base = label.split(",")[0]
        ratio = median(theirs[base][0] / ours[label][0] for theirs, ours in rounds)
        theirs, ours = rounds[0]
        apart = max(abs(a - b) for a, b in zip(theirs[base][1], ours[label][1], strict=True))
        print(f"{args.size} {label}: {ratio:.2f}x as fast as {args.commit}, largest difference {apart:.1e}")


if __name__ == "__main__":
    main()
