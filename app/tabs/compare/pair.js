// Runs side by side, under one transport that stays in sight, and what two of them differ by: the curve over the
// clock, a wipe over both predictions, maps that follow the film, and where they first part.

import { forget, sizeOf } from "./canvas.js";
import { gradient } from "./colours.js";
import { drawCurve } from "./curve.js";
import { fetchDifferences, fetchWords } from "./differences.js";
import { columns } from "./filmbar.js";
import { scaled } from "./layout.js";
import { drawOverlay } from "./overlay.js";
import { arrange, drawPanel, HIDDEN, PANELS } from "./panels.js";
import { nowOf, readout } from "./words.js";

const LETTERS = "ABCD";
const GUESS = PANELS.find((panel) => panel.image === "x1_hat");
const FOLDED = [...HIDDEN, "x", "easy"]; // to begin with: two columns of what is left stand in one row each
const OF = { x1_hat: "x\u0302\u2081, the prediction", x: "x\u209c, the state" };
const SHORT = { x1_hat: "x\u0302\u2081", x: "x\u209c" };
const UNITS = { nfe: "NFE", outer: "step", seconds: "s" };
const LARGEST = 288; // px: the maps that follow the film
const KEPT = 8; // films of differences, of images and pairs seen before

const STAGE = `<div class="pfv-stage"><div class="pfv-apart"><canvas role="img" aria-label="Difference along the clock"></canvas><div class="pfv-head"></div>
  <span class="pfv-apart-title"></span><button type="button" class="pfv-first" data-pair="first" title="Go there" hidden><span></span></button></div></div>`;

const figure = (key, title, body) =>
  `<figure class="pfv-pair-${key}"><figcaption><b>${title}</b> <span></span></figcaption>${body}</figure>`;
const map = (key, title) =>
  figure(
    key,
    title,
    `<div class="pfv-frame"><canvas role="img" aria-label="${title}"></canvas><svg class="pfv-marks" aria-hidden="true"><path class="pfv-edited"/></svg><div class="pfv-cross pfv-pin" hidden></div><div class="pfv-cross" hidden></div></div><div class="pfv-bar"></div>`,
  );

const SECTION = `<section class="pfv-card pfv-pair" data-run="0">
  <h4>How two of them differ</h4>
  <div class="pfv-pair-choice">
    <label>from <select data-pair="one"></select></label>
    <label>to <select data-pair="other"></select></label>
    <label>in <select data-pair="of">${Object.entries(OF)
      .map(([key, text]) => `<option value="${key}">${text}</option>`)
      .join("")}</select></label>
    <label>more than <input type="number" data-pair="threshold" min="0.001" max="10" step="0.01" value="0.05"> RMS apart</label>
  </div>
  <p class="pfv-pair-now" role="status"></p>
  <div class="pfv-pair-maps">
    ${figure(
      "wipe",
      "wipe",
      `<div class="pfv-wipe"><canvas role="img" aria-label="prediction of the one"></canvas><canvas class="pfv-over" role="img" aria-label="prediction of the other"></canvas><i></i></div>
      <input type="range" min="0" max="100" value="50" data-pair="wipe" aria-label="Where the wipe stands: left of it the one, right of it the other">`,
    )}
    ${map("signed", "signed difference")}
    ${map("rms", "RMS of each patch")}
    <div class="pfv-partings"></div>
  </div></section>`;

export class Pair {
  constructor(viewer) {
    this.viewer = viewer;
    [this.one, this.other, this.of, this.threshold] = [0, 1, "x1_hat", 0.05];
    this.films = new Map();
    viewer.root.classList.add("pfv-side");
    viewer.hiddenAtFirst = FOLDED;
    viewer.settings.hidden = new Set(FOLDED);
    for (const key of FOLDED) viewer.find(`button[data-panel=${key}]`).setAttribute("aria-pressed", "false");
    this.build();
    this.listen();
  }

  build() {
    const { viewer } = this;
    const body = viewer.find(".pfv-body");
    body.insertAdjacentHTML("afterbegin", '<div class="pfv-measured" role="status"></div>');
    viewer.find(".pfv-top").insertAdjacentHTML("afterend", STAGE);
    viewer.find(".pfv-stage").prepend(viewer.find(".pfv-transport"));
    viewer.find(".pfv-legend").insertAdjacentHTML("afterend", SECTION);
    this.section = viewer.find(".pfv-pair");
    this.strip = viewer.find(".pfv-apart");
  }

