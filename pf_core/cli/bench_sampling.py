"""What sampling costs at a released size, of random weights: precision, compilation, cached context, and where time
goes. Called by bench."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pf_core.models import PRESETS, build
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import build_codec
from pf_core.models.compiled import cpu_compiler
from pf_core.models.conditioning import ClassLabels
from pf_core.sampling.run import Run, SampleSpec

SHORT = {"euler": 4, "dual_loop": 1, "look_ahead": 3}  # sampler -> outer steps: 4 or 5 passes
PRODUCTS = ("mm", "addmm", "bmm", "matmul", "linear", "attention", "gemm", "conv")  # parts of names of operations


def network(size: str) -> Bundle:
    """A network of a released size, with weights that make every patch another one."""
    model = build(PRESETS[size]).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        if "adaLN" in name or "final_layer" in name:
            nn.init.normal_(p, std=0.02, generator=rng)
    return Bundle(size, model, build_codec("pixels", {}), ClassLabels(PRESETS[size].num_classes))


def end(bundle: Bundle, sampler: str, **fields) -> Tensor:
    """The state at t = 1 of a short run of one image."""
    spec = SampleSpec(bundle.name, sampler, steps=SHORT[sampler], labels=[207], **fields)
    *_, last = Run(bundle, spec)
    return last.x


def jobs(bundle: Bundle) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """sampler -> {what is done: a run}, the plain fp32 one first."""
    ways = {"fp32": {}, "bf16": {"precision": "bf16"}}
    if cpu_compiler() or bundle.device.type != "cpu":
        ways |= {"compiled": {"compile": True}, "bf16 compiled": {"precision": "bf16", "compile": True}}
    chosen = {sampler: {name: _job(bundle, sampler, **fields) for name, fields in ways.items()} for sampler in SHORT}
    for refresh in ("once", "none"):
        for precision in ("fp32", "bf16"):
            job = _job(bundle, "dual_loop", precision=precision, settings={"refresh": refresh})
            chosen["dual_loop"][f"{precision}, refresh {refresh}"] = job
    return chosen


def _job(bundle: Bundle, sampler: str, **fields) -> Callable[[], Tensor]:
    return lambda: end(bundle, sampler, **fields)


def share_of_products(run: Callable[[], Tensor]) -> float:
    """The share of a run's time that is spent in matrix products and attention, by torch's profiler."""
    with torch.profiler.profile() as profile:
        run()
    spent = [(event.key, event.self_cpu_time_total) for event in profile.key_averages()]
    return sum(t for name, t in spent if any(part in name for part in PRODUCTS)) / sum(t for _, t in spent)
