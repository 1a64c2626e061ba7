// What the viewer says in words: the readout, and the sentence about a patch.

import { aboutEstimates, estimatesNote, whyNone } from "./estimates.js";
import { everKnown, mapFrame } from "./kept.js";

/** Words into a place, unless they stand there: marks upon them, and who reads them, stay. */
export function write(place, words) {
  if (place.textContent !== words) place.textContent = words;
}

const two = (v) => v.toFixed(2);
export const sigmaText = (logvar, digits = 2) => {
  const s = Math.exp(logvar / 2);
  return s >= 0.1 ? s.toFixed(digits) : s.toPrecision(digits);
};

/** Two sigmas, with as many digits as it takes to tell them apart. */
function apart(a, b) {
  const digits = [2, 3, 4].find((d) => sigmaText(a, d) !== sigmaText(b, d)) || 2;
  return [sigmaText(a, digits), sigmaText(b, digits)];
}

/** "outer step 7 of 16, probe, NFE 13 of 32, t 0.44 to 0.61" */
export function readout(run, i, image) {
  const frame = run.frames[i];
  if (!frame) return "";
  const t = times(run, frame, image);
  if (frame.phase === "final") return `result, after ${run.meta.steps} outer steps and ${frame.nfe} NFE, t 1.00`;
  return `outer step ${frame.outer + 1} of ${run.meta.steps}, ${frame.phase}, NFE ${frame.nfe} of ${run.meta.nfe}, ${t}`;
}

/** "probe pass, step 11 of 16, t 0.63 to 0.88": beside other runs, where the clock that all are on says the NFE. */
export function nowOf(run, i, image) {
  const frame = run.frames[i];
  if (!frame) return "";
  if (frame.phase === "final") return `result, after ${frame.nfe} NFE`;
  return `${frame.phase} pass, step ${frame.outer + 1} of ${run.meta.steps}, ${times(run, frame, image)}`;
}

/** "t 0.44 to 0.61": of an image's patches. */
export function times(run, frame, image) {
  const [low, high] = range(frame.t, run.shape.n, image);
  return high - low < 0.005 ? `t ${two(low)}` : `t ${two(low)} to ${two(high)}`;
}

const NEVER = { logvar: "this network predicts none", easy: "this sampler ranks none" };

/** The words beside a panel's title at frame i: what it is, which pass it is of at the result, or why it is empty. */
export function mapNote(run, i, { map, note }, image) {
  const shown = mapFrame(run, i, map);
  if (shown !== i) {
    const last = shown === i - 1 ? "last pass" : "last ranking";
    return `${last}, ${times(run, run.frames[shown], image)}`;
  }
  const estimates = map === "logvar" ? estimatesNote(run, run.frames[i], image) : "";
  if (estimates) return estimates;
  const over = run.frames[i].phase === "final" || !run.active;
  if (over && NEVER[map] && !everKnown(run, map)) return NEVER[map];
  return map === "logvar" && run.meta.guided ? "decides who is easy" : note;
}

/** Smallest and largest t of an image's patches. */
export function range(t, n, image) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = image * n; i < (image + 1) * n; i += 1) {
    if (t[i] < low) low = t[i];
    if (t[i] > high) high = t[i];
  }
  return [low, high];
}

/** One sentence about a patch in a run at frame i: its time, its difficulty, why it is easy or hard, where it goes. */
export function aboutPatch(run, i, { image, patch }) {
  const frame = run.frames[i];
  const at = image * run.shape.n + patch;
  if (frame.phase === "final") return aboutResult(run, i, image, at);
  const t = `t ${two(frame.t[at])}: `;
  return (
    t +
    [difficulty(run, i, image, at), movement(run, i, at)].filter(Boolean).join(", ") +
    touched(run, frame, image, patch)
  );
}

/** At the result: what the last pass said of the patch. */
function aboutResult(run, i, image, at) {
  const last = mapFrame(run, i, "logvar");
  if (last === i) return "t 1.00: done.";
  return `t 1.00: done. At the last pass, t ${two(run.frames[last].t[at])}: ${difficulty(run, last, image, at)}.`;
}

