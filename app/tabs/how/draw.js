// What the miniatures share: unpacking numbers, painting pictures and maps, small charts.

import { colourAt, css, EASY, fromHex, gradient, HARD, packed, sigmaPlace, sigmaTicks } from "./colours.js";

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
export const NO_RUN = "No recorded run is shipped here: press Run in Explore and step through one.";
export const floats = (text) => new Float32Array(bytes(text).buffer);
export const pixels = bytes;

/** An element from markup. */
export function make(markup) {
  const box = document.createElement("template");
  box.innerHTML = markup.trim();
  return box.content.firstElementChild;
}

/** A canvas of height x width pixels, filled by colour(row, column) -> packed RGBA. */
export function paint(canvas, height, width, colour) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) out[y * width + x] = colour(y, x);
  context.putImageData(image, 0, 0);
}

const byte = (v) => Math.max(0, Math.min(255, Math.trunc(127.5 * v + 128)));

/** One value a patch, as a map: colour(value, patch). */
export function paintPatches(canvas, { rows, cols }, colour) {
  paint(canvas, rows, cols, (y, x) => colour(y * cols + x));
}

export const timeColour = (palettes, t) => colourAt(palettes.t, t);
export const sigmaColour = (palettes, sigma) => colourAt(palettes.sigma, sigmaPlace(sigma, palettes.sigmaRange));
export const easyColour = (easy) => fromHex(easy ? EASY : HARD);

/** x_t = t x1 + (1 - t) x0 with a time a patch, into a canvas. t: value of a patch. */
export function paintState(canvas, content, t) {
  const [height, width] = content.size;
  const { rows, cols } = content.grid;
  paint(canvas, height, width, (y, x) => {
    const time = t(Math.floor((y * rows) / height) * cols + Math.floor((x * cols) / width));
    const at = (y * width + x) * 3;
    const mix = (c) => byte(time * content.x1[at + c] + (1 - time) * content.x0[at + c]);
    return packed(mix(0), mix(1), mix(2));
  });
}

/** Picture k of raw RGB bytes, H x W x 3 each. */
export function paintPicture(canvas, [height, width], raw, k) {
  const from = k * height * width * 3;
  paint(canvas, height, width, (y, x) => {
    const at = from + (y * width + x) * 3;
    return packed(raw[at], raw[at + 1], raw[at + 2]);
  });
}

/** Bars over [0, 1], with a mark unless that is null; colours of the time scale. */
export function bars(svg, shares, mark, palettes) {
  const most = Math.max(...shares);
  const step = 100 / shares.length;
  const column = (share, i) =>
    `<rect x="${(i * step).toFixed(2)}" y="${(34 - (32 * share) / most).toFixed(2)}" width="${(step * 0.86).toFixed(2)}" height="${((32 * share) / most).toFixed(2)}" fill="${css(timeColour(palettes, (i + 0.5) / shares.length))}"/>`;
  svg.innerHTML = `${shares.map(column).join("")}<line x1="0" x2="100" y1="34.3" y2="34.3" class="pfg-rule"/>
    ${mark === null ? "" : `<path d="M ${100 * mark} 40 l -2 4 h 4 z" class="pfg-mark"/>`}`;
}

export const figure = (key, title, note = "") =>
  `<figure data-at="${key}"><figcaption><b>${title}</b> <span>${note}</span></figcaption><canvas role="img" aria-label="${title.replace(/<[^>]*>/g, "")} ${note}"></canvas></figure>`;

export const canvasOf = (root, key) => root.querySelector(`[data-at="${key}"] canvas`);

const scale = (title, colours, ticks) =>
  `<div class="pfg-scale"><span>${title}</span><div><i style="background:${colours}"></i>${ticks
    .map(([place, text]) => `<b style="left:${100 * place}%">${text}</b>`)
    .join("")}</div></div>`;

/** The colour bars of t and sigma, or of one of them. */
export function scales(palettes, of = ["t", "sigma"]) {
  const known = {
    t: () =>
      scale("t", gradient(palettes.t), [
        [0, "0"],
        [0.5, "0.5"],
        [1, "1"],
      ]),
    sigma: () =>
      scale(
        "&sigma;",
        gradient(palettes.sigma),
        sigmaTicks(palettes.sigmaRange, true).filter(([, , minor]) => !minor),
      ),
  };
  return `<div class="pfg-scales">${of.map((name) => known[name]()).join("")}</div>`;
}

const reduced = matchMedia("(prefers-reduced-motion: reduce)");

/** Is nothing to move here? The page's own button decides; before it is pressed, what the system asks for. */
export const stillWanted = (element) => (element.closest(".pfg")?.dataset.moves ?? String(!reduced.matches)) !== "true";

/** Call step() every `ms` while the element is on the screen, nobody rests on it and motion is welcome. */
export function beat(element, ms, step) {
  let visible = false;
  new IntersectionObserver(
    ([entry]) => {
      visible = entry.isIntersecting;
    },
    { threshold: 0.3 },
  ).observe(element);
  const rests = () => document.hidden || stillWanted(element) || element.matches(":hover, :focus-within");
  const timer = setInterval(() => {
    if (!element.isConnected) clearInterval(timer);
    else if (visible && !rests()) step();
  }, ms);
}

/** The button that stops and starts every picture of the page. */
export function motionButton(page, button) {
  const show = () => {
    const moves = !stillWanted(button);
    button.textContent = moves ? "Pause the pictures" : "Let the pictures move";
  };
  button.addEventListener("click", () => {
    page.dataset.moves = String(stillWanted(button));
    show();
  });
  show();
}
