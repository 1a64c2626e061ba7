// A run in the browser: what it is (meta) and its frames, pulled from the server as they arrive.
//
// A reply of frames is: uint32 header length, JSON header, then `bytes` of each frame; see app/server/frames.py.

import { decodeAround, decodeFrame, tooMany } from "./pictures.js";

const base = () => new URL("pf/", document.baseURI);
const TYPES = { float32: Float32Array, uint8: Uint8Array };
const FIRST = 4; // frames that are asked for, decoded and shown before the others; app/server/static.py asks ahead for so many
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class RunData {
  constructor({ id, label }) {
    this.id = id;
    this.label = label;
    this.meta = null;
    this.frames = [];
    this.status = { state: "waiting", message: "loading", ready: 0, total: 1 };
    this.closed = false;
    this.arriving = false; // frames of the last reply are still to be decoded
  }

  /** Is the server not done with it? */
  get running() {
    return this.status.state === "waiting" || this.status.state === "running";
  }

  get failed() {
    return this.status.state === "failed";
  }

  /** Are more frames to come, from the server or from the decoder? */
  get active() {
    return this.running || this.arriving || this.frames.length < this.status.ready;
  }

  address(what = "") {
    return new URL(`runs/${encodeURIComponent(this.id)}${what}`, base());
  }

  /** Pull until the run has ended and every frame is here; `changed()` is called after each reply that brought news,
   * and during one as soon as its first frames can be shown. */
  async follow(changed) {
    let failures = 0;
    while (!this.closed) {
      try {
        const described = this.meta || this.describe();
        const [news] = await Promise.all([this.pull(changed, described), described]);
        failures = 0;
        if (news) changed(this);
        if (!this.active) return;
        if (this.frames.length < this.status.ready) continue; // only the first were asked for
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
    this.status = { ...this.status, state: "failed", message, ready: this.frames.length };
    changed(this);
  }

  async describe() {
    const reply = await fetch(this.address());
    if (!reply.ok) throw await refusal(reply);
    this.meta = await reply.json();
  }

  /** What the server answers to a question about this run, JSON. Throws a sentence, `final` where it refuses. */
  async ask(what) {
    const reply = await fetch(this.address(what));
    if (!reply.ok) throw await refusal(reply);
    return reply.json();
  }

  /** Fetch the frames after those that are here, to be shown once the run is `described`. True if anything changed. */
  async pull(changed, described) {
    const most = this.frames.length ? "" : `&most=${FIRST}`;
    const reply = await fetch(this.address(`/frames?start=${this.frames.length}${most}`));
    if (!reply.ok) throw await refusal(reply);
    const buffer = await reply.arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const before = JSON.stringify(this.status);
    this.status = pick(head);
    if (head.frames.length) await this.take(buffer, 4 + length, head, changed, described);
    return head.frames.length > 0 || JSON.stringify(this.status) !== before;
  }

  /** Add the frames of a reply: all at once, or, if all of the run's pictures can be kept, each as soon as it and those
   * before it are decoded. */
  async take(buffer, offset, { frames, layout, shape: [images, height, width] }, changed, described) {
    this.shape = { images, height, width, n: layout[0][2][1] }; // B images of H x W pixels in N patches
    const news = frames.map((info) => {
      offset += info.bytes;
      return unpack(buffer, offset - info.bytes, layout, info);
    });
    this.sparing = tooMany(this.shape, this.status.total);
    if (this.sparing) this.frames.push(...news);
    else await this.decode(news, changed, described);
  }

  /** The first few frames are shown while the rest is decoded: a recording begins to play at once. */
  async decode(news, changed, described) {
    this.arriving = true;
    try {
      for (let count = FIRST; news.length; count *= 2) {
        const next = news.splice(0, count);
        await Promise.all(next.map((frame) => decodeFrame(frame, this.shape)));
        await described;
        if (this.closed) return;
        this.frames.push(...next);
        if (news.length) changed(this);
      }
    } finally {
      this.arriving = false;
    }
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

const pick = ({ state, message, ready, total, evaluations, seconds, forwards, token_forwards, updates, exports }) => ({
  state,
  message,
  ready,
  total,
  evaluations,
  seconds,
  forwards,
  tokenForwards: token_forwards,
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
