// The dialog "Export for a slide": a picture, film strip, GIF, WebP or MP4 of the runs that are shown.
//
// The server draws it (pf_core/figures/slides.py), says beforehand what the file will be, and refuses what is too large.

import { closesBeside } from "./beside.js";
import { hand } from "./downloads.js";
import { exportable, PANELS } from "./panels.js";

const KINDS = { gif: "GIF", webp: "WebP", mp4: "MP4", picture: "PNG picture", strip: "PNG strip" };
const FRAMES = { every: "every pass", outer: "outer steps only", probes: "probes only" };
const PLACES = { fit: "as fits best", beside: "side by side", below: "one below the other" };
const STOPS = { all: "every", outer: "outer", probe: "probes" }; // the transport's choice (passes.js) as `frames`
const WAIT = 250; // ms after the last change before the server is asked

const options = (known) =>
  Object.entries(known)
    .map(([value, text]) => `<option value="${value}">${text}</option>`)
    .join("");
const tick = (name, text, value = "", checked = true) =>
  `<label class="pfx-tick"><input type="checkbox" name="${name}" value="${value}"${checked ? " checked" : ""}> <span>${text}</span></label>`;

const MARKUP = `
<form class="pfx-form">
  <header><h3>Export for a slide</h3><button type="button" name="close" class="pfv-x" aria-label="Close" title="Close (Esc)">&times;</button></header>
  <div class="pfx-choices">
    <fieldset class="pfx-kinds"><legend>Format</legend>${Object.entries(KINDS)
      .map(
        ([value, text], k) =>
          `<label><input type="radio" name="kind" value="${value}"${k ? "" : " checked autofocus"}><span>${text}</span></label>`,
      )
      .join("")}</fieldset>
    <fieldset class="pfx-panels"><legend>Panels</legend>${PANELS.map(
      (p) => `<span data-of="${p.key}">${tick("panel", p.title, p.key)}</span>`,
    ).join("")}</fieldset>
    <fieldset class="pfx-runs"><legend>Runs</legend><div></div></fieldset>
    <fieldset class="pfx-images"><legend>Images</legend><div></div></fieldset>
    <div class="pfx-row">
      <label>Width, pixels <input type="number" name="width" min="320" max="2560" step="1" value="1280" required></label>
      <label class="pfx-place">Runs stand <select name="place">${options(PLACES)}</select></label>
      <label class="pfx-moving pfx-frames">Frames <select name="frames">${options(FRAMES)}</select></label>
      <label class="pfx-timed">Seconds a frame <input type="number" name="seconds" min="0.04" max="10" step="0.01" value="0.2" required></label>
      <label class="pfx-timed">Hold the last, s <input type="number" name="hold" min="0" max="30" step="0.1" value="2" required></label>
    </div>
    <fieldset class="pfx-looks"><legend>With</legend>${tick("titles", "titles")}${tick("bars", "colour bars")}${tick("dark", "dark background", "", false)}</fieldset>
  </div>
  <div class="pfx-view">
    <div class="pfx-preview"><img alt="Preview of the slide" hidden></div>
    <p class="pfx-cost" role="status"></p>
    <p class="pfx-offer" hidden><button type="button" name="film">MP4 instead</button> <button type="button" name="fewer">Outer steps only</button></p>
    <p class="pfx-inside">The recipe is inside the file: \u201cLoad recipe or export\u201d runs it again.</p>
    <div class="pfx-buttons"><button type="button" name="close">Close</button><button type="button" name="save" class="pfx-save">Save</button></div>
  </div>
</form>`;

export class SlideDialog {
  constructor(viewer) {
    this.viewer = viewer;
    this.box = document.createElement("dialog");
    this.box.className = "pfx";
    this.box.tabIndex = -1; // so that the keys stay here after a press beside all fields
    this.box.setAttribute("aria-label", "Export for a slide");
    this.box.innerHTML = MARKUP;
    viewer.root.append(this.box);
    this.form = this.box.querySelector("form");
    this.runs = [];
    for (const event of ["keydown", "click", "change", "pointerdown"])
      this.box.addEventListener(event, (each) => each.stopPropagation()); // the viewer's keys rest meanwhile
    this.form.addEventListener("input", (event) => this.changed(event.target));
    this.form.addEventListener("submit", (event) => event.preventDefault()); // Enter in a field saves and closes nothing
    this.all("close").forEach((button) => button.addEventListener("click", () => this.box.close()));
    this.button("save").addEventListener("click", () => this.save());
    this.button("film").addEventListener("click", () => this.pick("kind", "mp4"));
    this.button("fewer").addEventListener("click", () => this.pick("frames", "outer"));
    this.box.addEventListener("close", () => this.closed());
    closesBeside(this.box);
  }

