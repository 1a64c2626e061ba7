// Painting patches on the panels by hand. Others switch it on and listen:
//
//   viewer.brush.start({ patches: [1, 2], image: null, onchange: ({ patches, image, done }) => ... });
//   viewer.brush.patches            // numbers of the first run's grid, row by row, rising
//   viewer.brush.patches = [3, 4];  // from outside (undo, clear): drawn, but not announced
//   viewer.brush.stop();
//
// While it is on, a press on a patch paints it (or, if it was painted, rubs it out), dragging goes on with that; keys:
// arrows on a panel move, Space paints. The same news goes out on the page as "paint":
// { phase: "start" | "move" | "end", run, image, patch, patches }. The patches are outlined in all panels.

import { page } from "./shared.js";
import { patchAt } from "./panels.js";
import { spotUnder } from "./overlay.js";

export class Brush {
  constructor(viewer) {
    this.viewer = viewer;
    this.on = false;
    this.image = null;
    this.painted = new Set();
    const { root } = viewer;
    root.addEventListener("pointerdown", (event) => this.down(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, () => this.up());
  }

  /** image: whose patches these are, null for all images of the batch. */
  start({ patches = [], image = null, onchange = () => {} } = {}) {
    Object.assign(this, { on: true, image, onchange, held: false });
    this.viewer.root.classList.add("pfv-painting");
    this.patches = patches;
  }

  stop() {
    this.on = this.held = false;
    this.viewer.root.classList.remove("pfv-painting");
    this.viewer.schedule();
  }

  get patches() {
    return [...this.painted].sort((a, b) => a - b);
  }

  set patches(list) {
    this.painted = new Set(list);
    this.viewer.schedule();
  }

  /** The grid that the numbers count on. */
  get grid() {
    return this.viewer.runs[0].meta.grid;
  }

  down(event) {
    const spot = this.on && event.button <= 0 && spotUnder(this.viewer, event, patchAt);
    if (!spot) return;
    event.preventDefault();
    event.target.releasePointerCapture?.(event.pointerId); // a finger would hold on to the panel it began on
    this.begin(spot);
  }

  begin(spot) {
    this.held = true;
    this.rubbing = this.painted.has(this.number(spot));
    this.stroke("start", spot);
  }

  move(event) {
    if (!this.held) return;
    const spot = spotUnder(this.viewer, event, patchAt);
    if (spot && this.painted.has(this.number(spot)) === this.rubbing) this.stroke("move", spot);
  }

  up() {
    if (!this.held) return;
    this.held = false;
    this.tell("end", null);
  }

  /** One press by key. */
  dab(spot) {
    this.begin(spot);
    this.up();
  }

  number(spot) {
    return this.viewer.local(this.viewer.runs[0], spot).patch;
  }

  stroke(phase, spot) {
    this.painted[this.rubbing ? "delete" : "add"](this.number(spot));
    this.viewer.schedule();
    this.tell(phase, spot);
  }

  tell(phase, spot) {
    const news = {
      phase,
      image: spot ? spot.image : this.image,
      patch: spot ? this.number(spot) : null,
      patches: this.patches,
    };
    this.onchange({ patches: news.patches, image: this.image, done: phase === "end" });
    page.say("paint", news);
  }
}
