// A run in the browser: what it is (meta) and its frames, pulled from the server as they arrive.
//
// A reply of frames is: uint32 header length, JSON header, then `bytes` of each frame; see app/server/frames.py.

import { decodeAround, decodeFrame, tooMany } from "./pictures.js";

const base = () => new URL("pf/", document.baseURI);
const TYPES = { float32: Float32Array, uint8: Uint8Array };
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class RunData {
  constructor({ id, label }) {
    this.id = id;
    this.label = label;
    this.meta = null;
    this.frames = [];
    this.status = { state: "waiting", message: "loading", ready: 0, total: 1 };
    this.closed = false;
  }

  get active() {
    return this.status.state === "waiting" || this.status.state === "running";
  }

  address(what = "") {
    return new URL(`runs/${encodeURIComponent(this.id)}${what}`, base());
  }

  /** Pull until the run has ended and every frame is here; `changed()` is called after each reply that brought news. */
  async follow(changed) {
    let failures = 0;
    while (!this.closed) {
      try {
        const [news] = await Promise.all([this.pull(), this.meta || this.describe()]);
        failures = 0;
        if (news) changed(this);
        if (!this.active && this.frames.length >= this.status.ready) return;
        if (!news || this.status.state === "waiting") await pause(this.status.state === "waiting" ? 200 : 50);
        else await pause(25);
      } catch (error) {
        if (error.final || failures > 40) return this.fail(error.message, changed);
        failures += 1;
        this.status = { ...this.status, message: "connection lost, trying again" };
        changed(this);
        await pause(Math.min(4000, 200 * failures));
      }
    }
  }

  fail(message, changed) {
    this.status = { ...this.status, state: "failed", message };
    changed(this);
  }

  async describe() {
    const reply = await fetch(this.address());
    if (!reply.ok) throw await refusal(reply);
    this.meta = await reply.json();
  }

  /** Fetch the frames after those that are here. True if anything changed. */
  async pull() {
    const reply = await fetch(this.address(`/frames?start=${this.frames.length}`));
    if (!reply.ok) throw await refusal(reply);
    const buffer = await reply.arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const before = JSON.stringify(this.status);
    this.status = pick(head);
    if (head.frames.length) await this.take(buffer, 4 + length, head);
    return head.frames.length > 0 || JSON.stringify(this.status) !== before;
  }

  /** Add the frames of a reply; decode their pictures at once, if all of the run's can be kept. */
  async take(buffer, offset, { frames, layout, shape: [images, height, width] }) {
    this.shape = { images, height, width, n: layout[0][2][1] }; // B images of H x W pixels in N patches
    const news = frames.map((info) => {
      offset += info.bytes;
      return unpack(buffer, offset - info.bytes, layout, info);
    });
    this.sparing = tooMany(this.shape, this.status.total);
    if (!this.sparing) await Promise.all(news.map((frame) => decodeFrame(frame, this.shape)));
    this.frames.push(...news);
  }

  /** Frame i is shown: have its pictures and its neighbours' ready; `later()` when they have come. */
  shows(i, later) {
    if (this.sparing) decodeAround(this.frames, this.shape, i, (k) => k === i && later());
  }

  /** Index of the frame that decided which patches are easy at frame i: the outer pass of its step. */
  decider(i) {
    let k = i;
    while (k > 0 && this.frames[k].phase !== "outer" && this.frames[k - 1].outer === this.frames[i].outer) k -= 1;
    return k;
  }
}

async function refusal(reply) {
  let text = `The server answered ${reply.status}.`;
  try {
    text = (await reply.json()).error || text;
  } catch {
    /* not JSON: keep the number */
  }
  return Object.assign(new Error(text), { final: reply.status < 500 });
}

const pick = ({ state, message, ready, total, seconds, forwards, updates, exports }) => ({
  state,
  message,
  ready,
  total,
  seconds,
  forwards,
  updates,
  exports,
});

/** A frame: its head, its maps as arrays, its pictures as they came. */
function unpack(buffer, offset, layout, info) {
  const frame = { ...info, x: null, x1_hat: null };
  for (const [name, type, shape] of layout) {
    const size = shape.reduce((a, b) => a * b, 1);
    frame[name] = new TYPES[type](buffer, offset, size);
    offset += frame[name].byteLength;
  }
  frame.coded = info.pictures.map(([size, planes]) => {
    const bytes = new Uint8Array(buffer, offset, size);
    offset += size;
    return { bytes, planes };
  });
  return frame;
}
