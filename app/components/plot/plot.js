// Plotly figures that follow a stream: asked for again and again, only what changed is drawn, zoom is kept.

import { address, tabAround } from "./address.js";
import { fitted, keyOf, measured } from "./fit.js";
import { page } from "./shared.js";

const A_FRAME = 30; // ms of drawing an update, while there are more to come
const TWICE = 300; // ms between two clicks that plotly takes for one double click, which resets the zoom
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let library = null;

/** Plotly itself, once a page; source: of the component's value. */
export function load(source) {
  library ||= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.min.js is missing"));
    document.head.append(script);
  });
  return library;
}

/** A figure's layout in the page's colours. */
export function themed(layout) {
  const dark = document.body.classList.contains("dark");
  const ink = dark ? "#e6e9f0" : "#1d2433",
    rule = dark ? "#465063" : "#98a1b3",
    grid = dark ? "#232a37" : "#eceff4";
  // plotly writes a person's zoom into the range it is given: it gets a copy
  const axis = (given) => ({
    ...given,
    ...(given?.range && { range: [...given.range] }),
    linecolor: rule,
    tickcolor: rule,
    gridcolor: grid,
  });
  return {
    ...layout,
    ...(TOUCH && { dragmode: false }),
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, size: 12, family: "inherit" },
    legend: { ...layout.legend, bgcolor: dark ? "rgba(22,27,37,0.75)" : "rgba(255,255,255,0.75)" },
    // plotly makes its own of the paper's colour, and of a clear one a grey bar over the title
    modebar: { bgcolor: dark ? "#161b25" : "#fff", color: dark ? "#a9b3c5" : "#5d6779", activecolor: ink },
    ...Object.fromEntries(
      Object.entries(layout)
        .filter(([name]) => /^[xy]axis\d*$/.test(name))
        .map(([name, given]) => [name, axis(given)]),
    ),
  };
}

/** A figure's data in the page's colours. In the dark what is nearly black (starts and ends of trajectories) would vanish,
 * and layout.meta.dark says what stands for other colours. */
