// Colour bars under the maps.

import { gradient, sigmaTicks } from "./colours.js";

const markup = (colours, ticks) =>
  `<div class="pfv-ramp" style="background:${colours}"></div><div class="pfv-ticks">${ticks
    .map(
      ([place, text, minor]) => `<span style="left:${100 * place}%"${minor ? ' class="pfv-minor"' : ""}>${text}</span>`,
    )
    .join("")}</div>`;

const SWATCHES =
  '<div class="pfv-swatches"><i class="pfv-easy"></i>easy<i class="pfv-hard"></i>hard<span class="pfv-rare"><i class="pfv-unranked"></i>not ranked</span></div>';

const guided = (viewer, figure) => viewer.runs[Number(figure.closest(".pfv-run").dataset.run)].meta?.guided;

export function drawBars(viewer) {
  viewer.find(".pfv-t-key b").style.background = gradient(viewer.palettes.t);
  for (const figure of viewer.all("figure[data-panel]")) {
    const { panel } = figure.dataset;
    const bar = figure.querySelector(".pfv-bar");
    if (panel === "t")
      bar.innerHTML = markup(gradient(viewer.palettes.t), [
        [0, "0"],
        [0.5, "0.5"],
        [1, "1"],
      ]);
    if (["sigma", "cond"].includes(panel)) sigmaBar(viewer, figure, viewer.palettes.sigmaRange);
    if (panel === "easy") bar.innerHTML = SWATCHES;
    if (panel === "sigma") nameSigma(figure, guided(viewer, figure));
  }
}

export const EXTRAPOLATED = "\u03c3 extrapolated";

/** Under guidance two values stand side by side: the one that decides is extrapolated, as the velocity is. */
function nameSigma(figure, extrapolated) {
  figure.querySelector("figcaption b").textContent = extrapolated ? EXTRAPOLATED : "difficulty \u03c3";
  figure.querySelector("figcaption").title = extrapolated
    ? "Extrapolated by the guidance: it decides who is easy, but is no calibrated error any more."
    : "";
}

/** Of a word's share of a patch's attention: the least and the largest that are shown, in words, once there are any. */
export function wordBar(viewer, figure, ends = ["least", "most"]) {
  const bar = figure.querySelector(".pfv-bar");
  if (bar.ends === ends.join()) return;
  bar.ends = ends.join();
  bar.innerHTML = markup(
    gradient(viewer.palettes.word),
    ends.map((text, place) => [place, text]),
  );
}

export function sigmaBar(viewer, figure, scale) {
  figure.querySelector(".pfv-bar").innerHTML = markup(
    gradient(viewer.palettes.sigma),
    sigmaTicks(scale, !viewer.settings.perFrame),
  );
}

/** The bars of sigma alone, after the switch between the fixed scale and a frame's own. */
export function sigmaBars(viewer) {
  for (const figure of viewer.all("figure[data-panel=sigma], figure[data-panel=cond]"))
    sigmaBar(viewer, figure, viewer.palettes.sigmaRange);
}
