"""How much sooner several people's runs are done in one batch than in turns: the same runs, both ways, alternating.

python tests/bench_batches.py [--checkpoint toybox-pft] [--device cpu] [--runs 1,2,4] [--images 1] [--nfe 32]

On a CPU the processor's time is counted, not the wall's, so that other work beside it matters less.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from pf_core.models import checkpoint  # noqa: E402
from pf_core.models.checkpoint import Bundle  # noqa: E402
from pf_core.sampling.run import Run, SampleSpec  # noqa: E402
from pf_core.sampling.together import together  # noqa: E402
from pf_core.sampling.trajectory import record  # noqa: E402


def seconds(bundle: Bundle, specs: list[SampleSpec], batch: bool) -> float:
    clock = time.perf_counter if bundle.device.type == "cuda" else time.process_time
    begin = clock()
    runs = [Run(bundle, spec) for spec in specs]
    for run in together(runs) if batch and len(runs) > 1 else runs:
        record(run)  # its frames are kept, as the app keeps them
    return clock() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", default="toybox-pft")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", default="1,2,4")
    parser.add_argument("--sampler", default="euler")
    for name, default in (("images", 1), ("nfe", 32), ("repeats", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    bundle = checkpoint.load(asked.checkpoint, asked.device)
    base = SampleSpec(asked.checkpoint, asked.sampler, nfe=asked.nfe)
    seconds(bundle, [replace(base, seeds=[0], nfe=4)], False)  # warm
    print(f"{asked.checkpoint}, {asked.sampler}, {asked.nfe} NFE, {asked.images} images a run, {asked.repeats} repeats")
    for count in map(int, asked.runs.split(",")):
        specs = [replace(base, seeds=[k * asked.images + i for i in range(asked.images)]) for k in range(count)]
        pairs = [[seconds(bundle, specs, batch) for batch in (False, True)] for _ in range(asked.repeats)]
        turns, batch = (median(column) for column in zip(*pairs, strict=True))
        gain = median(a / b for a, b in pairs)
        rates = [count * asked.images / each for each in (turns, batch)]
        told = f"{rates[0]:.2f} images/s in turns, {rates[1]:.2f} in one batch"
        print(f"{count} runs: {turns:.3f} s and {batch:.3f} s, {told}: {gain:.2f} times", flush=True)


if __name__ == "__main__":
    main()
