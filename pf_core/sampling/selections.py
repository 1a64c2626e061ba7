"""Ready-made interventions: rules that choose patches, and edits worth trying, planned from a recorded run.

What is an object is found without a network: pixels that stand out from what lies between the picture's left and right
rim, row by row (a gradient, or a sky above a ground).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.patches import PatchGrid
from pf_core.registry import Registry
from pf_core.sampling.context_probe import beginning, easy_patches
from pf_core.sampling.edits import EDITS, OWN, picture
from pf_core.sampling.trajectory import Frame, Trajectory

HARDEST_SHARE = 0.25
_STANDS_OUT, _IN_LANDSCAPE = 0.05, 0.2  # RMS over channels, where images span [-1, 1]: before a gradient; a landscape
_TIMES_RIM = 3.0  # and times what a row's rim itself is off
_SCAN, _BATCH = 2048, 64  # images of a data set that are looked through for one of a class
_UNSEEN = 2**30  # where an endless data set is begun with: no training comes as far


class Scene(NamedTuple):
    """What patches are chosen from: image `image` of a frame, and the picture in which objects are found: (3, H, W) in
    [-1, 1], as `shown` makes it of a state, of the grid's sides times the codec's factor."""

    frame: Frame
    image: int
    grid: PatchGrid
    picture: Tensor


def hard(scene: Scene) -> Tensor:
    """Hard (what this pass did not call easy; where it ranked none, the hardest 60%)."""
    _ranked(scene)
    return ~easy_patches(scene.frame, scene.grid)[scene.image] & (scene.frame.t[scene.image] < 1)


def easy(scene: Scene) -> Tensor:
    """Easy (what this pass let go first; where it ranked none, the easiest 40%)."""
    _ranked(scene)
    return easy_patches(scene.frame, scene.grid)[scene.image]


def hardest(scene: Scene) -> Tensor:
    """Hardest quarter (the patches of the largest sigma)."""
    _ranked(scene)
    chosen = torch.zeros(scene.grid.n, dtype=torch.bool)
    frame, image = scene.frame, scene.image
    score = frame.logvar[image].nan_to_num(-torch.inf).masked_fill(frame.t[image] >= 1, -torch.inf)
    chosen[score.topk(max(1, round(HARDEST_SHARE * scene.grid.n))).indices] = True
    return chosen & score.isfinite()


def thing(scene: Scene) -> Tensor:
    """Object (what stands out from the background)."""
    return _covered(scene) > 0.1


def background(scene: Scene) -> Tensor:
    """Background (all that is not the object)."""
    return ~thing(scene)


def outline(scene: Scene) -> Tensor:
    """Outline (patches with both object and background in them)."""
    covered = _covered(scene)
    return (covered > 0.04) & (covered < 0.96)


SELECTIONS = Registry("selection", [hard, easy, hardest, thing, background, outline])  # Scene -> (N,) bool


def _ranked(scene: Scene) -> None:
    if scene.frame.logvar[scene.image].isnan().all():
        raise InputError("This network predicts no difficulty: none of its patches is hard or easy.")


def _covered(scene: Scene) -> Tensor:
    """(N,) the share of each patch that stands out from what its rows' ends lead to expect."""
    picture = scene.picture.float().cpu()
    off, noise = _off_rows(picture)
    least = _STANDS_OUT if _rim_off_plane(picture) < _STANDS_OUT / 2 else _IN_LANDSCAPE
    apart = off > (_TIMES_RIM * noise).clamp(min=least)[:, None]
    grid, factor = scene.grid, picture.shape[-1] // scene.grid.width
    whole = PatchGrid(*(factor * side for side in (grid.height, grid.width, grid.patch_size)))
    return whole.to_patches(apart[None, None].float())[0]


