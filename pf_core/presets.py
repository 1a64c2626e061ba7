"""Named comparisons of particular samplers and networks: the app takes them from here, and names none itself."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.models.recommended import Opening, Shown
from pf_core.samplers import SAMPLERS
from pf_core.sampling.recommended import settings_of
from pf_core.sampling.run import SampleSpec, resolve


@dataclass(frozen=True)
class Preset:
    """Two to four runs worth seeing side by side. `columns` are parts of SampleSpecs; all of them cost the same NFE.
    opens: whether `recommend` looks for the seeds that it opens on: two columns of one network. prompt: what all
    columns draw to begin with, where their networks take prompts."""

    name: str
    label: str
    caption: str
    columns: tuple[dict[str, Any], ...]
    opens: bool = False
    prompt: str = ""

    def specs(self, **shared: Any) -> list[SampleSpec]:
        """One SampleSpec a column; `shared` are what they have in common: seeds, labels, cfg_scale, edits, ...

        Raises InputError for what is no field of a SampleSpec, or what the columns decide.
        """
        for name in shared:
            if name not in {f.name for f in fields(SampleSpec)} or any(name in column for column in self.columns):
                raise InputError(f"{name} cannot be chosen for {self.label}: it is no setting, or what is compared.")
        return [SampleSpec(**shared, **column) for column in self.columns]


EQUAL_NFE = 64  # 64 Euler steps, 33 of look-ahead (2 of them warm-up) or 16 of a dual loop of 4 cost just this
# Shipped networks: what page, comparisons and first recordings are of, and its plain twin. After another choice:
# `make recordings`, and `python -m pf_core recommend --checkpoint NAME --write` for its settings and seeds.
PFT, SIT, SHAPES_PFT = "toybox-pft", "toybox-sit", "shapes-pft"
SIGNS_PFT, SIGNS_FM = "signs-pft", "signs-fm"  # networks of prompts, trained alike in pairs: signs that read a word,
SCENES_PFT, SCENES_FM = "scenes-pft", "scenes-fm"  # and scenes of one to three toys
LATE, WIDE = "toybox-pft-late", "toybox-pft-wide"  # PFT trained on, and one trained on a wider law of t
TRAINING_TIMES = "ltg"  # the timestep sampler that shows what training is like
SCHEDULES = (("euler", 12), ("dual_loop", 3), ("look_ahead", 6))  # Fig. 6's: sampler and outer steps, 12 NFE at most
RECORDED = {"look-ahead": "look_ahead", "dual-loop": "dual_loop", "euler": "euler"}  # file -> sampler: shown first
STORIES = {  # network -> classes and seeds of it
    "toybox-pft": (["mushroom", "boat", "duck", "cake"], [8, 2, 15, 9]),
    "shapes-pft": (["heart", "circle", "star", "ring"], [85, 60, 34, 87]),
}
SWEEP_SAMPLERS = ("euler", "dual_loop", "look_ahead")  # what a sweep over samplers starts with, as far as they run


def _columns(*columns: tuple, nfe: int = EQUAL_NFE) -> tuple[dict[str, Any], ...]:
    """(checkpoint, sampler) or (checkpoint, sampler, settings) -> parts of SampleSpecs."""
    return tuple(
        {"checkpoint": c, "sampler": s, "settings": dict(*settings), "nfe": nfe} for c, s, *settings in columns
    )


_SAME_SHARE, _FAR, _SECOND = {"p": 0.4, "n_inner": 4}, {"ratio": 2.0}, {"order": 2}
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "euler-look-ahead",
            "Euler and look-ahead",
            "Same noise, same cost. Euler moves all patches alike; look-ahead also moves the easy ones ahead, looks "
            "again at the hard ones beside them, and takes the move back.",
            _columns((PFT, "euler"), (PFT, "look_ahead")),
            opens=True,
        ),
        Preset(
            "three-samplers",
            "Euler, dual-loop and look-ahead",
            "Same noise, same cost. Look at the maps of t: one time for all patches, two speeds within a step, and a "
            "move ahead that is taken back.",
            _columns((PFT, "euler"), (PFT, "dual_loop"), (PFT, "look_ahead")),
        ),
        Preset(
            "sit-pft",
            "SiT and Patch Forcing",
            "Same noise, same cost. A predicts no difficulty and moves all patches alike; B is the Patch Forcing "
            "network with the same sampler, so A and B differ by training; B and C differ by the sampler.",
            _columns((SIT, "euler"), (PFT, "euler"), (PFT, "look_ahead")),
        ),
        Preset(
            "early-late",
            "Early and late in training",
            "Same noise, same cost. A and B are one network after 280,000 images, C and D the same after 600,000. Over "
            "hundreds of images look-ahead gains on the first and ties on the second, which draws better.",
            _columns((PFT, "euler"), (PFT, "look_ahead", _FAR), (LATE, "euler"), (LATE, "look_ahead", _FAR)),
        ),
        Preset(
            "narrow-wide",
            "Narrow and wide times in training",
            "Same noise, same cost. Two networks trained alike for 280,000 images but for LTG's width: 0.5 in A and "
            "B, 1 in C and D. Over hundreds of images look-ahead gains on the first and loses on the second.",
            _columns((PFT, "euler"), (PFT, "look_ahead", _FAR), (WIDE, "euler"), (WIDE, "look_ahead", _FAR)),
        ),
        Preset(
            "random-difficulty",
            "Random order and difficulty order",
            "Same noise, same cost, and the same share of the patches goes first in both: drawn at random in A, the "
            "easiest in B.",
            _columns((PFT, "random_order", _SAME_SHARE), (PFT, "dual_loop", _SAME_SHARE)),
        ),
        Preset(
            "few-steps",
            "Few steps: 16 NFE",
            "Same noise, sixteen evaluations each. Euler takes 16 steps, B and C take 4, in which the patches that "
            "wait take 16 small ones. Over hundreds of images B gains here; C, in which chance decides who waits, "
            "does not.",
            _columns((PFT, "euler"), (PFT, "dual_loop", _SAME_SHARE), (PFT, "random_order", _SAME_SHARE), nfe=16),
        ),
        Preset(
            "who-looks-ahead",
            "Who looks ahead? 15 NFE on shapes",
            "Same noise, fifteen evaluations each. A is Euler; B, C and D also follow each patch's last velocity. In C "
            "the easiest patches look ahead, in D any. Over hundreds of images all three are nearer to real ones than "
            "A, and D is nearest.",
            _columns(
                (SHAPES_PFT, "euler"),
                (SHAPES_PFT, "multistep"),
                (SHAPES_PFT, "look_ahead", _SECOND),
                (SHAPES_PFT, "random_look_ahead", _SECOND),
                nfe=15,
            ),
        ),
        Preset(
            "euler-multistep",
            "Euler and multistep, 8 NFE",
            "Same noise, eight evaluations each. Euler takes a straight step; multistep bends each step by the "
            "velocity of the one before.",
            _columns((PFT, "euler"), (PFT, "multistep"), nfe=8),
        ),
        Preset(
            "signs-fm-pf",
            "FM against PF: signs",
            "Same prompt, same noise, same cost. A is flow matching, B Patch Forcing trained alike, with the same "
            "sampler; B and C differ by the sampler. Under each picture stands what a judge reads.",
            _columns((SIGNS_FM, "euler"), (SIGNS_PFT, "euler"), (SIGNS_PFT, "look_ahead")),
            prompt='a red plate that reads "CAT"',  # a word that no training shows
        ),
        Preset(
            "scenes-fm-pf",
            "FM against PF: scenes",
            "Same prompt, same noise, same cost. A is flow matching, B Patch Forcing trained alike, with the same "
            "sampler; B and C differ by the sampler. Under each picture stands which toys a judge sees in it.",
            _columns((SCENES_FM, "euler"), (SCENES_PFT, "euler"), (SCENES_PFT, "look_ahead")),
            prompt="two cakes",
        ),
    )
}


def story(bundle: Bundle) -> tuple[list[str], list[int]]:
    """(classes, seeds) of the four images that the page shows first: chosen ones, else the network's first classes."""
    classes = (bundle.conditioner.names or [None])[:4]
    return STORIES.get(bundle.name, (classes * (4 // len(classes)), list(range(len(classes) * (4 // len(classes))))))


def recommended_columns(preset: Preset, bundles: Sequence[Bundle]) -> list[dict[str, Any]]:
    """A comparison's columns, each on its network (bundles), with the knobs that this recommends where the comparison
    states none."""
    columns = zip(preset.columns, bundles, strict=True)
    return [c | {"settings": settings_of(b, c["sampler"]) | c["settings"]} for c, b in columns]


def pair_of(preset: Preset, bundle: Bundle) -> list[SampleSpec]:
    """The recipes of a comparison that opens on a seed, on any network, at the guidance that it recommends."""
    columns = recommended_columns(preset, [bundle] * len(preset.columns))
    shared = {"checkpoint": bundle.name, "cfg_scale": bundle.recommended.cfg_scale or 1.0}
    return [SampleSpec(**(column | shared)) for column in columns]


def opening_of(preset: Preset, bundle: Bundle) -> Opening | None:
    """The seeds that a comparison opens on, from its network's file; None where that has none, or none that fit."""
    opening = bundle.recommended.opening(preset.name) if preset.opens else None
    if opening is None:
        return None
    specs = [SampleSpec(bundle.name, s, k) for s, k in zip(opening.samplers, opening.settings, strict=True)]
    try:
        asked, made = ([resolve(spec, bundle) for spec in each] for each in (pair_of(preset, bundle), specs))
        fits = [(s.sampler, s.settings) for s in asked] == [(s.sampler, s.settings) for s in made]
        for shown in (opening.largest, opening.typical):
            resolve(replace(specs[0], seeds=[shown.seed], labels=[shown.label], cfg_scale=opening.cfg_scale), bundle)
    except InputError:
        return None
    return opening if fits else None


def rule(opening: Opening, shown: Shown) -> str:
    """How an opening's seed was chosen, in sentences under the comparison."""
    one, other = (SAMPLERS[name].title for name in opening.samplers)
    at = f"{opening.nfe} NFE" if opening.cfg_scale == 1 else f"{opening.nfe} NFE, guidance {opening.cfg_scale:g}"
    which = "the median" if shown == opening.typical else "the largest"
    before, after = shown.confidence
    return (
        f"Rule: of seeds 0 to {opening.among - 1}, each asked for its own class at {at}, seed {shown.seed} has {which} "
        f"rise of the judge's confidence from {one} ({before:.3f}) to {other} ({after:.3f}). {other} is the surer one "
        f"on {opening.surer[1]} of {opening.among}, {one} on {opening.surer[0]}."
    )
