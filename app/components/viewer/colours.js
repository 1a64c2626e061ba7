// The page's scales: colour maps of t and sigma, the logarithmic scale of sigma, the two colours of easy and hard.

let palettes = null;

/** Colour maps as 256 packed RGBA values each, and the fixed range of sigma; fetched once. */
export function loadPalettes() {
  palettes ||= fetchPalettes().catch((error) => {
    palettes = null;
    throw error;
  });
  return palettes;
}

loadPalettes().catch(() => {}); // at once: an answer waits long for a page that is being built

async function fetchPalettes() {
  const raw = await (await fetch(new URL("pf/palettes", document.baseURI))).json();
  const pack = (rgb) => Uint32Array.from({ length: 256 }, (_, i) => packed(...rgb.slice(3 * i, 3 * i + 3)));
  return { t: pack(raw.t), sigma: pack(raw.sigma), word: pack(raw.word), sigmaRange: raw.sigma_range };
}

/** A colour as a pixel of an ImageData's buffer. */
export const packed = (r, g, b) => (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
export const fromHex = (text) => packed(...[1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
export const css = (colour) => `rgb(${colour & 255},${(colour >> 8) & 255},${(colour >> 16) & 255})`;

export const EASY = "#7fd1bd";
export const HARD = "#2e3a59";

/** The colour of a map at a place in [0, 1]; beyond it the nearest. */
export const colourAt = (map, place) => map[Math.max(0, Math.min(255, Math.floor(place * 256)))];

/** Where a sigma lies on a logarithmic scale: 0 at its low end, 1 at its high one. */
export const sigmaPlace = (sigma, [low, high]) => Math.log(Math.max(sigma, 1e-9) / low) / Math.log(high / low);

/** A CSS gradient of a colour map. */
export const gradient = (map) =>
  `linear-gradient(90deg, ${Array.from({ length: 17 }, (_, i) => css(map[Math.min(255, i * 16)])).join(",")})`;

export const SIGMA_TICKS = [0.05, 0.1, 0.2, 0.5, 1]; // of the fixed scale

/** Ticks of a bar of sigma: [[place 0..1, text, less important]]. */
export function sigmaTicks([low, high], fixed) {
  const values = fixed ? SIGMA_TICKS : [low, Math.sqrt(low * high), high];
  return values.map((v) => [
    sigmaPlace(v, [low, high]),
    String(Number(v.toPrecision(2))),
    fixed && (v === 0.1 || v === 0.5),
  ]);
}
