// Miniature: what training sees under each way of drawing times.

import { bars, beat, canvasOf, figure, floats, make, paintPatches, paintState, timeColour } from "./draw.js";

export function times(box, content, palettes) {
  const laws = content.timesteps.map((law) => ({ ...law, maps: floats(law.maps) }));
  const n = content.grid.rows * content.grid.cols;
  let [law, k] = [laws.find((each) => each.name === content.first) ?? laws[0], 0];
  const root = make(`<div class="pfg-mini">
    <div class="pfg-bar"><label>Timestep sampler <select aria-label="Timestep sampler">${laws
      .map((each, i) => `<option value="${i}">${each.label}</option>`)
      .join("")}</select></label><button type="button">Draw again</button></div>
    <div class="pfg-row">${figure("x", "x<sub>t</sub>", "what the network sees")}${figure("t", "time t", "0 noise, 1 image")}
      <div class="pfg-histograms"><div><b>mean t</b> of an image<svg viewBox="0 0 100 45" preserveAspectRatio="none" data-of="mean" role="img" aria-label="How the mean time of an image is spread"></svg></div>
      <div><b>largest t</b> of an image<svg viewBox="0 0 100 45" preserveAspectRatio="none" data-of="largest" role="img" aria-label="How the largest time of an image is spread"></svg></div>
      <div class="pfg-axis"><span>0</span><span>&#9650; this draw</span><span>1</span></div></div></div>
    <p class="pfg-said" aria-live="off"></p></div>`);
  box.replaceChildren(root);
  const select = root.querySelector("select");
  select.value = String(laws.indexOf(law));

  function show() {
    const t = law.maps.subarray(k * n, (k + 1) * n);
    const mean = t.reduce((sum, v) => sum + v, 0) / n;
    const largest = Math.max(...t);
    paintState(canvasOf(root, "x"), content, (p) => t[p]);
    paintPatches(canvasOf(root, "t"), content.grid, (p) => timeColour(palettes, t[p]));
    bars(root.querySelector("[data-of=mean]"), law.mean, mean, palettes);
    bars(root.querySelector("[data-of=largest]"), law.largest, largest, palettes);
    const clean = law.largest.slice(Math.ceil(law.largest.length * 0.9)).reduce((sum, v) => sum + v, 0);
    root.querySelector("p").textContent =
      `This draw: mean t ${mean.toFixed(2)}, largest ${largest.toFixed(2)}. Images with a patch beyond t = 0.92: ${Math.round(100 * clean)} in 100.`;
  }

  function next() {
    k = (k + 1) % (law.maps.length / n);
    show();
  }
  select.addEventListener("change", () => {
    law = laws[Number(select.value)];
    k = 0;
    show();
  });
  root.querySelector("button").addEventListener("click", next);
  beat(root, 1600, next);
  show();
}
