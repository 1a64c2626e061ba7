// What a timestep sampler draws: eight maps, and how mean and largest t are spread.

import { bars, floats, make, paintPatches, scales, timeColour } from "./draw.js";
import { loadPalettes } from "./colours.js";

const SIDE = 58; // px of a square map; an oblong one has its area

export async function mount(element, props, watch) {
  const root = element.querySelector(".pf-drawn");
  const palettes = await loadPalettes();
  const show = () => props.value && draw(root, props.value, palettes);
  watch("value", show);
  show();
}

function draw(root, value, palettes) {
  const maps = floats(value.maps);
  const { rows, cols } = value.grid;
  const count = maps.length / (rows * cols);
  const histogram = (of, title) =>
    `<div class="pfg-histograms"><div><b>${title}</b><svg viewBox="0 0 100 45" preserveAspectRatio="none" data-of="${of}" role="img" aria-label="How the ${title} of an image is spread"></svg></div><div class="pfg-axis"><span>0</span><span>1</span></div></div>`;
  root.replaceChildren(
    make(`<div class="pfg pft-drawn"><div class="pft-maps">${Array.from(
      { length: count },
      (_, k) => `<canvas role="img" aria-label="Times of sample ${k + 1}"></canvas>`,
    ).join("")}</div>
    <div class="pft-spreads">${histogram("mean", "mean t")}${histogram("largest", "largest t")}</div>${scales(palettes, ["t"])}</div>`),
  );
  root.querySelectorAll("canvas").forEach((canvas, k) => {
    const t = maps.subarray(k * rows * cols, (k + 1) * rows * cols);
    canvas.style.width = `${SIDE * Math.sqrt(cols / rows)}px`;
    canvas.style.height = `${SIDE * Math.sqrt(rows / cols)}px`;
    paintPatches(canvas, value.grid, (p) => timeColour(palettes, t[p]));
  });
  bars(root.querySelector("[data-of=mean]"), value.mean, null, palettes);
  bars(root.querySelector("[data-of=largest]"), value.largest, null, palettes);
}
