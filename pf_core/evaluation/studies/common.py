"""What studies share: what a study says of itself, the held-out images and the noise for a network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pf_core import flow
from pf_core.charts import Chart, written
from pf_core.data.splits import CHOICES, TRAINING, images_of, seeds_of, take
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import judge_of
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle, data_of, labelled
from pf_core.models.codecs import Encoded, states_of
from pf_core.models.oracle import Oracle
from pf_core.patches import PatchGrid
from pf_core.registry import Knob, whole
from pf_core.samplers.common import advance
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.types import PatchTime

FEWEST = 10  # held-out images that a study can tell anything from
SPLIT = Knob(help="images and seeds: evaluation, to report; search, to choose by", choices=CHOICES)


def looked_at(bundle: Bundle, images: int, split: str, trained_on: int = 0) -> tuple[Any, Tensor, Tensor, Tensor]:
    """(sample, x0, x1, y): held-out images of the network's data set; noise of their seeds and the images in the
    network's space, (B, C, H, W) each; conditions (B, ...), the null class where there are none. At most as many as a
    finite set holds out. trained_on: of the first so many images, which it was trained on, instead. Raises InputError
    where fewer than FEWEST are held out."""
    data = data_of(bundle)
    if isinstance(bundle.model, Oracle):  # knows its own images, over and over, and no others
        indices = TRAINING.first(images)
    elif trained_on:
        indices = TRAINING.first(min(images, trained_on))
    elif len(indices := take(data, images_of(data, split), images)) < min(FEWEST, images):
        raise InputError(
            f"Only {len(indices)} of the pictures of {bundle.name} were held out: nothing can be told from fewer than "
            f"{FEWEST}. Train on more pictures, or hold out a larger share of them."
        )
    sample = data.batch(indices)
    x0 = bundle.source.draw(list(seeds_of(split).first(len(indices))), bundle.shape)
    return sample, x0, states_of(bundle.codec, data, sample.images), conditions(bundle, data, sample)


def conditions(bundle: Bundle, data: Any, sample: Any) -> Tensor:
    """(B, ...) what a network is told of a data set's images: the null class where it never learnt any."""
    if labelled(bundle) or bundle.conditioner.takes == "prompt":
        return bundle.conditioner.of_sample(sample, data.names)
    return bundle.conditioner.null(len(sample.labels), sample.labels.device)


def needs_classes(bundle: Bundle) -> None:
    """Raises InputError for a network of prompts, which no exact denoiser knows."""
    if bundle.conditioner.takes == "prompt":
        raise InputError(f"{bundle.name} takes prompts, of which the exact denoiser of its data knows nothing.")


def in_space(bundle: Bundle, data: Any) -> Any:
    """The data set with its images in the network's space."""
    return data if hasattr(data, "encoded_by") else Encoded(data, bundle.codec)


def oracles(bundle: Bundle, data: Any, sample: Any) -> Tensor:
    """(B,) the classes that an oracle of the data is told: its null class where the network is told none."""
    return sample.labels if labelled(bundle) else torch.full_like(sample.labels, len(data.names))


def correlates(at: Mapping[str, Mapping[str, Any]]) -> str:
    """`holds` of rank correlations by t, {t: {"spearman"}}: above 0.5 at every t, or above 0 at some."""
    lows = [numbers["spearman"]["interval"][0] for numbers in at.values()]
    return holds(2 if min(lows) > 0.5 else max(lows) > 0, 2)


def needs_difficulty(bundle: Bundle) -> None:
    """Raises InputError for a network that predicts no difficulty."""
    if not bundle.predicts_difficulty:
        raise InputError(f"{bundle.name} predicts no difficulty: it cannot say which patches are easy.")


def other_data(one: Bundle, other: Bundle) -> InputError:
    """The error where the distances of two networks are to different real images."""
    return InputError(f"{one.name} and {other.name} learned from different data: their distances do not compare.")


