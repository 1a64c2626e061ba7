"""Intervene: paint patches by hand, see at once what that does to the others, and run on from there."""

import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app import links as recipes
from app.components.viewer.viewer import manifest
from app.runform import QUIET
from app.state import Session
from app.store import StoredRun
from app.tabs.intervene import change
from app.tabs.intervene.brushwork import Brushwork
from app.tabs.intervene.intervention import BASE, EDITED, THIS, Now
from pf_core.errors import InputError
from pf_core.sampling.run import SampleSpec, resolve
from pf_core.sampling.selections import EXPERIMENTS, Experiment
from pf_core.sampling.trajectory import Trajectory

TITLE = "Intervene"
_SLOW = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


class Intervene(Brushwork):
    """The tab: Page has its components, Brushwork the handlers that start no run; those that do are here."""

    def __init__(self, session: Session):
        super().__init__(session)
        self.runs = [self.viewer, self.ids, self.said, self.which, self.box]
        self.places = [self.work, self.step, self.image, self.whose]
        self.everything = [*self.runs, *self.form.inputs, *self.listing, self.uploads]
        self.wire_runs()
        self.wire_painting()
        self.wire_list()

    def wire_runs(self) -> None:
        inputs = [self.ids, *self.form.inputs]
        begun = self.run.click(
            self.on_run, inputs, self.runs, api_name="intervene", show_progress="hidden", queue=False
        )
        begun.then(self.when_base, self.now, [*self.places, *self.seen], **_SLOW)
        going = [self.viewer, self.ids, self.note, self.which, self.box]
        self.then_told(self.go.click(self.on_go, self.now, going, **QUIET))
        self.stop.click(self.on_stop, self.ids, self.said, **QUIET)
        self.then_ready(self.recipe.upload(self.on_recipe, [self.ids, self.recipe], self.everything, **QUIET))
        planned = [*self.runs, *self.places, *self.draft, *self.seen]
        for button, experiment in self.experiments:
            started = [*self.runs, self.caption, self.asked]
            begun = button.click(partial(self.on_experiment, experiment), inputs, started, **QUIET)
            self.then_told(begun.then(self.when_asked, [self.asked, *self.now], planned, **_SLOW))
        forget = [self.uploads, *self.listing]
        self.form.network.input(lambda: [[], *self.listed([], [])], None, forget, **QUIET)

    def then_ready(self, event: Any) -> None:
        self.then_told(event.then(self.when_base, self.now, [*self.places, *self.seen], **_SLOW))

    def then_told(self, event: Any) -> None:
        event.then(self.when_edited, self.now, self.shown, **_SLOW)

    def on_load(self, demo: gr.Blocks) -> None:
        """To be called in the Blocks' context: a link's settings, edits and runs."""
        self.then_ready(demo.load(self.from_link, None, self.everything, **QUIET))

    # runs

    def on_run(self, ids: list[str], *values) -> list:
        """Start the run to intervene in; what this page has going on stops. Returns values for `runs`."""
        try:
            spec = self.form.spec(*values)
            self.logic.halt(ids)
            return self.showing(self.logic.start_base(spec), None)
        except InputError as e:
            return [gr.skip(), gr.skip(), str(e), gr.skip(), gr.skip()]

    def showing(self, base: StoredRun, edited: StoredRun | None, sentence: str = "", which: str = BASE) -> list:
        """Values for `runs`: viewer, ids, status line, which runs can be painted on, the difference's box."""
        runs = [base, *([edited] if edited else [])]
        choices = gr.update(choices=[BASE, EDITED][: len(runs)], value=which if edited else BASE)
        ids = [base.id, edited.id if edited else ""]
        return [
            manifest(runs, query=self.address(base, edited)),
            ids,
            sentence,
            choices,
            gr.update(visible=edited is not None),
        ]

    def when_base(self, *values) -> list:
        """Once the run is there: values for `places` and `seen`."""
        now = Now.of(values)
        if not now.ids:
            return [gr.skip()] * (len(self.places) + len(self.seen))
        self.wait(now.ids[0])
        return [*self.placed(now), *self.refreshed(self.inside_of(now))]

    def wait(self, run_id: str) -> None:
        while self.logic.going_on(run_id):
            time.sleep(0.05)

    def inside_of(self, now: Now) -> Now:
        """The same with a step and an image that the run has."""
        try:
            run = self.logic.base(now.ids)
        except InputError:
            return now
        made = max((frame.outer for frame in run.trajectory.frames), default=0) + 1
        return now._replace(step=_between(now.step, made), image=_between(now.image, len(run.spec.seeds)))

    def placed(self, now: Now) -> list:
        """Values for `places`."""
        try:
            spec = self.logic.base(now.ids).spec
        except InputError:
            return [gr.update(visible=False), *[gr.skip()] * 3]
        now, several = self.inside_of(now), len(spec.seeds) > 1
        return [
            gr.update(visible=True),
            gr.update(maximum=max(2, spec.steps), value=now.step, interactive=spec.steps > 1),
            gr.update(maximum=max(2, len(spec.seeds)), value=now.image, visible=several),
            gr.update(visible=several, value=now.whose if several else THIS),
        ]

    def on_go(self, *values) -> list:
        """Run on: the same run with the kept edits and the painted one. Returns values for `runs`."""
        now = Now.of(values)
        try:
            base = self.logic.base(now.ids)
            edits = self.logic.plan(now, self.logic.chosen(now), self.settings(now))
            self.logic.halt(now.ids[1:])
            edited = self.logic.start_edited(base, edits, now.uploads)
        except InputError as e:
            return [gr.skip(), gr.skip(), str(e), gr.skip(), gr.skip()]
        return self.showing(base, edited, self.about_link(edited), now.which)

    def about_link(self, edited: StoredRun) -> str:
        if recipes.encode(edited.spec) is not None:
            return ""
        needed = "raw arrays, which carry the picture" if edited.job.edit_images is not None else "recipe"
        return f"This run does not fit in a link: to repeat it later, download its {needed}."

    def when_edited(self, *values) -> str:
        """Once the edited run has ended: what it changed."""
        now = Now.of(values)
        if not now.ids or not now.ids[1]:
            return ""
        self.wait(now.ids[1])
        try:
            return self.logic.difference(self.inside_of(now))
        except InputError as e:
            return change.nothing(str(e))

    def on_stop(self, ids: list[str]) -> str:
        self.logic.halt(ids)
        return "" if ids else "Nothing is running."

    # experiments

    def on_experiment(self, experiment: Experiment, ids: list[str], *values) -> list:
        """The run that an experiment is made on, unless it is here already: values for `runs`, caption, asked."""
        try:
            spec = self.form.spec(*values)
            spec = resolve(spec, self.session.bundle(spec.checkpoint))
            base = self.session.store.get(ids[0]) if ids and ids[0] in self.session.store else None
            self.logic.halt(ids[1:])
            if base is not None and base.spec == spec and base.state in ("waiting", "running", "done"):
                return [gr.skip(), gr.skip(), "", gr.skip(), gr.skip(), experiment.caption, experiment.name]
            self.logic.halt(ids)
            return [*self.showing(self.logic.start_base(spec), None), experiment.caption, experiment.name]
        except InputError as e:
            return [gr.skip(), gr.skip(), str(e), *[gr.skip()] * 3, ""]

    def when_asked(self, asked: str, *values) -> list:
        """Once its run is there: the experiment's edit in all controls, and the edited run beside the other."""
        now, width = Now.of(values), len(self.places) + len(self.draft) + len(self.seen)
        if asked not in EXPERIMENTS:
            return [gr.skip()] * (len(self.runs) + width)
        self.wait(now.ids[0])
        now = self.inside_of(now)
        try:
            base = self.logic.base(now.ids)
            bundle = self.session.bundle(base.spec.checkpoint)
            edit = EXPERIMENTS[asked].plan(base.trajectory, now.image - 1, bundle)
            edited = self.logic.start_edited(base, [edit], [])
        except InputError as e:
            return [
                gr.skip(),
                gr.skip(),
                str(e),
                gr.skip(),
                gr.skip(),
                *self.placed(now),
                *[gr.skip()] * len(self.draft),
                *self.refreshed(now),
            ]
        now = self.as_drafted(now, edit)._replace(ids=[base.id, edited.id], which=BASE, whose=THIS)
        return [
            *self.showing(base, edited),
            *self.placed(now),
            *self.drafted(now),
            *self.refreshed(now, edit["patches"]),
        ]

    # recipes and links

    def address(self, base: StoredRun, edited: StoredRun | None) -> str:
        plan = recipes.encode((edited or base).spec)
        told = {"tab": TITLE.lower(), "base": base.id} | ({"edited": edited.id} if edited else {})
        return urlencode(told | ({"plan": plan} if plan else {}))

    def again(self, spec: SampleSpec, carried: Trajectory | None = None) -> tuple[StoredRun, StoredRun | None]:
        """A recipe's run as it would be without its edits, and, where it has any, with them.

        carried: what a file holds beside its recipe, noise and pictures. Raises InputError.
        """
        images = carried.edit_images if carried is not None else None
        names = [self.logic.pictures.add(x) for x in (images if images is not None else [])]
        x0 = carried.x0 if carried is not None and spec.noise is not None else None
        base = self.logic.start_base(recipes.here(self.session, spec), x0)
        try:
            return base, self.logic.start_edited(base, spec.edits, names) if spec.edits else None
        except InputError:
            self.logic.halt([base.id])
            raise

    def restored(self, base: StoredRun, edited: StoredRun | None, sentence: str) -> list:
        """Values for `everything`."""
        edits = edited.spec.edits if edited else []
        images = (edited.job or edited.trajectory).edit_images if edited else None
        uploads = [self.logic.pictures.add(x) for x in (images if images is not None else [])]
        return [*self.showing(base, edited, sentence), *self.form.updates(base.spec), *self.listed(edits, []), uploads]

    def on_recipe(self, ids: list[str], path: str) -> list:
        """An export that a person brought: its run with and without its edits. Returns values for `everything`."""
        try:
            self.logic.halt(ids)
            found = recipes.read(path)
            carried = isinstance(found, Trajectory)
            spec = SampleSpec.from_dict(found.recipe) if carried else found
            base, edited = self.again(spec, found if carried else None)
            sentence = f"This is the recipe of {Path(path).name}, run again" + (
                " without and with its edits." if edited else ": it has no edits."
            )
            return self.restored(base, edited, sentence)
        except InputError as e:
            return self.only(str(e))

    def only(self, sentence: str) -> list:
        return [gr.skip(), gr.skip(), sentence, *[gr.skip()] * (len(self.everything) - 3)]

    def from_link(self, request: gr.Request) -> list:
        """Values for `everything`, from the page's address."""
        asked = dict(request.query_params)
        if asked.get("tab") != TITLE.lower() or not asked.get("base"):
            return [gr.skip()] * len(self.everything)
        store, sentence = self.session.store, ""
        try:
            known = [store.get(asked[k]) for k in ("base", "edited") if asked.get(k)]
            base, edited = [*known, None][:2]
        except InputError:
            base = None
        try:
            if base is None:
                if not asked.get("plan"):
                    raise InputError(
                        "Those runs are not kept any more, and do not fit in a link: load their recipe or raw arrays."
                    )
                base, edited = self.again(recipes.decode(asked["plan"]))
                sentence = "Those runs were not kept any more: here they are again, from the link."
            return self.restored(base, edited, sentence)
        except InputError as e:
            return self.only(f"This link could not be read: {e}")


def build(session: Session) -> Intervene:
    return Intervene(session)


def _between(value: Any, most: int) -> int:
    """A number from the browser as a place in 1 .. most."""
    try:
        return max(1, min(int(value), most))
    except (TypeError, ValueError, OverflowError):
        return 1
