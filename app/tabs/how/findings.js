// Miniature: two of the paper's findings on this page's network, from the results that are kept in the repository.

import { chart, curve } from "./axes.js";
import { make } from "./draw.js";
import { written } from "./shared.js";

const KINDS = { plain: () => "all patches at t", own: (ratio) => `easy patches ahead, at ${ratio} t` };

export function findings(box, content) {
  const { helps, reduces } = content.findings;
  if (!helps && !reduces) {
    box.textContent = "Nothing is kept here of the network that this page shows: make results measures it.";
    return;
  }
  const root = make(`<div class="pfg-mini" data-of="findings"></div>`);
  if (helps) root.append(...part("Loss of the hard patches", "by the time of the easy ones", helps, curvesOf(helps)));
  if (reduces) root.append(...part("Log-variance of the hard patches", key(reduces), reduces, densitiesOf(reduces)));
  box.replaceChildren(root);
}

const key = ({ ratio }) =>
  Object.values(KINDS)
    .map((name, i) => `<i data-curve="${i}"></i>${name(ratio)}`)
    .join(" ");

function part(title, rest, { study, verdict, made }, charts) {
  const box = make(`<div data-finding="${study}"><h3>${title} <span class="pfg-keys">${rest}</span></h3>
    <div class="pfg-charts">${charts}</div><p class="pfg-said" aria-live="off"></p><p class="pfg-made"></p></div>`);
  box.querySelector(".pfg-said").textContent = verdict;
  box.querySelector(".pfg-made").textContent = `Measured on ${made}.`;
  return [box];
}

/** About five round ticks over [from, to]. */
function ticks(from, to) {
  const rough = (to - from) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= rough);
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, k) => {
    const v = Number(((first + k) * step).toPrecision(6));
    return [v, written(v)];
  });
}

const axis = (title, from, to) => ({ title, from, to, ticks: ticks(from, to) });

function curvesOf({ t }) {
  return Object.entries(t)
    .map(([time, { x, change, low, high }]) => {
      const [least, most] = [100 * Math.min(0, ...low), 100 * Math.max(0, ...high)];
      const margin = 0.06 * (most - least);
      const plot = chart({
        title: `t = ${time}`,
        label: `Change of the hard patches' loss by the time of the easy ones, t ${time}`,
        x: axis("context time", Number(time), 1),
        y: axis("change, %", least - margin, most + margin),
      });
      const at = (v, k) => `${plot.x(x[k]).toFixed(1)} ${plot.y(100 * v).toFixed(1)}`;
      const span = [...low.map(at), ...high.map(at).reverse()].join(" L ");
      return plot.markup(`<g data-curve="0"><path class="pfg-span" d="M ${span} Z"/>
        <line class="pfg-zero" x1="${plot.x(Number(time))}" x2="${plot.x(1)}" y1="${plot.y(0)}" y2="${plot.y(0)}"/>
        <path class="pfg-edge" d="M ${change.map(at).join(" L ")}"/></g>`);
    })
    .join("");
}

function densitiesOf({ t }) {
  return Object.entries(t)
    .map(([time, { x, ...of }]) => {
      const most = Math.max(...of.plain, ...of.own);
      const plot = chart({
        title: `t = ${time}`,
        label: `Densities of the hard patches' log-variance, t ${time}`,
        x: axis("predicted log-variance", x[0], x[x.length - 1]),
        y: axis("density", 0, 1.06 * most),
      });
      return plot.markup(
        Object.keys(KINDS)
          .map((kind, i) => curve(plot, x, of[kind], i))
          .join(""),
      );
    })
    .join("");
}
