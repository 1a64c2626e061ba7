"""Compare: two to four runs from the same noise, side by side on one clock, and how they differ."""

import contextlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from gradio.components import Component
from starlette.routing import Route

from app import controls, links
from app.changed import Changed
from app.components.tour.tour import Heading
from app.components.viewer.viewer import FrameViewer, manifest
from app.controls import KnobGroups, network_choice
from app.handlers import SENT, PlainText, StatusLine, enabled, on, travelling
from app.limits import COLUMNS, MAX_IMAGES, MAX_NFE, SEED_RANGE
from app.ranking import PARTS, Ranking
from app.runform import MAX_CFG
from app.state import AppState, title
from app.store import StoredRun
from app.tabs.compare import between
from app.tabs.compare import sweep_panel as sweep
from app.worker import lane_of
from pf_core.bounded import parse_json
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.recommended import Opening, Shown
from pf_core.presets import EQUAL_NFE, PRESETS, Preset, opening_of, recommended_columns, rule
from pf_core.registry import as_text, number, whole
from pf_core.samplers import SAMPLERS
from pf_core.sampling.recommended import scale_of
from pf_core.sampling.run import SampleSpec

TITLE = "Compare"
MOST = len(COLUMNS)
UNFOLDED = "Comparison and settings"
SAME = "Same noise, same class, same cost: only what the columns say differs."
EMPTY = "Pick a comparison, or set the columns yourself, and press Run all: every column starts from the same noise."


def routes(state: AppState) -> list[Route]:
    """Of the sweep's tiles and sheet, and of what two runs differ by."""
    return [*sweep.routes(state), *between.routes(state)]


