"""Evidence: every claim of the paper's page as a card: its figure, ours, what came out, and a button to measure it."""

import asyncio
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.components.plot.plot import PLOTLY
from app.components.scripted import Scripted
from app.components.tour.tour import Heading
from app.controls import NETWORKS
from app.handlers import StatusLine, on, travelling
from app.private import payload
from app.server.routes import guarded
from app.server.static import FRESH
from app.state import AppState
from app.tabs.evidence.jobs import FROM_A_SHELL, Studies
from app.tabs.evidence.laws import Laws, columns_of
from app.tabs.evidence.saved import FORMATS, sent
from app.worker import lane_of
from pf_core.errors import InputError
from pf_core.evaluation import evidence
from pf_core.evaluation.studies import STUDIES
from pf_core.figures import chart_page

TITLE = "Evidence"
LIVE = "timestep_laws"  # the study whose card has knobs
OLD = "What is kept was measured by another version: measure it again."
_MARKUP = Path(__file__).with_name("evidence.html").read_text(encoding="utf-8")


class EvidencePage(Scripted):
    """The wall of cards. Value: {"network", "library"} and, in answer to a press, {"study", "job": what measures it or
    None, "error": why there is none, "answer": its number}. Events: `asked` {"study"} to measure it, `halted` {"job"},
    `chosen` {"network"}."""

    module = "evidence.js"
    markup = _MARKUP
    may_trigger = ("asked", "halted", "chosen")


class EvidenceTab:
    def __init__(self, state: AppState):
        self.state, self.studies, self.answers = state, Studies(state), itertools.count()
        first = state.first_network()
        about = {"elem_classes": [NETWORKS], "elem_id": "evidence-network", "scale": 0, "min_width": 300}
        with gr.Row(elem_classes="pfe-row"):
            self.network = gr.Dropdown(state.network_choices(), value=first, label="Network", **about)
        self.status = StatusLine(elem_id="evidence-status")
        self.page = EvidencePage(self.value(first), elem_id="evidence-page")
        named = {"network": self.network}
        on(self.network.change, self.on_network, named, [self.page], status=self.status)
        on(self.page.asked, self.on_asked, named, [self.page], status=self.status)
        on(self.page.chosen, self.on_chosen, {}, [self.network, self.page], status=self.status)
        on(self.page.halted, self.on_halted, {}, [self.page], status=self.status)

    def on_load(self, demo: gr.Blocks, address: Heading) -> None:
        for event, handler in ((demo.load, self.from_link), (address.travelled, travelling(self.from_link, TITLE))):
            on(event, handler, {"shown": self.network}, [self.network, self.page], status=self.status)

    def from_link(self, request: gr.Request, shown: str | None = None) -> dict:
        """The network that the page's address names, on its own tab without one the first, and its wall: a list that
        is not drawn yet does not say that it changed. shown: the network until then, which stays where that one is not
        here. Raises InputError in that case."""
        if request.query_params.get("tab") != TITLE.lower():
            return {}
        asked = request.query_params.get("network", "") or self.state.first_network()
        if asked in self.state.networks():
            return {self.network: asked, self.page: self.value(asked), self.status: ""}
        if asked:
            raise InputError(f"There is no network {asked:.80} here{f'; this is {shown}' if shown else ''}.")
        return {}

    def value(self, network: str | None) -> dict[str, Any]:
        return {"network": network, "library": PLOTLY.as_posix()}

    def on_network(self, network: str) -> dict:
        self.state.bundle(network)
        return {self.page: self.value(network), self.status: ""}

    def on_asked(self, network: str, event: gr.EventData, request: gr.Request) -> dict:
        study = _study(payload(event).get("study"))
        try:
            found = {"job": self.studies.start(study, network, lane_of(request)).id}
        except InputError as e:  # beside the button that was pressed: the tab's own line may be screens away
            found = {"job": None, "error": str(e)}
        answer = {"study": study, "answer": next(self.answers)}  # the number, so that an equal one is news too
        return {self.page: self.value(network) | found | answer, self.status: ""}

    def on_chosen(self, event: gr.EventData) -> dict:
        """A card leads to the network that its study is made for."""
        name = self.state.bundle(payload(event).get("network")).name
        return {self.network: name, self.page: self.value(name), self.status: ""}

    def on_halted(self, event: gr.EventData) -> dict:
        self.state.worker.stop(self.state.studies.get(payload(event).get("job")))
        return {self.status: ""}


def _study(name: Any) -> str:
    """Raises InputError for a name that is no study's."""
    return STUDIES[name].name


class Known(NamedTuple):
    """Two results of a study on a network, the one that is shown first; old: whether what is kept cannot be read."""

    first: dict[str, Any] | None
    second: dict[str, Any] | None
    old: bool