  find(selector) {
    return this.box.querySelector(selector);
  }

  button(name) {
    return this.find(`button[name=${name}]`);
  }

  open() {
    const { viewer } = this;
    if (!viewer.ready || this.box.open) return;
    viewer.player.pause();
    const key = viewer.runs.map((run) => run.id).join();
    if (key !== this.key) this.begin(key);
    this.attend();
    this.look();
    this.follow();
    this.box.showModal();
    this.ask();
  }

  /** Other runs are shown: the choices that depend on them. */
  begin(key) {
    const { viewer } = this;
    this.key = key;
    const { images } = viewer.shape;
    const { seeds } = viewer.known.meta;
    const shown = new Set(viewer.imagesOf(viewer.runs[0]));
    this.find(".pfx-images div").innerHTML = Array.from({ length: images }, (_, k) =>
      tick("image", `${k + 1}, seed ${seeds[k]}`, k, shown.has(k)),
    ).join("");
    const names = this.find(".pfx-runs div");
    names.innerHTML = viewer.runs.map((_, r) => tick("run", "", r)).join("");
    names.querySelectorAll("label").forEach((label, r) => label.lastElementChild.append(viewer.runs[r].label)); // a person's text
    const panels = new Set(exportable(viewer.visiblePanels()).map((p) => p.key));
    this.all("panel").forEach((box) => {
      if (box.value === "word") return; // see attend
      box.checked = panels.has(box.value) && (panels.size < exportable(PANELS).length - 1 || box.value !== "easy");
    });
  }

  /** The word whose map the page shows, if it does: it may stand on the slide too. */
  attend() {
    const { attention, prompted } = this.viewer;
    const word = prompted ? attention.held || attention.lit : null;
    const box = this.all("panel").find(({ value }) => value === "word");
    if (word?.k !== this.word?.k || word?.text !== this.word?.text)
      box.checked = Boolean(word) && this.viewer.visiblePanels().some(({ key }) => key === "word");
    this.word = word;
    box.nextElementSibling.textContent = word ? `attention to "${word.text}"` : "attention"; // a person's text
  }

  /** The frames that the transport stops at, unless they were chosen here since it was last set. */
  follow() {
    const { passes } = this.viewer.settings;
    const { frames } = this.form.elements;
    if (passes === this.passes && !frames.selectedOptions[0].disabled) return;
    this.passes = passes;
    frames.value = this.usual;
  }

  /** What `frames` begins with: a strip shows outer steps, a film what the transport stops at. */
  get usual() {
    if (this.value("kind") === "strip") return "outer";
    const frames = STOPS[this.viewer.settings.passes] ?? "every";
    return this.find(`[name=frames] [value=${frames}]`).disabled ? "every" : frames;
  }

  all(name) {
    return [...this.form.querySelectorAll(`[name=${name}]`)];
  }

  value(name) {
    return this.form.elements[name].value;
  }

  chosen(name) {
    return this.all(name)
      .filter((box) => box.checked)
      .map((box) => box.value);
  }

  /** Which fields this format has. */
  look() {
    const { viewer } = this;
    const kind = this.value("kind");
    const still = kind === "picture" || kind === "strip";
    this.find(".pfx-moving").hidden = kind === "picture";
    this.box.querySelectorAll(".pfx-timed").forEach((field) => {
      field.hidden = still;
    });
    this.find("[data-of=cond]").hidden = !viewer.guided;
    this.find("[data-of=word]").hidden = !this.word;
    this.find(".pfx-images").hidden = viewer.shape.images < 2;
    const several = viewer.runs.length > 1;
    this.find(".pfx-runs").hidden = !several;
    this.find(".pfx-place").hidden = !several || kind === "strip";
    const probes = viewer.runs.some((run) => run.frames.some((frame) => frame.phase === "probe"));
    this.find("[name=frames] [value=probes]").disabled = !probes;
  }

