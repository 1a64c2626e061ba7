// A patch grid to paint on: pointer, touch and keys. mount() is called once by the Gradio component.

import { cellSize, draw } from "./painter-draw.js";
import { Painting, round } from "./painter-state.js";
import { colourAt, gradient, loadPalettes } from "./colours.js";
import { page } from "./shared.js";

const HELP =
  "Arrow keys move, Space paints, Shift with arrows paints while moving. E: paint or erase. R: rectangle; Escape cancels it. " +
  "[ and ]: brush size. A: all, N: none, I: invert. Ctrl+Z: undo, Ctrl+Shift+Z: redo.";

const FINE = 16; // patches a side: from here one patch is so little that a brush of two is better to begin with

export function mount(element, props, watch, trigger) {
  const painter = new Painter(element.querySelector(".pf-painter") || element, props, trigger);
  page.add("painter", painter);
  watch("value", () => painter.show(props.value));
  painter.show(props.value);
}

class Painter {
  constructor(root, props, trigger) {
    Object.assign(this, {
      root,
      props,
      trigger,
      image: null,
      source: null,
      overlay: true,
      spot: null,
      anchor: null,
      held: null,
    });
    Object.assign(this, { erase: false, rectangle: false, size: 1, cell: 3, palette: null, shown: [], ready: false });
    this.what = props.what || "t";
    this.painting = new Painting(props.mode || "chosen", props.span || [0, 1]);
    this.value = props.brush ?? this.painting.high;
    root.innerHTML = markup(this);
    this.canvas = this.find("canvas");
    this.listen();
    new ResizeObserver(() => this.redraw()).observe(root);
    page.on("theme", () => this.redraw());
    loadPalettes().then((palettes) => {
      this.palette = palettes.t;
      const ramp = this.find(".pfp-ramp");
      if (ramp) ramp.style.background = gradient(palettes.t);
      this.redraw();
    });
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  get dark() {
    return document.body.classList.contains("dark");
  }

  /** r, g, b of a value. */
  get colour() {
    const { low, high } = this.painting;
    return (v) => {
      const packed = this.palette ? colourAt(this.palette, (v - low) / (high - low)) : 0x888888;
      return [packed & 255, (packed >> 8) & 255, (packed >> 16) & 255];
    };
  }

  // what the server says, and what it is told

  show(value) {
    if (!value) return;
    if (value.image !== undefined && value.image !== this.source) this.load(value.image);
    const { rows, cols } = this.painting;
    const changed = this.painting.take(value);
    if (rows !== this.painting.rows || cols !== this.painting.cols) this.held = this.anchor = null; // of the old grid
    if (changed && !this.sized) this.size = Math.min(this.painting.rows, this.painting.cols) < FINE ? 1 : 2;
    if (changed && this.spot && !this.painting.box(this.spot, this.spot).length) this.spot = [0, 0];
    this.keep();
    this.ready = this.painting.n > 0;
    this.redraw();
  }

  async load(source) {
    this.source = source;
    if (!source) this.image = null;
    else {
      const image = new Image();
      image.src = source;
      await image.decode().catch(() => {});
      if (source !== this.source) return; // another came meanwhile
      this.image = image.naturalWidth ? image : null;
    }
    this.redraw();
  }

  /** The component's value is what the page shows, so that any event of the server's may take it as an input. */
  keep() {
    this.props.value = { ...this.painting.value(), image: this.source };
  }

  tell() {
    this.keep();
    this.trigger("painted", {});
  }

  /** Cells that are to stand from now on, as one step. */
  commit(cells, words) {
    const changed = this.painting.commit(cells);
    if (changed) this.tell();
    this.redraw(words || this.aboutSpot());
  }

  travel(back) {
    const moved = back ? this.painting.undo() : this.painting.redo();
    if (moved) this.tell();
    this.redraw(moved ? (back ? "Undone" : "Redone") : back ? "Nothing to undo" : "Nothing to redo");
  }

  // painting

  patchesFrom(from, to) {
    if (this.rectangle) return this.painting.box(from, to);
    return line(from, to).flatMap((spot) => this.painting.box(...this.painting.footprint(spot, this.size)));
  }

  /** Press the brush (or a rectangle's first corner) down at a spot. */
  press(spot, erase) {
    this.held = { erase, cells: this.painting.cells, last: spot };
    if (this.rectangle) this.anchor = spot;
    this.drag(spot);
  }

  drag(spot) {
    this.spot = spot;
    const { held } = this;
    if (held) {
      const from = this.rectangle ? this.painting.cells : held.cells;
      held.cells = this.painting.painted(
        from,
        this.patchesFrom(this.rectangle ? this.anchor : held.last, spot),
        this.value,
        held.erase,
      );
      held.last = spot;
    }
    this.redraw();
  }

  release() {
    const { held } = this;
    [this.held, this.anchor] = [null, null];
    if (held) this.commit(held.cells);
  }

  drop() {
    [this.held, this.anchor] = [null, null];
    this.redraw("Dropped");
  }

  set(name, value) {
    this[name] = value;
    this.sized ||= name === "size";
    this.redraw();
  }

  act(name) {
    const { painting } = this;
    const acts = {
      paint: () => this.set("erase", false),
      erase: () => this.set("erase", true),
      brush: () => this.set("rectangle", false),
      rectangle: () => this.set("rectangle", true),
      all: () => this.commit(painting.all(this.value), "All patches"),
      none: () => this.commit(painting.none(), "No patch"),
      invert: () => this.commit(painting.inverted(), "Inverted"),
      overlay: () => this.set("overlay", !this.overlay),
      undo: () => this.travel(true),
      redo: () => this.travel(false),
    };
    acts[name]?.();
  }

  // pointer and keys

  listen() {
    const { canvas, root } = this;
    root.addEventListener(
      "click",
      (e) => e.target.closest("[data-act]") && this.act(e.target.closest("[data-act]").dataset.act),
    );
    root.addEventListener("input", ({ target }) => {
      if (target.dataset.set) this.set(target.dataset.set, round(Number(target.value)));
    });
    canvas.addEventListener("pointerdown", (e) => {
      if (!e.isPrimary || (e.button !== 0 && e.button !== 2) || !this.painting.n) return;
      canvas.setPointerCapture(e.pointerId);
      canvas.focus({ preventScroll: true });
      this.press(this.spotOf(e), this.erase || e.button === 2);
    });
    canvas.addEventListener("pointermove", (e) => e.isPrimary && this.painting.n && this.drag(this.spotOf(e)));
    canvas.addEventListener("pointerup", (e) => e.isPrimary && this.release());
    canvas.addEventListener("pointercancel", () => this.drop());
    canvas.addEventListener("pointerleave", () => !this.held && this.set("spot", null));
    canvas.addEventListener("contextmenu", (e) => e.preventDefault());
    canvas.addEventListener("focus", () => this.painting.n && this.set("spot", this.spot || [0, 0]));
    root.addEventListener("keydown", (e) => this.keyed(e));
  }

  spotOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const { rows, cols } = this.painting;
    const at = (from, start, length, count) =>
      Math.max(0, Math.min(count - 1, Math.floor(((from - start) / length) * count)));
    return [at(event.clientY, box.top, box.height, rows), at(event.clientX, box.left, box.width, cols)];
  }

