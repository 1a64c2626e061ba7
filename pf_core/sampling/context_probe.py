"""The context probe: one look at a recorded state in which chosen patches are clean. Nothing is run on from there."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pf_core.errors import InputError
from pf_core.flow import difficulty
from pf_core.models.checkpoint import Bundle
from pf_core.patches import PatchGrid
from pf_core.samplers.common import easiest
from pf_core.sampling.edits import OWN, Edit, clean, with_pictures
from pf_core.sampling.trajectory import Frame, Trajectory
from pf_core.types import PatchTime

HARD_SHARE = 0.6  # of the patches, where a frame ranks none


class Context(NamedTuple):
    """What clean patches do to the others' difficulty. Maps (N,), a patch's logvar = log(difficulty), conditional."""

    before: Tensor
    after: Tensor
    others: Tensor  # (N,) bool: all but the chosen patches and those that were clean already
    hard: Tensor  # (N,) bool: those of the others that were hard
    change_others: float  # mean of after - before; NaN where there are none
    change_hard: float


@torch.inference_mode()
def context_probe(
    bundle: Bundle,
    frame: Frame,
    image: int,
    patches: list[int],
    source: Any = OWN,
    *,
    label: str | int | None = None,
    given: Tensor | None = None,
) -> Context:
    """One forward pass (1 NFE) at a recorded state in which the chosen patches are clean, at t = 1.

    source: as of an Edit; "x1_hat" is the frame's own. label: the image's condition; guidance is left out, because its
    extrapolated log-variance is no calibrated number. Hard: what the run's sampler did not call easy in that frame;
    where it ranked nothing, the hardest HARD_SHARE. Raises InputError, also where a network predicts no difficulty.
    """
    edit = Edit.from_dict({"kind": clean.__name__, "patches": patches, "image": image, "source": source})
    edit.check(torch.tensor([0.0, 1.0]), *frame.t.shape)
    before = frame.logvar_cond[image]
    if not bundle.predicts_difficulty or before.isnan().any():
        raise InputError(f"{bundle.name} predicts no difficulty: there is nothing that more context could change.")
    (edit,) = with_pictures([edit], bundle, given)
    grid, device = bundle.grid, bundle.device
    chosen = replace(edit, image=0).chosen(1, grid.n, device)
    x, x1_hat, t = (part[image : image + 1].float().to(device) for part in (frame.x, frame.x1_hat, frame.t))
    x = torch.where(grid.to_pixels(chosen), x1_hat if isinstance(edit.source, str) else edit.source, x)
    t = torch.where(chosen, 1.0, t)
    prediction = bundle.model(x, PatchTime.dense(t), bundle.conditioner.encode([label], device))
    after = difficulty(prediction.logvar_cond, grid).log().cpu()[0]
    others = ~chosen.cpu()[0] & (frame.t[image] < 1)
    hard = others & ~easy_patches(frame, grid)[image]
    change = after - before
    return Context(before, after, others, hard, change[others].mean().item(), change[hard].mean().item())


def easy_patches(frame: Frame, grid: PatchGrid) -> Tensor:
    """(B, N) bool: what the run called easy, or the share that is not hard where it ranked nothing."""
    if frame.easy.any() or frame.threshold.isfinite().any():
        return frame.easy
    return easiest(frame.logvar.exp(), 1 - HARD_SHARE, grid, frame.t)[0]


def beginning(run: Trajectory, outer: int) -> int:
    """The frame with which an outer step begins (the first is 0), its edits done. Raises InputError if it has none."""
    for k, frame in enumerate(run.frames):
        if frame.outer == outer and frame.phase == "outer":
            return k
    made = max((f.outer for f in run.frames), default=-1) + 1
    raise InputError(f"The run has made {made} outer steps (yet): there is no step {outer + 1} to look at.")
