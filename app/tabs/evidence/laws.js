// Live: what a law of t draws beside what inference visits, with the law's own knobs.

import { loadPalettes } from "./colours.js";
import { canvasOf, figure, floats, make, paintPatches, scales, timeColour } from "./draw.js";
import { written } from "./shared.js";

const WAIT = 120; // ms after a knob's last move
const SHOWN = 8;

const shown = (value) => written(Number(Number(value).toFixed(2)));

const grids = (key, title) =>
  `<div class="pfe-grids" role="group" aria-label="${title}"><h4 data-of="${key}"></h4><div>${Array.from(
    { length: SHOWN },
    (_, k) => figure(`${key}-${k}`, "", "").replace('aria-label=" "', `aria-label="${title}, ${k + 1}, not drawn yet"`),
  ).join("")}</div></div>`;

export class Laws {
  /** ask(path) -> JSON; put(box, figure, what it shows) -> whether it was drawn. */
  constructor(box, network, ask, put) {
    Object.assign(this, { box, network, ask, put, columns: 1, settings: {}, asked: 0 });
    this.root = make(`<div class="pfe-laws">
      <h4>Try the laws</h4>
      <div class="pfe-knobs"><label>Timestep sampler <select data-set="timesteps"></select></label>
        <label>Inference <select data-set="sampler"></select></label></div>
      <div class="pfe-knobs" data-of="knobs"></div>
      ${grids("law", "Maps of t in training")}${grids("visited", "Maps of t in inference")}
      <div data-of="scale"></div>
      <p class="pfe-gap" role="status"></p>
      <div class="pfe-chart" data-of="figure"></div></div>`);
    box.replaceChildren(this.root);
    this.root.addEventListener("change", ({ target }) => {
      if (!target.dataset.set) return;
      if (target.dataset.set === "timesteps") this.settings = {};
      this.show();
    });
    this.root.addEventListener("input", ({ target }) => {
      if (!target.dataset.knob) return;
      target.closest("label").querySelector("output").textContent = shown(target.value);
      this.settings[target.dataset.knob] = target.value;
      clearTimeout(this.later);
      this.later = setTimeout(() => this.show(), WAIT);
    });
  }

  of(name) {
    return this.root.querySelector(`[data-of="${name}"]`);
  }

  chosen(name) {
    return this.root.querySelector(`[data-set="${name}"]`).value;
  }

  /** columns: how many panels go beside each other; as at last where it is not said. */
  async show(columns = this.columns) {
    this.columns = columns;
    const asked = ++this.asked;
    const query = new URLSearchParams({ network: this.network, columns: this.columns, ...this.settings });
    for (const name of ["timesteps", "sampler"]) if (this.chosen(name)) query.set(name, this.chosen(name));
    try {
      const answer = await this.ask(`pf/evidence/laws?${query}`);
      if (asked === this.asked) await this.draw(answer);
    } catch (error) {
      if (asked === this.asked) this.root.querySelector(".pfe-gap").textContent = error.message;
    }
  }

  async draw(answer) {
    this.palettes ||= await loadPalettes();
    this.of("scale").innerHTML ||= scales(this.palettes, ["t"]);
    this.fill("timesteps", answer.choices, answer.timesteps, answer.own);
    this.fill(
      "sampler",
      answer.samplers.map((name) => ({ name, label: name })),
      answer.sampler,
    );
    this.controls(answer);
    const n = answer.grid.rows * answer.grid.cols;
    for (const key of ["law", "visited"]) {
      const maps = floats(answer[key]);
      for (let k = 0; k < SHOWN; k += 1) {
        const t = maps.subarray(k * n, (k + 1) * n);
        const canvas = canvasOf(this.root, `${key}-${k}`);
        paintPatches(canvas, answer.grid, (p) => timeColour(this.palettes, t[p]));
        canvas.title = `mean t ${(t.reduce((sum, v) => sum + v, 0) / n).toFixed(2)}, largest ${Math.max(...t).toFixed(2)}`;
        canvas.setAttribute("aria-label", canvas.title);
      }
    }
    this.of("law").textContent = "Training: eight draws of the law";
    this.of("visited").textContent = `Inference: eight passes of ${answer.sampler}, first to last (${answer.seen})`;
    this.root.querySelector(".pfe-gap").textContent = answer.sentence;
    [this.figure, this.sentence] = [answer.figure, answer.sentence];
    await this.redraw();
    this.root.dataset.ready = answer.timesteps;
  }

  async redraw() {
    if (this.figure) this.late = !(await this.put(this.of("figure"), this.figure, this.sentence));
  }

  fill(name, choices, value, own = null) {
    const select = this.root.querySelector(`[data-set="${name}"]`);
    if (!select.options.length)
      select.append(
        ...choices.map(
          (each) => new Option(each.name === own ? `${each.label} (this network's)` : each.label, each.name),
        ),
      );
    select.value = value;
  }

  /** The law's knobs, made anew when it is another law. */
  controls({ choices, timesteps, settings }) {
    if (this.law === timesteps) return;
    this.law = timesteps;
    this.settings = { ...settings };
    const { knobs } = choices.find((each) => each.name === timesteps);
    const rows = knobs.map(({ name, label, help, low, high, whole }) => {
      const row = make(
        `<label><span></span> <input type="range" min="${low}" max="${high}" step="${whole ? 1 : "any"}" /> <output></output></label>`,
      );
      row.title = help;
      row.querySelector("span").textContent = label;
      Object.assign(row.querySelector("input"), { value: settings[name] }).dataset.knob = name;
      row.querySelector("output").textContent = shown(settings[name]);
      return row;
    });
    this.of("knobs").replaceChildren(...(rows.length ? rows : ["This law has no knobs."]));
  }
}
