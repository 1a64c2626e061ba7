// The viewer's markup, made once a mount.

import { ALIGNMENTS } from "./clock.js";
import { EASY, HARD } from "./colours.js";
import { HIDDEN, PANELS } from "./panels.js";
import { PHASES } from "./filmbar.js";
import { PASSES } from "./passes.js";

const button = (act, label, body, extra = "") =>
  `<button type="button" data-act="${act}" aria-label="${label}" title="${label}" ${extra}>${body}</button>`;
const icon = (path) =>
  `<svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="${path}" fill="currentColor"/></svg>`;

export const ICONS = {
  first: icon("M3 3h2v10H3zM13 3v10L6 8z"),
  last: icon("M11 3h2v10h-2zM3 3v10l7-5z"),
  previousOuter: icon("M8 3v10L2 8zM14 3v10L8 8z"),
  nextOuter: icon("M2 3v10l6-5zM8 3v10l6-5z"),
  previous: icon("M11 3v10L4 8z"),
  next: icon("M5 3v10l7-5z"),
  play: icon("M4 2v12l10-6z"),
  pause: icon("M4 2h3v12H4zM9 2h3v12H9z"),
};

/** A small picture for the empty viewer: patches at times of their own, those at the rim ahead. */
function mosaic() {
  return Array.from({ length: 49 }, (_, i) => {
    const far = Math.hypot((i % 7) - 3, Math.floor(i / 7) - 3) / 4.3;
    return `<i style="opacity:${(0.12 + 0.75 * far).toFixed(2)}"></i>`;
  }).join("");
}

