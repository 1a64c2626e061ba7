// Presentation mode: the maps across the whole screen, words for the last row of a room, keys. F opens it, Escape ends it.

import { EXTRAPOLATED } from "./bars.js";
import { gradient } from "./colours.js";
import { mapFrame } from "./kept.js";
import { whole } from "./layout.js";
import { arrange, drawPanel, exportable, sigmaScale } from "./panels.js";
import { PHASES } from "./filmbar.js";
import { ICONS } from "./template.js";
import { drawLook, looks, sigmaMarkup, TIMES } from "./moments.js";
import { nowOf, readout } from "./words.js";

const KEYS = [
  ["first", "First (Home)"],
  ["previousOuter", "Previous outer step (Shift+Left)"],
  ["previous", "Previous forward pass (Left)"],
  ["play", "Play or pause (Space)"],
  ["next", "Next forward pass (Right)"],
  ["nextOuter", "Next outer step (Shift+Right)"],
  ["last", "Last (End)"],
];
const WORDY = 22; // em: what is said of one run among several takes a second line where it has less
const MARKUP = `
<div class="pfz-top">
  <p class="pfz-keys">&larr; &rarr; pass &nbsp; Shift step &nbsp; Space play &nbsp; &uarr; &darr; image &nbsp; T three times &nbsp; Esc leave</p>
  <button type="button" class="pfz-times" aria-pressed="false">t = ${TIMES.join(" / ")}</button>
  <button type="button" class="pfz-leave" aria-label="Leave the presentation (Escape)" title="Leave (Esc)">&times;</button>
</div>
<div class="pfz-stage"></div>
<div class="pfz-bottom">
  <div class="pfz-line" role="slider" tabindex="0" aria-label="Forward pass" aria-valuemin="1"><canvas></canvas><i></i></div>
  <div class="pfz-transport" role="toolbar" aria-label="Playback">
    ${KEYS.map(([act, words]) => `<button type="button" data-act="${act}" aria-label="${words}" title="${words}">${ICONS[act]}</button>`).join("")}
    <output class="pfz-readout"></output>
    <span class="pfz-phases"></span>
  </div>
</div>`;

const T_BAR = (palettes) =>
  `<div class="pfv-ramp" style="background:${gradient(palettes.t)}"></div><div class="pfv-ticks"><span style="left:0%">0</span><span style="left:50%">0.5</span><span style="left:100%">1</span></div>`;
const EASY_BAR =
  '<div class="pfz-easy"><span><i class="pfv-easy"></i>easy <i class="pfv-hard"></i>hard</span><span><i class="pfv-unranked"></i>not ranked</span></div>';

export class Presentation {
  constructor(viewer) {
    this.viewer = viewer;
    this.times = false;
    this.box = document.createElement("dialog");
    this.box.className = "pfz";
    this.box.tabIndex = -1; // so that the keys stay here after a press on a map
    this.box.setAttribute("aria-label", "Presentation");
    this.box.innerHTML = MARKUP;
    viewer.root.append(this.box);
    this.box.addEventListener("keydown", (event) => this.pressed(event));
    this.box.addEventListener("close", () => this.closed());
    this.find(".pfz-leave").addEventListener("click", () => this.box.close());
    this.find(".pfz-times").addEventListener("click", () => this.switch());
    this.drag();
    document.addEventListener("fullscreenchange", () => {
      if (!document.fullscreenElement && this.filled) this.box.close(); // Escape left the full screen
    });
    new ResizeObserver(() => this.open && this.layOut()).observe(this.find(".pfz-stage"));
  }

  find(selector) {
    return this.box.querySelector(selector);
  }

  get open() {
    return this.box.open;
  }

  async show() {
    if (!this.viewer.ready || this.open) return;
    await this.fill();
    if (this.open) return;
    this.box.showModal();
    this.find("[data-act=play]").focus();
    this.layOut();
  }

  /** The whole screen, where the browser allows it; else the whole window. */
  async fill() {
    const root = document.documentElement;
    if (document.fullscreenElement || !root.requestFullscreen) return;
    const patience = new Promise((done) => setTimeout(done, 500));
    const asked = root.requestFullscreen().then(
      () => {
        this.filled = true;
      },
      () => {},
    );
    await Promise.race([asked, patience]);
  }

  closed() {
    const filled = this.filled;
    this.filled = false;
    if (filled && document.fullscreenElement) document.exitFullscreen().catch(() => {});
    this.viewer.schedule();
  }