  listen() {
    this.viewer.root.addEventListener("change", ({ target }) => this.changed(target));
    this.section.addEventListener("input", ({ target }) => target.dataset.pair === "wipe" && this.wipe(target.value));
    this.viewer.root.addEventListener("click", ({ target }) =>
      this.clicked(target.closest("[data-pair], [data-parting]")),
    );
    const box = this.section.querySelector(".pfv-wipe");
    const follow = (event) => {
      const { left, width } = box.getBoundingClientRect();
      this.wipe((100 * (event.clientX - left)) / width);
    };
    box.addEventListener("pointerdown", (event) => {
      box.setPointerCapture(event.pointerId);
      follow(event);
    });
    box.addEventListener("pointermove", (event) => event.buttons && follow(event));
  }

  changed({ dataset, value }) {
    if (["one", "other"].includes(dataset.pair)) this[dataset.pair] = Number(value);
    else if (dataset.pair === "of") this.of = value;
    else if (dataset.pair === "threshold") this.threshold = Math.max(0.001, Math.min(10, Number(value) || 0.05));
    else return;
    this.find("threshold").value = this.threshold;
    this.viewer.redrawAll();
  }

  clicked(target) {
    if (!target) return;
    const { viewer } = this;
    if (target.dataset.pair === "first") {
      viewer.pause();
      viewer.go(this.first);
    } else if (target.dataset.parting) this.goParting(Number(target.dataset.parting));
  }

  find(name) {
    return this.section.querySelector(`[data-pair=${name}]`);
  }

  get runs() {
    return [this.viewer.runs[this.one], this.viewer.runs[this.other]];
  }

  /** Both have ended, and all their frames are here. */
  get ready() {
    return this.runs.every((run) => run?.shape && !run.active && run.frames.length >= run.status.ready);
  }

  // what is shown

  /** Other runs: their letters, and the line that says where each one is. */
  begin() {
    const { viewer } = this;
    const count = viewer.runs.length;
    if (this.one >= count || this.other >= count) [this.one, this.other] = [0, Math.min(1, count - 1)];
    [this.film, this.key, this.words, this.wordsKey] = [null, "", null, ""];
    this.films.clear();
    for (const name of ["one", "other"])
      this.find(name).replaceChildren(
        ...viewer.runs.map((run, r) => new Option(run.label, r, false, r === this[name])),
      );
    viewer.all(".pfv-run > header").forEach((header) => {
      header.insertAdjacentHTML("afterend", '<p class="pfv-now"></p>');
    });
    viewer.find(".pfv-measured").replaceChildren();
    this.section.querySelector(".pfv-partings").replaceChildren();
  }

  /** What the clock, the pair or the image is has changed: fetch what is not here, draw the curve. */
  redraw() {
    this.askFilm();
    this.askWords();
    this.size();
    this.curve();
  }

  /** [frame of one, frame of other] at each tick that is stopped at. */
  moments() {
    const { viewer } = this;
    return viewer.stops.map((tick) => [viewer.frameIndex(this.one, tick), viewer.frameIndex(this.other, tick)]);
  }

  async askFilm() {
    if (!this.ready) {
      [this.film, this.key, this.refusal] = [null, "", ""];
      return;
    }
    const { viewer } = this;
    const [a, b] = this.runs;
    const moments = [...new Map(this.moments().map((pair) => [pair.join(":"), pair])).values()];
    const key = [a.id, b.id, viewer.image, this.of, moments.join(" ")].join();
    if (key === this.key) return;
    [this.film, this.key, this.refusal] = [this.films.get(key) ?? null, key, ""]; // no film of another image or pair
    try {
      if (!this.films.has(key)) this.keep(key, await fetchDifferences(a, b, viewer.image, this.of, moments));
      if (key !== this.key) return; // another was asked for meanwhile
      this.film = this.films.get(key);
    } catch (error) {
      if (key !== this.key) return;
      [this.film, this.refusal] = [null, error.message];
    }
    this.size();
    this.curve();
    viewer.schedule();
  }

  keep(key, film) {
    this.films.set(key, film);
    if (this.films.size > KEPT) this.films.delete(this.films.keys().next().value);
  }

  async askWords() {
    const { runs } = this.viewer;
    if (runs.length < 2 || runs.some((run) => run.active || !run.frames.length)) return;
    const key = [...runs.map((run) => run.id), this.one, this.other, this.threshold].join();
    if (key === this.wordsKey) return;
    this.wordsKey = key;
    let words;
    try {
      words = await fetchWords(runs, this.one, this.other, this.threshold);
    } catch (error) {
      words = { sentences: [error.message], partings: [] };
    }
    if (key !== this.wordsKey) return;
    this.words = words;
    const lines = words.sentences.map((text) => Object.assign(document.createElement("p"), { textContent: text }));
    this.viewer.find(".pfv-measured").replaceChildren(...lines);
    this.listPartings();
  }

  // the curve over the clock

