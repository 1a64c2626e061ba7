// The wall of claims: a card a study, its figures drawn when it comes into view, its measuring followed here.

import { address } from "./address.js";
import { Laws } from "./laws.js";
import { OPTIONS, inked, load, themed } from "./plot.js";
import { page } from "./shared.js";

const ACTIVE = ["waiting", "running"];
const EVERY = 700; // ms between two looks at a study that is being measured
const RETRY = 5000; // ms until a card that could not be filled is filled when it is in view
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function ask(path) {
  const answer = await fetch(new URL(path, document.baseURI), { cache: "no-store" });
  const reply = await answer.json().catch(() => null); // of a server that failed, or of a proxy: no JSON
  if (answer.ok && reply) return reply;
  throw Object.assign(new Error(reply?.error ?? "The server failed."), { refused: Boolean(reply?.error) });
}

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

const BESIDE = 1100; // px of a card from which on the paper's figure stands beside ours
const columns = (width) => Math.max(1, Math.min(8, Math.floor(width / 215)));

const HOLDS = { "Holds here": "yes", "Holds here in part": "part", "Does not appear here": "no" };

/** "Holds here: -4.9" -> its first words as a badge, where they say whether the claim holds, and the rest. */
function verdictOf(text) {
  const words = Object.keys(HOLDS).find((each) => new RegExp(`^${each}[:,] `).test(text));
  if (!words) return [text];
  const badge = element("b", "pfe-badge", words);
  badge.dataset.holds = HOLDS[words];
  return [badge, ` ${text.slice(words.length + 2)}`];
}

/** What came of a claim, in a word or a badge. */
function foundOf({ known, refused, verdict }) {
  const [first] = known ? verdictOf(verdict) : [];
  if (first instanceof Element) return first;
  return element("span", "", known ? "measured" : refused ? "cannot be measured on it" : "not measured yet");
}

const jobOf = (network, study) => `${network} ${study}`;

class Card {
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
    if (about.refused) this.bar.hidden = true;
    else if (about.runs_here) this.offer();
    else this.bar.append("Measured along trainings, from a shell. ");
    this.bar.append(this.said);
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
    if (known) this.verdict.replaceChildren(...verdictOf(verdict));
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

  offer() {
    this.button = element("button");
    this.button.type = "button";
    this.name();
    this.progress = element("progress");
    Object.assign(this.progress, { hidden: true, max: 1, value: 0 });
    this.progress.setAttribute("aria-label", "Progress");
    this.bar.append(this.button, this.progress);
    this.button.onclick = () => {
      if (this.job) this.wall.trigger("halted", { job: this.job });
      else {
        this.said.textContent = "Asked.";
        this.wall.trigger("asked", { study: this.about.study });
      }
    };
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
    const kept = this.kept ? "&kept=1" : "";
    const [detail, cost] = await Promise.all([
      ask(`${path}${query}&${this.room()}${kept}`),
      this.button ? ask(`${path}/cost${query}`) : {},
    ]);
    if (network !== this.wall.network || turn !== this.turn) return; // an answer that another one has overtaken
    this.bar.hidden = Boolean(this.about.refused);
    if (!this.job) this.said.textContent = cost.refused ?? cost.cost ?? "";
    if (this.button) this.button.disabled = Boolean(cost.refused);
    this.made.hidden = !detail.made;
    const held = this.made.contains(document.activeElement);
    this.made.replaceChildren(`${detail.made}: `, element("code", "", detail.command));
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
      this.laws ||= new Laws(
        this.live,
        network,
        ask,
        (box, figure) => this.wall.put(box, figure),
        columns(this.root.clientWidth),
      );
      await this.laws.show();
    }
  }

  /** Say why it could not be filled, beside what is there. */
  failed(message) {
    this.bar.hidden = false;
    if (!this.job) this.said.textContent = message;
  }

  /** The way to the other result, where one is kept and one was measured here. */
  otherOf(made) {
    const show = element("button", "", "Show it");
    show.type = "button";
    show.setAttribute("aria-label", `Show the other result: ${made}`);
    show.onclick = () => {
      this.kept = !this.kept;
      this.fill().catch((error) => (this.said.textContent = error.message));
    };
    return [element("br"), `${this.kept ? "Measured here last" : "Kept"}: ${made} `, show];
  }

  /** How many panels go beside each other, in our figure and in the paper's. */
  room() {
    const wide = this.root.clientWidth;
    const [ours, paper] = wide >= BESIDE ? [0.68 * wide, 0.3 * wide] : [wide, wide];
    return new URLSearchParams({ columns: columns(ours), beside: columns(paper) });
  }

  async draw() {
    this.pair.classList.toggle("pfe-both", Boolean(this.figures.ours && this.figures.paper));
    this.late = false;
    for (const [name, figure] of Object.entries(this.figures)) {
      const { root, chart } = this[name];
      root.hidden = !figure;
      if (figure && !(await this.wall.put(chart, figure))) this.late = true;
    }
    await this.laws?.redraw();
  }

  /** The page has given the card other room, or any: the window is another, or the tab has been opened. */
  sized() {
    if (!this.root.offsetParent) return;
    if (this.late || this.laws?.late) this.draw();
    else for (const chart of this.root.querySelectorAll(".js-plotly-plot")) this.wall.fit(chart);
  }

  async follow(job) {
    this.job = job;
    this.name();
    this.progress.hidden = false;
    let found = { state: "waiting", share: 0 };
    while (this.root.isConnected && ACTIVE.includes(found.state)) {
      try {
        found = await ask(`pf/evidence/jobs/${job}`);
      } catch ({ refused, message }) {
        const said = refused ? message : "The server does not answer; trying again.";
        found = { state: refused ? "failed" : found.state, said, share: found.share };
      }
      this.progress.value = found.share;
      this.said.textContent = found.said;
      await sleep(EVERY);
    }
    if (ACTIVE.includes(found.state)) return; // another network is shown: the wall still knows the job
    this.job = null;
    this.wall.forget(this, found.state === "done" ? job : null);
    this.name();
    this.progress.hidden = true;
    if (found.state === "done") await this.wall.again(this);
  }
}

