"""Compare: two to four runs from the same noise, side by side on one clock, and how they differ."""

import html
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app import controls
from app.components.difference import number, panel
from app.components.viewer.viewer import FrameViewer, manifest
from app.controls import KnobGroups, network_choice
from app.state import MAX_IMAGES, MAX_NFE, Session, title
from app.store import ACTIVE, StoredRun
from app.tabs.compare import sweep_panel as sweep
from pf_core.errors import InputError
from pf_core.presets import EQUAL_NFE, PRESETS, Preset
from pf_core.samplers import SAMPLERS
from pf_core.sampling.compare import THRESHOLD
from pf_core.sampling.run import SampleSpec

TITLE = "Compare"
routes = sweep.routes  # of the sweep's tiles and sheet
MOST, LETTERS = 4, "ABCD"
SEED_RANGE, MAX_CFG = 2**31 - 1, 8
END, HERE = "the end", "the current step"
EMPTY = "Pick a comparison above, or set the columns yourself, and press Run: all of them start from the same noise."
_QUIET = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
_FRAMES = """(...given) => {
  const viewer = (window.__viewers || []).find((v) => v.root.closest("#compare-viewer"));
  const place = viewer ? { image: viewer.image, frames: viewer.runs.map((_, r) => viewer.frameIndex(r)) } : {};
  return [JSON.stringify(place), ...given.slice(1)];
}"""


class Column:
    """One run's controls: network, sampler and its knobs."""

    def __init__(self, tab: "Compare", i: int, network: str | None, sampler: str, visible: bool):
        with gr.Column(visible=visible, min_width=200, elem_classes="pf-column") as self.box:
            self.network = network_choice(tab.session, network, f"{LETTERS[i]}: network")
            self.sampler = gr.Dropdown(tab.samplers(), value=sampler, label="Sampler")
            with gr.Accordion("Knobs", open=False, elem_classes="pf-advanced"):
                self.knobs = KnobGroups(SAMPLERS, sampler)
        self.inputs = [self.network, self.sampler, *self.knobs.components]
        self.sampler.change(self.knobs.show, self.sampler, self.knobs.groups, **_QUIET)

    def part(self, network: str, sampler: str, *knobs) -> dict[str, Any]:
        """This column's part of a recipe. Raises InputError."""
        return {
            "checkpoint": network,
            "sampler": sampler,
            "settings": self.knobs.settings(SAMPLERS[sampler].name, knobs),
        }

    def updates(self, part: dict[str, Any] | None) -> list:
        """For `box` and `inputs`; None hides the column."""
        if part is None:
            return [gr.update(visible=False), *[gr.skip()] * len(self.inputs)]
        given = [gr.update(value=part["checkpoint"]), gr.update(value=part["sampler"])]
        settings = SAMPLERS[part["sampler"]].settings(part.get("settings") or {})
        return [gr.update(visible=True), *given, *self.knobs.updates(part["sampler"], settings)]


