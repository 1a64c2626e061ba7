// The frame viewer: 1 to 4 runs on one clock. mount() is called once by the Gradio component.

import { sigmaBar } from "./bars.js";
import { RUN_COLOURS } from "./charts.js";
import { Clock } from "./clock.js";
import { Attention } from "./attention.js";
import { drawReadings } from "./reading.js";
import { listen } from "./input.js";
import { listExports } from "./downloads.js";
import { mapFrame } from "./kept.js";
import { Inspector } from "./inspector.js";
import { sizeOf } from "./canvas.js";
import { arrange, drawPanel, HIDDEN, PANELS, patchIn, sigmaScale } from "./panels.js";
import { columns, drawFilmBar } from "./filmbar.js";
import { buildImages, drawThumbnails, markImage, relayout } from "./layout.js";
import { drawOverlay } from "./overlay.js";
import { fadeFrom } from "./fade.js";
import { frameFor, nearestStop, stopsOf } from "./passes.js";
import { Player } from "./player.js";
import { gliding, page } from "./shared.js";
import { Stage } from "./stage.js";
import { loadPalettes } from "./colours.js";
import { RunData } from "./store.js";
import { rankingCost } from "./estimates.js";
import { ICONS, MARKUP, runMarkup } from "./template.js";
import { address, tabAround } from "./address.js";
import { beginAt, goWhenThere, standAt, tellPlace } from "./place.js";
import { aboutEdits, aboutPatch, aboutRun, aboutState, mapNote, readout, write } from "./words.js";

const HINT = "Point at a patch to read its time, its difficulty and where it goes next.";
const FOLDED = 300; // ms after which a form above has folded: whoever scrolls before ends too far down

export function mount(element, props, watch) {
  const viewer = new Viewer(element.querySelector(".pf-viewer") || element);
  page.add("viewer", viewer);
  watch("value", () => viewer.show(props.value));
  viewer.show(props.value?.unasked && location.search ? {} : props.value); // what the address asks for will follow
}

/** What a viewer of columns has besides; only the page that compares fetches it. */
async function pairOf(viewer) {
  const { Pair } = await import("./pair.js");
  return new Pair(viewer);
}

