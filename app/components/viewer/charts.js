// Charts beside the panels: histogram of sigma, a patch's series over the clock, and the schedule map.

import { noneWords } from "./estimates.js";
import { forget, prepare, theme } from "./canvas.js";
import { colourAt, css, SIGMA_TICKS } from "./colours.js";
import { mapFrame } from "./kept.js";
import { sigmaText } from "./words.js";

export const RUN_COLOURS = ["#4477aa", "#ee6677", "#228833", "#aa3377"];
const BINS = 30;

/** Histograms of the patches' sigma, one row a run, with the threshold that parts easy from hard. */
export function drawHistogram(canvas, runs, indices, image, palettes) {
  const { context, width, height } = prepare(canvas);
  const ink = theme(canvas);
  const [low, high] = palettes.sigmaRange.map(Math.log);
  const x = (logSigma) => 8 + ((logSigma - low) / (high - low)) * (width - 16);
  const axisY = height - 16;
  const rowHeight = (axisY - 4) / runs.length;
  runs.forEach((run, r) => {
    const frame = run.frames[mapFrame(run, indices[r], "logvar")];
    if (runs.length > 1) {
      context.fillStyle = RUN_COLOURS[r];
      context.fillRect(0, 4 + r * rowHeight, 3, rowHeight - 8);
    }
    if (frame && image < run.shape.images)
      histogramRow(context, run, frame, image, x, 4 + r * rowHeight, rowHeight, palettes, ink, [low, high]);
  });
  context.font = ink.small;
  context.textAlign = "center";
  for (const v of SIGMA_TICKS) {
    context.fillStyle = ink.faint;
    context.fillText(v === SIGMA_TICKS[0] ? `\u03c3 ${v}` : String(v), Math.max(20, x(Math.log(v))), height - 2);
  }
}

function histogramRow(context, run, frame, image, x, top, tall, palettes, ink, [low, high]) {
  const n = run.shape.n;
  const bins = new Array(BINS).fill(0);
  let known = 0;
  for (let i = image * n; i < (image + 1) * n; i += 1) {
    if (Number.isNaN(frame.logvar[i])) continue;
    known += 1;
    const place = (frame.logvar[i] / 2 - low) / (high - low);
    bins[Math.max(0, Math.min(BINS - 1, Math.floor(place * BINS)))] += 1;
  }
  context.font = ink.text;
  context.textAlign = "left";
  context.fillStyle = ink.faint;
  if (!known) return context.fillText(noneWords(run, frame, image), 10, top + tall / 2);
  const most = Math.max(n / 4, ...bins);
  const bottom = top + tall - 4;
  const step = x(low + (high - low) / BINS) - x(low);
  bins.forEach((count, b) => {
    const h = (count / most) * (tall - 24);
    context.fillStyle = css(palettes.sigma[Math.floor(((b + 0.5) / BINS) * 255)]);
    context.fillRect(8 + b * step, bottom - h, step - 1, h);
  });
  context.fillStyle = ink.rule;
  context.fillRect(8, bottom, x(high) - 8, 1);
  const threshold = frame.threshold[image];
  if (!Number.isNaN(threshold)) drawThreshold(context, threshold, frame, n, image, x, top, bottom, ink, [low, high]);
}

function drawThreshold(context, threshold, frame, n, image, x, top, bottom, ink, [low, high]) {
  const place = x(Math.max(low, Math.min(high, Math.log(threshold) / 2)));
  context.strokeStyle = ink.ink;
  context.setLineDash(frame.phase === "outer" ? [] : [3, 3]);
  context.beginPath();
  context.moveTo(place, top + 16);
  context.lineTo(place, bottom);
  context.lineWidth = 1.5;
  context.stroke();
  context.setLineDash([]);
  let easy = 0;
  for (let i = image * n; i < (image + 1) * n; i += 1) easy += frame.easy[i] === 1;
  const text = `threshold ${sigmaText(Math.log(threshold))}: ${easy} of ${n} easy`;
  const width = context.measureText(text).width;
  context.fillStyle = ink.ink;
  context.fillText(text, Math.max(8, Math.min(x(high) - width, place - width / 2)), top + 11);
}

/** t and sigma over the clock, one line a run: of its patch, or (null) the mean over the image's patches; -1 is none. */
export function drawSeries(canvas, runs, clock, total, image, patches, palettes) {
  const { context, width, height } = prepare(canvas);
  const ink = theme(canvas);
  const [low, high] = palettes.sigmaRange.map(Math.log);
  const middle = height / 2;
  const at = seriesColumns(width, total);
  const top = { from: middle - 8, to: 6 };
  const under = { from: height - 6, to: middle + 8 };
  const y = (part, v) => part.from + Math.max(0, Math.min(1, v)) * (part.to - part.from);
  grid(context, ink, width, top, under, y, [low, high]);
  runs.forEach((run, r) => {
    const colour = runs.length > 1 ? RUN_COLOURS[r] : ink.accent;
    const patch = patches[r];
    if (patch === -1 || !run.shape || image >= run.shape.images) return;
    const points = run.frames.map((frame, i) => [
      at.x(clock.tickOf(r, i)),
      value(frame.t, run, image, patch),
      value(frame.logvar, run, image, patch),
    ]);
    line(
      context,
      points.map(([x, t]) => [x, y(top, t)]),
      colour,
    );
    line(
      context,
      points.filter(([, , s]) => !Number.isNaN(s)).map(([x, , s]) => [x, y(under, (s / 2 - low) / (high - low))]),
      colour,
    );
  });
}

