// The film bar: every forward pass of a run on the clock, at the flow time of its patches.

import { range } from "./words.js";
import { prepare, theme } from "./canvas.js";

export const PHASES = { outer: "#4477aa", inner: "#44aaa0", probe: "#ee7733", final: "#8a8f98" };
const LEFT = 30;
const RIGHT = 8;
const TOP = 10;
const STRIP = 9;

/** x of a tick's middle; the width of a tick. */
export function columns(width, total) {
  const step = (width - LEFT - RIGHT) / Math.max(1, total);
  return { step, x: (tick) => LEFT + (tick + 0.5) * step, tick: (x) => Math.floor((x - LEFT) / step) };
}

/** Mean t of an image's easy patches and of the others, at one frame. */
function means(frame, n, image) {
  const sum = [0, 0];
  const count = [0, 0];
  for (let i = image * n; i < (image + 1) * n; i += 1) {
    const k = frame.easy[i] === 1 ? 1 : 0;
    sum[k] += frame.t[i];
    count[k] += 1;
  }
  const all = (sum[0] + sum[1]) / n;
  return { easy: count[1] ? sum[1] / count[1] : all, hard: count[0] ? sum[0] / count[0] : all };
}

export function drawFilmBar(canvas, run, r, clock, total, image) {
  const { context, width, height } = prepare(canvas);
  const ink = theme(canvas);
  const at = columns(width, total);
  const bottom = height - STRIP - 16;
  const y = (t) => bottom - t * (bottom - TOP);
  const places = run.frames.map((_, i) => at.x(clock.tickOf(r, i)));
  bands(context, run, places, at.step, bottom, height, ink);
  axis(context, y, width, ink);
  edits(context, run, places, ink);
  paths(context, run, places, y, image);
  run.frames.forEach((frame, i) =>
    mark(context, frame, places[i], at.step, y, range(frame.t, run.shape.n, image), bottom),
  );
}

/** One shaded band an outer step, so that its passes are seen as a group; numbers where there is room. */
function bands(context, run, places, step, bottom, height, ink) {
  const groups = [];
  run.frames.forEach((frame, i) => {
    if (frame.phase === "final") return;
    const last = groups.at(-1);
    if (last && last.outer === frame.outer) last.end = places[i];
    else groups.push({ outer: frame.outer, start: places[i], end: places[i] });
  });
  context.font = ink.small;
  context.textAlign = "center";
  let free = -Infinity;
  for (const { outer, start, end } of groups) {
    if (outer % 2 === 0) {
      context.fillStyle = ink.band;
      context.fillRect(start - step / 2, TOP - 4, end - start + step, bottom - TOP + 8 + STRIP);
    }
    const middle = (start + end) / 2;
    if (middle < free + 24) continue;
    context.fillStyle = ink.faint;
    context.fillText(String(outer + 1), middle, height - 2);
    free = middle;
  }
}

function axis(context, y, width, ink) {
  context.textAlign = "right";
  context.font = ink.small;
  for (const t of [0, 0.5, 1]) {
    context.fillStyle = ink.faint;
    context.fillText(t === 0.5 ? "t" : String(t), LEFT - 8, y(t) + 4);
    context.fillStyle = ink.rule;
    context.fillRect(LEFT, y(t), width - LEFT - RIGHT, 1);
  }
}

/** Where easy patches (mean) and hard ones go from pass to pass: a probe's jump and its return are a spike. */
function paths(context, run, places, y, image) {
  const marks = run.frames.map((frame) => means(frame, run.shape.n, image));
  // At an outer pass all patches share one t, so both lines meet there.
  for (const [who, colour, wide] of [
    ["hard", "#6b7590", 1.5],
    ["easy", "#35b597", 1.75],
  ]) {
    context.beginPath();
    marks.forEach((m, i) => context[i ? "lineTo" : "moveTo"](places[i], y(m[who])));
    context.strokeStyle = colour;
    context.lineWidth = wide;
    context.lineJoin = "round";
    context.stroke();
  }
}

/** A small wedge at the top where people's edits begin. */
function edits(context, run, places, ink) {
  for (const outer of new Set(run.meta.edits.map((edit) => edit.outer))) {
    const x = places[run.frames.findIndex((frame) => frame.outer === outer)];
    if (x === undefined) continue;
    context.fillStyle = ink.ink;
    context.beginPath();
    context.moveTo(x - 5, 0);
    context.lineTo(x + 5, 0);
    context.lineTo(x, 7);
    context.fill();
  }
}

function mark(context, frame, x, step, y, [low, high], bottom) {
  const width = Math.max(1.5, Math.min(12, step * 0.62));
  const tall = Math.max(4, y(low) - y(high));
  context.fillStyle = PHASES[frame.phase];
  context.globalAlpha = frame.phase === "probe" ? 0.8 : 0.92;
  context.beginPath();
  context.roundRect(x - width / 2, (y(low) + y(high)) / 2 - tall / 2, width, tall, Math.min(2, width / 3));
  context.fill();
  context.globalAlpha = 1;
  context.fillRect(x - Math.max(1, step - 1) / 2, bottom + 5, Math.max(1, step - 1), STRIP - 3);
}
