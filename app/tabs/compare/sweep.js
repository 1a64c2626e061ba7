// A sweep's tiles: pulled from the server as they come, by whoever has the address.

import { address } from "./address.js";
import { page } from "./shared.js";

const PAUSE = 300; // ms between two questions while it runs
const base = () => new URL("pf/sweeps/", document.baseURI);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const ENDED = new Set(["done", "stopped", "failed"]);

export function mount(element, props, watch) {
  const view = new SweepView(element.querySelector(".pf-sweep") || element);
  page.add("sweep", view);
  watch("value", () => view.show(props.value));
  view.show(props.value);
}

class SweepView {
  constructor(root) {
    Object.assign(this, { root, id: null, status: null });
    for (const kind of ["pointerover", "focusin"])
      this.root.addEventListener(kind, (event) => {
        const about = event.target.closest?.("[data-about]")?.dataset.about;
        if (about) this.find(".pfs-read").textContent = about;
      });
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  async show(value) {
    if (!value?.id || value.id === this.id) return;
    if (value.query) address.shows("compare", value.query);
    Object.assign(this, { id: value.id, status: null, largest: [0, 0] });
    const mine = value.id;
    let after = 0;
    this.root.innerHTML = '<p class="pfs-state" role="status">Waiting for the server…</p>';
    while (this.root.isConnected && this.id === mine) {
      const status = await ask(mine, after);
      if (this.id !== mine) return;
      if (status?.error) return this.gone(status.error);
      if (status) {
        if (!this.status) this.layOut(status);
        status.tiles.forEach((tile) => this.put(tile));
        after = status.ready;
        this.tell(status);
        if (ENDED.has(status.state)) return;
      }
      await wait(PAUSE);
    }
  }

  gone(sentence) {
    this.root.innerHTML = '<p class="pfs-state" role="status"></p>';
    this.find("p").textContent = sentence;
  }

  layOut(status) {
    const [columns, rows, blocks] = status.shape;
    const [over, beside, above] = status.headings;
    const grid = (z) => `<div class="pfs-block">${above[z] ? `<h4>${safe(above[z])}</h4>` : ""}
      <div class="pfs-scroll"><table><thead><tr>${beside[0] ? "<td></td>" : ""}${over.map((text) => `<th scope="col">${safe(text)}</th>`).join("")}</tr></thead><tbody>
      ${span(rows, (y) => `<tr>${beside[y] ? `<th scope="row">${safe(beside[y])}</th>` : ""}${span(columns, (x) => `<td data-place="${x},${y},${z}"></td>`)}</tr>`)}</tbody></table></div></div>`;
    this.root.innerHTML = `<div class="pfs-head"><p class="pfs-state" role="status"></p><a class="pfs-sheet" download="sweep.png" hidden>Download sheet (PNG)</a></div>
      <div class="pfs-line"><i></i></div><p class="pfs-fixed"></p><div class="pfs-blocks">${span(blocks, grid)}</div>
      <p class="pfs-read" aria-live="polite">Point at a tile to read what it cost; click it to open this run in Explore. The sheet holds the whole sweep: Load sweep reads it, and so does
      <code>python -m pf_core sweep --recipe sweep.png --out again.png</code>.</p>`;
    this.find(".pfs-fixed").textContent = status.fixed;
  }

  put({ place, values, image, error, cost, explore }) {
    const cell = this.find(`[data-place="${place.join()}"]`);
    if (error) {
      cell.tabIndex = 0;
      cell.innerHTML = '<p class="pfs-error"></p>';
      cell.firstChild.textContent = error;
      cell.dataset.about = `${values}: ${error}`;
      return;
    }
    const picture = new Image();
    picture.alt = values;
    picture.onload = () => picture.isConnected && this.size(picture); // else it is of the sweep before
    picture.src = image;
    const link = document.createElement("a");
    Object.assign(link, { href: `?${explore}`, title: `Open in Explore: ${values}` });
    link.append(picture);
    cell.replaceChildren(link);
    cell.dataset.about = `${values}: ${cost}`;
  }

  /** By whole numbers to about 128 x 128 pixels, as on the sheet; all tiles are as large as the largest picture. */
  size(picture) {
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    const zoom = Math.max(1, Math.floor(128 / Math.sqrt(width * height)));
    picture.style.width = `${width * zoom}px`;
    this.largest = [Math.max(this.largest[0], width * zoom), Math.max(this.largest[1], height * zoom)];
    ["wide", "high"].forEach((name, k) => this.root.style.setProperty(`--pfs-${name}`, `${this.largest[k]}px`));
  }

  tell(status) {
    this.status = status;
    const words = { waiting: "Waiting", running: "Drawing", done: "Done", stopped: "Stopped", failed: "Failed" }[
      status.state
    ];
    const state = this.find(".pfs-state");
    state.dataset.state = status.state;
    state.textContent = `${ENDED.has(status.state) && status.message ? status.message : words + "."} ${status.spent}.`;
    if (status.state === "waiting" && status.message) state.textContent = status.message;
    this.find(".pfs-line i").style.width = `${(100 * status.ready) / status.total}%`;
    const sheet = this.find(".pfs-sheet");
    sheet.hidden = !status.ready;
    sheet.href = new URL(`${this.id}/sheet.png`, base()).href;
  }
}

/** The server's answer; null if it did not come this time. */
async function ask(id, after) {
  try {
    const reply = await fetch(new URL(`${encodeURIComponent(id)}?after=${after}`, base()));
    return await reply.json();
  } catch {
    return null;
  }
}

const span = (n, each) => Array.from({ length: n }, (_, i) => each(i)).join("");
const safe = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
