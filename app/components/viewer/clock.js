// One clock for all runs: ticks, and which frame each run shows at each.

const KEYS = {
  nfe: (frame) => (frame.phase === "final" ? frame.nfe + 1 : frame.nfe),
  seconds: (frame) => frame.seconds,
  outer: (frame, i, frames) => {
    if (frame.phase === "final") return frame.outer + 1;
    let first = i;
    while (first > 0 && frames[first - 1].outer === frame.outer) first -= 1;
    return frame.outer + (i - first) / 1024;
  },
};

export const ALIGNMENTS = { nfe: "equal NFE", outer: "equal outer step", seconds: "equal wall time" };

export class Clock {
  constructor(runs, align) {
    this.keys = runs.map((run) => run.frames.map(KEYS[align] || KEYS.nfe));
    this.ticks = [...new Set(this.keys.flat())].sort((a, b) => a - b);
  }

  get length() {
    return this.ticks.length;
  }

  /** The last tick that is not later than this key; the first where all are. */
  at(key) {
    return Math.max(0, upper(this.ticks, key) - 1);
  }

  /** The frame that run r shows at a tick: its last one whose key is not later. */
  frameAt(r, tick) {
    return Math.max(0, upper(this.keys[r], this.ticks[tick]) - 1);
  }

  /** The tick at which run r reaches frame i. */
  tickOf(r, i) {
    return upper(this.ticks, this.keys[r][i]) - 1;
  }
}

/** How many of the rising values are <= limit. */
function upper(values, limit) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
