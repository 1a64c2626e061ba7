// Image and map panels: pixels into a canvas at its natural size, scaled up by CSS in whole pixels.

import { colourAt, EASY, fromHex, HARD, sigmaPlace } from "./colours.js";

export const HIDDEN = ["cond"]; // to begin with: the maps that are left are larger (of a guided run, by half at 1440)
export const PANELS = [
  { key: "x", title: "x<sub>t</sub>", note: "what the network sees", image: "x" },
  { key: "x1", title: "x&#770;<sub>1</sub>", note: "predicted result", image: "x1_hat" },
  { key: "t", title: "time t", note: "0 noise, 1 image", map: "t" },
  { key: "sigma", title: "difficulty &sigma;", note: "expected error", map: "logvar" },
  { key: "cond", title: "&sigma; conditional", note: "no guidance", map: "logvar_cond", guidedOnly: true },
  { key: "easy", title: "easy / hard", note: "which go first", map: "easy" },
  { key: "word", title: "attention", note: "point at a word", map: "word", onDemand: true },
];

/** Those of panels that are recorded: the others are made on demand, for the page alone. */
export const exportable = (panels) => panels.filter(({ onDemand }) => !onDemand);

const NOTHING = fromHex("#9a9fa8");
const EASY_HARD = [fromHex(HARD), fromHex(EASY), NOTHING];
const GAP = 2; // pixels between the images of a contact sheet

/** Where the chosen images stand on a panel: one, or a sheet of all. */
export function arrange(shape, images) {
  const { width, height } = shape;
  const cols = Math.min(images.length, Math.ceil(Math.sqrt((images.length * height) / width)));
  const rows = Math.ceil(images.length / cols);
  return {
    images,
    cols,
    rows,
    shape,
    width: cols * width + (cols - 1) * GAP,
    height: rows * height + (rows - 1) * GAP,
    place: (k) => [(k % cols) * (width + GAP), Math.floor(k / cols) * (height + GAP)],
  };
}

/** {image, patch, u, v} under a pixel of an arrangement, or null. */
export function patchAt(layout, grid, px, py) {
  const { width, height } = layout.shape;
  const col = Math.floor(px / (width + GAP));
  const row = Math.floor(py / (height + GAP));
  const k = row * layout.cols + col;
  const x = px - col * (width + GAP);
  const y = py - row * (height + GAP);
  if (px < 0 || py < 0 || col >= layout.cols || k >= layout.images.length || x >= width || y >= height) return null;
  const patch = Math.floor((y * grid.rows) / height) * grid.cols + Math.floor((x * grid.cols) / width);
  return spotOf(grid, layout.images[k], patch);
}

/** A patch of a grid as a spot that runs of other grids know too: u, v in [0, 1], its middle within the image. */
export function spotOf(grid, image, patch) {
  return {
    image,
    patch,
    u: ((patch % grid.cols) + 0.5) / grid.cols,
    v: (Math.floor(patch / grid.cols) + 0.5) / grid.rows,
  };
}

/** Whether two spots are one place, in whatever grids they were met. */
export const sameSpot = (a, b) => a?.image === b?.image && a?.u === b?.u && a?.v === b?.v;

/** The patch of a grid at a spot. */
export const patchIn = (grid, spot) =>
  spot.u === undefined ? spot.patch : Math.floor(spot.v * grid.rows) * grid.cols + Math.floor(spot.u * grid.cols);

/** The box of a patch in the arrangement's pixels, or null if its image is not shown. */
export function boxOf(layout, grid, { image, patch }) {
  const k = layout.images.indexOf(image);
  if (k < 0) return null;
  const [x, y] = layout.place(k);
  const w = layout.shape.width / grid.cols;
  const h = layout.shape.height / grid.rows;
  return { x: x + (patch % grid.cols) * w, y: y + Math.floor(patch / grid.cols) * h, w, h };
}

/** The scale of sigma at a frame: [low, high] fixed, or the frame's own range over the images shown. */
export function sigmaScale(frame, map, layout, palettes, perFrame) {
  if (!perFrame) return palettes.sigmaRange;
  let low = Infinity;
  let high = -Infinity;
  for (const image of layout.images) {
    for (let i = image * layout.shape.n; i < (image + 1) * layout.shape.n; i += 1) {
      const v = frame[map][i];
      if (v < low) low = v;
      if (v > high) high = v;
    }
  }
  return low <= high
    ? [Math.exp(low / 2), Math.max(Math.exp(high / 2), Math.exp(low / 2) * 1.001)]
    : palettes.sigmaRange;
}

/** Draw one panel of one run; `scale` is the range of sigma, or of a word's attention. A picture that is not decoded yet leaves it as it is. */
export function drawPanel(canvas, panel, frame, layout, grid, palettes, scale) {
  if (panel.image && !frame[panel.image]) return;
  if (canvas.width !== layout.width || canvas.height !== layout.height) {
    canvas.width = layout.width;
    canvas.height = layout.height;
    canvas.buffer = null;
  }
  const context = canvas.getContext("2d");
  canvas.buffer ||= context.createImageData(layout.width, layout.height);
  const pixels = new Uint32Array(canvas.buffer.data.buffer);
  layout.images.forEach((image, k) => {
    const [x0, y0] = layout.place(k);
    if (panel.image) drawImage(pixels, layout, x0, y0, frame[panel.image], image);
    else drawMap(pixels, layout, x0, y0, grid, colours(panel, frame, image, layout.shape.n, palettes, scale));
  });
  context.putImageData(canvas.buffer, 0, 0);
}

function drawImage(pixels, layout, x0, y0, bytes, image) {
  const { width, height } = layout.shape;
  let from = image * width * height * 3;
  for (let y = 0; y < height; y += 1) {
    let to = (y0 + y) * layout.width + x0;
    for (let x = 0; x < width; x += 1, from += 3, to += 1) {
      pixels[to] = 0xff000000 | (bytes[from + 2] << 16) | (bytes[from + 1] << 8) | bytes[from];
    }
  }
}

function drawMap(pixels, layout, x0, y0, grid, colour) {
  const { width, height } = layout.shape;
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor((y * grid.rows) / height) * grid.cols;
    const to = (y0 + y) * layout.width + x0;
    for (let x = 0; x < width; x += 1) pixels[to + x] = colour[row + Math.floor((x * grid.cols) / width)];
  }
}

/** One packed colour a patch. */
function colours(panel, frame, image, n, palettes, scale) {
  const values = frame[panel.map].subarray(image * n, (image + 1) * n);
  if (panel.map === "easy") return Uint32Array.from(values, (v) => EASY_HARD[v]);
  if (panel.map === "word") {
    const [low, high] = scale ?? [0, 1];
    const span = Math.max(high - low, 1e-6);
    return Uint32Array.from(values, (v) => (Number.isNaN(v) ? NOTHING : colourAt(palettes.word, (v - low) / span)));
  }
  if (panel.map === "t") return Uint32Array.from(values, (v) => colourAt(palettes.t, v));
  return Uint32Array.from(values, (v) =>
    Number.isNaN(v) ? NOTHING : colourAt(palettes.sigma, sigmaPlace(Math.exp(v / 2), scale)),
  );
}