  /** Keys of this mode alone; the viewer has those of the clock. */
  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "Escape") return event.stopPropagation(); // the dialog closes by itself
    if (key === "?") return event.stopPropagation();
    const acts = {
      f: () => this.box.close(),
      t: () => this.switch(),
      ArrowUp: () => this.turn(-1),
      ArrowDown: () => this.turn(1),
    };
    if (!acts[key]) return;
    event.preventDefault();
    event.stopPropagation();
    acts[key]();
  }

  switch() {
    this.times = !this.times;
    this.find(".pfz-times").setAttribute("aria-pressed", String(this.times));
    this.layOut();
  }

  turn(by) {
    const { viewer } = this;
    const { images } = viewer.shape;
    viewer.pickImage(String((viewer.image + by + images) % images));
    this.layOut();
  }

  drag() {
    const line = this.find(".pfz-line");
    const to = (event) => {
      const box = line.getBoundingClientRect();
      this.viewer.player.pause();
      this.viewer.go(Math.floor(((event.clientX - box.left) / box.width) * this.viewer.frames));
    };
    line.addEventListener("pointerdown", (event) => {
      line.setPointerCapture(event.pointerId);
      to(event);
    });
    line.addEventListener("pointermove", (event) => event.buttons && to(event));
  }

  // what stands on the stage

  /** Cells of a run: [{panel, i}], with i fixed for the three times and undefined where it follows the clock. */
  cells(run) {
    const { viewer } = this;
    if (this.times) return looks(run, viewer.imagesOf(run));
    const usual = () => viewer.knownPanels().filter(({ key }) => !viewer.hiddenAtFirst.includes(key));
    const shown = [viewer.visiblePanels(), usual()].map(exportable).find((panels) => panels.length); // not "attention" alone
    return shown.map((panel, column) => ({ panel, title: panel.title, row: 0, column }));
  }

  layOut() {
    const { viewer } = this;
    if (!this.open || !viewer.ready) return;
    const stage = this.find(".pfz-stage");
    this.runs = viewer.runs.filter((run) => run.shape && run.frames.length);
    const cells = this.runs.map((run) => this.cells(run));
    const layouts = this.runs.map((run) => arrange(run.shape, viewer.imagesOf(run)));
    const { across, columns, side, lines } = fit(stage, layouts[0], this.runs.length, cells[0].length, this.times);
    stage.style.gridTemplateColumns = `repeat(${across}, max-content)`;
    stage.style.setProperty("--pfz-lines", lines);
    stage.style.setProperty("--pfz-across", across);
    stage.innerHTML = this.runs
      .map(
        (_, r) =>
          `<section><h3><span></span><small></small></h3><div class="pfz-cells" style="grid-template-columns: repeat(${columns}, max-content)">${cells[r].map((cell, k) => this.figure(cell, k, columns, this.runs[r].meta?.guided)).join("")}</div></section>`,
      ) // prettier-ignore
      .join("");
    this.shown = this.runs.map((run, r) => {
      const section = stage.children[r];
      section.querySelector("h3 span").textContent = run.label; // a person's text
      const canvases = [...section.querySelectorAll("canvas")];
      canvases.forEach((canvas) => {
        canvas.parentElement.style.width = `${side}px`;
        canvas.style.aspectRatio = `${layouts[r].width} / ${layouts[r].height}`;
      });
      return { run, section, layout: layouts[r], cells: cells[r], canvases };
    });
    if (this.times) this.shown.forEach(({ run, cells: all, canvases }) => all.forEach((cell, k) => drawLook(canvases[k], viewer, run, cell))); // prettier-ignore
    this.drawLine();
    const phases = new Set(this.runs.flatMap((run) => run.frames.map((frame) => frame.phase)));
    this.find(".pfz-phases").innerHTML = Object.entries(PHASES)
      .filter(([name]) => phases.has(name) && name !== "final")
      .map(([name, colour]) => `<span><i style="background:${colour}"></i>${name}</span>`)
      .join("");
    this.draw();
  }

  figure({ panel, title, row, column, words }, k, columns, guided) {
    const { palettes } = this.viewer;
    const bars = { t: T_BAR, sigma: sigmaMarkup, cond: sigmaMarkup, easy: () => EASY_BAR };
    const bar = bars[panel.key] ? `<div class="pfz-bar">${bars[panel.key](palettes)}</div>` : "";
    const place = this.times && columns === TIMES.length ? ` style="grid-row: ${row + 1}; grid-column: ${column + 1}"` : ""; // prettier-ignore
    const what = `<b>${guided && panel.key === "sigma" ? EXTRAPOLATED : panel.title}</b>${this.times && !row ? `<span>${title}</span>` : ""}`;
    return `<figure${place}><figcaption title="${words || panel.note}">${what}</figcaption><canvas role="img" aria-label="${panel.key}${words ? `, ${words}` : ""}"></canvas>${bar}</figure>`;
  }

  /** Everything that follows the clock. */
  draw() {
    const { viewer } = this;
    if (!this.open || !this.shown) return;
    const key = [viewer.held, viewer.runs.map((run) => run.id)].join();
    if (key !== this.key) {
      this.key = key;
      return this.layOut(); // more frames, or other runs
    }
    this.shown.forEach((each) => this.drawRun(each));
    this.find(".pfz-readout").textContent =
      this.shown.length === 1 ? this.said(this.shown[0].run) : (viewer.pair?.time ?? "");
    this.find("[data-act=play]").innerHTML = viewer.player.playing ? ICONS.pause : ICONS.play;
    const line = this.find(".pfz-line");
    line.querySelector("i").style.left = `${(100 * (viewer.index + 0.5)) / viewer.frames}%`;
    line.setAttribute("aria-valuemax", viewer.frames);
    line.setAttribute("aria-valuenow", viewer.index + 1);
    line.setAttribute("aria-valuetext", this.said(this.shown[0].run));
  }

  said(run, words = readout) {
    const { viewer } = this;
    return words(run, viewer.frameIndex(viewer.runs.indexOf(run)), Math.min(viewer.image, run.shape.images - 1));
  }

  drawRun({ run, section, layout, cells, canvases }) {
    const { viewer } = this;
    const i = viewer.frameIndex(viewer.runs.indexOf(run));
    section.querySelector("h3 small").textContent = this.shown.length > 1 ? this.said(run, nowOf) : "";
    if (this.times) return;
    cells.forEach(({ panel }, k) => {
      const frame = run.frames[mapFrame(run, i, panel.map)];
      const scaled = panel.map === "logvar" || panel.map === "logvar_cond";
      const scale = scaled ? sigmaScale(frame, panel.map, layout, viewer.palettes, false) : null;
      drawPanel(canvases[k], panel, frame, layout, run.meta.grid, viewer.palettes, scale);
      if (panel.map !== "easy") return;
      const [ranked, none] = canvases[k].parentElement.querySelectorAll(".pfz-easy span");
      [ranked.hidden, none.hidden] = [!frame.ranked, frame.ranked];
    });
  }

  /** A row a run: its passes on the clock, coloured by what they are. */
  drawLine() {
    const { viewer } = this;
    const canvas = this.find(".pfz-line canvas");
    const total = viewer.frames;
    [canvas.width, canvas.height] = [Math.max(1, canvas.clientWidth), this.runs.length * 10];
    const context = canvas.getContext("2d");
    const x = (k) => Math.round((k / total) * canvas.width);
    this.runs.forEach((run, r) => {
      const at = run.frames.map((_, i) => viewer.clock.tickOf(viewer.runs.indexOf(run), i));
      run.frames.forEach((frame, i) => {
        context.fillStyle = PHASES[frame.phase];
        const [from, to] = [x(at[i]), x(at[i + 1] ?? total)];
        context.fillRect(from, r * 10, Math.max(1, to - from - 1), 9);
      });
    });
  }
}

