"""The sweep's controls and handlers within Compare, and the routes that its picture is pulled from."""

import io
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import controls
from app.components.difference import data_address
from app.components.scripted import Scripted
from app.server.routes import guarded
from app.state import Session
from app.store import ACTIVE
from app.tabs.compare.sweep_jobs import SweepJob, sweeps
from pf_core.errors import InputError
from pf_core.presets import SWEEP_SAMPLERS
from pf_core.sampling.contact_sheet import heading, read_sweep, title, write_sheet
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.sweep import MAX_AXES, Cost, Done, Sweep
from pf_core.sampling.sweep_axes import NAMED, axes_known, parse, suggested, text_of

NOTHING = "nothing"
PLACES = ("Columns", "Rows", "Blocks")
EXPLAIN = (
    "Vary up to three settings. All else is as in column A, with the class, seed, NFE and guidance above. Values: "
    "`16, 32, 64`, ranges `0-7` or `0.2-0.8:0.2`. A sweep goes on when this page is closed; its address finds it again."
)
MAX_TEXT, MAX_LINK = 2000, 6000
_QUIET = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


class SweepView(Scripted):
    """A sweep's tiles as they come. Value: {"id", "query"}; the browser pulls the rest from /pf/sweeps/ID."""

    module = "sweep.js"
    markup = '<div class="pf-sweep"></div>'


def routes(session: Session) -> list[Route]:
    """What a sweep is and which tiles came after the first `after`; its sheet."""

    def status(request: Request) -> Response:
        job = sweeps(session).get(request.path_params["sweep_id"])
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 6:
            raise InputError("after must be a whole number from 0.")
        found = described(job, sweeps(session).ahead(job), int(after))
        return JSONResponse(found, headers={"cache-control": "no-store"})

    def sheet(request: Request) -> Response:
        job = sweeps(session).get(request.path_params["sweep_id"])
        buffer = io.BytesIO()
        write_sheet(buffer, job.sweep, list(job.done))
        name = {"content-disposition": 'attachment; filename="sweep.png"', "cache-control": "no-store"}
        return Response(buffer.getvalue(), media_type="image/png", headers=name)

    table = {"/pf/sweeps/{sweep_id}": status, "/pf/sweeps/{sweep_id}/sheet.png": sheet}
    return [Route(path, guarded(answer)) for path, answer in table.items()]


def described(job: SweepJob, ahead: int, after: int) -> dict[str, Any]:
    sweep, state = job.sweep, job.state  # the state first: what is done then is complete
    done = list(job.done)
    return {
        "state": state,
        "message": job.message or (f"Waiting: {ahead} before it." if ahead else ""),
        "total": job.total,
        "spent": job.spent(),
        "cost": str(job.cost),
        "fixed": title(sweep),
        "shape": sweep.shape,
        "headings": [[heading(sweep, axis, i) for i in range(n)] for axis, n in enumerate(sweep.shape)],
        "tiles": [_tile(d) for d in done[after:]],
        "ready": len(done),
    }


def _tile(done: Done) -> dict[str, Any]:
    values = ", ".join(f"{name} {text_of([value])}" for name, value in done.cell.values.items())
    return {
        "place": done.cell.place,
        "values": values,
        "image": None if done.image is None else data_address(done.image),
        "error": done.error,
        "cost": f"{done.nfe} NFE, {done.forwards} forwards, {done.seconds:.2f} s",
    }


