// Colour bars under the maps.

import { gradient, sigmaTicks } from "./panels.js";

const markup = (colours, ticks) =>
  `<div class="pfv-ramp" style="background:${colours}"></div><div class="pfv-ticks">${ticks.map(([place, text, minor]) =>
    `<span style="left:${100 * place}%"${minor ? ' class="pfv-minor"' : ""}>${text}</span>`).join("")}</div>`;

const SWATCHES = '<div class="pfv-swatches"><i class="pfv-easy"></i>easy<i class="pfv-hard"></i>hard<span class="pfv-rare"><i class="pfv-unranked"></i>not ranked</span></div>';

const guided = (viewer, figure) => viewer.runs[Number(figure.closest(".pfv-run").dataset.run)].meta?.guided;

export function drawBars(viewer) {
  for (const figure of viewer.all("figure[data-panel]")) {
    const { panel } = figure.dataset;
    const bar = figure.querySelector(".pfv-bar");
    if (panel === "t") bar.innerHTML = markup(gradient(viewer.palettes.t), [[0, "0"], [0.5, "0.5"], [1, "1"]]);
    if (["sigma", "cond"].includes(panel)) sigmaBar(viewer, figure, viewer.palettes.sigmaRange);
    if (panel === "easy") bar.innerHTML = SWATCHES;
    if (panel === "sigma") figure.querySelector("figcaption span").textContent = guided(viewer, figure) ? "extrapolated" : "expected error";
    if (panel === "sigma") figure.querySelector("figcaption").title = guided(viewer, figure) ? "Extrapolated by the guidance, as the velocity is: this value decides who is easy, but is no calibrated error any more." : "";
  }
}

export function sigmaBar(viewer, figure, scale) {
  figure.querySelector(".pfv-bar").innerHTML = markup(gradient(viewer.palettes.sigma), sigmaTicks(scale, !viewer.settings.perFrame));
}

/** The bars of sigma alone, after the switch between the fixed scale and a frame's own. */
export function sigmaBars(viewer) {
  for (const figure of viewer.all("figure[data-panel=sigma], figure[data-panel=cond]")) sigmaBar(viewer, figure, viewer.palettes.sigmaRange);
}
