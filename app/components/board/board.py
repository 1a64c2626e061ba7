"""The Train tab's components: what a timestep sampler draws, and the board of runs."""

from typing import Any

from app.components.scripted import Scripted, packed
from pf_core.patches import PatchGrid
from pf_core.timesteps.preview import Draws


class Drawn(Scripted):
    """Eight maps and two histograms of a timestep sampler. Value: see `drawn`."""

    module = "drawn.js"
    markup = '<div class="pf-drawn"></div>'


class Board(Scripted):
    """The list of runs, which it asks for itself. Value: {"chosen": [names]}, also once a person has chosen. Events:
    `picked`, others are chosen; `acted` {"run", "what"}, a command for a run."""

    module = "board.js"
    may_trigger = ("picked", "acted")
    markup = '<div class="pf-board"></div>'


def drawn(draws: Draws, grid: PatchGrid) -> dict[str, Any]:
    """Drawn's value."""
    return {
        "grid": {"rows": grid.rows, "cols": grid.cols},
        "maps": packed(draws.maps),
        "mean": draws.mean.tolist(),
        "largest": draws.largest.tolist(),
    }
