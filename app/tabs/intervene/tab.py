"""Intervene: paint patches by hand, see at once what that does to the others, and run on from there."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from gradio.components import Component
from torch import Tensor

from app import links
from app.components.tour.tour import Heading
from app.components.viewer.viewer import manifest
from app.handlers import SENT, Asked, enabled, on, travelling, uploaded
from app.server.prompts import network_of
from app.state import AppState
from app.store import DONE, StoredRun
from app.tabs.intervene import change
from app.tabs.intervene.edits import Picture, used
from app.tabs.intervene.intervention import BASE, EDITED, THIS, Intervention, Now
from app.tabs.intervene.page import Page
from app.tabs.intervene.painting import Painting
from app.worker import lane_of
from pf_core.errors import InputError
from pf_core.sampling.edits import parse
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.sampling.selections import EXPERIMENTS, Experiment
from pf_core.sampling.trajectory import Trajectory

TITLE = "Intervene"
_SLOW = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


class Intervene:
    """The tab: its page has the components, `painting` the handlers that start no run; those that do are here."""

    def __init__(self, state: AppState):
        self.state, self.logic, self.page = state, Intervention(state), Page(state)
        self.painting = Painting(self.page, self.logic)
        page = self.page
        self.runs = [page.viewer, page.ids, page.mine, page.which, page.box]
        self.places = [page.work, page.step, page.image, page.whose, page.run]
        self.everything = [*self.runs, *page.form.outputs, *self.painting.listing, page.uploads]
        self.wire()

    def wire(self) -> None:
        page = self.page
        page.changed.watch(
            self.state, page.viewer, page.form.inputs, lambda values: [page.form.spec(values)], first=True
        )
        inputs = {"mine": page.mine, **page.form.inputs}
        started = {"busy": page.run, "api_name": "intervene", "show_progress": "hidden", "queue": False}
        begun = on(page.run.click, self.on_run, inputs, self.runs, status=page.status, **started)
        on(self.over(begun), self.when_base, page.now, [*self.places, *self.painting.preview], **_SLOW)
        onward = {"mine": page.mine, **page.now}
        self.then_shown(on(page.go.click, self.on_go, onward, self.runs, status=page.note, busy=page.go))
        on(page.stop.click, self.on_stop, {"ids": page.ids}, status=page.status)
        loaded = {"mine": page.mine, "path": page.recipe}
        self.then_ready(on(page.recipe.upload, self.on_recipe, loaded, self.everything, status=page.status))
        planned = [*self.runs, *self.places, *self.painting.draft, *self.painting.preview]
        for button, experiment in page.experiments:
            asked = [*self.runs, page.caption, page.asked]
            begun = on(
                button.click, partial(self.on_experiment, experiment), {"ids": page.ids, **inputs}, asked,
                status=page.status, busy=button,
            )  # fmt: skip
            ready = {"asked": page.asked, "mine": page.mine, **page.now}
            self.then_shown(on(self.over(begun), self.when_asked, ready, planned, status=page.status, **_SLOW))
        forget = [page.uploads, *self.painting.listing]
        on(page.form.network.input, lambda: {page.uploads: []} | self.painting.listed([], []), {}, forget, **SENT)

    def over(self, begun: Any) -> Any:
        """The trigger of what comes once the base run is over: it gets the page as it is then, not as it was when the
        run began."""
        page = self.page
        return on(begun.then, lambda ids: {}, {"ids": page.ids}, [page.asked], after=self.base_ended, **_SLOW).then

    def then_ready(self, event: Any) -> None:
        placed = [*self.places, *self.painting.preview]
        self.then_shown(on(event.then, self.when_base, self.page.now, placed, after=self.base_ended, **_SLOW))

    def then_shown(self, event: Any) -> None:
        on(event.then, self.when_edited, self.page.now, [self.page.shown], after=self.edited_ended, **_SLOW)

    def on_load(self, demo: gr.Blocks, address: Heading) -> None:
        """To be called in the Blocks' context: a link's settings, edits and runs."""
        shown, status = self.everything, {"status": self.page.status}
        asked = on(demo.load, self.from_link, {}, shown, **status)
        back = on(address.travelled, travelling(self.from_entry, TITLE), {}, shown, **status)
        enabled(asked, self.page.run)
        for event in (asked, back):
            self.then_ready(event)

    # runs: handlers return {component: update}

    def on_run(self, mine: list[str], request: gr.Request = None, **values: Any) -> dict:
        """Start the run to intervene in; what this page has started, and is still going on, stops."""
        base = self.logic.start_base(self.page.form.spec(values), lane=lane_of(request))
        self.state.halt(*mine)
        return self.showing(base, None) | {self.page.status: ""}

    def showing(
        self,
        base: StoredRun,
        edited: StoredRun | None,
        which: str = BASE,
        again: bool = False,
        mine: list[str] | None = None,
    ) -> dict[Component, Any]:
        """The runs that are shown, and which of them can be painted on. mine: ids of those that this page started, if
        not both."""
        page, runs = self.page, [base, *([edited] if edited else [])]
        ids = [base.id, edited.id if edited else ""]
        return {
            page.viewer: manifest(runs, query=self.address(base, edited), again=again),
            page.ids: ids,
            page.mine: ids if mine is None else mine,
            page.which: gr.update(choices=[BASE, EDITED][: len(runs)], value=which if edited else BASE),
            page.box: gr.update(visible=edited is not None),
        }

    def when_base(self, **values: Any) -> dict:
        """Once the run is there: where one can paint, and what."""
        now = Now.of(values)
        if not now.ids:
            return {}
        return self.placed(now) | self.painting.refreshed(self.logic.inside_of(now))

    async def base_ended(self, ids: list[str], **_: Any) -> None:
        await self.state.ended(*(ids or [])[:1])

    async def edited_ended(self, ids: list[str], **_: Any) -> None:
        await self.state.ended(*(ids or [])[1:])

    def placed(self, now: Now) -> dict[Component, Any]:
        """The controls that say where one paints."""
        page = self.page
        try:
            spec = self.logic.base(now.ids).spec
        except InputError:
            return {page.work: gr.update(visible=False), page.run: gr.update(variant="primary")}
        now, several = self.logic.inside_of(now), len(spec.seeds) > 1
        return {
            page.work: gr.update(visible=True),
            page.run: gr.update(variant="secondary"),  # one primary button at a time: the next step is to run on
            page.step: gr.update(maximum=max(2, spec.steps), value=now.step, interactive=spec.steps > 1),
            page.image: gr.update(maximum=max(2, len(spec.seeds)), value=now.image, visible=several),
            page.whose: gr.update(visible=several, value=now.whose if several else THIS),
        }

    def on_go(self, mine: list[str], request: gr.Request = None, **values: Any) -> dict:
        """Run on: the same run with the kept edits and the painted one."""
        now = Now.of(values)
        base = self.logic.base(now.ids)
        edits = self.logic.plan(now, self.logic.chosen(now), self.painting.settings(now))
        edited = self.logic.start_edited(base, edits, now.uploads, lane=lane_of(request))
        self.state.halt(*mine[1:])
        shown = self.showing(base, edited, now.which, mine=[*(mine[:1] or [""]), edited.id])
        return shown | {self.page.note: self.about_link(edited)}

    def about_link(self, edited: StoredRun) -> str:
        if links.encode(edited.spec) is not None:
            return ""
        needed = "raw arrays, which carry the picture" if edited.edit_images is not None else "recipe"
        return f"This run does not fit in a link: to repeat it later, download its {needed}."

    def when_edited(self, **values: Any) -> dict:
        """Once the edited run has ended: what it changed."""
        now = Now.of(values)
        if not now.ids or not now.ids[1]:
            return {self.page.shown: ""}
        try:
            return {self.page.shown: self.logic.difference(self.logic.inside_of(now))}
        except InputError as e:
            return {self.page.shown: change.nothing(str(e))}

    def on_stop(self, ids: list[str]) -> dict:
        self.state.halt(*ids or [])
        return {self.page.status: "" if ids else "Nothing is running."}

    # experiments

    def on_experiment(
        self, experiment: Experiment, ids: list[str], mine: list[str], request: gr.Request = None, **values: Any
    ) -> dict:
        """The run that an experiment is made on, unless it is here already."""
        page = self.page
        try:
            spec = page.form.spec(values)
            spec = resolve(spec, self.state.bundle(spec.checkpoint))
            base = self.state.runs.get(ids[0]) if ids and ids[0] in self.state.runs else None
            here = base is not None and base.spec == spec and base.state in ("waiting", "running", "done")
            shown = {} if here else self.showing(self.logic.start_base(spec, lane=lane_of(request)), None)
            self.state.halt(*(mine[1:] if here else mine))
        except InputError as e:
            return {page.status: str(e), page.asked: ""}
        return shown | {page.status: "", page.caption: experiment.caption, page.asked: experiment.name}

    def when_asked(self, asked: str, mine: list[str], request: gr.Request = None, **values: Any) -> dict:
        """Once its run is there: the experiment's edit in all controls, and the edited run beside the other."""
        now = Now.of(values)
        if asked not in EXPERIMENTS:
            return {}
        now = self.logic.inside_of(now)
        try:
            base = self.logic.base(now.ids)
            if base.state != DONE:  # stopped by the person, or failed, which the viewer says
                return self.placed(now) | self.painting.refreshed(now)
            edit = EXPERIMENTS[asked].plan(base.trajectory, now.image - 1, network_of(self.state, base))
            edited = self.logic.start_edited(base, [edit], [], lane=lane_of(request))
        except InputError as e:
            return self.placed(now) | self.painting.refreshed(now) | {self.page.status: str(e)}
        now = self.painting.as_drafted(now, edit)._replace(ids=[base.id, edited.id], which=BASE, whose=THIS)
        drafted = self.painting.drafted(now) | self.painting.refreshed(now, edit["patches"])
        shown = self.showing(base, edited, mine=[*(mine[:1] or [""]), edited.id])
        return shown | self.placed(now) | drafted | {self.page.status: ""}

    # recipes and links

    def address(self, base: StoredRun, edited: StoredRun | None) -> str:
        plan = links.encode((edited or base).spec)
        ids = {"tab": TITLE.lower(), "base": base.id} | ({"edited": edited.id} if edited else {})
        return urlencode(ids | ({"plan": plan} if plan else {}))

    def again(
        self, spec: SampleSpec, carried: Trajectory | None = None, *, lane: str = ""
    ) -> tuple[StoredRun, StoredRun | None]:
        """A recipe's run as it would be without its edits, and, where it has any, with them.

        carried: what a file holds beside its recipe, noise and pictures. Raises InputError.
        """
        images = getattr(carried, "edit_images", None)
        edits = [edit.to_dict() for edit in parse(spec.edits)]
        edits, images = used(edits, [] if images is None else list(images))
        x0 = carried.x0 if carried is not None and spec.noise is not None else None
        base = self.logic.start_base(links.here(self.state, spec), x0, lane=lane)
        try:
            return base, self.logic.start_edited(base, edits, self.kept(images), lane=lane) if edits else None
        except InputError:
            self.state.halt(base.id)
            raise

    def kept(self, pictures: Iterable[Tensor]) -> list[str]:
        """What a run paints with, kept for this page."""
        return [self.state.pictures.add(Picture(x.clone())).id for x in pictures]

    def restored(
        self,
        base: StoredRun,
        edited: StoredRun | None,
        sentence: str,
        again: bool = False,
        mine: list[str] | None = None,
    ) -> dict[Component, Any]:
        updates, images = self.showing(base, edited, again=again, mine=mine), edited and edited.edit_images
        try:
            updates |= self.page.form.updates(base.spec)
        except InputError as e:
            sentence = f"{sentence} The controls cannot show it: {e}".strip()
        sentence = " ".join(filter(None, [sentence, links.left_out(base.spec)]))
        updates |= self.painting.listed(edited.spec.edits if edited else [], [])
        return updates | {self.page.uploads: self.kept([] if images is None else images), self.page.status: sentence}

    def on_recipe(self, mine: list[str], path: str, request: gr.Request = None) -> dict:
        """An export that a person brought: its run with and without its edits."""
        loaded = links.read(uploaded(path))
        carried = isinstance(loaded, Trajectory)
        spec = SampleSpec.from_dict(loaded.recipe) if carried else loaded
        base, edited = self.again(spec, loaded if carried else None, lane=lane_of(request))
        self.state.halt(*mine)
        how = " without and with its edits." if edited else ": it has no edits."
        return self.restored(base, edited, f"This is the recipe of {Path(path).name}, run again{how}")

    def from_link(self, request: gr.Request) -> dict:
        """What the page's address asks for."""
        asked = dict(request.query_params)
        if asked.get("tab") != TITLE.lower() or not asked.get("base"):
            return {}
        ids = [asked[k] for k in ("base", "edited") if asked.get(k)]
        try:
            if all(i in self.state.runs for i in ids):
                base, edited = [*map(self.state.runs.get, ids), None][:2]
                return self.restored(base, edited, "", again=True, mine=[])
            if not asked.get("plan"):
                raise InputError(
                    "Those runs are not kept any more, and do not fit in a link: load their recipe or raw arrays."
                )
            base, edited = self.again(links.decode(asked["plan"]), lane=lane_of(request))
            again = "Those runs were not kept any more: they were made again from the link."
            return self.restored(base, edited, again, again=True)
        except InputError as e:
            raise InputError(f"This link could not be read: {e}") from None

    def from_entry(self, request: Asked) -> dict:
        """The same for Back and Forward; runs that this page started are still replaced by its next ones."""
        return {c: u for c, u in self.from_link(request).items() if c is not self.page.mine or u}


def build(state: AppState) -> Intervene:
    return Intervene(state)
