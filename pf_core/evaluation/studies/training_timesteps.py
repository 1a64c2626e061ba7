"""Which law of t trains best? Fig. 3, right: small networks, alike but for the law that draws their times."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from pf_core.charts import Chart, Panel, Series, written
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import Resampled, interval_of_mean, moments
from pf_core.evaluation.paired import FASTER, arithmetic, distance, how, images_of_row
from pf_core.evaluation.studies.common import Claim, holds, number, side, study
from pf_core.evaluation.work import UNWATCHED, Stopped, Work
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec
from pf_core.timesteps import TIMESTEPS
from pf_core.training import plans, runner
from pf_core.training.config import Intervals, TrainRecipe
from pf_core.training.estimate import STEP_COST, measure
from pf_core.training.loop import TrainConfig
from pf_core.training.run_dir import RunFolder

LABELS = {  # of the laws in a figure
    "uniform": "one t (SiT)",
    "independent": "independent",
    "srm": "SRM, s = 1",
    "truncated_gaussian": "truncated Gaussian",
    "ltg": "LTG",
    "ltg_shared": "one t, as LTG's",
    "dual_timestep": "dual timestep",
}
SIT, NAIVE, LTG, SHARED = "uniform", "independent", "ltg", "ltg_shared"
PAPER = {  # FID-10k, B/2, ImageNet, read off bars by eye; the plot ends at 42
    "SiT": 41.0,
    "SRM, s = 1 (42 or more)": 42.0,
    "SRM, s = 4": 40.0,
    "SRM, s = 10": 39.0,
    "truncated Gaussian": 34.7,
    "LTG": 31.4,
}
DATA, DATA_SETTINGS = "shapes", {"variety": 1.0}
MODEL, SHAPE = "tiny", {"depth": 2, "hidden_size": 192}
BATCH = 64


def _recipe(law: str, seed: int, train_images: int, fast: bool) -> TrainRecipe:
    """All alike but for the law and the seed: every network has the difficulty head, SiT's law too."""
    settings = TIMESTEPS[law].settings()
    steps = max(1, round(train_images / BATCH))
    config = TrainConfig(
        steps=steps, batch_size=BATCH, ema=0.995, seed=seed, timesteps=law, timestep_settings=settings, **how(fast)
    )
    return TrainRecipe(DATA, dict(DATA_SETTINGS), MODEL, dict(SHAPE), config=config)


def _laws(text: str) -> list[str]:
    """Raises InputError for what is no timestep sampler."""
    return list(dict.fromkeys(TIMESTEPS[part.strip()].name for part in str(text).split(",")))


def _runs(laws: str, seeds: int, train_images: int, fast: bool) -> Iterator[tuple[str, int, TrainRecipe]]:
    for law in _laws(laws):
        for seed in range(seeds):
            yield law, seed, _recipe(law, seed, train_images, fast)


def _forwards(_: None, laws: str, seeds: int, train_images: int, images: int, nfe: int, fast: bool) -> int:
    """A step of training counts as three passes of its images."""
    return sum(_of_training(recipe) + images * nfe for *_, recipe in _runs(laws, seeds, train_images, fast))


def _of_training(recipe: TrainRecipe, steps: int | None = None) -> int:
    return STEP_COST * recipe.config.batch_size * (recipe.config.steps if steps is None else steps)


def _pace(laws: str, seeds: int, train_images: int, fast: bool, **_) -> float:
    """Seconds of an image's pass, from a few steps of the first training: those take nearly all of the time."""
    recipe = next(_runs(laws, seeds, train_images, fast))[-1]
    return 1 / (STEP_COST * measure(recipe, Intervals()).images_per_second)


def _paper() -> Chart:
    bars = Series("FID-10k", list(PAPER), list(PAPER.values()), kind="bars")
    panel = Panel("By law of t", "", "FID-10k", [bars])
    return Chart("The paper's Fig. 3: B/2, ImageNet", [[panel]], "Read off the paper's figure by eye.")


