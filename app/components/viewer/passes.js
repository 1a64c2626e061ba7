// Which passes playing and stepping stop at: every one, those that begin an outer step, or the probes; always the result.

export const PASSES = { all: "every pass", outer: "outer steps only", probe: "probes only" };

const stopsAt = (frame, passes) => frame.phase === passes || frame.phase === "final";

/** Whether a run has passes of this kind; a run that has none shows all of its own. */
export const hasPasses = (run, passes) => run.frames.some((frame) => frame.phase === passes);

/** The clock's ticks to stop at, rising; all of them where no run has such a pass. */
export function stopsOf(runs, clock, passes) {
  const ticks = new Set();
  runs.forEach((run, r) => {
    if (passes === "all" || !hasPasses(run, passes)) return;
    run.frames.forEach((frame, i) => stopsAt(frame, passes) && ticks.add(clock.tickOf(r, i)));
  });
  if (!ticks.size) return clock.ticks.map((_, tick) => tick);
  return [...ticks.add(clock.length - 1)].sort((a, b) => a - b);
}

/** The frame that stands for frame i of a run: the last one up to it that is stopped at, else the first. */
export function frameFor(run, i, passes) {
  if (passes === "all" || !hasPasses(run, passes)) return i;
  for (let k = i; k >= 0; k -= 1) if (stopsAt(run.frames[k], passes)) return k;
  return run.frames.findIndex((frame) => stopsAt(frame, passes));
}

/** The place in `stops` that is nearest to a tick. */
export function nearestStop(stops, tick) {
  let low = 0;
  let high = stops.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (stops[middle] < tick) low = middle + 1;
    else high = middle;
  }
  return low > 0 && tick - stops[low - 1] < stops[low] - tick ? low - 1 : low;
}
