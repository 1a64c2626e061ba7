"""bench: time the fast parts of the code, as ratios within one run."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from tqdm import tqdm

from pf_core.cli import bench_sampling
from pf_core.data import DATASETS
from pf_core.models import PRESETS, build, checkpoint, cpu_step, preset
from pf_core.models.compiled import cpu_compiler
from pf_core.models.conditioning import ClassLabels
from pf_core.models.layers import Block
from pf_core.presets import PFT
from pf_core.registry import Knob, Parameter
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import Run, SampleSpec
from pf_core.training.loop import TrainConfig, Trainer, draw
from pf_core.training.process import keep_memory
from pf_core.types import PatchTime

REPEATS = Parameter("repeats", int, 7, Knob(1, 1000, "timed rounds; medians are printed"))
TOKENS, BATCH, DEPTH = 256, 2, 2
STEPS = (  # networks whose training step is timed with and without its shortcuts
    {},
    {"input_size": 64, "patch_size": 8, "depth": 3, "hidden_size": 192},
    {"input_size": 64, "patch_size": 4, "depth": 3, "hidden_size": 192},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", default=REPEATS.default, help=f"{REPEATS.knob.help}; default {REPEATS.default}")
    parser.add_argument("--size", default="B/2", help="released size whose sampling is timed; default B/2")
    parser.add_argument("--only", choices=sorted(PARTS), help="one part alone")


def run(args: argparse.Namespace) -> None:
    repeats = REPEATS.check(args.repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {repeats} interleaved rounds")
    preset(args.size)  # raises InputError for an unknown one
    for name, part in PARTS.items():
        if args.only in (None, name):
            part(repeats, args.size)


def _modulations(repeats: int, _: str) -> None:
    for size in ("B/2", "XL/2"):
        _modulation(size, repeats)


def _draws(repeats: int, _: str) -> None:
    _data(repeats)
    _toybox(repeats)


def _training(repeats: int, _: str) -> None:
    if cpu_compiler() and not torch.cuda.is_available():
        for shape in STEPS:
            _step(repeats, **shape)


def _shipped(repeats: int, _: str) -> None:
    if PFT in checkpoint.names():
        _sampling(repeats)


def _released(repeats: int, size: str) -> None:
    """A short run at a released size, each way against plain fp32, and the largest difference of what it draws."""
    bundle = bench_sampling.network(size)
    for sampler, ways in bench_sampling.jobs(bundle).items():
        plain, ends = next(iter(ways)), {name: job() for name, job in ways.items()}  # compiled here, not timed
        seconds_of = _interleaved(ways, repeats, f"{size} {sampler}")
        for name, seconds in seconds_of.items():
            apart = float((ends[name] - ends[plain]).abs().max())
            print(
                f"{size}, {bundle.grid.n} patches, {sampler}, {name}: {seconds:.2f} s, "
                f"{seconds_of[plain] / seconds:.2f}x, largest difference {apart:.1e}"
            )
    share = bench_sampling.share_of_products(bench_sampling.jobs(bundle)["look_ahead"]["fp32"])
    print(f"{size}, look_ahead, fp32: {share:.0%} of the time in matrix products and attention")


PARTS = {  # in the order in which they run
    "modulation": _modulations,
    "data": _draws,
    "training": _training,
    "sampling": _shipped,
    "released": _released,
}


def _modulation(size: str, repeats: int) -> None:
    """AdaLN computed once per distinct time against once per token, on blocks of a size's width."""
    config = PRESETS[size]
    blocks = [Block(config.hidden_size, config.num_heads, config.mlp_ratio).eval() for _ in range(DEPTH)]
    x = torch.randn(BATCH, TOKENS, config.hidden_size)
    easy = torch.rand(BATCH, TOKENS) < 0.4
    t = torch.where(easy, 0.6, 0.4)
    times = {
        "per token": PatchTime.dense(t),
        "1 distinct t": PatchTime.shared(t[:, 0], TOKENS),
        "2 distinct t": PatchTime.grouped(t, easy, 2),
    }

    @torch.inference_mode()
    def forward(t: PatchTime) -> None:
        c, h = torch.randn(BATCH, t.levels.shape[1], config.hidden_size), x
        for block in blocks:
            h = block(h, c, t)

    seconds_of = _interleaved({name: lambda t=t: forward(t) for name, t in times.items()}, repeats, f"{size} width")
    slow = seconds_of.pop("per token")
    ratios = ", ".join(f"{slow / seconds:.2f}x with {name}" for name, seconds in seconds_of.items())
    print(f"AdaLN once per distinct time against per token, {size} width, {TOKENS} tokens: {ratios}")


