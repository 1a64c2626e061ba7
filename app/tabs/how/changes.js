// Miniature: what goes into the plain network and into Patch Forcing's, and what comes out. Real forward passes.

import {
  canvasOf,
  figure,
  floats,
  make,
  paintPatches,
  paintPicture,
  paintState,
  pixels,
  scales,
  sigmaColour,
  timeColour,
} from "./draw.js";

const NOTES = { with: "one a patch", without: "one for all" };

export function changes(box, content, palettes) {
  const networks = content.networks.map((each) => ({
    ...each,
    t: floats(each.t),
    x1_hat: pixels(each.x1_hat),
    sigma: each.sigma && floats(each.sigma),
    error: floats(each.error),
  }));
  const n = content.grid.rows * content.grid.cols;
  const root = make(`<div class="pfg-mini"><div class="pfg-bar"><label>t around <output></output>
    <input type="range" min="0" max="${content.times.length - 1}" value="4" aria-label="Time"></label></div>
    ${networks
      .map(
        (
          each,
          i,
        ) => `<div class="pfg-network" data-network="${i}"><h4>${each.sigma ? "Patch Forcing" : "Plain SiT"} <span>${each.name}</span></h4>
      <div class="pfg-row">${figure("x", "x<sub>t</sub>", "in")}${figure("t", "time t", NOTES[each.sigma ? "with" : "without"])}
      <div class="pfg-arrow" aria-hidden="true">&#10142;</div>${figure("x1", "x&#770;<sub>1</sub>", "from v")}
      ${figure("error", "error", "true, of v")}${each.sigma ? figure("sigma", "&sigma;", "predicted") : '<figure class="pfg-none"><figcaption><b>&sigma;</b></figcaption><div>no such output</div></figure>'}</div></div>`,
      )
      .join("")}
    ${scales(palettes)}<p class="pfg-said">One forward pass each, on an image that neither was trained on (${content.label}). Error and &sigma; share one logarithmic scale.</p></div>`);
  box.replaceChildren(root);
  const slider = root.querySelector("input");

  function show() {
    const k = Number(slider.value);
    root.querySelector("output").textContent = content.times[k].toFixed(1);
    networks.forEach((each, i) => {
      const part = root.querySelector(`[data-network="${i}"]`);
      const at = (values) => values.subarray(k * n, (k + 1) * n);
      const [t, error] = [at(each.t), at(each.error)];
      paintState(canvasOf(part, "x"), content, (p) => t[p]);
      paintPatches(canvasOf(part, "t"), content.grid, (p) => timeColour(palettes, t[p]));
      paintPicture(canvasOf(part, "x1"), content.size, each.x1_hat, k);
      paintPatches(canvasOf(part, "error"), content.grid, (p) => sigmaColour(palettes, error[p]));
      if (each.sigma)
        paintPatches(canvasOf(part, "sigma"), content.grid, (p) => sigmaColour(palettes, at(each.sigma)[p]));
    });
  }
  slider.addEventListener("input", show);
  show();
}
