// Miniature: training and inference in one moving picture, of real forward passes and a recorded run.

import {
  NO_RUN,
  beat,
  canvasOf,
  easyColour,
  figure,
  floats,
  make,
  paintPatches,
  paintPicture,
  paintState,
  pixels,
  scales,
  sigmaColour,
  stillWanted,
  timeColour,
} from "./draw.js";

const NETWORK = `<div class="pfg-box"><i aria-hidden="true">&#10142;</i><b>network</b><i aria-hidden="true">&#10142;</i></div>`;
const STAGES = [["x1"], ["t"], ["xt"], ["x1_hat", "sigma", "error"]]; // what each stage of training adds
const REST = 2; // beats that a finished stage of training stays
const FADE = 8; // pictures between image and noised image
const AHEAD = ["probe", "inner"]; // passes that see easy patches ahead of the others
const PASSES = 12; // outer steps of the recorded run that are shown

export async function overview(box, content, palettes) {
  const root = make(`<div class="pfg-mini pfg-overview">
    <div class="pfg-line" data-line="training"><h3>Training <span>an image and its noise are known</span></h3>
      <div class="pfg-row">${figure("x1", "x<sub>1</sub>", "image")}${figure("t", "time t", "one a patch")}${figure("xt", "x<sub>t</sub>", "noised")}
      ${NETWORK}${figure("x1_hat", "x&#770;<sub>1</sub>", "prediction")}${figure("sigma", "&sigma;", "predicted")}${figure("error", "error", "true, of v")}</div>
      <p class="pfg-said" aria-live="off"></p></div>
    <div class="pfg-line" data-line="inference"><h3>Inference <span>only noise is known</span></h3>
      <div class="pfg-row">${figure("run-x", "x<sub>t</sub>", "so far")}${figure("run-t", "time t", "one a patch")}
      ${NETWORK}${figure("run-x1", "x&#770;<sub>1</sub>", "prediction")}${figure("run-sigma", "&sigma;", "predicted")}${figure("run-easy", "easy / hard", "who leads")}</div>
      <p class="pfg-said" aria-live="off">The recorded run is being read.</p></div>
    ${scales(palettes)}<div class="pfg-bar pfg-below"><button type="button" data-act="next">Next picture</button></div></div>`);
  box.replaceChildren(root);
  const parts = [new Training(root.querySelector("[data-line=training]"), content, palettes)];
  root.querySelector("button").addEventListener("click", () => parts.forEach((part) => part.next()));
  beat(root, 900, () => parts.forEach((part) => part.next()));
  const run = await content.run;
  const inference = root.querySelector("[data-line=inference]");
  if (run) parts.push(new Inference(inference, run, palettes));
  else inference.querySelector(".pfg-said").textContent = NO_RUN;
}

class Training {
  constructor(root, content, palettes) {
    Object.assign(this, { root, content, palettes, n: content.grid.rows * content.grid.cols });
    const { t, x1_hat, sigma, error } = content.training;
    Object.assign(this, { t: floats(t), guesses: pixels(x1_hat), sigma: sigma && floats(sigma), error: floats(error) });
    this.draws = this.t.length / this.n;
    this.tick = this.draw = 0;
    this.show(STAGES.length - 1);
  }

  /** The next stage; after the last one and a rest, another draw. */
  next() {
    this.tick += 1;
    if (this.tick >= STAGES.length + REST) [this.tick, this.draw] = [0, (this.draw + 1) % this.draws];
    this.show(Math.min(this.tick, STAGES.length - 1));
  }

  show(stage) {
    const at = (values) => values.subarray(this.draw * this.n, (this.draw + 1) * this.n);
    const { root, content, palettes } = this;
    const t = at(this.t);
    const patches = (key, colour) => paintPatches(canvasOf(root, key), content.grid, colour);
    paintState(canvasOf(root, "x1"), content, () => 1);
    patches("t", (p) => timeColour(palettes, t[p]));
    paintPicture(canvasOf(root, "x1_hat"), content.size, this.guesses, this.draw);
    if (this.sigma) patches("sigma", (p) => sigmaColour(palettes, at(this.sigma)[p]));
    patches("error", (p) => sigmaColour(palettes, at(this.error)[p]));
    this.fade(t, stage === 2 && !stillWanted(root));
    STAGES.forEach((keys, k) => keys.forEach((key) => reached(root, key, k <= stage)));
    root.querySelector("p").textContent = this.words(stage, t);
  }