def _chart(result: dict[str, Any]) -> Chart:
    laws = result["laws"]
    names = [law["label"] for law in laws.values()]
    by_seed = [
        Series.measured(f"training seed {seed}", names, [law["networks"][seed]["frechet"] for law in laws.values()],
                        kind="bars")
        for seed in range(result["seeds"])
    ]  # fmt: skip
    rows = [[Panel("Distance to real images, Euler", "law of t in training", "Frechet distance", by_seed)]]
    base = next(name for name in (SIT, *laws) if name in laws)
    others = [law for name, law in laws.items() if name != base]
    if others:
        minus = Series.measured(
            "mean of the seeds", [law["label"] for law in others], [law["minus"][base] for law in others], kind="bars"
        )
        title = f"Minus that of {laws[base]['label']}, paired by image"
        rows.append([Panel(title, "law of t in training", "difference of Frechet distance", [minus], zero=True)])
    note = (
        f"Networks alike but for the law: {result['network']}, {result['train_images']:,} images each; "
        f"{result['images']} images at {result['nfe']} NFE. Bars are 95% intervals over images; chance of training "
        + ("is what the seeds differ by." if result["seeds"] > 1 else "takes more seeds to see.")
    )
    return Chart("Laws of t in training, at equal compute", rows, note)


def _brief(result: dict[str, Any]) -> str:
    laws, (wins, rivals) = result["laws"], _won(result)
    if LTG not in laws:
        return _verdict(result)
    told = ", ".join(f"{laws[name]['label']} {number(laws[name]['frechet'], 0)}" for name in (LTG, SIT) if name in laws)
    return f"{_found(result)}: LTG is lower than {len(wins)} of {len(rivals)} laws{_naive(result)}; distance {told}."


def _found(result: dict[str, Any]) -> str:
    """Of how many laws LTG is below; and is a t a patch, each on its own, worse than one t an image?"""
    laws, (wins, rivals) = result["laws"], _won(result)
    both = {SIT, NAIVE} <= laws.keys()
    return holds(len(wins) + (both and _side(laws[NAIVE], SIT) > 0), len(rivals) + both)


def _naive(result: dict[str, Any]) -> str:
    """Independent times against one t an image, with each training seed, which differ widely."""
    laws = result["laws"]
    if not {SIT, NAIVE} <= laws.keys():
        return ""
    how = {-1: "better than", 0: "not told from", 1: "worse than"}[_side(laws[NAIVE], SIT)]
    seeds = written(", ".join(f"{each:.0f}" for each in laws[NAIVE]["minus_by_seed"][SIT]))
    return f"; independent times are {how} one t, {number(laws[NAIVE]['minus'][SIT], 0)}, by seed {seeds}"