  keyed(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const command = event.ctrlKey || event.metaKey;
    let known = true;
    if (command && key === "z") this.travel(!event.shiftKey);
    else if (command && key === "y") this.travel(false);
    else if (command || event.altKey || event.target !== this.canvas || !this.painting.n) known = false;
    else known = this.pressed(key, event.shiftKey);
    if (!known) return;
    event.preventDefault();
    event.stopPropagation(); // the film's own arrows and space stay where they are
  }

  pressed(key, shift) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const letters = {
      a: "all",
      n: "none",
      i: "invert",
      e: this.erase ? "paint" : "erase",
      r: this.rectangle ? "brush" : "rectangle",
    };
    if (moves[key]) this.step(moves[key], shift);
    else if (key === " " || key === "Enter") this.stamp();
    else if (key === "Escape" && this.anchor) this.drop();
    else if (letters[key]) this.act(letters[key]);
    else if (key === "[" || key === "]")
      this.set("size", Math.max(1, Math.min(this.largest, this.size + (key === "]" ? 1 : -1))));
    else return false;
    return true;
  }

  step([down, right], paint) {
    const { rows, cols } = this.painting;
    const [r, c] = this.spot || [0, 0];
    this.spot = [Math.max(0, Math.min(rows - 1, r + down)), Math.max(0, Math.min(cols - 1, c + right))];
    if (paint && !this.rectangle) this.stamp();
    else this.redraw(this.aboutSpot());
  }

  /** Space: the brush once; with a rectangle the first corner, then the second. */
  stamp() {
    const spot = this.spot || [0, 0];
    if (this.rectangle && !this.anchor) {
      this.anchor = spot;
      return this.redraw("First corner; move, then Space fills, Escape cancels it");
    }
    const patches = this.patchesFrom(this.anchor || spot, spot);
    this.anchor = null;
    return this.commit(this.painting.painted(this.painting.cells, patches, this.value, this.erase));
  }

  // words and pictures

  aboutSpot() {
    if (!this.spot || !this.painting.n) return "";
    const [r, c] = this.spot;
    const v = this.painting.cells[r * this.painting.cols + c];
    const state = this.painting.mode === "values" ? `${this.what} ${v.toFixed(2)}` : v ? "chosen" : "not chosen";
    return `Row ${r + 1}, column ${c + 1}: ${state}`;
  }

  summary() {
    const { cells, mode, n } = this.painting;
    if (!n) return "";
    if (mode === "chosen") return `${cells.reduce((a, b) => a + b, 0)} of ${n} patches chosen`;
    const [low, high] = [Math.min(...cells), Math.max(...cells)];
    return low === high
      ? `${this.what} ${low.toFixed(2)} everywhere`
      : `${this.what} from ${low.toFixed(2)} to ${high.toFixed(2)}`;
  }

  get largest() {
    return Math.max(1, Math.min(8, this.painting.rows, this.painting.cols));
  }

  redraw(words) {
    const { painting } = this;
    this.shown = this.held ? this.held.cells : painting.cells;
    this.root.toggleAttribute("data-empty", !painting.n);
    if (painting.n) {
      this.cell = cellSize(painting, this.image, this.root.clientWidth || 300);
      draw(this.canvas, this);
    }
    const on = {
      paint: !this.erase,
      erase: this.erase,
      brush: !this.rectangle,
      rectangle: this.rectangle,
      overlay: this.overlay,
    };
    for (const [name, pressed] of Object.entries(on))
      this.find(`[data-act=${name}]`).setAttribute("aria-pressed", pressed);
    this.find("[data-act=undo]").disabled = !painting.past.length;
    this.find("[data-act=redo]").disabled = !painting.future.length;
    this.find("[data-act=overlay]").hidden = !this.image;
    const size = this.find("[data-set=size]");
    [size.max, size.value, size.disabled] = [this.largest, this.size, this.rectangle];
    this.find(".pfp-size").textContent = `${this.size} × ${this.size}`;
    if (painting.mode === "values") this.find(".pfp-value").textContent = this.value.toFixed(2);
    this.find(".pfp-summary").textContent = this.summary();
    if (typeof words === "string") this.find(".pfp-live").textContent = words;
  }
}

