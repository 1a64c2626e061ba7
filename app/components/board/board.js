// The board of training runs: what each is doing, what can be done with it, and what its network draws by now.

import { address } from "./address.js";
import { page } from "./shared.js";

const POLL = 1000; // ms between two looks at the list while the tab is on the screen
const escape = (text) => String(text ?? "").replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const at = (path) => new URL(`pf/train/${path}`, document.baseURI);

export function mount(element, props, watch, trigger) {
  const board = new Board(element.querySelector(".pf-board"), props, trigger);
  page.add("board", board);
  watch("value", () => board.receive(props.value));
  board.receive(props.value);
  board.follow();
}

class Board {
  constructor(root, props, trigger) {
    Object.assign(this, { root, props, trigger, runs: [], chosen: [], place: {}, asking: null, drawn: "" });
    root.innerHTML = `<p class="pft-none" hidden>No training yet. Choose a set-up, or one of the ready-made trainings, and press Start: what the network draws will appear here.</p>
      <div class="pft-two"><section class="pft-one" hidden></section><section class="pft-runs" aria-label="Trainings"><h3>Trainings</h3><div class="pft-list" role="list"></div><p class="pft-disk"></p></section></div>`;
    root.addEventListener("click", (event) => this.clicked(event));
    root.addEventListener("change", (event) => this.changed(event));
    root.addEventListener("input", (event) => this.scrubbed(event));
  }

  /** From the server: {"chosen": [names]} after a start, or from a link. */
  receive(value) {
    if (!value?.chosen) return;
    this.choose([...value.chosen]);
    this.look();
  }

  async follow() {
    while (this.root.isConnected) {
      if (!document.hidden && this.root.offsetParent) await this.look();
      await new Promise((done) => setTimeout(done, POLL));
    }
  }

  async look() {
    const turn = (this.turn = (this.turn || 0) + 1);
    try {
      const reply = await fetch(at("runs"), { cache: "no-store" });
      const news = await reply.json();
      if (turn !== this.turn) return; // older news: a training that was started since is not among them
      if (!reply.ok) throw new Error(news.error);
      this.runs = news.runs;
      this.disk = news.disk;
    } catch (error) {
      if (turn !== this.turn) return;
      this.root.querySelector(".pft-disk").textContent =
        `The server does not answer; trying again. ${error.message || ""}`;
      return;
    }
    const known = this.runs.map((run) => run.name);
    const kept = this.chosen.filter((name) => known.includes(name));
    if (!kept.length && known.length) this.choose([known[0]]);
    else if (kept.length !== this.chosen.length) this.choose(kept);
    this.draw();
  }

  choose(names) {
    this.chosen = names;
    this.asking = null;
    this.props.value = { chosen: names }; // the event brings no names: of two that follow at once the last counts
    this.trigger("picked", {});
    if (this.root.offsetParent && names.length)
      address.shows("train", `tab=train&runs=${names.map(encodeURIComponent).join(",")}`, true);
    this.draw();
  }

  get first() {
    return this.runs.find((run) => run.name === this.chosen[0]);
  }

  draw() {
    const now = JSON.stringify([this.runs, this.chosen, this.asking, this.disk]);
    if (now === this.drawn) return;
    this.drawn = now;
    this.root.querySelector(".pft-disk").textContent = this.disk || "";
    this.root.querySelector(".pft-none").hidden = this.runs.length > 0;
    this.root.querySelector(".pft-two").hidden = !this.runs.length;
    const held = document.activeElement?.closest?.(".pft-board, .pf-board") ? document.activeElement.dataset.key : null;
    this.drawRows();
    this.drawOne();
    if (held) this.root.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  }

  drawRows() {
    const list = this.root.querySelector(".pft-list");
    renew(list, this.runs.map(({ name }) => row(escape(name))).join(""));
    this.runs.forEach((run, k) => this.fill(list.children[k], run));
  }

  fill(line, run) {
    const part = run.steps ? Math.min(1, run.step / run.steps) : 0;
    line.dataset.state = run.state;
    line.setAttribute("aria-current", this.chosen[0] === run.name);
    line.querySelector("input").checked = this.chosen.includes(run.name);
    line.querySelector(".pft-progress").setAttribute("aria-valuenow", Math.round(100 * part));
    line.querySelector("i").style.width = `${100 * part}%`;
    for (const what of ["state", "numbers", "message"])
      line.querySelector(`.pft-${what}`).textContent = run[what] ?? "";
  }

  drawOne() {
    const box = this.root.querySelector(".pft-one");
    const run = this.first;
    box.hidden = !run;
    if (!run) return;
    if (box.dataset.run !== run.name) {
      box.dataset.run = run.name;
      box.innerHTML = `<header><h3></h3><p class="pft-about"></p></header>
        <div class="pft-actions" role="group" aria-label="What to do with this run"></div><p class="pft-nothing"></p>
        <div class="pft-strip" hidden><img class="pft-sheet" alt="Sixteen pictures that the network draws"><img class="pft-sheet pft-rest" alt="" aria-hidden="true"><label>What the network draws after step <output></output><input type="range" min="0" step="1" aria-label="Training time"></label></div>
        <details class="pft-steps" hidden open><summary>How four of them are drawn</summary><div class="pft-scroll" tabindex="0" role="group" aria-label="Strip of samples"><img alt="Four of the pictures pass by pass, from the same noise at every step, with their maps of t and sigma"></div></details>
        <details class="pft-log"><summary>Log</summary><pre tabindex="0"></pre></details>`;
      box.querySelector(".pft-log").addEventListener("toggle", () => this.readLog());
      for (const half of box.querySelectorAll(".pft-sheet")) half.addEventListener("load", halve);
    }
    box.querySelector("h3").textContent = run.name;
    box.querySelector(".pft-about").textContent = run.about;
    renew(box.querySelector(".pft-actions"), this.asking === run.name ? this.question(run) : this.actions(run));
    this.drawStrip(box, run);
    this.readLog();
  }