class Compare:
    """The tab's components and its handlers, which are plain methods."""

    def __init__(self, session: Session):
        self.session = session
        networks = session.networks()
        first = networks[0] if networks else None
        with gr.Row(elem_classes="pf-presets"):
            self.presets = [
                (gr.Button(p.label, size="sm", min_width=120, elem_classes="pf-preset"), p) for p in PRESETS.values()
            ]
        self.caption = gr.Markdown("Same noise, same class, same cost: only what the columns say differs.")
        with gr.Row(elem_classes="pf-shared"):
            self.count = gr.Slider(2, MOST, value=2, step=1, label="Columns", min_width=120)
            self.label = gr.Dropdown(self.classes(first), value=self.classes(first)[0], label="Class", min_width=120)
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=SEED_RANGE, min_width=90)
            self.images = gr.Slider(1, MAX_IMAGES, value=2, step=1, label="Images", min_width=120)
            self.nfe = gr.Number(EQUAL_NFE, label="NFE, each", precision=0, minimum=1, maximum=MAX_NFE, min_width=90)
            self.cfg = gr.Slider(0, MAX_CFG, value=1, step=0.1, label="Guidance", min_width=140)
        with gr.Row(elem_classes="pf-columns", equal_height=False):
            names = [name for name in SAMPLERS if first is None or name in self.runnable(first)]
            chosen = [names[0], names[-1], *names[1:-1], *names][:MOST]
            self.columns = [Column(self, i, first, chosen[i], i < 2) for i in range(MOST)]
        with gr.Row(elem_classes="pf-buttons"):
            self.run = gr.Button("Run all", variant="primary", elem_id="compare-run", min_width=100, scale=0)
            self.stop = gr.Button("Stop", variant="stop", elem_id="compare-stop", min_width=80, scale=0)
        self.said = gr.Markdown("", elem_classes="pf-said", elem_id="compare-said")
        self.viewer = FrameViewer(manifest(empty=EMPTY), elem_id="compare-viewer")
        self.build_difference()
        self.ids = gr.State([])  # of the runs that are shown
        self.mine = gr.State([])  # of those that were started from this page: the next ones replace them
        self.wire()
        self.sweep = sweep.SweepPanel(self)

    def build_difference(self) -> None:
        with gr.Column(visible=False, elem_classes="pf-difference") as self.box:
            gr.Markdown("### How two of them differ")
            with gr.Row(elem_classes="pf-shared"):
                letters = list(LETTERS[:2])
                self.one = gr.Dropdown(letters, value="A", label="From", min_width=80)
                self.other = gr.Dropdown(letters, value="B", label="To", min_width=80)
                self.at = gr.Radio([END, HERE], value=END, label="At", min_width=220)
                self.threshold = gr.Slider(
                    0.01, 0.5, value=THRESHOLD, step=0.01, label="Apart above, RMS", min_width=160
                )
                self.look = gr.Button("Compare now", elem_id="compare-look", size="sm", min_width=110)
            self.shown = gr.HTML("", elem_id="compare-difference", padding=False)
            self.place = gr.Textbox("{}", visible=False)

    def wire(self) -> None:
        self.shared = [self.count, self.label, self.seed, self.images, self.nfe, self.cfg]
        self.inputs = [*self.shared, *(c for column in self.columns for c in column.inputs)]
        boxes = [c for column in self.columns for c in (column.box, *column.inputs)]
        for button, preset in self.presets:
            outputs = [self.caption, self.said, self.count, self.nfe, *boxes]
            button.click(lambda p=preset: self.on_preset(p), None, outputs, **_QUIET)
        self.count.change(self.on_count, self.count, [column.box for column in self.columns], **_QUIET)
        self.columns[0].network.input(self.on_network, [self.columns[0].network, self.label], self.label, **_QUIET)
        measured = [self.place, self.ids, self.one, self.other, self.at, self.threshold]
        self.run.click(
            self.on_run,
            [self.mine, *self.inputs],
            [self.viewer, self.ids, self.said, self.box, self.one, self.other, self.mine],
            api_name="compare",
            show_progress="hidden",
            queue=False,
        ).then(
            self.when_done,
            [self.ids, self.one, self.other, self.threshold],
            self.shown,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
        self.stop.click(self.on_stop, self.ids, self.said, **_QUIET)
        for event in (self.look.click, self.one.input, self.other.input, self.at.input, self.threshold.release):
            event(self.on_difference, measured, self.shown, js=_FRAMES, **_QUIET)

    def on_load(self, demo: gr.Blocks) -> None:
        """To be called in the Blocks' context: a link's columns and runs."""
        boxes = [c for column in self.columns for c in (column.box, *column.inputs)]
        outputs = [self.viewer, self.ids, self.said, self.box, self.one, self.other, *self.shared, *boxes]
        demo.load(self.from_link, None, outputs, **_QUIET)
        self.sweep.on_load(demo)

    # what there is to choose

    def classes(self, network: str | None) -> list[str]:
        return controls.classes(self.session, network)

    def samplers(self) -> list[tuple[str, str]]:
        return controls.samplers(self.session)

    def runnable(self, network: str) -> list[str]:
        return [name for _, name in controls.samplers(self.session, network)]

    # handlers

    def on_preset(self, preset: Preset) -> list:
        missing = [c["checkpoint"] for c in preset.columns if c["checkpoint"] not in self.session.networks()]
        width = sum(1 + len(column.inputs) for column in self.columns)
        if missing:
            sentence = f"{preset.label} needs the network {missing[0]}, which is not here; set the columns yourself."
            return [gr.skip(), sentence, gr.skip(), gr.skip(), *[gr.skip()] * width]
        return [preset.caption, "", len(preset.columns), preset.columns[0]["nfe"], *self.set_columns(preset.columns)]

    def set_columns(self, parts) -> list:
        padded = [*parts, *[None] * (MOST - len(parts))]
        return [u for column, part in zip(self.columns, padded, strict=True) for u in column.updates(part)]

    def on_count(self, count: float) -> list:
        return [gr.update(visible=i < count) for i in range(MOST)]

    def on_network(self, network: str, label: str) -> Any:
        classes = self.classes(network)
        return gr.update(choices=classes, value=label if label in classes else classes[0])

    def parts(self, count: int, values: tuple) -> list[dict[str, Any]]:
        """Each column's part of a recipe. Raises InputError."""
        found, k = [], 0
        for column in self.columns:
            found.append(values[k : k + len(column.inputs)])
            k += len(column.inputs)
        return [column.part(*given) for column, given in zip(self.columns[:count], found, strict=False)]

    def specs(self, count, label, seed, images, nfe, cfg, *values) -> list[SampleSpec]:
        """One recipe a column. Raises InputError. Nothing here trusts the browser."""
        count = number("The number of columns", count, 2, MOST, whole=True)
        first = number("The seed", seed, 0, SEED_RANGE, whole=True)
        images = number("The number of images", images, 1, MAX_IMAGES, whole=True)
        parts = self.parts(count, values)
        shared = {
            "labels": [controls.chosen_class(self.session, parts[0]["checkpoint"], label)],
            "seeds": list(range(first, first + images)),
            "nfe": number("NFE", nfe, 1, MAX_NFE, whole=True),
            "cfg_scale": number("The guidance scale", cfg, 0, MAX_CFG),
        }
        return [SampleSpec(**part, **shared) for part in parts]

    def on_run(self, before: list[str], *values) -> list:
        """Start all columns' runs (those before stop): (viewer, ids, status line, difference box, its two choices)."""
        started: list[StoredRun] = []
        try:
            specs = self.specs(*values)
            self.halt(before)
            for letter, spec in zip(LETTERS, specs, strict=False):
                started.append(self.session.start(spec))
                started[-1].label = f"{letter} · {title(spec)}"
        except InputError as e:
            self.halt([run.id for run in started])
            return [gr.skip(), gr.skip(), str(e), *[gr.skip()] * 4]
        ids = [run.id for run in started]
        query = urlencode(self.link(ids, specs, values))
        return [manifest(started, query=query), ids, "", *self.choices(len(ids)), ids]

    def choices(self, count: int) -> list:
        letters = list(LETTERS[:count])
        return [gr.update(visible=True), gr.update(choices=letters, value="A"), gr.update(choices=letters, value="B")]

    def halt(self, ids: list[str]) -> None:
        for run_id in ids or []:
            if run_id in self.session.store and self.session.store.get(run_id).state in ACTIVE:
                self.session.stop(run_id)

    def on_stop(self, ids: list[str]) -> str:
        self.halt(ids)
        return "" if ids else "Nothing is running."

    def when_done(self, ids: list[str], one: str, other: str, threshold: float) -> Iterator[str]:
        """Wait for the runs, then their difference at the end."""
        yield '<p class="pfd-wait">The difference appears when all runs have ended.</p>'
        while any(i in self.session.store and self.session.store.get(i).state in ACTIVE for i in ids):
            time.sleep(0.1)
        yield self.on_difference("{}", ids, one, other, END, threshold)

    def on_difference(self, place: str, ids: list[str], one: str, other: str, at: str, threshold: float) -> str:
        """The panel of two columns, as HTML; a sentence where there is nothing to compare."""
        try:
            pair = [LETTERS.find(str(letter)) for letter in (one, other)]
            if not ids or any(not 0 <= k < len(ids) for k in pair):
                raise InputError("Press Run, then choose two of the columns.")
            runs = [self.session.store.get(ids[k]) for k in pair]
            image, frames = _place(place, len(ids))
            where = tuple(frames[k] if at == HERE else None for k in pair)
            threshold = number("The threshold", threshold, 0.001, 10)
            return panel(
                *runs, min(image, len(runs[0].spec.seeds) - 1), where, threshold, (LETTERS[pair[0]], LETTERS[pair[1]])
            )
        except InputError as e:
            return f'<p class="pf-said">{html.escape(str(e))}</p>'

    # links

    def link(self, ids: list[str], specs: list[SampleSpec], values: tuple) -> dict[str, Any]:
        names = ("label", "seed", "images", "nfe", "cfg")
        columns = [json.dumps([s.checkpoint, s.sampler, s.settings], separators=(",", ":")) for s in specs]
        return (
            {"tab": TITLE.lower(), "runs": ",".join(ids)}
            | dict(zip(names, values[1 : 1 + len(names)], strict=True))
            | {f"c{i + 1}": column for i, column in enumerate(columns)}
        )

    def from_link(self, request: gr.Request) -> list:
        """Updates for viewer, ids, status line, the difference's box and choices, all shared inputs, all columns."""
        asked = dict(request.query_params)
        width = sum(1 + len(column.inputs) for column in self.columns)
        nothing = [gr.skip()] * (3 + len(self.shared) + width)
        if asked.get("tab") != TITLE.lower() or not {"c1", "runs"} & set(asked):
            return [gr.skip(), gr.skip(), gr.skip(), *nothing]
        try:
            updates, count = self.controls_from(asked)
        except (InputError, ValueError, TypeError) as e:
            reason = e if isinstance(e, InputError) else "its columns are damaged."
            return [gr.skip(), gr.skip(), f"This link could not be read: {reason}", *nothing]
        ids = asked.get("runs", "").split(",")[:MOST]
        if len(ids) != count or not all(i in self.session.store for i in ids):
            sentence = "Those runs are not kept any more; their settings are here: press Run all to make them again."
            return [gr.skip(), gr.skip(), sentence, *[gr.skip()] * 3, *updates]
        shown = manifest([self.session.store.get(i) for i in ids])
        return [shown, ids, "", *self.choices(len(ids)), *updates]

    def controls_from(self, asked: dict[str, str]) -> tuple[list, int]:
        """Updates for the shared inputs and the columns, and how many columns there are. Raises InputError."""
        parts = []
        for key in (f"c{i + 1}" for i in range(MOST)):
            if key in asked:
                network, sampler, settings = json.loads(asked[key])
                self.session.bundle(network)
                parts.append({"checkpoint": network, "sampler": SAMPLERS[sampler].name, "settings": settings})
        if len(parts) < 2:
            raise InputError("it names fewer than two columns.")
        classes = self.classes(parts[0]["checkpoint"])
        if asked.get("label", classes[0]) not in classes:
            raise InputError(f"there is no class {asked['label'][:40]!r}.")
        limits = {"seed": SEED_RANGE, "images": MAX_IMAGES, "nfe": MAX_NFE}
        whole = [
            number(k, asked[k], k != "seed", most, True) if k in asked else gr.skip() for k, most in limits.items()
        ]
        cfg = number("cfg", asked["cfg"], 0, MAX_CFG) if "cfg" in asked else gr.skip()
        label = gr.update(choices=classes, value=asked.get("label", classes[0]))
        return [len(parts), label, *whole, cfg, *self.set_columns(parts)], len(parts)


def build(session: Session) -> Compare:
    return Compare(session)


def _place(text: str, count: int) -> tuple[int, list[int | None]]:
    """The viewer's image and frames, from the browser. Raises InputError if that is no such thing."""
    try:
        found = json.loads(text or "{}")
        frames = [None if k is None else int(k) for k in found.get("frames", [])][:count]
        image = int(found.get("image", 0))
    except (ValueError, TypeError, AttributeError):
        raise InputError("The viewer's place could not be read: press Compare now again.") from None
    if image < 0 or any(k is not None and k < 0 for k in frames):
        raise InputError("There is no such image or frame.")
    return image, [*frames, *[None] * (count - len(frames))]
