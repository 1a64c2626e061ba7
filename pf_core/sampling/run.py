"""The one facade: a recipe (SampleSpec) and a Bundle in, Steps out."""

import hashlib
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field, PlainValidator, Strict
from torch import Tensor

import pf_core
from pf_core import bounded
from pf_core.errors import InputError
from pf_core.guidance import KEEPS_NOTHING, guide
from pf_core.models.checkpoint import Bundle
from pf_core.models.divergence import MOST_PROBES, Divergence
from pf_core.registry import Knob, Parameter, number
from pf_core.samplers import MAX_NFE, SAMPLERS, entry_of, nfe_of, steps_for, uniform_grid
from pf_core.samplers.common import Past
from pf_core.sampling import edits as intervene
from pf_core.types import Model, PatchTime, Prediction, Step

MAX_IMAGES = 1024
MAX_SEED = 2**32 - 1  # torch's CPU generator reads 32 bits of a seed: greater ones would repeat smaller ones' images
NUMBERS = {  # of a recipe, and what they may be
    "nfe": Parameter("nfe", int, 64, Knob(1, MAX_NFE)),
    "steps": Parameter("steps", int, None, Knob(1, MAX_NFE)),
    "cfg_scale": Parameter("cfg_scale", float, 1.0, Knob(0, 50)),
    "probes": Parameter("probes", int, 4, Knob(1, MOST_PROBES, "draws of signs a ranking pass, difficulty divergence")),
    "seed": Parameter("seed", int, 0, Knob(0, MAX_SEED)),
}
DIFFICULTIES = ("head", "divergence")
_IMAGES = Field(min_length=1, max_length=MAX_IMAGES)
_EDITS = PlainValidator(lambda given: intervene.parse(given) and given)


