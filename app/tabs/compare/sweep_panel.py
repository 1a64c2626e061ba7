"""The sweep's controls and handlers within Compare, and the routes that its picture is pulled from."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from gradio.components import Component
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import controls, links
from app.components.difference import data_address
from app.components.scripted import Scripted
from app.components.tour.tour import Heading
from app.handlers import PlainText, StatusLine, on, travelling, uploaded
from app.ranking import CHOICES
from app.runform import parts_of
from app.server.routes import guarded
from app.state import AppState
from app.tabs.compare.sweep_jobs import SweepJob, Sweeps
from app.worker import lane_of
from pf_core.bounded import parse_json
from pf_core.errors import InputError
from pf_core.models.conditioning import MOST_CHARACTERS, Conditioner
from pf_core.presets import SWEEP_SAMPLERS
from pf_core.sampling.contact_sheet import heading, read_sweep, title, write_sheet
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.sweep import MAX_AXES, Cost, Done, Sweep
from pf_core.sampling.sweep_axes import (
    ASKED,
    MAX_CELLS,
    NAMED,
    axes_of,
    axis_words,
    parse,
    suggested,
    text_of,
    value_words,
)
from pf_core.sampling.trajectory import passes_in_words

NOTHING = "nothing"
PLACES = ("Columns", "Rows", "Blocks")
EXPLAIN = (
    "Vary up to three settings. All else is as in column A, with the class or prompt, seed, NFE and guidance above. "
    "Values: `16, 32, 64`, ranges `0-7` or `0.2-0.8:0.2`, prompts with semicolons between them. A sweep goes on when "
    "this page is closed; its address finds it again."
)
MAX_TEXT, MAX_LINK = 2000, 6000
MOST_PROMPTS = MAX_CELLS * (MOST_CHARACTERS + 4)  # characters of an axis of prompts: quoted, with marks between
PARTS = ("axis", "text", "names")


class SweepView(Scripted):
    """A sweep's tiles as they come. Value: {"id", "query"}; the browser pulls the rest from /pf/sweeps/ID."""

    module = "sweep.js"
    markup = '<div class="pf-sweep"></div>'


def routes(state: AppState) -> list[Route]:
    """What a sweep is and which tiles came after the first `after`; its sheet."""

    def status(request: Request) -> Response:
        job = state.sweeps.get(request.path_params["sweep_id"])
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 6:
            raise InputError("after must be a whole number from 0.")
        tiles = described(state, job, int(after))
        return JSONResponse(tiles, headers={"cache-control": "no-store"})

    def sheet(request: Request) -> Response:
        job = state.sweeps.get(request.path_params["sweep_id"])
        buffer = io.BytesIO()
        write_sheet(buffer, job.sweep, list(job.done))
        name = {"content-disposition": 'attachment; filename="sweep.png"', "cache-control": "no-store"}
        return Response(buffer.getvalue(), media_type="image/png", headers=name)

    table = {"/pf/sweeps/{sweep_id}": status, "/pf/sweeps/{sweep_id}/sheet.png": sheet}
    return [Route(path, guarded(answer)) for path, answer in table.items()]


def described(app: AppState, job: SweepJob, after: int) -> dict[str, Any]:
    sweep, state = job.sweep, job.state  # the state first: what is done then is complete
    done, ahead = list(job.done), app.worker.ahead(job)
    return {
        "state": state,
        "message": job.message or (f"Waiting: {ahead} before it." if ahead else ""),
        "total": job.total,
        "spent": job.spent(),
        "cost": str(job.cost),
        "fixed": title(sweep),
        "shape": sweep.shape,
        "headings": [[heading(sweep, axis, i) for i in range(n)] for axis, n in enumerate(sweep.shape)],
        "tiles": [_tile(app, d) for d in done[after:]],
        "ready": len(done),
    }


def _tile(app: AppState, done: Done) -> dict[str, Any]:
    values = ", ".join(value_words(name, value) for name, value in done.cell.values.items())
    return {
        "explore": None if done.image is None else run_link(app, done.cell.spec),
        "place": done.cell.place,
        "values": values,
        "image": None if done.image is None else data_address(done.image),
        "error": done.error,
        "cost": f"{done.nfe} NFE, {passes_in_words(done.forwards, done.token_forwards)}, {done.seconds:.2f} s",
    }


