// What lies over the panels: the cross-hair, the held patch and edited patches.

import { arrange, boxOf } from "./panels.js";

const part = (v, whole) => `${(100 * v) / whole}%`;

/** Everything that lies over one run's panels, at its frame i. */
export function drawOverlay(viewer, section, run, layout, i) {
  const { grid } = run.meta;
  cross(section, ".pfv-cross:not(.pfv-pin)", layout, grid, viewer.local(run, viewer.hover));
  cross(section, ".pfv-pin", layout, grid, viewer.local(run, viewer.pin));
  section.classList.toggle("pfv-sheet", viewer.sheet);
  outline(section, ".pfv-edited", layout, grid, edited(run, i));
}

function cross(section, selector, layout, grid, spot) {
  const box = spot && boxOf(layout, grid, spot);
  for (const each of section.querySelectorAll(selector)) {
    each.hidden = !box;
    if (!box) continue;
    Object.assign(each.style, {
      left: part(box.x, layout.width),
      top: part(box.y, layout.height),
      width: part(box.w, layout.width),
      height: part(box.h, layout.height),
    });
  }
}

/** image -> the patches that edits have touched by frame i. */
function edited(run, i) {
  const { outer } = run.frames[i];
  const begun = run.meta.edits.filter((edit) => edit.outer <= outer);
  return (image) => begun.filter((edit) => edit.image === null || edit.image === image).flatMap((edit) => edit.patches);
}

/** Draw the rim of each image's patches into every panel; only when it changes. */
function outline(section, selector, layout, grid, patchesOf) {
  const d = layout.images.map((image) => rim(layout, grid, image, new Set(patchesOf(image)))).join("");
  for (const path of section.querySelectorAll(selector)) {
    if (path.shown === d) continue;
    path.shown = d;
    path.ownerSVGElement.setAttribute("viewBox", `0 0 ${layout.width} ${layout.height}`);
    path.setAttribute("d", d);
  }
}

/** SVG path data: one closed box a patch, so that it can be filled; neighbours share their lines. */
function rim(layout, grid, image, patches) {
  return [...patches]
    .map((patch) => {
      const { x, y, w, h } = boxOf(layout, grid, { image, patch });
      return `M${x} ${y}h${w}v${h}h${-w}z`;
    })
    .join("");
}

/** {image, patch, u, v} under a pointer's event, in the run whose panel it is over; null elsewhere. */
export function spotUnder(viewer, event, patchAt) {
  const canvas = event.target.closest?.(".pfv-frame")?.querySelector("canvas");
  const section = canvas?.closest("[data-run]");
  const run = section && viewer.runs[Number(section.dataset.run)];
  if (!run?.shape) return null;
  const box = canvas.getBoundingClientRect();
  const images = section.matches(".pfv-pair") ? [viewer.image] : viewer.imagesOf(run); // maps of differences are of one
  const layout = arrange(run.shape, images);
  const x = ((event.clientX - box.left) / box.width) * layout.width;
  const y = ((event.clientY - box.top) / box.height) * layout.height;
  return patchAt(layout, run.meta.grid, x, y);
}
