// One look at a picture: x_t, x1_hat, predicted and true error of every patch, and one against the other.

import { colourAt, css, gradient, loadPalettes, sigmaPlace, sigmaTicks } from "./colours.js";
import { page } from "./shared.js";
import { PLOT, scatter } from "./scatter.js";

const PANELS = [
  { key: "xt", title: "x<sub>t</sub>", note: "what the network sees" },
  { key: "x1_hat", title: "x&#770;<sub>1</sub>", note: "predicted picture" },
  { key: "sigma", title: "predicted &sigma;", note: "the error it expects", map: true },
  { key: "error", title: "true error", note: "RMS of its velocity", map: true },
];
const SIDE = 224; // px: a panel is at most so wide, and two stand side by side
const GAP = 18;
const HINT = "Point at a patch to read its numbers in all panels; arrow keys move from patch to patch.";

export function mount(element, props, watch, trigger) {
  const look = new Look(element.querySelector(".pf-look") || element);
  page.add("look", look);
  watch("value", () => look.show(props.value));
  look.show(props.value);
  const opening = new ResizeObserver(() => {
    if (!look.root.clientWidth) return; // in a tab that is not open yet
    opening.disconnect();
    if (!look.value) trigger("opened", {});
  });
  opening.observe(look.root);
  let wide = 0;
  new ResizeObserver(() => {
    if (look.value && look.root.clientWidth !== wide) PANELS.forEach((panel) => look.draw(panel));
    wide = look.root.clientWidth;
  }).observe(look.root);
}

class Look {
  constructor(root) {
    Object.assign(this, { root, value: null, spot: null, turn: 0, shown: 0 });
    root.innerHTML = markup();
    for (const kind of ["pointermove", "pointerdown"]) root.addEventListener(kind, (e) => this.pointed(e));
    root.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && this.point(null)); // a finger is lifted to read
    root.addEventListener("keydown", (e) => this.keyed(e));
    root.querySelector(".pfl-csv").addEventListener("click", () => this.save());
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  async show(value) {
    if (!value?.grid) return;
    const turn = (this.turn += 1);
    const [palettes, ...images] = await Promise.all([
      loadPalettes(),
      decoded(value.images.xt),
      decoded(value.images.x1_hat),
    ]);
    if (turn !== this.turn) return; // a later look came meanwhile
    Object.assign(this, { value, palettes, images: { xt: images[0], x1_hat: images[1] } });
    const [rows, cols] = value.grid;
    if (this.spot !== null && this.spot >= rows * cols) this.spot = null;
    this.find(".pfl-body").hidden = false;
    this.find(".pfl-said").textContent = value.sentence;
    this.find(".pfl-about").textContent = value.about;
    for (const panel of PANELS) this.draw(panel);
    const plot = this.find(".pfl-plot");
    plot.hidden = !value.sigma;
    if (value.sigma) plot.querySelector("svg").innerHTML = scatter(value, palettes);
    this.point(this.spot);
    this.shown += 1;
  }

  draw({ key, map }) {
    const figure = this.find(`[data-panel=${key}]`);
    figure.hidden = map && !this.value[key];
    if (figure.hidden) return;
    const canvas = figure.querySelector("canvas");
    const { naturalWidth: width, naturalHeight: height } = this.images.xt;
    const room = Math.min(SIDE, (this.root.clientWidth - GAP) / 2);
    const zoom = Math.max(1, Math.floor(room / Math.max(width, height)));
    if (map) this.drawMap(canvas, this.value[key]);
    else {
      [canvas.width, canvas.height] = [width, height];
      canvas.getContext("2d").drawImage(this.images[key], 0, 0);
    }
    figure.style.width = `${width * zoom}px`;
    canvas.style.aspectRatio = `${width} / ${height}`;
    if (map) figure.querySelector(".pfl-ramp").style.background = gradient(this.palettes.sigma);
    if (map)
      figure.querySelector(".pfl-ticks").innerHTML = sigmaTicks(this.palettes.sigmaRange, true)
        .map(([at, text]) => `<span style="left:${100 * at}%">${text}</span>`)
        .join("");
  }

  drawMap(canvas, values) {
    const [rows, cols] = this.value.grid;
    [canvas.width, canvas.height] = [cols, rows];
    const pen = canvas.getContext("2d");
    values.forEach((v, p) => {
      pen.fillStyle = css(colourAt(this.palettes.sigma, sigmaPlace(v, this.palettes.sigmaRange)));
      pen.fillRect(p % cols, Math.floor(p / cols), 1, 1);
    });
  }

  // one patch in all panels

  pointed(event) {
    if (!this.value) return;
    const frame = event.target.closest?.(".pfl-frame");
    const svg = event.target.closest?.("svg");
    if (frame) this.point(this.patchAt(event, frame));
    else if (svg) this.point(this.nearest(event, svg));
    else if (event.type === "pointermove" && event.pointerType === "mouse") this.point(null);
  }

