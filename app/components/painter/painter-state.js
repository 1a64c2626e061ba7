// What is painted, without a page: cells, the ways to change them, and undo.

const MOST = 200; // undo steps kept

export class Painting {
  /** mode "values": a number a patch, `base` where nothing was painted; "chosen": 1 or 0. */
  constructor(mode, [low, high]) {
    Object.assign(this, {
      mode,
      low,
      high,
      rows: 0,
      cols: 0,
      cells: [],
      base: [],
      past: [],
      future: [],
      driven: false,
    });
  }

  get n() {
    return this.rows * this.cols;
  }

  /** Take over what a value from the server names; returns true if anything changed. */
  take({ grid, values, chosen }) {
    const before = this.cells;
    const fresh = grid && (grid[0] !== this.rows || grid[1] !== this.cols);
    if (fresh) {
      [this.rows, this.cols] = grid;
      [this.past, this.future] = [[], []];
      this.cells = new Array(this.n).fill(this.mode === "values" ? this.low : 0);
      this.base = this.cells;
    }
    const given = this.mode === "values" ? values : chosen && this.members(chosen);
    if (given && given.length === this.n) {
      if (this.mode === "values") this.base = given;
      if (fresh) this.cells = given;
      else if (this.commit(given, this.driven)) this.driven = this.mode === "values"; // a slider's moves are one step
    }
    return before !== this.cells;
  }

  members(chosen) {
    const cells = new Array(this.n).fill(0);
    for (const p of chosen) if (p >= 0 && p < this.n) cells[p] = 1;
    return cells;
  }

  /** {grid, values, chosen} as the server takes them. */
  value() {
    const values = this.mode === "values";
    return {
      grid: [this.rows, this.cols],
      values: values ? [...this.cells] : null,
      chosen: values ? [] : this.cells.flatMap((on, p) => (on ? [p] : [])),
    };
  }

  /** The numbers of the patches from one corner to another, each [row, col], cut to the grid. */
  box([r0, c0], [r1, c1]) {
    const patches = [];
    for (let r = Math.max(0, Math.min(r0, r1)); r <= Math.min(this.rows - 1, Math.max(r0, r1)); r += 1) {
      for (let c = Math.max(0, Math.min(c0, c1)); c <= Math.min(this.cols - 1, Math.max(c0, c1)); c += 1) {
        patches.push(r * this.cols + c);
      }
    }
    return patches;
  }

  /** Corners of a brush of `size` x `size` patches about [row, col]. */
  footprint([row, col], size) {
    const before = Math.floor((size - 1) / 2);
    return [
      [row - before, col - before],
      [row - before + size - 1, col - before + size - 1],
    ];
  }

  /** The cells with some of them painted (with `value`, or 1) or erased; nothing here changes yet. */
  painted(cells, patches, value, erase) {
    const made = [...cells];
    for (const p of patches) made[p] = this.mode === "values" ? (erase ? this.base[p] : value) : Number(!erase);
    return made;
  }

  all(value) {
    return new Array(this.n).fill(this.mode === "values" ? value : 1);
  }

  none() {
    return this.mode === "values" ? [...this.base] : new Array(this.n).fill(0);
  }

  inverted() {
    return this.cells.map((v) => (this.mode === "values" ? round(this.low + this.high - v) : 1 - v));
  }

  /** Make these the cells, as one step that undo takes back; `same`: as a part of the step before. Returns true if that
      changed anything. */
  commit(cells, same = false) {
    if (cells.length === this.cells.length && cells.every((v, p) => v === this.cells[p])) return false;
    if (!same || !this.past.length) this.past = [...this.past, this.cells].slice(-MOST);
    this.driven = false;
    this.future = [];
    this.cells = cells;
    return true;
  }

  undo() {
    return this.travel(this.past, this.future);
  }

  redo() {
    return this.travel(this.future, this.past);
  }

  travel(from, to) {
    if (!from.length) return false;
    this.driven = false;
    to.push(this.cells);
    this.cells = from.pop();
    return true;
  }
}

export const round = (v) => Math.round(v * 1e6) / 1e6;
