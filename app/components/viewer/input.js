// Mouse, touch and keys.

import { sigmaBars } from "./bars.js";
import { closesBeside } from "./beside.js";
import { copyCommand } from "./downloads.js";
import { relayout } from "./layout.js";
import { spotUnder } from "./overlay.js";
import { patchAt, sameSpot, spotOf } from "./panels.js";
import { columns } from "./filmbar.js";
import { scheduleRow, seriesColumns } from "./charts.js";

export function listen(viewer) {
  viewer.root.addEventListener("click", (event) => clicked(viewer, event));
  viewer.root.addEventListener("change", (event) => changed(viewer, event));
  closesBeside(viewer.find(".pfv-help"));
  pointAtPatches(viewer);
  dragFilm(viewer);
  dragSeries(viewer);
  const keys = (event) => {
    if (!viewer.root.isConnected) document.removeEventListener("keydown", keys);
    else pressed(viewer, event);
  };
  document.addEventListener("keydown", keys);
}

const ACTS = {
  first: (v) => v.go(0),
  last: (v) => v.go(v.frames - 1),
  previous: (v) => v.step(-1),
  next: (v) => v.step(1),
  previousOuter: (v) => v.goOuter(-1),
  nextOuter: (v) => v.goOuter(1),
  play: (v) => v.player.toggle(),
  live: (v) => v.go(v.frames - 1),
  help: (v) => toggleHelp(v),
  unpin: (v) => v.hold(null),
  schedule: (v) => v.inspector.toggleSchedule(),
  copy: (v) => copyCommand(v),
};
const STAYS = new Set(["play", "help", "unpin", "schedule", "copy"]); // these do not interrupt playing

function act(viewer, name) {
  if (!STAYS.has(name)) viewer.player.pause();
  ACTS[name](viewer);
}

function toggleHelp(viewer) {
  const card = viewer.find(".pfv-help");
  if (card.open) card.close();
  else card.showModal();
}

function clicked(viewer, event) {
  const target = event.target.closest("[data-act], [data-image], button[data-panel]");
  if (!target) return;
  if (target.dataset.act) act(viewer, target.dataset.act);
  else if (target.dataset.image) viewer.pickImage(target.dataset.image);
  else {
    const { hidden } = viewer.settings;
    if (hidden.has(target.dataset.panel)) hidden.delete(target.dataset.panel);
    else if (viewer.visiblePanels().length > 1) hidden.add(target.dataset.panel);
    target.setAttribute("aria-pressed", !hidden.has(target.dataset.panel));
    relayout(viewer);
  }
}

function changed(viewer, { target }) {
  const name = target.dataset.set;
  if (name === "speed") viewer.player.speed = Number(target.value);
  if (name === "loop") viewer.player.loop = target.checked;
  if (name === "perFrame") {
    viewer.settings.perFrame = target.checked;
    sigmaBars(viewer);
    viewer.schedule();
  }
  if (name === "align") viewer.realign(target.value);
  if (name === "passes") viewer.pickPasses(target.value);
}

function pointAtPatches(viewer) {
  const under = (event) => spotUnder(viewer, event, patchAt);
  viewer.root.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const spot = under(event);
    if (sameSpot(spot, viewer.hover)) return;
    viewer.hover = spot;
    viewer.schedule();
  });
  viewer.root.addEventListener("pointerleave", () => {
    viewer.hover = null;
    viewer.schedule();
  });
  viewer.root.addEventListener("click", (event) => {
    const spot = under(event);
    if (!spot) return;
    viewer.hold(sameSpot(spot, viewer.pin) ? null : spot);
  });
}

/** Let a pointer drag over an element: onto(event, element) at every place. */
function drag(viewer, selector, onto) {
  let held = null;
  viewer.root.addEventListener("pointerdown", (event) => {
    held = event.target.closest?.("button") ? null : event.target.closest?.(selector); // a button is pressed, not dragged
    if (event.button > 0) held = null; // nor with any other than the main button
    if (!held) return;
    held.setPointerCapture?.(event.pointerId);
    viewer.player.pause();
    onto(event, held);
  });
  viewer.root.addEventListener("pointermove", (event) => held && event.buttons && onto(event, held));
  for (const end of ["pointerup", "pointercancel"])
    viewer.root.addEventListener(end, () => {
      held = null;
    });
}

function dragFilm(viewer) {
  drag(viewer, ".pfv-film, .pfv-apart", (event, film) => {
    const box = film.getBoundingClientRect();
    viewer.go(columns(box.width, viewer.total).tick(event.clientX - box.left));
  });
}

function dragSeries(viewer) {
  drag(viewer, ".pfv-series", (event, canvas) => {
    const box = canvas.getBoundingClientRect();
    viewer.go(seriesColumns(box.width, viewer.total).tick(event.clientX - box.left));
  });
  drag(viewer, ".pfv-schedules canvas", (event, canvas) => {
    const box = canvas.getBoundingClientRect();
    const r = Number(canvas.dataset.run);
    viewer.goFrame(r, scheduleRow(event.clientY - box.top, box.height, viewer.runs[r]));
  });
}

const KEYS = {
  ArrowLeft: ["previous", "previousOuter"],
  ArrowRight: ["next", "nextOuter"],
  Home: ["first"],
  End: ["last"],
  " ": ["play"],
  "?": ["help"],
  Escape: ["unpin"],
};

function pressed(viewer, event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || viewer.root.offsetParent === null || !viewer.frames) return;
  if (
    target.closest?.("input, textarea, select, summary, pre, [contenteditable=true], [role=listbox], [role=tab]") ||
    viewer.find(".pfv-help").open
  )
    return;
  const modal = document.querySelector("dialog[open]"); // also where the focus is on none of its fields
  if (modal && (event.key === "Escape" || !modal.matches(".pfz"))) return;
  if (event.key === " " && target.closest?.("button, a")) return;
  const names = KEYS[event.key];
  if (target.closest?.(".pfv-frame") && viewer.root.contains(target) && walk(viewer, target, event))
    return event.preventDefault();
  if (!names) return;
  event.preventDefault();
  act(viewer, names[event.shiftKey && names.length > 1 ? 1 : 0]);
}

const WALK = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** Arrow keys on a panel go from patch to patch. True if the key meant that. */
function walk(viewer, target, event) {
  const run = viewer.runs[Number(target.closest(".pfv-run").dataset.run)];
  const step = WALK[event.key];
  if (!step || event.shiftKey || !run.meta) return false;
  const { grid } = run.meta;
  const here = viewer.local(run, viewer.pin);
  const at = here ? here.patch : Math.floor(grid.rows / 2) * grid.cols + Math.floor(grid.cols / 2);
  const row = here ? Math.floor(at / grid.cols) + step[0] : Math.floor(at / grid.cols);
  const col = here ? (at % grid.cols) + step[1] : at % grid.cols;
  const inside = row >= 0 && col >= 0 && row < grid.rows && col < grid.cols;
  if (inside) viewer.hold(spotOf(grid, here ? here.image : viewer.image, row * grid.cols + col));
  return true;
}
