// The tour: five steps that press the page's own buttons and drive its own viewers.

import { address } from "./address.js";
import { fields } from "./fields.js";
import { heading } from "./heading.js";
import { gliding, page } from "./shared.js";

const PATIENCE = 90_000; // ms: the longest a step waits for what it has set going

const viewerIn = (place) => page.within("viewer", place);
const find = (selector) => document.querySelector(selector);
const ended = (viewer) =>
  viewer?.ready &&
  viewer.runs.length &&
  viewer.runs.every((run) => !run.active && run.frames.length === run.status.ready);

let tour = null;

/** Wait until this is met. Throws after `patience` ms, and once the tour has been left: its step ends there. */
async function until(met, patience = PATIENCE) {
  const [mine, begin] = [tour, performance.now()];
  for (;;) {
    if (!mine.open) throw new Error("The tour was left.");
    if (met()) return;
    if (performance.now() - begin > patience)
      throw new Error("This takes longer than expected; the tour can go on without it.");
    await new Promise((done) => setTimeout(done, 60));
  }
}

/** Open a tab by its title, and one within it, as a person would. */
async function open(title, inside, within) {
  for (const name of within ? [title, within] : [title]) {
    [...document.querySelectorAll("[role=tab]")].find((each) => each.textContent.trim() === name)?.click();
  }
  await until(() => find(inside)?.offsetParent);
}

/** Press a button that sets controls, and wait until they are set: a Run in the same tick would send the old ones. */
async function set(button, news) {
  let done = false;
  const end = page.on(news, () => {
    done = true;
  });
  find(button).click();
  await until(() => done, 15_000).finally(end);
}

/** Press a button that starts runs, and wait for their end. */
async function start(button, place) {
  const before = viewerIn(place)
    ?.runs.map((run) => run.id)
    .join();
  const status = () => find(`${button.replace(/run$/, "said")} p`)?.textContent.trim() || "";
  const shown = status();
  await until(() => !find(button).disabled);
  find(button).click();
  await until(() => {
    const viewer = viewerIn(place);
    if (status() && status() !== shown) throw new Error(status());
    return viewer && viewer.runs.map((run) => run.id).join() !== before && ended(viewer);
  });
}

const spread = (frame, image, n) => {
  const t = frame.t.subarray(image * n, (image + 1) * n);
  return Math.max(...t) - Math.min(...t);
};

const STEPS = [
  {
    title: "One block, one forward pass",
    text: "This bar is a whole run. Every block is one forward pass of the network, shaded groups are the sampler's steps, and height is the time t. Drag it, or use the arrow keys.",
    target: "#explore-viewer .pfv-film",
    async enter() {
      await open("Explore", "#explore-run", "A run");
      await until(() => viewerIn("#explore-viewer"));
      const viewer = viewerIn("#explore-viewer");
      if (!viewer.runs.length) await start("#explore-run", "#explore-viewer");
      await until(() => viewer.ready && viewer.clock.length > 1);
      await viewer.go(0);
      viewer.play();
    },
  },
  {
    title: "A run of your own",
    text: "Another seed was drawn and Run was pressed. Frames arrive as they are made. These controls choose network, class and sampler; Advanced holds every knob.",
    target: "#explore-run",
    async enter(step) {
      await open("Explore", "#explore-run", "A run");
      await set("#explore-dice", "seed set");
      await start("#explore-run", "#explore-viewer");
      const { seeds } = viewerIn("#explore-viewer").runs[0].meta;
      step.shown = step.text.replace("Another seed was drawn", `Seed ${seeds[0]} was drawn`);
    },
  },
  {
    title: "Looking ahead",
    text: "In this pass the times of the patches differ most. Bright patches of the time map are easy and were moved ahead; the others see them as context.",
    plain:
      "Here all patches share one time in every pass: this sampler moves none ahead. Choose one that does and look at this map again.",
    target: "#explore-viewer figure[data-panel=t]",
    async enter(step) {
      await open("Explore", "#explore-run", "A run");
      const viewer = viewerIn("#explore-viewer");
      viewer.pause();
      const { frames, shape } = viewer.runs[0];
      const apart = frames.map((frame) => spread(frame, viewer.image, shape.n));
      const widest = apart.indexOf(Math.max(...apart));
      step.shown = apart[widest] > 0.01 ? step.text : step.plain;
      await viewer.goFrame(0, widest);
    },
  },
  {
    title: "Why this patch waits",
    text: "The hardest patch of this pass is selected. The line below gives its t, its difficulty sigma, and why it moves as it does; the charts further down follow it through the run. Click any other patch.",
    plain:
      "One patch is selected. This network predicts no difficulty, so the line below gives its t alone; the charts further down follow it through the run. Click any other patch.",
    target: "#explore-viewer .pfv-say",
    async enter(step) {
      await open("Explore", "#explore-run", "A run");
      const viewer = viewerIn("#explore-viewer");
      const { frames, shape } = viewer.runs[0];
      const now = viewer.frameIndex(0);
      const pass = frames[Math.max(0, frames[now].phase === "final" ? now - 1 : now)];
      const sigma = Array.from(pass.logvar.subarray(viewer.image * shape.n, (viewer.image + 1) * shape.n), (v) =>
        Number.isNaN(v) ? -Infinity : v,
      );
      step.shown = sigma.some((v) => v > -Infinity) ? step.text : step.plain;
      viewer.hold({
        image: viewer.image,
        patch: sigma.indexOf(Math.max(...sigma)),
      });
      await viewer.drawn;
    },
  },
  {
    title: "Two samplers, one clock",
    text: "In Compare the first comparison was set and run: same noise, same class, same cost. One clock moves both. The tab How it works explains the method.",
    plain:
      "In Compare the columns as they stand were run: same noise, same class, same cost. One clock moves both. The tab How it works explains the method.",
    target: "#compare-viewer .pfv-run:last-child .pfv-film",
    async enter(step) {
      await open("Compare", "#compare-run");
      await until(() => viewerIn("#compare-viewer"));
      await set("#compare-presets button", "columns set");
      step.shown = find("#compare-said p") ? step.plain : step.text; // a network that it needs may be missing
      await start("#compare-run", "#compare-viewer");
      await until(() => find("#compare-viewer .pfv-measured p"));
      step.shown += ` ${find("#compare-viewer .pfv-measured p").textContent}`;
      await viewerIn("#compare-viewer").go(0);
      viewerIn("#compare-viewer").play();
    },
  },
];

