// The words of a prompt over a run's maps: one that is pointed at, focused or tapped has a map of where the network
// looks for it. The server makes it on demand, for the frame that is shown, and the page keeps it.

import { wordBar } from "./bars.js";
import { drawPanel } from "./panels.js";

const REST = 100; // ms that a frame stands still before its maps are asked for
const KEPT = 200; // frames of images whose maps are kept
const percent = (v) => `${(100 * v).toFixed(1)}%`;

export class Attention {
  constructor(viewer) {
    this.viewer = viewer;
    this.known = new Map(); // "run pass image" -> {words, maps}, or {refusal}
    this.wanted = new Map(); // what the frame that is shown lacks: key -> [run, pass, image]
    this.asking = new Set();
    [this.lit, this.held] = [null, null]; // {k, text}: pointed at or focused; tapped, and shown until tapped again
    this.listen();
  }

  listen() {
    const { root } = this.viewer;
    const over = ({ target }) => this.light(wordAt(target));
    root.addEventListener("pointerover", (event) => event.pointerType !== "touch" && over(event));
    root.addEventListener("pointerleave", () => this.light(null));
    root.addEventListener("focusin", over);
    root.addEventListener("focusout", () => this.light(null));
    root.addEventListener("click", ({ target }) => {
      const word = wordAt(target);
      if (!word) return;
      const again = same(word, this.held);
      [this.lit, this.held] = again ? [null, null] : [word, word];
      this.redraw();
    });
  }

  light(word) {
    if (same(word, this.lit)) return;
    this.lit = word;
    this.redraw();
  }

  redraw() {
    this.mark();
    this.viewer.schedule();
  }

  mark() {
    const shown = this.lit || this.held;
    for (const button of this.viewer.all("[data-word]")) {
      const word = wordAt(button);
      button.setAttribute("aria-pressed", same(word, this.held));
      button.classList.toggle("pfv-shown", same(word, shown));
    }
  }

  /** Other runs are shown: no word is chosen. */
  begin() {
    [this.lit, this.held] = [null, null];
    this.wanted.clear();
  }

  /** The words of the image that is shown, as buttons, and what the network does not take in of them, which is struck
   * through, or does not know. */
  list(section, run) {
    const line = section.querySelector(".pfv-words");
    const image = Math.min(this.viewer.image, run.shape.images - 1);
    const words = run.meta.words?.[image] ?? [];
    const key = words.map((word) => `${word.text} ${word.taken} ${word.known}`).join("\n");
    line.hidden = !words.length;
    if (line.key === key) return;
    line.key = key;
    const losses = section.querySelector(".pfv-losses");
    losses.textContent = run.meta.losses?.[image] ?? "";
    losses.hidden = !losses.textContent;
    let k = 0; // the place among the words that have maps
    line.querySelector("div").replaceChildren(
      ...words.map(({ text, taken, known }) => {
        const each = document.createElement(taken ? "button" : "s");
        each.textContent = text; // a person's text
        if (!taken) each.title = "Behind the end of what the network takes in";
        else {
          each.type = "button";
          each.dataset.word = k;
          k += 1;
          each.classList.toggle("pfv-unmet", !known);
          each.title = known ? "Where the network looks for this word" : "The network has never met this word";
        }
        return each;
      }),
    );
    this.mark();
  }

  /** The panel of one run at its frame i; at the result, of the last pass. */
  draw(figure, panel, run, i, layout) {
    const pass = run.frames[i].phase === "final" ? Math.max(0, i - 1) : i;
    const word = this.lit || this.held;
    const { n, images } = run.shape;
    const frame = { word: new Float32Array(images * n).fill(NaN) };
    let range = null;
    let refusal = "";
    for (const image of word ? layout.images : []) {
      if (takenWords(run, image)[word.k]?.text !== word.text) continue;
      const known = this.get(run, pass, image);
      refusal ||= known?.refusal ?? "";
      if (!known?.maps) continue;
      const values = known.maps[word.k];
      frame.word.set(values, image * n);
      const [low, high] = range ?? [1, 0];
      range = [Math.min(low, ...values), Math.max(high, ...values)];
    }
    drawPanel(figure.querySelector("canvas"), panel, frame, layout, run.meta.grid, this.viewer.palettes, range);
    wordBar(this.viewer, figure, range?.map(percent));
    this.say(figure, this.note(run, word, range, refusal, pass < i), word && range ? `"${word.text}"` : "attention");
  }

  note(run, word, range, refusal, last) {
    if (!run.meta.words) return "this network takes no prompt, or is not here";
    if (!word) return "point at a word";
    if (refusal) return refusal;
    if (!range) return this.viewer.player.playing ? "shown when it stops" : "\u2026";
    return `attention ${range.map(percent).join(" to ")}${last ? ", last pass" : ""}`;
  }

  say(figure, words, title) {
    const [name, note] = figure.querySelectorAll("figcaption b, figcaption span");
    if (name.textContent !== title) name.textContent = title;
    if (note.textContent !== words) [note.textContent, note.title] = [words, words];
  }

  get(run, pass, image) {
    const key = `${run.id} ${pass} ${image}`;
    if (!this.known.has(key) && !this.viewer.player.playing) this.wanted.set(key, [run, pass, image]);
    return this.known.get(key);
  }

  /** A picture was drawn: ask for what it lacked, once it has stood for a moment. */
  drawn() {
    clearTimeout(this.timer);
    if (this.wanted.size) this.timer = setTimeout(() => this.ask(), REST);
  }

  async ask() {
    const wanted = [...this.wanted].filter(([key]) => !this.asking.has(key));
    for (const [key, [run, pass, image]] of wanted) {
      this.asking.add(key);
      try {
        this.keep(key, await run.ask(`/words?frame=${pass}&image=${image}`));
      } catch (error) {
        if (error.final) this.keep(key, { refusal: error.message });
      }
      this.asking.delete(key);
      if (this.known.has(key)) this.viewer.schedule(); // else no answer, or a busy server: a next look asks again
    }
  }

  keep(key, maps) {
    this.known.set(key, maps);
    if (this.known.size > KEPT) this.known.delete(this.known.keys().next().value);
  }
}

const takenWords = (run, image) => (run.meta.words?.[image] ?? []).filter(({ taken }) => taken);
const same = (a, b) => a?.k === b?.k && a?.text === b?.text;

function wordAt(target) {
  const button = target.closest?.("[data-word]");
  return button ? { k: Number(button.dataset.word), text: button.textContent } : null;
}
