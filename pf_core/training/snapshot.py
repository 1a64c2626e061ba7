"""A network out of a run's folder, its average freed of the first weights.

The running average begins at the first, random weights: after n steps they still have the share ema^n of it, 11% after
4,375 steps at 0.9995, which spoils what it draws. What is left without them is the average of the trained ones alone,
as Adam corrects its own.
"""

import torch

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import network

MOST = 0.5  # of the first weights: more is not subtracted, as rounding (bf16 files) would be multiplied by 1 / (1 - it)


def snapshot(folder: RunFolder, step: int) -> Bundle:
    """The network that a run kept at a step, without the first weights' share. Raises InputError where nothing was
    kept, or more than half of it is theirs."""
    recipe, path = folder.recipe(), folder.kept(step)
    if not path.exists():
        kept = sorted(int(p.stem) for p in path.parent.glob("*.safetensors"))
        raise InputError(
            f"{folder.name} kept no network at step {step:,}. Kept: {', '.join(map(str, kept)) or 'none'}."
        )
    share = recipe.config.ema**step
    if share > MOST:
        raise InputError(f"At step {step:,} the average is {share:.0%} first weights: take a later step.")
    bundle = checkpoint.load(str(path))
    first = network(recipe, DATASETS[recipe.dataset].fn(**recipe.data_settings)).state_dict()
    with torch.no_grad():
        for name, average in bundle.model.named_parameters():
            average.copy_((average - share * first[name]) / (1 - share))
    bundle.training["average"] = f"without the first weights, which were {share:.4f} of it"
    return bundle
