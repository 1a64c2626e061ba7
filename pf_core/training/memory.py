"""What a training will take of this machine's memory, estimated before it begins: the system kills a process that takes
too much without a word, and perhaps others first. Memory of a GPU that runs out ends in a sentence by itself."""

from torch import nn

from pf_core import memory
from pf_core.training import ranks
from pf_core.training.config import TrainRecipe
from pf_core.training.loop import on_gpu

# Bytes that a block keeps of a token and unit of width for the backward pass. Measured (tiny, 64 patches, 512 images):
# 154 in fp32, 99 in bf16; less where the network is compiled. Lower ones here: what would fit is never refused.
KEPT = {"fp32": 96, "bf16": 48}
COPIES = 12  # bytes a trained number beside its weight: gradient, average, the optimizer's one moment at least


def needed(recipe: TrainRecipe, model: nn.Module) -> int:
    """Bytes that a training takes at least, beside its weights, which are there."""
    config, shape = recipe.config, model.config
    kept = KEPT["bf16" if config.compile else config.precision]
    activations = config.batch_size // config.accumulate * shape.grid.n * shape.hidden_size * shape.depth * kept
    return activations + COPIES * sum(p.numel() for p in model.parameters() if p.requires_grad)


def check_fits(recipe: TrainRecipe, model: nn.Module) -> None:
    """Raises OutOfMemory, a sentence, for a training that cannot fit. Of several processes nothing is
    said: they share the batch, perhaps the weights, and perhaps a machine."""
    if ranks.processes() > 1 or on_gpu():
        return
    what = f"This training ({recipe.config.batch_size} images a step of {model.config.grid.n} patches)"
    memory.check(
        needed(recipe, model), what, instead="take a smaller --batch-size, a greater --accumulate or a smaller network"
    )
