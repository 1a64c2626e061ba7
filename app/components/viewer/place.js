// Where a viewer stands, as parts of a link: frame (from 1), image (from 1, or all), the patch that is held (row-column,
// from 1; on a sheet of all images behind its own image: 4.10-10) and the panels that are shown. What is as at first is
// left out.

import { address, tabAround } from "./address.js";
import { markImage, relayout } from "./layout.js";
import { spotOf } from "./panels.js";

const same = (a, b) => a.size === b.size && [...a].every((each) => b.has(each));

/** The parts of a link for what a viewer shows now. */
export function placeOf(viewer) {
  const place = {};
  const last = viewer.frames - 1;
  const run = viewer.known;
  if (!viewer.following && (viewer.index < last || run.meta.origin))
    place.at = String(viewer.frameIndex(viewer.runs.indexOf(run)) + 1);
  if (viewer.sheet) place.image = "all";
  else if (viewer.image > 0) place.image = String(viewer.image + 1);
  const here = viewer.local(run, viewer.pin);
  if (here) {
    const { cols } = run.meta.grid;
    const row = Math.floor(here.patch / cols) + 1;
    place.patch = `${viewer.sheet ? `${here.image + 1}.` : ""}${row}-${(here.patch % cols) + 1}`;
  }
  if (!same(viewer.settings.hidden, new Set(viewer.hiddenAtFirst)))
    place.panels = viewer
      .visiblePanels()
      .map(({ key }) => key)
      .join(".");
  return place;
}

/** Something was drawn: the address follows, but not every picture of a playback. */
export function tellPlace(viewer, now = false) {
  if (!viewer.ready || !viewer.frames || viewer.asked || (viewer.player.playing && !now)) return;
  const place = placeOf(viewer);
  const text = JSON.stringify(place);
  if (text === viewer.toldPlace) return;
  viewer.toldPlace = text;
  address.stands(tabAround(viewer.root), place);
}

/** What an address asks for, before the first picture is drawn: image, patch and panels; as at first what it leaves
 * out. */
export function beginAt(viewer, asked) {
  const { images } = viewer.shape;
  const [, of, row, col] = (/^(?:(\d+)\.)?(\d+)-(\d+)$/.exec(asked.patch) ?? []).map(Number);
  viewer.sheet = asked.image === "all" && images > 1;
  const image = viewer.sheet ? of : Number(asked.image);
  viewer.image = image >= 1 ? Math.min(Math.floor(image), images) - 1 : 0;
  const keys = asked.panels?.split(".") ?? [];
  const known = viewer.knownPanels().map(({ key }) => key);
  const shown = known.filter((key) => keys.includes(key));
  const others = new Set([...known, ...viewer.hiddenAtFirst]); // what this run lacks, the next may have
  viewer.settings.hidden = new Set(
    shown.length ? [...others].filter((key) => !keys.includes(key)) : viewer.hiddenAtFirst,
  );
  viewer.all("button[data-panel]").forEach((button) => {
    button.setAttribute("aria-pressed", !viewer.settings.hidden.has(button.dataset.panel));
  });
  const { grid } = viewer.known.meta;
  const inside = row >= 1 && col >= 1 && row <= grid.rows && col <= grid.cols;
  viewer.pin = inside ? spotOf(grid, viewer.image, (row - 1) * grid.cols + col - 1) : null;
}

/** Go to the frame that an address asks for, once it is there. True while it is still awaited. */
export function goWhenThere(viewer, asked) {
  const frame = Number(asked.at);
  if (!(frame >= 1)) return false;
  const run = viewer.known;
  if (run.frames.length < frame && run.active) return true;
  viewer.autoplay = false;
  viewer.goFrame(viewer.runs.indexOf(run), Math.floor(frame) - 1);
  viewer.following = false; // also where it is the last of those that are there so far
  return false;
}

/** Back or Forward to the same run: stand where that entry stood. */
export function standAt(viewer, asked) {
  if (!viewer.ready) return;
  viewer.player.pause();
  beginAt(viewer, asked);
  viewer.inspector.stale = true;
  markImage(viewer);
  relayout(viewer);
  if (!asked.at) viewer.go(viewer.frames - 1);
  else goWhenThere(viewer, asked);
}