export const MARKUP = `
<div class="pfv-empty" hidden><div class="pfv-mosaic" aria-hidden="true">${mosaic()}</div><p role="status"></p></div>
<div class="pfv-body" hidden>
  <div class="pfv-top">
    <div class="pfv-images" role="group" aria-label="Image of the batch"></div>
    <div class="pfv-switches">
      <div class="pfv-toggles" role="group" aria-label="Panels">${PANELS.map(
        (p) =>
          `<button type="button" data-panel="${p.key}" aria-pressed="${!HIDDEN.includes(p.key)}">${p.title}</button>`,
      ).join("")}</div>
      <label class="pfv-check"><input type="checkbox" data-set="perFrame"> &sigma; scale per frame</label>
      <label class="pfv-align">align at <select data-set="align" aria-label="Align runs at">${Object.entries(ALIGNMENTS)
        .map(([key, text]) => `<option value="${key}">${text}</option>`)
        .join("")}</select></label>
    </div>
  </div>
  <div class="pfv-runs"></div>
  <div class="pfv-legend">${Object.entries(PHASES)
    .filter(([k]) => k !== "final")
    .map(([name, colour]) => `<span data-phase="${name}"><i style="background:${colour}"></i>${name} pass</span>`)
    .join("")}
    <span data-ranked><b style="background:#35b597"></b>easy patches</span><span data-ranked><b style="background:#6b7590"></b>hard patches</span>
    <span class="pfv-hint">height is flow time t; shaded groups are outer steps</span></div>
  <div class="pfv-transport" role="toolbar" aria-label="Playback">
    <div class="pfv-keys">
      ${button("first", "First (Home)", ICONS.first)}
      ${button("previousOuter", "Previous outer step (Shift+Left)", ICONS.previousOuter)}
      ${button("previous", "Previous forward pass (Left)", ICONS.previous)}
      ${button("play", "Play or pause (Space)", ICONS.play, 'class="pfv-play"')}
      ${button("next", "Next forward pass (Right)", ICONS.next)}
      ${button("nextOuter", "Next outer step (Shift+Right)", ICONS.nextOuter)}
      ${button("last", "Last (End)", ICONS.last)}
    </div>
    <output class="pfv-readout" aria-live="off"></output>
    <div class="pfv-rate">
      <button type="button" data-act="live" class="pfv-live" hidden>&#9679; follow</button>
      <select data-set="passes" aria-label="Passes to stop at" title="Passes that playing and the arrow keys stop at">${Object.entries(
        PASSES,
      )
        .map(([key, text]) => `<option value="${key}">${text}</option>`)
        .join("")}</select>
      <select data-set="speed" aria-label="Speed"><option value="0.25">&frac14;&times;</option><option value="0.5">&frac12;&times;</option><option value="1" selected>1&times;</option><option value="2">2&times;</option><option value="4">4&times;</option></select>
      <label class="pfv-check"><input type="checkbox" data-set="loop"> loop</label>
      ${button("help", "Keys and reading help (?)", "?", 'class="pfv-q"')}
    </div>
  </div>
  <div class="pfv-cards">
    <section class="pfv-card"><h4 class="pfv-histogram-title"></h4><canvas class="pfv-histogram" role="img" aria-label="Histogram of the patches' sigma"></canvas></section>
    <section class="pfv-card"><h4><span class="pfv-series-title"></span>${button("unpin", "Back to the mean of all patches", "&times;", 'class="pfv-x" hidden')}</h4><div class="pfv-series"><canvas role="img" aria-label="Time and sigma over the run"></canvas><div class="pfv-head"></div></div></section>
    <section class="pfv-card pfv-code-card"><h4>What the sampler does <select class="pfv-code-run" aria-label="Run whose sampler is shown" hidden></select></h4><pre class="pfv-code" tabindex="0" aria-label="Sampler source"></pre></section>
  </div>
  <section class="pfv-card pfv-schedule" hidden><h4>Schedule map: one row a forward pass, one column a patch, coloured by time t <span class="pfv-t-key"><i>0</i><b></b><i>1</i></span></h4><div class="pfv-schedules"></div></section>
  <div class="pfv-foot">
    ${button("schedule", "Show the schedule map", "Schedule map", 'aria-expanded="false" class="pfv-link"')}
    ${button("copy", "Copy the command line that repeats this run", "Copy CLI command", 'class="pfv-link"')}
    <span class="pfv-note" role="status"></span>
    <span class="pfv-exports"></span>
  </div>
</div>
<dialog class="pfv-help" aria-label="Help"><form method="dialog"><button aria-label="Close" class="pfv-x">&times;</button></form>
  <h3>Reading the viewer</h3>
  <p>Every frame is one forward pass of the network. <b>x<sub>t</sub></b> is what that pass saw, <b>x&#770;<sub>1</sub></b> the result it would jump to from there.
  Each patch has its own time <b>t</b>. <b>&sigma;</b> is the error that the network expects of its own velocity, on one logarithmic scale for all frames and runs.
  Patches under the threshold are <b style="color:${EASY};background:${HARD};padding:0 .3em;border-radius:3px">easy</b> and go first.</p>
  <p>Point at a patch to read it; click it to follow it through the run; click a chart to jump there.</p>
  <dl><dt>Space</dt><dd>play, pause</dd><dt>&larr; &rarr;</dt><dd>one forward pass</dd><dt>Shift + &larr; &rarr;</dt><dd>one outer step</dd>
  <dt>Home, End</dt><dd>first, last</dd><dt>Esc</dt><dd>let go of the patch</dd><dt>Tab to a picture</dt><dd>then arrows choose a patch</dd><dt>F</dt><dd>presentation mode</dd><dt>?</dt><dd>this card</dd></dl></dialog>`;

/** One run's section. */
export function runMarkup(r, several) {
  return `<section class="pfv-run" data-run="${r}">
    <header><h3>${several ? `<i class="pfv-dot" data-dot="${r}"></i>` : ""}<span class="pfv-name"></span></h3><span class="pfv-about"></span><span class="pfv-state" role="status"></span></header>
    <p class="pfv-edits" hidden></p>
    <div class="pfv-words" hidden><span>Prompt</span><div role="group" aria-label="Words of the prompt: each shows where the network looks for it"></div></div>
    <p class="pfv-losses" hidden></p>
    <div class="pfv-panels">${PANELS.map(
      (p) => `
      <figure data-panel="${p.key}"><figcaption><b>${p.title}</b> <span>${p.note}</span></figcaption>
      <div class="pfv-frame" role="group" aria-label="Patches of ${p.key}: arrow keys choose one"><canvas role="img" aria-label="${p.key}: ${p.note}"></canvas><svg class="pfv-marks" preserveAspectRatio="none" aria-hidden="true"><path class="pfv-edited"/></svg><div class="pfv-cross pfv-pin" hidden></div><div class="pfv-cross" hidden></div></div>
      <div class="pfv-bar"></div></figure>`,
    ).join("")}</div>
    <div class="pfv-read" role="status" hidden></div>
    <p class="pfv-say" aria-live="polite"></p>
    <div class="pfv-film" role="slider" tabindex="0" aria-label="Forward pass" aria-valuemin="1"><canvas></canvas><div class="pfv-head"></div></div>
  </section>`;
}
