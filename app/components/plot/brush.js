// Points drawn by hand: a brush that sprays while the pointer is down. x and y run over [-3, 3], y upwards.

import { page, written } from "./shared.js";

const SPAN = 3,
  MOST = 4000,
  BLUR = 0.09,
  A_MOVE = 6;

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** The plane before anything is drawn on it: lines at whole numbers, the axes stronger, their numbers. */
function drawAxes(pen, side, at, { color: ink, borderTopColor: rule }) {
  pen.font = "11px ui-sans-serif, system-ui, sans-serif";
  for (let v = 1 - SPAN; v < SPAN; v += 1) {
    pen.fillStyle = v ? rule : ink;
    pen.fillRect(at(v), 0, 1, side);
    pen.fillRect(0, at(v), side, 1);
    if (!v) continue;
    pen.fillStyle = ink;
    [pen.textAlign, pen.textBaseline] = ["center", "top"];
    pen.fillText(written(v), at(v), at(0) + 4);
    [pen.textAlign, pen.textBaseline] = ["right", "middle"];
    pen.fillText(written(-v), at(0) - 5, at(v));
  }
  [pen.textAlign, pen.textBaseline] = ["right", "bottom"];
  pen.fillText("x", side - 5, at(0) - 3);
  [pen.textAlign, pen.textBaseline] = ["left", "top"];
  pen.fillText("y", at(0) + 5, 4);
}

export function mount(element, props, watch, trigger) {
  const root = element.querySelector(".pf-plots");
  root.innerHTML =
    '<canvas class="pf-brush" aria-label="Draw points here"></canvas><div class="pf-brush-foot"><span></span><button type="button">Clear</button></div>';
  const canvas = root.querySelector("canvas"),
    count = root.querySelector("span"),
    pen = canvas.getContext("2d");
  let points = [],
    unshown = 0,
    drawing = false;

  function paint() {
    const side = canvas.clientWidth || 240,
      scale = window.devicePixelRatio || 1,
      at = (v) => ((v + SPAN) / (2 * SPAN)) * side;
    if (canvas.width !== side * scale) canvas.width = canvas.height = side * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, side, side);
    const style = getComputedStyle(canvas);
    drawAxes(pen, side, at, style);
    if (!points.length) {
      pen.fillStyle = style.backgroundColor;
      pen.fillRect(20, at(-1.5) - 14, side - 40, 28);
      pen.fillStyle = style.color;
      pen.font = "600 15px ui-sans-serif, system-ui, sans-serif";
      [pen.textAlign, pen.textBaseline] = ["center", "middle"];
      pen.fillText(unshown ? "Draw other points here" : "Draw your points here", side / 2, at(-1.5));
    }
    pen.fillStyle = "#1b9e77";
    for (const [x, y] of points) pen.fillRect(at(x) - 1, at(-y) - 1, 2, 2);
    const number = (points.length || unshown).toLocaleString("en");
    if (points.length) count.textContent = `${number} points`;
    else if (unshown) count.textContent = `${number} points from the file: too many to be drawn on`;
    else count.textContent = "No points yet: draw some, then press Start";
  }

  function show(value) {
    if (!value?.points || drawing) return;
    points = value.points.map(([x, y]) => [x, y]);
    unshown = value.unshown || 0;
    paint();
  }

  function spray(event) {
    const frame = canvas.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * 2 * SPAN - SPAN;
    const y = SPAN - ((event.clientY - frame.top) / frame.height) * 2 * SPAN;
    for (let k = 0; k < A_MOVE && points.length < MOST; k += 1) points.push([x + BLUR * normal(), y + BLUR * normal()]);
    paint();
  }

  const send = () => trigger("drawn", { points: points.map(([x, y]) => [+x.toFixed(3), +y.toFixed(3)]) });
  canvas.addEventListener("pointerdown", (e) => {
    drawing = true;
    canvas.setPointerCapture(e.pointerId);
    spray(e);
  });
  canvas.addEventListener("pointermove", (e) => drawing && spray(e));
  canvas.addEventListener("lostpointercapture", () => {
    if (drawing) send();
    drawing = false;
  });
  root.querySelector("button").addEventListener("click", () => {
    points = [];
    unshown = 0;
    paint();
    send();
  });
  new ResizeObserver(paint).observe(canvas);
  page.on("theme", paint);
  watch("value", () => show(props.value));
  show(props.value);
  paint();
}