/** The spots on the way from one to another: a quick stroke leaves no gaps. */
function line([r0, c0], [r1, c1]) {
  const steps = Math.max(Math.abs(r1 - r0), Math.abs(c1 - c0), 1);
  return Array.from({ length: steps + 1 }, (_, k) => [
    Math.round(r0 + ((r1 - r0) * k) / steps),
    Math.round(c0 + ((c1 - c0) * k) / steps),
  ]);
}

function markup({ painting, what, value, props }) {
  const button = (name, text, title) => `<button type="button" data-act="${name}" title="${title}">${text}</button>`;
  const group = (label, ...buttons) =>
    `<div class="pfp-group" role="group" aria-label="${label}">${buttons.join("")}</div>`;
  const values = painting.mode === "values";
  const { low, high } = painting;
  const slider = values
    ? `<label class="pfp-slide">${what} <input type="range" data-set="value" min="${low}" max="${high}" step="0.01" value="${value}" aria-label="${what} to paint with"><output class="pfp-value"></output></label>`
    : "";
  const bar = values
    ? `<div class="pfp-bar" aria-hidden="true"><span>${what} ${low}</span><div class="pfp-ramp"></div><span>${high}</span></div>`
    : "";
  return `<canvas tabindex="0" role="application" aria-label="${props.title || "Patches"}. ${HELP}"></canvas>
  <div class="pfp-foot"><span class="pfp-summary"></span>${bar}<span class="pfp-live" role="status" aria-live="polite"></span></div>
  <div class="pfp-tools" role="toolbar" aria-label="${props.title || "Patches"}: brush">
    ${slider}
    ${group("Paint or erase", button("paint", "Paint", "Paint (E)"), button("erase", "Erase", "Erase (E); so does the right mouse button"))}
    ${group("Everywhere", button("all", "All", values ? "This value everywhere (A)" : "All patches (A)"), button("none", values ? "Reset" : "None", values ? "As it was before painting (N)" : "No patch (N)"))}
    ${group("History", button("undo", "Undo", "Undo (Ctrl+Z)"), button("redo", "Redo", "Redo (Ctrl+Shift+Z)"))}
  </div>
  <details class="pfp-more"><summary>More tools and keys</summary>
    <div class="pfp-tools">
      ${group("Shape", button("brush", "Brush", "Brush (R)"), button("rectangle", "Rectangle", "Fill a rectangle (R)"))}
      ${group("Turn round", button("invert", "Invert", "Invert (I)"))}
      <label class="pfp-slide">Brush size <input type="range" data-set="size" min="1" max="8" step="1" value="1" aria-label="Brush size in patches"><output class="pfp-size"></output></label>
      ${button("overlay", "Overlay", "Show or hide what is painted over the picture")}
    </div>
    <p class="pfp-keys">${HELP}</p></details>`;
}
