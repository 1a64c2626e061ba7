"""What the server does for one person at most, whatever a browser asks for."""

from typing import Any

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.sampling.edits import MAX_EDITS
from pf_core.sampling.selections import own_data

MAX_IMAGES = 16
MAX_NFE = 256
COLUMNS = "ABCD"  # of Compare, by their letters
MAX_SIDE = 512  # pixels, of runs that people load
LOADED_BYTES = 4 * 2**30  # of loaded networks together; one larger than that is kept alone
UPLOAD_BYTES = 500 * 2**20  # of a network that is uploaded
ADDED_BYTES = 8 * 2**30  # of networks that visitors have uploaded, for as long as the server runs
SEED_RANGE = 2**31 - 1


def allowed(edits: list[dict[str, Any]], bundle: Bundle) -> None:
    """Raises InputError for edits that the app does not run: too many, or with data that a settings' text (a folder's
    place, say) would fetch from the server's disk. The network's own data set is known to the server already."""
    if len(edits) > MAX_EDITS:
        raise InputError(f"A run has at most {MAX_EDITS} edits, not {len(edits)}.")
    for edit in edits:
        source = edit.get("source")
        if not isinstance(source, dict) or "dataset" not in source:
            continue
        entry = DATASETS[source["dataset"]]
        if not any(k.type is str and not k.knob.choices for k in entry.knobs.values()):
            continue
        if own_data(bundle) != {"dataset": entry.name, "settings": entry.settings(source.get("settings") or {})}:
            raise InputError(f"The app paints with images of {bundle.name}'s own data only: upload a picture instead.")
