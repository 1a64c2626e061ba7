// Words for a difficulty that is estimated from the velocity (a network without a head, or divergence chosen).

/** Whether a run's patches are ranked by estimates. */
export const estimated = (meta) => meta.recipe?.difficulty === "divergence";

/** Beside the difficulty's title: how many of an image's estimates came out negative, or why there are none. "" where
 * a head predicts. */
export function estimatesNote(run, frame, image) {
  if (!estimated(run.meta) || frame.phase === "final") return "";
  const { n } = run.shape;
  if (frame.negative) return `${frame.negative[image]} of ${n} estimates negative`;
  return frame.t[image * n] === 0 ? "not known yet at t 0" : "not estimated in this pass";
}

/** Of a patch without a sigma: why. */
export function whyNone(run, frame, at) {
  if (!estimated(run.meta)) return "this network predicts no difficulty";
  return frame.t[at] === 0 ? "nothing is known of its difficulty yet" : "its difficulty is not estimated in this pass";
}

/** The same as a sentence, of an image. */
export function noneWords(run, frame, image) {
  const words = whyNone(run, frame, image * run.shape.n).replace("its difficulty", "difficulty");
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}

/** For the line under a run's name. */
export function aboutEstimates({ recipe }) {
  return estimated({ recipe }) ? [`difficulty from its velocity, ${recipe.probes} probes`] : [];
}

/** What a ranking pass cost beside the others: network evaluations, and seconds as they were measured. */
export function rankingCost(run) {
  if (!run.meta || !estimated(run.meta)) return "";
  const passes = run.frames.slice(1).map((frame, i) => ({
    nfe: frame.nfe - run.frames[i].nfe,
    seconds: frame.seconds - run.frames[i].seconds,
    final: frame.phase === "final",
  }));
  const mean = (list) => list.reduce((sum, { seconds }) => sum + seconds, 0) / list.length;
  const ranking = passes.filter(({ nfe }) => nfe > 1);
  if (!ranking.length) return "";
  const others = passes.filter(({ nfe, final }) => nfe === 1 && !final);
  const beside = others.length ? `, any other 1 NFE, ${mean(others).toFixed(2)} s` : "";
  return `a ranking pass ${ranking[0].nfe} NFE, ${mean(ranking).toFixed(2)} s${beside}`;
}
