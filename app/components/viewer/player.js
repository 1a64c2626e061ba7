// Playing: ticks of the clock at a steady rate.

const RATE = 10; // ticks a second at speed 1

export class Player {
  constructor(viewer) {
    this.viewer = viewer;
    this.playing = false;
    this.speed = 1;
    this.loop = false;
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    const { viewer } = this;
    if (this.playing || viewer.frames < 2) return;
    if (viewer.index >= viewer.frames - 1) viewer.go(0);
    this.playing = true;
    this.place = viewer.index;
    this.last = null;
    viewer.following = false;
    viewer.chrome();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    this.playing = false;
    this.viewer.chrome();
  }

  tick(now) {
    const { viewer } = this;
    if (!this.playing || !viewer.root.isConnected) return;
    if (Math.round(this.place) !== viewer.index && Math.floor(this.place) !== viewer.index) this.place = viewer.index; // moved by hand
    this.place += this.last === null ? 0 : (Math.min(now - this.last, 200) / 1000) * RATE * this.speed;
    this.last = now;
    const end = viewer.frames - 1;
    const rest = viewer.runs.some((run) => run.active) ? 0 : RATE; // a loop rests on the result for a second
    if (this.place >= end + (this.loop ? rest : 0)) {
      if (this.loop && rest) this.place = 0;
      else if (rest) {
        viewer.go(end, false);
        return this.pause();
      }
    }
    const to = Math.min(end, Math.floor(this.place));
    if (to !== viewer.index) viewer.go(to, false);
    if (this.place > end && !rest) this.place = end;
    requestAnimationFrame((later) => this.tick(later));
  }
}
