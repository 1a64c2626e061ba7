// The wall of claims: every study's card, the claims at a glance above them, and what is being measured.

import { address } from "./address.js";
import { Card, ask, element, foundOf } from "./card.js";
import { OPTIONS, inked, load, themed } from "./plot.js";
import { page } from "./shared.js";

const RETRY = 5000; // ms until what could not be had is asked for again
const KEPT = "pf-studies"; // in the session's storage

const queryOf = (network, study) =>
  new URLSearchParams({ tab: "evidence", network, ...(study && { study }) }).toString();
const askedFor = () => ["network", "study"].map((name) => address.of("evidence", name));
const jobOf = (network, study) => `${network} ${study}`;

/** (jobs that are being measured, those that have ended), by network and study, as the page knew them at last. */
function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)).map((kept) => new Map(kept));
  } catch {
    return [new Map(), new Map()];
  }
}

class Wall {
  constructor(root, trigger) {
    const [jobs, own] = remembered();
    Object.assign(this, { root, trigger, network: "", cards: [], jobs, own });
    this.box = root.querySelector(".pfe-wall");
    const [asked, study] = askedFor();
    this.goal = asked && study ? { network: asked, study } : null; // a card that is sought once its network is here
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.seen.unobserve(target);
        const card = this.cards.find((each) => each.root === target);
        card
          ?.fill()
          .then(() => this.sought?.root.scrollIntoView()) // figures above it have grown
          .catch((error) => {
            card.failed(error.message);
            if (!error.refused) setTimeout(() => target.isConnected && this.seen.observe(target), RETRY);
          });
      }
    });
    for (const moved of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      window.addEventListener(moved, () => (this.sought = null), { capture: true, passive: true });
    }
    page.on("theme", () => this.cards.forEach((card) => card.draw()));
  }

  async show(value) {
    if (!value?.network) {
      this.box.textContent = "There is no network here yet, so there is nothing to measure.";
      return;
    }
    this.library = new URL(`gradio_api/file=${value.library}`, document.baseURI).href;
    const now = value.network;
    if (value.study) this.answered(value);
    if (value.study && this.network) return; // of a network that need not be the chosen one any more
    if (this.named && this.named !== now) {
      const [asked, study] = askedFor();
      if (asked === now) this.goal = { network: now, study };
      else address.shows("evidence", queryOf(now));
    }
    this.named = now;
    if (this.network !== now) await this.build(now);
  }

  /** A network's wall could not be had: why, in its place, until it is asked for again. */
  failed({ network }, { refused, message }, again) {
    if (network !== this.network) return;
    Object.assign(this, { network: "", cards: [] });
    this.box.textContent = refused ? message : `${message} Trying again.`;
    if (!refused) setTimeout(() => this.network || again(), RETRY);
  }

  /** A press on "Run it here" has its answer: a job, or why there is none. */
  answered({ network, study, job, error }) {
    if (job) this.jobs.set(jobOf(network, study), job);
    this.remember();
    this.cards.find((card) => card.network === network && card.about.study === study)?.answered(error);
    this.follow();
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
    this.remember();
  }

  /** What this page has asked to be measured outlives its being loaded again. */
  remember() {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify([[...this.jobs], [...this.own]]));
    } catch {
      // a browser that keeps nothing
    }
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

  /** Draw a figure, to a screen reader a picture of its title and what it shows. False where its box is not on the
   * screen: plotly would take the box for one of 100 pixels. */
  async put(box, { data, layout }, shows) {
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", [layout.title?.text, shows].filter(Boolean).join(". "));
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
    if (this.goal?.network !== network) return;
    this.cards.find(({ about }) => about.study === this.goal.study)?.seek();
    this.goal = null;
  }

  /** A card is looked at: it stays in view until somebody moves, and the address leads to it. */
  seeks(card) {
    this.sought = card;
    address.shows("evidence", queryOf(card.network, card.about.study), true);
  }

  /** Show another network, and there the card of a study. */
  goTo(network, study) {
    this.goal = { network, study };
    this.trigger("chosen", { network });
  }

  /** The claims at a glance: each a line, with what came of it; a press goes to its card. */
  sum() {
    const lines = this.claims.map((card) => {
      const line = element("li");
      const name = element("button", "", card.about.label);
      name.type = "button";
      name.onclick = () => card.seek();
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
    wall.show(value).catch((error) => wall.failed(value, error, show));
  };
  show();
  watch("value", show);
}