  /** x_t, at once or out of the image: each patch sinks to its own time. */
  fade(t, slowly) {
    clearInterval(this.fading);
    const paint = (share) => paintState(canvasOf(this.root, "xt"), this.content, (p) => 1 - share * (1 - t[p]));
    if (!slowly) return paint(1);
    let k = 0;
    this.fading = setInterval(() => {
      k += 1;
      paint(k / FADE);
      if (k === FADE) clearInterval(this.fading);
    }, 60);
    return paint(0);
  }

  words(stage, t) {
    const largest = Math.max(...t).toFixed(2);
    const mean = (t.reduce((sum, v) => sum + v, 0) / this.n).toFixed(2);
    return [
      "1. Take an image of the training set.",
      `2. Draw a time for each patch: the largest is ${largest}, the mean ${mean}.`,
      "3. Mix each patch with noise: clear where t is large, noise where t is small.",
      "4. The network predicts v, and so the image, and how far off v is. Both are compared with the truth, which is known here.",
    ][stage];
  }
}

class Inference {
  constructor(root, run, palettes) {
    Object.assign(this, { root, run, palettes, k: 0 });
    const { frames } = run;
    const ahead = frames.flatMap((frame, i) =>
      AHEAD.includes(frame.phase) && frames[i - 1].phase === "outer" ? [i] : [],
    );
    const steps = ahead.length ? ahead : frames.slice(0, -1).map((_, i) => i); // a sampler that moves nobody ahead
    const thin = steps.filter((_, k) => k % Math.max(1, Math.floor(steps.length / PASSES)) === 0);
    this.ahead = ahead.length > 0;
    this.shown = [...(ahead.length ? thin.flatMap((i) => [i - 1, i]) : thin), frames.length - 1];
    this.k = Math.max(0, Math.floor(this.shown.length / 4) * 2 - 1); // a pass with some ahead: there is most to see
    this.show();
  }

  next() {
    this.k = (this.k + 1) % this.shown.length;
    this.show();
  }

  show() {
    const { run, root, palettes } = this;
    const { shape, meta } = run;
    const i = this.shown[this.k];
    const frame = run.frames[i];
    const passed = frame.phase === "final" ? run.frames[i - 1] : frame;
    const easy = run.frames[run.decider(i)].easy;
    const patches = (key, colour) => paintPatches(canvasOf(root, key), meta.grid, colour);
    paintPicture(canvasOf(root, "run-x"), [shape.height, shape.width], frame.x, 0);
    patches("run-t", (p) => timeColour(palettes, frame.t[p]));
    paintPicture(canvasOf(root, "run-x1"), [shape.height, shape.width], frame.x1_hat, 0);
    patches("run-sigma", (p) => sigmaColour(palettes, Math.exp(passed.logvar[p] / 2)));
    patches("run-easy", (p) => easyColour(easy[p] === 1));
    reached(root, "run-easy", frame.phase !== "final");
    root.querySelector("p").textContent = this.words(frame);
  }

  words(frame) {
    const times = [...frame.t.subarray(0, this.run.shape.n)];
    const [low, high] = [Math.min(...times).toFixed(2), Math.max(...times).toFixed(2)];
    if (frame.phase === "final") return `After ${frame.nfe} passes every patch is at t = 1: the image is finished.`;
    if (AHEAD.includes(frame.phase))
      return `Pass ${frame.nfe}: easy patches are ahead at t ${high}, as context for the hard ones at t ${low}.`;
    if (!this.ahead) return `Pass ${frame.nfe}: every patch is at t ${low}.`;
    return `Pass ${frame.nfe}: every patch is at t ${low}. The patches with the smallest \u03c3 are called easy.`;
  }
}

function reached(root, key, here) {
  root.querySelector(`[data-at="${key}"]`).classList.toggle("pfg-later", !here);
}
