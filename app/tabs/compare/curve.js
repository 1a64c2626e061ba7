// The strip over the columns: how far apart two runs are, all along the clock that both are on.

import { prepare, theme } from "./canvas.js";
import { columns } from "./filmbar.js";

const LEFT = 30; // as in the film bars, so that a tick stands above a tick
const RIGHT = 8;
const TOP = 27; // px for the title and the mark
const LINE = 12; // px: two numbers of the axis are no nearer
const UNDER = 17; // px for the numbers along the clock

/** values: RMS at each tick, undefined where it is not known; `first` is the tick that is marked, or -1. */
export function drawCurve(canvas, { ticks, values, threshold, total, first, unit }) {
  const { context, width, height } = prepare(canvas);
  const ink = theme(canvas);
  const at = columns(width, total);
  const bottom = height - UNDER;
  const known = values.map((v, tick) => [tick, v]).filter(([, v]) => v !== undefined);
  const most = Math.max(1.5 * threshold, 1.1 * Math.max(0, ...known.map(([, v]) => v)));
  const y = (v) => bottom - (v / most) * (bottom - TOP);
  axes(context, ink, { at, ticks, unit, width, height, bottom });
  if (!known.length) return;
  context.textAlign = "right";
  context.fillStyle = ink.faint;
  if (bottom - y(threshold) > LINE) context.fillText("0", LEFT - 6, bottom + 3);
  context.fillText(String(Number(threshold.toPrecision(2))).replace(/^0\./, "."), LEFT - 6, y(threshold) + 4);
  context.setLineDash([4, 3]);
  stroke(context, ink.faint, 1, [
    [LEFT, y(threshold)],
    [width - RIGHT, y(threshold)],
  ]);
  context.setLineDash([]);
  const points = known.map(([tick, v]) => [at.x(tick), y(v)]);
  context.beginPath();
  context.moveTo(points[0][0], bottom);
  points.forEach(([px, py]) => context.lineTo(px, py));
  context.lineTo(points.at(-1)[0], bottom);
  context.fillStyle = ink.accent;
  context.globalAlpha = 0.12;
  context.fill();
  context.globalAlpha = 1;
  stroke(context, ink.accent, 1.75, points);
  const dot = Math.min(3, Math.max(1.5, at.step / 5));
  for (const [px, py] of points) disc(context, ink.accent, px, py, dot);
  if (first >= 0) disc(context, "#ee6677", at.x(first), y(values[first]), 4.5);
}

/** Numbers of the clock where there is room, and the ground line. */
function axes(context, ink, { at, ticks, unit, width, height, bottom }) {
  context.fillStyle = ink.rule;
  context.fillRect(LEFT, bottom, width - LEFT - RIGHT, 1);
  context.font = ink.small;
  context.fillStyle = ink.faint;
  context.textAlign = "left";
  context.fillText(unit, 4, height - 3);
  context.textAlign = "center";
  let free = LEFT + 12;
  const end = at.x(ticks.length - 1);
  context.fillText("end", Math.min(end, width - 16), height - 3);
  ticks.forEach((value, tick) => {
    const x = at.x(tick);
    if (x < free || x > end - 30) return;
    context.fillText(Number.isInteger(value) ? String(value) : value.toFixed(2), x, height - 3);
    free = x + 42;
  });
}

function stroke(context, colour, wide, points) {
  context.beginPath();
  points.forEach(([px, py], k) => context[k ? "lineTo" : "moveTo"](px, py));
  context.strokeStyle = colour;
  context.lineWidth = wide;
  context.lineJoin = "round";
  context.stroke();
}

function disc(context, colour, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}
