"""What the Intervene tab does with a run: look at a step, probe its context, make edits of what was painted, run on.

No component lives here. Everything that comes from the browser is a `Now`, and is checked where it is used.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from app.components.difference import data_address, made_of, panel
from app.components.painter.painter import chosen_of
from app.server.frames import edit_words
from app.server.prompts import network_of
from app.state import AppState, title
from app.store import StoredRun
from app.tabs.intervene import change
from app.tabs.intervene.edits import bring, stack, used
from pf_core.errors import InputError
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import to_uint8
from pf_core.registry import whole
from pf_core.samplers import uniform_grid
from pf_core.sampling.compare import THRESHOLD, difference, rms_in
from pf_core.sampling.context_probe import beginning, context_probe
from pf_core.sampling.edits import EDITS, MAX_EDITS, OWN, Edit, clean
from pf_core.sampling.edits import picture as clean_picture
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.selections import Scene, of_class, own_data, result, shown
from pf_core.sampling.trajectory import Frame, Trajectory

BASE, EDITED = "as it was", "with edits"
THIS, ALL = "this image", "all images"
GUESS, STATE, CLEAN = "the prediction", "the state", "the clean picture"
RUNS_OWN, DATA, MINE = "the run's own prediction", "an image of the data", "my picture"
PAINTED_IN = clean.__name__  # the kind of edit that takes a source
MOST_INDEX = 2**32


class Now(NamedTuple):
    """The page as it is: ids [base, edited]; the step (from 1), image (from 1) and run that is looked at; what is
    painted, and what is to be done with it; the edits that were kept, and which of them are ticked."""

    ids: list[str]
    which: str
    step: int
    show: str
    image: int
    painter: dict
    kind: str
    whose: str
    source: str
    index: int | None
    uploads: list[str]
    kept: list[dict]
    ticked: list[int]
    knobs: dict[str, Any]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Now":
        """From a handler's values: what is no field is a knob, what is no source the run's own, no number none."""
        fields = {k: values[k] for k in cls._fields[:-1]}
        fields["source"] = fields["source"] if fields["source"] in (DATA, MINE) else RUNS_OWN
        fields["index"] = fields["index"] if isinstance(fields["index"], int | float) else None
        return cls(**fields, knobs={k: v for k, v in values.items() if k not in fields})


class Place(NamedTuple):
    """The recorded state that is shown: image `image` (from 0) of the first frame of outer step `outer` (from 0)."""

    run: StoredRun
    bundle: Bundle
    frame: Frame
    outer: int
    image: int


class Intervention:
    """The tab's logic, one for a server."""

    def __init__(self, state: AppState):
        self.state = state

    # what is looked at

    def base(self, ids: Any) -> StoredRun:
        """Raises InputError where there is no run yet."""
        if not ids or not ids[0]:
            raise InputError("Press Run first: edits are made to a run.")
        return self.state.runs.get(ids[0])

    def edited(self, ids: Any) -> StoredRun | None:
        return self.state.runs.get(ids[1]) if ids and len(ids) > 1 and ids[1] in self.state.runs else None

    def place(self, now: Now) -> Place:
        """Raises InputError for a step or an image that there is not."""
        run = self.base(now.ids)
        run = (self.edited(now.ids) or run) if now.which == EDITED else run
        outer = whole("The step", now.step, 1, max(1, run.spec.steps)) - 1
        image = whole("The image", now.image, 1, len(run.spec.seeds)) - 1
        frame = run.trajectory.frames[beginning(run.trajectory, outer)]
        return Place(run, network_of(self.state, run), frame, outer, image)

    def chosen(self, now: Now) -> list[int]:
        """The painted patches. Raises InputError for what no brush painted."""
        return chosen_of(now.painter, self.base(now.ids).trajectory.grid)

    def scene(self, now: Now) -> Scene:
        """What the rules that choose patches are given; objects are found in the clean picture where that is shown."""
        place = self.place(now)
        x = result(place.run.trajectory, place.image)
        if now.show == CLEAN and now.source != RUNS_OWN:
            x = self.clean(now, place)
        return Scene(place.frame, place.image, place.run.trajectory.grid, shown(x, place.bundle))

    def image_shown(self, now: Now) -> str:
        """The picture under the brush, as a data address."""
        place = self.place(now)
        x = (place.frame.x if now.show == STATE else place.frame.x1_hat)[place.image].float()
        if now.show == CLEAN and now.source != RUNS_OWN:
            x = self.clean(now, place)
        pixels = to_uint8(place.bundle.codec.preview(x[None].to(place.bundle.device)))[0].cpu()
        return data_address(Image.fromarray(pixels.numpy()))

    def inside_of(self, now: Now) -> Now:
        """The same with a step and an image that the run has."""
        try:
            run = self.base(now.ids)
        except InputError:
            return now
        made = max((frame.outer for frame in run.trajectory.frames), default=0) + 1
        return now._replace(step=_between(now.step, made), image=_between(now.image, len(run.spec.seeds)))

    # where clean patches come from

    def clean(self, now: Now, place: Place) -> Tensor:
        """(C, H, W), of a source other than the run's own."""
        return clean_picture(self.source(now, place), place.bundle, stack(self.state, now.uploads)).cpu()

    def source(self, now: Now, place: Place) -> Any:
        """A clean source as a recipe holds it. Raises InputError."""
        if now.source == MINE:
            if not now.uploads:
                raise InputError("Upload a picture first, or choose another source.")
            return {"given": len(now.uploads) - 1}
        if now.source != DATA:
            return OWN
        own = self.data_of(place.bundle)
        if now.index is None:
            return own | {"index": of_class(place.bundle, own, place.run.spec.labels[place.image])}
        return own | {"index": whole("The number of the image", now.index, 0, MOST_INDEX)}

    def data_of(self, bundle: Bundle) -> dict[str, Any]:
        own = own_data(bundle)
        if own is None:
            raise InputError(f"No data set here fits {bundle.name}: upload a picture instead.")
        return own

    def next_of_class(self, now: Now) -> int:
        """The number of the next image of the run's class."""
        place = self.place(now)
        own, label = self.data_of(place.bundle), place.run.spec.labels[place.image]
        before = None if now.index is None else whole("The number of the image", now.index, 0, MOST_INDEX)
        return of_class(place.bundle, own, label, None if before is None else before + 1)

    def bring(self, now: Now, path: str) -> list[str]:
        """A picture file that a person uploaded: the page's list with it at its end. Raises InputError."""
        run = self.base(now.ids)
        grid = run.trajectory.grid
        height, width = run.size or (grid.height, grid.width)
        if len(now.uploads) >= MAX_EDITS:
            raise InputError(f"At most {MAX_EDITS} pictures are kept for a page: reload it to start again.")
        return [*now.uploads, bring(self.state, path, network_of(self.state, run), height, width)]

    # probing

    def probe(self, now: Now, chosen: list[int]) -> str:
        """The context probe's panel; a sentence where there is nothing to show."""
        try:
            place = self.place(now)
            if not place.bundle.predicts_difficulty:
                return change.nothing(
                    f"{place.bundle.name} predicts no difficulty, so clean patches cannot change it. "
                    "All edits still work."
                )
            if place.run.spec.difficulty != "head":
                return change.nothing(
                    "This run's difficulty is estimated from the velocity; the probe compares what a head predicts. "
                    "All edits still work."
                )
            if not chosen:
                return change.nothing("Paint one or more patches to see how sure the network becomes of all others.")
            given = stack(self.state, now.uploads)
            label = place.run.spec.labels[place.image]
            context = context_probe(
                place.bundle, place.frame, place.image, chosen, self.source(now, place), label=label, given=given
            )
        except InputError as e:
            return change.nothing(str(e))
        t = place.frame.t[place.image]
        time = f"t {t.min():.2f}" + (f" to {t.max():.2f}" if t.max() - t.min() > 0.005 else "")
        return change.panel(context, place.run.trajectory.grid, f"outer step {place.outer + 1} ({time})")

    # edits

    def draft(self, now: Now, chosen: list[int], settings: dict[str, Any]) -> dict[str, Any] | None:
        """What is painted, as an edit of a recipe; None where nothing is. Raises InputError."""
        if not chosen:
            return None
        place = self.place(now)
        edit = {"kind": EDITS[now.kind].name, "patches": chosen, "outer": place.outer, **settings}
        edit["image"] = None if now.whose == ALL else place.image
        if now.kind == PAINTED_IN:
            edit["source"] = self.source(now, place)
        edit, spec = Edit.from_dict(edit), place.run.spec
        ts = uniform_grid(spec.steps) if spec.ts is None else torch.tensor(spec.ts, dtype=torch.float64)
        edit.check(ts, len(spec.seeds), place.run.trajectory.grid.n)
        return edit.to_dict()

    def ticked(self, now: Now) -> list[dict[str, Any]]:
        """The kept edits that are not left out, checked."""
        places = {whole("An edit", k, 0, MAX_EDITS) for k in now.ticked or []}
        return [Edit.from_dict(e).to_dict() for k, e in enumerate(now.kept or []) if k in places]

    def plan(self, now: Now, chosen: list[int], settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Every edit that running on would make. Raises InputError."""
        draft = self.draft(now, chosen, settings)
        return [*self.ticked(now), *([draft] if draft else [])]

    def in_words(self, edits: list[dict[str, Any]]) -> str:
        if not edits:
            return "Nothing would change yet: paint patches, or tick a kept edit."
        return "Next run: " + "; and ".join(map(edit_words, edits)) + "."

    # runs

    def start_base(self, spec: SampleSpec, x0: Tensor | None = None, *, lane: str = "") -> StoredRun:
        run = self.state.start(replace(spec, edits=[]), x0, lane=lane)
        run.label = f"As it was · {title(run.spec)}"
        return run

    def start_edited(
        self, base: StoredRun, edits: list[dict[str, Any]], uploads: list[str], *, lane: str = ""
    ) -> StoredRun:
        """The base run again, from the same noise, with edits. Raises InputError."""
        if not edits:
            raise InputError("There is nothing to change yet: paint patches, or tick a kept edit.")
        edits, names = used(edits, uploads)
        x0 = base.trajectory.x0 if base.spec.noise is not None else None
        run = self.state.start(replace(base.spec, edits=edits), x0, stack(self.state, names), lane=lane)
        run.label = f"With edits · {title(run.spec)}"
        return run

    def difference(self, now: Now) -> str:
        """The panel of the two runs' ends, with the painted patches apart from all others. Raises InputError."""
        base, edited = self.base(now.ids), self.edited(now.ids)
        if edited is None:
            raise InputError("Run on from an edit first, to see here what it changed.")
        image = min(whole("The image", now.image, 1, len(base.spec.seeds)), len(base.spec.seeds)) - 1
        at = _last_shared(base.trajectory, edited.trajectory)
        how = (image, at, THRESHOLD, ("the run as it was", "the edited run"))
        shown = self.state.panels.get(made_of(base, edited, *how), lambda: panel(base, edited, *how))
        touched = torch.zeros(base.trajectory.grid.n, dtype=torch.bool)
        for edit in edited.spec.edits:
            if edit.get("image") in (None, image):
                touched[edit["patches"]] = True
        diff = difference(base.trajectory, edited.trajectory, *at, image=image)
        parts = [
            f"{words} {rms_in(diff, mask):.3f}"
            for words, mask in (("edited patches", touched), ("all others", ~touched))
            if mask.any()
        ]
        return f"{shown}<p class='pfi-note'>RMS of {', of '.join(parts)}.</p>"


def _last_shared(a: Trajectory, b: Trajectory) -> tuple[int | None, int | None]:
    """Frames to compare: the ends, or, where a run was stopped, the last outer step that both have begun."""
    if a.x1 is not None and b.x1 is not None:
        return None, None
    outer = min(max((f.outer for f in run.frames if f.phase == "outer"), default=0) for run in (a, b))
    return beginning(a, outer), beginning(b, outer)


def _between(value: Any, most: int) -> int:
    """A number from the browser as a place in 1 .. most."""
    try:
        return max(1, min(int(value), most))
    except (TypeError, ValueError, OverflowError):
        return 1
