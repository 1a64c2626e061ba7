// Miniature: the law of t_max, and of the other times below it, for several widths sigma.

import { chart, curve, T_MAX, ticksTo } from "./axes.js";
import { floats, make } from "./draw.js";

const TIMES = [
  [0, "0"],
  [0.5, "0.5"],
  [1, "1"],
];
const MAX = "t<sub>max</sub>";
const ALL = -1;

export function densities(box, content) {
  const maximum = content.densities.maximum.map((each) => ({ ...each, t: floats(each.t), p: floats(each.p) }));
  const below = content.densities.below.map(({ t_max, curves }) => ({
    t_max,
    curves: curves.map((each) => ({ ...each, t: floats(each.t), p: floats(each.p) })),
  }));
  const widths = below[0].curves.map((each) => each.std);
  const root = make(`<div class="pfg-mini">
    <div class="pfg-laws"><div class="pfg-law"><h3>First t<sub>max</sub> <span>logit(t<sub>max</sub>) ~ N(loc, scale&sup2;), for three (loc, scale)</span></h3>
    <div class="pfg-charts">${ofMaximum(maximum)}
      <ul class="pfg-key">${maximum.map(({ pair }, i) => `<li data-curve="${i}">(${pair.join(", ")})</li>`).join("")}</ul></div></div>
    <div class="pfg-law"><h3>Then the other patches <span>below t<sub>max</sub>, half a Gaussian of width &sigma;</span></h3>
    <div class="pfg-bar" role="group" aria-label="Width of the Gaussian"><button type="button" data-width="${ALL}">all &sigma;</button>${widths
      .map((std, i) => `<button type="button" data-width="${i}"><i data-curve="${i}"></i>&sigma; ${std}</button>`)
      .join("")}</div>
    <div class="pfg-charts" data-charts="below"></div></div></div>
    <p class="pfg-said" aria-live="off"></p></div>`);
  box.replaceChildren(root);

  function show(chosen) {
    root.querySelector("[data-charts]").innerHTML = below.map((each) => belowOne(each, chosen)).join("");
    root
      .querySelectorAll("[data-width]")
      .forEach((button) => button.setAttribute("aria-pressed", Number(button.dataset.width) === chosen));
    root.querySelector("p").innerHTML = chosen === ALL ? wordsOfAll(below, widths) : words(below, chosen);
  }
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-width]");
    if (button) show(Number(button.dataset.width));
  });
  show(ALL);
}

function axis(title, most) {
  return { title, from: 0, to: most * 1.06, ticks: ticksTo(most).map((v) => [v, String(v)]) };
}

const highest = (curves) => Math.max(...curves.flatMap(({ p }) => [...p]));

function ofMaximum(curves) {
  const plot = chart({
    title: `p(${T_MAX})`,
    label: "Density of the largest time for three settings",
    x: { title: T_MAX, from: 0, to: 1, ticks: TIMES },
    y: axis("density", highest(curves)),
    width: 300,
  });
  return plot.markup(curves.map(({ t, p }, i) => curve(plot, t, p, i)).join(""));
}

function belowOne({ t_max, curves }, chosen) {
  const plot = chart({
    title: `${T_MAX} = ${t_max}`,
    label: `Density of a patch's time below t_max ${t_max}, for each width`,
    x: { title: "t", from: 0, to: 1, ticks: TIMES },
    y: axis(`p(t | ${T_MAX})`, highest(curves)),
  });
  return plot.markup(curves.map(({ t, p }, i) => curve(plot, t, p, i, chosen !== ALL && i !== chosen)).join(""));
}

const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)}%`;

/** Where all widths are one law, as the Gaussian is cut to half of the maximum. */
function wordsOfAll(below, widths) {
  const merged = below.filter(({ curves }) => new Set(curves.map((each) => each.width)).size === 1);
  const where = merged.map((each) => each.t_max).join(", ");
  return `No patch is cleaner than ${MAX}. The width is never more than ${MAX} / 2${
    where ? `, so that at ${MAX} ${where} the curves of all ${widths.length} widths are one` : ""
  }. Each axis of density has a scale of its own; every curve has area 1.`;
}

function words(below, chosen) {
  const each = below.map(({ t_max, curves }) => ({ t_max, ...curves[chosen] }));
  const cut = each.filter(({ std, width }) => width < std).map(({ t_max }) => t_max);
  const means = each.map(({ mean }) => mean.toFixed(2)).join(", ");
  const again = each.map(({ redrawn }) => percent(redrawn)).join(", ");
  return `\u03c3 ${each[0].std}: from left to right the mean t of a patch is ${means}; ${again} of the patches fell below 0 and were drawn again, evenly from 0 to ${MAX}.${
    cut.length ? ` At ${MAX} ${cut.join(", ")} the width is cut to ${MAX} / 2.` : ""
  }`;
}