  curve() {
    const { viewer, film } = this;
    const canvas = this.strip.querySelector("canvas");
    const ticks = viewer.clock.ticks.map((v) => (viewer.settings.align === "outer" ? Math.floor(v) + 1 : v));
    const values = new Array(ticks.length).fill(undefined);
    if (film)
      this.moments().forEach(([i, j], k) => {
        values[viewer.stops[k]] = film.rms[film.at(i, j)];
      });
    this.first = values.findIndex((v) => v > this.threshold);
    const unit = UNITS[viewer.settings.align];
    const { threshold, first } = this;
    drawCurve(canvas, { ticks, values, threshold, total: viewer.total, first, unit });
    this.nameCurve(canvas, ticks[first], unit);
  }

  nameCurve(canvas, at, unit) {
    const [one, other] = [LETTERS[this.one], LETTERS[this.other]];
    const title = this.strip.querySelector(".pfv-apart-title");
    const mark = this.strip.querySelector(".pfv-first");
    const what = `RMS of ${other} \u2212 ${one} in ${SHORT[this.of]}`;
    mark.hidden = this.first < 0;
    if (this.film) title.textContent = mark.hidden ? `${what}: never over ${this.threshold}` : what;
    else title.textContent = this.refusal || `${what} ${this.awaited}`;
    canvas.setAttribute("aria-label", `${what} along the clock`);
    if (mark.hidden) return;
    const last = this.first === this.viewer.clock.length - 1;
    mark.firstChild.textContent = `${SHORT[this.of]} first over ${this.threshold}: ${last ? "the result" : `${unit} ${at}`}`;
    const [width] = sizeOf(this.strip);
    const x = columns(width, this.viewer.total).x(this.first);
    const right = x > width - 190;
    mark.style.left = right ? "" : `${x + 8}px`;
    mark.style.right = right ? `${width - x + 8}px` : "";
    title.classList.toggle("pfv-away", x < 360); // the mark would lie over it
  }

  // the wipe and the maps

  /** Whole multiples of the pictures' own pixels, as in the panels. */
  size() {
    const { shape } = this.runs[0] ?? {};
    if (!shape) return;
    const box = this.section.querySelector(".pfv-pair-maps");
    const room = Math.min(LARGEST, box.clientWidth || LARGEST);
    const width = scaled(arrange(shape, [0]), room);
    this.section.querySelectorAll(".pfv-wipe, .pfv-pair-maps .pfv-frame").forEach((each) => {
      each.style.width = `${width}px`;
      each.style.aspectRatio = `${shape.width} / ${shape.height}`;
    });
    forget(this.strip);
    this.bars();
  }

  bars() {
    const { film } = this;
    if (!film) return;
    const { signed, rms } = film.spans;
    const [one, other] = [LETTERS[this.one], LETTERS[this.other]];
    if (this.barred === one + other) return;
    this.barred = one + other;
    const bar = (name, ticks) =>
      `<div class="pfv-ramp" style="background:${gradient(film.colours[name])}"></div><div class="pfv-pair-ticks">${ticks.map((tick) => `<span>${tick}</span>`).join("")}</div>`;
    this.section.querySelector(".pfv-pair-signed .pfv-bar").innerHTML = bar("signed", [
      `\u2212${signed}: ${one} brighter`,
      "0",
      `${other} brighter: +${signed}`,
    ]);
    this.section.querySelector(".pfv-pair-rms .pfv-bar").innerHTML = bar("rms", ["0", rms / 2, `${rms} or more`]);
  }

  wipe(value) {
    const place = Math.max(0, Math.min(100, Number(value)));
    this.section.querySelector(".pfv-wipe").style.setProperty("--pfv-at", `${place}%`);
    this.find("wipe").value = place;
  }

  /** What follows the clock: at most two pictures and two small maps. */
  draw() {
    const { viewer } = this;
    const places = viewer.runs.map((_, r) => viewer.frameIndex(r));
    viewer.all(".pfv-now").forEach((line, r) => this.sayNow(line, viewer.runs[r], places[r]));
    const x = columns(sizeOf(this.strip)[0], viewer.total);
    const head = this.strip.querySelector(".pfv-head");
    head.style.transform = `translateX(${x.x(viewer.index) - x.step / 2}px)`;
    head.style.width = `${Math.max(2, x.step)}px`;
    this.drawWipe(places);
    const k = this.film?.at(places[this.one], places[this.other]);
    const awaited = k === undefined && this.ready && !this.refusal;
    this.section.classList.toggle("pfv-pending", k === undefined && !awaited);
    this.section.classList.toggle("pfv-awaited", awaited); // the maps of before keep the place of those that come
    this.sayPair(k, places);
    if (k === undefined) return;
    this.film.drawSigned(this.section.querySelector(".pfv-pair-signed canvas"), k);
    this.film.drawPatches(this.section.querySelector(".pfv-pair-rms canvas"), k);
    const [run] = this.runs;
    this.section.dataset.run = this.one;
    drawOverlay(viewer, this.section, run, arrange(run.shape, [viewer.image]), places[this.one]);
  }

