// Miniature: one step of a recorded look-ahead run in four beats, with the network's own words.

import {
  NO_RUN,
  beat,
  canvasOf,
  easyColour,
  figure,
  make,
  paintPatches,
  paintPicture,
  scales,
  sigmaColour,
  timeColour,
} from "./draw.js";

const BEATS = ["Look", "Rank", "Look ahead", "Step"];
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / Math.max(1, values.length);

export async function context(box, content, palettes) {
  const run = await content.run;
  if (!run) {
    box.textContent = NO_RUN;
    return;
  }
  const steps = run.frames.flatMap((frame, i) => (frame.phase === "probe" ? [i] : []));
  if (!steps.length) {
    box.textContent = "The recorded run never looks ahead.";
    return;
  }
  new Miniature(box, run, palettes, steps);
}

class Miniature {
  constructor(box, run, palettes, steps) {
    Object.assign(this, { run, palettes, steps, n: run.shape.n, beat: 0, at: Math.floor(steps.length * 0.32) });
    this.root = make(`<div class="pfg-mini">
      <div class="pfg-bar"><div class="pfg-beats" role="group" aria-label="Parts of a step">${BEATS.map(
        (name, i) => `<button type="button" data-beat="${i}">${i + 1} ${name}</button>`,
      ).join("")}</div>
        <label>outer step <input type="range" min="0" max="${steps.length - 1}" value="${this.at}" aria-label="Outer step"></label></div>
      <div class="pfg-row">${figure("x1", "x&#770;<sub>1</sub>", "prediction")}${figure("t", "time t", "")}${figure("sigma", "difficulty &sigma;", "")}${figure("easy", "easy / hard", "")}</div>
      ${scales(palettes)}<p class="pfg-said" aria-live="off"></p></div>`);
    box.replaceChildren(this.root);
    this.root.addEventListener("click", (event) => {
      const chosen = event.target.closest("[data-beat]");
      if (chosen) this.show(Number(chosen.dataset.beat));
    });
    this.root.querySelector("input").addEventListener("input", (event) => {
      this.at = Number(event.target.value);
      this.show(this.beat);
    });
    beat(this.root, 2400, () => this.show((this.beat + 1) % BEATS.length));
    this.show(0);
  }

  /** The frames of this step: first look, probe, and what came of it. */
  get frames() {
    const i = this.steps[this.at];
    return [this.run.frames[i - 1], this.run.frames[i], this.run.frames[i + 1]];
  }

  show(which) {
    this.beat = which;
    const [look, probe, after] = this.frames;
    const frame = which < 2 ? look : which === 2 ? probe : after;
    const sigma = frame.phase === "final" ? probe : frame;
    const { shape, meta } = this.run;
    paintPicture(canvasOf(this.root, "x1"), [shape.height, shape.width], frame.x1_hat, 0);
    paintPatches(canvasOf(this.root, "t"), meta.grid, (p) => timeColour(this.palettes, frame.t[p]));
    paintPatches(canvasOf(this.root, "sigma"), meta.grid, (p) =>
      sigmaColour(this.palettes, Math.exp(sigma.logvar[p] / 2)),
    );
    paintPatches(canvasOf(this.root, "easy"), meta.grid, (p) => easyColour(look.easy[p] === 1));
    this.root.querySelector("[data-at=easy]").classList.toggle("pfg-later", which === 0);
    this.root.querySelectorAll("[data-beat]").forEach((button, i) => button.setAttribute("aria-pressed", i === which));
    this.root.querySelector("p").textContent = this.words(which, look, probe, after);
  }

  words(which, look, probe, after) {
    const patches = Array.from({ length: this.n }, (_, p) => p);
    const hard = patches.filter((p) => look.easy[p] === 0);
    const easy = patches.filter((p) => look.easy[p] === 1);
    const of = (frame) => mean(hard.map((p) => Math.exp(frame.logvar[p] / 2)));
    const t = (frame, set) => (set.length ? frame.t[set[0]].toFixed(2) : "");
    if (which === 0)
      return `Every patch is at t ${t(look, patches)}. One forward pass gives each patch a velocity and how uncertain it is.`;
    if (which === 1)
      return `${easy.length} of ${this.n} patches have \u03c3 under ${Math.sqrt(look.threshold[0]).toFixed(2)}: easy. The other ${hard.length} are hard.`;
    if (which === 2)
      return `Easy patches are moved ahead to t ${t(probe, easy)}, hard ones stay at ${t(probe, hard)}. In a second forward pass the hard patches' mean \u03c3 goes from ${of(look).toFixed(3)} to ${of(probe).toFixed(3)}.`;
    return `Back to t ${t(look, patches)}, then one step for all to ${t(after, patches)}: easy patches by the first velocity, hard ones by the second.`;
  }
}
