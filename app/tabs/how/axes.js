// A small chart in SVG: axes with titles and ticks; what is drawn in it comes from the caller.

const LEFT = 40;
const BOTTOM = 36;
const TOP = 22;
const RIGHT = 8;

/** t_max in a chart's text. */
export const T_MAX = 't<tspan dy="3" font-size="9">max</tspan><tspan dy="-3">&#8203;</tspan>';

/** Ticks at 1, 2 or 5 times a power of ten, from 0 to most, at most six of them. */
export function ticksTo(most) {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= rough);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, k) => Number((k * step).toPrecision(6)));
}

/** { x, y, markup(inside) }: from data to the chart's units, and the chart around what is drawn inside.
 * x, y: { title, from, to, ticks: [[value, text]] }; y grows upwards unless y.down. */
export function chart({ title, label, x, y, width = 232, height = 176, grid = true }) {
  const across = (v) => LEFT + ((v - x.from) / (x.to - x.from)) * (width - LEFT - RIGHT);
  const share = (v) => (v - y.from) / (y.to - y.from);
  const up = (v) => TOP + (y.down ? share(v) : 1 - share(v)) * (height - TOP - BOTTOM);
  const floor = height - BOTTOM;
  const markup = (inside) => `<svg class="pfg-chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">
    <text x="${LEFT}" y="13" class="pfg-chart-title">${title}</text>
    ${grid ? y.ticks.map(([v]) => `<line x1="${LEFT}" x2="${width - RIGHT}" y1="${up(v)}" y2="${up(v)}" class="pfg-grid"/>`).join("") : ""}
    ${inside}
    <path d="M ${LEFT} ${TOP} V ${floor} H ${width - RIGHT}" class="pfg-axes"/>
    ${x.ticks.map(([v, text]) => `<text x="${across(v)}" y="${floor + 14}" text-anchor="middle">${text}</text>`).join("")}
    ${y.ticks.map(([v, text]) => `<text x="${LEFT - 5}" y="${up(v) + 4}" text-anchor="end">${text}</text>`).join("")}
    <text x="${(LEFT + width - RIGHT) / 2}" y="${height - 5}" text-anchor="middle">${x.title}</text>
    <text transform="translate(11 ${(TOP + floor) / 2}) rotate(-90)" text-anchor="middle">${y.title}</text></svg>`;
  return { x: across, y: up, markup };
}

/** A filled curve of these points. */
export function curve({ x, y }, xs, ys, name, faint = false) {
  const points = Array.from(xs, (v, i) => `${x(v).toFixed(1)} ${y(ys[i]).toFixed(1)}`).join(" L ");
  const foot = y(0).toFixed(1);
  const last = x(xs[xs.length - 1]).toFixed(1);
  return `<g class="pfg-curve ${faint ? "pfg-faint" : ""}" data-curve="${name}">
    <path class="pfg-area" d="M ${x(xs[0]).toFixed(1)} ${foot} L ${points} L ${last} ${foot} Z"/><path class="pfg-edge" d="M ${points} L ${last} ${foot}"/></g>`;
}
