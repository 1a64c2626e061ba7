"""A released size on one GPU, with random weights: how fast it is, how near to what the card can do, and in how much
memory. Everything is written to a JSON file as it is measured; a part that would begin too late is left out, and said.

python tests/bench_gpu.py [--size XL/2] [--images 16] [--steps 50] [--seconds 330] [--out docs/bench-gpu.json]

Without a GPU it runs on the CPU, where only small sizes make sense: --size nano --images 1 --steps 2.
"""

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from pf_core import files  # noqa: E402
from pf_core.cli import bench_sampling  # noqa: E402
from pf_core.models import SiTConfig  # noqa: E402
from pf_core.models.checkpoint import Bundle  # noqa: E402
from pf_core.models.compiled import cpu_compiler  # noqa: E402
from pf_core.samplers import SAMPLERS  # noqa: E402
from pf_core.sampling.run import Run, SampleSpec, autocast  # noqa: E402
from pf_core.types import PatchTime  # noqa: E402

SIDES = {"cuda": (4096, 8192, 16384), "cpu": (256, 512)}  # of the square products that measure the rate
REPEATS = {"cuda": 20, "cpu": 2}
CACHED = ("once", "none")


class Bench:
    """What is measured, on which device, and where it is kept."""

    def __init__(self, size: str, images: int, steps: int, seconds: float, out: Path):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.images, self.steps, self.out = images, steps, out
        self.began, self.seconds, self.ends = time.monotonic(), seconds, {}
        self.bundle = _on(bench_sampling.network(size), self.device)
        self.compiles = self.device == "cuda" or cpu_compiler() is not None
        self.result: dict[str, Any] = {
            "about": _machine(self.device) | {"size": size, "images": images, "steps": steps},
            "rate": {}, "forward": [], "sampling": [], "left_out": [],
        }  # fmt: skip

    def keep(self, part: str, row: dict[str, Any]) -> None:
        self.result[part].append(row)
        self.write()
        print(
            part, ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True
        )

    def write(self) -> None:
        self.result["about"]["took"] = round(time.monotonic() - self.began, 1)
        files.write_json(self.out, self.result)

    def in_time(self, what: str) -> bool:
        """Whether there is time left to begin something."""
        if time.monotonic() - self.began < self.seconds:
            return True
        self.result["left_out"].append(what)
        return False

    @contextmanager
    def measured(self) -> Iterator[dict[str, float]]:
        """Seconds and the most memory of what is done inside."""
        found: dict[str, float] = {}
        _wait(self.device)
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        yield found
        _wait(self.device)
        found["seconds"], found["memory"] = time.perf_counter() - began, _memory(self.device)

    # the parts

    def rate(self) -> None:
        """The best rate of matrix products in bf16, FLOP a second: squares, and the network's own shape."""
        width, rows = self.bundle.model.config.hidden_size, self.images * self.bundle.grid.n
        shapes = {f"{n} x {n} x {n}": (n, n, n) for n in SIDES[self.device]}
        for name, (m, k, n) in (shapes | {f"{rows} x {width} x {4 * width}": (rows, width, 4 * width)}).items():
            a, b = (torch.randn(s, device=self.device, dtype=torch.bfloat16) for s in ((m, k), (k, n)))
            took = self._median(lambda a=a, b=b: a @ b)
            self.result["rate"][name] = 2 * m * k * n / took
        self.result["best_rate"] = max(self.result["rate"].values())

    def forwards(self) -> None:
        """One pass in bf16 of one image and of many: plain, compiled, and compiled with CUDA graphs."""
        model = self.bundle.network("bf16")
        ways = {"plain": model}
        if self.compiles:
            ways["compiled"] = self.bundle.network("bf16", compile=True)
        if self.device == "cuda":
            ways["compiled, CUDA graphs"] = torch.compile(model, mode="reduce-overhead", dynamic=False)
        for images in dict.fromkeys((1, self.images)):
            given = self._state(images)
            for name, net in ways.items():
                if self.in_time(f"forward, {name}, {images} images"):
                    self._forward(name, autocast(net), given, images)

    def _forward(self, name: str, net: Callable, given: tuple, images: int) -> None:
        with torch.inference_mode():
            with self.measured() as first:
                net(*given)
            with self.measured() as whole:
                took = self._median(lambda: net(*given))
        self.keep("forward", {
            "way": name, "images": images, "seconds": took, "first_pass": first["seconds"],
            "images_per_second": images / took, "share_of_rate": self._share(images, took), "memory": whole["memory"],
        })  # fmt: skip

    def sampling(self) -> None:
        """Every sampler, plain and compiled, and dual-loop with cached context."""
        for way, fields in {"plain": {}, "compiled": {"compile": True}}.items():
            for sampler in SAMPLERS:
                if way == "plain" or self.compiles:
                    self._sampled(sampler, way, **fields)
        for refresh in CACHED:
            self._sampled("dual_loop", f"cached, refresh {refresh}", settings={"refresh": refresh})

    def _sampled(self, sampler: str, way: str, **fields) -> None:
        if not self.in_time(f"sampling, {sampler}, {way}"):
            return
        spec = {"precision": "bf16", "seeds": list(range(self.images)), "labels": [1], **fields}
        with self.measured() as first:  # meets every kind of pass, so that all is compiled
            self._end(SampleSpec(self.bundle.name, sampler, steps=3, **spec))
        run = Run(self.bundle, SampleSpec(self.bundle.name, sampler, steps=self.steps, **spec))
        with self.measured() as whole:
            end = self._end(run)
        passes = run.forwards if run.token_forwards is None else run.token_forwards
        apart = float((end - self.ends.setdefault(sampler, end)).abs().max())
        self.keep("sampling", {
            "sampler": sampler, "way": way, "nfe": run.spec.nfe, "token_forwards": passes,
            "first_run": first["seconds"], "seconds": whole["seconds"],
            "images_per_second": self.images / whole["seconds"],
            "share_of_rate": self._share(self.images * passes, whole["seconds"]), "memory": whole["memory"],
            "largest_difference_from_plain": apart,
        })  # fmt: skip

    def _end(self, run: Run | SampleSpec) -> Tensor:
        *_, last = run if isinstance(run, Run) else Run(self.bundle, run)
        return last.x

    def _share(self, passes: float, seconds: float) -> float:
        """Of the measured rate of matrix products."""
        return flops(self.bundle.model.config) * passes / seconds / self.result["best_rate"]

    def _median(self, job: Callable[[], Any]) -> float:
        took = []
        for _ in range(REPEATS[self.device] + 1):
            _wait(self.device)
            began = time.perf_counter()
            job()
            _wait(self.device)
            took.append(time.perf_counter() - began)
        return median(took[1:])

    def _state(self, images: int) -> tuple[Tensor, PatchTime, Tensor]:
        x = torch.randn(images, *self.bundle.shape, device=self.device)
        t = PatchTime.shared(torch.full((images,), 0.4, device=self.device), self.bundle.grid.n)
        return x, t, torch.ones(images, dtype=torch.long, device=self.device)