@dataclass(frozen=True)
class SampleSpec:
    """Everything that decides a run. Two runs of one recipe on one machine agree bit for bit.

    labels: one for all images, or one an image; names, indices (int) or None (the null class). A network of prompts
    has its prompts here.
    nfe: budget of network evaluations an image, or steps: outer steps; exactly one of them, the other None.
    ts: the time grid, None for the uniform one. seeds: one an image. settings: the sampler's knobs.
    edits: interventions on chosen patches, as dicts (see intervene.Edit); `nfe` then counts what they add or save.
    precision: "fp32", or "bf16" for autocast, which is faster where the hardware has it and rounds differently.
    difficulty: what ranks patches: "head", the network's own channel, or "divergence", its velocity's Jacobian, with
    `probes` draws of signs a ranking pass (see Divergence); such a pass counts as 1 + 2 probes network evaluations.
    compile: passes of all patches by the compiled network, which takes its time at first and rounds differently.
    checkpoint_hash, versions: filled by `resolve`, checked or shown when a recipe is run again.
    """

    checkpoint: str
    sampler: str = "euler"
    settings: dict[str, Any] = field(default_factory=dict)
    nfe: int | float | None = None
    steps: int | float | None = None
    labels: Annotated[list[str | int | None], _IMAGES] = field(default_factory=lambda: [None])
    cfg_scale: float = 1.0
    guidance_interval: Annotated[tuple[float, float], Strict(False)] = (0.0, 1.0)
    seeds: Annotated[list[int], _IMAGES] = field(default_factory=lambda: [0])
    ts: Annotated[list[float], Field(max_length=MAX_NFE + 1)] | None = None
    noise: dict[str, str] | None = None  # {"file", "sha256"} where x0 was given; the file's name may be empty
    edits: Annotated[list[dict[str, Any]], _EDITS] = field(default_factory=list)
    precision: str = "fp32"
    difficulty: str = "head"
    probes: int | float | None = None
    compile: bool = False
    checkpoint_hash: str | None = None
    versions: dict[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        recipe = asdict(self)
        if self.difficulty == "head":  # the recipes of all runs before there was another
            del recipe["difficulty"], recipe["probes"]
        if not self.compile:
            del recipe["compile"]
        return recipe

    @property
    def ranking(self) -> int:
        """Network evaluations of a pass that ranks patches."""
        return 1 if self.difficulty == "head" else 1 + 2 * self.probes

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "SampleSpec":
        """Raises InputError if the dict is not a recipe."""
        return bounded.build(cls, d, "This is not a recipe: it", "This recipe is damaged: its")


def resolve(spec: SampleSpec, bundle: Bundle) -> SampleSpec:
    """The recipe with every choice made explicit and checked. Raises InputError for anything out of range."""
    return _resolved(spec, bundle)[0]


def _resolved(spec: SampleSpec, bundle: Bundle) -> tuple[SampleSpec, list[intervene.Edit], Tensor]:
    """The same, its edits, and its times (S + 1,) float64."""
    sampler = entry_of(spec.sampler)
    spec = replace(spec, probes=_probes(spec))
    if sampler.fn.needs_difficulty and spec.difficulty == "head" and not bundle.predicts_difficulty:
        others = ", ".join(name for name, entry in SAMPLERS.items() if not entry.fn.needs_difficulty)
        raise InputError(
            f"{bundle.name} predicts no difficulty, which {spec.sampler} needs: choose one of {others}, or difficulty "
            '"divergence", which is read off its velocity.'
        )
    settings = sampler.settings(spec.settings)
    _check_difficulty(spec, settings, bundle)
    if not 1 <= len(spec.seeds) <= MAX_IMAGES:
        raise InputError(f"Ask for 1 to {MAX_IMAGES} images, not {len(spec.seeds)}.")
    seeds = [NUMBERS["seed"].check(s) for s in spec.seeds]
    labels = list(spec.labels) * len(seeds) if len(spec.labels) == 1 else list(spec.labels)
    if len(labels) != len(seeds):
        one, many = {"class": ("label", "labels"), "prompt": ("prompt", "prompts")}[bundle.conditioner.takes]
        raise InputError(
            f"Give one {one}, or one an image: {len(seeds)} seed{'s' * (len(seeds) != 1)} but {len(labels)} {many}."
        )
    labels = [bundle.conditioner.named(a) for a in labels]
    steps, ts = _grid(spec, settings)
    times = uniform_grid(steps) if ts is None else torch.tensor(ts, dtype=torch.float64)
    edits = intervene.parse(spec.edits)
    parts = intervene.stretches(edits, times, len(seeds), bundle.grid.n)
    low, high = (number("guidance interval", v, 0, 1) for v in spec.guidance_interval)
    if low > high:
        raise InputError(f"The guidance interval's start {low} lies after its end {high}.")
    if spec.precision not in ("fp32", "bf16"):
        raise InputError(f"precision must be fp32 or bf16, not {spec.precision!r}.")
    if spec.checkpoint_hash not in (None, bundle.hash):
        raise InputError(
            f"The recipe was made with another {spec.checkpoint} (hash {spec.checkpoint_hash}, here {bundle.hash})."
        )
    resolved = replace(
        spec,
        settings=settings,
        seeds=seeds,
        labels=labels,
        steps=steps,
        ts=ts,
        nfe=intervene.nfe(spec.sampler, settings, parts, spec.ranking),
        edits=[e.to_dict() for e in edits],
        cfg_scale=NUMBERS["cfg_scale"].check(spec.cfg_scale),
        guidance_interval=(low, high),
        checkpoint_hash=bundle.hash,
        versions=versions(),
    )
    return resolved, edits, times


def versions() -> dict[str, str]:
    return {"pf_core": pf_core.__version__, "torch": torch.__version__, "python": platform.python_version()}


def passes(spec: SampleSpec, n: int) -> int:
    """Forward passes of a complete recipe on n patches: its NFE, of which a pass that ranks may take several."""
    if spec.ranking == 1:
        return spec.nfe
    times = uniform_grid(spec.steps) if spec.ts is None else torch.tensor(spec.ts, dtype=torch.float64)
    parts = intervene.stretches(intervene.parse(spec.edits), times, len(spec.seeds), n)
    return intervene.nfe(spec.sampler, spec.settings, parts)


def _probes(spec: SampleSpec) -> int | None:
    """Draws of signs, None where a head ranks. Raises InputError."""
    if spec.difficulty not in DIFFICULTIES:
        raise InputError(f"difficulty must be {' or '.join(DIFFICULTIES)}, not {spec.difficulty!r:.60}.")
    if spec.difficulty == "head":
        if spec.probes is not None:
            raise InputError("probes belong to difficulty divergence: leave them out, or choose it.")
        return None
    probes = NUMBERS["probes"]
    return probes.default if spec.probes is None else probes.check(spec.probes)


def _check_difficulty(spec: SampleSpec, settings: dict[str, Any], bundle: Bundle) -> None:
    """Raises InputError for what the velocity's Jacobian, or a network without keys and values, cannot do."""
    derived = spec.difficulty == "divergence"
    if spec.compile and derived:
        raise InputError("A compiled network has no Jacobian here: leave --compile out, or take difficulty head.")
    if settings.get("refresh", "every") != "every" and (derived or not hasattr(bundle.model, "with_context")):
        raise InputError(KEEPS_NOTHING)
    if settings.get("surer") and derived:
        raise InputError("With difficulty divergence a probe ranks nothing, which surer needs: leave one of them out.")


def _grid(spec: SampleSpec, settings: dict) -> tuple[int, list[float] | None]:
    if spec.ts is not None:
        if len(spec.ts) > MAX_NFE + 1:
            raise InputError(f"A time grid has at most {MAX_NFE + 1:,} times, not {len(spec.ts):,}.")
        ts = [number("ts", t, 0, 1) for t in spec.ts]
        if len(ts) < 2 or ts[0] != 0 or ts[-1] != 1 or any(b <= a for a, b in zip(ts, ts[1:], strict=False)):
            raise InputError("A time grid must rise strictly from 0 to 1.")
        _check_nfe(spec, settings, torch.tensor(ts, dtype=torch.float64))
        return len(ts) - 1, ts
    if spec.steps is not None:
        steps = NUMBERS["steps"].check(spec.steps)
        _check_nfe(spec, settings, uniform_grid(steps))
        return steps, None
    nfe = NUMBERS["nfe"]
    budget = nfe.default if spec.nfe is None else nfe.check(spec.nfe)
    return steps_for(spec.sampler, budget, settings, spec.ranking), None


def _check_nfe(spec: SampleSpec, settings: dict, times: Tensor) -> None:
    """Raises InputError for times (S + 1,) that take more than MAX_NFE."""
    if nfe_of(spec.sampler, times, settings, spec.ranking) > MAX_NFE:
        raise InputError(f"{len(times) - 1} steps of {spec.sampler} take more than {MAX_NFE} NFE: ask for fewer.")


class Run:
    """A recipe about to run: iterate it for Steps. `forwards` counts network forwards so far (a CFG pair is two).
    The door: the recipe is resolved here, once, and `spec` is the resolved one.

    x0: (B, C, H, W) instead of the seeds' noise; edit_images: (E, C, H, W), the pictures that edits paint with, both in
    the network's space. Raises InputError, also where edits need pictures that are not given.
    """

    def __init__(self, bundle: Bundle, spec: SampleSpec, x0: Tensor | None = None, edit_images: Tensor | None = None):
        self.bundle = bundle
        self.spec, edits, self._times = _resolved(spec, bundle)
        self.x0 = self._noise(x0)
        self.edit_images = edit_images if intervene.pictures_needed(edits) else None
        self._edits = intervene.with_pictures(edits, bundle, self.edit_images)
        self._signs = [torch.Generator() for _ in self.spec.seeds]
        device, y = bundle.device, bundle.conditioner
        cond, null = _embedded(bundle, y.encode(self.spec.labels, device), y.null(len(self.spec.seeds), device))
        model = bundle.network(self.spec.precision, spec.compile)
        if self.spec.difficulty == "divergence":
            model = Divergence(model, bundle.source.std, self.spec.probes, self._signs)
        model = autocast(model) if self.spec.precision == "bf16" else model
        self._denoise = guide(model, cond, null, self.spec.cfg_scale, self.spec.guidance_interval)

    def _noise(self, x0: Tensor | None) -> Tensor:
        """What the run begins with; given noise is named in the recipe, so that nobody takes it for the seeds'. Raises
        InputError, also where the recipe names noise and none is given."""
        spec = self.spec
        if x0 is None and spec.noise is not None:
            raise InputError("This recipe starts from given noise: give it beside the recipe, or leave noise out.")
        if x0 is None:
            return self.bundle.source.draw(spec.seeds, self.bundle.shape)
        x0 = check_noise(x0, spec, self.bundle)
        if spec.noise is None:
            digest = hashlib.sha256(x0.cpu().numpy().tobytes()).hexdigest()
            self.spec = replace(spec, noise={"file": "", "sha256": digest})
        return x0

    @property
    def forwards(self) -> int:
        return self._denoise.forwards

    @property
    def token_forwards(self) -> float | None:
        """Forwards by the share of the patches that passed, the mean over images, where a sampler let only some pass;
        None where all passed, and it is `forwards`."""
        return None if self._denoise.tokens == self.forwards else self._denoise.tokens

    @torch.inference_mode()
    def __iter__(self) -> Iterator[Step]:
        spec, grid, x0 = self.spec, self.bundle.grid, self.x0.to(self.bundle.device)
        rng = [torch.Generator().manual_seed(seed ^ _ORDER) for seed in spec.seeds]
        for signs, seed in zip(self._signs, spec.seeds, strict=True):
            signs.manual_seed(seed ^ _SIGNS)
        self._denoise.begin()

        fn, past = entry_of(spec.sampler).fn, Past()
        memory = {"past": past} if fn.remembers else {}

        def sampler(x: Tensor, ts: Tensor, first: int) -> Iterator[Step]:
            number = {"first": first} if fn.numbered else {}
            return fn(self._denoise, x, grid, ts, rng, **memory, **number, **spec.settings)

        parts = intervene.stretches(self._edits, self._times, len(spec.seeds), grid.n)
        for step in intervene.run(self._denoise, sampler, x0, grid, parts, past):
            yield replace(step, nfe=step.nfe + self._denoise.extra)


@torch.no_grad()
def _embedded(bundle: Bundle, *conditions: Tensor) -> list[Tensor]:
    """Conditions as the network takes them in every pass: of prompts what a run computes once, in fp32."""
    embed = getattr(bundle.model, "embed", None)
    return [embed(cond) if embed else cond for cond in conditions]


class autocast:  # noqa: N801
    """A Model that runs in bf16 autocast and answers in fp32."""

    def __init__(self, model: Model):
        self.model, self.grid, self.channels = model, model.grid, model.channels
        if isinstance(model, Divergence):
            self.ranked, self.cost = partial(self._run, model.ranked), model.cost
        if hasattr(model, "with_context"):
            self.new_context, self.with_context = model.new_context, partial(self._run, model.with_context)

    def __call__(self, x: Tensor, t: PatchTime, cond: Any) -> Prediction:
        return self._run(self.model, x, t, cond)

    @staticmethod
    def _run(model: Callable[..., Prediction], x: Tensor, t: PatchTime, cond: Any, **context: Any) -> Prediction:
        with torch.autocast(x.device.type, torch.bfloat16):
            prediction = model(x, t, cond, **context)
        return Prediction(*(None if part is None else part.to(x.dtype) for part in prediction))


_ORDER = 0x5EED_0DE2  # a sampler's own draws come from another stream than the image's noise
_SIGNS = 0x5EED_516E  # and so do the signs of Divergence


def check_noise(x0: Tensor, spec: SampleSpec, bundle: Bundle) -> Tensor:
    """x0 as float32. Raises InputError if its shape or a value is wrong."""
    want = (len(spec.seeds), *bundle.shape)
    if tuple(x0.shape) != want:
        raise InputError(f"The noise has shape {tuple(x0.shape)}; this run of {bundle.name} needs {want}.")
    if not x0.is_floating_point():
        raise InputError(f"The noise must consist of floating-point numbers, not {x0.dtype}.")
    if not torch.isfinite(x0).all():
        raise InputError("The noise holds values that are not finite numbers.")
    return x0.float()


def sample(
    bundle: Bundle, spec: SampleSpec, x0: Tensor | None = None, edit_images: Tensor | None = None
) -> Iterator[Step]:
    """Run a recipe: one Step a forward pass and a last, `final` one. Stop iterating to stop it. Raises InputError."""
    yield from Run(bundle, spec, x0, edit_images)