function difficulty(run, i, image, at) {
  const frame = run.frames[i];
  const known = !Number.isNaN(frame.logvar[at]);
  const sigma = known ? `sigma ${sigmaText(frame.logvar[at])}${conditional(run, frame, at)}` : whyNone(run, frame, at);
  if (!frame.ranked) return known ? `${sigma}, nothing is ranked in this pass` : sigma;
  const word = frame.easy[at] === 1 ? "easy" : "hard";
  const threshold = frame.threshold[image];
  if (Number.isNaN(threshold))
    return `${sigma}, ${word === "easy" ? "drawn at random to go first" : "not drawn to go first"}`;
  const decided = run.decider(i);
  const [value, limit] = apart(run.frames[decided].logvar[at], Math.log(threshold));
  const compare = `${value} ${word === "easy" ? "<" : "\u2265"} threshold ${limit}`;
  return decided === i
    ? `sigma ${compare}${conditional(run, frame, at)}: ${word}`
    : `${sigma} now; ${word}, as it was ${compare}`;
}

/** Under guidance sigma is extrapolated: the network's own beside it. */
const conditional = (run, frame, at) =>
  run.meta.guided && !Number.isNaN(frame.logvar_cond[at])
    ? ` (extrapolated; conditional ${sigmaText(frame.logvar_cond[at])})`
    : "";

function movement(run, i, at) {
  const frame = run.frames[i];
  const next = run.frames[i + 1];
  if (!next) return "";
  const here = frame.t[at];
  if (frame.phase === "probe" && next.phase === "outer" && next.outer === frame.outer)
    return `evaluated for the run's own prediction, then ${moves(here, next.t[at])}`;
  if (next.phase === "probe" && next.outer === frame.outer) {
    const after = run.frames[i + 2];
    const peek = next.t[at] > here ? `looks ahead to ${two(next.t[at])}, then ` : "waits for the probe, then ";
    return after ? peek + moves(here, after.t[at]) : peek + "moves";
  }
  if (frame.phase === "probe") {
    const from = run.frames[i - 1].t[at];
    return (
      (here > from ? `was moved ahead, returns and ` : "sees the easy patches ahead of it and ") +
      moves(from, next.t[at])
    );
  }
  return moves(here, next.t[at]);
}

/** What edits have done to a patch by now. */
function touched(run, frame, image, patch) {
  const mine = run.meta.edits.filter(
    (edit) =>
      edit.outer <= frame.outer && (edit.image === null || edit.image === image) && edit.patches.includes(patch),
  );
  return mine.length ? `; edited (${mine.map((edit) => edit.words.split(":")[0]).join(", ")})` : "";
}

const moves = (from, to) =>
  from >= 1 ? "stays as it is" : to - from < 1e-6 ? `waits at ${two(from)}` : `moves ${two(from)} to ${two(to)}`;

/** The line under a run's name. */
export function aboutRun(meta) {
  const settings = Object.entries(meta.sampler.settings).map(([k, v]) => `${k.replaceAll("_", " ")} ${v}`);
  const [none, mixed] = meta.words ? ["no prompt", "mixed prompts"] : ["no class", "mixed classes"];
  const labels = [...new Set(meta.labels.map((label) => label ?? none))];
  const [first, last] = [meta.seeds[0], meta.seeds.at(-1)];
  const inOrder = meta.seeds.every((seed, k) => seed === first + k);
  const seeds = first === last ? `seed ${first}` : `seeds ${inOrder ? `${first}\u2013${last}` : meta.seeds.join(", ")}`;
  const guidance = meta.guided ? [`guidance ${meta.cfg_scale}`] : [];
  return [
    meta.network,
    labels.length < 4 ? labels.join(", ") : mixed,
    seeds,
    ...settings,
    ...guidance,
    ...aboutEstimates(meta),
  ].join(" \u00b7 ");
}

/** What was done to a run by hand: the first three edits, and how many more. */
export function aboutEdits({ edits }) {
  const more = edits.length > 3 ? `; and ${edits.length - 3} more` : "";
  return edits.length
    ? `Edited \u2014 ${edits
        .slice(0, 3)
        .map((edit) => edit.words)
        .join("; ")}${more}.`
    : "";
}

/** What a run is doing or has cost. */
export function aboutState({ state, message, evaluations, seconds, forwards, tokenForwards, updates }, meta) {
  const tokens = Number.isFinite(tokenForwards) ? ` \u00b7 ${tokenForwards.toFixed(1)} token-forwards` : "";
  if (state === "done")
    return `${meta.nfe} NFE \u00b7 ${meta.steps} outer steps \u00b7 ${forwards} forwards${tokens} \u00b7 ${updates} patch moves \u00b7 ${seconds.toFixed(2)} s${message ? ` \u00b7 ${message}` : ""}`;
  if (state === "running")
    return message || `running \u00b7 NFE ${evaluations} of ${meta.nfe} \u00b7 ${seconds.toFixed(1)} s`;
  return message;
}