  changed(field) {
    if (field.name === "kind") {
      const strip = this.value("kind") === "strip";
      if (strip !== Boolean(this.strip)) this.form.elements.frames.value = this.usual;
      this.strip = strip;
    }
    this.look();
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.ask(), WAIT);
  }

  pick(name, value) {
    const field = this.form.elements[name];
    field.value = value;
    this.changed(name === "kind" ? this.all("kind")[0] : field);
    this.button("save").focus();
  }

  /** What is asked for as a query, or null with a sentence said. */
  query() {
    const { viewer } = this;
    const bad = [...this.form.elements].find((field) => field.offsetParent && !field.checkValidity?.());
    if (bad) return this.refuse(bad.validationMessage);
    const which = viewer.runs.map((_, r) => r).filter((r) => viewer.runs.length < 2 || this.all("run")[r].checked);
    const there = { cond: viewer.guided, word: this.word };
    const panels = this.chosen("panel").filter((key) => there[key] ?? !(key in there));
    const images = viewer.shape.images < 2 ? [0] : this.chosen("image").map(Number);
    if (!which.length) return this.refuse("Choose at least one run.");
    if (!panels.length) return this.refuse("Choose at least one panel.");
    if (!images.length) return this.refuse("Choose at least one image.");
    const slides = { panels, images, align: viewer.settings.align, frames: this.value("frames") };
    if (panels.includes("word")) [slides.word, slides.word_place] = [this.word.text, this.word.k];
    for (const name of ["width", "seconds", "hold"]) slides[name] = Number(this.value(name));
    for (const name of ["titles", "bars", "dark"]) slides[name] = this.form.elements[name].checked;
    slides.place = which.length > 1 ? this.value("place") : "fit";
    return new URLSearchParams({
      runs: which.map((r) => viewer.runs[r].id).join(),
      kind: this.value("kind"),
      slides: JSON.stringify(slides),
      at: which.map((r) => viewer.frameIndex(r)).join(),
    });
  }

  refuse(sentence) {
    this.say(sentence, true);
    this.button("save").disabled = true;
    this.find(".pfx-offer").hidden = true;
    return null;
  }

  say(sentence, wrong = false) {
    const place = this.find(".pfx-cost");
    place.textContent = sentence;
    place.classList.toggle("pfx-wrong", wrong);
  }

  /** Ask the server how it looks and what the file will be. */
  async ask() {
    clearTimeout(this.soon);
    const query = this.query();
    if (query?.toString() === this.asked) return;
    this.asking?.abort(); // what it would bring is not what stands in the form
    this.asked = query?.toString();
    if (!query) return;
    this.asking = new AbortController();
    const { signal } = this.asking;
    this.say("Measuring \u2026");
    this.button("save").disabled = true;
    try {
      this.show(await (await reply(`slides/preview?${query}`, signal)).blob());
      const cost = await (await reply(`slides/cost?${query}`, signal)).json();
      this.weigh(cost);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.asked = "";
      this.refuse(error.message);
    }
  }

  weigh(cost) {
    const still = cost.frames < 2;
    const size = `${cost.width} \u00d7 ${cost.height} pixels`;
    const frames = still ? size : `${cost.frames} frames of ${size}, ${cost.plays.toFixed(1)} s to play`;
    const takes = cost.seconds >= 1 ? `, about ${Math.ceil(cost.seconds)} s to make` : "";
    this.say(cost.too_much ? `${cost.too_much} (${frames}.)` : `${frames}: at most about ${mega(cost.bytes)}${takes}.`, Boolean(cost.too_much)); // prettier-ignore
    this.button("save").disabled = Boolean(cost.too_much);
    this.find(".pfx-offer").hidden = !cost.too_much;
    this.button("film").hidden = still || this.value("kind") === "mp4";
    this.button("fewer").hidden = this.value("kind") === "picture" || this.value("frames") === "outer";
  }

  /** A picture or film in place of the preview. */
  show(blob) {
    const image = this.find(".pfx-preview img");
    const before = image.src;
    image.src = URL.createObjectURL(blob);
    image.hidden = false;
    if (before) URL.revokeObjectURL(before);
  }

  async save() {
    const query = this.query();
    if (!query) return;
    const button = this.button("save");
    button.disabled = true;
    const mine = (this.asked = query.toString());
    this.box.setAttribute("aria-busy", "true");
    this.say("Making the file \u2026");
    this.saving = new AbortController();
    try {
      const answer = await reply(`slides?${query}`, this.saving.signal);
      const blob = await answer.blob();
      const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition"))[1];
      hand(blob, name);
      if (blob.type.startsWith("image/") && this.asked === mine) this.show(blob);
      this.say(`Saved ${name}, ${mega(blob.size)}.`);
    } catch (error) {
      if (error.name !== "AbortError") this.say(error.message, true);
    }
    if (this.asked === mine) [this.asked, button.disabled] = ["", false]; // else the form says something else by now
    if (this.box.open) button.focus();
    this.box.removeAttribute("aria-busy");
  }

  closed() {
    this.asking?.abort();
    this.saving?.abort();
    this.asked = "";
  }
}

const mega = (bytes) => (bytes < 99_500 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function reply(what, signal) {
  const answer = await fetch(new URL(`pf/${what}`, document.baseURI), { signal }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is the app still running?");
  });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error || `The server answered ${answer.status}.`);
}
