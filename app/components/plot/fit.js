// Figures fitted to their boxes. How many lines a legend takes, how wide a colour bar's numbers are and how much of the
// box a plane with equal axes fills, only a drawing says: it is measured once for a box of this size.

const TITLE = 28; // px above the legend
const GAP = 6; // px between a plane and its colour bar
const LEAST = 10.5; // px, of a title's letters
const pen = document.createElement("canvas").getContext("2d");

const barOf = (trace) => trace.colorbar || trace.marker?.colorbar;

/** What the fit depends on: while this stays the same, the fit that was measured holds. */
export function keyOf(box, data, layout) {
  const bars = data.map(barOf).filter(Boolean);
  const names = data.filter((trace) => trace.showlegend !== false).map((trace) => trace.name);
  return JSON.stringify([box.clientWidth, box.clientHeight, layout.showlegend, names, bars, layout.xaxis.range]);
}

/** Of a figure that is drawn as it is: {legend: its height, margin: what all around the plot takes}, in px. */
export function measured(box) {
  const { legend, showlegend, _size: size } = box._fullLayout;
  const { l, r, b } = size;
  return { legend: showlegend ? Math.ceil(legend?._height || 0) : 0, margin: { l, r, b } };
}

function titled(title, width) {
  pen.font = `${title.font.size}px sans-serif`;
  const share = (width - 16) / pen.measureText(title.text).width;
  return share >= 1 ? title : { ...title, font: { ...title.font, size: Math.max(LEAST, share * title.font.size) } };
}

/** A plane's share of the room that it has: [across, up]. */
function shares({ xaxis, yaxis }, across, up) {
  const [wide, high] = [xaxis, yaxis].map(({ range }) => range[1] - range[0]);
  const scale = Math.min(across / wide, up / high);
  return [(wide * scale) / across, (high * scale) / up];
}

/** [data, layout] with the legend between title and plot, whatever its lines, and the colour bar beside the plane and as
 * high as that. */
export function fitted(box, data, layout, { legend, margin }) {
  const [width, height] = [box.clientWidth, box.clientHeight];
  const above = layout.legend?.y === 1;
  const around = { ...layout.margin, ...(above && { t: TITLE + legend }) };
  const shown = { ...layout, margin: around, title: titled(layout.title, width) };
  if (!layout.yaxis.scaleanchor || !data.some(barOf)) return [data, shown];
  Object.assign(around, margin, { autoexpand: false });
  const across = width - around.l - around.r;
  const [wide, high] = shares(layout, across, height - around.t - around.b);
  const place = { x: 0.5 + wide / 2 + GAP / across, xpad: 0, xanchor: "left", y: 0.5, len: high, ypad: 0 };
  const moved = (bar) => ({ ...bar, ...place });
  return [data.map((trace) => withBar(trace, moved)), shown];
}

function withBar(trace, moved) {
  if (trace.colorbar) return { ...trace, colorbar: moved(trace.colorbar) };
  const bar = trace.marker?.colorbar;
  return bar ? { ...trace, marker: { ...trace.marker, colorbar: moved(bar) } } : trace;
}