def alike(one: Bundle, other: Bundle) -> bool:
    """Do two networks draw pictures of the same size and data, and are they asked for them alike?"""
    same = one.conditioner.takes == other.conditioner.takes and one.shape == other.shape
    same = same and labelled(one) == labelled(other)
    return same and checkpoint.data_settings(one) == checkpoint.data_settings(other)


def twin_of(bundle: Bundle) -> Bundle | None:
    """The shipped network that is like this one but for its difficulty head; of several the one whose training was
    nearest in length. A network without a head is itself the plain one, and has no twin."""
    if not bundle.predicts_difficulty:
        return None
    config = getattr(bundle.model, "config", None)
    size = {k: getattr(config, k) for k in ("depth", "hidden_size", "patch_size")} if config else {"depth": None}
    plain = []
    for name in checkpoint.files_here():
        header = checkpoint.read_header(checkpoint.find(name))
        if header["model"].get("predict_uncertainty", True) or not size.items() <= header["model"].items():
            continue
        if alike(net := checkpoint.load(name, bundle.device), bundle):
            plain.append(net)
    trained = bundle.trained_on or 0
    return min(plain, key=lambda net: abs((net.trained_on or 0) - trained), default=None)


def baseline_of(bundle: Bundle, baseline: str) -> Bundle | None:
    """The network that a study compares with: `baseline`, or, "", the twin. Raises InputError for one of other data."""
    plain = checkpoint.load(baseline, bundle.device) if baseline else twin_of(bundle)
    if plain and not alike(plain, bundle):
        raise other_data(plain, bundle)
    return plain


def needs_judge(bundle: Bundle) -> None:
    """Raises InputError for a network whose data set no judge knows, as distances are in a judge's features."""
    judge_of(bundle)


def needs_both(bundle: Bundle) -> None:
    """Raises InputError for a network without difficulty or without a judge of its data set."""
    needs_difficulty(bundle)
    needs_judge(bundle)