def run_link(app: AppState, spec: SampleSpec) -> str:
    """The query that opens Explore with this complete recipe, and runs it."""
    return urlencode({"tab": "explore"} | parts_of(app, spec) | links.whole(spec) | {"run": links.NOW})


class SweepPanel:
    """Components and handlers, which are plain methods. `compare` is the tab whose column A is the base."""

    def __init__(self, compare):
        self.compare, self.state = compare, compare.state
        self.sweeps = Sweeps(self.state)
        self.job_id, self.loaded = gr.State(""), gr.State(None)
        with gr.Accordion("Sweep", open=False, elem_id="sweep", elem_classes="pf-advanced") as self.box:
            gr.Markdown(EXPLAIN)
            with gr.Row(elem_classes="pf-shared"):
                firsts = zip(PLACES, ("sampler", "nfe", NOTHING), strict=True)
                self.axes = [SweepAxis(self, place, first) for place, first in firsts]
            self.cost = PlainText("pf-cost", elem_id="sweep-cost")
            with gr.Row(elem_classes="pf-buttons"):
                self.run = gr.Button("Run sweep", elem_id="sweep-run", min_width=120, scale=0)
                self.stop = gr.Button("Stop", elem_id="sweep-stop", min_width=80, scale=0)
                self.load = gr.UploadButton(
                    "Load sweep", file_types=[".png"], elem_id="sweep-load", elem_classes="pf-quiet", scale=0
                )
                self.forget = gr.Button("Use column A again", visible=False, elem_classes="pf-quiet", scale=0)
            self.status = StatusLine(elem_id="sweep-said")
            self.view = SweepView(elem_id="sweep-view")
        self.wire()

    def wire(self) -> None:
        column = self.compare.columns[0]
        self.form = [c for axis in self.axes for c in axis.controls.values()]
        given = {"loaded": self.loaded} | {k: c for axis in self.axes for k, c in axis.controls.items()}
        given |= self.compare.inputs
        for axis in self.axes:
            inputs = {"axis": axis.axis, "network": column.network}
            on(axis.axis.input, partial(self.on_axis, axis), inputs, [axis.text, axis.names])
        asked = {"loaded": self.loaded, "network": column.network}
        asked |= {axis.key: axis.axis for axis in self.axes}
        moved = on(column.moved.then, self.on_network, asked, self.form)

        def cost(triggers) -> None:
            on(triggers, self.on_cost, given, [self.cost], trigger_mode="always_last")

        compared = [self.compare.nfe, self.compare.cfg, column.sampler]
        cost([*(c.change for c in self.form), *(c.input for c in compared), self.box.expand])
        cost(moved.then)
        for columns_set in self.compare.columns_set:
            cost(on(columns_set, self.on_network, asked, self.form).then)
        on(self.run.click, self.on_run, given, [self.view, self.job_id, self.cost], status=self.status, busy=self.run)
        on(self.stop.click, self.on_stop, {"job_id": self.job_id}, status=self.status)
        filled = [self.loaded, self.forget, *self.form]
        cost(on(self.load.upload, self.on_sheet, {"path": self.load}, filled, status=self.status).then)
        forgotten = on(self.forget.click, self.on_forget, {}, [self.loaded, self.forget], status=self.status)
        cost(on(forgotten.then, self.on_network, asked, self.form).then)

    def on_load(self, demo: gr.Blocks, address: Heading) -> None:
        """To be called in the Blocks' context: a link's sweep."""
        outputs = [self.view, self.job_id, self.box, self.loaded, self.forget, *self.form]
        axes = {"loaded": self.loaded} | {axis.key: axis.axis for axis in self.axes}
        for event, handler in ((demo.load, self.from_link), (address.travelled, travelling(self.from_link, "Compare"))):
            on(event, handler, axes, outputs, status=self.status)

    # what there is to choose

    def choices(self, axis: str, network: str | None) -> list[tuple[str, str]]:
        """(label, name) of an axis whose values are names."""
        if axis == "checkpoint":
            return [(name, name) for name in self.state.networks()]
        if axis == "sampler":
            return controls.samplers(self.state)
        if axis == "difficulty":
            return CHOICES
        return [(name, name) for name in controls.classes(self.state, network)]

    def known(self, network: str | None) -> list[tuple[str, str]]:
        """(label, name) of what may vary on a network; all that may on any where it is not here."""
        taken = [(axis_words(name), name) for name in axes_of(self.conditioner(network))]
        return [(NOTHING, NOTHING), *taken]

    def conditioner(self, network: str | None) -> Conditioner | None:
        try:
            return self.state.bundle(network).conditioner if network else None
        except InputError:
            return None

    # handlers: each returns {component: update}; nothing here trusts the browser

    def on_axis(self, at: SweepAxis, axis: str, network: str | None) -> dict:
        """A place's two boxes of values, for what is to vary there."""
        axis = axis if isinstance(axis, str) else NOTHING
        if axis in NAMED:
            choices = self.choices(axis, network)
            shown = gr.update(visible=True, choices=choices, value=_start(choices))
            return {at.text: gr.update(visible=False), at.names: shown}
        begin = "" if axis == NOTHING else suggested(axis, self.conditioner(network))
        hidden = gr.update(visible=False)
        return {
            at.text: hidden if axis == NOTHING else gr.update(visible=True, value=begin),
            at.names: hidden,
        }

    def on_network(self, loaded: dict | None, network: str | None, **axes: Any) -> dict:
        """Column A has another network: only what that takes is offered, and an axis of classes becomes one of prompts,
        or the other way round. A loaded sheet has a network of its own."""
        if loaded is not None:
            return {}
        known, updates = self.known(network), {}
        names = [name for _, name in known]
        for at in self.axes:
            before = axes[at.key] if axes[at.key] in (*names, *ASKED) else NOTHING
            now = next((name for name in ASKED if name in names), NOTHING) if before in ASKED else before
            updates[at.axis] = gr.update(choices=known, value=now)
            if now != before or now == "label":  # classes are others
                updates |= self.on_axis(at, now, network)
        return updates

    def sweep(self, loaded: dict | None, values: Mapping[str, Any]) -> Sweep:
        """What the controls say. Raises InputError."""
        base = self.compare.specs(values)[0] if loaded is None else SampleSpec.from_dict(loaded)
        classes = self.state.bundle(base.checkpoint).conditioner
        axes: dict[str, list] = {}
        for place in self.axes:
            axis, given = place.asked(values)
            if axis in (None, "", NOTHING):
                continue
            if axis in axes:
                raise InputError(f"{axis} is on two axes: choose another for one of them.")
            most = MOST_PROMPTS if axis == "prompt" else MAX_TEXT
            if isinstance(given, str) and len(given) > most:
                raise InputError(f"The values of {axis} take {len(given):,} characters: give at most {most:,}.")
            axes[axis] = parse(axis, given, classes)
        if not axes:
            raise InputError("Choose something to vary.")
        return Sweep(replace(base, seeds=base.seeds[:1], labels=base.labels[:1]), axes)

    def on_cost(self, loaded: dict | None, **values: Any) -> dict:
        try:
            return {self.cost: stated(self.sweeps.cost(self.sweep(loaded, values)))}
        except InputError as e:
            return {self.cost: str(e)}

    def on_run(self, loaded: dict | None, request: gr.Request = None, **values: Any) -> dict:
        job = self.sweeps.start(self.sweep(loaded, values), lane_of(request))
        shown, losses = {"id": job.id, "query": link(job)}, "\n".join(job.sweep.notes(self.state.bundle))
        return {self.view: shown, self.job_id: job.id, self.cost: stated(job.cost), self.status: losses}

    def on_stop(self, job_id: str) -> dict:
        if not job_id or not self.state.sweeps.get(job_id).busy:
            raise InputError("No sweep of this page is running.")
        self.sweeps.stop(job_id)
        return {self.status: ""}

    def on_forget(self) -> dict:
        """Column A is the base again."""
        return {self.loaded: None, self.forget: gr.update(visible=False), self.status: ""}

    def on_sheet(self, path: str) -> dict:
        """A sheet's sweep into the controls."""
        sweep = read_sweep(uploaded(path))
        return self.filled(sweep) | {self.status: f"Loaded: {title(sweep)}. Run sweep repeats it."}

    def filled(self, sweep: Sweep) -> dict[Component, Any]:
        """The form for a sweep from elsewhere: its base stands for column A."""
        updates: dict[Component, Any] = {self.loaded: sweep.base.to_dict(), self.forget: gr.update(visible=True)}
        places = [*sweep.axes.items(), *[(NOTHING, [])] * (MAX_AXES - len(sweep.axes))]
        for at, (axis, values) in zip(self.axes, places, strict=True):
            named = axis in NAMED
            choices = self.choices(axis, sweep.base.checkpoint if axis == "label" else None) if named else []
            known = [v for _, v in choices]
            null = controls.class_word(self.state, sweep.base.checkpoint, None)
            given = [null if v is None else str(v) for v in values] if named else []
            choices += [(v, v) for v in given if v not in known]
            updates |= {
                at.axis: gr.update(choices=self.known(sweep.base.checkpoint), value=axis),
                at.text: gr.update(value=text_of(values, name=axis), visible=not named and axis != NOTHING),
                at.names: gr.update(choices=choices, value=given, visible=named),
            }
        return updates

    # links

    def from_link(self, request: gr.Request, loaded: dict | None = None, **axes: Any) -> dict:
        """What the page's address asks for: a sweep that is kept, or its settings; for a link of columns, what there is
        to vary on the network of its first."""
        asked = dict(request.query_params)
        if "sweep" not in asked:
            try:
                return self.on_network(loaded, self.compare.parts_of(asked)[0]["checkpoint"], **axes)
            except (InputError, ValueError, TypeError, AttributeError):  # Compare says what is wrong
                return {}
        kept = asked["sweep"] in self.state.sweeps
        sentence = "" if kept else "That sweep is not kept any more; its settings are here: Run sweep draws it again."
        updates: dict[Component, Any] = {}
        try:
            updates = self.filled(Sweep.from_dict(parse_json(asked.get("axes", "")[:MAX_LINK])))
        except (ValueError, TypeError, KeyError, InputError):
            sentence = sentence if kept else "That sweep is not kept any more."
        updates |= {self.view: {"id": asked["sweep"], "query": None}} if kept else {}
        job_id = asked["sweep"] if kept else ""
        return updates | {self.job_id: job_id, self.box: gr.update(open=True), self.status: sentence}


