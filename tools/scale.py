"""The numbers of docs/SCALE.md, each from a formula: python tools/scale.py prints them, --write puts them into it.

Formulas of the network (parameters, arithmetic, saved activations, files) are tested against the real one
(tests/test_scale.py); speeds of machines are their makers' and UTILISATION is an assumption.
"""

import heapq
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "SCALE.md"
MEGA, GIGA, TERA = 1e6, 1e9, 1e12


@dataclass(frozen=True)
class Network:
    """A SiT by its numbers: sides in latent pixels; outputs: channels of the final layer, one more for log-variance."""

    depth: int
    width: int
    patch: int = 2
    side: int = 32
    channels: int = 4
    outputs: int = 5
    classes: int = 1000
    features: int = 256  # of the time embedding

    @property
    def patches(self) -> int:
        return (self.side // self.patch) ** 2

    @property
    def parameters(self) -> int:
        """Trainable ones. A block: qkv 3, projection 1, MLP 8, AdaLN 6 squares of the width, and its biases."""
        d, pixels = self.width, self.patch**2
        block = 18 * d * d + 15 * d
        embedders = pixels * self.channels * d + d + (self.features + 1) * d + d * d + d + (self.classes + 1) * d
        final = 2 * d * d + 2 * d + d * pixels * self.outputs + pixels * self.outputs
        return self.depth * block + embedders + final

    def forward(self, levels: int = 1) -> int:
        """FLOPs (2 a multiplication with its addition) of an image's pass in which patches stand at so many times: the
        modulation is computed once a time."""
        d, n, pixels = self.width, self.patches, self.patch**2
        tokens = 24 * d * d * n + 4 * n * n * d  # products with weights; queries with keys, weights with values
        block = tokens + 12 * d * d * levels
        embedders = 2 * n * pixels * self.channels * d + levels * (2 * self.features * d + 2 * d * d)
        return self.depth * block + embedders + levels * 4 * d * d + 2 * n * d * pixels * self.outputs

    def training(self, levels: int) -> int:
        """FLOPs of an image's training step: the backward pass costs two forward ones."""
        return 3 * self.forward(levels)

    def activations(self, levels: int) -> float:
        """Bytes that an image's forward pass in bf16 keeps for the backward one, blocks alone."""
        return (SAVED_PER_PATCH if levels > 1 else SAVED_SHARED) * self.depth * self.patches * self.width


SAVED_PER_PATCH, SAVED_SHARED = 66, 49  # bytes a block, patch and unit of width (measured: tests/test_scale.py)
XL = Network(28, 1152)
B = Network(12, 768)

# training as in the paper
STEPS, BATCH = 400_000, 256
TRAINING_IMAGES = 1_281_167  # ImageNet's
WEIGHTS, GRADIENTS, ADAMW, EMA = 4, 4, 8, 4  # bytes a parameter, fp32
CAST = 2  # bytes a parameter of autocast's bf16 copies


# machines: an H100 SXM, by its data sheet
PEAK = 989e12  # FLOP/s, bf16, dense
GPU_MEMORY = 80e9
NVLINK = 450e9  # bytes/s a GPU, one way, within eight
NETWORK = 50e9  # bytes/s a GPU, one way, between machines (400 Gbit/s)
UTILISATION = 0.4  # assumed: the share of PEAK that is reached
RATE = UTILISATION * PEAK

DECODER, VAE_ENCODER = 622_187_282_432, 272_722_165_760  # FLOPs of SD's VAE at 256 pixels (counted in the test)
HALF = 2  # bytes of a latent number


def state_bytes(parameters: int) -> int:
    """The state that a training resumes from: weights, averages, AdamW's two."""
    return parameters * (WEIGHTS + EMA + ADAMW)


def network_bytes(parameters: int) -> int:
    """A network's file, in bf16."""
    return 2 * parameters


def all_reduce(size: float, gpus: int) -> float:
    """Seconds in which `gpus` sum `size` bytes in a ring, at the speed of its slowest link."""
    return 2 * (gpus - 1) / gpus * size / (NVLINK if gpus <= 8 else NETWORK)


def compute(network: Network, images: float) -> float:
    """Seconds of a GPU's arithmetic in a step with so many images of its own."""
    return images * network.training(network.patches) / RATE


def hidden_batch(network: Network, gpus: int) -> float:
    """Images a GPU from which on the sum of fp32 gradients takes no longer than the backward pass that hides it."""
    return all_reduce(GRADIENTS * network.parameters, gpus) / (compute(network, 1) * 2 / 3)


# text to image: the size that the paper names, as far as it is known; each weight is taken to meet each patch
TEXT = {"parameters": 1.24e9, "depth": 28, "width": 1536, "channels": 32, "tokens": 256, "images": 100e6, "seen": 1e9}
ENCODER = {"parameters": 2e9, "width": 2048}
SHARD = 1e9  # bytes of a tar file


def text_forward(patches: int) -> float:
    """FLOPs: weights, attention among patches, and from patches to the words."""
    d, depth, tokens = TEXT["width"], TEXT["depth"], TEXT["tokens"]
    return 2 * TEXT["parameters"] * patches + 4 * depth * d * patches * (patches + tokens)


def text_encoding() -> float:
    """FLOPs of one caption in the frozen encoder."""
    return 2 * ENCODER["parameters"] * TEXT["tokens"]


# serving


def passes(steps: int, sampler: str) -> int:
    """Forward passes of a guided run: two a network evaluation; look-ahead takes 2 S - W of them (METHOD: W = the steps
    with t <= 0.05)."""
    warm = sum(k / steps <= 0.05 for k in range(steps))
    return 2 * {"euler": steps, "look_ahead": 2 * steps - warm}[sampler]


def service(images: int, steps: int = 50, sampler: str = "euler") -> float:
    """Seconds of a guided XL/2 run of so many images together, decoded. A GPU is taken to reach UTILISATION times
    n / (n + 1): half of it with one image."""
    work = passes(steps, sampler) * XL.forward(levels=1) + DECODER
    return work * (images + 1) / RATE


def waits(load: float, together: int, requests: int = 20_000, seed: int = 0) -> list[float]:
    """Sorted seconds from request to image, where requests for one image arrive at random (Poisson) at `load` times
    what one image at a time could serve, and a free GPU takes up to `together` of those that wait."""
    rng, alone = random.Random(seed), service(1)
    now, free, took = 0.0, 0.0, []
    arrivals = []
    for _ in range(requests):
        now += rng.expovariate(load / alone)
        heapq.heappush(arrivals, now)
    while arrivals:
        start = max(free, arrivals[0])
        group = []
        while arrivals and len(group) < together and arrivals[0] <= start:
            group.append(heapq.heappop(arrivals))
        free = start + service(len(group))
        took += [free - each for each in group]
    return sorted(took)


# the document's tables


def table(head: list[str], *rows: list[str]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def arithmetic() -> str:
    def row(name: str, network: Network, levels: int) -> list[str]:
        forward, training = network.forward(levels), network.training(levels)
        return [name, f"{forward / GIGA:.0f}", f"{training / TERA:.2f}", f"{training * STEPS * BATCH:.2e}"]

    return table(
        ["network, times in an image", "forward, GFLOP", "training step, TFLOP", "400k steps of 256, FLOP"],
        row("XL/2, one (SiT)", XL, 1),
        row("XL/2, one a patch (Patch Forcing)", XL, XL.patches),
        row("B/2, one", B, 1),
        row("B/2, one a patch", B, B.patches),
    )


def memory() -> str:
    p, share = XL.parameters, BATCH // 8
    parts = {
        "weights, fp32": WEIGHTS * p, "gradients, fp32": GRADIENTS * p, "AdamW's two moments, fp32": ADAMW * p,
        "averaged weights, fp32": EMA * p, "bf16 copies of autocast": CAST * p,
        f"saved activations, {share} images": share * XL.activations(XL.patches),
    }  # fmt: skip
    rows = [[name, f"{size / GIGA:.1f}"] for name, size in parts.items()]
    whole = sum(parts.values())
    sharded = whole - (1 - 1 / 8) * (WEIGHTS + GRADIENTS + ADAMW + EMA) * p
    last = [["**whole**", f"**{whole / GIGA:.1f}**"], ["whole, sharded over 8", f"{sharded / GIGA:.1f}"]]
    return table(["on each of 8 GPUs", "GB"], *rows, *last)


def hours() -> str:
    rows = []
    for utilisation in (0.3, 0.4, 0.5):
        row = [f"{utilisation:.0%}"]
        for levels in (1, XL.patches):
            seconds = XL.training(levels) * BATCH * STEPS / (8 * PEAK * utilisation)
            row += [f"{seconds / 3600:.1f}", f"{BATCH * STEPS / seconds:,.0f}"]
        rows.append(row)
    head = ["utilisation", "SiT, hours", "images/s", "Patch Forcing, hours", "images/s"]
    return table(head, *rows)


def storage() -> str:
    latent = XL.side**2 * XL.channels * HALF
    speed = 8 * RATE / XL.training(XL.patches)
    encode = VAE_ENCODER * TRAINING_IMAGES / RATE
    return table(
        ["latents of ImageNet", ""],
        ["a latent, 32 x 32 x 4 in half precision", f"{latent / 1024:.0f} KiB"],
        ["1,281,167 of them", f"{latent * TRAINING_IMAGES / GIGA:.1f} GB"],
        ["with the mirrored ones", f"{2 * latent * TRAINING_IMAGES / GIGA:.1f} GB"],
        [f"read by 8 GPUs at {speed:,.0f} images/s", f"{latent * speed / MEGA:.0f} MB/s"],
        ["encoding them once, one GPU", f"{encode / 60:.0f} minutes"],
    )


def files() -> str:
    rows = []
    for name, network in (("XL/2", XL), ("B/2", B)):
        p = network.parameters
        rows.append([name, f"{p / MEGA:.1f}", f"{network_bytes(p) / GIGA:.2f}", f"{state_bytes(p) / GIGA:.2f}"])
    return table(["network", "parameters, million", "network in bf16, GB", "state to resume from, GB"], *rows)


def limits() -> str:
    rows = []
    for gpus, batch in ((8, 256), (64, 256), (64, 1024), (1024, 256), (1024, 8192)):
        each = batch / gpus
        if each < 1:
            rows.append([f"{gpus:,}", f"{batch:,}", "less than 1", "-", "-", "no image for most GPUs"])
            continue
        work, talk = compute(XL, each), all_reduce(GRADIENTS * XL.parameters, gpus)
        share = work / (work / 3 + max(work * 2 / 3, talk))  # the sum can hide behind the backward pass alone
        bound = "arithmetic" if talk <= work * 2 / 3 else "summing gradients"
        rows.append(
            [f"{gpus:,}", f"{batch:,}", f"{each:g}", f"{work * 1e3:.0f}", f"{talk * 1e3:.0f}", f"{bound}, {share:.0%}"]
        )
    head = ["GPUs", "batch", "images a GPU", "arithmetic, ms", "summing, ms", "limit, share of the time that computes"]
    return table(head, *rows)


def hiding() -> str:
    rows = [[f"{g:,}", f"{hidden_batch(XL, g):.0f}", f"{g * hidden_batch(XL, g):,.0f}"] for g in (8, 64, 1024)]
    return table(["GPUs", "images a GPU that hide the sum", "so a batch of"], *rows)


def text_to_image() -> str:
    rows = []
    for pixels in (256, 512, 1024):
        patches = (pixels // 16) ** 2
        training = 3 * text_forward(patches)
        rows.append([
            str(pixels), f"{patches:,}", f"{text_forward(patches) / TERA:.2f}", f"{training / TERA:.1f}",
            f"{text_encoding() / training:.0%}",
            f"{TEXT['seen'] * (training + text_encoding()) / (64 * RATE) / 86400:.1f}",
        ])  # fmt: skip
    head = [
        "pixels",
        "patches",
        "forward, TFLOP",
        "training, TFLOP",
        "text encoder on top",
        "10^9 images on 64 GPUs, days",
    ]
    return table(head, *rows)


def web() -> str:
    latent = 32 * 32 * TEXT["channels"] * HALF
    words = TEXT["tokens"] * ENCODER["width"] * HALF
    total = latent * TEXT["images"]
    speed = 64 * RATE / (3 * text_forward(256) + text_encoding())
    return table(
        ["10^8 captioned pictures at 256 pixels", ""],
        ["latents, 32 x 32 x 32 in half precision", f"{latent / 1024:.0f} KiB each, {total / TERA:.1f} TB"],
        ["tar files of 1 GB", f"{total / SHARD:,.0f} of {SHARD / latent:,.0f} pictures"],
        [
            "a caption's encoded tokens, 256 x 2048",
            f"{words / 2**20:.0f} MiB each, {words * TEXT['images'] / TERA:.0f} TB",
        ],
        [f"64 GPUs read, at {speed:,.0f} pictures/s, latents", f"{latent * speed / GIGA:.2f} GB/s"],
        ["and would read encoded captions", f"{words * speed / GIGA:.1f} GB/s"],
        ["weights, gradients, moments, average", f"{20 * TEXT['parameters'] / GIGA:.1f} GB"],
    )


def serving() -> str:
    rows = []
    for sampler in ("euler", "look_ahead"):
        for together in (1, 8):
            took = service(together, sampler=sampler)
            rate = together / took
            row = [
                sampler,
                str(together),
                f"{passes(50, sampler)}",
                f"{took * 1e3:.0f}",
                f"{rate:.1f}",
                f"{30 * rate:.0f}",
            ]
            rows.append(row)
    head = ["XL/2, 50 steps, guided", "images together", "forwards", "ms", "images/s", "users, one image each 30 s"]
    return table(head, *rows)


def queueing() -> str:
    rows = []
    for load in (0.5, 0.8, 0.95, 1.5):
        row = [f"{load:.0%}"]
        for together in (1, 8):
            if load >= 1 and together == 1:
                row += ["grows", "without end"]
                continue
            took = waits(load, together)
            row += [f"{took[len(took) // 2] * 1e3:.0f}", f"{took[int(0.95 * len(took))] * 1e3:.0f}"]
        rows.append(row)
    head = ["load", "one at a time: median, ms", "95th percentile", "up to 8 together: median, ms", "95th percentile"]
    return table(head, *rows)


BLOCKS: dict[str, Callable[[], str]] = {
    f.__name__.replace("_", "-"): f
    for f in (arithmetic, memory, hours, storage, files, limits, hiding, text_to_image, web, serving, queueing)
}
_BLOCK = re.compile(r"(<!-- scale:([a-z-]+) -->\n).*?(\n<!-- /scale -->)", re.S)


def filled(text: str) -> str:
    """A document with its tables computed anew."""
    return _BLOCK.sub(lambda m: m[1] + BLOCKS[m[2]]() + m[3], text)


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        for title, block in BLOCKS.items():
            print(f"{title}\n{block()}\n")
