// Playing: from stop to stop at a steady rate, slow enough that outer and probe passes can be told apart.

import { nearestStop } from "./passes.js";

const RATE = 4; // passes a second at speed 1
const REST = 1; // seconds on the result before a loop begins again
const FADE = 180; // ms of the transition between two passes, if there is time for it
const SHORTEST = 120; // ms a pass: below, a transition would be all that is seen

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  constructor(viewer) {
    this.viewer = viewer;
    this.playing = false;
    this.speed = 1;
    this.loop = false;
  }

  /** ms that one pass gives way to the next in; 0 where it is at once. */
  get fade() {
    const each = 1000 / (RATE * this.speed);
    return !this.playing || still.matches || each < SHORTEST ? 0 : Math.min(FADE, 0.6 * each);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    const { viewer } = this;
    if (this.playing || viewer.stops.length < 2) return;
    if (viewer.index >= viewer.stops.at(-1)) viewer.go(0);
    this.playing = true;
    this.place = this.here;
    this.last = null;
    viewer.following = false;
    viewer.chrome();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    this.playing = false;
    this.viewer.chrome();
    this.viewer.schedule(); // what is made on demand is not made while it plays
  }

  /** The stop that the viewer is at. */
  get here() {
    return nearestStop(this.viewer.stops, this.viewer.index);
  }

  tick(now) {
    const { viewer } = this;
    if (!this.playing || !viewer.root.isConnected) return;
    const { here } = this;
    if (Math.round(this.place) !== here && Math.floor(this.place) !== here) this.place = here; // moved by hand
    const rate = RATE * this.speed;
    this.place += this.last === null ? 0 : (Math.min(now - this.last, 200) / 1000) * rate;
    this.last = now;
    const end = viewer.stops.length - 1;
    const rest = viewer.runs.some((run) => run.active) ? 0 : REST * rate;
    if (this.place >= end + (this.loop ? rest : 0)) {
      if (this.loop && rest) this.place = 0;
      else if (rest) {
        viewer.go(viewer.stops[end], false);
        return this.pause();
      }
    }
    const to = Math.min(end, Math.floor(this.place));
    if (to !== here) viewer.go(viewer.stops[to], false);
    if (this.place > end && !rest) this.place = end;
    requestAnimationFrame((later) => this.tick(later));
  }
}