  patchAt(event, frame) {
    const box = frame.getBoundingClientRect();
    const [rows, cols] = this.value.grid;
    const at = (from, start, length, count) =>
      Math.max(0, Math.min(count - 1, Math.floor(((from - start) / length) * count)));
    return at(event.clientY, box.top, box.height, rows) * cols + at(event.clientX, box.left, box.width, cols);
  }

  nearest(event, svg) {
    const box = svg.getBoundingClientRect();
    const [x, y] = [
      ((event.clientX - box.left) / box.width) * PLOT.width,
      ((event.clientY - box.top) / box.height) * PLOT.height,
    ];
    let nearest = null,
      least = 18 ** 2;
    for (const dot of svg.querySelectorAll("circle[data-patch]")) {
      const far = (dot.cx.baseVal.value - x) ** 2 + (dot.cy.baseVal.value - y) ** 2;
      if (far < least) [nearest, least] = [Number(dot.dataset.patch), far];
    }
    return nearest;
  }

  point(spot) {
    this.spot = spot;
    if (!this.value) return;
    const [rows, cols] = this.value.grid;
    for (const mark of this.root.querySelectorAll(".pfl-mark")) {
      mark.hidden = spot === null;
      if (spot === null) continue;
      Object.assign(mark.style, {
        left: `${(100 * (spot % cols)) / cols}%`,
        top: `${(100 * Math.floor(spot / cols)) / rows}%`,
        width: `${100 / cols}%`,
        height: `${100 / rows}%`,
      });
    }
    for (const dot of this.root.querySelectorAll("circle.pfl-on")) dot.classList.remove("pfl-on");
    this.find(`circle[data-patch="${spot}"]`)?.classList.add("pfl-on");
    this.find(".pfl-read").textContent = spot === null ? HINT : this.about(spot);
  }

  about(p) {
    const {
      grid: [, cols],
      t,
      sigma,
      error,
    } = this.value;
    const where = `Row ${Math.floor(p / cols) + 1}, column ${(p % cols) + 1}: t ${t[p].toFixed(2)}, `;
    if (!sigma) return `${where}true error ${error[p].toFixed(3)}.`;
    const times = error[p] / sigma[p];
    const words =
      times > 1.5 ? "worse than it expected" : times < 1 / 1.5 ? "better than it expected" : "as it expected";
    return `${where}expected error σ ${sigma[p].toFixed(3)}, true error ${error[p].toFixed(3)}: ${words}.`;
  }

  keyed(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || !this.value || !event.target.closest(".pfl-frame")) return;
    const [rows, cols] = this.value.grid;
    const now = this.spot ?? 0;
    const row = Math.max(0, Math.min(rows - 1, Math.floor(now / cols) + step[0]));
    const col = Math.max(0, Math.min(cols - 1, (now % cols) + step[1]));
    this.point(row * cols + col);
    event.preventDefault();
    event.stopPropagation();
  }

  /** Every patch's numbers as a CSV file. */
  save() {
    const {
      grid: [, cols],
      t,
      sigma,
      error,
    } = this.value;
    const lines = t.map((v, p) =>
      [Math.floor(p / cols) + 1, (p % cols) + 1, v, sigma ? sigma[p] : "", error[p]].join(","),
    );
    const link = document.createElement("a");
    link.href = URL.createObjectURL(
      new Blob([["row,column,t,sigma,true_error", ...lines, ""].join("\n")], { type: "text/csv" }),
    );
    link.download = "look.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

async function decoded(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

function markup() {
  const bar = '<div class="pfl-bar"><div class="pfl-ramp"></div><div class="pfl-ticks"></div></div>';
  const figures = PANELS.map(
    ({ key, title, note, map }) => `<figure data-panel="${key}">
    <figcaption><b>${title}</b> ${note}</figcaption>
    <div class="pfl-frame" tabindex="0" role="img" aria-label="${note}; arrow keys read patch after patch"><canvas></canvas><i class="pfl-mark" hidden></i></div>
    ${map ? bar : ""}</figure>`,
  ).join("");
  return `<div class="pfl-body" hidden>
    <p class="pfl-said" role="status"></p>
    <div class="pfl-panels">${figures}</div>
    <p class="pfl-read" aria-live="polite">${HINT}</p>
    <figure class="pfl-plot"><figcaption><b>Expected against true</b> one dot per patch, coloured by its time; on the line the prediction is right</figcaption>
      <svg viewBox="0 0 ${PLOT.width} ${PLOT.height}" role="img" aria-label="Scatter of predicted sigma and true error, both logarithmic"></svg></figure>
    <p class="pfl-about"></p>
    <button type="button" class="pfl-csv">Numbers as CSV</button>
  </div>`;
}