class Tour {
  constructor() {
    this.ring = Object.assign(document.createElement("div"), {
      className: "pft-ring",
    });
    this.card = Object.assign(document.createElement("div"), {
      className: "pft-card",
    });
    this.card.setAttribute("role", "dialog");
    this.card.setAttribute("aria-label", "Tour");
    this.card.addEventListener("click", (event) => this.pressed(event.target.closest("[data-go]")?.dataset.go));
    this.keys = (event) => event.key === "Escape" && this.close();
    document.addEventListener("keydown", this.keys);
    document.body.append(this.ring, this.card);
    this.open = true;
    this.follow();
  }

  async enter(which) {
    this.at = which;
    const step = STEPS[which];
    step.shown = step.text;
    this.write(step, "One moment\u2026");
    let trouble = "";
    try {
      await step.enter(step);
    } catch (error) {
      trouble = error.message;
    }
    if (!this.open || this.at !== which) return;
    find(step.target)?.scrollIntoView({ block: "center", behavior: gliding() });
    this.write(step, trouble || step.shown, true);
  }

  write(step, text, ready = false) {
    this.card.dataset.step = this.at + 1;
    this.card.dataset.ready = ready;
    const last = this.at === STEPS.length - 1;
    this.card.innerHTML = `<h3>${step.title}</h3><p aria-live="polite"></p><div class="pft-foot"><span>${this.at + 1} of ${STEPS.length}</span>
      <button type="button" data-go="close">${last ? "Close" : "Leave"}</button>
      <button type="button" data-go="back" ${this.at && ready ? "" : "disabled"}>Back</button>
      ${last ? "" : `<button type="button" data-go="next" ${ready ? "" : "disabled"}>Next</button>`}</div>`;
    this.card.querySelector("p").textContent = text;
    if (ready) this.card.querySelector(last ? "[data-go=close]" : "[data-go=next]").focus({ preventScroll: true });
  }

  pressed(go) {
    if (go === "close") this.close();
    if (go === "next") this.enter(this.at + 1);
    if (go === "back") this.enter(this.at - 1);
  }

  /** Keep ring and card beside what is spoken of, wherever it moves. */
  follow() {
    if (!this.open) return;
    const target = find(STEPS[this.at || 0].target);
    const box = target?.checkVisibility({ visibilityProperty: true }) ? target.getBoundingClientRect() : null;
    this.ring.hidden = !box;
    if (box) {
      const edge = 6;
      Object.assign(this.ring.style, {
        left: `${box.left - edge}px`,
        top: `${box.top - edge}px`,
        width: `${box.width + 2 * edge}px`,
        height: `${box.height + 2 * edge}px`,
      });
    }
    this.place(box);
    requestAnimationFrame(() => this.follow());
  }

  place(box) {
    const { offsetWidth: w, offsetHeight: h } = this.card;
    const clamp = (v, most) => Math.max(12, Math.min(v, most - 12));
    if (!box)
      return Object.assign(this.card.style, {
        left: `${(innerWidth - w) / 2}px`,
        top: `${(innerHeight - h) / 2}px`,
      });
    const below = box.bottom + 18 + h < innerHeight;
    const above = box.top - 18 - h > 0;
    const top = below ? box.bottom + 18 : above ? box.top - 18 - h : innerHeight - h - 12;
    return Object.assign(this.card.style, {
      left: `${clamp(box.left, innerWidth - w)}px`,
      top: `${clamp(top, innerHeight - h)}px`,
    });
  }

  close() {
    this.open = false;
    document.removeEventListener("keydown", this.keys);
    this.ring.remove();
    this.card.remove();
    find(".pft-start")?.focus({ preventScroll: true }); // the page stays at what was shown last
  }
}

export function mount(element, props, watch, trigger) {
  heading(element);
  address.connect(trigger);
  fields();
  element.querySelector(".pft-start").addEventListener("click", () => {
    if (tour?.open) return;
    tour = new Tour();
    tour.enter(0);
  });
  for (const button of element.querySelectorAll("button")) button.disabled = false; // a press before this would be lost
}