class SweepAxis:
    """One of the sweep's places: what varies there, and its values as text or as names."""

    def __init__(self, panel: SweepPanel, place: str, first: str):
        self.key = place.lower()
        named = first in NAMED
        with gr.Column(min_width=230):
            known = panel.known(panel.state.first_network())
            self.axis = controls.Listed(known, value=first, label=place, elem_id=f"sweep-{self.key}")
            text, shown = "" if named or first == NOTHING else suggested(first), not named and first != NOTHING
            self.text = gr.Textbox(text, label="Values", visible=shown, elem_id=f"sweep-{self.key}-values")
            choices = panel.choices(first, None) if named else []
            value = _start(choices)
            self.names = gr.Dropdown(choices, value=value, label="Values", multiselect=True, visible=named)
        self.controls = {f"{self.key}.{k}": c for k, c in zip(PARTS, (self.axis, self.text, self.names), strict=True)}

    def asked(self, values: Mapping[str, Any]) -> tuple[str | None, Any]:
        """(what varies, its values as text or names), from a handler's values."""
        axis, text, names = (values[f"{self.key}.{part}"] for part in PARTS)
        axis = axis if isinstance(axis, str) else None
        return axis, (names or []) if axis in NAMED else str(text or "")


def _start(choices: list[tuple[str, str]]) -> list[str]:
    """The names that an axis starts with: the samplers worth seeing first, of others the first three."""
    names = [name for _, name in choices]
    return [name for name in names if name in SWEEP_SAMPLERS] or names[:3]


def stated(cost: Cost) -> str:
    return f"Cost: {str(cost).rstrip('.')}."


def link(job: SweepJob) -> str:
    """The query that finds a sweep, and makes it again once it is not kept any more."""
    recipe = json.dumps(job.sweep.to_dict(), separators=(",", ":"))
    query = {"tab": "compare", "sweep": job.id} | ({"axes": recipe} if len(recipe) <= MAX_LINK else {})
    return urlencode(query)
