// The cards under the film bar: histogram, series, the sampler's source, schedule map.

import { sizeOf } from "./canvas.js";
import { listExports } from "./downloads.js";
import { mapFrame } from "./kept.js";
import { drawHistogram, drawSchedule, drawSeries, seriesColumns } from "./charts.js";

const SHOWN = 11; // whole lines in the box
const LINE = 17; // px, the line height of .pfv-code: asking the page would force a layout

export class Inspector {
  constructor(viewer) {
    this.viewer = viewer;
    this.codeRun = 0;
    this.lit = "";
    viewer.find(".pfv-code-run").addEventListener("change", (event) => {
      this.codeRun = Number(event.target.value);
      this.writeCode();
      viewer.schedule();
    });
  }

  begin() {
    const { viewer } = this;
    const chooser = viewer.find(".pfv-code-run");
    this.codeRun = viewer.runs.indexOf(viewer.known);
    chooser.hidden = viewer.runs.length < 2;
    chooser.replaceChildren(
      ...viewer.runs.map((run, r) => Object.assign(new Option(run.label, r), { disabled: !run.meta })),
    );
    chooser.value = this.codeRun;
    viewer.find(".pfv-schedules").replaceChildren(
      ...viewer.runs.map((run, r) => {
        const canvas = document.createElement("canvas");
        canvas.dataset.run = r;
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `Schedule of ${run.label}: NFE down, patches across, coloured by t`);
        const figure = document.createElement("figure");
        const title = document.createElement("figcaption");
        title.textContent = run.label;
        figure.append(title, canvas);
        return figure;
      }),
    );
    this.writeCode();
    listExports(viewer);
  }

  draw() {
    const { viewer } = this;
    const spot = viewer.pin || viewer.hover;
    const image = spot ? spot.image : viewer.image;
    const indices = viewer.runs.map((_, r) => viewer.frameIndex(r));
    this.nameHistogram(indices);
    drawHistogram(viewer.find(".pfv-histogram"), viewer.runs, indices, image, viewer.palettes);
    this.series(spot, image);
    this.light(indices[this.codeRun]);
    if (!viewer.find(".pfv-schedule").hidden) this.drawSchedules(indices);
  }

  nameHistogram(indices) {
    const { viewer } = this;
    const kept = viewer.runs.some((run, r) => mapFrame(run, indices[r], "logvar") !== indices[r]);
    const what = viewer.guided ? "\u03c3 extrapolated" : "Difficulty \u03c3"; // as over its map
    const words = `${what} ${kept ? "at the last pass" : "now"}`;
    const title = viewer.find(".pfv-histogram-title");
    if (title.textContent !== words) title.textContent = words;
  }

  /** The lines are drawn anew only when they change; the clock only moves the head. */
  series(spot, image) {
    const { viewer } = this;
    const canvas = viewer.find(".pfv-series canvas");
    const shown = `${image} ${spot?.patch} ${spot?.u} ${spot?.v} ${Boolean(viewer.pin)}`;
    if (this.stale || this.shown !== shown) {
      [this.stale, this.shown] = [false, shown];
      const patches = viewer.runs.map((run) => (spot ? (viewer.local(run, spot)?.patch ?? -1) : null));
      drawSeries(canvas, viewer.runs, viewer.clock, viewer.total, image, patches, viewer.palettes);
      viewer.find(".pfv-series-title").textContent = spot ? this.place(spot) : "t and \u03c3, mean of all patches";
      viewer.find("[data-act=unpin]").hidden = !viewer.pin;
    }
    const x = seriesColumns(sizeOf(canvas)[0], viewer.total).x(viewer.index);
    viewer.find(".pfv-series .pfv-head").style.transform = `translateX(${x}px)`;
  }

  place(spot) {
    const { known } = this.viewer;
    const { cols } = known.meta.grid;
    const { patch } = this.viewer.local(known, spot) || spot;
    return `t and \u03c3, row ${Math.floor(patch / cols) + 1}, column ${(patch % cols) + 1}`;
  }

  drawSchedules(indices) {
    const { viewer } = this;
    viewer.all(".pfv-schedules canvas").forEach((canvas, r) => {
      if (viewer.runs[r].frames.length) drawSchedule(canvas, viewer.runs[r], indices[r], viewer.image, viewer.palettes);
    });
  }

  toggleSchedule() {
    const card = this.viewer.find(".pfv-schedule");
    card.hidden = !card.hidden;
    const button = this.viewer.find("[data-act=schedule]");
    button.setAttribute("aria-expanded", String(!card.hidden));
    button.textContent = card.hidden ? "Schedule map" : "Hide schedule map";
    this.viewer.schedule();
    if (!card.hidden) card.scrollIntoView({ block: "nearest" });
  }

  writeCode() {
    const { meta } = this.viewer.runs[this.codeRun];
    const box = this.viewer.find(".pfv-code");
    box.replaceChildren(
      ...meta.source.lines.map((text) => {
        const line = document.createElement("span");
        line.textContent = `${text.replace(/^ +/, (indent) => " ".repeat(indent.length / 2))}\n`;
        return line;
      }),
    );
    box.title = meta.sampler.help;
    this.lit = "";
  }

  /** Light the lines at work: from where the forward pass is made to where its step is yielded. */
  light(i) {
    const run = this.viewer.runs[this.codeRun];
    const frame = run.frames[i];
    if (!frame) return;
    const marks = run.meta.source.marks.filter((mark) => mark.phase === frame.phase);
    const mark = marks.find((each) => each.ranked === frame.ranked) || marks[0];
    const key = mark ? `${mark.first}-${mark.line}` : "";
    if (key === this.lit) return;
    this.lit = key;
    const box = this.viewer.find(".pfv-code");
    [...box.children].forEach((line, k) => {
      line.className =
        !mark || k < mark.first || k > mark.line ? "" : k === mark.line || k === mark.first ? "pfv-lit" : "pfv-near";
      line.dataset.phase = frame.phase;
    });
    if (mark) box.scrollTop = Math.max(0, Math.min(mark.first, Math.max(mark.first - 2, mark.line - SHOWN + 1)) * LINE); // both lit lines, if they fit
  }
}
