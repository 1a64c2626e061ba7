"""Do pictures show what their prompts ask for? Objects, numbers, colours and places, in GenEval's categories."""

from typing import Annotated, Any

from pf_core.charts import Chart
from pf_core.data.splits import CHOICES
from pf_core.data.toybox.prompts import CATEGORIES, Prompt, pictures, prompts
from pf_core.evaluation import composition as scoring
from pf_core.evaluation import prompted
from pf_core.evaluation.judges import Reading
from pf_core.evaluation.metrics import Resampled
from pf_core.evaluation.paired import FASTER
from pf_core.evaluation.prompted import PARALLEL, PLAIN
from pf_core.evaluation.studies.common import SPLIT, Claim, baseline_of, holds, in_points, percent, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle, data_of
from pf_core.registry import Knob

KIND = "scenes"
GUIDANCE = "1,2,4"
MARGIN = 0.1  # how far below flow matching still keeps up
FEW = 12  # prompts that are told
_APART = 10**6  # prompts to choose by begin so much later than those to report


def _chart(result: dict[str, Any]) -> Chart:
    rows = result["rows"]
    best = prompted.best(rows, "all")
    kinds = {"captioned in training": "seen", "held out": "unseen"}
    panels = [
        [
            prompted.over_guidance(rows, "all", "Prompts satisfied", "prompts satisfied, %"),
            prompted.in_bars(
                best, "By category, best guidance", "", lambda row: row["by_category"], up="prompts satisfied, %"
            ),
        ],
        [
            prompted.in_bars(
                best,
                "Colours, by combinations of class and colour",
                "",
                lambda row: {name: row[key] for name, key in kinds.items()},
                up="colours right, %",
            ),
            prompted.over_guidance(
                rows, "all", f"Satisfied, against {PARALLEL}, paired", "percentage points", "minus_euler"
            ),
        ],
    ]
    note = (
        f"{result['images']} prompts a point, {result['nfe']} NFE, the same seeds; with 95% intervals. "
        f"Of real pictures of these prompts the judge finds {percent(result['real']['all'])} right."
    )
    return Chart(f"Composition, {result['checkpoint']}", panels, note)


def _verdict(result: dict[str, Any]) -> str:
    best = {row["label"]: row for row in prompted.best(result["rows"], "all")}
    told = ", ".join(f"{label} {percent(row['all'])} at {row['cfg_scale']:g}" for label, row in best.items())
    base, _, ours = prompted.against(result, "all")
    apart = f"; minus {base}, each at its best: {in_points(ours)}" if ours else ""
    words = f"Prompts satisfied, each at its best guidance: {told}{apart}."
    words += prompted.at_the_edge(result["rows"], "all")
    return words if base != PLAIN else f"{_kept_up(result)}. {words}"


def _kept_up(result: dict[str, Any]) -> str:
    """Competitive: surely less than MARGIN below flow matching. An interval wider than that decides nothing."""
    if unlike := prompted.unlike(result):
        return unlike
    if not any(row["all"]["value"] for row in result["rows"]):
        return "Cannot be told here, as no prompt is satisfied"
    ends = [apart["interval"] for apart in prompted.against(result, "all")[2].values()]
    kept = sum(low > -MARGIN for low, _ in ends)
    if not kept and any(high >= 0 for _, high in ends):
        return f"Cannot be told here, to {100 * MARGIN:.0f} points"
    return holds(kept, len(ends))


def _brief(result: dict[str, Any]) -> str:
    base, share, ours = prompted.against(result, "all")
    kept_up = f"{_kept_up(result).partition(',')[0]}: p" if base == PLAIN else "P"
    if not ours:
        return f"{kept_up}rompts satisfied, {base} alone: {percent(share)}."
    return f"{kept_up}rompts satisfied, minus {base}'s {percent(share)}: {in_points(ours)}."


def _asked(images: int, split: str) -> list[Prompt]:
    """Prompts of all categories in turn."""
    each, first = -(-images // len(CATEGORIES)), _APART * CHOICES.index(split)
    by_category = [prompts(category, each, first) for category in CATEGORIES]
    return [p for row in zip(*by_category, strict=True) for p in row][:images]


def _forwards(bundle: Bundle, images: int, nfe: int, guidance: str, baseline: str, **_) -> int:
    return prompted.passes(bundle, baseline_of(bundle, baseline), nfe, prompted.guidances(guidance), images)


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    claim=Claim(
        "Patch Forcing also scales to text-conditioned generation and remains competitive on T2I-CompBench++ and "
        "GenEval.",
        "Text-to-image: GenEval, T2I-CompBench++",
    ),
    quick={"images": 24, "nfe": 16, "guidance": "2"},
    network="scenes-pft",
    check=lambda bundle: prompted.judge_for(bundle, KIND),
)
def composition(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(12, 100_000, "prompts a row, of all categories")] = 600,
    nfe: Annotated[int, prompted.NFE] = 64,
    guidance: Annotated[str, prompted.GUIDANCE] = GUIDANCE,
    baseline: Annotated[str, prompted.BASELINE] = "",
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Objects, numbers, colours and places as asked for.

    Prompts of GenEval's categories (single object, two objects, counting, colours, position, attribute binding) are
    drawn, each from its own seed, by Euler, dual-loop and look-ahead, each with the most steps that fit the budget, and
    by Euler of the twin without difficulty, trained alike (`baseline`), with every guidance scale. A judge that was
    trained on real pictures reads toys, colours and places. Reported: the share of prompts that are satisfied, in all,
    by category and by part (class, colour, count, relation), colours also by whether captioned pictures of the training
    show the combination; the differences from the twin and from Euler at the same guidance and (`at_best`) each at its
    own best; and what the judge finds in real pictures of the prompts. A sampler keeps up if its interval ends less
    than 10 points below flow matching. Intervals are 95%, bootstrap over the prompts' texts (some come again), paired
    by prompt and seed. The best guidance of a row is chosen on the same prompts; `split` search has others.
    """
    asked, data = _asked(images, split), data_of(bundle)

    def told(read: list[Reading]) -> tuple[dict[str, Any], dict[str, Resampled]]:
        return scoring.measured(asked, read), {"all": scoring.resampled(asked, scoring.table(asked, read)["all"])}

    real, result = prompted.compare(
        bundle, baseline_of(bundle, baseline), KIND, [p.text for p in asked],
        lambda part: pictures(data, asked[part], part.start), told,
        nfe=nfe, guidance=guidance, split=split, fast=fast, work=work,
    )  # fmt: skip
    return result | {"real": scoring.measured(asked, real), "asked": [p.text for p in asked[:FEW]]}