class Viewer {
  constructor(root) {
    this.root = root;
    root.innerHTML = MARKUP;
    this.runs = [];
    this.clock = new Clock([], "nfe");
    this.index = 0;
    this.image = 0;
    this.sheet = false;
    this.hover = null;
    this.pin = null;
    this.stops = [];
    this.hiddenAtFirst = HIDDEN; // panels
    this.settings = { align: "nfe", passes: "all", perFrame: false, hidden: new Set(HIDDEN) };
    this.following = false;
    this.drawn = Promise.resolve();
    this.player = new Player(this);
    this.inspector = new Inspector(this);
    this.stage = new Stage(this);
    this.attention = new Attention(this);
    listen(this);
    new ResizeObserver(() => relayout(this)).observe(root);
    page.on("theme", () => this.redrawAll());
    page.on("link", () => tellPlace(this, true));
    page.on("place", ({ tab, place }) => tab === tabAround(root) && standAt(this, place));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  all(selector) {
    return [...this.root.querySelectorAll(selector)];
  }

  // what is shown

  /** Show a manifest: see app/components/viewer/viewer.py. */
  async show(manifest) {
    if (!manifest) return;
    const tab = tabAround(this.root);
    const found = manifest.query === null || manifest.query === undefined; // what the address asks for, as it is
    if (!found) address.shows(tab, manifest.query, manifest.again);
    const wanted = manifest.runs || [];
    const asked = (found || manifest.again) && wanted.length ? address.place(tab) : null;
    if (wanted.length && wanted.map((r) => r.id).join() === this.runs.map((r) => r.id).join())
      return asked && Object.keys(asked).length ? standAt(this, asked) : undefined;
    this.runs.forEach((run) => {
      run.closed = true;
    });
    this.player.pause();
    const turn = (this.turn = (this.turn || 0) + 1);
    this.palettes = await loadPalettes();
    if (manifest.columns && !this.pair) this.pair = await pairOf(this);
    if (turn !== this.turn) return; // a later manifest came while this one waited
    this.came = false;
    if (manifest.query) setTimeout(() => this.comeIntoSight(), FOLDED);
    this.runs = wanted.slice(0, 4).map((r) => new RunData(r));
    this.settings.align = manifest.align || "nfe";
    this.find("[data-set=align]").value = this.settings.align;
    this.autoplay = Boolean(manifest.autoplay);
    this.following = !this.autoplay;
    this.asked = asked;
    this.toldPlace = null;
    [this.index, this.hover, this.pin, this.ready, this.held] = [0, null, null, false, 0];
    this.awaitFrames(wanted.length ? "" : manifest.empty || "");
    this.find(".pfv-runs").innerHTML = this.runs.map((_, r) => runMarkup(r, this.runs.length > 1)).join("");
    this.all("[data-dot]").forEach((dot, r) => {
      dot.style.background = RUN_COLOURS[r];
    });
    this.find(".pfv-align").hidden = this.runs.length < 2;
    this.setClock("nfe", []);
    this.pressed = manifest.query && document.activeElement?.matches("button") ? document.activeElement : null;
    this.runs.forEach((run, r) => run.follow(() => this.arrived(run, r)));
  }

  /** Below the screen, or above it, as a long form over columns leaves it when it folds. */
  comeIntoSight() {
    const { top } = this.root.getBoundingClientRect();
    if (top <= innerHeight * 0.6 && !(this.pair && top < 0)) return;
    this.came = true;
    this.root.scrollIntoView({ behavior: gliding() });
  }

  /** Until the first frame is here: an empty page that says why, after a moment in which most runs have begun. */
  awaitFrames(sentence) {
    const body = this.find(".pfv-body");
    body.classList.add("pfv-unready");
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.sayWhy(sentence), this.runs.length ? 300 : 0);
  }

  sayWhy(sentence) {
    if (this.ready) return;
    this.find(".pfv-empty").hidden = false;
    this.find(".pfv-body").hidden = true;
    const { status } = this.runs.find((run) => run.failed) ?? this.runs.find((run) => !run.meta) ?? this.runs[0] ?? {};
    const text = sentence || status?.message || status?.state || "";
    this.find(".pfv-empty p").textContent =
      text.slice(0, 1).toUpperCase() + text.slice(1) + (/[.!?]$|^$/.test(text) ? "" : "\u2026");
  }

  /** News of a run: more frames, or another state. */
  arrived(run, r) {
    if (run.closed) return;
    this.sayState(run, r);
    if (this.runs.some((other) => !other.meta && !other.failed) || !this.runs.some((other) => other.frames.length)) {
      if (!this.find(".pfv-empty").hidden || !run.active) this.sayWhy("");
      return;
    }
    const before = this.held;
    const first = run.frames.length && !run.shown;
    run.shown = run.frames.length > 0;
    this.held = this.runs.reduce((sum, other) => sum + other.frames.length, 0); // not the clock's length: a run may fill up behind another
    const now = this.clock.ticks[this.index];
    this.setClock(this.settings.align);
    if (now !== undefined) this.index = this.clock.at(now); // another run's new ticks may stand before it
    if (!this.ready) this.begin();
    else if (first) relayout(this);
    if (this.following) this.index = this.stops.at(-1);
    if (this.asked && !goWhenThere(this, this.asked)) this.asked = null;
    if (before !== this.held) this.redrawAll();
    else this.chrome();
    if (this.autoplay && this.runs.every((each) => !each.running && each.frames.length)) this.startAutoplay();
  }

