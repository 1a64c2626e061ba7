"""Named comparisons of particular samplers and networks: the app takes them from here, and names none itself."""

from dataclasses import dataclass, fields
from typing import Any

from pf_core.errors import InputError
from pf_core.sampling.run import SampleSpec


@dataclass(frozen=True)
class Preset:
    """Two to four runs worth seeing side by side. `columns` are parts of SampleSpecs; all of them cost the same NFE."""

    name: str
    label: str
    caption: str
    columns: tuple[dict[str, Any], ...]

    def specs(self, **shared: Any) -> list[SampleSpec]:
        """One SampleSpec a column; `shared` are what they have in common: seeds, labels, cfg_scale, edits, ...

        Raises InputError for what is no field of a SampleSpec, or what the columns decide.
        """
        for name in shared:
            if name not in {f.name for f in fields(SampleSpec)} or any(name in column for column in self.columns):
                raise InputError(f"{name} cannot be chosen for {self.label}: it is no setting, or what is compared.")
        return [SampleSpec(**shared, **column) for column in self.columns]


EQUAL_NFE = 64  # 64 Euler steps, 33 of look-ahead (2 of them warm-up) or 16 of a dual loop of 4 cost just this
PFT, SIT = "shapes-pft", "shapes-sit"
TRAINING_TIMES = "ltg"  # the timestep sampler that shows what training is like
SCHEDULES = (("euler", 12), ("dual_loop", 3), ("look_ahead", 6))  # Fig. 6's: sampler and outer steps, 12 NFE at most
SWEEP_SAMPLERS = ("euler", "dual_loop", "look_ahead")  # what a sweep over samplers starts with, as far as they run


def _columns(*columns: tuple, nfe: int = EQUAL_NFE) -> tuple[dict[str, Any], ...]:
    """(checkpoint, sampler) or (checkpoint, sampler, settings) -> parts of SampleSpecs."""
    return tuple(
        {"checkpoint": c, "sampler": s, "settings": dict(*settings), "nfe": nfe} for c, s, *settings in columns
    )


_SAME_SHARE = {"p": 0.4, "n_inner": 4}
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "euler-look-ahead",
            "Euler and look-ahead",
            "Same noise, same cost: watch the outline and the texture, where look-ahead's second look corrects what "
            "Euler commits to at once.",
            _columns((PFT, "euler"), (PFT, "look_ahead")),
        ),
        Preset(
            "three-samplers",
            "Euler, dual-loop and look-ahead",
            "Watch the timestep maps: flat, two speeds within a step, and a jump ahead that is taken back; then "
            "compare the hard patches at the end.",
            _columns((PFT, "euler"), (PFT, "dual_loop"), (PFT, "look_ahead")),
        ),
        Preset(
            "sit-pft",
            "SiT and Patch Forcing",
            "The plain network knows no difficulty and steps all patches alike; the same sampler on the Patch Forcing "
            "network shows what training did, look-ahead what its difficulty is good for.",
            _columns((SIT, "euler"), (PFT, "euler"), (PFT, "look_ahead")),
        ),
        Preset(
            "random-difficulty",
            "Random order and difficulty order",
            "As many patches go first in both: watch whether the outline settles better when the easy ones lead.",
            _columns((PFT, "random_order", _SAME_SHARE), (PFT, "dual_loop", _SAME_SHARE)),
        ),
        Preset(
            "euler-multistep",
            "Euler and multistep, 8 NFE",
            "Eight evaluations each: Euler leaves colours pale, textures faint; multistep bends each step by what it "
            "saw at the last one, and comes near a run of 64.",
            _columns((PFT, "euler"), (PFT, "multistep"), nfe=8),
        ),
    )
}
