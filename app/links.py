"""Recipes on their way into the app and out of it: files that people load, links, and the names of exported files."""

import base64
import binascii
import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

from app import controls
from app.limits import COLUMNS, SEED_RANGE
from app.ranking import part_of
from app.runform import MAX_CFG
from app.state import AppState, here, shown
from app.store import StoredRun
from pf_core.bounded import parse_json
from pf_core.errors import InputError
from pf_core.registry import as_text
from pf_core.sampling.edits import parse, pictures_needed
from pf_core.sampling.export import WRITERS, read_recipe, read_recipes
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.sampling.trajectory import Trajectory

KINDS = list(WRITERS)
MOST_IN_A_LINK = 6000  # characters: longer recipes travel by file alone
MOST_BYTES = 500 * 10**6  # of an export: what an upload may have; of all but a recording the recipe alone is read
APART = "file"  # in a link, instead of a recipe that it cannot hold
NOW = "now"  # in a link, instead of a run's id: start it when the page opens
_MOST_TEXT = 2**20
_ONE_FOR_ALL = ("labels", "seeds", "cfg_scale")  # of a comparison's recipes


def load(state: AppState, path: str, *, lane: str = "") -> tuple[StoredRun, str]:
    """An export (or plain .json recipe) that a person brought: (its run, a sentence about it). lane: as in `start`.

    Raw arrays are shown as they were recorded, nothing is computed; of any other file the recipe is run again. Raises
    InputError for a file that is neither, for another network than the one here, and for what the app refuses anyway.
    """
    name, content = Path(path).name, read(path)
    if isinstance(content, Trajectory):
        run = state.keep(content, origin="from a file")
        return run, " ".join([f"This is the run recorded in {name}; nothing was computed.", *_other(state, run)])
    more = len(read_recipes(path)) - 1
    said = f"{name} holds {more + 1} recipes: the first one is run again here." if more else ""
    return state.start(here(state, content), lane=lane), said or f"The recipe of {name} is run again."


def read(path: str) -> Trajectory | SampleSpec:
    """What raw arrays recorded, or the whole recipe of any other file. Raises InputError."""
    name, suffix = Path(path).name, Path(path).suffix.lower()
    if suffix not in KINDS:
        raise InputError(f"{name} is not an export: give one of {', '.join(KINDS)}.")
    if Path(path).stat().st_size > MOST_BYTES:
        raise InputError(f"{name} is larger than {MOST_BYTES // 10**6} MB, more than can be loaded here.")
    try:
        if suffix == ".safetensors":
            return Trajectory.load(path, shown)
        spec = SampleSpec.from_dict(read_recipe(path))
    except InputError as e:
        raise InputError(str(e).replace(str(path), name)) from None
    if spec.noise is not None or pictures_needed(parse(spec.edits)):
        raise InputError(
            f"{name} holds only part of its recipe: load the run's raw arrays, which hold its pictures too."
        )
    return spec


def _other(state: AppState, run: StoredRun) -> list[str]:
    """Sentences where a recorded run's network is not the one that is here."""
    name, made = here(state, run.spec).checkpoint, run.spec.checkpoint_hash
    try:
        present = state.bundle(name).hash
    except InputError:
        return [f"Its network {name} is not here, so it cannot be run again."]
    return [f"It was made with another {name} (hash {made}) than the one here ({present})."] if made != present else []


def beyond(spec: SampleSpec) -> list[str]:
    """What of a recipe the controls of Explore cannot say."""
    seeds = spec.seeds
    parts = {
        "edits": spec.edits,
        "its own time grid": spec.ts,
        "given noise": spec.noise,
        f"guidance {as_text(spec.cfg_scale)}": spec.cfg_scale > MAX_CFG,
        f"seed {seeds[0]}": seeds[0] > SEED_RANGE,
        f"precision {spec.precision}": spec.precision != "fp32",
        "compilation": spec.compile,
        "more than one class or prompt": len(set(spec.labels)) > 1,
        "seeds that are not consecutive": seeds != list(range(seeds[0], seeds[0] + len(seeds))),
    }
    return [words for words, there in parts.items() if there]


def left_out(spec: SampleSpec) -> str:
    """A sentence on that, "" where there is nothing."""
    more = beyond(spec)
    return f"It has {', '.join(more)}, which the controls cannot show: Run leaves it out." if more else ""


def beside(state: AppState, path: str) -> dict[str, Any] | None:
    """The parts of a link that runs all recipes of an export in Compare; None where it holds one. Raises InputError
    where Compare's controls cannot say them."""
    if Path(path).suffix.lower() == ".safetensors" or len(recipes := read_recipes(path)) < 2:
        return None
    if len(recipes) > len(COLUMNS):
        raise InputError(f"Compare has {len(COLUMNS)} columns.")
    specs = [here(state, SampleSpec.from_dict(recipe)) for recipe in recipes]
    first, most = specs[0], max((spec.nfe for spec in specs if spec.nfe is not None), default=None)
    differ = any(getattr(spec, name) != getattr(first, name) for spec in specs for name in _ONE_FOR_ALL)
    if differ or any(beyond(spec) or list(spec.guidance_interval) != [0, 1] or spec.nfe is None for spec in specs):
        raise InputError("They differ in more than Compare's columns can.")
    for spec in specs:
        again = dataclasses.replace(spec, nfe=most, steps=None, ts=None)
        if resolve(again, state.bundle(spec.checkpoint)).steps != spec.steps:
            raise InputError("They differ in their cost, which Compare's columns share.")
    label = controls.class_word(state, first.checkpoint, first.labels[0])
    shared = {"label": label, "seed": first.seeds[0], "images": len(first.seeds), "nfe": most}
    columns = {f"c{k + 1}": json.dumps(column_of(spec), separators=(",", ":")) for k, spec in enumerate(specs)}
    return {"tab": "compare", "runs": NOW} | shared | {"cfg": first.cfg_scale} | columns


def column_of(spec: SampleSpec) -> list[Any]:
    """A column of Compare as a link holds it."""
    return [spec.checkpoint, spec.sampler, spec.settings, *filter(None, [part_of(spec)])]


def encode(spec: SampleSpec) -> str | None:
    """A recipe as text for a link; None if it is too long for one or needs tensors beside it."""
    if spec.noise is not None or pictures_needed(parse(spec.edits)):
        return None
    kept = {k: v for k, v in spec.to_dict().items() if k != "versions"}
    text = packed(json.dumps(kept, separators=(",", ":")))
    return text if len(text) <= MOST_IN_A_LINK else None


def whole(spec: SampleSpec) -> dict[str, str]:
    """The part of a link that says what Explore's controls cannot: the recipe, or that it is too much for a link."""
    return {"recipe": encode(spec) or APART} if beyond(spec) else {}


def packed(text: str) -> str:
    """JSON as a link holds it."""
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def decode(text: str) -> SampleSpec:
    """Raises InputError for what `encode` did not make."""
    if text == APART:
        raise InputError("The recipe does not fit in a link: load its file.")
    try:
        packed = base64.urlsafe_b64decode(text[:MOST_IN_A_LINK] + "=" * (-len(text) % 4))
        unpacked = zlib.decompressobj().decompress(packed, _MOST_TEXT)
        return SampleSpec.from_dict(parse_json(unpacked))
    except (ValueError, binascii.Error, zlib.error):
        raise InputError("the recipe in it is damaged.") from None
