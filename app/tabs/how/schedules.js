// Miniature: which times nine patches go through under each sampler; the real samplers on a toy network.

import { chart } from "./axes.js";
import { css } from "./colours.js";
import { beat, canvasOf, figure, floats, make, paintPatches, scales, timeColour } from "./draw.js";

const START = 5; // where the pictures stand until they move: times differ there
const PHASES = { outer: "first pass", inner: "inner pass", probe: "look ahead" };

export function schedules(box, content, palettes) {
  const { side, shares } = content.schedules;
  const n = side * side;
  const runs = content.schedules.runs.map((row) => row.map((run) => ({ ...run, t: floats(run.t) })));
  const longest = Math.max(...runs[0].map((run) => run.phase.length));
  let [share, k] = [Math.floor((shares.length - 1) / 2), START];
  const root = make(`<div class="pfg-mini">
    <div class="pfg-bar"><label>NFE <output data-of="nfe"></output><input type="range" data-set="nfe" min="0" max="${longest - 1}" value="0" aria-label="Network evaluation"></label>
      <label>share p of easy patches <output data-of="p"></output><input type="range" data-set="p" min="0" max="${shares.length - 1}" value="${share}" aria-label="Share of easy patches"></label></div>
    <div class="pfg-schedules">${runs[0].map((_, i) => `<div class="pfg-schedule" data-run="${i}"><h3></h3><div class="pfg-row">${figure("now", "now", "")}<div data-chart></div></div><p class="pfg-said" aria-live="off"></p></div>`).join("")}</div>
    ${scales(palettes, ["t"])}</div>`);
  box.replaceChildren(root);
  const parts = [...root.querySelectorAll("[data-run]")];
  const [nfe, p] = ["nfe", "p"].map((name) => root.querySelector(`[data-set=${name}]`));

  function draw() {
    root.querySelector("[data-of=p]").textContent = shares[share];
    runs[share].forEach((run, i) => {
      const [name, rest = ""] = run.label.replace(/\)$/, "").split(" (");
      parts[i].querySelector("h3").innerHTML =
        `${name} <span>${rest}${rest && "; "}${run.steps} outer steps, ${run.nfe.at(-1)} NFE</span>`;
      parts[i].querySelector("[data-chart]").innerHTML = map(run, n, longest, palettes);
    });
    move();
  }

  function move() {
    nfe.value = String(k);
    root.querySelector("[data-of=nfe]").textContent = k < longest - 1 ? k + 1 : "end";
    runs[share].forEach((run, i) => {
      const at = Math.min(k, run.phase.length - 1);
      const t = run.t.subarray(at * n, (at + 1) * n);
      paintPatches(canvasOf(parts[i], "now"), { rows: side, cols: side }, (patch) => timeColour(palettes, t[patch]));
      const cursor = parts[i].querySelector(".pfg-now");
      cursor.setAttribute("transform", `translate(${at * Number(cursor.dataset.step)} 0)`);
      parts[i].querySelector("p").textContent = words(run, at, t);
    });
  }

  nfe.addEventListener("input", () => {
    k = Number(nfe.value);
    move();
  });
  p.addEventListener("input", () => {
    share = Number(p.value);
    draw();
  });
  beat(root, 1100, () => {
    k = (k + 1) % longest;
    move();
  });
  draw();
}

/** Columns are forward passes and the result, rows patches, colour is t. */
function map(run, n, longest, palettes) {
  const columns = run.phase.length;
  const ticks = Array.from({ length: longest - 1 }, (_, i) => i + 1).filter((v) => v === 1 || v % 3 === 0);
  const plot = chart({
    title: "",
    label: `Times of ${n} patches at each network evaluation: ${run.label}`,
    x: { title: "NFE; last column: the result", from: 0.5, to: longest + 0.5, ticks: ticks.map((v) => [v, String(v)]) },
    y: {
      title: "patch",
      from: 0.5,
      to: n + 0.5,
      down: true,
      ticks: [1, Math.ceil(n / 2), n].map((v) => [v, String(v)]),
    },
    width: 300,
    height: 190,
    grid: false,
  });
  const [wide, high] = [plot.x(2) - plot.x(1), plot.y(2) - plot.y(1)];
  const cell = (column, patch) =>
    `<rect x="${plot.x(column + 0.5).toFixed(1)}" y="${plot.y(patch + 0.5).toFixed(1)}" width="${(wide - 0.6).toFixed(1)}" height="${(high - 0.6).toFixed(1)}" fill="${css(timeColour(palettes, run.t[column * n + patch]))}"/>`;
  const cells = Array.from({ length: columns * n }, (_, i) => cell(Math.floor(i / n), i % n)).join("");
  return plot.markup(
    `${cells}<rect class="pfg-now" data-step="${wide}" x="${plot.x(0.5)}" y="${plot.y(0.5)}" width="${wide}" height="${n * high}"/>`,
  );
}

function words(run, at, t) {
  const counts = new Map();
  for (const v of t) counts.set(v.toFixed(2), (counts.get(v.toFixed(2)) || 0) + 1);
  const groups = [...counts].sort().map(([time, count]) => `${count} at t ${time}`);
  if (run.phase[at] === "final") return `Result: all patches are at t ${groups[0].split(" ").at(-1)}.`;
  return `NFE ${run.nfe[at]}, outer step ${run.outer[at] + 1} of ${run.steps}, ${PHASES[run.phase[at]]}. Patches: ${groups.join(", ")}.`;
}