const SERIES_LEFT = 34;

export function seriesColumns(width, total) {
  const step = (width - SERIES_LEFT - 6) / Math.max(1, total - 1);
  return { x: (tick) => SERIES_LEFT + tick * step, tick: (x) => Math.round((x - SERIES_LEFT) / step) };
}

function value(values, run, image, patch) {
  const from = image * run.shape.n;
  if (patch !== null) return values[from + patch];
  let sum = 0;
  for (let i = from; i < from + run.shape.n; i += 1) sum += values[i];
  return sum / run.shape.n;
}

function line(context, points, colour) {
  context.beginPath();
  points.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](x, y));
  context.strokeStyle = colour;
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  context.stroke();
}

function grid(context, ink, width, top, under, y, [low, high]) {
  context.font = ink.small;
  context.textAlign = "right";
  const rule = (where, text) => {
    context.fillStyle = ink.rule;
    context.fillRect(SERIES_LEFT, Math.round(where), width - SERIES_LEFT - 6, 1);
    context.fillStyle = ink.faint;
    context.fillText(text, SERIES_LEFT - 6, where + 4);
  };
  rule(y(top, 0), "0");
  rule(y(top, 0.5), "t");
  rule(y(top, 1), "1");
  for (const v of [0.1, 0.3, 1])
    rule(y(under, (Math.log(v) - low) / (high - low)), v === 0.3 ? "\u03c3 0.3" : String(v));
}

// The schedule map's plot within its canvas, px: room for the axes.
const SCHEDULE = { left: 46, right: 6, top: 4, bottom: 34 };

/** Step by patch, coloured by t (the paper's Fig. 6): one row a forward pass, time runs down; frame i is framed. */
export function drawSchedule(canvas, run, i, image, palettes) {
  const rows = run.frames.length;
  const around = SCHEDULE.top + SCHEDULE.bottom;
  const wanted = `${around + Math.max(80, Math.min(420, rows * Math.max(4, Math.min(14, 420 / rows))))}px`;
  if (canvas.style.height !== wanted) {
    canvas.style.height = wanted;
    forget(canvas);
  }
  const { context, width, height } = prepare(canvas);
  const ink = theme(canvas);
  const { left, top } = SCHEDULE;
  const tall = (height - around) / rows;
  const wide = (width - left - SCHEDULE.right) / run.shape.n;
  run.frames.forEach((frame, k) => {
    for (let patch = 0; patch < run.shape.n; patch += 1) {
      context.fillStyle = css(colourAt(palettes.t, frame.t[image * run.shape.n + patch]));
      context.fillRect(
        left + patch * wide,
        top + k * tall,
        Math.max(1, wide - (wide > 5 ? 1 : 0)),
        Math.max(1, tall - (tall > 5 ? 1 : 0)),
      );
    }
  });
  scheduleAxes(context, run, ink, { left, top, tall, wide, bottom: height - SCHEDULE.bottom });
  context.strokeStyle = ink.ink;
  context.strokeRect(left - 0.5, top + i * tall - 0.5, run.shape.n * wide + 1, Math.max(2, tall) + 1);
}

/** NFE down the side, patches along the bottom. */
function scheduleAxes(context, run, ink, { left, top, tall, wide, bottom }) {
  context.font = ink.small;
  context.fillStyle = ink.faint;
  context.textAlign = "right";
  let free = -Infinity;
  run.frames.forEach((frame, k) => {
    const y = top + (k + 0.5) * tall;
    if (y < free || frame.phase === "final") return;
    context.fillText(String(frame.nfe), left - 6, y + 4);
    free = y + 26;
  });
  context.textAlign = "center";
  const n = run.shape.n;
  for (const patch of new Set([1, Math.round(n / 4), Math.round(n / 2), Math.round((3 * n) / 4), n]))
    context.fillText(String(patch), left + (patch - 0.5) * wide, bottom + 13);
  context.fillText(`patch, 1 to ${n}`, left + (n * wide) / 2, bottom + 29);
  context.save();
  context.translate(10, (top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText("NFE", 0, 0);
  context.restore();
}

/** The frame whose row is at a height within the canvas. */
export function scheduleRow(y, height, run) {
  const part = (y - SCHEDULE.top) / (height - SCHEDULE.top - SCHEDULE.bottom);
  return Math.floor(Math.max(0, Math.min(0.999, part)) * run.frames.length);
}