/** How many runs stand in a row, cells in a row of each, the width of a picture, as large as the stage allows, and the
 * lines that the words above several runs take. */
function fit(stage, layout, runs, count, times) {
  const { clientWidth: wide, clientHeight: tall } = stage;
  const em = parseFloat(getComputedStyle(stage).fontSize);
  const sized = (across, columns, lines) => {
    const down = Math.ceil(runs / across);
    const rows = Math.ceil(count / columns);
    const room = (wide - (across - 1) * 2 * em) / across - (columns - 1) * 0.7 * em;
    const height = tall / down - (runs > 1 ? 2.3 + 1.3 * lines : 1.8) * em - rows * 3.5 * em;
    const zoom = Math.min(room / columns / layout.width, height / rows / layout.height);
    const side = layout.width * whole(zoom);
    const narrow = side * columns + (columns - 1) * 0.7 * em < WORDY * em;
    return narrow && lines < 2 && runs > 1 ? sized(across, columns, 2) : { across, columns, side, lines };
  };
  let best = null;
  for (let across = runs; across >= 1; across -= 1) {
    const full = Array.from({ length: count }, (_, k) => Math.ceil(count / (k + 1))); // rows as full as can be
    const counts = times ? [TIMES.length, count] : full;
    for (const columns of counts) {
      const found = sized(across, columns, 1);
      if (!best || found.side > best.side + 0.5) best = found;
    }
  }
  return best;
}