  /** The first frames are here: lay out for their shape. */
  begin() {
    this.ready = true;
    clearTimeout(this.patience);
    this.find(".pfv-empty").hidden = true;
    this.find(".pfv-body").hidden = false;
    this.find(".pfv-body").classList.remove("pfv-unready");
    this.image = Math.min(this.image, this.shape.images - 1);
    this.sheet &&= this.shape.images > 1;
    const guided = this.runs.some((run) => run.meta?.guided);
    this.find(".pfv-toggles [data-panel=cond]").hidden = !guided;
    this.guided = guided;
    this.prompted = this.runs.some((run) => run.meta?.words);
    this.find(".pfv-toggles [data-panel=word]").hidden = !this.prompted;
    this.attention.begin();
    if (this.asked) beginAt(this, this.asked);
    this.runs.forEach((run, r) => this.nameRun(run, r));
    buildImages(this);
    this.inspector.begin();
    this.pair?.begin();
    relayout(this);
    if (this.came) this.root.scrollIntoView({ behavior: gliding() }); // the page was too short while the viewer was empty
    if (this.pressed && document.activeElement === this.pressed && !this.root.contains(this.pressed)) {
      this.find(".pfv-film").focus({ preventScroll: true }); // so that the keys work at once, and Space does not run again
    }
  }

  startAutoplay() {
    this.autoplay = false;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.go(this.clock.length - 1);
    this.player.loop = true;
    this.find("[data-set=loop]").checked = true;
    this.index = 0;
    this.player.play();
  }

  get shape() {
    return this.runs.find((run) => run.shape)?.shape;
  }

  /** The first run of which the server has said what it is; others may be gone. */
  get known() {
    return this.runs.find((run) => run.meta);
  }

  get frames() {
    return this.clock.length;
  }

  /** Ticks that the clock will have once all runs have ended. */
  get total() {
    const expected = this.runs.map((run) =>
      run.active || run.status.state === "stopped" ? run.status.total : run.frames.length,
    );
    return Math.max(this.clock.length, this.settings.align === "nfe" ? Math.max(...expected) : 0);
  }

  /** The images of a run that are shown: one, or all of them. */
  imagesOf(run) {
    return this.sheet
      ? Array.from({ length: run.shape.images }, (_, i) => i)
      : [Math.min(this.image, run.shape.images - 1)];
  }

  /** A spot of the screen in a run of any grid: the patch at that place; null where the run lacks the image. */
  local(run, spot) {
    if (!spot || !run.shape || spot.image >= run.shape.images) return null;
    return { image: spot.image, patch: patchIn(run.meta.grid, spot) };
  }

  frameIndex(r, tick = this.index) {
    return this.clock.length ? frameFor(this.runs[r], this.clock.frameAt(r, tick), this.settings.passes) : 0;
  }

  /** The first run's outer step, from 1; undefined where nothing is shown. */
  get outerStep() {
    const frame = this.ready && this.runs[0].frames[this.frameIndex(0)];
    return frame ? frame.outer + 1 : undefined;
  }

  // moving on the clock

  /** Go to a tick, or the nearest one that is stopped at; resolves when it is drawn. */
  go(tick, byHand = true) {
    if (!this.clock.length) return this.drawn;
    this.index = this.stops[nearestStop(this.stops, Math.round(tick))];
    if (byHand) this.asked = null;
    if (byHand) this.following = this.index === this.stops.at(-1) && this.runs.some((run) => run.active);
    return this.schedule();
  }

  /** So many stops further, or back. */
  step(by) {
    const to = nearestStop(this.stops, this.index) + by;
    return this.go(this.stops[Math.max(0, Math.min(this.stops.length - 1, to))]);
  }

  goFrame(r, i) {
    if (!this.runs[r].frames.length) return this.drawn;
    return this.go(this.clock.tickOf(r, Math.max(0, Math.min(this.runs[r].frames.length - 1, i))));
  }

  /** To the first pass of the next (+1) or of this or the previous (-1) outer step of the first run. */
  goOuter(direction) {
    if (this.settings.passes !== "all") return this.step(direction);
    const r = Math.max(
      0,
      this.runs.findIndex((run) => run.frames.length),
    );
    const { frames } = this.runs[r];
    const now = this.frameIndex(r);
    const firsts = frames
      .map((_, i) => i)
      .filter((i) => i === 0 || frames[i].outer !== frames[i - 1].outer || frames[i].phase === "final");
    const to =
      direction > 0 ? (firsts.find((i) => i > now) ?? frames.length - 1) : (firsts.findLast((i) => i < now) ?? 0);
    return this.goFrame(r, to);
  }