export function inked(data, layout) {
  if (!document.body.classList.contains("dark")) return data;
  const lighter = layout.meta?.dark || {};
  const text = JSON.stringify(data).replace(/#[0-9a-f]{6}/g, (colour) => lighter[colour] || colour);
  return JSON.parse(text.replaceAll("#222", "#f2f4f8"));
}

// A finger scrolls the page: no tool bar, no zooming by a drag.
const TOUCH = matchMedia("(pointer: coarse)").matches;
export const OPTIONS = {
  displaylogo: false,
  showSendToCloud: false, // "Share chart" would send it to a stranger's server: nothing leaves this machine
  plotlyServerURL: "",
  ...(TOUCH && { displayModeBar: false }),
  responsive: true,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage", "zoomIn2d", "zoomOut2d", "autoScale2d"],
  scrollZoom: false,
};

class Plots {
  constructor(root, trigger) {
    Object.assign(this, {
      root,
      trigger,
      figures: {},
      boxes: {},
      stale: new Set(),
      drawn: {},
      fits: {},
      clicks: {},
      source: "",
      version: 0,
      updates: 0,
      frames: [],
    });
    this.status = document.createElement("p");
    this.status.className = "pf-plots-said";
    this.grid = document.createElement("div");
    this.grid.className = "pf-plots-grid";
    this.foot = document.createElement("div");
    this.foot.className = "pf-plots-foot";
    this.foot.hidden = true;
    this.foot.innerHTML =
      '<p class="pf-plots-links">Download: </p><p class="pf-plots-command" hidden>The same from a shell: <code></code></p>';
    root.replaceChildren(this.status, this.grid, this.foot);
    page.on("theme", () => this.redraw());
  }

  async show(value) {
    if (!value?.source) return;
    if (value.source === this.source) return;
    this.Plotly = await load(new URL(`gradio_api/file=${value.library}`, document.baseURI).href);
    for (const name of value.plots) this.box(name);
    this.offer(value.links);
    this.source = value.source;
    this.version = 0;
    if (!this.running) this.follow();
  }

  offer(links) {
    this.foot.hidden = !links?.length;
    const line = this.foot.querySelector(".pf-plots-links");
    line.replaceChildren("Download: ");
    for (const [label, place] of links || []) {
      const link = document.createElement("a");
      Object.assign(link, { textContent: label, href: new URL(place, document.baseURI).href, download: label });
      line.append(link, " ");
    }
  }

  about(reply) {
    if (reply.query && reply.query !== this.query) {
      this.query = reply.query;
      address.shows(tabAround(this.root), reply.query, true);
    }
    if (!reply.command || reply.command === this.command) return;
    this.command = reply.command;
    const line = this.foot.querySelector(".pf-plots-command");
    line.hidden = false;
    line.querySelector("code").textContent = reply.command;
  }

  box(name) {
    if (this.boxes[name]) return;
    const box = document.createElement("div");
    box.className = "pf-plot";
    box.dataset.plot = name;
    this.grid.append(box);
    this.boxes[name] = box;
    // plotly follows the window's size alone, not that of a box which the page lays out anew
    new ResizeObserver(() => this.drawn[name] && this.stale.add(name)).observe(box);
    let down = null;
    box.addEventListener(
      "pointerdown",
      (e) => {
        down = e.button === 0 && [e.clientX, e.clientY];
        this.held = name;
      },
      true,
    );
    window.addEventListener(
      "pointerup",
      (e) => {
        if (down && Math.hypot(e.clientX - down[0], e.clientY - down[1]) < 4) this.pick(name, e);
        down = null;
        if (this.held === name)
          setTimeout(() => {
            this.held = null;
          }, 0); // plotly's own handler comes first
      },
      true,
    );
    window.addEventListener(
      "pointercancel",
      () => {
        down = this.held = null;
      },
      true,
    );
  }

  pick(name, event) {
    const full = this.boxes[name]._fullLayout;
    if (!full?.xaxis) return;
    const frame = this.boxes[name].getBoundingClientRect();
    const px = event.clientX - frame.left - full.xaxis._offset,
      py = event.clientY - frame.top - full.yaxis._offset;
    if (px < 0 || py < 0 || px > full.xaxis._length || py > full.yaxis._length) return;
    const picked = { plot: name, x: full.xaxis.p2d(px), y: full.yaxis.p2d(py) };
    const before = this.clicks[name];
    clearTimeout(before?.timer);
    const twice = event.timeStamp - before?.at < TWICE;
    const timer = twice ? 0 : setTimeout(() => this.trigger("picked", picked), TWICE);
    this.clicks[name] = { at: event.timeStamp, timer };
  }

  async draw(name) {
    const { data, layout } = this.figures[name];
    const box = this.boxes[name];
    const key = keyOf(box, data, layout);
    if (!this.drawn[name]) box.classList.add("pf-drawing");
    try {
      if (this.fits[name]?.key !== key) {
        await this.put(name, data, layout);
        this.fits[name] = { key, ...measured(box) };
      }
      await this.put(name, ...fitted(box, data, layout, this.fits[name]));
    } finally {
      box.classList.remove("pf-drawing");
    }
  }

  async put(name, data, layout) {
    const box = this.boxes[name];
    const frame = layout.yaxis.scaleanchor ? JSON.stringify([layout.xaxis.range, layout.yaxis.range]) : "chart";
    // In another frame react() would stretch the axes to the old one's box, and forget a zoom made in that.
    const plot = this.drawn[name] === frame ? this.Plotly.react : this.Plotly.newPlot;
    this.drawn[name] = frame;
    await plot(box, inked(data, layout), themed(layout), OPTIONS);
    if (box.offsetParent && Math.abs(box._fullLayout.width - box.clientWidth) > 4) await this.Plotly.Plots.resize(box);
  }

  // While the stream runs, what is out of date is drawn for a while only, the longest waiting first: so the picture moves
  // on slow machines too. Sets keep the order in which things were added.
  async drawSome(busy) {
    const end = performance.now() + A_FRAME;
    for (const name of [...this.stale]) {
      if (name === this.held) continue; // someone is dragging there
      this.stale.delete(name);
      try {
        await this.draw(name);
      } catch (error) {
        this.stale.add(name); // it is tried again: what is sent once only would stay away for good
        throw error;
      }
      if (busy && performance.now() > end) break;
    }
    this.updates += 1;
    this.frames = [...this.frames.slice(-99), performance.now()];
  }

  // Never two drawings of one plot at a time: the follower does it.
  redraw() {
    for (const name of Object.keys(this.figures)) this.stale.add(name);
  }

  async follow() {
    this.running = true;
    while (this.root.isConnected) {
      const busy = document.hidden || !this.root.offsetParent ? null : await this.ask().catch((e) => this.lost(e));
      await sleep(busy === null ? 250 : (this.wait ?? (busy && !this.fresh ? 20 : 35))); // the next picture is some way off
    }
    this.running = false;
  }

  async ask() {
    const source = this.source;
    if (!source) return null;
    const answer = await fetch(new URL(`${source}?after=${this.version}`, document.baseURI), { cache: "no-store" });
    const reply = await answer.json();
    if (source !== this.source) return reply.busy; // of what was shown before, also where it is refused
    this.wait = reply.wait; // a stream that seldom changes says how long it may be left alone
    if (!answer.ok) {
      this.source = "";
      this.status.textContent = reply.error;
      return null;
    }
    this.about(reply);
    this.fresh = reply.version !== this.version;
    if (this.fresh) this.take(reply);
    if (this.stale.size) await this.drawSome(reply.busy);
    return reply.busy;
  }

  take(reply) {
    this.version = reply.version;
    const [asked, moving] = [[], []]; // what a person asked for goes before what only moves on, each from the top
    for (const [name, figure] of Object.entries(reply.plots)) {
      if (!this.boxes[name]) continue;
      const same = this.figures[name]?.layout.title?.text === figure.layout.title?.text;
      (same ? moving : asked).push(name);
      this.figures[name] = figure;
    }
    this.stale = new Set([...asked, ...this.stale, ...moving]);
    if (this.status.textContent !== reply.status) this.status.textContent = reply.status;
  }

  lost() {
    this.status.textContent = "The server does not answer; trying again.";
    return null;
  }
}

export function mount(element, props, watch, trigger) {
  const plots = new Plots(element.querySelector(".pf-plots"), trigger);
  page.add("plots", plots);
  plots.show(props.value);
  watch("value", () => plots.show(props.value));
  trigger("opened", { query: location.search });
}
