// Three looks at a run, as the paper's overview of uncertainty: one-step prediction and sigma where t is 0.2, 0.5, 0.8.

import { gradient, sigmaTicks } from "./colours.js";
import { arrange, drawPanel, PANELS } from "./panels.js";
import { decodeFrame } from "./pictures.js";

export const TIMES = [0.2, 0.5, 0.8];
const SHOWN = PANELS.filter((panel) => panel.key === "x1" || panel.key === "sigma");

/** Mean t over the patches of some images of a frame. */
function meanTime(frame, n, images) {
  let sum = 0;
  for (const image of images) for (let i = image * n; i < (image + 1) * n; i += 1) sum += frame.t[i];
  return sum / (n * images.length);
}

/** For each of TIMES the outer pass whose mean t is nearest, among those that predict a sigma if any does: [{i, t}].
 * In other passes some patches are ahead, and sigma says more about that than about the picture. */
export function nearest(run, images) {
  const { n } = run.shape;
  const passes = run.frames.map((frame, i) => ({ frame, i })).filter(({ frame }) => frame.phase === "outer");
  const sure = passes.filter(({ frame }) => !Number.isNaN(frame.logvar[images[0] * n]));
  const known = (sure.length ? sure : passes).map(({ frame, i }) => ({ i, t: meanTime(frame, n, images) }));
  return TIMES.map((time) =>
    known.reduce((best, each) => (Math.abs(each.t - time) < Math.abs(best.t - time) ? each : best), known[0]),
  );
}

/** Cells of one run: a pair of pictures for each time, [{panel, i, words, title, row, column}]. */
export function looks(run, images) {
  return nearest(run, images).flatMap(({ i, t }, column) => {
    const { outer, nfe } = run.frames[i];
    return SHOWN.map((panel, row) => {
      const words = `t ${t.toFixed(2)}, outer step ${outer + 1}, NFE ${nfe}`;
      return { panel, i, words, title: `t ${t.toFixed(2)}`, row, column };
    });
  });
}

/** Draw a look into its canvas; a picture that has been let go of is decoded again first. */
export async function drawLook(canvas, viewer, run, { panel, i }) {
  const frame = run.frames[i];
  if (panel.image && !frame[panel.image]) await decodeFrame(frame, run.shape);
  const layout = arrange(run.shape, viewer.imagesOf(run));
  drawPanel(canvas, panel, frame, layout, run.meta.grid, viewer.palettes, viewer.palettes.sigmaRange);
}

/** A bar of sigma on the fixed scale, as markup. */
export const sigmaMarkup = (palettes) =>
  `<div class="pfv-ramp" style="background:${gradient(palettes.sigma)}"></div><div class="pfv-ticks">${sigmaTicks(
    palettes.sigmaRange,
    true,
  )
    .map(
      ([place, text, minor]) => `<span style="left:${100 * place}%"${minor ? ' class="pfv-minor"' : ""}>${text}</span>`,
    )
    .join("")}</div>`;

/** The card of Explore and Compare: one row a run, filled when it is open. */
export class TimesCard {
  constructor(viewer) {
    this.viewer = viewer;
    this.box = document.createElement("section");
    this.box.className = "pfv-card pfv-times";
    this.box.hidden = true;
    this.box.innerHTML = `<h4>Prediction and difficulty where the mean t is ${TIMES.join(", ")}</h4><div></div>`;
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "pfv-link";
    this.button.textContent = `t = ${TIMES.join(" / ")}`;
    this.button.title = "The prediction and its difficulty at three times, side by side";
    this.button.setAttribute("aria-expanded", "false");
    this.button.addEventListener("click", () => this.toggle());
    const foot = viewer.find(".pfv-foot");
    foot.before(this.box);
    foot.prepend(this.button);
    this.box.addEventListener("click", (event) => {
      const look = event.target.closest("[data-frame]");
      if (look) viewer.goFrame(Number(look.dataset.of), Number(look.dataset.frame));
    });
  }

  toggle() {
    this.box.hidden = !this.box.hidden;
    this.button.setAttribute("aria-expanded", String(!this.box.hidden));
    this.key = "";
    this.draw();
    if (!this.box.hidden) this.box.scrollIntoView({ block: "nearest" });
  }

  draw() {
    const { viewer } = this;
    if (this.box.hidden || !viewer.ready) return;
    const runs = viewer.runs.filter((run) => run.frames.some((frame) => frame.phase === "outer"));
    const key = [viewer.held, viewer.sheet, viewer.image, ...runs.map((run) => run.id)].join();
    if (key === this.key) return;
    this.key = key;
    const found = runs.map((run) => looks(run, viewer.imagesOf(run)));
    this.box.querySelector("div").innerHTML = runs.map((run, r) => this.markup(run, r, found[r])).join("");
    this.box.querySelectorAll("figure").forEach((figure) => {
      const run = runs[figure.dataset.run];
      const { width, height } = arrange(run.shape, viewer.imagesOf(run));
      const canvas = figure.querySelector("canvas");
      canvas.style.aspectRatio = `${width} / ${height}`;
      drawLook(canvas, viewer, run, found[figure.dataset.run][figure.dataset.look]);
    });
    this.box.querySelectorAll(".pfv-times-name").forEach((name, r) => {
      name.textContent = runs[r].label; // a person's text
    });
  }

  /** Of the r-th run that is shown here. */
  markup(run, r, cells) {
    const of = this.viewer.runs.indexOf(run);
    const name = this.viewer.runs.length > 1 ? '<h5 class="pfv-times-name"></h5>' : "";
    const groups = TIMES.map((time, column) => {
      const pair = cells.filter((cell) => cell.column === column);
      const { i, words } = pair[0];
      const pictures = pair
        .map(
          (cell) =>
            `<figure data-run="${r}" data-look="${cells.indexOf(cell)}"><canvas role="img" aria-label="${cell.panel.key} at ${words}"></canvas><figcaption>${cell.panel.title}</figcaption>${cell.panel.map ? `<div class="pfv-bar">${sigmaMarkup(this.viewer.palettes)}</div>` : ""}</figure>`,
        )
        .join("");
      return `<div class="pfv-look"><button type="button" data-of="${of}" data-frame="${i}" title="Go to this pass"><b>t = ${time}</b> ${words}</button><div>${pictures}</div></div>`;
    }).join("");
    return `${name}<div class="pfv-looks">${groups}</div>`;
  }
}