class Column:
    """One run's controls: network, sampler and its knobs. Their names in a handler begin with the column's letter."""

    def __init__(self, state: AppState, letter: str, network: str | None, sampler: str, visible: bool):
        self.state, self.letter = state, letter
        self.before = gr.State(network)  # the network that the knobs were last set for
        with gr.Column(visible=visible, min_width=200, elem_classes="pf-column") as self.box:
            self.network = network_choice(state, network, f"{letter}: network")
            self.sampler = controls.Listed(controls.samplers(state), value=sampler, label="Sampler")
            with gr.Accordion("Sampler settings", open=False, elem_classes="pf-advanced"):
                start = controls.start(state, network)
                self.knobs = KnobGroups(SAMPLERS, sampler, prefix=f"{letter}.", start=start.settings)
                self.ranking = Ranking(state, network, sampler, prefix=f"{letter}.")
        self.inputs = {f"{letter}.network": self.network, f"{letter}.sampler": self.sampler} | self.knobs.inputs
        self.inputs |= self.ranking.inputs
        self.outputs = [self.box, self.network, self.sampler, self.before, *self.knobs.outputs, *self.ranking.outputs]
        moved = {"network": self.network, "before": self.before} | self.knobs.inputs
        self.moved = on(self.network.input, self.on_network, moved, [self.before, *self.knobs.inputs.values()])
        self.ranking.wire(self.network, self.sampler)
        on(self.sampler.input, self.knobs.show, {"chosen": self.sampler}, list(self.knobs.groups.values()), **SENT)

    def on_network(self, network: str, before: str, **values: Any) -> dict[Component, Any]:
        """Knobs that nobody has touched move to what the new network recommends."""
        old, new = (controls.start(self.state, name).settings for name in (before, network))
        return {self.before: network} | self.knobs.moved(old, new, values)

    def part(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """This column's part of a recipe. Raises InputError."""
        sampler = SAMPLERS[values[f"{self.letter}.sampler"]].name
        network, settings = values[f"{self.letter}.network"], self.knobs.settings(sampler, values)
        part = {"checkpoint": network, "sampler": sampler, "settings": settings}
        return part | self.ranking.part(sampler, values)

    def updates(self, part: Mapping[str, Any] | None) -> dict[Component, Any]:
        """Set from a part of a recipe; None hides the column. Raises InputError."""
        if part is None:
            return {self.box: gr.update(visible=False)}
        settings = SAMPLERS[part["sampler"]].settings(part.get("settings") or {})
        begun = self.knobs.begin(controls.start(self.state, part["checkpoint"]).settings)
        stated = self.knobs.updates(part["sampler"], settings)
        return (
            self.ranking.asked(part["checkpoint"], part["sampler"], part)
            | {
                self.box: gr.update(visible=True),
                self.network: gr.update(value=part["checkpoint"]),
                self.sampler: gr.update(value=part["sampler"]),
                self.before: part["checkpoint"],
            }
            | controls.together(begun, stated)
        )


def told(preset: Preset, opening: Opening, shown: Shown) -> str:
    """What stands under a comparison that is set: what it compares, and how its seed was chosen."""
    return f"{preset.caption}\n{rule(opening, shown)}"


class Compare:
    """The tab's components and its handlers, which are plain methods."""

    def __init__(self, state: AppState):
        self.state = state
        preset, self.begins = self.first_opening()
        self.opened = gr.State(preset.name if self.begins else "")  # the comparison that is set, if it opens on a seed
        with gr.Row(elem_classes="pf-folding", elem_id="compare-form"):
            with gr.Accordion(UNFOLDED, open=True, elem_classes="pf-fold") as self.fold:
                self.build_form()
            with gr.Row(elem_classes="pf-buttons"):
                self.run = gr.Button(
                    "Run all", variant="primary", elem_id="compare-run", min_width=100, scale=0, interactive=False
                )
                self.stop = gr.Button("Stop", variant="stop", elem_id="compare-stop", min_width=80, scale=0)
                self.changed = Changed("compare-changed")
        self.status = StatusLine(elem_id="compare-said")
        self.viewer = FrameViewer(manifest(empty=EMPTY, columns=True), elem_id="compare-viewer")
        self.ids = gr.State([])  # of the runs that are shown
        self.mine = gr.State([])  # of those that were started from this page: the next ones replace them
        self.wire()
        self.sweep = sweep.SweepPanel(self)

    def build_form(self) -> None:
        first = self.state.first_network()
        with gr.Row(elem_classes="pf-presets", elem_id="compare-presets"):
            here = [p for p in PRESETS.values() if not self.missing(p)]  # where none can run, each says what it needs
            self.presets = [
                (gr.Button(p.label, size="sm", min_width=120, elem_classes="pf-preset"), p)
                for p in here or PRESETS.values()
            ]
        caption = SAME
        if self.begins:
            caption = told(PRESETS[self.opened.value], self.begins, self.begins.largest)
        self.caption = PlainText("pf-caption", caption)
        visible = self.begins is not None
        self.typical = gr.Button(
            "A typical seed", size="sm", visible=visible, elem_id="compare-typical", scale=0, elem_classes="pf-preset"
        )
        with gr.Row(elem_classes="pf-shared"):
            self.build_shared(first)
        with gr.Row(elem_classes="pf-columns", equal_height=False):
            names = [name for _, name in controls.samplers(self.state, first)]
            pair = self.begins.samplers if self.begins else (names[0], names[-1])
            chosen = [*pair, *names[1:-1], *names][:MOST]
            self.columns = [Column(self.state, COLUMNS[i], first, chosen[i], i < 2) for i in range(MOST)]

    def build_shared(self, network: str | None) -> None:
        self.count = gr.Slider(2, MOST, value=2, step=1, label="Columns", min_width=120)
        seed, images, scale, label = 0, 2, 1.0, None
        if self.begins:
            shown, images, scale = self.begins.largest, 1, self.begins.cfg_scale
            seed, label = shown.seed, shown.label
        self.label = controls.Listed(**controls.condition(self.state, network, label), min_width=120)
        self.asked_of = gr.State(network)  # the network for which it was asked
        self.seed = gr.Number(seed, label="Seed", precision=0, minimum=0, maximum=SEED_RANGE, min_width=90)
        self.images = gr.Slider(1, MAX_IMAGES, value=images, step=1, label="Images", min_width=120)
        self.nfe = gr.Number(EQUAL_NFE, label="NFE, each", precision=0, minimum=1, maximum=MAX_NFE, min_width=90)
        self.cfg = gr.Slider(0, MAX_CFG, value=scale, step=0.1, label="Guidance", min_width=140)
        self.begun_scale = gr.State(scale)  # the guidance that the page set last

    def wire(self) -> None:
        self.shared = {
            "count": self.count,
            "label": self.label,
            "seed": self.seed,
            "images": self.images,
            "nfe": self.nfe,
            "cfg": self.cfg,
        }
        self.inputs = self.shared | {k: c for column in self.columns for k, c in column.inputs.items()}
        self.settable = [c for column in self.columns for c in column.outputs]
        told = [self.caption, self.typical, self.opened, self.begun_scale, self.asked_of]
        self.set_by_preset = [*told, *self.shared.values(), *self.settable]
        self.columns_set = []  # events after which the columns are others than a person chose
        for button, preset in self.presets:
            asked = {"label": self.label}
            chosen = on(button.click, partial(self.on_preset, preset), asked, self.set_by_preset, status=self.status)
            chosen.then(None, js="() => window.__pf.say('columns set')")  # the tour waits for it
            self.columns_set.append(chosen.then)
        asked = {"opened": self.opened}
        typical = on(self.typical.click, self.on_typical, asked, self.set_by_preset, status=self.status)
        self.columns_set.append(typical.then)
        on(self.count.input, self.on_count, {"count": self.count}, [column.box for column in self.columns])
        network = {"network": self.columns[0].network, "label": self.label, "was": self.asked_of}
        on(self.columns[0].moved.then, self.on_network, network, [self.label, self.asked_of])
        guided = {"count": self.count, "cfg": self.cfg, "begun": self.begun_scale}
        guided |= {column.letter: column.network for column in self.columns}
        for column in self.columns:
            on(column.moved.then, self.on_networks, guided, [self.cfg, self.begun_scale])
            chosen = [column.network.input, column.sampler.input]
            on(chosen, self.on_own, {}, [self.caption, self.typical, self.opened], **SENT)
        self.changed.watch(self.state, self.viewer, self.inputs, self.specs)
        on(
            self.run.click, self.on_run, {"before": self.mine, **self.inputs},
            [self.viewer, self.ids, self.fold, self.mine], status=self.status,
            busy=self.run, api_name="compare", show_progress="hidden", queue=False,
        )  # fmt: skip
        on(self.stop.click, self.on_stop, {"ids": self.ids}, status=self.status)

    def on_load(self, demo: gr.Blocks, address: Heading) -> None:
        """To be called in the Blocks' context: a link's columns and runs."""
        outputs = [self.viewer, self.ids, self.mine, self.fold, *self.set_by_preset]
        asked = on(demo.load, self.from_link, {}, outputs, status=self.status)
        enabled(asked, self.run)
        on(address.travelled, travelling(self.from_link, TITLE), {}, outputs, status=self.status)
        self.sweep.on_load(demo, address)

    # handlers: each returns {component: update}

    def first_opening(self) -> tuple[Preset | None, Opening | None]:
        """The comparison that the tab begins with and its opening, where the page's first network is compared with
        itself on a seed that its file names: so Run all shows a difference before anything is chosen."""
        first = self.state.first_network()
        for preset in PRESETS.values():
            if preset.opens and {c["checkpoint"] for c in preset.columns} == {first}:
                with contextlib.suppress(InputError):
                    return preset, opening_of(preset, self.state.bundle(first))
        return None, None

    def missing(self, preset: Preset) -> list[str]:
        """Networks of a comparison that are not here."""
        return [c["checkpoint"] for c in preset.columns if c["checkpoint"] not in self.state.networks()]

    def on_preset(self, preset: Preset, label: Any = None, typical: bool = False) -> dict:
        """A comparison, on the seed that its network's file names, if it does: chosen by a rule, which is stated; one
        of networks of prompts on its own prompt. label: what is asked for now, which stays where it can be drawn."""
        if missing := self.missing(preset):
            raise InputError(
                f"{preset.label} needs the network {missing[0]}, which is not here; set the columns yourself."
            )
        bundles = [self.state.bundle(c["checkpoint"]) for c in preset.columns]
        updates = self.on_own() | {
            self.caption: preset.caption,
            self.count: len(preset.columns),
            self.nfe: preset.columns[0]["nfe"],
            self.status: "",
        }
        if preset.prompt or label is not None:
            updates |= self.asked_for(preset.columns[0]["checkpoint"], preset.prompt or label)
        if preset.prompt and (scales := list(filter(None, map(scale_of, bundles)))):
            updates |= self.guided(scales[0])
        if (opening := opening_of(preset, bundles[0])) is not None:
            updates |= self.opened_on(preset, opening, opening.typical if typical else opening.largest)
        return updates | self.set_columns(recommended_columns(preset, bundles))

    def opened_on(self, preset: Preset, opening: Opening, shown: Shown) -> dict[Component, Any]:
        return {
            self.caption: told(preset, opening, shown),
            **self.asked_for(preset.columns[0]["checkpoint"], shown.label),
            self.seed: shown.seed,
            self.images: 1,
            self.typical: gr.update(visible=True),
            self.opened: preset.name,
        } | self.guided(opening.cfg_scale)

    def on_typical(self, opened: str) -> dict:
        """The same comparison, on a seed whose difference is the median."""
        if opened not in PRESETS:
            raise InputError("Pick a comparison above first.")
        return self.on_preset(PRESETS[opened], typical=True)

    def set_columns(self, parts) -> dict[Component, Any]:
        padded = [*parts, *[None] * (MOST - len(parts))]
        updates: dict[Component, Any] = {}
        for column, part in zip(self.columns, padded, strict=True):
            updates |= column.updates(part)
        return updates

    def on_count(self, count: Any) -> dict:
        """As many columns as there are to be; nothing changes while no number stands there."""
        if not isinstance(count, int | float):
            return {}
        return {column.box: gr.update(visible=i < count) for i, column in enumerate(self.columns)}

    def on_network(self, network: str, label: str, was: str | None) -> dict:
        return self.asked_for(network, controls.kept(self.state, network, label, was))

    def asked_for(self, network: str, label: Any) -> dict[Component, Any]:
        return {self.label: gr.update(**controls.condition(self.state, network, label)), self.asked_of: network}

    def on_own(self) -> dict:
        """Columns of a person's own: what was said of a comparison, and of its seed, is said of them no more."""
        return {self.caption: SAME, self.typical: gr.update(visible=False), self.opened: ""}

    def on_networks(self, count: Any, cfg: Any, begun: float, **networks: str) -> dict:
        """Guidance that nobody has touched moves to what the first of the columns' networks recommends that does."""
        if not controls.same(cfg, begun) or not isinstance(count, int | float):
            return {}
        shown = [networks[letter] for i, letter in enumerate(COLUMNS) if i < count]
        scales = [controls.start(self.state, network).cfg_scale for network in shown]
        return self.guided(next(filter(None, scales), 1.0))

    def guided(self, scale: float) -> dict[Component, Any]:
        return {self.cfg: scale, self.begun_scale: scale}

    def specs(self, values: Mapping[str, Any]) -> list[SampleSpec]:
        """One recipe a column. Raises InputError. Nothing here trusts the browser."""
        count = whole("The number of columns", values["count"], 2, MOST)
        return self.with_shared([column.part(values) for column in self.columns[:count]], values)

    def with_shared(self, parts: list[dict[str, Any]], values: Mapping[str, Any]) -> list[SampleSpec]:
        """Recipes of columns' parts and of what all columns share. Raises InputError."""
        first = whole("The seed", values["seed"], 0, SEED_RANGE)
        images = whole("The number of images", values["images"], 1, MAX_IMAGES)
        shared = {
            "labels": [controls.chosen_class(self.state, parts[0]["checkpoint"], values["label"])],
            "seeds": list(range(first, first + images)),
            "nfe": whole("NFE", values["nfe"], 1, MAX_NFE),
            "cfg_scale": number("The guidance scale", values["cfg"], 0, MAX_CFG),
        }
        return [SampleSpec(**part, **shared) for part in parts]

    def on_run(self, before: list[str], request: gr.Request = None, **values: Any) -> dict:
        """Start all columns' runs (those before stop) and show them."""
        specs = self.specs(values)
        shown = self.started(specs, values, lane=lane_of(request))
        self.state.halt(*before or [])
        return shown

    def started(
        self, specs: list[SampleSpec], values: Mapping[str, Any], lane: str = "", again: bool = False
    ) -> dict[Component, Any]:
        """All columns' runs, or none where one is refused. again: they are only what the address asks for."""
        runs: list[StoredRun] = []
        try:
            for letter, spec in zip(COLUMNS, specs, strict=False):
                runs.append(self.state.start(spec, lane=lane))
                runs[-1].label = f"{letter} · {title(spec)}"
        except InputError:
            self.state.halt(*(run.id for run in runs))
            raise
        ids = [run.id for run in runs]
        query = urlencode(self.link(ids, specs, values))
        shown = {self.viewer: manifest(runs, query=query, columns=True, again=again), self.mine: ids}
        return shown | self.showing(ids, specs)

    def showing(self, ids: list[str], specs: list[SampleSpec]) -> dict[Component, Any]:
        """The form folds to one line, which says what is shown."""
        return {self.ids: ids, self.fold: gr.update(open=False, label=in_short(specs)), self.status: ""}

    def on_stop(self, ids: list[str]) -> dict:
        self.state.halt(*ids or [])
        return {self.status: "" if ids else "Nothing is running."}

    # links

    def link(self, ids: list[str], specs: list[SampleSpec], values: Mapping[str, Any]) -> dict[str, Any]:
        shared = {name: values[name] for name in self.shared if name != "count"}
        columns = [json.dumps(links.column_of(s), separators=(",", ":")) for s in specs]
        named = {f"c{i + 1}": column for i, column in enumerate(columns)}
        return {"tab": TITLE.lower(), "runs": ",".join(ids)} | shared | named

    def from_link(self, request: gr.Request) -> dict:
        """What the page's address asks for: settings, and runs where they are still kept."""
        asked = dict(request.query_params)
        if asked.get("tab") != TITLE.lower() or not {"c1", "runs"} & set(asked):
            return {}
        try:
            parts = self.parts_of(asked)
            updates = self.shared_from(asked, parts) | self.set_columns(parts)
            updates |= self.on_own()
        except (InputError, ValueError, TypeError, AttributeError) as e:
            reason = e if isinstance(e, InputError) else "its columns are damaged."
            raise InputError(f"This link could not be read: {reason}") from None
        if asked.get("runs") == links.NOW:
            return updates | self.begun(updates, parts, lane_of(request))
        ids = asked.get("runs", "").split(",")[:MOST]
        if len(ids) != len(parts) or not all(i in self.state.runs for i in ids):
            sentence = "Those runs are not kept any more; their settings are here: press Run all to make them again."
            return updates | {self.status: sentence}
        runs: list[StoredRun] = [self.state.runs.get(i) for i in ids]
        return updates | self.showing(ids, [run.spec for run in runs]) | {self.viewer: manifest(runs, columns=True)}

    def begun(self, updates: Mapping[Component, Any], parts: list[dict[str, Any]], lane: str) -> dict[Component, Any]:
        """The runs that a link asks to start. Raises InputError."""
        values = {name: updates.get(each, each.value) for name, each in self.shared.items()}
        values |= {"label": updates[self.label]["value"], "count": len(parts)}
        return self.started(self.with_shared(parts, values), values, lane, again=True)

    def parts_of(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """The columns of a link. Raises InputError, or ValueError or TypeError for what is no list of three."""
        parts = []
        for key in (f"c{i + 1}" for i in range(MOST)):
            if key in asked:
                network, sampler, settings, *ranking = parse_json(asked[key])
                self.state.bundle(network)
                part = {"checkpoint": network, "sampler": SAMPLERS[sampler].name, "settings": settings}
                parts.append({k: v for each in ranking[:1] for k, v in each.items() if k in PARTS} | part)
        if len(parts) < 2:
            raise InputError("it names fewer than two columns.")
        return parts

    def shared_from(self, asked: Mapping[str, str], parts: list[dict[str, Any]]) -> dict[Component, Any]:
        network, label = parts[0]["checkpoint"], asked.get("label")
        if label is not None:
            controls.check_offered(self.state, network, label)
        updates = {self.count: len(parts)} | self.asked_for(network, label)
        limits = {"seed": (0, SEED_RANGE), "images": (1, MAX_IMAGES), "nfe": (1, MAX_NFE)}
        updates |= {self.shared[k]: whole(k, asked[k], *limits[k]) for k in limits if k in asked}
        return updates | ({self.cfg: number("cfg", asked["cfg"], 0, MAX_CFG)} if "cfg" in asked else {})


def build(state: AppState) -> Compare:
    return Compare(state)


def in_short(specs: list[SampleSpec]) -> str:
    """Runs of one comparison in a line: "A Euler | B Look-ahead · star · seeds 0 to 1 · 32 NFE"."""
    columns = [f"{letter} {title(spec)}" for letter, spec in zip(COLUMNS, specs, strict=False)]
    networks = list(dict.fromkeys(spec.checkpoint for spec in specs))
    if len(networks) > 1:
        columns = [f"{column} ({spec.checkpoint})" for column, spec in zip(columns, specs, strict=True)]
    first, last = specs[0].seeds[0], specs[0].seeds[-1]
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    label = specs[0].labels[0] or f"no {checkpoint.takes(specs[0].checkpoint)}"
    guidance = [f"guidance {as_text(specs[0].cfg_scale)}"] if specs[0].cfg_scale != 1 else []
    what = [*networks[: len(networks) == 1], label, seeds, f"{specs[0].nfe} NFE", *guidance]
    return " · ".join([" | ".join(columns), *what])