  play() {
    this.player.play();
  }

  pause() {
    this.player.pause();
  }

  /** Another rule for the clock: the first run stays at its frame. */
  realign(align) {
    const i = this.frameIndex(0);
    this.settings.align = align;
    this.setClock(align);
    this.index = Math.max(0, this.clock.tickOf(0, i));
    this.redrawAll();
  }

  /** Stop at these passes only (see passes.js). */
  pickPasses(passes) {
    this.settings.passes = passes;
    this.setClock(this.settings.align);
    if (this.stops.length) this.index = this.stops[nearestStop(this.stops, this.index)];
    this.redrawAll();
  }

  setClock(align, runs = this.runs) {
    this.clock = new Clock(runs, align);
    this.stops = stopsOf(runs, this.clock, this.settings.passes);
  }

  // drawing

  schedule() {
    if (!this.waiting) {
      this.waiting = true;
      this.drawn = new Promise((done) =>
        requestAnimationFrame(() => {
          this.waiting = false;
          this.draw();
          done();
        }),
      );
    }
    return this.drawn;
  }

  /** Everything that follows the clock. */
  draw() {
    if (!this.ready || !this.clock.length) return;
    this.attention.wanted.clear();
    this.runs.forEach((run, r) => this.drawRun(run, r));
    this.attention.drawn();
    drawThumbnails(this);
    this.inspector.draw();
    this.pair?.draw();
    this.chrome();
    tellPlace(this);
  }

  drawRun(run, r) {
    const i = this.frameIndex(r);
    const frame = run.frames[i];
    if (!frame || !run.shape) return;
    run.shows(i, () => this.schedule());
    const layout = arrange(run.shape, this.imagesOf(run));
    const section = this.all(".pfv-run")[r];
    const fade = run.drawn === frame ? 0 : this.player.fade;
    run.drawn = frame;
    for (const panel of this.visiblePanels()) {
      const figure = section.querySelector(`figure[data-panel=${panel.key}]`);
      if (panel.onDemand) {
        this.attention.draw(figure, panel, run, i, layout);
        continue;
      }
      const shown = run.frames[mapFrame(run, i, panel.map)];
      const scaled = panel.map === "logvar" || panel.map === "logvar_cond";
      const scale = scaled ? sigmaScale(shown, panel.map, layout, this.palettes, this.settings.perFrame) : null;
      if (fade) fadeFrom(figure.querySelector("canvas"), fade);
      drawPanel(figure.querySelector("canvas"), panel, shown, layout, run.meta.grid, this.palettes, scale);
      if (scaled && this.settings.perFrame) sigmaBar(this, figure, scale);
      const note = figure.querySelector("figcaption span");
      const words = mapNote(run, i, panel, layout.images[0]);
      if (note.textContent !== words) {
        note.textContent = words;
        note.title = words;
      }
    }
    this.attention.list(section, run);
    drawReadings(this, section, run, layout.images);
    drawOverlay(this, section, run, layout, i);
    this.saySentence(section, run, i);
    this.moveHead(section, run, r, i);
  }

  /** Those that these runs can have. */
  knownPanels() {
    return PANELS.filter((p) => (!p.guidedOnly || this.guided) && (!p.onDemand || this.prompted));
  }

  visiblePanels() {
    return this.knownPanels().filter((p) => !this.settings.hidden.has(p.key));
  }

  saySentence(section, run, i) {
    const spot = this.local(run, this.hover || this.pin);
    const words = section.querySelector(".pfv-say");
    if (!spot) words.textContent = HINT;
    else {
      const { cols } = run.meta.grid;
      const which = `Row ${Math.floor(spot.patch / cols) + 1}, column ${(spot.patch % cols) + 1}${this.sheet ? `, image ${spot.image + 1}` : ""} \u2014 `;
      words.textContent = which + aboutPatch(run, i, spot);
    }
    words.classList.toggle("pfv-quiet", !spot);
  }