  /** Where the clock stands that all columns are on. */
  get time() {
    const { clock, index, settings } = this.viewer;
    const [tick, last] = [clock.ticks[index], clock.ticks.at(-1)];
    if (index === clock.length - 1) return "the results";
    if (settings.align === "seconds") return `${tick.toFixed(2)} of ${last.toFixed(2)} seconds`;
    if (settings.align === "outer") return `outer step ${Math.floor(tick) + 1} of ${Math.floor(last)}`;
    return `NFE ${tick} of ${Math.max(...this.viewer.runs.map((run) => run.meta?.nfe ?? 0))}`;
  }

  sayNow(line, run, i) {
    const words = nowOf(run, i, this.viewer.image);
    if (line.textContent === words) return;
    line.textContent = words;
    line.title = readout(run, i, this.viewer.image);
    line.dataset.phase = run.frames[i]?.phase ?? "";
  }

  drawWipe(places) {
    const canvases = this.section.querySelectorAll(".pfv-wipe canvas");
    [this.one, this.other].forEach((r, side) => {
      const run = this.viewer.runs[r];
      const shown = run?.frames[places[r]];
      if (!shown || !run.shape) return;
      const image = Math.min(this.viewer.image, run.shape.images - 1);
      const layout = arrange(run.shape, [image]);
      drawPanel(canvases[side], GUESS, shown, layout, run.meta.grid, this.viewer.palettes, null);
    });
    const words = `${LETTERS[this.one]} left, ${LETTERS[this.other]} right`;
    const note = this.section.querySelector(".pfv-pair-wipe figcaption span");
    if (note.textContent !== words) note.textContent = words;
  }

  get awaited() {
    if (this.ready) return "is being measured";
    return this.runs.some((run) => run?.failed) ? "needs both runs" : "appears when both runs have ended";
  }

  sayPair(k, places) {
    const line = this.section.querySelector(".pfv-pair-now");
    const words = this.refusal || (k === undefined ? `The difference ${this.awaited}.` : this.sentence(k, places));
    if (line.textContent !== words) line.textContent = words;
  }

  /** "B minus A in x1_hat here (A at NFE 12, B at NFE 12): RMS 0.043, most in row 3, column 4: 0.110." */
  sentence(k, places) {
    const { film, viewer } = this;
    const [one, other] = [LETTERS[this.one], LETTERS[this.other]];
    const patches = film.patchesAt(k);
    const spot = viewer.local(this.runs[0], viewer.hover || viewer.pin);
    const chosen = spot && spot.image === viewer.image ? spot.patch : null;
    const patch = chosen ?? patches.indexOf(Math.max(...patches));
    const place = `row ${Math.floor(patch / film.cols) + 1}, column ${(patch % film.cols) + 1}`;
    const where = [this.one, this.other].map((r) => whereIn(viewer.runs[r], places[r], LETTERS[r])).join(", ");
    const which = viewer.shape.images > 1 ? ` of image ${viewer.image + 1}` : "";
    return `${other} minus ${one} in ${SHORT[this.of]}${which} (${where}): RMS ${film.rms[k].toFixed(3)}, ${chosen === null ? "most in" : "in"} ${place}: ${patches[patch].toFixed(3)}.`;
  }

  // where they first part

  listPartings() {
    const [one, other] = [LETTERS[this.one], LETTERS[this.other]];
    const rows = this.words.partings.map((parting, k) =>
      parting
        ? `<li><button type="button" data-parting="${k}">image ${k + 1}: t ${parting.t.toFixed(2)}</button> after outer step ${parting.outer[0]} of ${one}, ${parting.outer[1]} of ${other}; NFE ${parting.nfe[0]} and ${parting.nfe[1]}</li>`
        : `<li>image ${k + 1}: never</li>`,
    );
    this.section.querySelector(".pfv-partings").innerHTML = rows.length
      ? `<h5>States x<sub>t</sub> at equal t first more than ${this.threshold} apart</h5><ul>${rows.join("")}</ul>`
      : "";
  }

  /** To where all patches of an image had come to the time at which its runs first part. */
  goParting(image) {
    const { viewer, one, other } = this;
    const { nfe } = this.words.partings[image];
    const begun = [one, other].map((r, side) => {
      const { frames } = viewer.runs[r];
      const i = frames.findIndex((each) => each.phase === "final" || each.nfe > nfe[side]);
      return viewer.clock.tickOf(r, i < 0 ? frames.length - 1 : i);
    });
    viewer.pause();
    viewer.pickImage(image);
    viewer.go(Math.max(...begun));
  }
}

function whereIn(run, i, letter) {
  const frame = run.frames[i];
  return frame.phase === "final" ? `${letter}'s result` : `${letter} at NFE ${frame.nfe}, ${frame.phase}`;
}
