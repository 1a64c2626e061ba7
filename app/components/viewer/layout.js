// How panels and thumbnails stand on the page.

import { drawBars } from "./bars.js";
import { forget } from "./canvas.js";
import { arrange, drawPanel, PANELS } from "./panels.js";

const SMALLEST = 126; // px: a panel no smaller than this, if more rows can help it
const CROWDED = 92; // px: the same among more than two columns, so that their maps share a row
const LARGEST = 420;
const COLUMN = 240; // px: a run's column no narrower than this, else two of them stand side by side
const TILE = 70; // px: an image of a contact sheet likewise

/** Choose how many panels stand in a row and by how many whole pixels of the screen their pictures are scaled. */
export function relayout(viewer) {
  if (!viewer.ready || !viewer.shape) return;
  const width = columnWidth(viewer);
  if (!width) return;
  const shown = viewer.visiblePanels();
  const gap = width < 500 ? 10 : shown.length > 4 && width > 1600 ? 8 : shown.length > 5 ? 12 : 16;
  const layouts = viewer.runs.map(
    (run) => (run.shape ? arrange(run.shape, viewer.imagesOf(run)) : null) || arrange(viewer.shape, [0]),
  );
  const room = (count) => Math.min(LARGEST, (width - gap * (count - 1)) / count);
  const least = viewer.pair && viewer.runs.length > 2 ? CROWDED : SMALLEST;
  // An oblong picture is low: it needs more width to be seen as well as a square one.
  const oblong = (layout) => Math.sqrt(Math.max(1, layout.width / layout.height));
  const smallest = (layout) => Math.max(least * oblong(layout), Math.min(264, TILE * layout.cols));
  const fits = (count) =>
    layouts.every((layout) => scaled(layout, room(count)) >= smallest(layout) && room(count) >= layout.width);
  const counts = [1, 2, 3].map((rows) => Math.ceil(shown.length / rows)); // rows as full as can be
  const count = counts.find(fits) || Math.min(2, shown.length);
  viewer.all(".pfv-run").forEach((section, r) => {
    sizePanels(section, shown, layouts[r], scaled(layouts[r], room(count)));
    const panels = section.querySelector(".pfv-panels");
    panels.style.gridTemplateColumns = `repeat(${count}, max-content)`;
    panels.style.columnGap = `${gap}px`;
  });
  viewer.all("canvas, .pfv-film, .pfv-apart").forEach(forget);
  drawBars(viewer);
  viewer.redrawAll();
}

/** Width on the page of one run; in a viewer of columns these are set beside each other. */
function columnWidth(viewer) {
  const box = viewer.find(".pfv-runs");
  const width = box.clientWidth;
  if (!viewer.pair || !width) return width;
  const count = width / viewer.runs.length < COLUMN ? Math.min(2, viewer.runs.length) : viewer.runs.length;
  const gap = width < 500 ? 12 : 28;
  box.style.gridTemplateColumns = `repeat(${count}, minmax(0, 1fr))`;
  box.style.columnGap = `${gap}px`;
  return Math.floor((width - gap * (count - 1)) / count);
}

/** Width on the page of a layout in so much room. */
export function scaled(layout, room) {
  return layout.width * whole(Math.min(room / layout.width, Math.max(LARGEST, layout.height) / layout.height));
}

/** The largest zoom up to this one that is a whole number of the screen's pixels, or two and a half: from two to three
 * is too far for a picture of 64 pixels, and edges of patches stay whole. Less than one where it must shrink. */
export function whole(zoom) {
  const screen = window.devicePixelRatio || 1;
  const most = zoom * screen;
  if (most < 1) return Math.max(zoom, 0.05);
  return (most >= 2.5 && most < 3 ? 2.5 : Math.floor(most)) / screen;
}

function sizePanels(section, shown, layout, width) {
  const first = shown[0].key;
  for (const figure of section.querySelectorAll("figure[data-panel]")) {
    const frame = figure.querySelector(".pfv-frame");
    figure.hidden = !shown.some((p) => p.key === figure.dataset.panel);
    figure.style.width = `${width}px`;
    frame.style.aspectRatio = `${layout.width} / ${layout.height}`;
    frame.tabIndex = figure.dataset.panel === first ? 0 : -1; // one stop a run for the Tab key
  }
}

// images of the batch

export function buildImages(viewer) {
  const box = viewer.find(".pfv-images");
  const { images, width, height } = viewer.shape;
  const { seeds } = viewer.known.meta;
  box.innerHTML =
    Array.from(
      { length: images },
      (_, k) =>
        `<button type="button" data-image="${k}" aria-label="Image ${k + 1}, seed ${seeds[k]}" title="Image ${k + 1}, seed ${seeds[k]}"><canvas style="aspect-ratio: ${width} / ${height}"></canvas></button>`,
    ).join("") +
    (images > 1 ? '<button type="button" data-image="all" title="All images as a contact sheet">all</button>' : "");
  box.hidden = images < 2;
  markImage(viewer);
}

export function markImage(viewer) {
  viewer.all("[data-image]").forEach((button) => {
    button.setAttribute(
      "aria-pressed",
      viewer.sheet ? button.dataset.image === "all" : button.dataset.image === String(viewer.image),
    );
  });
}

export function drawThumbnails(viewer) {
  const run = viewer.known;
  const frame = run.frames[viewer.frameIndex(viewer.runs.indexOf(run))];
  if (viewer.shape.images < 2 || !frame) return;
  viewer.all("[data-image] canvas").forEach((canvas, k) => {
    drawPanel(canvas, PANELS[1], frame, arrange(run.shape, [k]), run.meta.grid, viewer.palettes, null);
  });
}