def _won(result: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Of the laws of the mean and one t an image, those that LTG is below; all of these."""
    laws = result["laws"]
    rivals = [name for name in laws if name in (SIT, NAIVE, "srm", "truncated_gaussian")]
    return [name for name in rivals if LTG in laws and _side(laws[LTG], name) < 0], rivals


def _verdict(result: dict[str, Any]) -> str:
    """LTG against the laws of the mean and one t an image; then against one t drawn as LTG's patches are."""
    laws = result["laws"]
    told = ", ".join(f"{law['label']} {number(law['frechet'], 0)}" for law in laws.values())
    if LTG not in laws:
        return f"Frechet distance by law: {told}."
    wins, _ = _won(result)
    apart = ""
    if SHARED in laws:
        how = {-1: "better than", 0: "not told from", 1: "worse than"}[_side(laws[LTG], SHARED)]
        apart = f"; LTG is {how} one t drawn as its patches are, {number(laws[LTG]['minus'][SHARED], 0)}"
    best = ", ".join(laws[name]["label"] for name in wins) or "none"
    found = f"{_found(result)}: Frechet distance {told}"
    return f"{found}; LTG is lower, with every training seed, than: {best}{_naive(result)}{apart}."


def _side(law: Mapping[str, Any], other: str) -> int:
    """-1, 1: lower, higher than another law, beyond its interval and with every training seed; 0: neither."""
    found = side(law["minus"][other])
    return found if all(found * each > 0 for each in law["minus_by_seed"][other]) else 0


@study(
    forwards=_forwards,
    pace=_pace,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    claim=Claim(
        "Although conceptually simple, the approach is not trivial: naive uniform timestep sampling deteriorates "
        "performance. Thus, we require a dedicated timestep sampler to regulate the amount of clean information "
        "exposed during training, mitigating the train-test gap where inference operates purely from noise without "
        "access to clean signals.",
        "TL;DR and Fig. 3",
        _paper(),
    ),
    quick={"train_images": 6400, "images": 100, "seeds": 1},
    reads="nothing",
)
def training_timesteps(
    *,
    laws: Annotated[str, Knob(help="timestep samplers, with commas between")] = ",".join(LABELS),
    seeds: Annotated[int, Knob(1, 10, "trainings of each law, from seeds 0, 1, ...")] = 2,
    train_images: Annotated[int, Knob(BATCH, 100_000_000, "images that each training sees")] = 100_000,
    images: Annotated[int, Knob(20, 100_000, "images that each network draws")] = 500,
    nfe: Annotated[int, Knob(1, 1000, "network evaluations an image")] = 64,
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Laws of t, each trained with at equal compute.

    For each law and seed a small network is trained on wild shapes, alike but for the law (its default settings): every
    one has the difficulty head. Then all draw the same seeds with Euler. Reported of each law: the Frechet distance to
    real images of each network and their mean; the mean `minus` that of every other law, paired by image, and by
    training seed; accuracy of the class asked for; validation loss at one t for all patches. Intervals are 95%,
    bootstrap over images: they hold no chance of training, which the seeds show. Trainings are kept in the work's
    folder, one run folder each, and go on where they stopped. Raises InputError without a folder.
    """
    if work.folder is None:
        raise InputError("training_timesteps trains networks for hours: name a folder that keeps them, with --out.")
    trained: dict[str, list[Bundle]] = {}
    for law, seed, recipe in _runs(laws, seeds, train_images, fast):
        folder = work.folder / "runs" / f"{law}-{seed}-{train_images}"
        trained.setdefault(law, []).append(_trained(folder, recipe, work))
    first = next(iter(trained.values()))[0]
    judge = judge_of(first)
    real = moments(references(first, "evaluation", judge, work.pause))
    drawn = {
        law: [_drawn(net, images, nfe, fast, judge, work) for net in networks] for law, networks in trained.items()
    }  # fmt: skip
    apart = {law: [distance(judged["features"], real) for judged in each] for law, each in drawn.items()}
    means = {law: Resampled.mean(each) for law, each in apart.items()}
    result = {
        law: {
            "label": LABELS.get(law, law),
            "settings": TIMESTEPS[law].settings(),
            "frechet": means[law].measured(),
            "minus": {other: (means[law] - mean).measured() for other, mean in means.items() if other != law},
            "minus_by_seed": {
                other: [own.value - its.value for own, its in zip(apart[law], each, strict=True)]
                for other, each in apart.items()
                if other != law
            },
            "networks": [_about(*of) for of in zip(trained[law], drawn[law], apart[law], strict=True)],
        }
        for law in trained
    }
    config = first.model.config
    return {
        "network": f"depth {config.depth}, width {config.hidden_size}, {first.grid.n} patches",
        "seeds": seeds,
        "train_images": train_images,
        "images": images,
        "nfe": nfe,
        "arithmetic": arithmetic(fast),
        "laws": result,
    }


def _drawn(net: Bundle, images: int, nfe: int, fast: bool, judge: Path, work: Work) -> dict[str, Any]:
    spec = SampleSpec(net.name, "euler", nfe=nfe, **how(fast))
    return images_of_row(net, spec, images, "evaluation", judge, work=work)


def _trained(path: Path, recipe: TrainRecipe, work: Work) -> Bundle:
    """The network of a run folder, trained from where it stands. A stop saves it first. Raises Stopped; InputError for
    a folder that holds another training."""
    folder, begun = RunFolder(path), (path / "config.json").exists()
    if begun and folder.recipe().to_dict() != recipe.to_dict():
        raise InputError(f"{path} holds a training by another recipe: name another folder with --out.")
    every = Intervals(save=50, log=20, validate=recipe.config.steps, samples=0)
    words = plans.command(recipe, str(path), every)
    counted = recipe.config.steps if begun and runner.has_finished(folder, recipe) else folder.saved_step()
    work.did(_of_training(recipe, counted))
    with closing(runner.execute(folder, begun, recipe, every, f"python -m pf_core train {shlex.join(words)}")) as steps:
        for at in steps:
            try:
                work.did(_of_training(recipe, at.step - counted))
            except Stopped:
                folder.send_command("stop")  # it saves its state at the end of this step
                for _ in steps:
                    pass
                raise
            counted = at.step
    if not runner.has_finished(folder, recipe):  # a signal or a person ended it
        raise Stopped
    work.did(_of_training(recipe, recipe.config.steps - counted))
    return checkpoint.load(str(folder.weights))


def _about(net: Bundle, judged: Mapping[str, Any], apart: Resampled) -> dict[str, Any]:
    entries = RunFolder(net.path.parent).follow()[0]
    classed = judged["labels"] >= 0
    return {
        "run": net.name,
        "hash": net.hash,
        "frechet": apart.measured(),
        "accuracy": interval_of_mean((judged["asked"].argmax(1) == judged["labels"])[classed]),
        "validation": next((entry["validation"] for entry in reversed(entries) if "validation" in entry), None),
        "training_seconds": net.training["wall_seconds"],
        "command": net.training["command"],
    }
