// A card of the wall: a study, its figures drawn when it comes into view, its measuring followed here.

import { Laws } from "./laws.js";

const ACTIVE = ["waiting", "running"];
const EVERY = 700; // ms between two looks at a study that is being measured
const PATIENCE = 20000; // ms after a press in which its answer comes, if it comes at all
const SETTLED = 200; // ms after the last change of the page's width
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function ask(path) {
  const answer = await fetch(new URL(path, document.baseURI), { cache: "no-store" }).catch(() => null);
  const reply = await answer?.json().catch(() => null); // of a server that failed, or of a proxy: no JSON
  if (answer?.ok && reply) return reply;
  const said = reply?.error ?? (answer ? "The server failed." : "The server does not answer.");
  throw Object.assign(new Error(said), { refused: Boolean(reply?.error) });
}

export function element(tag, name, text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

const BESIDE = 1100; // px of a card from which on the paper's figure stands beside ours
const columns = (width) => Math.max(1, Math.min(8, Math.floor(width / 215)));

const HOLDS = {
  "Holds here": "yes",
  "Holds here in part": "part",
  "Does not appear here": "no",
  "Cannot be told here": "open",
  "Not trained alike": "open",
};

/** "Holds here: -4.9" -> its first words as a badge, where they say whether the claim holds, and the rest; of a check
 * that is about no claim, the rest alone. */
function verdictOf({ verdict: text, sentence }) {
  const words = Object.keys(HOLDS).find((each) => new RegExp(`^${each}[:,] `).test(text));
  if (!words) return [text];
  const rest = text.slice(words.length + 2);
  if (!sentence) return [rest];
  const badge = element("b", "pfe-badge", words);
  badge.dataset.holds = HOLDS[words];
  const begun = text[words.length] === ":" ? rest[0].toUpperCase() + rest.slice(1) : rest;
  return [badge, ` ${begun}`];
}

/** What came of a claim, in a word or a badge. */
export function foundOf(about) {
  const { known, refused } = about;
  const [first] = known ? verdictOf(about) : [];
  if (first instanceof Element) return first;
  return element("span", "", known ? "measured" : refused ? "cannot be measured on it" : "not measured yet");
}

export class Card {
  constructor(wall, about) {
    Object.assign(this, { wall, about, network: wall.network, figures: {} });
    this.root = element("article", "pfe-card");
    this.root.dataset.study = about.study;
    this.root.tabIndex = -1; // where a line of the glance leads
    this.root.append(element("h3", "", about.label));
    if (about.sentence) this.root.append(element("blockquote", "", `\u201c${about.sentence}\u201d (${about.where})`));
    this.verdict = element("p", "pfe-verdict");
    this.whole = element("details", "pfe-whole");
    this.pair = element("div", "pfe-pair");
    this.ours = this.place("pfe-here");
    this.paper = this.place("pfe-paper", "The paper");
    this.made = element("p", "pfe-made");
    this.bar = element("div", "pfe-bar");
    this.live = element("div");
    this.root.append(this.verdict, this.whole, this.pair, this.made, this.bar, this.live);
    this.made.hidden = true;
    this.say(about);
    this.said = element("span", "pfe-said");
    this.said.setAttribute("role", "status");
    if (about.refused) this.elsewhere();
    else if (about.runs_here) this.offer();
    else this.bar.append(about.shell);
    this.cost = element("span", "pfe-cost");
    this.bar.append(this.said, this.cost);
    new ResizeObserver(() => this.sized()).observe(this.root);
  }

  /** A place for a figure: a title, the figure, a note. */
  place(name, title = "") {
    const root = element("figure", name);
    const parts = {
      root,
      title: element("figcaption", "", title),
      chart: element("div", "pfe-chart"),
      note: element("p", "pfe-note"),
    };
    root.append(parts.title, parts.chart, parts.note);
    root.hidden = true;
    this.pair.append(root);
    return parts;
  }

  say({ verdict, whole, known, old, refused, how }) {
    Object.assign(this.about, { verdict, known });
    if (known) this.verdict.replaceChildren(...verdictOf(this.about));
    else if (refused) this.verdict.textContent = `Cannot be measured on this network: ${refused}`;
    else
      this.verdict.replaceChildren(
        old ? `${old} ` : this.about.runs_here ? "Not measured on this network yet. " : "Not measured yet. ",
        "The full measurement: ",
        element("code", "", how),
      );
    this.verdict.classList.toggle("pfe-none", !known);
    this.whole.hidden = !whole;
    this.whole.replaceChildren(element("summary", "", "All numbers in words"), element("p", "", whole));
  }

  /** Show this card; the page's address leads to it. */
  seek() {
    this.root.scrollIntoView();
    this.root.focus({ preventScroll: true });
    this.wall.seeks(this);
  }

  /** The way to the network that the study is made for, where it cannot look at this one. */
  elsewhere() {
    const name = this.about.made_for;
    this.bar.hidden = !name;
    if (!name) return;
    const go = element("button", "", `Show it on ${name}`);
    go.type = "button";
    go.setAttribute("aria-label", `${go.textContent}: ${this.about.label}`);
    go.onclick = () => this.wall.goTo(name, this.about.study);
    this.bar.append(go);
  }

  offer() {
    this.button = element("button");
    this.button.type = "button";
    this.name();
    this.progress = element("progress");
    Object.assign(this.progress, { hidden: true, max: 1, value: 0 });
    this.progress.setAttribute("aria-label", "Progress");
    this.share = element("span", "pfe-share");
    this.share.setAttribute("aria-hidden", "true"); // the bar beside it says the same
    this.bar.append(this.button, this.progress, this.share);
    this.button.onclick = ({ detail }) => {
      if (detail > 1) return; // of a double click: by now the button may say "Stop"
      if (this.job) this.wall.trigger("halted", { job: this.job });
      else this.press();
    };
  }

  press() {
    this.tell("Asked.");
    this.button.disabled = true; // a second press would have no answer of its own
    this.pressed = setTimeout(() => this.answered("No answer came: press again."), PATIENCE);
    this.wall.trigger("asked", { study: this.about.study });
  }

  /** The press has its answer: a job, which is followed then, or why there is none. */
  answered(error) {
    clearTimeout(this.pressed);
    this.pressed = null;
    if (this.button) this.button.disabled = false;
    this.tell(error);
  }

  /** What the button says, to the eye and to a screen reader. */
  name() {
    this.button.textContent = this.job ? "Stop" : this.about.known ? "Run it again here" : "Run it here";
    this.button.setAttribute("aria-label", `${this.button.textContent}: ${this.about.label}`);
  }

  async fill() {
    const { network } = this.wall;
    const turn = (this.turn = (this.turn || 0) + 1);
    const path = `pf/evidence/${this.about.study}`;
    const query = this.wall.query(network);
    this.roomed = this.room();
    const kept = this.kept ? "&kept=1" : "";
    const [detail, cost] = await Promise.all([
      ask(`${path}${query}&${this.roomed}${kept}`),
      this.button ? ask(`${path}/cost${query}`) : {},
    ]);
    if (network !== this.wall.network || turn !== this.turn) return; // an answer that another one has overtaken
    this.bar.hidden = Boolean(this.about.refused && !this.about.made_for);
    if (this.fault === this.said.textContent) this.tell();
    this.cost.textContent = cost.refused ?? cost.cost ?? "";
    if (this.button && !this.pressed) this.button.disabled = Boolean(cost.refused);
    this.made.hidden = !detail.made;
    const held = this.made.contains(document.activeElement);
    this.made.replaceChildren(`${detail.made}: `, element("code", "", detail.command));
    this.made.append(this.filesOf(detail.files, `${path}/file${query}${kept}`));
    if (detail.other) this.made.append(...this.otherOf(detail.other));
    if (held) this.made.querySelector("button")?.focus({ preventScroll: true }); // the one that was pressed is gone
    this.say(detail.card);
    this.wall.sum();
    this.ours.title.textContent = `Here: ${this.about.runs_here ? network : "trainings"}`;
    this.ours.note.textContent = detail.note;
    this.paper.note.textContent = detail.paper_note;
    this.figures = { ours: detail.ours, paper: detail.paper };
    await this.draw();
    if (this.about.live) {
      this.laws ||= new Laws(this.live, network, ask, (...what) => this.wall.put(...what));
      await this.laws.show(columns(this.wide));
    }
  }

  refill() {
    return this.fill().catch((error) => this.failed(error.message));
  }

  /** Say why it could not be filled, beside what is there. */
  failed(message) {
    this.bar.hidden = false;
    this.fault = message;
    if (!this.job) this.tell(message);
  }

  /** What is going on, or went wrong: a screen reader says each sentence once. */
  tell(text = "") {
    if (this.said.textContent !== text) this.said.textContent = text;
  }

  /** Links to what is shown, as files. */
  filesOf(kinds, path) {
    const line = element("span", "pfe-files", "Download: ");
    for (const kind of kinds) {
      const link = element("a", "", kind === "json" ? "numbers (JSON)" : kind.toUpperCase());
      link.href = new URL(`${path}&format=${kind}`, document.baseURI).href;
      link.download = "";
      link.setAttribute("aria-label", `Download ${link.textContent}: ${this.about.label}`);
      line.append(link, " ");
    }
    return line;
  }

  /** The way to the other result, where one is kept and one was measured here. */
  otherOf(made) {
    const show = element("button", "", "Show it");
    show.type = "button";
    show.setAttribute("aria-label", `Show the other result: ${made}`);
    show.onclick = () => {
      this.kept = !this.kept;
      this.refill();
    };
    return [`${this.kept ? "Measured here last" : "Kept"}: ${made} `, show];
  }

  /** How many panels go beside each other, in our figure and in the paper's: as at last while nobody sees the card. */
  room() {
    const wide = (this.wide = this.root.clientWidth || this.wide || 0);
    const [ours, paper] = wide >= BESIDE ? [0.68 * wide, 0.3 * wide] : [wide, wide];
    return new URLSearchParams({ columns: columns(ours), beside: columns(paper) }).toString();
  }

  async draw() {
    this.pair.classList.toggle("pfe-both", Boolean(this.figures.ours && this.figures.paper));
    this.late = false;
    for (const [name, figure] of Object.entries(this.figures)) {
      const { root, chart, note } = this[name];
      root.hidden = !figure;
      if (figure && !(await this.wall.put(chart, figure, note.textContent))) this.late = true;
    }
    await this.laws?.redraw();
  }

  /** The page has given the card other room, or any: the window is another, or the tab has been opened. */
  sized() {
    if (!this.root.offsetParent) return;
    clearTimeout(this.settling);
    if (this.roomed && this.roomed !== this.room()) this.settling = setTimeout(() => this.refill(), SETTLED);
    if (this.late || this.laws?.late) this.draw();
    else for (const chart of this.root.querySelectorAll(".js-plotly-plot")) this.wall.fit(chart);
  }

  async follow(job) {
    this.job = job;
    this.name();
    [this.progress.hidden, this.cost.hidden] = [false, true];
    let found = { state: "waiting", share: 0 };
    while (this.root.isConnected && ACTIVE.includes(found.state)) {
      try {
        found = await ask(`pf/evidence/jobs/${job}`);
      } catch ({ refused, message }) {
        const said = refused ? message : "The server does not answer; trying again.";
        found = { state: refused ? "failed" : found.state, said, share: found.share };
      }
      this.progress.value = found.share;
      this.share.textContent = found.state === "running" ? `${Math.floor(100 * found.share)}%` : "";
      this.tell(found.said);
      await sleep(EVERY);
    }
    if (ACTIVE.includes(found.state)) return; // another network is shown: the wall still knows the job
    this.job = null;
    this.wall.forget(this, found.state === "done" ? job : null);
    this.name();
    this.share.textContent = "";
    [this.progress.hidden, this.cost.hidden] = [true, false];
    if (found.state === "done") await this.wall.again(this);
  }
}