def flops(config: SiTConfig) -> float:
    """Of one image's pass, in matrix products and attention, an addition and a multiplication being two; without the
    modulation, which is computed once a time and not once a patch."""
    n, d, p = config.grid.n, config.hidden_size, config.patch_size**2
    block = n * d * ((8 + 4 * config.mlp_ratio) * d + 4 * n)
    outputs = config.in_channels + config.predict_uncertainty
    return config.depth * block + 2 * n * d * p * (config.in_channels + outputs)


def _on(bundle: Bundle, device: str) -> Bundle:
    bundle.model.to(device)
    return bundle


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _memory(device: str) -> int:
    """Bytes at the most: on a GPU since it was last reset, else of the process since it began."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": device, "name": name, "torch": torch.__version__, "threads": torch.get_num_threads()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="XL/2")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50, help="outer steps of every sampler")
    parser.add_argument("--seconds", type=float, default=330, help="nothing begins later than this")
    parser.add_argument("--out", type=Path, default=Path("docs/bench-gpu.json"))
    args = parser.parse_args(argv)
    bench = Bench(args.size, args.images, args.steps, args.seconds, args.out)
    bench.rate()
    bench.forwards()
    bench.sampling()
    bench.write()
    left = bench.result["left_out"]
    print(f"{args.out}: {bench.result['about']['took']} s" + (f"; left out: {'; '.join(left)}" if left else ""))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
