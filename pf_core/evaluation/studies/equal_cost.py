"""Equal steps or equal cost? What look-ahead's second forward pass gains, and what its longer steps cost."""

from dataclasses import replace
from typing import Annotated, Any

from torch import Tensor, nn

from pf_core.charts import Chart, Panel, Series
from pf_core.evaluation.evaluate import judge_of, references
from pf_core.evaluation.metrics import moments
from pf_core.evaluation.paired import FASTER, arithmetic, distance, how, images_of_row, named
from pf_core.evaluation.studies.common import SPLIT, needs_both, number, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle
from pf_core.registry import Knob
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.types import PatchTime, Prediction

RATIOS, SHARES = (1.2, 1.4, 2.0, 3.0), (0.2, 0.6, 0.8)  # of look-ahead; the other one of the two at its default
CAPPED = 0.97  # training with LTG times hardly ever shows a patch beyond


def _label(row: dict[str, Any]) -> str:
    if row["sampler"] == "euler":
        return f"Euler, {row['steps']} steps"
    capped = f", t to {row['t_at_most']}" if "t_at_most" in row else ""
    return f"p {row['settings']['p']:g}, ratio {row['settings']['ratio']:g}{capped}"


def _chart(result: dict[str, Any]) -> Chart:
    def panel(title: str, key: str) -> Panel:
        rows = result["rows"]
        series = [Series.measured("difference", [_label(row) for row in rows], [row[key] for row in rows], kind="bars")]
        return Panel(title, "", "Frechet distance", series, zero=True)

    panels = [
        [panel("minus Euler with as many steps, half the cost", "minus_euler_of_equal_steps")],
        [panel("minus Euler at equal cost", "minus_euler_of_equal_cost")],
    ]
    note = f"{result['images']} images a row, the same seeds; bars are 95% intervals. Below zero look-ahead is better."
    return Chart(f"Look-ahead against Euler, {result['checkpoint']}", panels, note)


def _verdict(result: dict[str, Any]) -> str:
    ahead = next(row for row in result["rows"] if row["sampler"] == "look_ahead" and row["settings"]["ratio"] == 1.4)
    return (
        f"Look-ahead minus Euler: {number(ahead['minus_euler_of_equal_steps'])} with as many steps, "
        f"{number(ahead['minus_euler_of_equal_cost'])} at equal cost."
    )


def _forwards(bundle: Bundle, images: int, steps: int, **_) -> int:
    ahead = resolve(SampleSpec(bundle.name, "look_ahead", steps=steps), bundle).nfe
    return images * (steps + ahead * (len(RATIOS) + len(SHARES) + 2))


@study(forwards=_forwards, chart=_chart, verdict=_verdict, check=needs_both, quick={"images": 50})
def equal_cost(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(20, 100_000, "images a row")] = 300,
    steps: Annotated[int, Knob(2, 500, "outer steps of look-ahead")] = 8,
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Look-ahead against Euler at equal steps and at equal cost.

    All rows draw the same seeds. Reported: the Frechet distance to real images, and its difference from Euler with as
    many steps (half the cost) and from Euler at equal cost (twice the steps); negative is better. Intervals are 95%,
    bootstrap over images, paired by seed in the differences. In the last row the network gets t of at most 0.97,
    because it was not trained with the patches at t = 1 that a probe makes.
    """
    ahead = SampleSpec(bundle.name, "look_ahead", steps=steps, **how(fast))
    plain = SampleSpec(bundle.name, "euler", steps=steps, **how(fast))
    rows = [plain, replace(plain, steps=resolve(ahead, bundle).nfe)]
    rows += [replace(ahead, settings={"ratio": ratio}) for ratio in RATIOS]
    rows += [replace(ahead, settings={"p": p}) for p in SHARES]
    judge = judge_of(bundle)
    real = moments(references(bundle, split, judge, work.pause))
    capped = replace(bundle, model=_Capped(bundle.model))
    runs = [*((bundle, row) for row in rows), (capped, ahead)]
    drawn = [images_of_row(of, row, images, split, judge, work=_work_of(of, work)) for of, row in runs]
    apart = [distance(judged["features"], real) for judged in drawn]
    names = [named(resolve(row, bundle)) for row in rows] + [named(resolve(ahead, bundle)) | {"t_at_most": CAPPED}]
    measured = [
        {
            "frechet": own.measured(),
            "minus_euler_of_equal_steps": (own - apart[0]).measured(),
            "minus_euler_of_equal_cost": (own - apart[1]).measured(),
        }
        for own in apart
    ]
    about = {"images": images, "split": split, "arithmetic": arithmetic(fast)}
    return about | {"rows": [a | b for a, b in zip(names, measured, strict=True)]}


def _work_of(bundle: Bundle, work: Work) -> Work:
    """The capped network's images must not be taken for those of the network that it wraps."""
    return work.unkept() if isinstance(bundle.model, _Capped) else work


class _Capped(nn.Module):
    """A network whose input t is clamped to at most CAPPED."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.grid, self.channels = model, model.grid, model.channels

    def forward(self, x: Tensor, t: PatchTime, y: Tensor) -> Prediction:
        return self.model(x, PatchTime(t.levels.clamp(max=CAPPED), t.index, t.n), y)