  moveHead(section, run, r, i) {
    const film = section.querySelector(".pfv-film");
    const at = columns(sizeOf(film)[0], this.total);
    const head = film.querySelector(".pfv-head");
    head.style.transform = `translateX(${at.x(this.index) - at.step / 2}px)`;
    head.style.width = `${Math.max(2, at.step)}px`;
    film.setAttribute("aria-valuemax", this.clock.length);
    film.setAttribute("aria-valuenow", this.index + 1);
    film.setAttribute("aria-valuetext", readout(run, i, this.image));
  }

  /** Words and buttons that follow the clock. */
  chrome() {
    if (!this.ready) return;
    const lead = this.runs.reduce((best, run, r) => (run.frames.length > this.runs[best].frames.length ? r : best), 0);
    const words = this.find(".pfv-readout");
    const i = this.frameIndex(lead);
    words.textContent = this.pair ? this.pair.time : readout(this.runs[lead], i, this.image);
    if (!this.pair) words.dataset.phase = this.runs[lead].frames[i]?.phase ?? "";
    this.root.classList.toggle("pfv-moving", this.player.fade > 0);
    this.find("[data-act=play]").innerHTML = this.player.playing ? ICONS.pause : ICONS.play;
    this.find("[data-act=live]").hidden = this.following || !this.runs.some((run) => run.active);
    this.stage.draw();
  }

  redrawAll() {
    if (!this.ready) return;
    this.runs.forEach((run, r) => {
      const canvas = this.all(".pfv-film canvas")[r];
      if (run.frames.length && canvas) drawFilmBar(canvas, run, r, this.clock, this.total, this.image);
    });
    const phases = new Set(this.runs.flatMap((run) => run.frames.map((frame) => frame.phase)));
    this.all("[data-phase]").forEach((item) => {
      item.hidden = !phases.has(item.dataset.phase);
    });
    this.find("[data-set=passes] [value=probe]").disabled = !phases.has("probe");
    const ranked = this.runs.some((run) => run.frames.some((frame) => frame.ranked));
    this.all("[data-ranked]").forEach((item) => {
      item.hidden = !ranked;
    });
    this.inspector.stale = true;
    this.pair?.redraw();
    this.schedule();
  }

  nameRun(run, r) {
    const section = this.all(".pfv-run")[r];
    write(section.querySelector(".pfv-name"), run.label);
    write(section.querySelector(".pfv-about"), run.meta ? aboutRun(run.meta) : "");
    const edits = section.querySelector(".pfv-edits");
    write(edits, run.meta ? aboutEdits(run.meta) : "");
    edits.title = run.meta ? run.meta.edits.map((edit) => edit.words).join("\n") : "";
    edits.hidden = !edits.textContent;
    section.classList.toggle("pfv-wordy", Boolean(run.meta && (run.meta.guided || run.meta.edits.length))); // long sentences
  }

  sayState(run, r) {
    const place = this.all(".pfv-state")[r];
    if (!place || !(run.meta || run.failed)) return;
    const cost = run.active ? "" : rankingCost(run);
    write(place, [run.meta?.origin, aboutState(run.status, run.meta), cost].filter(Boolean).join(" \u00b7 "));
    place.dataset.state = run.status.state;
    this.nameRun(run, r);
    listExports(this);
  }

  // images of the batch

  pickImage(which) {
    this.sheet = which === "all";
    if (!this.sheet) {
      this.image = Number(which);
      [this.hover, this.pin] = [this.hover, this.pin].map((spot) => spot && { ...spot, image: this.image });
    }
    markImage(this);
    relayout(this);
  }

  hold(spot) {
    this.pin = spot;
    if (spot && spot.image !== this.image) {
      this.image = spot.image;
      markImage(this);
      this.redrawAll();
    }
    this.inspector.stale = true;
    this.schedule();
  }
}