def _data(repeats: int) -> None:
    """The time to draw a batch against the training step that uses it, at the demo networks' size."""
    data, config = DATASETS["shapes"].fn(), TrainConfig()
    trainer = Trainer(build(preset("tiny")), config)
    classes = ClassLabels(len(data.names), data.names)
    batch = draw(data, config, classes, trainer.grid, 0)
    jobs = {
        "draw": lambda: draw(data, config, classes, trainer.grid, 0),
        "step": lambda: trainer.train_step(batch),
    }
    seconds_of = _interleaved(jobs, repeats, "training")
    speed = {name: config.batch_size / seconds for name, seconds in seconds_of.items()}
    share = seconds_of["draw"] / sum(seconds_of.values())
    print(
        f"shapes: {speed['draw']:.0f} images a second; training in fp32 takes {speed['step']:.0f}: {share:.1%} is data"
    )


def _toybox(repeats: int) -> None:
    """The same for toybox at 64 pixels, its images rendered when they are needed and rendered ahead."""
    live, ahead, config = DATASETS["toybox"].fn(), DATASETS["toybox"].fn(), TrainConfig()
    trainer = Trainer(build(preset("tiny", input_size=live.size, num_classes=len(live.names))), config)
    classes = ClassLabels(len(live.names), live.names)
    batch = draw(live, config, classes, trainer.grid, 0)
    with TemporaryDirectory() as place:
        ahead.cache.path = Path(place) / "bench.u8"
        for _ in ahead.render_ahead(config.batch_size):
            pass
        jobs = {
            "live": lambda: draw(live, config, classes, trainer.grid, 1),
            "ahead": lambda: draw(ahead, config, classes, trainer.grid, 0),
            "step": lambda: trainer.train_step(batch),
        }
        live.cache.read = lambda indices: None  # even if the user has rendered some
        seconds_of = _interleaved(jobs, repeats, "toybox")
    speed = {name: config.batch_size / seconds for name, seconds in seconds_of.items()}
    shares = {name: seconds_of[name] / (seconds_of[name] + seconds_of["step"]) for name in ("live", "ahead")}
    print(
        f"toybox: {speed['live']:.0f} images a second live, {speed['ahead']:.0f} rendered ahead; training in fp32 "
        f"takes {speed['step']:.0f}: {shares['live']:.1%} is data, or {shares['ahead']:.1%}"
    )


def _never(x: torch.Tensor) -> bool:
    """In place of `cpu_step.applies`: no shortcut is taken. One function, so that nothing is compiled twice."""
    return False


def _step(repeats: int, **shape) -> None:
    """A compiled bf16 training step as torch writes it, and with `cpu_step` and `keep_memory`: on one core, in the
    process's own time, as other programs may run."""
    config, data = TrainConfig(precision="bf16", compile=True), DATASETS["shapes"].fn(size=shape.get("input_size", 32))
    trainers = [Trainer(build(preset("tiny", **shape)), config) for _ in range(2)]
    size, grid = trainers[0].model.config, trainers[0].grid
    batch = draw(data, config, ClassLabels(len(data.names), data.names), grid, 0)

    def plain() -> None:
        keep_memory(False)
        with patch.object(cpu_step, "applies", _never):
            trainers[0].train_step(batch)

    def ours() -> None:
        keep_memory()
        trainers[1].train_step(batch)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    jobs = {"plain": plain, "ours": ours}
    seconds_of = _interleaved(jobs, repeats, "training steps", time.process_time)
    torch.set_num_threads(threads)
    speed = {name: config.batch_size / seconds for name, seconds in seconds_of.items()}
    print(
        f"bf16 training step, {grid.n} patches, width {size.hidden_size}, depth {size.depth}, one core: "
        f"{speed['plain']:.0f} images a second as torch writes it, {speed['ours']:.0f} as we do, "
        f"{speed['ours'] / speed['plain']:.2f}x"
    )


def _sampling(repeats: int) -> None:
    """Four images at 64 NFE on the shipped network, every sampler against Euler."""
    bundle = checkpoint.load(PFT)
    labels, jobs = bundle.conditioner.names[:1], {}
    for name in SAMPLERS:
        for scale in (1.0, 2.0):
            spec = SampleSpec(bundle.name, name, nfe=64, labels=labels, seeds=[0, 1, 2, 3], cfg_scale=scale)
            jobs[f"{name}, guidance {scale:g}"] = lambda spec=spec: list(Run(bundle, spec))
    for name, seconds in _interleaved(jobs, repeats, "sampling").items():
        print(f"{PFT}, four images at 64 NFE: {name}: {seconds:.2f} s")


def _interleaved(
    jobs: dict[str, Callable], repeats: int, about: str, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each job; the jobs take turns, so that a slow moment affects all of them."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in tqdm(range(repeats + 1), desc=about, disable=None, leave=False):
        for name, job in jobs.items():
            begin = clock()
            job()
            if round_:  # the first round warms up
                taken[name].append(clock() - begin)
    return {name: median(seconds) for name, seconds in taken.items()}
