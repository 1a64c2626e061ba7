"""Painting in the Intervene tab: what the brush, the rules, the sources and the list of edits do to the page."""

from functools import partial
from typing import Any

import gradio as gr

from app.components.painter.painter import chosen_of, painting
from app.runform import QUIET
from app.server.frames import edit_words
from app.state import Session
from app.tabs.intervene import change
from app.tabs.intervene.intervention import CLEAN, DATA, GUESS, MINE, PAINTED_IN, RUNS_OWN, Intervention, Now
from app.tabs.intervene.page import Page
from pf_core.errors import InputError
from pf_core.sampling.edits import EDITS, MAX_EDITS
from pf_core.sampling.selections import SELECTIONS

MOST_UNDO = 50
_STEP = """(...given) => {
  const viewer = (window.__viewers || []).find((v) => v.root.isConnected && v.root.closest("#intervene-viewer"));
  const frame = viewer?.ready ? viewer.runs[0].frames[viewer.frameIndex(0)] : null;
  return frame ? [frame.outer + 1, ...given.slice(1)] : given;
}"""


class Brushwork(Page):
    """Handlers that start no run. Each returns values for the lists of components that are named in `__init__`."""

    def __init__(self, session: Session):
        super().__init__(session)
        self.session, self.logic = session, Intervention(session)
        self.now = [self.ids, self.which, self.step, self.show, self.image, self.painter, self.kind, self.whose]
        self.now += [self.source, self.index, self.uploads, self.kept, self.ticked, *self.knobs.components]
        self.seen = [self.painter, self.probe, self.words]
        self.draft = [self.step, self.show, self.kind, *self.knobs.groups, *self.knobs.components]
        self.draft += [self.source, self.index, self.of_data, self.file]
        self.listing = [self.kept, self.past, self.ticked, self.tools]

    def wire_painting(self) -> None:
        last = {**QUIET, "trigger_mode": "always_last"}
        for event in (self.step.input, self.which.input, self.show.input, self.image.input, self.index.input):
            event(self.on_look, self.now, self.seen, **last)
        self.here.click(self.on_here, [self.step, *self.now], [self.step, *self.seen], js=_STEP, **QUIET)
        told = (self.painter.painted, self.kind.input, self.whose.input, self.ticked.input)
        for event in (*told, *(knob.input for knob in self.knobs.components)):
            event(self.on_painted, self.now, self.seen[1:], **last)
        self.kind.change(self.knobs.show, self.kind, self.knobs.groups, **QUIET)
        sources = [self.index, self.of_data, self.file, self.show]
        self.source.input(self.on_source, self.now, [*sources, *self.seen], **QUIET)
        self.another.click(self.on_another, self.now, [self.note, self.index, *self.seen], **QUIET)
        brought = [self.note, self.uploads, *self.seen]
        self.file.upload(self.on_file, [self.file, *self.now], brought, **QUIET)
        for button, name in self.selects:
            button.click(partial(self.on_select, name), self.now, [self.note, *self.seen], **QUIET)
        for button, inside in ((self.inside, True), (self.outside, False)):
            button.click(partial(self.on_inpaint, inside), self.now, [self.note, *self.draft, *self.seen], **QUIET)

    def wire_list(self) -> None:
        changed = [self.note, *self.listing, *self.seen]
        for button, handler in ((self.keep, self.on_keep), (self.undo, self.on_undo), (self.remove, self.on_remove)):
            button.click(handler, [self.past, *self.now], changed, **QUIET)

    def as_drafted(self, now: Now, edit: dict[str, Any]) -> Now:
        """The page with an edit in its controls."""
        source = edit.get("source")
        settings = {k: v for k, v in edit.items() if k in EDITS[edit["kind"]].knobs}
        knobs = [
            settings[k] if name == edit["kind"] and k in settings else v
            for (name, k), v in zip(self.knobs.keys, now.knobs, strict=True)
        ]
        data = isinstance(source, dict) and "dataset" in source
        return now._replace(
            kind=edit["kind"],
            step=edit["outer"] + 1,
            source=DATA if data else RUNS_OWN,
            show=CLEAN if data else GUESS,
            index=source["index"] if data else now.index,
            knobs=tuple(knobs),
        )

    def drafted(self, now: Now) -> list:
        """Values for `draft`."""
        return [
            now.step,
            now.show,
            now.kind,
            *self.knobs.show(now.kind),
            *now.knobs,
            now.source,
            now.index,
            gr.update(visible=now.source == DATA),
            gr.update(visible=now.source == MINE),
        ]

    # painting and looking

    def settings(self, now: Now) -> dict[str, Any]:
        return self.knobs.settings(EDITS[now.kind].name, now.knobs)

    def refreshed(self, now: Now, chosen: list[int] | None = None) -> list:
        """Values for `seen`: what lies under the brush, the probe, what running on would do."""
        try:
            grid = self.logic.base(now.ids).trajectory.grid
            same = isinstance(now.painter, dict) and now.painter.get("grid") == [grid.rows, grid.cols]
            painted = chosen if chosen is not None else chosen_of(now.painter, grid) if same else []
            shown = painting(grid, image=self.logic.image_shown(now), chosen=chosen)
        except InputError as e:
            return [gr.skip(), change.nothing(str(e)), ""]
        return [shown, *self.told(now, painted)]

    def told(self, now: Now, painted: list[int]) -> list[str]:
        try:
            words = self.logic.in_words(self.logic.plan(now, painted, self.settings(now)))
        except InputError as e:
            words = str(e)
        return [self.logic.probe(now, painted), words]

    def on_look(self, *values) -> list:
        return self.refreshed(Now.of(values))

    def on_here(self, step: int, *values) -> list:
        """The film's step, which the page's own script put in as the first value."""
        now = self.inside_of(Now.of(values)._replace(step=step))
        return [now.step, *self.refreshed(now)]

    def on_painted(self, *values) -> list[str]:
        now = Now.of(values)
        try:
            return self.told(now, self.logic.chosen(now))
        except InputError as e:
            return [change.nothing(str(e)), ""]

    def on_source(self, *values) -> list:
        """Index, its row, the upload, what is shown; then values for `seen`."""
        now = Now.of(values)
        now = now._replace(show=GUESS if now.source == RUNS_OWN else CLEAN)
        try:
            if now.source == DATA and now.index is None:
                now = now._replace(index=self.logic.next_of_class(now))
        except InputError:
            pass  # the words below say so
        rows = [gr.update(visible=now.source == DATA), gr.update(visible=now.source == MINE)]
        return [now.index, *rows, now.show, *self.refreshed(now)]

    def on_another(self, *values) -> list:
        now = Now.of(values)
        try:
            now = now._replace(index=self.logic.next_of_class(now))
        except InputError as e:
            return [str(e), gr.skip(), *[gr.skip()] * 3]
        return ["", now.index, *self.refreshed(now)]

    def on_file(self, path: str, *values) -> list:
        """A picture that a person brought: status line, the page's pictures, and values for `seen`."""
        now = Now.of(values)
        try:
            now = now._replace(uploads=self.logic.bring(now, path), source=MINE, show=CLEAN)
        except InputError as e:
            return [str(e), gr.skip(), *[gr.skip()] * 3]
        return ["", now.uploads, *self.refreshed(now)]

    def on_select(self, name: str, *values) -> list:
        """Patches chosen by a rule: status line and values for `seen`."""
        now = Now.of(values)
        try:
            mask = SELECTIONS[name].fn(self.logic.scene(now))
        except InputError as e:
            return [str(e), *[gr.skip()] * 3]
        said = "" if mask.any() else f"No patch here is of that kind ({SELECTIONS[name].label.lower()})."
        return [said, *self.refreshed(now, mask.nonzero()[:, 0].tolist())]

    def on_inpaint(self, inside: bool, *values) -> list:
        """Clean patches from the first step on, inside or outside what is painted: status line, `draft`, `seen`."""
        now = Now.of(values)
        try:
            region, n = self.logic.chosen(now), self.logic.base(now.ids).trajectory.grid.n
            if not region or len(region) == n:
                raise InputError("Paint a region first: some patches, not all of them.")
            source = DATA if now.source == RUNS_OWN else now.source
            now = now._replace(step=1, kind=PAINTED_IN, source=source, show=CLEAN)
            if source == DATA and now.index is None:
                now = now._replace(index=self.logic.next_of_class(now))
        except InputError as e:
            return [str(e), *[gr.skip()] * (len(self.draft) + len(self.seen))]
        kept = sorted(set(range(n)) - set(region)) if inside else region
        said = f"{len(kept)} patches are kept as in the picture, {n - len(kept)} are drawn anew: press Run on."
        return [said, *self.drafted(now), *self.refreshed(now, kept)]

    # the list of edits

    def listed(self, kept: list[dict], past: list, ticked: list[int] | None = None) -> list:
        """Values for `listing`."""
        choices = [(edit_words(edit), k) for k, edit in enumerate(kept)]
        chosen = list(range(len(kept))) if ticked is None else ticked
        return [
            kept,
            past[-MOST_UNDO:],
            gr.update(choices=choices, value=chosen, visible=bool(kept)),
            gr.update(visible=bool(kept or past)),
        ]

    def on_keep(self, past: list, *values) -> list:
        """The painted edit goes into the list, and the brush begins anew: status line, `listing`, `seen`."""
        now = Now.of(values)
        try:
            edit = self.logic.draft(now, self.logic.chosen(now), self.settings(now))
            if edit is None:
                raise InputError("Paint the patches of this edit first.")
            if len(now.kept) >= MAX_EDITS - 1:
                raise InputError(f"A run has at most {MAX_EDITS} edits.")
        except InputError as e:
            return [str(e), *[gr.skip()] * 7]
        kept, ticked = [*now.kept, edit], [*now.ticked, len(now.kept)]
        now = now._replace(kept=kept, ticked=ticked)
        return ["", *self.listed(kept, [*past, now.kept[:-1]], ticked), *self.refreshed(now, [])]

    def on_undo(self, past: list, *values) -> list:
        now = Now.of(values)
        if not past:
            return ["There is nothing to undo in the list of edits.", *[gr.skip()] * 7]
        return self.relisted(now, past[-1], past[:-1])

    def on_remove(self, past: list, *values) -> list:
        now = Now.of(values)
        kept = [edit for k, edit in enumerate(now.kept) if k in now.ticked]
        if len(kept) == len(now.kept):
            return ["Untick the edits that are to go first.", *[gr.skip()] * 7]
        return self.relisted(now, kept, [*past, now.kept])

    def relisted(self, now: Now, kept: list[dict], past: list) -> list:
        now = now._replace(kept=kept, ticked=list(range(len(kept))))
        return ["", *self.listed(kept, past), *self.refreshed(now)]