def _off_rows(picture: Tensor) -> tuple[Tensor, Tensor]:
    """(C, H, W) -> (H, W): how far pixels lie from the straight line between their row's ends, RMS over channels; (H,)
    how far the ends themselves do, averaged over five rows."""
    width = picture.shape[2]
    band = max(2, width // 12)
    ends = picture[..., :band], picture[..., -band:]
    left, right = (end.median(-1).values[..., None] for end in ends)
    off = (picture - torch.lerp(left, right, torch.linspace(0, 1, width))).square().mean(0).sqrt()
    noise = torch.cat([off[:, :band], off[:, -band:]], 1).median(1).values
    return off, F.avg_pool1d(noise[None, None], 5, 1, 2, count_include_pad=False)[0, 0]


def _rim_off_plane(picture: Tensor) -> float:
    """How far the rim of (C, H, W) is from the plane a + b x + c y that fits it best: the median, RMS over channels."""
    height, width = picture.shape[1:]
    band = max(1, min(height, width) // 16)
    rim = torch.ones(height, width, dtype=torch.bool)
    rim[band:-band, band:-band] = False
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    places = torch.stack([torch.ones_like(x), x, y], -1)[rim]  # (R, 3)
    colours = picture[:, rim].T
    plane = torch.linalg.lstsq(places, colours).solution  # (3, C)
    return (colours - places @ plane).square().mean(1).sqrt().median().item()


# pictures of the network's own data


def own_data(bundle: Bundle) -> dict[str, Any] | None:
    """{"dataset", "settings"} of the data that a network was trained on, or of any other data set that fits it, as a
    clean source lacks only its index; None where there is none."""
    record = bundle.training.get("recipe") or {}
    known = [(record["dataset"], record.get("data_settings") or {})] if record.get("dataset") in DATASETS else []
    for name, settings in [*known, *((name, {}) for name in DATASETS)]:
        try:
            source = {"dataset": name, "settings": DATASETS[name].settings(settings)}
            picture(source | {"index": 0}, bundle)
        except (InputError, OSError, TypeError):
            continue
        return source
    return None


def of_class(bundle: Bundle, source: dict[str, Any], label: str | None, start: int | None = None) -> int:
    """The first image from `start` on that is of a class; any will do for None, and for a prompt. Raises InputError if
    there is none.

    start: None begins where no training came, if the data set is endless.
    """
    data = DATASETS[source["dataset"]].fn(**source["settings"])
    start = start if start is not None else _UNSEEN if len(data) > _UNSEEN + _SCAN else 0
    if not 0 <= start < len(data):
        raise InputError(f"{source['dataset']} has {len(data)} images; there is none with number {start}.")
    if label is None or bundle.conditioner.takes == "prompt":
        return start
    name = bundle.conditioner.named(label)
    if bundle.conditioner.names and name not in data.names:
        raise InputError(f"{source['dataset']} has no class {name!r}.")
    wanted = data.names.index(name) if bundle.conditioner.names else bundle.conditioner.index(label)
    for first in range(start, min(start + _SCAN, len(data)), _BATCH):
        matches = (data.batch(range(first, min(first + _BATCH, len(data)))).labels == wanted).nonzero()
        if len(matches):
            return first + int(matches[0])
    raise InputError(f"None of the next {_SCAN} images of {source['dataset']} is of class {label}.")


# experiments


@dataclass(frozen=True)
class Experiment:
    """An edit worth trying. select: a name in SELECTIONS, looked for in the frame at the share `at` of the run's outer
    steps, and in its result; where `given`, in a picture of the network's own data, which is then the clean source."""

    name: str
    label: str
    caption: str
    select: str
    kind: str
    amount: float | None = None
    at: float = 0.0
    given: bool = False

    def plan(self, run: Trajectory, image: int, bundle: Bundle) -> dict[str, Any]:
        """The edit, as a recipe holds it, for an image of a finished run. Raises InputError."""
        if not run.frames:
            raise InputError(f"{self.label}: the run has no frames to plan it from.")
        steps = max(frame.outer for frame in run.frames) + 1
        outer = min(round(self.at * steps), steps - 1)
        frame = run.frames[beginning(run, outer)]
        edit: dict[str, Any] = {"kind": self.kind, "outer": outer, "image": image}
        x = result(run, image)
        if self.given:
            edit["source"] = _data_picture(bundle, run.recipe["labels"][image])
            x = picture(edit["source"], bundle)
        elif "amount" not in EDITS[self.kind].knobs:
            edit["source"] = OWN
        if self.amount is not None:
            edit["amount"] = min(self.amount, 1 - frame.t[image].min().item())
        chosen = SELECTIONS[self.select].fn(Scene(frame, image, run.grid, shown(x, bundle))).nonzero()[:, 0].tolist()
        if not chosen or len(chosen) == run.grid.n:
            another = f"Try another seed or {bundle.conditioner.takes}."
            raise InputError(f"{self.label}: this image has no patches of that kind. {another}")
        return edit | {"patches": chosen}


def result(run: Trajectory, image: int) -> Tensor:
    """(C, H, W): what a run came to, or thought it would come to when it was stopped."""
    return (run.frames[-1].x1_hat if run.x1 is None else run.x1)[image].float()


def shown(x: Tensor, bundle: Bundle) -> Tensor:
    """A state (C, H, W) as the picture of a Scene."""
    return bundle.codec.preview(x[None].float().to(bundle.device))[0].cpu()


def _data_picture(bundle: Bundle, label: str | None) -> dict[str, Any]:
    source = own_data(bundle)
    if source is None:
        raise InputError(f"No data set here fits {bundle.name}: upload a picture instead.")
    return source | {"index": of_class(bundle, source, label)}


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "object-first",
            "Give the object a head start",
            "The object's patches run ahead in t: does the background, which sees them clearer, come out differently?",
            "thing",
            "head_start",
            0.3,
            0.15,
        ),
        Experiment(
            "hardest-later",
            "Hold back the hardest patches",
            "The hardest quarter waits while all others go on: it is decided late, when there is more to see.",
            "hardest",
            "hold_back",
            0.3,
            0.15,
        ),
        Experiment(
            "easy-settled",
            "Settle the easy patches",
            "What the network calls easy is fixed to its own prediction at once: how much surer is it of the rest?",
            "easy",
            "clean",
            at=0.25,
        ),
        Experiment(
            "outline-given",
            "Reveal an outline",
            "From the start the outline of a real image is given: the network fills in both sides of it.",
            "outline",
            "clean",
            given=True,
        ),
        Experiment(
            "object-repainted",
            "Repaint the object",
            "Inpainting: the background of a real image is kept, and the object is drawn anew.",
            "background",
            "clean",
            given=True,
        ),
    )
}