  actions(run) {
    const press = run.actions.map(
      ([what, label]) => `<button type="button" data-act="${what}" data-key="act-${what}">${label}</button>`,
    );
    const links = run.links.map(
      ([href, label, download]) => `<a href="${escape(href)}" ${download ? "download" : ""}>${label}</a>`,
    );
    return [...press, ...links].join("");
  }

  question(run) {
    return `<span>Delete ${escape(run.name)} and all its files (${escape(run.size)})?</span><button type="button" data-act="delete" class="pft-danger" data-key="act-yes">Delete it</button><button type="button" data-act="keep" data-key="act-no">Keep it</button>`;
  }

  drawStrip(box, run) {
    const strip = box.querySelector(".pft-strip");
    strip.hidden = box.querySelector(".pft-steps").hidden = !run.strips.length;
    box.querySelector(".pft-nothing").textContent = run.strips.length ? "" : this.whyNothing(run);
    if (!run.strips.length) return;
    const slider = strip.querySelector("input");
    const last = run.strips.length - 1;
    const k = Math.min(last, this.place[run.name] ?? last);
    slider.max = String(last);
    slider.hidden = last === 0;
    slider.value = String(k);
    this.showStrip(strip, run, k);
  }

  whyNothing({ actions, state }) {
    if (actions.some(([what]) => what === "sample_now"))
      return "The first pictures are still to come; \u201cSample now\u201d draws some at once.";
    if (["queued", "starting"].includes(state)) return "The pictures that it draws will stand here.";
    return "This training has drawn no pictures.";
  }

  showStrip(strip, run, k) {
    const [step, stamp] = run.strips[k];
    strip.querySelector("output").textContent = step.toLocaleString("en");
    const show = (image, kind) => {
      const source = at(`${encodeURIComponent(run.name)}/${kind}/${step}?v=${stamp}`).href;
      if (image.src !== source) image.src = source;
    };
    for (const half of strip.querySelectorAll(".pft-sheet")) show(half, "sheet");
    show(strip.parentElement.querySelector(".pft-scroll img"), "strip");
  }

  async readLog() {
    const box = this.root.querySelector(".pft-log");
    const run = this.first;
    const mine = String(run?.logged);
    if (!box?.open || !run || mine === box.dataset.logged) return;
    box.dataset.logged = mine;
    const news = await fetch(at(`${encodeURIComponent(run.name)}/log`), { cache: "no-store" })
      .then((reply) => reply.json())
      .catch(() => ({ error: "The server does not answer; trying again." }));
    if (mine !== box.dataset.logged) return; // it has grown since, and was asked for again
    if (news.error) [box.dataset.logged, this.drawn] = ["", ""]; // it is asked for again at the next look
    box.querySelector("pre").textContent = news.error || news.log || "";
  }

  clicked(event) {
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (act) return this.act(act);
    const row = event.target.closest("[data-run].pft-run");
    if (row && !event.target.closest(".pft-pick"))
      this.choose([row.dataset.run, ...this.chosen.filter((name) => name !== row.dataset.run && event.shiftKey)]);
    return undefined;
  }

  act(what) {
    if (what === "ask") this.asking = this.first.name;
    else this.asking = null;
    if (!["ask", "keep"].includes(what)) this.trigger("acted", { run: this.first.name, what });
    this.draw();
    setTimeout(() => this.look(), 150);
  }

  changed(event) {
    const row = event.target.closest(".pft-run");
    if (!row) return;
    const { run } = row.dataset;
    this.choose(event.target.checked ? [...this.chosen, run] : this.chosen.filter((name) => name !== run));
  }

  scrubbed(event) {
    if (!event.target.matches(".pft-strip input")) return;
    const [run, k] = [this.first, Number(event.target.value)];
    this.place[run.name] = k < run.strips.length - 1 ? k : undefined; // the newest: those that come are followed
    this.showStrip(event.target.closest(".pft-strip"), run, k);
  }
}

/** Give a box this markup. What it holds already stays where it is: a press on a button replaced meanwhile is no click. */
function renew(box, markup) {
  const there = new Map([...box.children].map((child) => [child.made, child]));
  const fresh = document.createElement("template");
  fresh.innerHTML = markup;
  const next = [...fresh.content.children].map((child) => {
    child.made = child.outerHTML;
    return there.get(child.made) ?? child;
  });
  for (const child of there.values()) if (!next.includes(child)) child.remove();
  next.forEach((child, k) => {
    if (box.children[k] !== child) box.insertBefore(child, box.children[k] ?? null);
  });
}

/** A phone shows a sheet's halves below each other, each whole: its pictures may be oblong. */
const halve = ({ target }) => target.style.setProperty("--pft-half", target.naturalWidth / target.naturalHeight / 2);

const row = (name) => `<div class="pft-run" role="listitem" data-run="${name}">
  <label class="pft-pick"><input type="checkbox" data-key="box-${name}" aria-label="Show ${name} in the plots"></label>
  <button type="button" class="pft-name" data-key="name-${name}">${name}</button>
  <span class="pft-state"></span>
  <div class="pft-progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-label="${name}"><i></i></div>
  <span class="pft-numbers"></span><span class="pft-message"></span></div>`;
