"""Whose letters are better? Flow matching against Patch Forcing, trained alike, on words that neither has seen."""

from typing import Annotated, Any

from pf_core.charts import Chart
from pf_core.data.splits import images_of, take
from pf_core.evaluation import prompted, spelling
from pf_core.evaluation.metrics import Resampled
from pf_core.evaluation.paired import FASTER
from pf_core.evaluation.prompted import PARALLEL, PLAIN
from pf_core.evaluation.studies.common import SPLIT, Claim, baseline_of, holds, in_points, percent, side, study
from pf_core.evaluation.work import UNWATCHED, Work
from pf_core.models.checkpoint import Bundle, data_of
from pf_core.registry import Knob

KIND = "reader"
GUIDANCE = "1,2,4,6"
FEW = 20  # words that are told as they were read


def _chart(result: dict[str, Any]) -> Chart:
    rows = result["rows"]
    best = prompted.best(rows, "characters")
    panels = [
        [
            prompted.over_guidance(rows, "characters", "Characters that are right", "characters, %"),
            prompted.over_guidance(rows, "words", "Words that are right", "words, %"),
        ],
        [
            prompted.in_bars(
                best,
                "Characters by length of the word, best guidance",
                "characters of the word",
                lambda row: {length: found["characters"] for length, found in row["by_length"].items()},
                up="characters, %",
            ),
            prompted.over_guidance(
                rows, "characters", f"Characters, against {PARALLEL}, paired", "percentage points", "minus_euler"
            ),
        ],
    ]
    note = (
        f"{_asked(result)} a point, {result['nfe']} NFE, the same prompts and seeds; with "
        f"95% intervals. The judge reads {percent(result['real']['characters'])} of the characters of real ones."
    )
    return Chart(f"Text rendering, {result['checkpoint']}", panels, note)


def _asked(result: dict[str, Any]) -> str:
    """How many pictures, of how many words, which older results did not count."""
    distinct = f"{result['distinct']} " if "distinct" in result else ""
    return f"{result['images']} signs of {distinct}unseen words"


def _verdict(result: dict[str, Any]) -> str:
    best = {row["label"]: row for row in prompted.best(result["rows"], "characters")}
    told = ", ".join(
        f"{label} {percent(row['characters'])} at guidance {row['cfg_scale']:g}" for label, row in best.items()
    )
    words = f"Characters right in unseen words, each at its best guidance: {told}{_minus(result)}."
    words += prompted.at_the_edge(result["rows"], "characters")
    return f"{_found(result)}. {words}" if PLAIN in best else words


def _minus(result: dict[str, Any]) -> str:
    """The differences from flow matching, where its network was measured, and from Euler."""
    here = {row["label"] for row in result["rows"]}
    apart = [prompted.against(result, "characters", key) for key, base in prompted.BASES.items() if base in here]
    return "".join(f"; minus {base}, each at its best: {in_points(ours)}" for base, _, ours in apart if ours)


def _found(result: dict[str, Any]) -> str:
    """Whether it spells better than flow matching, beyond chance."""
    ours = prompted.against(result, "characters")[2]
    return prompted.unlike(result) or holds(sum(side(apart) > 0 for apart in ours.values()), len(ours))


def _brief(result: dict[str, Any]) -> str:
    """Against flow matching, where its network is here, else against Euler."""
    base, share, ours = prompted.against(result, "characters")
    better = f"{_found(result).partition(',')[0]}: c" if base == PLAIN else "C"
    if not ours:
        return f"{better}haracters right, {base} alone: {percent(share)}."
    return f"{better}haracters right, minus {base}'s {percent(share)}: {in_points(ours)}."


def _forwards(bundle: Bundle, images: int, nfe: int, guidance: str, baseline: str, **_) -> int:
    return prompted.passes(bundle, baseline_of(bundle, baseline), nfe, prompted.guidances(guidance), images)


@study(
    forwards=_forwards,
    chart=_chart,
    verdict=_verdict,
    brief=_brief,
    claim=Claim(
        "We further find improved text rendering capabilities when training with heterogeneous patch-wise timesteps "
        "under matched training and inference settings compared to standard Flow Matching models.",
        "Fig. 8, text rendering",
    ),
    quick={"images": 20, "nfe": 16, "guidance": "6"},
    network="signs-pft",
    check=lambda bundle: prompted.judge_for(bundle, KIND),
)
def text_rendering(
    bundle: Bundle,
    *,
    images: Annotated[int, Knob(10, 100_000, "words a row")] = 500,
    nfe: Annotated[int, prompted.NFE] = 64,
    guidance: Annotated[str, prompted.GUIDANCE] = GUIDANCE,
    baseline: Annotated[str, prompted.BASELINE] = "",
    split: Annotated[str, SPLIT] = "evaluation",
    fast: Annotated[bool, FASTER] = False,
    work: Work = UNWATCHED,
) -> dict[str, Any]:
    """Flow matching against Patch Forcing in spelling.

    The prompts are captions of held-out signs, whose words are never trained on (of one character there are four such
    words). Each is drawn from its own seed by Euler, dual-loop and look-ahead, each with the most steps that fit the
    budget, and by Euler of the twin without difficulty, trained alike (`baseline`), with every guidance scale. A judge
    that was trained on real signs reads the pictures. Reported: the share of characters that are right (less the edit
    distance), of whole words, the mean edit distance, all by length too; the differences from the twin and from Euler
    at the same guidance and (`at_best`) each at its own best; and what the judge reads on real signs with these words.
    Intervals are 95%, bootstrap over the `distinct` words, each with all its pictures, paired by prompt and seed. The
    best guidance of a row is chosen on the same words; `split` search chooses it on others.
    """
    data = data_of(bundle)
    indices = take(data, images_of(data, split), images)
    words = data.texts(indices)

    def told(read: list[str]) -> tuple[dict[str, Any], dict[str, Resampled]]:
        found = {"by_length": spelling.measured(read, words)["by_length"], "read": read[:FEW]}
        return found, spelling.resampled(read, words)

    real, result = prompted.compare(
        bundle, baseline_of(bundle, baseline), KIND, data.captions_of(indices),
        lambda part: data.batch(indices[part]).images, told,
        nfe=nfe, guidance=guidance, split=split, fast=fast, work=work,
    )  # fmt: skip
    return result | {"real": spelling.measured(real, words), "asked": words[:FEW], "distinct": len(set(words))}
