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
            "Same noise, same cost. Euler moves all patches alike; look-ahead also moves the easy ones ahead, looks "
            "again at the hard ones beside them, and takes the move back.",
            _columns((PFT, "euler"), (PFT, "look_ahead")),
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
            "random-difficulty",
            "Random order and difficulty order",
            "Same noise, same cost, and the same share of the patches goes first in both: drawn at random in A, the "
            "easiest in B.",
            _columns((PFT, "random_order", _SAME_SHARE), (PFT, "dual_loop", _SAME_SHARE)),
        ),
        Preset(
            "euler-multistep",
            "Euler and multistep, 8 NFE",
            "Same noise, eight evaluations each. Euler takes a straight step; multistep bends each step by the "
            "velocity of the one before.",
            _columns((PFT, "euler"), (PFT, "multistep"), nfe=8),
        ),
    )
}
