// A film of differences between two runs, moment by moment: packed as app/tabs/compare/between.py says.

import { packed } from "./colours.js";

const address = (what, query) => new URL(`pf/difference/${what}?${new URLSearchParams(query)}`, document.baseURI);

async function ask(what, query) {
  const reply = await fetch(address(what, query));
  if (reply.ok) return reply;
  let words = `The server answered ${reply.status}.`;
  try {
    words = (await reply.json()).error || words;
  } catch {
    /* not JSON: keep the number */
  }
  throw new Error(words);
}

/** Sentences about all columns, and where one and other first part: see between.py. */
export async function fetchWords(runs, one, other, threshold) {
  const query = { runs: runs.map((run) => run.id).join(), one, other, threshold };
  return (await ask("words", query)).json();
}

/** All moments [frame of a, frame of b] of one image. */
export async function fetchDifferences(a, b, image, of, moments) {
  const frames = moments.map((pair) => pair.join(":")).join();
  const reply = await ask("film", { a: a.id, b: b.id, image, of, frames });
  return new Differences(moments, await reply.arrayBuffer());
}

export class Differences {
  constructor(moments, buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    [this.count, this.height, this.width] = head.shape;
    [this.rows, this.cols] = head.grid;
    this.n = this.rows * this.cols;
    this.rms = head.rms;
    this.spans = head.spans;
    this.patches = new Float32Array(buffer, 4 + length, this.count * this.n);
    this.levels = new Uint8Array(buffer, 4 + length + this.patches.byteLength);
    this.colours = Object.fromEntries(Object.entries(head.palettes).map(([name, rgb]) => [name, table(rgb)]));
    this.places = new Map(moments.map((pair, k) => [pair.join(":"), k]));
  }

  /** Which moment shows frame i of the one and j of the other; undefined where that was not asked for. */
  at(i, j) {
    return this.places.get(`${i}:${j}`);
  }

  /** RMS of each patch at moment k. */
  patchesAt(k) {
    return this.patches.subarray(k * this.n, (k + 1) * this.n);
  }

  /** Draw the signed difference at moment k. */
  drawSigned(canvas, k) {
    const size = this.width * this.height;
    const levels = this.levels.subarray(k * size, (k + 1) * size);
    paint(canvas, this.width, this.height, (p) => this.colours.signed[levels[p]]);
  }

  /** Draw the RMS of each patch at moment k, a pixel a patch. */
  drawPatches(canvas, k) {
    const patches = this.patchesAt(k);
    const place = (v) => Math.min(255, Math.floor((256 * v) / this.spans.rms));
    paint(canvas, this.cols, this.rows, (p) => this.colours.rms[place(patches[p])]);
  }
}

const table = (rgb) => Uint32Array.from({ length: 256 }, (_, i) => packed(...rgb.slice(3 * i, 3 * i + 3)));

function paint(canvas, width, height, colour) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let p = 0; p < pixels.length; p += 1) pixels[p] = colour(p);
  context.putImageData(picture, 0, 0);
}
