"""What a run will take of memory, estimated before it begins."""

from torch import nn

from pf_core import memory
from pf_core.models import autoencoder
from pf_core.models.checkpoint import Bundle
from pf_core.sampling.run import SampleSpec

MAPS = 13  # bytes a patch and frame: t, logvar, logvar_cond in float32, easy
WIDTHS = 22  # float32 numbers a token and unit of width that a block holds at its fullest (measured)


def needed(bundle: Bundle, spec: SampleSpec) -> int:
    """About how many bytes a resolved recipe takes beside its network: the frames that are kept, one forward pass, and
    decoding one image. Upper estimates: a run that is let through should go through."""
    images, n, config = len(spec.seeds), bundle.grid.n, getattr(bundle.model, "config", None)
    state = images * bundle.shape[0] * bundle.shape[1] * bundle.shape[2]
    kept = spec.nfe * (2 * 2 * state + images * n * MAPS)
    rows = images * (1 if spec.cfg_scale == 1 else 2)
    work = 0
    if config is not None:
        work = rows * n * config.hidden_size * WIDTHS * 4
        if spec.difficulty != "head":  # forward-mode derivatives: attention's matrices are held, twice
            work = spec.probes * (3 * work + rows * config.num_heads * n * n * 4 * 4)
    return kept + _rounding(bundle, spec) + max(work, 24 * state, _decoding(bundle))


def _rounding(bundle: Bundle, spec: SampleSpec) -> int:
    """Weights in bf16 beside those in float32, unless a run has made them already."""
    if spec.precision != "bf16" or "in_bf16" in vars(bundle) or not isinstance(bundle.model, nn.Module):
        return 0
    return sum(2 * p.numel() for p in bundle.model.parameters())


def _decoding(bundle: Bundle) -> int:
    codec = bundle.codec
    return autoencoder.decoding_bytes(codec.about(), *bundle.shape[1:]) if codec.full else 0


def check_fits(bundle: Bundle, spec: SampleSpec) -> None:
    """Raises OutOfMemory, a sentence, for a resolved recipe that will not fit."""
    images, n = len(spec.seeds), bundle.grid.n
    what = f"This run ({images} image{'s' * (images != 1)} of {n} patches, {spec.nfe} NFE)"
    memory.check(needed(bundle, spec), what, bundle.device, "ask for fewer images, or for a smaller NFE")