class Wall {
  constructor(root, trigger) {
    Object.assign(this, { root, trigger, network: "", cards: [], jobs: new Map(), own: new Map() });
    this.box = root.querySelector(".pfe-wall");
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.seen.unobserve(target);
        const card = this.cards.find((each) => each.root === target);
        card?.fill().catch((error) => {
          card.failed(error.message);
          if (!error.refused) setTimeout(() => target.isConnected && this.seen.observe(target), RETRY);
        });
      }
    });
    page.on("theme", () => this.cards.forEach((card) => card.draw()));
  }

  async show(value) {
    if (!value?.network) {
      this.box.textContent = "There is no network here yet, so there is nothing to measure.";
      return;
    }
    this.library = new URL(`gradio_api/file=${value.library}`, document.baseURI).href;
    const [before, now] = [this.network, value.network];
    if (value.job) this.jobs.set(jobOf(now, value.study), value.job);
    if (value.job && before) return this.follow(); // of a network that need not be the chosen one any more
    if (before && before !== now) address.shows("evidence", `tab=evidence&network=${encodeURIComponent(now)}`);
    if (before !== now) await this.build(now);
  }

  /** Every card of a study that is being measured shows how far it is. */
  follow() {
    for (const card of this.cards) {
      const job = this.jobs.get(jobOf(card.network, card.about.study));
      if (job && !card.job) card.follow(job).catch((error) => (card.said.textContent = error.message));
    }
  }

  /** A study is not measured any more; done: its job, if it measured something. */
  forget({ network, about }, done) {
    const study = jobOf(network, about.study);
    this.jobs.delete(study);
    if (done) this.own.set(study, { network, job: done });
  }

  /** What is asked about a network: with this page's own jobs, for those of others come after what is kept. */
  query(network) {
    const own = [...this.own.values()].filter((each) => each.network === network);
    return `?${new URLSearchParams([["network", network], ...own.map(({ job }) => ["job", job])])}`;
  }

  /** Plotly, loaded when the first figure is in view. */
  plotly() {
    return load(this.library);
  }

  /** Draw a figure. False where its box is not on the screen: plotly would take the box for one of 100 pixels. */
  async put(box, { data, layout }) {
    const Plotly = await this.plotly();
    if (!box.offsetParent) return false;
    await Plotly.react(box, inked(data, layout), themed(layout), OPTIONS);
    return true;
  }

  /** Plotly follows the window alone, and not while a chart is hidden. */
  async fit(chart) {
    const Plotly = await this.plotly();
    const off = chart._fullLayout?.width - chart.clientWidth;
    if (chart.offsetParent && Math.abs(off) > 4) await Plotly.Plots.resize(chart);
  }

  async build(network) {
    this.network = network;
    const { cards } = await ask(`pf/evidence${this.query(network)}`);
    if (network !== this.network) return; // another one was asked for meanwhile: its answer may have come first
    this.cards = cards.map((about) => new Card(this, about));
    const refusedLast = [false, true].flatMap((refused) =>
      this.cards.filter(({ about }) => Boolean(about.refused) === refused),
    );
    const [claims, others] = [true, false].map((claim) =>
      refusedLast.filter(({ about }) => Boolean(about.sentence) === claim),
    );
    const part = (title, shown) => (shown.length ? [element("h2", "", title), ...shown.map(({ root }) => root)] : []);
    this.glance = element("ul", "pfe-glance");
    this.glance.setAttribute("aria-label", "The claims at a glance");
    this.claims = claims;
    this.sum();
    const [title, ...shown] = part("Claims of the page", claims);
    this.box.replaceChildren(title, this.glance, ...shown, ...part("Further checks of this project", others));
    for (const card of this.cards) this.seen.observe(card.root);
    this.follow();
    this.root.dataset.ready = "1";
  }

  /** The claims at a glance: each a line, with what came of it; a press goes to its card. */
  sum() {
    const lines = this.claims.map((card) => {
      const line = element("li");
      const name = element("button", "", card.about.label);
      name.type = "button";
      name.onclick = () => {
        card.root.scrollIntoView();
        card.root.focus({ preventScroll: true });
      };
      line.append(name, foundOf(card.about));
      return line;
    });
    this.glance.replaceChildren(...lines);
  }

  /** A card's study has been measured. */
  async again(card) {
    const { cards } = await ask(`pf/evidence${this.query(this.network)}`);
    const about = cards.find((each) => each.study === card.about.study);
    card.kept = false;
    if (about) {
      card.say(about);
      card.name();
      this.sum();
    }
    await card.fill();
  }
}

export function mount(root, props, watch, trigger) {
  const wall = new Wall(root.querySelector(".pfe"), trigger);
  page.add("wall", wall);
  const show = () => {
    const { value } = props;
    wall.show(value).catch((error) => {
      if (value.network === wall.network) wall.box.textContent = error.message;
    });
  };
  show();
  watch("value", show);
}
