// Points drawn by hand: a brush that sprays while the pointer is down. x and y run over [-3, 3], y upwards.

const SPAN = 3,
  MOST = 4000,
  BLUR = 0.09,
  A_MOVE = 6;

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

export function mount(element, props, watch, trigger) {
  const root = element.querySelector(".pf-plots");
  root.innerHTML =
    '<canvas class="pf-brush" aria-label="Draw points here"></canvas><div class="pf-brush-foot"><span></span><button type="button">Clear</button></div>';
  const canvas = root.querySelector("canvas"),
    count = root.querySelector("span"),
    pen = canvas.getContext("2d");
  let points = [],
    drawing = false;

  function paint() {
    const side = canvas.clientWidth || 240,
      scale = window.devicePixelRatio || 1;
    if (canvas.width !== side * scale) canvas.width = canvas.height = side * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, side, side);
    pen.fillStyle = "#1b9e77";
    for (const [x, y] of points) {
      pen.fillRect(((x + SPAN) / (2 * SPAN)) * side - 1, ((SPAN - y) / (2 * SPAN)) * side - 1, 2, 2);
    }
    count.textContent = points.length ? `${points.length} points` : "Draw with the pointer";
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
  canvas.addEventListener("pointerup", () => {
    drawing = false;
    send();
  });
  root.querySelector("button").addEventListener("click", () => {
    points = [];
    paint();
  });
  new ResizeObserver(paint).observe(canvas);
  paint();
}