class SweepPanel:
    """Components and handlers, which are plain methods. `compare` is the tab whose column A is the base."""

    def __init__(self, compare):
        self.compare, self.session = compare, compare.session
        self.sweeps = sweeps(self.session)
        self.job_id, self.loaded = gr.State(""), gr.State(None)
        with gr.Accordion("Sweep", open=False, elem_id="sweep", elem_classes="pf-advanced") as self.box:
            gr.Markdown(EXPLAIN)
            self.axes: list[gr.Dropdown] = []
            self.texts: list[gr.Textbox] = []
            self.names: list[gr.Dropdown] = []
            with gr.Row(elem_classes="pf-shared"):
                for place, first in zip(PLACES, ("sampler", "nfe", NOTHING), strict=True):
                    self.build_axis(place, first)
            self.cost = gr.Markdown("", elem_id="sweep-cost", elem_classes="pf-cost")
            with gr.Row(elem_classes="pf-buttons"):
                self.run = gr.Button("Run sweep", elem_id="sweep-run", min_width=120, scale=0)
                self.stop = gr.Button("Stop", elem_id="sweep-stop", min_width=80, scale=0)
                self.load = gr.UploadButton(
                    "Load sweep", file_types=[".png"], elem_id="sweep-load", elem_classes="pf-quiet", scale=0
                )
                self.forget = gr.Button("Use column A again", visible=False, elem_classes="pf-quiet", scale=0)
            self.said = gr.Markdown("", elem_classes="pf-said", elem_id="sweep-said")
            self.view = SweepView(elem_id="sweep-view")
        self.wire()

    def build_axis(self, place: str, first: str) -> None:
        key = place.lower()
        with gr.Column(min_width=230):
            self.axes.append(gr.Dropdown([NOTHING, *axes_known()], value=first, label=place, elem_id=f"sweep-{key}"))
            named = first in NAMED
            text = "" if named or first == NOTHING else suggested(first)
            self.texts.append(
                gr.Textbox(text, label="Values", visible=not named and first != NOTHING, elem_id=f"sweep-{key}-values")
            )
            choices = self.choices(first, None) if named else []
            self.names.append(
                gr.Dropdown(choices, value=_start(choices), label="Values", multiselect=True, visible=named)
            )

    def wire(self) -> None:
        column = self.compare.columns[0]
        given = [self.loaded, *self.form, *self.compare.inputs]
        for axis, text, names in zip(self.axes, self.texts, self.names, strict=True):
            axis.input(self.on_axis, [axis, column.network], [text, names], **_QUIET)
        costly = {"fn": self.on_cost, "inputs": given, "outputs": self.cost, "trigger_mode": "always_last", **_QUIET}
        for control in self.form:
            control.change(**costly)
        for control in (self.compare.nfe, self.compare.cfg, column.network, column.sampler):
            control.input(**costly)
        self.box.expand(**costly)
        self.run.click(self.on_run, given, [self.view, self.job_id, self.said, self.cost], **_QUIET)
        self.stop.click(self.on_stop, self.job_id, self.said, **_QUIET)
        filled = [self.loaded, self.forget, *self.form, self.said]
        self.load.upload(self.on_sheet, self.load, filled, **_QUIET).then(**costly)
        self.forget.click(self.on_forget, None, [self.loaded, self.forget, self.said], **_QUIET).then(**costly)

    @property
    def form(self) -> list:
        return [*self.axes, *self.texts, *self.names]

    def on_load(self, demo: gr.Blocks) -> None:
        """To be called in the Blocks' context: a link's sweep."""
        outputs = [self.view, self.job_id, self.box, self.loaded, self.forget, *self.form, self.said]
        demo.load(self.from_link, None, outputs, **_QUIET)

    # what there is to choose

    def choices(self, axis: str, network: str | None) -> list[tuple[str, str]]:
        """(label, name) of an axis whose values are names."""
        if axis == "checkpoint":
            return [(name, name) for name in self.session.networks()]
        if axis == "sampler":
            return self.compare.samplers()
        return [(name, name) for name in self.compare.classes(network)]

    # handlers: nothing here trusts the browser

    def on_axis(self, axis: str, network: str | None) -> list:
        """Updates for a place's two boxes of values."""
        if axis in NAMED:
            choices = self.choices(axis, network)
            shown = gr.update(visible=True, choices=choices, value=_start(choices))
            return [gr.update(visible=False), shown]
        hidden = gr.update(visible=False)
        return [hidden if axis == NOTHING else gr.update(visible=True, value=suggested(axis)), hidden]

    def sweep(self, loaded: dict | None, *values) -> Sweep:
        """What the controls say. Raises InputError."""
        form, shared = values[: 3 * MAX_AXES], values[3 * MAX_AXES :]
        base = self.compare.specs(*shared)[0] if loaded is None else SampleSpec.from_dict(loaded)
        classes = self.session.bundle(base.checkpoint).conditioner
        axes: dict[str, list] = {}
        for axis, text, names in zip(form[:3], form[3:6], form[6:], strict=True):
            if axis in (None, "", NOTHING):
                continue
            if axis in axes:
                raise InputError(f"{axis} stands on two axes: choose another for one of them.")
            given = names if axis in NAMED else str(text or "")
            if len(given) > MAX_TEXT:
                raise InputError(f"The values of {axis} are too many: a sweep has at most 100 cells.")
            axes[axis] = parse(axis, given, classes)
        if not axes:
            raise InputError("Choose something to vary.")
        return Sweep(replace(base, seeds=base.seeds[:1], labels=base.labels[:1]), axes)

    def on_cost(self, *values) -> str:
        try:
            return stated(self.sweeps.cost(self.sweep(*values)))
        except InputError as e:
            return str(e)

    def on_run(self, *values) -> tuple:
        """Start it: (view, id, status line, cost)."""
        try:
            job = self.sweeps.start(self.sweep(*values))
        except InputError as e:
            return gr.skip(), gr.skip(), str(e), gr.skip()
        return {"id": job.id, "query": link(job)}, job.id, "", stated(job.cost)

    def on_stop(self, job_id: str) -> str:
        try:
            if not job_id or self.sweeps.get(job_id).state not in ACTIVE:
                return "No sweep of this page is running."
            self.sweeps.stop(job_id)
        except InputError as e:
            return str(e)
        return ""

    def on_forget(self) -> tuple:
        """Column A is the base again: (loaded base, its button, status line)."""
        return None, gr.update(visible=False), ""

    def on_sheet(self, path: str) -> tuple:
        """A sheet's sweep into the controls: (loaded base, its button, the form, status line)."""
        try:
            sweep = read_sweep(path)
        except InputError as e:
            return gr.skip(), gr.skip(), *[gr.skip()] * len(self.form), str(e)
        return *self.filled(sweep), f"Loaded: {title(sweep)}. Run sweep repeats it."

    def filled(self, sweep: Sweep) -> tuple:
        """(loaded base, its button, the form) for a sweep from elsewhere: its base stands for column A."""
        axes, texts, names = [], [], []
        places = [*sweep.axes.items(), *[(NOTHING, [])] * (MAX_AXES - len(sweep.axes))]
        for axis, values in places:
            text = text_of(values)
            axes.append(gr.update(value=axis))
            texts.append(gr.update(value=text, visible=axis not in NAMED and axis != NOTHING))
            choices = self.choices(axis, sweep.base.checkpoint if axis == "label" else None) if axis in NAMED else []
            known = [v for _, v in choices]
            null = controls.class_word(self.session, sweep.base.checkpoint, None)
            given = [null if v is None else str(v) for v in values] if axis in NAMED else []
            choices += [(v, v) for v in given if v not in known]
            names.append(gr.update(choices=choices, value=given, visible=axis in NAMED))
        return sweep.base.to_dict(), gr.update(visible=True), *axes, *texts, *names

    # links

    def from_link(self, request: gr.Request) -> tuple:
        """(view, id, accordion, loaded base, its button, the form, status line) from the page's address."""
        asked = dict(request.query_params)
        nothing = [gr.skip()] * (2 + len(self.form))
        if "sweep" not in asked:
            return gr.skip(), gr.skip(), gr.skip(), *nothing, gr.skip()
        kept = asked["sweep"] in self.sweeps
        view = {"id": asked["sweep"], "query": None} if kept else gr.skip()
        said = "" if kept else "That sweep is not kept any more; its settings are here: Run sweep draws it again."
        try:
            sweep = Sweep.from_dict(json.loads(asked.get("axes", "")[:MAX_LINK]))
            filled = self.filled(sweep)
        except (ValueError, TypeError, KeyError, InputError):
            filled, said = nothing, said if kept else "That sweep is not kept any more."
        return view, asked["sweep"] if kept else "", gr.update(open=True), *filled, said


def _start(choices: list[tuple[str, str]]) -> list[str]:
    """The names that an axis starts with: the samplers worth seeing first, of others the first three."""
    names = [name for _, name in choices]
    return [name for name in names if name in SWEEP_SAMPLERS] or names[:3]


def stated(cost: Cost) -> str:
    return f"**Cost:** {str(cost).rstrip('.')}."


def link(job: SweepJob) -> str:
    """The query that finds a sweep, and makes it again once it is not kept any more."""
    recipe = json.dumps(job.sweep.to_dict(), separators=(",", ":"))
    query = {"tab": "compare", "sweep": job.id} | ({"axes": recipe} if len(recipe) <= MAX_LINK else {})
    return urlencode(query)