def _readable(name: str, result: dict[str, Any]) -> bool:
    """Whether this version can show a study's result: what is kept beside a run may be another one's, or anything."""
    about = STUDIES[name].fn.about
    try:
        about.line(result), about.verdict(result), about.chart(result), evidence.made(result)
    except Exception:
        return False
    return result.get("study") == name


def routes(state: AppState) -> list[Route]:
    studies = Studies(state)

    def network_of(request: Request) -> str:
        return state.bundle(request.query_params.get("network", "")).name

    def known_of(name: str, network: str, asked: Request) -> Known:
        """What is known of just this network: first what the asker measured here, by ?job=ID (or, with ?kept, last),
        then what is kept; where there is neither, what others measured here last."""
        digest = state.bundle(network).hash
        kept = evidence.kept(name, network, digest)
        full = kept if kept and _readable(name, kept) else None
        own = studies.own(asked.query_params.getlist("job"), name, network, digest)
        job = own if own or full else studies.latest(name, network, digest)
        both = [known for known in (job and job.result, full) if known]
        first, second, *_ = [*(reversed(both) if "kept" in asked.query_params else both), None, None]
        return Known(first, second, old=bool(kept) and not full)

    def wall(request: Request) -> Response:
        network = network_of(request)
        cards = [card(name, network, known_of(name, network, request)) for name in STUDIES]
        return JSONResponse({"network": network, "cards": cards}, headers=FRESH)

    def card(name: str, network: str, found: Known) -> dict[str, Any]:
        entry, known = STUDIES[name], found.first
        about = entry.fn.about
        line, whole = (about.line(known), about.verdict(known)) if known else ("", "")
        runs_here = about.reads == "network"
        return {
            "study": name,
            "label": entry.label.rstrip("."),
            "sentence": about.claim.sentence if about.claim else "",
            "where": about.claim.where if about.claim else "",
            "verdict": line,
            "whole": whole if whole != line else "",
            "known": bool(known),
            "old": OLD if found.old and not known else "",
            "how": evidence.how(name, network),
            "runs_here": runs_here,
            "shell": "" if runs_here else f"This study {FROM_A_SHELL[about.reads]}: it is measured from a shell.",
            "refused": evidence.refusal(name, state.bundle(network)) if runs_here and not known else "",
            "made_for": made_for(about.network, network),
            "live": name == LIVE,
        }

    def made_for(name: str, network: str) -> str:
        """The network that a study is made for, where that is another one, and here."""
        return name if name != network and name in state.networks() else ""

    def detail(request: Request) -> Response:
        name, network = _study(request.path_params["study"]), network_of(request)
        about, found = STUDIES[name].fn.about, known_of(name, network, request)
        known, other = found.first, found.second
        chart = about.chart(known) if known else None
        paper = about.claim.chart if about.claim else None
        wide, beside = (columns_of(request, name) for name in ("columns", "beside"))
        return JSONResponse(
            {
                "ours": chart and chart_page.draw(chart.narrowed(wide)),
                "note": chart.note if chart else "",
                "paper": paper and chart_page.draw(paper.narrowed(beside)),
                "paper_note": paper.note if paper else "",
                "made": evidence.made(known) if known else "",
                "command": known.get("command", "") if known else "",
                "files": FORMATS if known else (),
                "other": evidence.made(other) if other else "",
                "card": card(name, network, found),
            },
            headers=FRESH,
        )

    async def saved(request: Request) -> Response:
        name = _study(request.path_params["study"])

        def shown() -> dict[str, Any]:
            network = network_of(request)
            if found := known_of(name, network, request).first:
                return found
            raise InputError(f"There is no result of {name} on {network} here.")

        return await sent(state, await asyncio.to_thread(shown), request.query_params.get("format", ""))

    def cost(request: Request) -> Response:
        name, network = _study(request.path_params["study"]), network_of(request)
        try:
            return JSONResponse({"cost": studies.cost(name, network)}, headers=FRESH)
        except InputError as e:
            return JSONResponse({"refused": str(e)}, headers=FRESH)

    def job(request: Request) -> Response:
        return JSONResponse(studies.describe(state.studies.get(request.path_params["job"])), headers=FRESH)

    table = {
        "/pf/evidence": wall,
        "/pf/evidence/laws": Laws(state).answer,
        "/pf/evidence/jobs/{job}": job,
        "/pf/evidence/{study}": detail,
        "/pf/evidence/{study}/cost": cost,
        "/pf/evidence/{study}/file": saved,
    }
    return [Route(path, guarded(answer)) for path, answer in table.items()]


def build(state: AppState) -> EvidenceTab:
    return EvidenceTab(state)
