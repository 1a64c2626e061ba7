// Predicted against true error, both on the one fixed logarithmic scale.

import { colourAt, css, sigmaPlace, sigmaTicks } from "./colours.js";

export const PLOT = { width: 450, height: 300, left: 52, right: 14, top: 10, bottom: 42 };

const cut = (v) => Math.max(0, Math.min(1, v));

export function scatter({ t, sigma, error }, palettes) {
  const { left, right, top, bottom, width, height } = PLOT;
  const x = (v) => left + cut(v) * (width - left - right);
  const y = (v) => height - bottom - cut(v) * (height - top - bottom);
  const ticks = sigmaTicks(palettes.sigmaRange, true)
    .map(
      ([at, text]) =>
        `<line x1="${x(at)}" x2="${x(at)}" y1="${top}" y2="${height - bottom}"/><line y1="${y(at)}" y2="${y(at)}" x1="${left}" x2="${width - right}"/>` +
        `<text x="${x(at)}" y="${height - bottom + 16}" text-anchor="middle">${text}</text><text x="${left - 7}" y="${y(at) + 4}" text-anchor="end">${text}</text>`,
    )
    .join("");
  const dots = sigma
    .map((s, p) => {
      const [a, b] = [sigmaPlace(s, palettes.sigmaRange), sigmaPlace(error[p], palettes.sigmaRange)];
      const colour = css(colourAt(palettes.t, t[p]));
      const off = a < 0 || a > 1 || b < 0 || b > 1 ? ' class="pfl-off"' : ""; // beyond the scale: drawn at its edge, hollow
      return `<circle data-patch="${p}" cx="${x(a).toFixed(1)}" cy="${y(b).toFixed(1)}" r="4.5" fill="${colour}"${off}/>`;
    })
    .join("");
  return `<g class="pfl-grid">${ticks}</g><line class="pfl-diagonal" x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}"/>${dots}
    <text x="${(left + width - right) / 2}" y="${height - 6}" text-anchor="middle">predicted &#963;</text>
    <text transform="translate(13 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">true RMS error</text>`;
}
