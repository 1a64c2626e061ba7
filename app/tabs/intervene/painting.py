"""Painting in the Intervene tab: what the brush, the rules, the sources and the list of edits do to the page."""

from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from app.components.painter.painter import chosen_of, painting
from app.handlers import QUIET, on, uploaded
from app.server.frames import edit_words
from app.tabs.intervene import change
from app.tabs.intervene.intervention import CLEAN, DATA, GUESS, MINE, PAINTED_IN, RUNS_OWN, Intervention, Now
from app.tabs.intervene.page import Page
from pf_core.errors import InputError
from pf_core.sampling.edits import EDITS, MAX_EDITS
from pf_core.sampling.selections import SELECTIONS

MOST_UNDO = 50
_STEP = "(...given) => window.__pf.withStep('#intervene-viewer', given)"


class Painting:
    """Handlers that start no run: each takes the page as it is (a `Now`) and returns {component: update}."""

    def __init__(self, page: Page, logic: Intervention):
        self.page, self.logic = page, logic
        self.preview = [page.painter, page.probe, page.words]
        self.draft = [page.step, page.show, page.kind, *page.knobs.outputs]
        self.draft += [page.source, page.index, page.of_data, page.file]
        self.listing = [page.kept, page.past, page.ticked, page.tools]
        self.wire_painting()
        self.wire_list()

    def wire_painting(self) -> None:
        page, last = self.page, {**QUIET, "trigger_mode": "always_last"}
        looks = [c.input for c in (page.step, page.which, page.show, page.image, page.index)]
        on(looks, self.on_look, page.now, self.preview, **last)
        here = {"here": page.step} | page.now  # the page's own script puts the film's step first
        on(page.here.click, self.on_here, here, [page.step, *self.preview], js=_STEP)
        painted = [page.painter.painted, page.kind.input, page.whose.input, page.ticked.input]
        painted += [knob.input for knob in page.knobs.inputs.values()]
        on(painted, self.on_painted, page.now, self.preview[1:], **last)
        on(page.kind.change, page.knobs.show, {"chosen": page.kind}, list(page.knobs.groups.values()))
        sources = [page.index, page.of_data, page.file, page.show]
        on(page.source.input, self.on_source, page.now, [*sources, *self.preview])
        status = {"status": page.note}
        on(page.another.click, self.on_another, page.now, [page.index, *self.preview], **status)
        on(page.file.upload, self.on_file, {"path": page.file} | page.now, [page.uploads, *self.preview], **status)
        for button, name in page.selects:
            on(button.click, partial(self.on_select, name), page.now, self.preview, **status)
        for button, inside in ((page.inside, True), (page.outside, False)):
            on(button.click, partial(self.on_inpaint, inside), page.now, [*self.draft, *self.preview], **status)

    def wire_list(self) -> None:
        page, asked = self.page, {"past": self.page.past} | self.page.now
        for button, handler in ((page.keep, self.on_keep), (page.undo, self.on_undo), (page.remove, self.on_remove)):
            on(button.click, handler, asked, [*self.listing, *self.preview], status=page.note)

    # an edit in the controls

    def as_drafted(self, now: Now, edit: dict[str, Any]) -> Now:
        """The page with an edit in its controls."""
        source = edit.get("source")
        knobs = {self.page.knobs.key(edit["kind"], k): v for k, v in edit.items() if k in EDITS[edit["kind"]].knobs}
        data = isinstance(source, dict) and "dataset" in source
        return now._replace(
            kind=edit["kind"],
            step=edit["outer"] + 1,
            source=DATA if data else RUNS_OWN,
            show=CLEAN if data else GUESS,
            index=source["index"] if data else now.index,
            knobs=now.knobs | knobs,
        )

    def drafted(self, now: Now) -> dict[Component, Any]:
        """The controls of an edit say what `now` says."""
        page = self.page
        return {
            page.step: now.step,
            page.show: now.show,
            page.kind: now.kind,
            **page.knobs.updates(now.kind, self.settings(now)),
            page.source: now.source,
            page.index: now.index,
            page.of_data: gr.update(visible=now.source == DATA),
            page.file: gr.update(visible=now.source == MINE),
        }

    def settings(self, now: Now) -> dict[str, Any]:
        return self.page.knobs.settings(EDITS[now.kind].name, now.knobs)

    # painting and looking

    def refreshed(self, now: Now, chosen: list[int] | None = None) -> dict[Component, Any]:
        """The picture under the brush, the probe, and the next run in words."""
        page = self.page
        try:
            grid = self.logic.base(now.ids).trajectory.grid
            same = isinstance(now.painter, dict) and now.painter.get("grid") == [grid.rows, grid.cols]
            painted = chosen if chosen is not None else chosen_of(now.painter, grid) if same else []
            shown = painting(grid, image=self.logic.image_shown(now), chosen=chosen)
        except InputError as e:
            return {page.probe: change.nothing(str(e)), page.words: ""}
        return {page.painter: shown} | self.planned(now, painted)

    def planned(self, now: Now, painted: list[int]) -> dict[Component, Any]:
        """What the painted patches would do: the probe, and running on in words."""
        try:
            words = self.logic.in_words(self.logic.plan(now, painted, self.settings(now)))
        except InputError as e:
            words = str(e)
        return {self.page.probe: self.logic.probe(now, painted), self.page.words: words}

    def on_look(self, **values: Any) -> dict:
        return self.refreshed(Now.of(values))

    def on_here(self, here: int, **values: Any) -> dict:
        """To the film's step."""
        now = self.logic.inside_of(Now.of(values)._replace(step=here))
        return {self.page.step: now.step} | self.refreshed(now)

    def on_painted(self, **values: Any) -> dict:
        now = Now.of(values)
        try:
            return self.planned(now, self.logic.chosen(now))
        except InputError as e:
            return {self.page.probe: change.nothing(str(e)), self.page.words: ""}

    def on_source(self, **values: Any) -> dict:
        now, page = Now.of(values), self.page
        now = now._replace(show=GUESS if now.source == RUNS_OWN else CLEAN)
        try:
            if now.source == DATA and now.index is None:
                now = now._replace(index=self.logic.next_of_class(now))
        except InputError:
            pass  # the words below say so
        drawn = {page.index: now.index} if now.index != values.get("index") else {}
        return (
            drawn
            | {
                page.of_data: gr.update(visible=now.source == DATA),
                page.file: gr.update(visible=now.source == MINE),
                page.show: now.show,
            }
            | self.refreshed(now)
        )

    def on_another(self, **values: Any) -> dict:
        now = Now.of(values)
        now = now._replace(index=self.logic.next_of_class(now))
        return {self.page.index: now.index, self.page.note: ""} | self.refreshed(now)

    def on_file(self, path: str, **values: Any) -> dict:
        """A picture that a person brought."""
        now = Now.of(values)
        now = now._replace(uploads=self.logic.bring(now, uploaded(path)), source=MINE, show=CLEAN)
        return {self.page.uploads: now.uploads, self.page.note: ""} | self.refreshed(now)

    def on_select(self, name: str, **values: Any) -> dict:
        """Patches chosen by a rule."""
        now = Now.of(values)
        mask = SELECTIONS[name].fn(self.logic.scene(now))
        none = "" if mask.any() else f"No patch here is of that kind ({SELECTIONS[name].label.lower()})."
        return {self.page.note: none} | self.refreshed(now, mask.nonzero()[:, 0].tolist())

    def on_inpaint(self, inside: bool, **values: Any) -> dict:
        """Clean patches from the first step on, inside or outside what is painted."""
        now = Now.of(values)
        region, n = self.logic.chosen(now), self.logic.base(now.ids).trajectory.grid.n
        if not region or len(region) == n:
            raise InputError("Paint a region first: some patches, not all of them.")
        source = DATA if now.source == RUNS_OWN else now.source
        now = now._replace(step=1, kind=PAINTED_IN, source=source, show=CLEAN)
        if source == DATA and now.index is None:
            now = now._replace(index=self.logic.next_of_class(now))
        kept = sorted(set(range(n)) - set(region)) if inside else region
        words = f"{len(kept)} patches are kept as in the picture, {n - len(kept)} are drawn anew: press Run on."
        return {self.page.note: words} | self.drafted(now) | self.refreshed(now, kept)

    # the list of edits

    def listed(self, kept: list[dict], past: list, ticked: list[int] | None = None) -> dict[Component, Any]:
        page = self.page
        choices = [(edit_words(edit), k) for k, edit in enumerate(kept)]
        chosen = list(range(len(kept))) if ticked is None else ticked
        return {
            page.kept: kept,
            page.past: past[-MOST_UNDO:],
            page.ticked: gr.update(choices=choices, value=chosen, visible=bool(kept)),
            page.tools: gr.update(visible=bool(kept or past)),
        }

    def on_keep(self, past: list, **values: Any) -> dict:
        """The painted edit goes into the list, and the brush begins anew."""
        now = Now.of(values)
        edit = self.logic.draft(now, self.logic.chosen(now), self.settings(now))
        if edit is None:
            raise InputError("Paint the patches of this edit first.")
        if len(now.kept) >= MAX_EDITS - 1:
            raise InputError(f"A run has at most {MAX_EDITS} edits.")
        kept, ticked = [*now.kept, edit], [*now.ticked, len(now.kept)]
        now = now._replace(kept=kept, ticked=ticked)
        return {self.page.note: ""} | self.listed(kept, [*past, now.kept[:-1]], ticked) | self.refreshed(now, [])

    def on_undo(self, past: list, **values: Any) -> dict:
        if not past:
            raise InputError("There is nothing to undo in the list of edits.")
        return self.relisted(Now.of(values), past[-1], past[:-1])

    def on_remove(self, past: list, **values: Any) -> dict:
        now = Now.of(values)
        kept = [edit for k, edit in enumerate(now.kept) if k in now.ticked]
        if len(kept) == len(now.kept):
            raise InputError("Untick the edits that you want to remove first.")
        return self.relisted(now, kept, [*past, now.kept])

    def relisted(self, now: Now, kept: list[dict], past: list) -> dict:
        now = now._replace(kept=kept, ticked=list(range(len(kept))))
        return {self.page.note: ""} | self.listed(kept, past) | self.refreshed(now)