def kinds(sample: Any, data: Any, grid: PatchGrid) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(B, N) bool each: patches of easy regions only; patches with at least half hard regions. None for a data set
    without regions."""
    if not hasattr(data, "easy"):
        return None, None

    def share(names: tuple[str, ...]) -> Tensor:
        inside = sum((sample.regions == data.regions.index(name)).float() for name in names)
        return grid.to_patches(inside[:, None])

    return (share(data.easy) == 1).numpy(), (share(data.hard) >= 0.5).numpy()


def of_both_kinds(easy: np.ndarray | None, hard: np.ndarray | None) -> bool:
    """Whether `kinds` can be told apart: have most images patches of both? Else a resample may lack them."""
    return easy is not None and (easy.any(1) & hard.any(1)).mean() > 0.5


def look_at(bundle: Bundle, x0: Tensor, x1: Tensor, y: Tensor, t: float) -> flow.Look:
    """One pass of the network on x1 noised with x0, (B, C, H, W) each, to one t for all patches; y: classes (B,)."""
    x0, x1, y = (part.to(bundle.device) for part in (x0, x1, y))
    times = PatchTime.shared(torch.full((len(x0),), t, device=x0.device), bundle.grid.n)
    return flow.evaluate_at(bundle.model, x0, x1, times, y, bundle.grid)


def look_with_context(
    bundle: Bundle, plain: flow.Look, y: Tensor, easy: Tensor, context: float, true: bool = False
) -> flow.Look:
    """A second pass on what a first one at one t saw, its easy patches (B, N) now at the time `context`: moved there by
    the network's own velocity, which is its one-step prediction noised with the noise that it predicts, or, `true`, by
    the true velocity, which is true data noised with the true noise."""
    t = plain.t.per_patch
    ahead = torch.where(easy, context, t)
    x, _ = advance(plain.xt, t, plain.u if true else plain.prediction.v, ahead - t, bundle.grid)
    times = PatchTime.grouped(ahead, easy, 2)
    return plain._replace(xt=x, t=times, prediction=bundle.model(x, times, y.to(bundle.device)))


@dataclass(frozen=True)
class Claim:
    """What the paper says: a sentence of its page, where it stands, and its numbers as a chart where it gives some."""

    sentence: str
    where: str
    chart: Chart | None = None


@dataclass(frozen=True)
class Study:
    """What a study says of itself, beside its function.

    forwards(bundle, **settings): forward passes of one image that it takes, its cost; of a study of runs, their folders
    in the bundle's place. chart(result): its figure. verdict(result): what came out, in one sentence that a reader can
    check. quick: settings of a first look. brief(result): the verdict in one line; None: it is one already.
    reads: "network"; "runs", folders of trainings; or "nothing": it trains networks of its own, and its bundle is None.
    pace(**settings), of runs pace(runs, device, **settings): seconds of one such pass here, of a study without one
    network; pace(bundle, timed, **settings) of one that looks at others beside its own, timed(bundle) being seconds of
    a pass of one. judged: it looks at real images through a judge, once for each data set. network: the shipped one it
    is made for; "": any. check(bundle): raises InputError for a network that it cannot look at, before anything is
    computed.
    """

    forwards: Callable[..., int]
    chart: Callable[[dict[str, Any]], Chart]
    verdict: Callable[[dict[str, Any]], str]
    claim: Claim | None = None
    quick: Mapping[str, Any] = field(default_factory=dict)
    reads: str = "network"
    pace: Callable[..., float] | None = None
    network: str = ""
    judged: bool = False
    check: Callable[[Bundle], Any] = lambda bundle: None
    brief: Callable[[dict[str, Any]], str] | None = None

    def line(self, result: dict[str, Any]) -> str:
        """The verdict in one line."""
        return (self.brief or self.verdict)(result)


def study(**about: Any) -> Callable:
    """Decorator of a study `name(bundle, *, knobs, work=UNWATCHED) -> dict`: its `about` is a Study."""

    def mark(fn: Callable) -> Callable:
        fn.about = Study(**about)
        return fn

    return mark


def drawing(bundle: Bundle, specs: Iterable[SampleSpec], images: int) -> int:
    """Forward passes that it takes to draw so many images of each spec, unguided."""
    return images * sum(resolve(spec, bundle).nfe for spec in specs)


def holds(hits: int, of: int) -> str:
    """How many of the places where the paper's effect is looked for show it, in words."""
    if not of:
        return "Cannot be told here"
    return {0: "Does not appear here", of: "Holds here"}.get(hits, "Holds here in part")


def whole_numbers(name: str, text: str, low: int, high: int) -> list[int]:
    """ "8, 16" as numbers from `low` to `high`. Raises InputError."""
    return [whole(name, part, low, high) for part in str(text).split(",")]


def percent(measured: Mapping[str, Any], digits: int = 1, unit: str = "%") -> str:
    """A relative change {"value", "interval"} as "3.5% (1.9 to 5.3)"; with the true minus. unit: " points" of a
    difference of shares."""
    return number({k: 100 * v if k == "value" else [100 * e for e in v] for k, v in measured.items()}, digits, unit)


def in_points(apart: Mapping[str, Mapping[str, Any]]) -> str:
    """Differences of shares, {label: {"value", "interval"}}, as "dual-loop 1.2 points (0.3 to 2.1), ..."."""
    return ", ".join(f"{label} {percent(each, unit=' points')}" for label, each in apart.items())


def number(measured: Mapping[str, Any], digits: int = 1, unit: str = "") -> str:
    """{"value", "interval"} as "12.3 (11.9 to 12.7)"."""
    low, high = measured["interval"]
    return written(f"{measured['value']:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})")


def side(measured: Mapping[str, Any]) -> int:
    """-1, 1: the interval lies below, above zero; 0: it holds it."""
    low, high = measured["interval"]
    return (low > 0) - (high < 0)
