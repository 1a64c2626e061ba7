// What a map shows at the result: no forward pass looked at it, so the last one that knew something stands there.

const some = (values) => values.some((v) => !Number.isNaN(v));

const KNOWN = {
  logvar: (frame) => some(frame.logvar),
  logvar_cond: (frame) => some(frame.logvar_cond),
  easy: (frame) => frame.ranked,
};

/** The index of the frame whose map is shown at frame i: i itself, but at the result the last one that has the map. */
export function mapFrame(run, i, map) {
  const known = KNOWN[map];
  if (!known || run.frames[i]?.phase !== "final") return i;
  const last = run.frames.findLastIndex(known);
  return last < 0 ? i : last;
}

/** Whether any pass of the run has this map by now. */
export const everKnown = (run, map) => run.frames.some(KNOWN[map]);
